//! The published clients of Toxiproxy, as they come from npm and PyPI, with the fault proxy instead of Toxiproxy.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

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
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, FaultProxy::new(Options::default(), &stop), stop));
    (api, echo)
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
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let python = target.join("clients/python/bin/python");
    if !python.exists() {
        eprintln!("not tested: there is no {}; `.ci/install` makes it where Python can", python.display());
        return;
    }
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
