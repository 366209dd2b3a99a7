//! What other programs push to lists and add to streams in Redis becomes tasks and sessions: each item once, whoever dies.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use squall_client::Http;
use squall_protocol::stats::IngestStats;
use squall_protocol::{DeadLetterFilter, DeadReason, Health, HealthStatus, Priority, SessionId, SessionState};
use squall_testkit::exposition::Samples;
use squall_testkit::{Redis, Squall, eventually};

use crate::metrics::of_ingest;
use crate::support::*;

fn fetching(redis: &Redis, more: &str) -> String {
    format!("[ingest.redis]\nurl = {:?}\n{more}\n", redis.url())
}

async fn source(http: &mut Http, name: &str) -> IngestStats {
    let stats = http.stats().await.unwrap();
    stats.ingest.into_iter().find(|of| of.source == name).unwrap_or_else(|| panic!("{name} is not there"))
}

async fn is_empty(redis: &Redis, list: &str) {
    eventually(&format!("{list} to be empty"), 3 * SOON, async || (redis.ask(&["LLEN", list]) == ":0").then_some(()))
        .await;
}

/// How many tasks the feed says were published.
async fn published(http: &mut Http) -> usize {
    let (mut after, mut count) = (0, 0);
    loop {
        let page: Value = get(http, &format!("/v1/events?after={after}&limit=1000")).await.json().unwrap();
        let items = page["items"].as_array().unwrap();
        let Some(last) = items.last() else { return count };
        after = last["offset"].as_u64().unwrap();
        count += items.iter().filter(|event| event["event_type"] == "task_published").count();
    }
}

/// Does `count` tasks, and says what their payloads had as `n`, and in which order.
async fn numbers(gateway: &Squall, lane: &str, count: usize) -> Vec<u64> {
    let mut worker = Worker::new(gateway, &[lane], 50).await;
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(worker.finish().await.payload["n"].as_u64().unwrap());
    }
    worker.idle(100).await;
    numbers
}

fn push_numbers(redis: &Redis, list: &str, count: u64) {
    let items: Vec<String> = (0..count).map(|n| json!({"type": "job", "n": n}).to_string()).collect();
    let words: Vec<&str> = ["RPUSH", list].into_iter().chain(items.iter().map(String::as_str)).collect();
    assert_eq!(redis.ask(&words), format!(":{count}"));
}

