//! Faults on the timeline of `squall run`, beyond those of experiments: a clock that jumps, a Redis that dies, stands still and comes
//! again, a gateway that is restarted, and a service that is nobody's gateway behind a fault proxy.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod storm_kit;

use std::path::PathBuf;

use squall_report::RunRecord;
use squall_report::statistics::MetricValues;
use squall_testkit::free_port;
use storm_kit::{Outcome, Storm};

/// Publishes and works for so many seconds; a task takes its time, so that there are always some in hand.
fn load(seconds: u32, work_ms: &str) -> String {
    format!(
        r#"name = "test"
        settle = "40s"
        [[load]]
        workload = "tasks"
        executor = "constant-arrival-rate"
        rate = 60
        duration = "{seconds}s"
        pre_allocated_vus = 32
        max_vus = 512
        keyed = 0.2
        [[load]]
        workload = "workers"
        executor = "constant-vus"
        vus = 4
        duration = "{seconds}s"
        credit = 32
        work_ms = {work_ms}
        [[load]]
        workload = "subscribers"
        executor = "constant-vus"
        duration = "{seconds}s"
        [generator]
        max_lateness_p99_ms = 60000
        max_dropped = 1
        [thresholds]
        lost = "count==0"
        reordered = "count==0"
        unexpected = "count==0"
        duplicated_unexplained = "count==0"
        feed_gaps = "count==0"
        feed_conflicts = "count==0"
        feed_shortfall = "count==0"
        [target.lanes.gpt4]
        retry = {{ max = 8, delay_ms = 50 }}
        [target.lanes.claude_web]
        retry = {{ max = 8, delay_ms = 50 }}
        [target.lanes.crude]
        retry = {{ max = 8, delay_ms = 50 }}
        "#
    )
}

fn fault(fields: &str) -> String {
    format!("[[fault]]\n{fields}\n")
}

/// Nothing is lost or told wrongly, every fault was done and taken back, and nothing lies around.
fn all_is_well(outcome: &Outcome) -> RunRecord {
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    let record = outcome.record();
    if let Some(ledger) = &record.ledger {
        assert!(ledger.settled && ledger.acknowledged > 100, "{ledger:?}");
        assert_eq!((ledger.lost, ledger.pending, ledger.reordered), (0, 0, 0), "{ledger:?}");
    }
    for fault in &record.faults {
        let until = fault.until_ms.unwrap_or_else(|| panic!("not taken back: {fault:?}"));
        assert!(fault.at_ms <= until, "{fault:?}");
    }
    assert!(!record.notes.iter().any(|note| note.contains("did not stop cleanly")), "{:?}", record.notes);
    assert_eq!(outcome.left_behind(), Vec::<PathBuf>::new());
    record
}

