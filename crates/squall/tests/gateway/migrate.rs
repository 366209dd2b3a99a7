//! A gateway that moves from its data directory into Redis: to publishers, workers and readers of the feed it was only restarted.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use http::Method;
use serde_json::{Value, json};
use squall_client::events::{Filter, Item, Start};
use squall_client::{Backoff, Http, Options, Subscriber};
use squall_protocol::{NackMode, TaskId, TaskState};
use squall_testkit::{Redis, Squall, eventually, within};

use crate::support::*;

const LANES: &str = r#"
[tasks]
default_lane = "plain"

[lanes.plain]
retry = { max = 3, delay_ms = 10, jitter = 0.0 }

[lanes.halted]
"#;

/// Moves the data of a gateway, with the settings that it had.
fn migrate(gateway: &Squall, to: &str, more: &[&str]) -> Command {
    let dir = gateway.data_dir();
    let config = dir.with_file_name("squall.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SQUALL_")) {
        command.env_remove(name);
    }
    command.args(["migrate", "--to", to, "--from"]).arg(dir).arg("--config").arg(config).args(more);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

async fn events_up_to(subscriber: &mut Subscriber, offset: u64, seen: &mut Vec<(u64, String)>) {
    while seen.last().is_none_or(|(last, _)| *last < offset) {
        match within("an event", SOON, subscriber.next()).await {
            Ok(Item::Event(event)) => seen.push((event.offset, event.event_type.to_string())),
            Ok(Item::Gap(gap)) => panic!("{gap:?}"),
            // The gateway is away for a while.
            Ok(_) | Err(_) => {}
        }
    }
}

