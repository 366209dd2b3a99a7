//! The storm against a service that is no gateway: a few lines of HTTP/1.1 that answer as they are told. Each executor does
//! what its name says, on real sockets.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use squall_load::{Error, Finished, Overrides, Plan, Target, Terminal, run, scenario};
use squall_report::Verdict;
use squall_report::record::Ended;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers every request with 200, or with 503 on `/sick`, after `delay`.
struct Service {
    url: String,
    requests: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl Service {
    async fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (counted, met) = (requests.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                met.fetch_add(1, Ordering::Relaxed);
                let counted = counted.clone();
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let (mut lines, mut first) = (BufReader::new(read).lines(), None);
                    while let Ok(Some(line)) = lines.next_line().await {
                        if !line.is_empty() {
                            first.get_or_insert(line);
                            continue;
                        }
                        counted.fetch_add(1, Ordering::Relaxed);
                        if !delay.is_zero() {
                            tokio::time::sleep(delay).await;
                        }
                        let sick = first.take().is_some_and(|line| line.contains("/sick"));
                        let status = if sick { "503 Service Unavailable" } else { "200 OK" };
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
                        if write.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, requests, connections }
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// How late a busy machine makes the storm is not what is tested here, unless a test says otherwise.
const PATIENT: &str = "[generator]\nmax_lateness_p99_ms = 60000\nmax_dropped = 1\n";

struct Storm {
    runs: tempfile::TempDir,
    plan: Plan,
}

impl Storm {
    /// One load of `GET path`, with the executor as it would stand in a file.
    fn new(service: &Service, path: &str, executor: &str, rest: &str) -> Self {
        let generator = if rest.contains("[generator]") { "" } else { PATIENT };
        let text = format!(
            "name = \"test\"\n[[load]]\nworkload = \"http\"\npath = \"{path}\"\ngraceful_stop = \"2s\"\n{executor}\n{rest}\n{generator}"
        );
        let runs = tempfile::tempdir().unwrap();
        let plan = Plan {
            proxy_api: None,
            scenario: scenario::parse("test.toml", &text).unwrap_or_else(|error| panic!("{error}")),
            overrides: Overrides::default(),
            target: Target::Url { url: service.url.clone(), token: None, pid: None },
            runs_dir: runs.path().to_owned(),
            terminal: Terminal::None,
            seed: Some(7),
        };
        Self { runs, plan }
    }

    async fn run(&self) -> Finished {
        let finished = run(self.plan.clone(), CancellationToken::new()).await.unwrap();
        assert!(finished.dir.starts_with(self.runs.path()));
        finished
    }
}

fn count(finished: &Finished, metric: &str) -> u64 {
    use squall_report::statistics::MetricValues;
    match finished.record.metric(metric).map(|metric| &metric.values) {
        Some(MetricValues::Counter { count, .. }) => *count,
        None => 0,
        other => panic!("{metric} is {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn constant_arrival_rate_keeps_its_rate() {
    let service = Service::start(Duration::ZERO).await;
    let executor = "executor = \"constant-arrival-rate\"\nrate = 500\nduration = \"2s\"\npre_allocated_vus = 20";
    let storm = Storm::new(&service, "/", executor, "[thresholds]\nchecks = \"rate==1\"\n");
    let finished = storm.run().await;
    assert_eq!(finished.verdict, Verdict::Passed, "{:?}", Verdict::reasons(&finished.record));
    assert_eq!(count(&finished, "iterations") + count(&finished, "dropped_iterations"), 1_000);
    assert_eq!(service.requests(), count(&finished, "http_reqs"));
    assert!(service.connections.load(Ordering::Relaxed) <= 21, "connections are kept");
    assert!(finished.record.generator.lateness_p99_ms.is_some());
    let seconds = std::fs::read_to_string(finished.dir.join("series.jsonl")).unwrap();
    let seconds: Vec<serde_json::Value> = seconds.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let started: u64 = seconds.iter().filter_map(|second| second["counters"]["iterations"].as_u64()).sum();
    assert_eq!(started, count(&finished, "iterations"), "the seconds are the whole run");
}

#[tokio::test(flavor = "multi_thread")]
async fn ramping_arrival_rate_starts_the_integral() {
    let service = Service::start(Duration::ZERO).await;
    let executor = "executor = \"ramping-arrival-rate\"\nstages = [{ duration = \"1s\", target = 300 }, { duration = \"500ms\", target = 300 }]\npre_allocated_vus = 20";
    let finished = Storm::new(&service, "/", executor, "").run().await;
    assert_eq!(count(&finished, "iterations") + count(&finished, "dropped_iterations"), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_service_costs_dropped_iterations_and_makes_the_run_invalid() {
    let service = Service::start(Duration::from_millis(500)).await;
    let executor = "executor = \"constant-arrival-rate\"\nrate = 100\nduration = \"1s\"\npre_allocated_vus = 4";
    let strict = "[generator]\nmax_lateness_p99_ms = 60000\nmax_dropped = 0.05\n";
    let finished = Storm::new(&service, "/", executor, strict).run().await;
    assert!(count(&finished, "dropped_iterations") >= 80);
    assert_eq!((finished.verdict, finished.verdict.exit_code()), (Verdict::Invalid, 1));
    let invalid = &finished.record.invalid;
    assert!(invalid.iter().any(|reason| reason.contains("found no free VU")), "{invalid:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn constant_vus_iterate_without_pause() {
    let service = Service::start(Duration::from_millis(10)).await;
    let executor = "executor = \"constant-vus\"\nvus = 5\nduration = \"1s\"";
    let finished = Storm::new(&service, "/", executor, "").run().await;
    let iterations = count(&finished, "iterations");
    assert!((5..=500).contains(&iterations), "five VUs at 10 ms or more: {iterations}");
    assert_eq!(service.connections.load(Ordering::Relaxed), 6, "one each, and one to see whether it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn ramping_vus_come_and_go() {
    let service = Service::start(Duration::from_millis(5)).await;
    let executor = "executor = \"ramping-vus\"\nstart_vus = 0\nstages = [{ duration = \"500ms\", target = 8 }, { duration = \"1s\", target = 8 }, { duration = \"500ms\", target = 0 }]";
    let finished = Storm::new(&service, "/", executor, "").run().await;
    assert!(count(&finished, "iterations") >= 8);
    assert_eq!(service.connections.load(Ordering::Relaxed), 9, "one each, and one to see whether it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_iterations_are_counted() {
    for (executor, expected) in [
        ("executor = \"per-vu-iterations\"\nvus = 3\niterations = 7", 21),
        ("executor = \"shared-iterations\"\nvus = 3\niterations = 100", 100),
        ("executor = \"shared-iterations\"\nvus = 1\niterations = 5", 5),
    ] {
        let service = Service::start(Duration::ZERO).await;
        let begun = Instant::now();
        let finished = Storm::new(&service, "/", executor, "").run().await;
        assert_eq!((count(&finished, "iterations"), service.requests()), (expected, expected), "{executor}");
        assert!(begun.elapsed() < Duration::from_secs(60), "it ends when they are done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_threshold_is_99_and_may_end_the_run() {
    let service = Service::start(Duration::ZERO).await;
    let executor = "executor = \"constant-arrival-rate\"\nrate = 100\nduration = \"60s\"\npre_allocated_vus = 10";
    let abort =
        "[thresholds]\nhttp_req_failed = { threshold = \"rate<0.1\", abort_on_fail = true, delay_abort_eval = \"1s\" }";
    let begun = Instant::now();
    let finished = Storm::new(&service, "/sick", executor, abort).run().await;
    assert_eq!((finished.verdict, finished.verdict.exit_code()), (Verdict::ThresholdFailed, 99));
    assert_eq!(finished.record.ended, Ended::Aborted);
    assert!(begun.elapsed() < Duration::from_secs(50), "not to its end");
    assert!(finished.record.errors["status"] > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_reports_what_it_had() {
    let service = Service::start(Duration::ZERO).await;
    let executor = "executor = \"constant-vus\"\nvus = 2\nduration = \"60s\"";
    let storm = Storm::new(&service, "/", executor, "");
    let cancel = CancellationToken::new();
    let running = tokio::spawn(run(storm.plan, cancel.clone()));
    let fifty = async {
        while service.requests() < 50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), fifty).await.expect("fifty requests");
    cancel.cancel();
    let finished = running.await.unwrap().unwrap();
    assert_eq!((finished.verdict, finished.record.ended.clone()), (Verdict::Interrupted, Ended::Interrupted));
    assert!(count(&finished, "iterations") >= 50);
    assert!(finished.record.duration.load_ms < 55_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_there_could_not_be_run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let nobody = Service { url, requests: Arc::default(), connections: Arc::default() };
    let storm = Storm::new(&nobody, "/", "executor = \"constant-vus\"\nduration = \"1s\"", "");
    let error = run(storm.plan, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Target(_)) && !error.is_usage(), "{error}");
    assert!(error.to_string().contains("cannot connect"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_not_there_cannot_be_watched() {
    let service = Service::start(Duration::ZERO).await;
    let mut storm = Storm::new(&service, "/", "executor = \"constant-vus\"\nduration = \"1s\"", "");
    let pid = Some(u32::MAX / 2);
    storm.plan.target = Target::Url { url: service.url.clone(), token: None, pid };
    let error = run(storm.plan, CancellationToken::new()).await.unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("no such process"), "{error}");
    assert_eq!(service.requests(), 0);
}