#[tokio::test]
async fn a_clock_that_jumps_an_hour_and_back_loses_nothing_and_stops_no_retry() {
    let jump = |shift: &str| fault(&format!("kind = \"clock\"\nshift = \"{shift}\"\nat = \"2s\"\nfor = \"5s\""));
    let load = load(10, "[100, 300]\nnack = 0.1")
        .replace("duplicated_unexplained = \"count==0\"", "task_latency = \"max<5000\"");
    for shift in ["1h", "-1h"] {
        let outcome = Storm::new(&format!("{load}{}", jump(shift))).run().await;
        let record = all_is_well(&outcome);
        let ledger = record.ledger.as_ref().unwrap();
        assert!(ledger.duplicated.explained > 20, "what is given back comes again: {ledger:?}");
        // Leases end by the machine's clock: with the hour what was in hand comes again, and with its end nothing does.
        let again = ledger.duplicated.unexplained;
        assert!(again <= if shift == "1h" { 128 } else { 0 }, "{shift}: {ledger:?}");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_is_nothing_to_gateways_whose_time_is_that_of_redis() {
    let jump = fault("kind = \"clock\"\nshift = \"1h\"\nat = \"2s\"\nfor = \"2s\"");
    let outcome = Storm::new(&format!("services = [\"redis\"]\n{}{jump}", load(6, "[100, 300]"))).run().await;
    let ledger = all_is_well(&outcome).ledger.unwrap();
    assert_eq!((ledger.duplicated.explained, ledger.duplicated.unexplained), (0, 0), "{ledger:?}");
}

#[tokio::test]
async fn a_redis_that_dies_stands_still_and_comes_again_loses_nothing_that_was_acknowledged() {
    let faults = ["kill\"\nat = \"2s\"\nfor = \"1s", "stop\"\nat = \"5s\"\nfor = \"1s", "restart\"\nat = \"8s"]
        .map(|what| fault(&format!("kind = \"{what}\"\nprocess = \"redis\"")));
    let outcome = Storm::new(&format!("services = [\"redis\"]\n{}{}", load(11, "[1, 5]"), faults.concat())).run().await;
    let record = all_is_well(&outcome);
    let details: Vec<_> = record.faults.iter().map(|fault| fault.detail.as_str()).collect();
    let expected =
        ["SIGKILL of redis, started again after 1s", "SIGSTOP of redis, SIGCONT after 1s", "restart of redis"];
    assert_eq!(details, expected);
    assert_eq!(record.target.restarts, 0, "the gateway lives through all of it");
    let degraded = record.health.iter().any(|it| it.status == "degraded" && it.lost.contains(&"publish".to_owned()));
    assert!(degraded, "/health tells of it: {:?}", record.health);
    assert_eq!(record.health.last().unwrap().status, "healthy", "{:?}", record.health);
}

#[tokio::test]
async fn a_gateway_that_is_restarted_loses_nothing() {
    let restart = fault("kind = \"restart\"\nat = \"2s\"");
    let outcome = Storm::new(&(load(5, "[1, 5]") + &restart)).run().await;
    let record = all_is_well(&outcome);
    assert_eq!(record.target.restarts, 1);
    assert!(record.faults[0].recovered_ms.is_some(), "{:?}", record.faults);
}

#[tokio::test]
async fn a_service_of_any_kind_has_its_faults_too() {
    let (service, through) = (free_port(), free_port());
    let program = env!("CARGO_BIN_EXE_squall");
    // A program that speaks HTTP and is no gateway.
    let scenario = format!(
        r#"name = "test"
        [[process]]
        name = "service"
        command = [{program:?}, "proxy", "--port", "{service}"]
        ready = "127.0.0.1:{service}"
        [[proxy]]
        name = "way"
        listen = "127.0.0.1:{through}"
        upstream = "127.0.0.1:{service}"
        [[load]]
        workload = "http"
        path = "/version"
        executor = "constant-arrival-rate"
        rate = 50
        duration = "8s"
        pre_allocated_vus = 20
        [[fault]]
        kind = "down"
        proxy = "way"
        at = "1500ms"
        for = "1s"
        [[fault]]
        kind = "kill"
        process = "service"
        at = "4s"
        for = "1s"
        [generator]
        max_lateness_p99_ms = 60000
        max_dropped = 1
        [thresholds]
        http_req_failed = ["rate>0.05", "rate<0.6"]
        "#
    );
    let outcome = Storm::new(&scenario).args(&["--target", &format!("http://127.0.0.1:{through}")]).run().await;
    let record = all_is_well(&outcome);
    assert!(record.faults[0].struck.unwrap().connections > 0, "{:?}", record.faults);
    assert!(record.errors.contains_key("connect"), "{:?}", record.errors);
    let requests = record.metric("http_reqs").map(|metric| &metric.values);
    assert!(matches!(requests, Some(MetricValues::Counter { count, .. }) if *count > 100), "{requests:?}");
    let free = std::net::TcpListener::bind(("127.0.0.1", service));
    assert!(free.is_ok(), "the service has ended with the run: {free:?}");
}