#[tokio::test]
async fn what_programs_push_and_add_becomes_tasks_and_sessions() {
    let redis = Redis::start("everysec");
    // Before anybody reads.
    for item in [
        r#"{"type":"session:create","sessionId":"sess_1","timestamp":1,"data":{"testRun":true,"loadLevel":"light"}}"#,
        r#"{"type":"session:update","sessionId":"sess_1","timestamp":2,"data":{"eventsProcessed":5}}"#,
        r#"{"type":"session:create","sessionId":"sess_2","timestamp":3,"data":{}}"#,
        r#"{"type":"session:end","sessionId":"sess_2","timestamp":4,"data":{"status":"failed"}}"#,
        // As a shell that was not careful wrote them.
        r#"{"type":"session:create","sessionId":"sess_3","timestamp":5,"data":{}}}"#,
        r#"{"type":"session:update","sessionId":"sess_9","timestamp":6,"data":{"a":1}}"#,
    ] {
        let _ = redis.ask(&["RPUSH", "cls:events", item]);
    }
    let config = fetching(
        &redis,
        "lists = ['cls:events', 'ci:queue:high']\nstreams = ['jobs']\ndead_letter_lane = 'steady'\n
         [[ingest.redis.rules]]\nsource = 'ci:queue:high'\nevent = '*'\npriority = 'high'\n
         [[ingest.redis.rules]]\nsource = 'jobs'\nevent = 'job'\nlane = 'brief'\nkind = 'nightly'\n",
    );
    let gateway = gateway_with(&config).await;
    let mut http = http(&gateway);
    is_empty(&redis, "cls:events").await;
    let id = |text: &str| SessionId::new(text).unwrap();
    let one = http.session(&id("sess_1")).await.unwrap();
    assert_eq!(
        (one.state, Value::from(one.metadata)),
        (SessionState::Active, json!({"testRun": true, "loadLevel": "light", "eventsProcessed": 5}))
    );
    assert_eq!(http.session(&id("sess_2")).await.unwrap().state, SessionState::Failed);

    let build = r#"{"type":"ci:build","lane":"plain","priority":"low","timestamp":1,"data":{"eventId":"e1"}}"#;
    let _ = redis.ask(&["RPUSH", "ci:queue:high", build]);
    let mut worker = Worker::new(&gateway, &["plain", "brief"], 1).await;
    let got = worker.finish().await;
    assert_eq!((got.lane.as_str(), got.kind.as_str(), got.priority), ("plain", "ci:build", Priority::High));
    assert_eq!(got.payload, serde_json::from_str::<Value>(build).unwrap(), "as it was pushed");
    let _ = redis.ask(&["XADD", "jobs", "1-0", "type", "job", "data", r#"{"n":7}"#]);
    let got = worker.finish().await;
    assert_eq!((got.lane.as_str(), got.kind.as_str()), ("brief", "nightly"));
    assert_eq!(got.payload, json!({"type": "job", "data": {"n": 7}}));
    let _ = redis.ask(&["XADD", "jobs", "2-0", "type", "other"]);

    let dead = eventually("three dead letters", SOON, async || {
        let page = http.dead_letters(&DeadLetterFilter::default(), None, 10, false).await.unwrap();
        (page.items.len() == 3).then_some(page.items)
    })
    .await;
    let told: Vec<_> = dead.iter().map(|dead| (dead.reason, dead.kind.as_str(), dead.lane.as_str())).collect();
    assert_eq!(
        told,
        [
            (DeadReason::Unparsable, "unparsable", "steady"),
            (DeadReason::Refused, "session:update", "steady"),
            (DeadReason::Unparsable, "other", "steady"),
        ]
    );
    assert!(dead[0].detail.starts_with(r#"list "cls:events", item 5: it is not JSON: trailing"#), "{}", dead[0].detail);
    assert!(dead[1].detail.ends_with("item 6: there is no such session: sess_9"), "{}", dead[1].detail);
    assert!(dead[2].detail.contains(r#"stream "jobs", entry 2-0: no rule for event "other""#), "{}", dead[2].detail);
    let whole = http.dead_letter(dead[0].id).await.unwrap();
    let payload: String = serde_json::from_str(whole.payload.unwrap().get()).unwrap();
    assert!(payload.ends_with(r#""data":{}}}"#), "{payload}");
    // Sent back like any other.
    http.replay(dead[1].id).await.unwrap();
    let mut steady = Worker::new(&gateway, &["steady"], 1).await;
    assert_eq!(steady.finish().await.payload["sessionId"], "sess_9");

    let stats = http.stats().await.unwrap();
    let samples = Samples::parse(&http.metrics().await.unwrap()).unwrap();
    let cls = stats.ingest.iter().find(|of| of.source == "cls:events").unwrap();
    assert_eq!((cls.up, cls.state.as_str()), (true, "read"));
    assert_eq!(cls.items, [("dead_letter".to_owned(), 2), ("session".to_owned(), 4)].into());
    let by_hand = [("source", "cls:events"), ("outcome", "session")];
    assert_eq!(samples.sum("squall_ingest_items_total", &by_hand), 4.0);
    assert_eq!(samples.sum("squall_ingest_items_total", &[]), of_ingest(&stats, |of| of.items.values().sum()));
    assert_eq!((samples.sum("squall_ingest_up", &[]), of_ingest(&stats, |of| of.up.into())), (3.0, 3.0));
    let health = http.health().await.unwrap();
    assert!(health.dependencies["ingest"].ok, "{health:?}");
    assert!(health.dependencies["ingest"].detail.contains(r#"stream "jobs": read"#), "{health:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_and_then_drained_in_the_middle_stores_every_item_once() {
    let redis = Redis::start("everysec");
    push_numbers(&redis, "l", 2_000);
    let mut gateway = gateway_with(&fetching(&redis, "lists = ['l']\nbatch = 7")).await;
    let left = async |below: u64| {
        eventually(&format!("fewer than {below} items"), 3 * SOON, async || {
            redis.ask(&["LLEN", "l"])[1..].parse::<u64>().ok().filter(|left| *left < below)
        })
        .await
    };
    left(1_700).await;
    gateway.kill().await.unwrap();
    assert!(left(1_700).await > 0, "killed in the middle");
    gateway.restart(false).await.unwrap();
    left(1_000).await;
    assert!(gateway.terminate(2 * SOON).await.unwrap().success());
    assert!(left(1_000).await > 0, "drained in the middle");
    gateway.restart(false).await.unwrap();
    is_empty(&redis, "l").await;
    assert_eq!(published(&mut http(&gateway)).await, 2_000);
    let numbers = numbers(&gateway, "plain", 2_000).await;
    assert_eq!(numbers, (0..2_000).collect::<Vec<_>>(), "each once, and in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_goes_on_where_one_died() {
    let redis = Redis::start("everysec");
    let config = format!("{}\n{LANES}", fetching(&redis, "lists = ['l']\nstreams = ['s']\nbatch = 7"));
    let start = async || setup().config(&config).env("SQUALL_STORE__URL", &redis.url()).start().await.unwrap();
    let (mut dies, stays) = (start().await, start().await);
    let (mut here, mut there) = (http(&dies), http(&stays));
    let elsewhere = eventually("one of them to read the list", SOON, async || {
        let states = [source(&mut here, "l").await.state, source(&mut there, "l").await.state];
        states.iter().any(|state| state == "read").then_some(states).filter(|states| states[0] != states[1])
    })
    .await;
    assert!(elsewhere.iter().any(|state| state == "read by another gateway"), "{elsewhere:?}");
    push_numbers(&redis, "l", 2_000);
    for n in 2_000..3_000 {
        let _ = redis.ask(&["XADD", "s", "*", "payload", &json!({"type": "job", "n": n}).to_string()]);
    }
    eventually("the list to grow shorter", 3 * SOON, async || {
        redis.ask(&["LLEN", "l"])[1..].parse::<u64>().ok().filter(|left| *left < 1_700)
    })
    .await;
    dies.kill().await.unwrap();
    is_empty(&redis, "l").await;
    let mut told = BTreeSet::new();
    let mut worker = Worker::new(&stays, &["plain"], 50).await;
    while told.len() < 3_000 {
        let n = worker.finish().await.payload["n"].as_u64().unwrap();
        assert!(told.insert(n), "{n} came twice");
    }
    assert_eq!(told, (0..3_000).collect());
    eventually("the stream to be acknowledged", 3 * SOON, async || {
        let said = source(&mut there, "s").await;
        (said.items.values().sum::<u64>() > 0 && redis.ask(&["EVAL", PENDING, "1", "s"]) == ":0").then_some(())
    })
    .await;
    assert_eq!(published(&mut there).await, 3_000);
}

const PENDING: &str = "return redis.call('XPENDING', KEYS[1], 'squall')[1]";

#[tokio::test]
async fn a_full_lane_leaves_items_where_they_are() {
    let redis = Redis::start("everysec");
    // Three may wait there.
    let items: Vec<String> = (0..10).map(|n| json!({"type": "job", "lane": "narrow", "n": n}).to_string()).collect();
    let gateway = gateway_with(&fetching(&redis, "lists = ['l']")).await;
    let mut http = http(&gateway);
    for item in &items {
        let _ = redis.ask(&["RPUSH", "l", item]);
    }
    let said = eventually("the reader to wait", SOON, async || {
        let said = source(&mut http, "l").await;
        (said.retries.get("lane_full").is_some_and(|times| *times > 2)).then_some(said)
    })
    .await;
    assert!(said.up && said.state.contains("\"narrow\" is full"), "{said:?}");
    assert_eq!((said.items["task"], redis.ask(&["LLEN", "l"]).as_str()), (3, ":7"), "what is not stored has not left");
    assert_eq!(http.health().await.unwrap().status, HealthStatus::Healthy, "a full lane is a matter of course");
    assert_eq!(numbers(&gateway, "narrow", 10).await, (0..10).collect::<Vec<_>>());
    is_empty(&redis, "l").await;
    assert_eq!(source(&mut http, "l").await.items["task"], 10);
}

#[tokio::test]
async fn a_session_too_many_is_a_dead_letter_and_does_not_hold_up_the_end_behind_it() {
    let redis = Redis::start("everysec");
    let mut all = String::new();
    for (event, id) in [("create", "a"), ("create", "b"), ("end", "a"), ("create", "c"), ("end", "c"), ("end", "c")] {
        let item = json!({"type": format!("session:{event}"), "sessionId": id}).to_string();
        let _ = redis.ask(&["RPUSH", "l", &item]);
        writeln!(all, "{item}").unwrap();
    }
    let more = format!("[sessions]\nmax_concurrent = 1\n{}", fetching(&redis, "lists = ['l']"));
    let gateway = gateway_with(&more).await;
    let mut http = http(&gateway);
    is_empty(&redis, "l").await;
    for id in ["a", "c"] {
        assert_eq!(http.session(&SessionId::new(id).unwrap()).await.unwrap().state, SessionState::Completed, "{all}");
    }
    let dead = http.dead_letters(&DeadLetterFilter::default(), None, 10, false).await.unwrap().items;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(dead[0].reason == DeadReason::Refused && dead[0].detail.contains("all 1 session slots"), "{dead:?}");
    assert_eq!(source(&mut http, "l").await.items["duplicate"], 1, "an end that is there already is no error");
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_and_comes_back_by_itself() {
    let mut redis = Redis::start("always");
    let gateway = gateway_with(&fetching(&redis, "lists = ['l', 'wrong']\nstreams = ['s']")).await;
    let mut http = http(&gateway);
    let health_is = async |http: &mut Http, status: HealthStatus| -> Health {
        eventually(&format!("{status:?}"), 3 * SOON, async || {
            http.health().await.ok().filter(|health| health.status == status)
        })
        .await
    };
    eventually("all to be read", SOON, async || {
        let stats = http.stats().await.unwrap();
        stats.ingest.iter().all(|of| of.up).then_some(())
    })
    .await;
    let _ = redis.ask(&["SET", "wrong", "text"]);
    let health = health_is(&mut http, HealthStatus::Degraded).await;
    assert_eq!(health.lost, ["ingest"]);
    let detail = &health.dependencies["ingest"].detail;
    assert!(detail.contains(r#"list "wrong": "#) && detail.contains("WRONGTYPE"), "{detail}");
    let _ = redis.ask(&["DEL", "wrong"]);
    health_is(&mut http, HealthStatus::Healthy).await;

    redis.kill();
    let health = health_is(&mut http, HealthStatus::Degraded).await;
    assert_eq!((health.lost, health.dependencies["store"].ok), (vec!["ingest".to_owned()], true));
    publish(&mut http, json!({"kind": "k", "payload": {"n": 0}})).await;
    assert!(get(&mut http, "/ready").await.status.is_success(), "it takes work all the same");
    redis.restart();
    push_numbers(&redis, "l", 3);
    health_is(&mut http, HealthStatus::Healthy).await;
    is_empty(&redis, "l").await;
    assert_eq!(numbers(&gateway, "plain", 4).await, [0, 0, 1, 2]);
    assert!(source(&mut http, "l").await.retries["redis"] > 0);
}

#[tokio::test]
async fn a_gateway_starts_without_that_redis_and_shows_no_password() {
    let url = format!("redis://:s3cret@127.0.0.1:{}/", squall_testkit::free_port());
    let config = format!("[ingest.redis]\nurl = {url:?}\nlists = ['l']\n{LANES}");
    let mut gateway = setup().config(&config).start().await.unwrap();
    let mut http = http(&gateway);
    let health = eventually("it to be told", SOON, async || {
        http.health().await.ok().filter(|health| health.status == HealthStatus::Degraded)
    })
    .await;
    let detail = &health.dependencies["ingest"].detail;
    assert!(detail.starts_with("redis at redis://…@127.0.0.1") && !detail.contains("s3cret"), "{detail}");
    let begun = std::time::Instant::now();
    assert!(gateway.terminate(SOON).await.unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "a reader that cannot read does not hold up the end");
    assert!(!gateway.log().contains("s3cret"));
}
