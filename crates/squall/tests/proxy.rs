//! `squall proxy` as whoever starts it meets it: what it says, what it does with its file, how it stops.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may as well say where")]

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_squall");

/// A fault proxy that ends with its test.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["proxy", "--port", "0"]).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().expect("it ended before it was ready").unwrap();
        let url = ready.strip_prefix("listening on ").unwrap().to_owned();
        Self { child, lines, url }
    }

    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing is left to end when it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refused(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(PROGRAM).arg("proxy").args(args).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Echoes what one client sends.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

fn round_trip(listen: &str) -> Duration {
    let mut stream = TcpStream::connect(listen).unwrap();
    stream.set_nodelay(true).unwrap();
    let start = Instant::now();
    std::io::Write::write_all(&mut stream, b"?").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    start.elapsed()
}

#[tokio::test]
async fn it_starts_with_its_file_and_ends_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("proxies.json");
    let proxies = json!([{
        "name": "echo", "listen": "127.0.0.1:0", "upstream": echo(),
        "toxics": [{"type": "latency", "attributes": {"latency": 1500}}],
    }]);
    std::fs::write(&file, proxies.to_string()).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut squall = Running::start(&["--config", file.to_str().unwrap(), "--seed", "7"]);
        assert_eq!(squall.lines.next().unwrap().unwrap(), "seed 7");
        let (url, http) = (squall.url.clone(), reqwest::Client::new());
        let proxies: Value =
            serde_json::from_str(&http.get(format!("{url}/proxies")).send().await.unwrap().text().await.unwrap())
                .unwrap();
        let listen = proxies["echo"]["listen"].as_str().unwrap().to_owned();
        assert!(round_trip(&listen) >= Duration::from_millis(1500));
        assert_eq!(http.post(format!("{url}/reset")).send().await.unwrap().status(), 204);
        assert!(round_trip(&listen) < Duration::from_millis(1500));
        let mut open = TcpStream::connect(&listen).unwrap();
        assert_eq!(squall.stop(signal), Some(0), "{signal}");
        assert_eq!(open.read(&mut [0]).unwrap_or(0), 0, "connections end with it");
        assert!(TcpStream::connect(&listen).is_err());
    }
}

#[test]
fn what_is_wrong_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("proxies.json");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "[\n  {\"name\": \"a\", \"upstraem\": \"x:1\"}\n]").unwrap();
    let (code, said) = refused(&["--config", path]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("proxies.json:2: proxy 1: unknown field \"upstraem\""), "{said}");

    let (code, said) = refused(&["--config", "/nowhere/proxies.json"]);
    assert!(code == Some(1) && said.contains("/nowhere/proxies.json"), "{said}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, said) = refused(&["--port", &address.port().to_string()]);
    assert!(code == Some(1) && said.contains(&address.to_string()), "{said}");

    let proxies = json!([{"name": "a", "listen": address.to_string(), "upstream": "x:1"}]);
    std::fs::write(&file, proxies.to_string()).unwrap();
    let (code, said) = refused(&["--port", "0", "--config", path]);
    assert!(
        code == Some(1) && said.contains(&format!("proxy \"a\": listen tcp {address}: bind: address already in use")),
        "{said}"
    );
}
