//! `squall chaos` from outside. Each experiment passes with the gateway as it is, and fails with one that has a weakness, by the very
//! condition that is there for it. What a run has started and done is undone, however the run ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod storm_kit;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use squall_report::RunRecord;
use squall_report::record::Ended;
use squall_testkit::{eventually, within};
use storm_kit::{Running, Storm, left_behind, noted, state};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_squall");

/// Experiments that run at a time: they wait more than they work.
const AT_A_TIME: usize = 5;

const EXPERIMENTS: [&str; 13] = [
    "redis-latency",
    "redis-timeout",
    "redis-down",
    "postgres-latency",
    "postgres-timeout",
    "postgres-down",
    "gateway-pause",
    "gateway-crash",
    "worker-vanish",
    "slow-subscriber",
    "client-flap",
    "network-jitter",
    "disk-full",
];

/// An experiment, a weakness of the gateway (see `crates/gateway/src/weakness.rs`), the expectation that finds it, and a word of what was
/// found.
const FINDS: [(&str, &str, &str, &str); 16] = [
    ("redis-latency", "impatient", "until it is over http_req_failed rate<0.01", "%"),
    ("network-jitter", "impatient", "until it is over http_req_failed rate<0.01", "%"),
    ("redis-timeout", "hang", "until it is over http_req_service max<4000", "s"),
    ("redis-down", "hang", "until it is over http_req_service max<4000", "s"),
    ("redis-down", "stay-down", "steady again within 10s", "never"),
    ("gateway-pause", "stay-down", "steady again within 10s", "never"),
    ("redis-timeout", "forget", NOTHING_IS_LOST, " lost"),
    ("gateway-crash", "forget", NOTHING_IS_LOST, " lost"),
    ("disk-full", "forget", NOTHING_IS_LOST, " lost"),
    ("redis-down", "rosy", "/health says degraded within 5s", "never"),
    ("postgres-down", "rosy", "/health says degraded within 5s", "never"),
    ("postgres-timeout", "rosy", "/health says degraded within 6s", "never"),
    ("postgres-latency", "ask-archive", "until it is over http_req_duration p(50)<150", "s"),
    ("worker-vanish", "ack-early", NOTHING_IS_LOST, " lost"),
    ("slow-subscriber", "skip", NOTHING_IS_LOST, "missing in the feed"),
    ("client-flap", "skip", NOTHING_IS_LOST, "missing in the feed"),
];

const NOTHING_IS_LOST: &str = "no acknowledged task is lost, no event of the feed is missing";

