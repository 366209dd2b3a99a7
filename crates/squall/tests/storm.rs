//! `squall run` from outside: short runs of each executor against a gateway of its own, a kill in the middle, an early end,
//! a broken promise, and a target that is not there.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod storm_kit;

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use squall_report::record::Ended;
use storm_kit::Storm;

/// Workers that do whatever the loads above them publish.
const WORKERS: &str = "[[load]]\nworkload = \"workers\"\nexecutor = \"constant-vus\"\nvus = 3\nduration = \"2s\"\n";

fn publishing(executor: &str) -> String {
    format!("name = \"test\"\nsettle = \"20s\"\n[[load]]\nworkload = \"tasks\"\n{executor}\n{WORKERS}{PATIENT}")
}

/// How late a busy machine makes the storm is not what is tested here.
const PATIENT: &str = "[generator]\nmax_lateness_p99_ms = 60000\nmax_dropped = 1\n";

#[tokio::test]
async fn every_executor_publishes_and_every_task_is_accounted_for() {
    for (executor, at_least) in [
        ("executor = \"constant-vus\"\nvus = 4\nduration = \"1s\"", 50),
        (
            "executor = \"ramping-vus\"\nstart_vus = 1\nstages = [{ duration = \"1s\", target = 4 }]\ntransport = \"ws\"\nbatch = 10",
            50,
        ),
        (
            "executor = \"constant-arrival-rate\"\nrate = 200\nduration = \"1s\"\npre_allocated_vus = 400\nkeyed = 0.5",
            190,
        ),
        (
            "executor = \"ramping-arrival-rate\"\nstages = [{ duration = \"1s\", target = 400 }]\npre_allocated_vus = 400",
            190,
        ),
        ("executor = \"per-vu-iterations\"\nvus = 4\niterations = 25\nbatch = 4", 400),
        ("executor = \"shared-iterations\"\nvus = 4\niterations = 150", 150),
    ] {
        let outcome = Storm::new(&publishing(executor)).run().await;
        assert_eq!(outcome.code, Some(0), "{executor}\n{}", outcome.said());
        let record = outcome.record();
        let ledger = record.ledger.clone().unwrap();
        assert!(ledger.acknowledged >= at_least, "{executor}: {ledger:?}");
        assert_eq!((ledger.lost, ledger.pending, ledger.unexpected, ledger.reordered), (0, 0, 0, 0), "{ledger:?}");
        assert_eq!(ledger.acked, ledger.acknowledged + ledger.recovered, "{ledger:?}");
        for file in ["run.json", "series.jsonl", "summary.md", "report.html", "target.log"] {
            assert!(outcome.run_dir().join(file).exists(), "{file} is missing");
        }
    }
}

#[tokio::test]
async fn a_tree_that_is_analysed_reaches_every_subscriber() {
    let scenario = format!(
        r#"name = "test"
        settle = "20s"
        [sources]
        files = 60
        functions = 4
        [[load]]
        workload = "subscribers"
        executor = "constant-vus"
        vus = 5
        duration = "9s"
        [[load]]
        name = "analyses"
        workload = "http"
        method = "POST"
        path = "/api/graph/admin/reanalyze?wait=true&force=true"
        status = [200]
        start_time = "1s"
        executor = "constant-arrival-rate"
        rate = 1
        time_unit = "2s"
        duration = "6s"
        pre_allocated_vus = 1
        [target.graph]
        watch = false
        [thresholds]
        feed_gaps = "count==0"
        feed_shortfall = "count==0"
        http_req_failed = "rate==0"
        target_cpu = ["value>0", "value<=100"]
        target_memory_growth = "value<1000"
        {PATIENT}"#
    );
    let outcome = Storm::new(&scenario).run().await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    // 60 files have at least six nodes each, and every subscriber is told of each three times.
    let events = outcome.record().feed.unwrap().events;
    assert!(events >= 60 * 6 * 3 * 5, "{events}");
}

