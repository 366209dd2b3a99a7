//! BullMQ on Redis, appendonly everysec. The load is a Node program, because BullMQ is a Node library.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Queue, Tasks};
use crate::harness::process::{Core, Server, command, free_port};
use crate::wire::paced::Pace;
use crate::wire::publish::{Published, Until};

/// Jobs that its worker handles at a time; more gained nothing.
const CONCURRENCY: u64 = 100;

/// BullMQ.
pub struct BullMq;

impl Tasks for BullMq {
    fn name(&self) -> &'static str {
        "BullMQ"
    }

    fn start(&self, dir: &Path) -> Result<Box<dyn Queue>> {
        let port = free_port()?;
        let mut redis = command(Path::new("redis-server"), Core::Server);
        redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        redis.args(["--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--dir"]).arg(dir);
        let mut server = Server::start(redis, port, dir.join("log"))?;
        server.wait_for_port()?;
        Ok(Box::new(Running { server }))
    }
}

struct Running {
    server: Server,
}

/// Where the Node programs and their modules are.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bullmq")
}

impl Running {
    /// Runs one verb of the Node program; it gets its arguments as JSON, and answers one line of JSON.
    fn node<T: DeserializeOwned>(&self, verb: &str, mut arguments: Value) -> Result<T> {
        arguments["port"] = self.server.address.port().into();
        let mut node = command(Path::new("node"), Core::Load);
        node.arg(scripts().join("load.mjs")).arg(verb).arg(arguments.to_string());
        let mut child = node.stdout(Stdio::piped()).spawn().context("node does not start")?;
        let mut answer = String::new();
        child.stdout.take().context("no output")?.read_to_string(&mut answer)?;
        let status = child.wait()?;
        ensure!(status.success(), "BullMQ's {verb} ended with {status}: {answer}");
        serde_json::from_str(&answer).with_context(|| format!("BullMQ's {verb} answered {answer:?}"))
    }
}

#[derive(Deserialize)]
struct PublishAnswer {
    acked: Vec<u64>,
    per_s: f64,
}

#[derive(Deserialize)]
struct ConsumeAnswer {
    took_ms: f64,
}

#[derive(Deserialize)]
struct PacedAnswer {
    latencies_ms: Vec<f64>,
}

impl Queue for Running {
    fn publish(&mut self, connections: u64, in_flight: u64, until: Until) -> Result<Published> {
        let mut arguments = json!({"connections": connections, "in_flight": in_flight});
        match until {
            Until::Time { warm_up, measured } => {
                arguments["warm_up_ms"] = json!(warm_up.as_millis());
                arguments["measured_ms"] = json!(measured.as_millis());
            }
            Until::Count(count) => arguments["count"] = count.into(),
        }
        let answer: PublishAnswer = self.node("publish", arguments)?;
        Ok(Published { acked: answer.acked, per_s: answer.per_s })
    }

    fn consume(&mut self, acked: &[u64]) -> Result<Duration> {
        let answer: ConsumeAnswer = self.node("consume", json!({"acked": acked, "concurrency": CONCURRENCY}))?;
        Ok(Duration::from_secs_f64(answer.took_ms / 1_000.0))
    }

    fn paced(&mut self, pace: Pace) -> Result<Histogram<u64>> {
        let arguments = json!({
            "per_s": pace.per_s, "tasks": pace.tasks(), "first_counted": pace.first_counted(), "concurrency": CONCURRENCY,
        });
        let answer: PacedAnswer = self.node("paced", arguments)?;
        let mut histogram = Histogram::new(3)?;
        for latency_ms in answer.latencies_ms {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked by the program: not negative
            histogram.record((latency_ms * 1e6) as u64)?;
        }
        Ok(histogram)
    }

    fn cpu(&self) -> Result<Duration> {
        self.server.cpu()
    }
}

/// For messages: what the versions are.
pub fn version() -> String {
    let mut text = String::new();
    for name in ["bullmq", "ws"] {
        let package = std::fs::read(scripts().join("node_modules").join(name).join("package.json")).unwrap_or_default();
        let package: Value = serde_json::from_slice(&package).unwrap_or_default();
        let _ = write!(text, "{name} {} ", package["version"].as_str().unwrap_or("absent"));
    }
    text
}