async fn idempotent(http: &mut Http, key: &'static str) -> TaskId {
    let headers = [
        (http::header::CONTENT_TYPE, squall_client::http::JSON),
        (http::HeaderName::from_static("idempotency-key"), http::HeaderValue::from_static(key)),
    ];
    let answer = http.request(Method::POST, "/v1/tasks", &headers, json!({"kind": "once"}).to_string().into()).await;
    answer.unwrap().json::<squall_protocol::task::Published>().unwrap().id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_goes_on_in_redis_where_it_was() {
    let redis = Redis::start("everysec");
    let mut gateway = setup().config(LANES).start().await.unwrap();
    let backoff = Backoff { first_ms: 5, longest_ms: 100, ..Backoff::default() };
    let mut subscriber =
        Subscriber::new(endpoint(&gateway), Options::default(), backoff, Start::Beginning, Filter::default());
    let mut http = http(&gateway);

    // Tasks in every state.
    let mut expected: BTreeMap<TaskId, u32> = BTreeMap::new();
    let done = publish(&mut http, json!({"kind": "done"})).await;
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    assert_eq!(worker.finish().await.id, done);
    let dead = publish(&mut http, json!({"kind": "dead", "payload": [1, 2]})).await;
    let got = worker.take().await;
    worker.nack(&got, NackMode::Fatal, "no use").await;
    state_of(&mut http, dead, TaskState::Dead).await;
    let held = publish(&mut http, json!({"kind": "held", "key": "k"})).await;
    assert_eq!(worker.take().await.id, held);
    expected.insert(held, 2);
    for task in [
        json!({"kind": "behind", "key": "k"}),
        json!({"kind": "ready", "priority": "high"}),
        json!({"kind": "delayed", "delay_ms": 4000}),
    ] {
        expected.insert(publish(&mut http, task).await, 1);
    }
    let pulled = publish(&mut http, json!({"kind": "pulled", "lane": "halted"})).await;
    let lease = json!({"credit": 1, "wait_ms": 1000});
    let answer: Value = send(&mut http, Method::POST, "/v1/lanes/halted/lease", &lease).await.json().unwrap();
    let receipt = answer["tasks"][0]["receipt"].clone();
    let halted = publish(&mut http, json!({"kind": "halted", "lane": "halted"})).await;
    assert!(send(&mut http, Method::POST, "/v1/lanes/halted/pause", &json!({})).await.status.is_success());
    let once = idempotent(&mut http, "seven").await;
    expected.insert(once, 1);
    let session = json!({"id": "s1", "metadata": {"a": 1}});
    assert!(send(&mut http, Method::POST, "/v1/sessions", &session).await.status.is_success());
    let head = http.stats().await.unwrap().feed_offset;
    let mut seen = Vec::new();
    events_up_to(&mut subscriber, head, &mut seen).await;

    let url = redis.url();
    let refused = migrate(&gateway, &url, &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("stop the gateway first") && said(&refused).contains("in use"),
        "{}",
        said(&refused)
    );
    gateway.kill().await.unwrap();
    let counted = migrate(&gateway, &url, &["--dry-run"]).output().unwrap();
    assert!(counted.status.success() && said(&counted).contains("nothing was changed"), "{}", said(&counted));
    assert_eq!(redis.ask(&["DBSIZE"]), ":0");
    let moved = migrate(&gateway, &url, &[]).output().unwrap();
    assert!(moved.status.success(), "{}", said(&moved));
    for line in
        ["lane plain: delayed", "lane halted: leased", "sessions, active", "feed: next offset", "moved to redis://"]
    {
        assert!(said(&moved).contains(line), "{line} in {}", said(&moved));
    }
    let stays = setup().config(LANES).data_dir(gateway.data_dir()).refusal().await.unwrap();
    assert!(stays.said.contains("was moved to redis://127.0.0.1"), "{}", stays.said);

    gateway.restart_with(true, |setup| setup.env("SQUALL_STORE__URL", &url)).await.unwrap();
    let mut http = crate::support::http(&gateway);
    assert_eq!(idempotent(&mut http, "seven").await, once, "the key holds");
    let mut worker = Worker::new(&gateway, &["plain"], 10).await;
    let mut delivered: BTreeMap<TaskId, u32> = BTreeMap::new();
    let mut order = Vec::new();
    while delivered.len() < expected.len() {
        let got = worker.finish().await;
        assert_eq!(delivered.insert(got.id, got.attempt), None, "{} comes once", got.kind);
        order.push(got.kind);
    }
    assert_eq!(delivered, expected, "each with the attempt that it is");
    let place = |kind: &str| order.iter().position(|other| other == kind).unwrap();
    assert!(place("held") < place("behind"), "a key keeps its order: {order:?}");
    let ack = json!({"receipt": receipt});
    assert!(send(&mut http, Method::POST, &format!("/v1/tasks/{pulled}/ack"), &ack).await.status.is_success());
    http.replay(dead).await.unwrap();
    let got = worker.finish().await;
    assert_eq!((got.id, got.payload), (dead, json!([1, 2])));
    worker.idle(200).await;
    assert_eq!(http.task(halted).await.unwrap().state, TaskState::Ready);
    let lane: Value = get(&mut http, "/v1/lanes/halted").await.json().unwrap();
    assert_eq!(lane["paused"], true, "{lane}");
    let session: Value = get(&mut http, "/v1/sessions/s1").await.json().unwrap();
    assert_eq!((&session["state"], &session["metadata"]), (&json!("active"), &json!({"a": 1})), "{session}");
    assert_eq!(http.task(done).await.unwrap().state, TaskState::Done);

    let end = http.stats().await.unwrap().feed_offset;
    events_up_to(&mut subscriber, end, &mut seen).await;
    let offsets: Vec<u64> = seen.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (1..=end).collect::<Vec<_>>(), "the feed goes on without a gap or a repeat");
    assert_eq!(seen[head as usize].1, "task_retry_scheduled", "first comes what became of a dead worker's lease");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_half_way_opens_nothing_and_is_done_again() {
    let redis = Redis::start("everysec");
    let mut gateway = setup().config(LANES).start().await.unwrap();
    let mut http = http(&gateway);
    let batch = Value::from(vec![json!({"kind": "k"}); 10_000]);
    for _ in 0..4 {
        assert_eq!(send(&mut http, Method::POST, "/v1/tasks", &batch).await.status, 202);
    }
    gateway.terminate(SOON).await.unwrap();
    let url = redis.url();
    let mut moving = migrate(&gateway, &url, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("some of it to be written", SOON, async || {
        let keys: u64 = redis.ask(&["DBSIZE"])[1..].parse().unwrap();
        (keys > 1_000).then_some(())
    })
    .await;
    moving.kill().unwrap();
    moving.wait().unwrap();
    assert_eq!(redis.ask(&["EXISTS", "squall:migrating"]), ":1", "it was killed before its end");
    assert_eq!(redis.ask(&["EXISTS", "squall:epoch"]), ":0");
    let refused = setup().config(LANES).env("SQUALL_STORE__URL", &url).refusal().await.unwrap();
    assert!(refused.said.contains("squall migrate is moving a store to this prefix"), "{}", refused.said);

    // Its own directory is as it was.
    gateway.restart(false).await.unwrap();
    gateway.terminate(SOON).await.unwrap();
    let moved = migrate(&gateway, &url, &[]).output().unwrap();
    assert!(moved.status.success() && said(&moved).contains("are cleared first"), "{}", said(&moved));
    assert_eq!(redis.ask(&["LLEN", "squall:queue:plain:normal"]), ":40000");
    gateway.restart_with(false, |setup| setup.env("SQUALL_STORE__URL", &url)).await.unwrap();
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    worker.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_never_told() {
    let mut gateway = setup().config(LANES).start().await.unwrap();
    gateway.terminate(SOON).await.unwrap();
    let url = format!("redis://:s3cret@127.0.0.1:{}/", squall_testkit::free_port());
    let failed = migrate(&gateway, &url, &[]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(said(&failed).contains("redis://…@127.0.0.1"), "{}", said(&failed));
    assert!(!said(&failed).contains("s3cret"), "{}", said(&failed));
    gateway.restart(false).await.unwrap();
}
