//! The published clients of Toxiproxy, as they come from npm, PyPI and the Rust registry, with the fault proxy instead of Toxiproxy.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;

use squall_faultproxy::{FaultProxy, Options, serve};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// An API, and a server that echoes.
async fn start() -> (SocketAddr, String) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let echo = upstream.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = upstream.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                let _ = tokio::io::copy(&mut reads, &mut writes).await;
            });
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = listener.local_addr().unwrap();
    start_on(listener);
    (api, echo)
}

fn start_on(listener: TcpListener) {
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, FaultProxy::new(Options::default(), &stop), stop));
}

/// What `.ci/install` makes there, which it does where the machine lets it; otherwise it is said that nothing was tested.
fn installed(path: &str) -> Option<PathBuf> {
    let there = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients").join(path);
    if there.exists() {
        return Some(there);
    }
    eprintln!("NOT RUN: there is no {}; `.ci/install` makes it where it can", there.display());
    None
}

/// All steps of a script went well, and there were so many.
fn check(output: &Output, steps: usize) {
    let said = String::from_utf8_lossy(&output.stdout);
    let well = said.lines().filter(|line| line.starts_with("ok ")).count();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && well == steps, "{well} of {steps} steps went well\n{said}{errors}");
}

#[tokio::test]
async fn toxiproxy_node_client_works_unchanged() {
    assert!(here().join("node_modules/toxiproxy-node-client").exists(), "`.ci/install` fetches toxiproxy-node-client");
    let (api, echo) = start().await;
    let mut node = Command::new("node");
    node.arg(here().join("node.js")).arg(format!("http://{api}")).arg(echo).kill_on_drop(true);
    check(&node.output().await.unwrap(), 5);
}

#[tokio::test]
async fn toxiproxy_python_works_unchanged() {
    let Some(python) = installed("python/bin/python") else { return };
    let (api, echo) = start().await;
    let mut suite = Command::new(python);
    suite
        .arg(here().join("suite.py"))
        .arg(api.ip().to_string())
        .arg(api.port().to_string())
        .arg(echo)
        .kill_on_drop(true);
    check(&suite.output().await.unwrap(), 6);
}

/// Says to the test below that it is in a network of its own by now.
const ALONE: &str = "SQUALL_TEST_ALONE";

/// The client's own tests. They want their server on port 8474, and proxies on ports that they chose: so all of it is done in a network of
/// its own, where there is nobody else, or on these ports where no such network is to be had.
#[tokio::test]
async fn toxiproxy_rust_works_unchanged() {
    let Some(built) = installed("rust/installed") else { return };
    let alone = std::env::var_os(ALONE).is_some();
    if !alone && let Some(mut again) = in_a_network_of_its_own().await {
        again.arg(std::env::current_exe().unwrap()).args(["--exact", "toxiproxy_rust_works_unchanged", "--nocapture"]);
        let output = again.env(ALONE, "1").output().await.unwrap();
        let [said, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success() && said.contains("test result: ok. 1 passed"), "{said}{errors}");
        return;
    }
    let listener = match TcpListener::bind("127.0.0.1:8474").await {
        Err(error) if !alone => return eprintln!("NOT RUN: no network of one's own here, and 127.0.0.1:8474: {error}"),
        bound => bound.unwrap(),
    };
    start_on(listener);
    let mut suite = Command::new(std::env::var_os("CARGO").as_deref().unwrap_or(OsStr::new("cargo")));
    suite.args(["test", "--offline", "--locked", "--package", "toxiproxy_rust", "--manifest-path"]);
    suite.arg(here().join("rust/Cargo.toml")).arg("--target-dir").arg(built.parent().unwrap());
    // One after the other: all have the same proxy.
    let output = suite.args(["--", "--test-threads=1"]).kill_on_drop(true).output().await.unwrap();
    let [said, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let all = ["test result: ok. 11 passed", "test result: ok. 26 passed"].iter().all(|result| said.contains(result));
    assert!(output.status.success() && all, "{said}{errors}");
}

/// What a program is to be started with to see loopback and nothing else; `None` where this machine lets nobody do so.
async fn in_a_network_of_its_own() -> Option<Command> {
    let wrapper = |flags: &str| {
        let mut command = Command::new("unshare");
        let script = "PATH=$PATH:/usr/sbin:/sbin; ip link set lo up && exec \"$@\"";
        command.args([flags, "sh", "-c", script, "sh"]).kill_on_drop(true);
        command
    };
    // As root, and where users may make namespaces.
    for flags in ["-n", "-rn"] {
        if wrapper(flags).arg("true").output().await.is_ok_and(|output| output.status.success()) {
            return Some(wrapper(flags));
        }
    }
    None
}