#[tokio::test]
async fn every_experiment_passes_and_finds_its_weakness() {
    let list = squall(&["chaos"], &std::env::temp_dir());
    let listed = String::from_utf8(list.stdout).unwrap();
    for name in EXPERIMENTS {
        assert!(listed.lines().any(|line| line.split(' ').next() == Some(name)), "{name} is not in\n{listed}");
        assert!(FINDS.iter().any(|(experiment, ..)| *experiment == name), "{name} finds nothing");
    }
    assert_eq!(listed.lines().take_while(|line| !line.is_empty()).count(), EXPERIMENTS.len(), "{listed}");

    let room = Arc::new(Semaphore::new(AT_A_TIME));
    let mut all = JoinSet::new();
    let mut start =
        |experiment: &'static str, weakness: &'static str, expected: Option<(&'static str, &'static str)>| {
            let room = room.clone();
            all.spawn(async move {
                let _room = room.acquire_owned().await.unwrap();
                let complaint = match expected {
                    None => passes(experiment).await,
                    Some(expected) => finds(experiment, weakness, expected).await,
                };
                complaint.map(|complaint| format!("{experiment} {weakness}: {complaint}"))
            });
        };
    for (experiment, weakness, what, found) in FINDS {
        start(experiment, weakness, Some((what, found)));
    }
    for experiment in EXPERIMENTS {
        start(experiment, "", None);
    }
    let complaints: Vec<_> = all.join_all().await.into_iter().flatten().collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

/// What is wrong, if the experiment does not pass with the gateway as it is.
async fn passes(experiment: &str) -> Option<String> {
    let outcome = Storm::experiment(experiment).run().await;
    let left = outcome.left_behind();
    let fine = outcome.code == Some(0) && left.is_empty() && outcome.record().experiment.unwrap().passed;
    (!fine).then(|| format!("it does not pass, or leaves {left:?}\n{}\n{}", broken(&outcome.record()), outcome.said()))
}

/// What is wrong, if the experiment does not find the weakness, or by something else than what is there for it.
async fn finds(experiment: &str, weakness: &str, (what, found): (&str, &str)) -> Option<String> {
    let outcome = Storm::experiment(experiment).env("PLANTED_WEAKNESS", weakness).run().await;
    let record = outcome.record();
    let judged = record.experiment.as_ref().unwrap();
    let named = judged.expectations.iter().any(|it| !it.held && it.what == what && it.found.contains(found));
    let code = if what == NOTHING_IS_LOST { 98 } else { 99 };
    let left = outcome.left_behind();
    let fine = named && !judged.passed && outcome.code == Some(code) && left.is_empty();
    (!fine).then(|| {
        let broken = broken(&record);
        format!("expected {code} and {what:?}: {found:?}, and nothing left ({left:?})\n{broken}\n{}", outcome.said())
    })
}

/// What did not hold, a line each.
fn broken(record: &RunRecord) -> String {
    let expectations = record.experiment.iter().flat_map(|experiment| &experiment.expectations);
    let broken = expectations.filter(|it| !it.held).map(|it| format!("    {}: {}\n", it.what, it.found));
    broken.collect()
}

/// Runs the program to its end; what it leaves behind is in `tmp`.
fn squall(args: &[&str], tmp: &Path) -> Output {
    Command::new(PROGRAM).args(args).env("TMPDIR", tmp).env_remove("RUST_LOG").output().unwrap()
}

/// The processes of a run, once its fault has begun: `begun` looks at those that the run has noted.
async fn in_the_midst(running: &Running, begun: impl Fn(i32) -> bool) -> Vec<i32> {
    let tmp = running.temporary();
    let midst = async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let processes: Vec<_> = noted(&tmp).into_values().collect();
        // Faults of experiments begin with the seventh second.
        (running.seconds() > 7 && processes.iter().any(|pid| begun(*pid))).then_some(processes)
    };
    eventually("the midst of the fault", Duration::from_secs(60), midst).await
}

async fn all_gone(processes: &[i32]) {
    let gone = async || processes.iter().all(|pid| state(*pid).is_none()).then_some(());
    eventually("the end of all processes", Duration::from_secs(10), gone).await;
}

#[tokio::test]
async fn ctrl_c_in_the_midst_of_a_fault_undoes_everything_and_is_no_proof() {
    let running = Storm::experiment("redis-down").args(&["60"]).start();
    let processes = in_the_midst(&running, |_| true).await;
    assert_eq!(processes.len(), 2, "a Redis and a gateway");
    running.interrupt();
    let outcome = within("the end of the experiment", Duration::from_secs(40), running.finish()).await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.said());
    let record = outcome.record();
    assert_eq!(record.ended, Ended::Interrupted);
    let experiment = record.experiment.as_ref().unwrap();
    assert!(!experiment.passed && broken(&record).contains("runs to its end: interrupted"), "{}", broken(&record));
    assert_eq!(record.ledger.as_ref().unwrap().lost, 0, "{:?}", record.ledger);
    all_gone(&processes).await;
    assert_eq!(outcome.left_behind(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn what_a_killed_experiment_leaves_is_cleared_away() {
    // A gateway ends by itself when its storm is gone; one that stands still is woken for it by the kernel.
    let ended = ["ended redis (process ", "removed "];
    tokio::join!(
        killed("redis-down", |_| true, &ended),
        killed("gateway-pause", |pid| state(pid) == Some('T'), &ended[1..])
    );
}

async fn killed(experiment: &str, begun: impl Fn(i32) -> bool, expected: &[&str]) {
    let running = Storm::experiment(experiment).args(&["60"]).start();
    let processes = in_the_midst(&running, begun).await;
    running.signal(Signal::SIGKILL);
    let tmp = running.temporary();
    let _cleared = Cleared(&tmp);
    let killed = async || running.child.id().is_none_or(|pid| state(pid as i32).is_none()).then_some(());
    eventually("the end of the storm", Duration::from_secs(10), killed).await;
    assert_ne!(
        left_behind(&tmp),
        Vec::<std::path::PathBuf>::new(),
        "{experiment}: a storm that is killed cannot clean up"
    );

    let nowhere = format!("http://127.0.0.1:{}", squall_testkit::free_port());
    let clear = squall(&["chaos", "clear", "--api", &nowhere], &tmp);
    let said = String::from_utf8(clear.stdout).unwrap();
    assert_eq!(clear.status.code(), Some(0), "{said}");
    assert!(expected.iter().all(|words| said.contains(words)), "{experiment}: {said}");
    all_gone(&processes).await;
    assert_eq!(left_behind(&tmp), Vec::<std::path::PathBuf>::new(), "{said}");
    let again = squall(&["chaos", "clear", "--api", &nowhere], &tmp);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), "nothing was left behind\n");
}

