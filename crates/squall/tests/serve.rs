//! `squall serve` as whoever starts it meets it: what it says, how it stops, and why it refuses to start.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may as well say where")]

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use squall_testkit::Setup;

const PROGRAM: &str = env!("CARGO_BIN_EXE_squall");

/// Longer than any drain takes.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn drains_when_told_to() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut squall = Setup::new(PROGRAM).start().await.unwrap();
        let addr = squall.url().trim_start_matches("http://").to_owned();
        squall.signal(signal).unwrap();
        assert_eq!(squall.wait(LONG).await.unwrap().code(), Some(0), "{signal}: {}", squall.log());
        assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
    }
}

#[tokio::test]
async fn logs_are_json_lines_when_asked_for() {
    let mut squall = Setup::new(PROGRAM).arg("--log-format").arg("json").start().await.unwrap();
    squall.terminate(LONG).await.unwrap();
    let log = squall.log();
    assert!(!log.is_empty());
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(entry["timestamp"].is_string() && entry["level"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn it_may_open_as_many_files_as_the_system_allows() {
    let few = ["sh", "-c", "ulimit -n 300; ulimit -Sn 100; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
    let mut squall = Setup::new(PROGRAM).wrapper(few).start().await.unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", squall.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("300"), "{files}");
    squall.terminate(LONG).await.unwrap();
    assert!(squall.log().contains("server.max_connections"), "it says that this is too few: {}", squall.log());
}

#[tokio::test]
async fn two_gateways_do_not_share_a_data_directory() {
    let squall = Setup::new(PROGRAM).start().await.unwrap();
    let second = Setup::new(PROGRAM).data_dir(squall.data_dir()).refusal().await.unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", second.said);
    assert!(second.said.contains(&squall.data_dir().display().to_string()), "it says which: {}", second.said);
    let addr = squall.url().trim_start_matches("http://");
    assert!(TcpStream::connect(addr).is_ok(), "the first one goes on");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let refused = Setup::new(PROGRAM).listen(&addr).refusal().await.unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.said);
    assert!(refused.said.contains(&addr), "{}", refused.said);
}

#[tokio::test]
async fn dead_letters_are_handled_from_the_command_line() {
    let config = "[lanes.gpt4]\nretry = { max = 0 }\n[tasks]\ndefault_lane = \"gpt4\"\n";
    let squall = Setup::new(PROGRAM).config(config).start().await.unwrap();
    let (url, http) = (squall.url().to_owned(), reqwest::Client::new());
    let dead_letters = |args: &[&str]| {
        let output = Command::new(PROGRAM).arg("dead-letters").args(args).args(["--url", &url]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };

    assert_eq!(dead_letters(&["list"]), (Some(0), "no dead letters\n".to_owned()));

    let mut ids = Vec::new();
    for kind in ["greet", "greet", "wave"] {
        let task = serde_json::json!({"kind": kind, "payload": {"name": "Ada"}});
        let published: serde_json::Value =
            http.post(format!("{url}/v1/tasks")).json(&task).send().await.unwrap().json().await.unwrap();
        ids.push(published["id"].as_str().unwrap().to_owned());
    }
    let leased: serde_json::Value = http
        .post(format!("{url}/v1/lanes/gpt4/lease"))
        .json(&serde_json::json!({"credit": 3, "wait_ms": 1000}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    for task in leased["tasks"].as_array().unwrap() {
        let nack = serde_json::json!({"receipt": task["receipt"], "mode": "fatal", "reason": "no\u{1b}[31mpe"});
        let to = format!("{url}/v1/tasks/{}/nack", task["id"].as_str().unwrap());
        http.post(to).json(&nack).send().await.unwrap().error_for_status().unwrap();
    }

    let (code, listed) = dead_letters(&["list"]);
    assert_eq!(code, Some(0), "{listed}");
    assert_eq!(listed.lines().count(), 4, "a heading and three: {listed}");
    assert!(listed.contains("fatal") && listed.contains("no [31mpe"), "and no escape reaches the terminal: {listed}");
    let (_, waves) = dead_letters(&["list", "--kind", "wave", "--json"]);
    assert_eq!(waves.lines().count(), 1, "{waves}");
    assert!(waves.contains("\"Ada\""), "as JSON the payload is there: {waves}");
    let (_, shown) = dead_letters(&["show", &ids[0]]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["id"], &shown["payload"]["name"]), (&ids[0].clone().into(), &"Ada".into()));

    let (code, said) = dead_letters(&["purge", "--kind", "greet"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("this would delete 2 dead letters for good"), "{said}");
    assert_eq!(dead_letters(&["replay", &ids[0]]), (Some(0), "1 of 1 sent back\n".to_owned()));
    assert_eq!(dead_letters(&["purge", "--kind", "greet", "--yes"]), (Some(0), "1 of 1 deleted\n".to_owned()));
    assert_eq!(dead_letters(&["replay", "--all", "--rate", "10"]), (Some(0), "1 of 1 sent back\n".to_owned()));
    assert_eq!(dead_letters(&["list"]).1, "no dead letters\n");
    let (code, said) = dead_letters(&["show", &ids[0]]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&ids[0]), "{said}");
}
