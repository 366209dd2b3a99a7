//! Several gateways on one Redis are one gateway: to publishers, to workers, to readers of the feed, and when one of them dies.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use squall_client::events::{Filter, Item, Start};
use squall_client::work::{self, Incoming};
use squall_client::{Backoff, Endpoint, Options};
use squall_protocol::{Cursor, TaskId};
use squall_testkit::{Redis, Squall, eventually};

use crate::support::*;

const LANE: &str = r#"
[tasks]
default_lane = "steady"

[lanes.steady]
lease_ms = 1500
retry = { max = 1000, delay_ms = 20, max_delay_ms = 50, jitter = 0.5 }
"#;

async fn gateway_on(redis: &Redis) -> Squall {
    setup().config(LANE).env("SQUALL_STORE__URL", &redis.url()).start().await.unwrap()
}

type Deliveries = Arc<Mutex<HashMap<TaskId, u32>>>;

async fn consumer(endpoint: Endpoint, delivered: Deliveries) {
    let backoff = Backoff { first_ms: 5, longest_ms: 50, ..Backoff::default() };
    let mut worker = squall_client::Worker::new(endpoint, Options::default(), backoff, &["steady"], 20);
    loop {
        if let work::Event::Frame(Incoming::Deliver(delivery)) = worker.next().await.unwrap() {
            let id = delivery.id;
            *delivered.lock().unwrap().entry(id).or_default() += 1;
            worker.ack(id);
        }
    }
}

