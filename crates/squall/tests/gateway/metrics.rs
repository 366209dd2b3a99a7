//! What the gateway says about itself: that it can be scraped, that the figures move with what was done, that both surfaces
//! agree.

use std::time::Duration;

use serde_json::{Value, json};
use squall_protocol::stats::{ArchiveFigures, DeadLetterCount, IngestStats, TaskCount};
use squall_protocol::{DeadReason, Health, HealthStatus, LaneView, NackMode, Priority, Stats, TaskState};
use squall_testkit::{Postgres, eventually, exposition::Samples};

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

/// A family of `/metrics` and its figure in `/v1/metrics`: how far they may be apart, and both, as one number each.
type Figure = (&'static str, f64, fn(&Samples) -> f64, fn(&Stats) -> f64);

/// One figure for each family that there is.
const FIGURES: &[Figure] = &[
    (
        "squall_archive_behind",
        0.0,
        |p| p.sum("squall_archive_behind", &[]),
        |j| of_archive(j, |archive| archive.behind),
    ),
    (
        "squall_archive_failures",
        0.0,
        |p| p.sum("squall_archive_failures_total", &[]),
        |j| of_archive(j, |archive| archive.failures),
    ),
    (
        "squall_archive_lost_events",
        0.0,
        |p| p.sum("squall_archive_lost_events_total", &[]),
        |j| of_archive(j, |archive| archive.lost),
    ),
    (
        "squall_archive_rows",
        0.0,
        |p| p.sum("squall_archive_rows_total", &[]),
        |j| of_archive(j, |archive| archive.tasks + archive.sessions),
    ),
    (
        "squall_archive_writes",
        0.0,
        |p| p.sum("squall_archive_writes", &[]),
        |j| of_archive(j, |archive| archive.writes.into()),
    ),
    (
        "squall_build",
        0.0,
        |p| p.sum("squall_build_info", &[("version", env!("CARGO_PKG_VERSION"))]),
        |j| f64::from(u8::from(j.build.version == env!("CARGO_PKG_VERSION") && !j.build.profile.is_empty())),
    ),
    (
        "squall_commands_overloaded",
        0.0,
        |p| p.sum("squall_commands_overloaded_total", &[]),
        |j| j.commands_overloaded as f64,
    ),
    (
        "squall_commit_commands",
        0.0,
        |p| p.sum("squall_commit_commands_sum", &[]),
        |j| {
            if j.commit_commands.max < 1.0 { -1.0 } else { j.committed_commands as f64 }
        },
    ),
    (
        "squall_commit_duration_seconds",
        0.0,
        |p| p.sum("squall_commit_duration_seconds_count", &[]),
        |j| {
            if j.commit_ms.max <= 0.0 { -1.0 } else { j.commits as f64 }
        },
    ),
    (
        "squall_commit_size_bytes",
        0.0,
        |p| p.sum("squall_commit_size_bytes_bucket", &[("le", "+Inf")]),
        |j| {
            if j.commit_bytes.p50 < 8.0 { -1.0 } else { j.commits as f64 }
        },
    ),
    ("squall_connections", 0.0, |p| p.sum("squall_connections", &[]), |j| j.connections as f64),
    (
        "squall_connections_refused",
        0.0,
        |p| p.sum("squall_connections_refused_total", &[]),
        |j| j.connections_refused.values().sum::<u64>() as f64,
    ),
    (
        "squall_dead_letters",
        0.0,
        |p| p.sum("squall_dead_letters_total", &[("lane", "plain"), ("reason", "fatal")]),
        |j| {
            let wanted = |dead: &&DeadLetterCount| dead.lane == "plain" && dead.reason == DeadReason::Fatal;
            j.dead_letters.iter().filter(wanted).map(|dead| dead.count as f64).sum()
        },
    ),
    (
        "squall_dead_letters_dropped",
        0.0,
        |p| p.sum("squall_dead_letters_dropped_total", &[]),
        |j| j.dead_letters_dropped as f64,
    ),
    ("squall_feed_offset", 0.0, |p| p.sum("squall_feed_offset", &[]), |j| j.feed_offset as f64),
    ("squall_feed_oldest", 0.0, |p| p.sum("squall_feed_oldest", &[]), |j| j.feed_oldest as f64),
    ("squall_feed_subscribers", 0.0, |p| p.sum("squall_feed_subscribers", &[]), |j| j.subscribers as f64),
    (
        "squall_feed_subscribers_dropped",
        0.0,
        |p| p.sum("squall_feed_subscribers_dropped_total", &[]),
        |j| j.subscribers_dropped as f64,
    ),
    (
        "squall_http_request_duration_seconds",
        0.0,
        |p| p.sum("squall_http_request_duration_seconds_count", &[("route", "/v1/tasks"), ("method", "POST")]),
        |j| {
            let published = j.routes.iter().find(|of| of.route == "/v1/tasks" && of.method == "POST").unwrap();
            if published.latency_ms.p99 <= 0.0 { -1.0 } else { published.statuses.values().sum::<u64>() as f64 }
        },
    ),
    (
        "squall_http_requests",
        0.0,
        |p| p.sum("squall_http_requests_total", &[("route", "/v1/tasks"), ("method", "POST"), ("status", "202")]),
        |j| j.routes.iter().find(|of| of.route == "/v1/tasks" && of.method == "POST").unwrap().statuses["202"] as f64,
    ),
    (
        "squall_idempotency_keys_evicted",
        0.0,
        |p| p.sum("squall_idempotency_keys_evicted_total", &[]),
        |j| j.idempotency_keys_evicted as f64,
    ),
    // Nothing is fetched here: gateway/ingest.rs looks at these where something is.
    (
        "squall_ingest_items",
        0.0,
        |p| p.sum("squall_ingest_items_total", &[]),
        |j| of_ingest(j, |of| of.items.values().sum()),
    ),
    (
        "squall_ingest_retries",
        0.0,
        |p| p.sum("squall_ingest_retries_total", &[]),
        |j| of_ingest(j, |of| of.retries.values().sum()),
    ),
    ("squall_ingest_up", 0.0, |p| p.sum("squall_ingest_up", &[]), |j| of_ingest(j, |of| of.up.into())),
    ("squall_lane_credit", 0.0, |p| p.sum("squall_lane_credit", &[]), |j| of_lanes(j, |lane| lane.credit)),
    (
        "squall_lane_dead_letters",
        0.0,
        |p| p.sum("squall_lane_dead_letters", &[]),
        |j| of_lanes(j, |lane| lane.dead_letters),
    ),
    ("squall_lane_delayed", 0.0, |p| p.sum("squall_lane_delayed", &[]), |j| of_lanes(j, |lane| lane.delayed)),
    ("squall_lane_leased", 0.0, |p| p.sum("squall_lane_leased", &[]), |j| of_lanes(j, |lane| lane.leased)),
    // It grows between one request and the other.
    (
        "squall_lane_oldest_ready_seconds",
        60.0,
        |p| p.sum("squall_lane_oldest_ready_seconds", &[("priority", "high")]),
        |j| of_lanes(j, |lane| lane.oldest_ready_ms.high) / 1_000.0,
    ),
    ("squall_lane_paused", 0.0, |p| p.sum("squall_lane_paused", &[]), |j| of_lanes(j, |lane| lane.paused.into())),
    (
        "squall_lane_ready",
        0.0,
        |p| p.sum("squall_lane_ready", &[("priority", "high")]),
        |j| of_lanes(j, |lane| lane.ready.high),
    ),
    ("squall_lane_workers", 0.0, |p| p.sum("squall_lane_workers", &[]), |j| of_lanes(j, |lane| lane.workers)),
    ("squall_process_cpu_seconds", 60.0, |p| p.sum("squall_process_cpu_seconds_total", &[]), |j| j.process.cpu_seconds),
    ("squall_process_open_fds", 100.0, |p| p.sum("squall_process_open_fds", &[]), |j| j.process.open_fds as f64),
    (
        "squall_process_resident_memory_bytes",
        1e9,
        |p| p.sum("squall_process_resident_memory_bytes", &[]),
        |j| j.process.rss_bytes as f64,
    ),
    ("squall_process_threads", 100.0, |p| p.sum("squall_process_threads", &[]), |j| j.process.threads as f64),
    (
        "squall_process_uptime_seconds",
        60.0,
        |p| p.sum("squall_process_uptime_seconds", &[]),
        |j| j.process.uptime_ms as f64 / 1_000.0,
    ),
    ("squall_sessions", 0.0, |p| p.sum("squall_sessions", &[("state", "active")]), |j| j.sessions["active"] as f64),
    (
        "squall_sessions_ended",
        0.0,
        |p| p.sum("squall_sessions_ended_total", &[("state", "completed")]),
        |j| j.sessions["completed"] as f64,
    ),
    ("squall_sessions_refused", 0.0, |p| p.sum("squall_sessions_refused_total", &[]), |j| j.sessions_refused as f64),
    ("squall_store_disk_bytes", 0.0, |p| p.sum("squall_store_disk_bytes", &[]), |j| j.disk_bytes as f64),
    ("squall_store_up", 0.0, |p| p.sum("squall_store_up", &[]), |j| f64::from(u8::from(j.store_up))),
    ("squall_task_bytes", 0.0, |p| p.sum("squall_task_bytes", &[]), |j| j.task_bytes as f64),
    (
        "squall_tasks",
        0.0,
        |p| p.sum("squall_tasks_total", &[("lane", "plain"), ("priority", "high"), ("outcome", "delivered")]),
        |j| {
            let wanted =
                |of: &&TaskCount| of.lane == "plain" && of.priority == Priority::High && of.outcome == "delivered";
            j.tasks_by_lane.iter().filter(wanted).map(|of| of.count as f64).sum()
        },
    ),
    (
        "squall_tasks_without_lane",
        0.0,
        |p| p.sum("squall_tasks_without_lane_total", &[]),
        |j| j.tasks_without_lane as f64,
    ),
    ("squall_work_connections", 0.0, |p| p.sum("squall_work_connections", &[]), |j| j.work_connections as f64),
    ("squall_workers", 0.0, |p| p.sum("squall_workers", &[]), |j| j.workers as f64),
];

/// What all lists and streams come to.
pub(crate) fn of_ingest(stats: &Stats, figure: fn(&IngestStats) -> u64) -> f64 {
    stats.ingest.iter().map(figure).sum::<u64>() as f64
}

fn of_archive(stats: &Stats, figure: fn(&ArchiveFigures) -> u64) -> f64 {
    stats.archive.as_ref().map_or(0, figure) as f64
}

fn of_lanes(stats: &Stats, figure: fn(&LaneView) -> u64) -> f64 {
    stats.lanes.iter().map(figure).sum::<u64>() as f64
}

#[tokio::test]
async fn both_surfaces_have_the_same_figures() {
    // No segment is prepared meanwhile: the first is large enough, and the next is ready.
    let postgres = Postgres::start(false);
    let config = format!("[sessions]\nmax_concurrent = 2\n[store]\nidempotency_keys = 1\n{LANES}");
    let gateway = setup().config(&config).env("SQUALL_ARCHIVE__URL", &postgres.url()).start().await.unwrap();
    let mut http = http(&gateway);
    for n in 0..6 {
        let task = json!({"lane": "plain", "kind": "build", "priority": "high", "payload": n, "idempotency_key": n.to_string()});
        publish(&mut http, task).await;
    }
    publish(&mut http, json!({"lane": "narrow", "kind": "build", "delay_ms": 600_000})).await;
    let mut worker = Worker::new(&gateway, &["plain"], 3).await;
    let dead = worker.take().await;
    worker.work.nack(&nack(dead.id, NackMode::Fatal, "no"));
    worker.work.flush().await.unwrap();
    state_of(&mut http, dead.id, TaskState::Dead).await;
    let ended = http.create_session(&Default::default()).await.unwrap();
    http.end_session(&ended.id, &Default::default()).await.unwrap();
    for _ in 0..2 {
        http.create_session(&Default::default()).await.unwrap();
    }
    http.create_session(&Default::default()).await.unwrap_err();
    http.pause_lane("narrow", None).await.unwrap();

    // Nothing happens any more, but disks are prepared for what may come, and what was is archived.
    let (stats, samples) = eventually("the disk and the archive to be quiet", SOON, async || {
        let stats = http.stats().await.unwrap();
        let samples = scrape(&mut http).await;
        let quiet = stats.archive.is_some_and(|archive| archive.writes && archive.behind == 0);
        let same = samples.sum("squall_store_disk_bytes", &[]) == stats.disk_bytes as f64;
        (quiet && same).then_some((stats, samples))
    })
    .await;
    let mut nonzero = 0;
    for (family, tolerance, prometheus, json) in FIGURES {
        let (there, here) = (prometheus(&samples), json(&stats));
        assert!((there - here).abs() <= *tolerance, "{family}: {there} in /metrics, {here} in /v1/metrics");
        nonzero += u32::from(there != 0.0);
    }
    assert!(nonzero >= 30, "most of them have something to say: {nonzero}");
    assert_eq!(stats.idempotency_keys_evicted, 5);
    assert!(stats.archive.is_some_and(|archive| archive.sessions > 0 && archive.tasks > 0), "{:?}", stats.archive);
    let without: Vec<_> =
        samples.families().into_iter().filter(|name| FIGURES.iter().all(|(family, ..)| family != name)).collect();
    assert!(without.is_empty(), "no figure in /v1/metrics: {without:?}");
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