#[tokio::test]
async fn a_kill_in_the_middle_loses_nothing() {
    let scenario = format!(
        r#"name = "test"
        settle = "30s"
        [[load]]
        workload = "tasks"
        executor = "constant-arrival-rate"
        rate = 300
        duration = "6s"
        pre_allocated_vus = 32
        max_vus = 256
        keyed = 0.3
        [[load]]
        name = "frames"
        workload = "tasks"
        transport = "ws"
        batch = 10
        executor = "constant-arrival-rate"
        rate = 20
        duration = "6s"
        [[load]]
        workload = "sessions"
        executor = "constant-vus"
        vus = 5
        duration = "6s"
        lasts = "2s"
        events_per_min = 300
        heartbeat = "500ms"
        [[load]]
        workload = "subscribers"
        executor = "constant-vus"
        vus = 2
        duration = "6s"
        [[load]]
        workload = "http"
        path = "/health"
        executor = "constant-arrival-rate"
        rate = 20
        duration = "6s"
        [[fault]]
        kind = "kill"
        at = "1500ms"
        for = "300ms"
        [[fault]]
        kind = "drain"
        at = "3s"
        for = "300ms"
        [[fault]]
        kind = "stop"
        at = "4500ms"
        for = "300ms"
        {WORKERS}
        nack = 0.05
        vanish = 0.005
        [thresholds]
        lost = "count==0"
        reordered = "count==0"
        feed_gaps = "count==0"
        feed_shortfall = "count==0"
        session_success = "rate>0.9"
        {PATIENT}
        [target.lanes.gpt4]
        retry = {{ max = 8, delay_ms = 50 }}
        [target.lanes.claude_web]
        retry = {{ max = 8, delay_ms = 50 }}
        [target.lanes.crude]
        retry = {{ max = 8, delay_ms = 50 }}
        "#
    );
    let outcome = Storm::new(&scenario).run().await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    let record = outcome.record();
    let ledger = record.ledger.as_ref().unwrap();
    assert!(ledger.settled && ledger.acknowledged > 1_000, "{ledger:?}");
    assert!(ledger.duplicated.explained > 0, "nacks and vanishing workers lead to redelivery: {ledger:?}");
    assert_eq!(ledger.duplicated.unexplained, 0, "{ledger:?}");
    assert_eq!(record.target.restarts, 2);
    for fault in &record.faults {
        let (until, recovered) = (fault.until_ms.unwrap(), fault.recovered_ms.unwrap());
        assert!(fault.at_ms < until && until <= recovered, "{fault:?}");
    }
    assert!(record.errors.contains_key("connect"), "the storm felt the kill: {:?}", record.errors);
    assert!(record.resources.target.is_some() && record.machine.shared_with_target);
    assert!(std::fs::read_dir(outcome.run_dir().join("sessions")).unwrap().count() >= 5);
    assert!(!record.notes.iter().any(|note| note.contains("did not stop cleanly")), "{:?}", record.notes);
    let sessions = record.sessions.as_ref().unwrap();
    assert!(sessions.by_outcome.values().sum::<u64>() >= 5, "{sessions:?}");
    every_metric_is_recorded(&record);
    assert_eq!(outcome.left_behind(), Vec::<std::path::PathBuf>::new());
}

/// Metrics that even a run with all workloads and faults may well not have, and why.
const CONDITIONAL: [(&str, &str); 16] = [
    ("lost", "the gateway would have to lose a task"),
    ("pending", "the lanes become quiet"),
    ("recovered", "an answer would have to be lost in the moment of the kill"),
    ("tasks_unknown", "an answer would have to be lost in the moment of the kill"),
    ("duplicated_unexplained", "the gateway would have to deliver twice for no reason"),
    ("reordered", "the gateway would have to break an order"),
    ("unexpected", "the gateway would have to make a task up"),
    ("dead_lettered", "a task would have to fail nine times"),
    ("dropped_iterations", "the virtual users would have to be too few"),
    ("sessions_refused", "there are fewer sessions than the limit"),
    ("feed_gaps", "the gateway would have to skip an event"),
    ("feed_gaps_told", "the feed would have to be damaged, or cleaned up"),
    ("feed_repeats", "the gateway would have to repeat an event"),
    ("feed_conflicts", "the gateway would have to tell one event in two ways"),
    ("feed_shortfall", "the feed would have to fall silent"),
    ("tasks_refused", "the storm would have to find no connection just when it publishes over HTTP"),
];