/// Publishes in batches through the first gateway that takes them, until it is told to stop; what was acknowledged.
async fn publisher(endpoints: Vec<Endpoint>, stop: Arc<AtomicBool>) -> HashSet<TaskId> {
    let mut acknowledged = HashSet::new();
    let batch: Vec<Value> = (0..10).map(|n| json!({"kind": "k", "key": format!("k{n}")})).collect();
    while !stop.load(Ordering::Relaxed) {
        for endpoint in &endpoints {
            let mut http = squall_client::Http::new(endpoint.clone(), Options::default());
            let mut failed = false;
            while !failed && !stop.load(Ordering::Relaxed) {
                let body = Value::from(batch.clone()).to_string();
                let headers = [(http::header::CONTENT_TYPE, squall_client::http::JSON)];
                let answer = http.request(http::Method::POST, "/v1/tasks", &headers, body.into()).await;
                let results =
                    answer.ok().filter(|answer| answer.status == 202).and_then(|answer| answer.json::<Value>().ok());
                match results.as_ref().and_then(|answer| answer["results"].as_array()) {
                    Some(results) => {
                        let ids = results.iter().filter_map(|result| result["id"].as_str()?.parse::<TaskId>().ok());
                        acknowledged.extend(ids);
                    }
                    None => failed = true,
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_killed_and_one_is_drained_and_nothing_acknowledged_is_lost() {
    let redis = Redis::start("everysec");
    let mut drained = gateway_on(&redis).await;
    let mut killed = gateway_on(&redis).await;
    let stays = gateway_on(&redis).await;
    let delivered = Deliveries::default();
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn(publisher(vec![endpoint(&drained), endpoint(&stays)], Arc::clone(&stop)));
    let workers = [&killed, &stays].map(|gateway| tokio::spawn(consumer(endpoint(gateway), Arc::clone(&delivered))));
    let count = || delivered.lock().unwrap().len();
    let reaches = async |number: usize| {
        eventually(&format!("{number} deliveries"), 3 * SOON, async || (count() >= number).then_some(())).await;
    };
    reaches(200).await;
    killed.kill().await.unwrap();
    let begun = count();
    reaches(begun + 100).await;
    let status = drained.terminate(SOON).await.unwrap();
    assert!(status.success(), "{status}");
    let begun = count();
    reaches(begun + 100).await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = publishing.await.unwrap();
    eventually("every acknowledged task to be delivered", 3 * SOON, async || {
        let delivered = delivered.lock().unwrap();
        acknowledged.iter().all(|id| delivered.contains_key(id)).then_some(())
    })
    .await;
    workers.iter().for_each(tokio::task::JoinHandle::abort);

    let mut http = http(&stays);
    let (mut after, mut published) = (0, HashSet::new());
    loop {
        let page: Value = get(&mut http, &format!("/v1/events?after={after}&limit=1000")).await.json().unwrap();
        let items = page["items"].as_array().unwrap();
        for event in items {
            assert_eq!(event["offset"], after + 1, "no offset is missing or doubled");
            after += 1;
            if event["event_type"] == "task_published" {
                let id: TaskId = event["entity_id"].as_str().unwrap().parse().unwrap();
                assert!(published.insert(id), "{id} was published twice");
            }
        }
        if items.is_empty() {
            break;
        }
    }
    assert!(acknowledged.is_subset(&published), "what was acknowledged is told");
}

/// A subscriber goes on at another gateway faster than that one hears of what the first has told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_moves_to_one_that_has_not_heard_yet_is_told_of_no_gap() {
    let redis = Redis::start("everysec");
    let (one, other) = (gateway_on(&redis).await, gateway_on(&redis).await);
    for _ in 0..10 {
        // Who is not in this list is told nothing, until its next sign of life within a second.
        let _ = redis.ask(&["DEL", "squall:gateways"]);
        publish(&mut http(&one), json!({"kind": "k"})).await;
        let page = http(&one).events(None, 1_000, &[], &[]).await.unwrap();
        assert!(page.gap.is_none() && !page.items.is_empty());
        let after: Cursor = page.next.parse().unwrap();
        let page = http(&other).events(Some(after), 1_000, &[], &[]).await.unwrap();
        assert_eq!((page.gap, page.items.len()), (None, 0), "it has all that there is");
        let mut subscriber = subscriber(&other, Start::After(after), Filter::default());
        assert!(matches!(subscriber.next().await.unwrap(), Item::Connected { .. }));
        publish(&mut http(&one), json!({"kind": "k"})).await;
        assert_eq!(next_event(&mut subscriber).await.offset, after.offset + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_goes_away_is_told_at_once_and_comes_back_by_itself() {
    let mut redis = Redis::start("always");
    let gateway = gateway_on(&redis).await;
    let mut http = http(&gateway);
    let id = publish(&mut http, json!({"kind": "k"})).await;
    redis.kill();
    let answer = send(&mut http, http::Method::POST, "/v1/tasks", &json!({"kind": "k"})).await;
    assert_eq!(refused(&answer).0, 503);
    assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
    let health: Value = get(&mut http, "/health").await.json().unwrap();
    assert_eq!(health["status"], "degraded", "{health}");
    let metrics = get(&mut http, "/metrics").await;
    assert!(metrics.status.is_success(), "figures are told whatever Redis does");
    assert!(!http.stats().await.unwrap().store_up, "and they say that it is away");
    redis.restart();
    eventually("the gateway to take tasks again", 3 * SOON, async || {
        try_publish(&mut http, json!({"kind": "k"})).await.ok()
    })
    .await;
    let health: Value = get(&mut http, "/health").await.json().unwrap();
    assert_eq!((&health["status"], &health["lost"]), (&json!("healthy"), &json!([])), "{health}");
    assert!(http.stats().await.unwrap().store_up);
    assert!(http.task(id).await.is_ok(), "what was acknowledged is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_silent_costs_the_timeout_once_and_nobody_waits_for_it_again() {
    let timeout = Duration::from_secs(2);
    let redis = Redis::start("always");
    let config = format!("[store]\ntimeout_ms = {}\n{LANE}", timeout.as_millis());
    let gateway = setup().config(&config).env("SQUALL_STORE__URL", &redis.url()).start().await.unwrap();
    let mut http = http(&gateway);
    publish(&mut http, json!({"kind": "k"})).await;
    let signal = |signal| kill(Pid::from_raw(redis.pid() as i32), signal).unwrap();
    signal(Signal::SIGSTOP);
    let answer = send(&mut http, http::Method::POST, "/v1/tasks", &json!({"kind": "k"})).await;
    assert_eq!(refused(&answer).0, 503);
    // Connections are made to it all the while, and each takes as long as the timeout until it is given up.
    let since = Instant::now();
    while since.elapsed() < 3 * timeout {
        let asked = Instant::now();
        assert!(try_publish(&mut http, json!({"kind": "k"})).await.is_err());
        assert!(asked.elapsed() < timeout / 2, "refused after {:?}", asked.elapsed());
    }
    signal(Signal::SIGCONT);
    eventually("the gateway to take tasks again", 3 * SOON, async || {
        try_publish(&mut http, json!({"kind": "k"})).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_not_there_keeps_the_gateway_from_starting() {
    let port = squall_testkit::free_port();
    let url = format!("redis://:s3cret@127.0.0.1:{port}/");
    let exit = setup().config(LANE).env("SQUALL_STORE__URL", &url).refusal().await.unwrap();
    assert_eq!(exit.status.code(), Some(1));
    assert!(exit.said.contains("cannot use the Redis at redis://…@127.0.0.1"), "{}", exit.said);
    assert!(!exit.said.contains("s3cret"), "{}", exit.said);
}
