//! Gateways whose machines do not agree on the time: what one makes ends when it should, whoever looks. Time is Redis's.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use http::Method;
use serde_json::{Value, json};
use squall_client::Http;
use squall_protocol::{TaskState, Time};
use squall_testkit::{Redis, Squall, eventually};

use crate::support::*;

const LANES: &str = r#"
[tasks]
default_lane = "steady"

[sessions]
max_concurrent = 1

[lanes.steady]
lease_ms = 1500
retry = { max = 10, delay_ms = 20, max_delay_ms = 50, jitter = 0.0 }

[lanes.nobody]
"#;

/// Two clocks that run on one machine are the same; this far apart they are another hour's.
const NEAR: Duration = Duration::from_secs(60);

/// What shifts a process's clock: all but the one that only counts.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let library = folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|library| library.exists());
    library.expect("libfaketime is installed (make test installs it)")
}

async fn gateway_at(redis: &Redis, offset: &str) -> Squall {
    let library = libfaketime().display().to_string();
    setup()
        .config(LANES)
        .env("SQUALL_STORE__URL", &redis.url())
        .env("LD_PRELOAD", &library)
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1")
        .start()
        .await
        .unwrap()
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Time(since.as_millis() as u64)
}

fn time(value: &Value) -> Time {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

fn is_near(value: &Value) {
    let (told, now) = (time(value), now());
    let apart = Duration::from_millis(told.0.abs_diff(now.0));
    assert!(apart < NEAR, "{told} is told at {now}");
}

/// It took as long as it should: not an hour more, and not an hour less.
fn took(what: &str, since: Instant, at_least_ms: u64) {
    let took = since.elapsed();
    let fine = Duration::from_millis(at_least_ms - 100)..Duration::from_millis(at_least_ms) + SOON / 2;
    assert!(fine.contains(&took), "{what} took {took:?}");
}

/// Waits for a task, takes it by receipt, and answers it.
async fn pull(http: &mut Http) -> Value {
    let lease = json!({"credit": 1, "wait_ms": 8000});
    let answer: Value = send(http, Method::POST, "/v1/lanes/steady/lease", &lease).await.json().unwrap();
    answer["tasks"][0].clone()
}

async fn ack(http: &mut Http, task: &Value) {
    let target = format!("/v1/tasks/{}/ack", task["id"].as_str().unwrap());
    let acked = send(http, Method::POST, &target, &json!({"receipt": task["receipt"]})).await;
    assert!(acked.status.is_success(), "{}", acked.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_ahead_and_an_hour_behind_change_nothing() {
    let redis = Redis::start("no");
    let (ahead, behind) = (gateway_at(&redis, "+3600s").await, gateway_at(&redis, "-3600s").await);
    for (gateway, shift) in [(&ahead, 3_600_000_i64), (&behind, -3_600_000)] {
        let health: Value = get(&mut http(gateway), "/health").await.json().unwrap();
        let apart = time(&health["time"]).0 as i64 - now().0 as i64;
        assert!((apart - shift).abs() < 60_000, "its clock is {apart} ms off, not {shift}");
    }
    for (one, other) in [(&ahead, &behind), (&behind, &ahead)] {
        let (mut one, mut other) = (http(one), http(other));

        // A lease ends when it should, and so does a retry's delay; what `other` took over `one` no longer has.
        let id = publish(&mut one, json!({"kind": "leased"})).await;
        let first = pull(&mut one).await;
        let begun = Instant::now();
        is_near(&first["lease_expires_at"]);
        let second = pull(&mut other).await;
        took("a lease", begun, 1_500);
        assert_eq!((&second["id"], &second["attempt"]), (&json!(id), &json!(2)), "{second}");
        ack(&mut other, &second).await;
        let task: Value = get(&mut one, &format!("/v1/tasks/{id}")).await.json().unwrap();
        is_near(&task["created_at"]);
        is_near(&task["finished_at"]);

        // A delay.
        let begun = Instant::now();
        publish(&mut one, json!({"kind": "delayed", "delay_ms": 1000})).await;
        let delayed = pull(&mut other).await;
        took("a delay", begun, 1_000);
        ack(&mut other, &delayed).await;

        // A pause.
        let begun = Instant::now();
        assert!(
            send(&mut one, Method::POST, "/v1/lanes/steady/pause", &json!({"for_ms": 1000})).await.status.is_success()
        );
        publish(&mut other, json!({"kind": "paused"})).await;
        let paused = pull(&mut other).await;
        took("a pause", begun, 1_000);
        ack(&mut other, &paused).await;

        // A deadline, and dead letters by when they died.
        let begun = Instant::now();
        let late = publish(&mut one, json!({"kind": "late", "lane": "nobody", "deadline_ms": 1000})).await;
        state_of(&mut other, late, TaskState::Dead).await;
        took("a deadline", begun, 1_000);
        let (before, after) = (Time(now().0 - 60_000), Time(now().0 + 60_000));
        for (filter, count) in
            [(format!("since={before}"), 1), (format!("since={after}"), 0), (format!("before={after}"), 1)]
        {
            let page: Value = get(&mut one, &format!("/v1/dead-letters?lane=nobody&{filter}")).await.json().unwrap();
            assert_eq!(page["items"].as_array().unwrap().len(), count, "{filter}: {page}");
        }
        let purged = one.request(Method::DELETE, &format!("/v1/dead-letters/{late}"), &[], bytes::Bytes::new()).await;
        assert!(purged.unwrap().status.is_success());

        // A session that nobody touches, and how long the next one is told to wait for its place.
        let begun = Instant::now();
        let new = json!({"idle_timeout_ms": 1500});
        let session: Value = send(&mut one, Method::POST, "/v1/sessions", &new).await.json().unwrap();
        is_near(&session["expires_at"]);
        let answer = send(&mut other, Method::POST, "/v1/sessions", &new).await;
        let (status, error) = refused(&answer);
        assert_eq!(status, 429, "{error:?}");
        assert!(error.retry_after_ms.is_some_and(|ms| (1..=1_500).contains(&ms)), "{error:?}");
        let target = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
        eventually("the session to time out", SOON, async || {
            let seen: Value = get(&mut other, &target).await.json().unwrap();
            (seen["state"] == "timed_out").then_some(())
        })
        .await;
        took("a session", begun, 1_500);

        // An idempotency key holds, whoever made it.
        let name = format!("key-{id}");
        let once = json!({"kind": "once", "lane": "nobody", "idempotency_key": name});
        assert_eq!(publish(&mut one, once.clone()).await, publish(&mut other, once).await);

        let events: Value = get(&mut one, "/v1/events?after=0&limit=1000").await.json().unwrap();
        events["items"].as_array().unwrap().iter().for_each(|event| is_near(&event["time"]));
    }
}