/// A metric that nobody records is a column of lies: whatever is not conditional has samples in this run.
fn every_metric_is_recorded(record: &squall_report::RunRecord) {
    use squall_report::statistics::{BUILT_IN, MetricValues};
    let conditional = |name: &str| CONDITIONAL.iter().any(|(metric, _)| *metric == name);
    for it in BUILT_IN.iter().filter(|it| !conditional(it.name)) {
        let values = record.metric(it.name).map(|metric| &metric.values);
        let recorded = values.is_some_and(|values| !matches!(values, MetricValues::Counter { count: 0, .. }));
        assert!(recorded, "nobody recorded {}: {values:?}", it.name);
    }
    for (name, _) in CONDITIONAL {
        assert!(BUILT_IN.iter().any(|it| it.name == name), "{name} is no metric any more");
    }
}

#[tokio::test]
async fn built_in_scenarios_run_and_lose_nothing() {
    // So short, the calm ones would not come to their first task without more events.
    const BUSY: [&str; 4] = ["--duration", "2s", "--events-per-min", "600"];
    for (name, args) in
        [("demo", ["--duration", "5s"].as_slice()), ("light", &BUSY), ("medium", &BUSY), ("heavy", &BUSY)]
    {
        let outcome = Storm::built_in(name).args(args).run().await;
        let record = outcome.record();
        // How fast it was is a matter of the machine; that nothing is gone is not.
        assert_eq!(record.ended, Ended::Completed, "{name}: {}", outcome.said());
        let ledger = record.ledger.as_ref().unwrap();
        assert!(ledger.settled && ledger.acknowledged > 0, "{name}: {ledger:?}");
        assert_eq!(
            (ledger.lost, ledger.pending, ledger.unexpected, ledger.reordered),
            (0, 0, 0, 0),
            "{name}: {ledger:?}"
        );
        for metric in ["feed_gaps", "feed_shortfall"] {
            let threshold = record.thresholds.iter().find(|it| it.selector == metric).unwrap();
            assert!(threshold.passed, "{name}: {threshold:?}");
        }
        assert!(record.faults.iter().all(|fault| fault.recovered_ms.is_some()), "{name}: {:?}", record.faults);
        assert_eq!(record.faults.len(), usize::from(name == "demo"));
    }
}

#[tokio::test]
async fn dead_letters_are_kept_and_those_of_others_are_not_ours() {
    let setup = squall_testkit::Setup::new(env!("CARGO_BIN_EXE_squall")).config("[lanes.work]\nconcurrency = 100\n");
    let gateway = setup.start().await.unwrap();
    let pid = gateway.pid().to_string();
    for (fatal, some) in [(0.5, true), (0.0, false)] {
        let scenario = format!(
            r#"name = "test"
            [[load]]
            workload = "tasks"
            executor = "shared-iterations"
            vus = 2
            iterations = 60
            lanes = ["work"]
            [[load]]
            workload = "workers"
            executor = "constant-vus"
            duration = "1s"
            lanes = ["work"]
            fatal = {fatal}
            {PATIENT}"#
        );
        let outcome = Storm::new(&scenario).args(&["--target", gateway.url(), "--pid", &pid]).run().await;
        assert_eq!(outcome.code, Some(0), "{}", outcome.said());
        let record = outcome.record();
        let dead = record.ledger.as_ref().unwrap().dead_lettered;
        assert_eq!(dead > 0, some, "{:?}", record.ledger);
        assert_eq!(record.lanes.iter().map(|lane| lane.dead_lettered).sum::<u64>(), dead, "{:?}", record.lanes);
        let files = std::fs::read_dir(outcome.run_dir().join("dead-letters"));
        let files: Vec<_> = files.map(|files| files.map(|file| file.unwrap().path()).collect()).unwrap_or_default();
        assert_eq!(files.len() as u64, dead, "one file for each of this run, and none of another");
        for file in files {
            let letter: squall_protocol::DeadLetter =
                serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            assert_eq!((letter.lane.as_str(), letter.reason), ("work", squall_protocol::DeadReason::Fatal), "{file:?}");
        }
        // Its process is watched, because we said which it is.
        assert!(record.resources.target.is_some_and(|usage| usage.rss_max_bytes > 0 && usage.threads_max > 0));
        assert_eq!(record.target.pid, Some(gateway.pid()));
    }
}