/// Clears away what a run has left, also when its test fails.
struct Cleared<'a>(&'a Path);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        squall(&["chaos", "clear", "--api", "http://127.0.0.1:1"], self.0);
    }
}

#[tokio::test]
async fn clear_resets_a_fault_proxy_and_says_what_was_set() {
    let tmp = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["proxy", "--port", "0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut proxy = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(proxy.stdout.take().unwrap()));
    let ready = lines.next_line().await.unwrap().unwrap();
    let url = ready.strip_prefix("listening on ").unwrap();
    let http = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let answer = http.post(format!("{url}{path}")).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    };
    let clear = || String::from_utf8(squall(&["chaos", "clear", "--api", url], tmp.path()).stdout).unwrap();
    assert_eq!(clear(), "nothing was left behind\n");
    for name in ["cache", "db"] {
        post("/proxies", json!({"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"})).await;
    }
    post("/proxies/cache/toxics", json!({"name": "late", "type": "latency", "attributes": {"latency": 100}})).await;
    post("/proxies/cache/toxics", json!({"name": "cut", "type": "timeout", "stream": "upstream"})).await;
    post("/proxies/db", json!({"enabled": false})).await;
    let said = clear();
    for fault in [
        "proxy cache had the toxic late (latency, downstream)",
        "proxy cache had the toxic cut (timeout, upstream)",
        "proxy db was disabled",
    ] {
        assert!(said.contains(&format!("restored in the fault proxy at {url}: {fault}\n")), "{said}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
    let proxies: Value = http.get(format!("{url}/proxies")).send().await.unwrap().json().await.unwrap();
    for name in ["cache", "db"] {
        assert_eq!((&proxies[name]["enabled"], &proxies[name]["toxics"]), (&json!(true), &json!([])), "{proxies}");
    }
    assert_eq!(clear(), "nothing was left behind\n");
    proxy.kill().await.unwrap();
}

#[tokio::test]
async fn clear_leaves_alone_what_is_no_fault_proxy() {
    let tmp = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let asked = BufReader::new(&stream).lines().next().unwrap().unwrap();
        (&stream).write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
        // Whatever else would be asked.
        let _ = (&stream).read_to_end(&mut Vec::new());
        asked
    });
    let clear = squall(&["chaos", "clear", "--api", &url], tmp.path());
    let said = String::from_utf8(clear.stderr).unwrap();
    assert_eq!(clear.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{url} is no fault proxy: GET /proxies answers 404")), "{said}");
    assert_eq!(other.join().unwrap(), "GET /proxies HTTP/1.1");
}

#[test]
fn wrong_words_are_told_before_anything_is_done() {
    let tmp = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (["redis-dwon", "5"].as_slice(), r#"unknown scenario "redis-dwon"; did you mean "redis-down"?"#),
        (&["light"], "light is no experiment: it has no [experiment]; squall run runs it"),
        (&["redis-down", "0"], "invalid value '0' for '[SECONDS]'"),
        (&["redis-down", "soon"], "invalid value 'soon' for '[SECONDS]'"),
        (&["clear", "--api", "ftp://x"], "invalid value 'ftp://x' for '--api <URL>'"),
    ] {
        let output = squall(&[&["chaos"], args].concat(), tmp.path());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0, "nothing was done");
}

#[tokio::test]
async fn a_server_that_is_not_installed_is_named() {
    let outcome = Storm::experiment("redis-down").env("REDIS_SERVER", "/nonexistent").run().await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.said());
    let expected = "/nonexistent is not installed (REDIS_SERVER names it)";
    assert!(outcome.stderr.contains(expected), "{}", outcome.said());
    assert_eq!(outcome.left_behind(), Vec::<std::path::PathBuf>::new());

    let path = std::env::var("PATH").unwrap();
    let without = path.split(':').filter(|dir| !Path::new(dir).join("redis-server").exists()).collect::<Vec<_>>();
    let outcome = Storm::experiment("redis-down").env("PATH", &without.join(":")).run().await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.said());
    let expected = "redis-server is not installed (Debian: apt install redis-server)";
    assert!(outcome.stderr.contains(expected), "{}", outcome.said());
}
