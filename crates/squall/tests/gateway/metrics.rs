//! What the gateway says about itself: that it can be scraped, that the figures move with what was done, that both surfaces
//! agree.

use std::time::Duration;

use serde_json::{Value, json};
use squall_protocol::{Health, HealthStatus, NackMode, TaskState};
use squall_testkit::{eventually, exposition::Samples};

use crate::support::*;

async fn scrape(http: &mut squall_client::Http) -> Samples {
    let text = http.metrics().await.unwrap();
    Samples::parse(&text).unwrap_or_else(|why| panic!("{why}"))
}

#[tokio::test]
async fn the_figures_move_with_what_was_done() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let before = http.stats().await.unwrap();
    http.create_session(&Default::default()).await.unwrap();
    for n in 0..6 {
        publish(&mut http, json!({"lane": "plain", "kind": "build", "priority": "high", "payload": n})).await;
    }
    let mut worker = Worker::new(&gateway, &["plain"], 3).await;
    let tasks = [worker.take().await, worker.take().await, worker.take().await];
    // As seen with three at work and three waiting.
    let lane = http.lane("plain").await.unwrap();
    assert_eq!((lane.ready.high, lane.leased, lane.workers, lane.credit), (3, 3, 1, 0));
    assert!(lane.oldest_ready_ms.high < 60_000);
    for got in &tasks[..2] {
        worker.work.ack(got.id);
    }
    worker.work.nack(&nack(tasks[2].id, NackMode::Fatal, "no"));
    worker.work.flush().await.unwrap();
    state_of(&mut http, tasks[2].id, TaskState::Dead).await;

    let after = http.stats().await.unwrap();
    let moved = |name: &str| after.tasks[name] - before.tasks.get(name).copied().unwrap_or(0);
    assert_eq!([moved("published"), moved("delivered"), moved("done"), moved("dead")], [6, 3, 2, 1]);
    assert_eq!((after.sessions["active"], after.workers), (1, 1));
    assert!(after.feed_offset > before.feed_offset && after.epoch == before.epoch);
    assert!(after.commits > before.commits && after.committed_commands - before.committed_commands >= 6);
    assert!(after.commit_ms.p50 > 0.0 && after.commit_ms.p50 <= after.commit_ms.max);
    assert!(after.requests > before.requests);
    assert!(after.process.rss_bytes > 1 << 20 && after.process.open_fds > 3 && after.process.threads > 1);

    let samples = scrape(&mut http).await;
    let names = samples.names().join("\n");
    let find = |parts: &[&str]| {
        let found = samples.names().into_iter().find(|name| parts.iter().all(|part| name.contains(part)));
        found.unwrap_or_else(|| panic!("no metric with {parts:?} among\n{names}"))
    };
    let requests = find(&["request", "total"]);
    assert!(samples.sum(requests, &[("method", "POST"), ("status", "202")]) >= 6.0, "{:?}", samples.of(requests));
    assert!(samples.sum(find(&["request", "seconds", "bucket"]), &[("le", "+Inf")]) >= 6.0);
    let outcomes = find(&["tasks", "total"]);
    let plain = |outcome: &str| samples.sum(outcomes, &[("lane", "plain"), ("priority", "high"), ("outcome", outcome)]);
    assert_eq!([plain("published"), plain("done"), plain("dead")], [6.0, 2.0, 1.0], "{:?}", samples.of(outcomes));
    let depth = find(&["lane_ready"]);
    assert_eq!(samples.sum(depth, &[("lane", "plain"), ("priority", "high")]), 3.0, "{:?}", samples.of(depth));
    for parts in [
        &["oldest"][..],
        &["lane_leased"],
        &["dead_letters"],
        &["sessions"],
        &["feed_offset"],
        &["subscribers"],
        &["dropped"],
        &["commit", "seconds", "bucket"],
        &["commit", "commands"],
        &["cpu_seconds"],
        &["resident_memory"],
        &["open_fds"],
        &["build_info"],
    ] {
        find(parts);
    }
    assert_eq!(samples.sum(find(&["sessions"]), &[("state", "active")]), 1.0);
}

#[tokio::test]
async fn a_scrape_survives_names_that_would_break_it() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    // Routes come from the outside; a label must not.
    for target in ["/v1/no\"such\\route", "/%0a%22", "/v1/tasks/not-an-id", "/v1/lanes/n%22o/pause"] {
        let answer = http
            .request(http::Method::GET, &target.replace('"', "%22").replace('\\', "%5C"), &[], bytes::Bytes::new())
            .await
            .unwrap();
        refused(&answer);
    }
    let samples = scrape(&mut http).await;
    let routes: std::collections::BTreeSet<_> = samples
        .names()
        .iter()
        .flat_map(|name| samples.of(name))
        .filter_map(|(labels, _)| labels.get("route"))
        .collect();
    assert!(
        !routes.is_empty() && routes.iter().all(|route| !route.contains('%') && !route.contains("not-an-id")),
        "{routes:?}"
    );
}

#[tokio::test]
async fn health_is_checked_live_and_left_in_a_file() {
    let gateway = gateway_with("[server]\nhealth_file_every_ms = 100\n").await;
    let mut http = http(&gateway);
    let health = http.health().await.unwrap();
    assert_eq!((health.status, health.lost.len(), health.durability.as_str()), (HealthStatus::Healthy, 0, "commit"));
    assert!(health.dependencies["store"].ok);
    let path = gateway.data_dir().join("health.json");
    let read = || std::fs::read(&path).ok().map(|bytes| serde_json::from_slice::<Health>(&bytes).unwrap());
    let first = eventually("health.json", SOON, async || read()).await;
    // Replaced as a whole, again and again: every read in between is a whole document.
    let later =
        eventually("health.json to be replaced", SOON, async || read().filter(|health| health.time > first.time)).await;
    assert_eq!(later.status, HealthStatus::Healthy);

    let relaxed =
        setup().config("[store]\ndurability = \"interval\"\ninterval_ms = 250\n[lanes.a]\n").start().await.unwrap();
    let health = crate::support::http(&relaxed).health().await.unwrap();
    assert!(health.durability.contains("interval") && health.durability.contains("250"), "{}", health.durability);
}

#[tokio::test]
async fn logs_are_lines_of_json_when_asked_for() {
    let gateway = setup().config(LANES).arg("--log-format").arg("json").start().await.unwrap();
    publish(&mut http(&gateway), json!({"kind": "build"})).await;
    let mut gateway = gateway;
    gateway.terminate(Duration::from_secs(15)).await.unwrap();
    let log = gateway.log();
    assert!(!log.trim().is_empty());
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn the_surface_describes_itself() {
    let gateway = gateway().await;
    let answer = get(&mut http(&gateway), "/openapi.json").await;
    let described: Value = answer.json().unwrap();
    assert!(described["openapi"].as_str().unwrap().starts_with("3."));
    for path in ["/v1/tasks", "/v1/sessions", "/v1/lanes/{lane}/lease", "/v1/dead-letters/{id}/replay", "/v1/events"] {
        assert!(described["paths"][path].is_object(), "{path} is missing");
    }
}