#[tokio::test]
async fn the_gateways_data_stays_when_it_is_asked_to() {
    let scenario = publishing("executor = \"shared-iterations\"\niterations = 5");
    let outcome = Storm::new(&scenario).args(&["--keep-data"]).run().await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    let [left] = outcome.left_behind().try_into().unwrap();
    assert!(left.join("data").is_dir());
    let record = outcome.record();
    assert!(record.notes.iter().any(|note| note.contains(left.to_str().unwrap())), "{:?}", record.notes);
}

#[tokio::test]
async fn ctrl_c_ends_the_run_early_and_still_reports() {
    let scenario = publishing("executor = \"constant-arrival-rate\"\nrate = 100\nduration = \"120s\"");
    let running = Storm::new(&scenario).start();
    seconds(&running, 2).await;
    running.interrupt();
    let outcome = running.finish().await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.said());
    let record = outcome.record();
    assert_eq!(record.ended, Ended::Interrupted);
    assert!(record.duration.load_ms < 60_000);
    let ledger = record.ledger.unwrap();
    assert!(ledger.acknowledged > 0 && ledger.lost == 0, "{ledger:?}");
    assert!(outcome.run_dir().join("report.html").exists());
}

/// Waits until the run has written so many seconds.
async fn seconds(running: &storm_kit::Running, seconds: usize) {
    squall_testkit::within("some seconds of the run", Duration::from_secs(60), async {
        while running.seconds() < seconds {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// One second of load, after which the lanes stay busy for longer than anybody wants to wait.
const NEVER_QUIET: &str = r#"name = "test"
    settle = "300s"
    [[load]]
    workload = "tasks"
    executor = "constant-vus"
    duration = "1s"
    [[load]]
    workload = "workers"
    executor = "constant-vus"
    duration = "1s"
    work_ms = [3600000, 3600000]
    "#;

#[tokio::test]
async fn ctrl_c_while_the_lanes_settle_does_not_wait_to_the_end() {
    let running = Storm::new(NEVER_QUIET).start();
    seconds(&running, 3).await;
    running.interrupt();
    let outcome = running.finish().await;
    let record = outcome.record();
    assert_eq!(record.ended, Ended::Interrupted, "{}", outcome.said());
    assert!(
        record.duration.load_ms < record.duration.settle_ms && record.duration.settle_ms < 60_000,
        "{:?}",
        record.duration
    );
}

#[tokio::test]
async fn a_second_ctrl_c_stops_at_once_and_leaves_neither_gateway_nor_directory() {
    let mut running = Storm::new(NEVER_QUIET).start();
    let gateway = target_pid(&running).await;
    squall_testkit::within("the end of the storm", Duration::from_secs(30), async {
        // The first two that are not heard as one are the first and the second.
        while running.child.try_wait().unwrap().is_none() {
            running.interrupt();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let outcome = running.finish().await;
    assert_eq!(outcome.code, Some(130), "{}", outcome.said());
    assert!(outcome.stderr.contains("stopped at once"), "what the storm warns of is seen: {}", outcome.said());
    assert!(is_gone(gateway));
    assert_eq!(outcome.left_behind(), Vec::<std::path::PathBuf>::new());
}

/// The own gateway's process, once the record names it.
async fn target_pid(running: &storm_kit::Running) -> Pid {
    let pid = || {
        let text = std::fs::read_to_string(running.run_dir()?.join("run.json")).ok()?;
        let record: squall_report::RunRecord = serde_json::from_str(&text).ok()?;
        record.target.pid
    };
    let pid = squall_testkit::eventually("the target's pid", Duration::from_secs(30), async || pid()).await;
    Pid::from_raw(pid as i32)
}

/// Gone, or a zombie that nobody has reaped: where tests run, there may be nobody who does.
fn is_gone(pid: Pid) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_gateway_that_dies_by_itself_is_no_verdict_and_a_storm_that_is_killed_leaves_no_gateway() {
    let scenario = publishing("executor = \"constant-arrival-rate\"\nrate = 50\nduration = \"120s\"");
    let running = Storm::new(&scenario).start();
    kill(target_pid(&running).await, Signal::SIGKILL).unwrap();
    let outcome = running.finish().await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.said());
    assert!(matches!(outcome.record().ended, Ended::Failed { message } if message.contains("died by itself")));

    let running = Storm::new(&scenario).start();
    let gateway = target_pid(&running).await;
    kill(Pid::from_raw(running.child.id().unwrap() as i32), Signal::SIGKILL).unwrap();
    squall_testkit::within("the gateway's end", Duration::from_secs(20), async {
        while !is_gone(gateway) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let record = running.finish().await.record();
    assert_eq!(record.ended, Ended::Unfinished, "a run that was killed leaves what it had");
}

#[tokio::test]
async fn a_promise_that_is_broken_exits_99() {
    let scenario = publishing("executor = \"constant-vus\"\nduration = \"500ms\"")
        + "[thresholds]\ntask_latency = \"p(99)<0.001\"\n";
    let outcome = Storm::new(&scenario).run().await;
    assert_eq!(outcome.code, Some(99), "{}", outcome.said());
}

#[tokio::test]
async fn a_target_that_is_not_there_exits_1_and_a_wrong_scenario_2() {
    let scenario = publishing("executor = \"constant-vus\"\nduration = \"500ms\"");
    let outcome = Storm::new(&scenario).args(&["--target", "http://127.0.0.1:1"]).run().await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.said());
    assert!(outcome.stderr.contains("127.0.0.1:1"), "{}", outcome.said());

    let outcome = Storm::new(&scenario.replace("constant-vus", "constant-rate")).run().await;
    assert_eq!(outcome.code, Some(2), "{}", outcome.said());
    let expected = r#"test.toml:5: unknown executor "constant-rate"; did you mean "constant-arrival-rate"?"#;
    assert!(outcome.stderr.contains(expected), "{}", outcome.said());
}

#[tokio::test]
async fn sessions_over_the_limit_are_refused_counted_and_a_broken_promise() {
    let scenario = "name = \"test\"\n[[load]]\nworkload = \"sessions\"\nexecutor = \"constant-vus\"\nvus = 6\nduration = \"2s\"\nlasts = \"1s\"\n\
        [target.sessions]\nmax_concurrent = 3\nmax_per_tenant = 3\n[thresholds]\nsession_success = \"rate>0.95\"\n";
    let outcome = Storm::new(scenario).run().await;
    assert_eq!(outcome.code, Some(99), "{}", outcome.said());
    let sessions = outcome.record().sessions.unwrap();
    assert!(sessions.created >= 3 && sessions.refused >= 3 && sessions.peak_active <= 3, "{sessions:?}");
}

#[tokio::test]
async fn a_run_is_archived_and_one_that_cannot_be_still_reports() {
    let postgres = squall_testkit::Postgres::start(false);
    let load = publishing("executor = \"shared-iterations\"\nvus = 2\niterations = 20");
    let outcome = Storm::new(&load).args(&["--archive", &postgres.url(), "--archive-schema", "storms"]).run().await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    let record = outcome.record();
    assert!(outcome.stderr.contains(&format!("archived as {}", record.id)), "{}", outcome.said());
    let row = postgres.sql("SELECT id, scenario, verdict, record->'ledger'->>'acknowledged' FROM storms.runs");
    let acknowledged = record.ledger.unwrap().acknowledged;
    assert_eq!(row, format!("{}|test|passed|{acknowledged}", record.id));

    let url = format!("postgres://u:s3cret@127.0.0.1:{}/x", squall_testkit::free_port());
    let outcome = Storm::new(&load).args(&["--archive", &url]).run().await;
    assert_eq!(outcome.code, Some(0), "the verdict is about the target\n{}", outcome.said());
    assert!(outcome.stderr.contains("was not archived: postgres://…@127.0.0.1"), "{}", outcome.said());
    assert!(!outcome.said().contains("s3cret") && outcome.run_dir().join("report.html").exists(), "{}", outcome.said());

    let outcome = Storm::new(&load).args(&["--archive", "mysql://u:s3cret@db"]).run().await;
    assert_eq!(outcome.code, Some(2), "told before anything is done\n{}", outcome.said());
    assert!(outcome.stderr.contains("--archive") && !outcome.stderr.contains("s3cret"), "{}", outcome.said());
}
