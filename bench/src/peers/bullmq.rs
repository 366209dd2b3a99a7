//! BullMQ on Redis, appendonly everysec. The load is a Node program, because BullMQ is a Node library.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

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
        Ok(Box::new(Running { server: redis(dir)?, prioritised: false }))
    }
}

/// Starts Redis on `dir`, which may hold an append-only file already, and waits until that is read.
pub fn redis(dir: &Path) -> Result<Server> {
    let port = free_port()?;
    let mut redis = command(Path::new("redis-server"), Core::Server);
    redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    redis.args(["--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--dir"]).arg(dir);
    let mut server = Server::start(redis, port, dir.join("log"))?;
    server.wait_until(|address| pong(address).is_ok())?;
    Ok(server)
}

/// As long as it loads it says so instead.
fn pong(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"+PONG", "not ready");
    Ok(())
}

/// A Node program that goes on until it is dropped.
pub struct Node {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Node {
    fn start(verb: &str, arguments: &Value) -> Result<Self> {
        let mut node = command(Path::new("node"), Core::Load);
        node.arg(scripts().join("load.mjs")).arg(verb).arg(arguments.to_string());
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("node does not start")?;
        let lines = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, lines })
    }

    fn expect(&mut self, expected: &str) -> Result<()> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        ensure!(line.trim_end() == expected, "BullMQ said {line:?} and not {expected:?}");
        Ok(())
    }

    fn tell(&mut self, word: &str) -> Result<()> {
        let mut stdin = self.child.stdin.as_ref().context("no input")?;
        Ok(writeln!(stdin, "{word}")?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So many workers of an empty queue.
pub fn idle(server: &Server, workers: u32) -> Result<Node> {
    let mut node = Node::start("idle", &json!({"port": server.address.port(), "workers": workers}))?;
    node.expect("idle")?;
    Ok(node)
}

/// Fills a queue, kills Redis, starts it again; how long until its worker has the first job. Then takes all of them, to
/// see that they are all there.
pub fn recover(dir: &Path, each: u64) -> Result<Duration> {
    let mut before = Running { server: redis(dir)?, prioritised: false };
    let published = before.publish(16, 100, Until::Count(each))?;
    before.server.kill()?;
    // Node itself takes longer to start than Redis does, and is not what is measured: it waits for the port.
    let arguments = json!({"acked": published.acked, "concurrency": CONCURRENCY});
    let mut node = Node::start("first", &arguments)?;
    node.expect("loaded")?;
    let start = Instant::now();
    let server = redis(dir)?;
    node.tell(&server.address.port().to_string())?;
    node.expect("first")?;
    let took = start.elapsed();
    node.expect("all")?;
    Ok(took)
}

struct Running {
    server: Server,
    prioritised: bool,
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
        let mut arguments =
            json!({"connections": connections, "in_flight": in_flight, "prioritised": self.prioritised});
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

    fn prioritise(&mut self) -> Result<()> {
        self.prioritised = true;
        Ok(())
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
        text += &format!("{name} {} ", package["version"].as_str().unwrap_or("absent"));
    }
    text
}
