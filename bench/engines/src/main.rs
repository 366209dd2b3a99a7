//! SQLite against Squall's own log, on the pattern of a queue with a feed: `cargo run --release -- [seconds] [rounds]`.
//!
//! Both stand behind one thread that takes whatever waits and commits it at once (group commit, one sync), and both are asked
//! for the same: a 256-byte task, its event, its idempotency key when it has one. SQLite: WAL, `synchronous = FULL`, cached
//! statements, checkpoints on a thread beside the writer. The engines take turns, and the medians are printed with their ratio.

mod sqlite;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesOrdered;
use squall_protocol::{ConnectionId, Time};
use squall_store::config::{Config, Lane, Options};
use squall_store::{Holder, SettleVerb, Settlement, Store, TaskSpec, WorkerSpec, embedded};

/// What both can do.
trait Engine: Send + Sync {
    /// Publishes so many tasks as one call; resolves when they are on disk.
    fn publish(&self, count: usize, keyed: bool) -> BoxFuture<'static, ()>;
    /// Lets one worker lease and acknowledge so many tasks.
    fn consume(&self, count: u64) -> BoxFuture<'_, ()>;
    /// Ends.
    fn close(&self) -> BoxFuture<'_, ()>;
}

struct Log {
    store: embedded::Embedded,
    serial: AtomicU64,
}

fn payload() -> Box<str> {
    format!("\"{}\"", "x".repeat(254)).into()
}

impl Engine for Log {
    fn publish(&self, count: usize, keyed: bool) -> BoxFuture<'static, ()> {
        let first = self.serial.fetch_add(count as u64, Ordering::Relaxed);
        let spec = |i: u64| TaskSpec {
            lane: Some("a".into()),
            kind: "bench".into(),
            payload: payload(),
            idempotency_key: keyed.then(|| (first + i).to_string().into()),
            ..TaskSpec::default()
        };
        let reply = self.store.publish(&"default".into(), (0..count as u64).map(spec).collect());
        reply.map(|results| assert!(results.iter().all(Result::is_ok))).boxed()
    }

    fn consume(&self, count: u64) -> BoxFuture<'_, ()> {
        async move {
            let id = ConnectionId::at(Time(1), 1);
            let spec = WorkerSpec { id, tenant: None, lanes: vec!["a".into()] };
            let mut worker = self.store.open_worker(spec).await.expect("a worker");
            self.store.grant(id, 1_000);
            let mut left = count;
            let mut flying = FuturesOrdered::new();
            while left > 0 {
                let got = worker.deliveries.recv().await.expect("deliveries");
                left -= got.len() as u64;
                let ack = |id| Settlement { id, receipt: None, verb: SettleVerb::Ack };
                let acks = got.iter().map(|delivery| ack(delivery.task.id)).collect();
                flying.push_back(self.store.settle(None, Holder::Worker(id), acks));
                self.store.grant(id, got.len() as u32);
                while flying.len() > 4 {
                    flying.next().await;
                }
            }
            while flying.next().await.is_some() {}
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close().map(|closed| closed.expect("closed")).boxed()
    }
}

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    connections: usize,
    window: usize,
    keyed: bool,
}

const CASES: [Case; 4] = [
    Case { name: "publish, 1 x 1", connections: 1, window: 1, keyed: false },
    Case { name: "publish, 1 x 100", connections: 1, window: 100, keyed: false },
    Case { name: "publish, 16 x 100", connections: 16, window: 100, keyed: false },
    Case { name: "publish, 16 x 100, idempotency keys", connections: 16, window: 100, keyed: true },
];

#[derive(Clone, Copy, Default)]
struct Measured {
    publish_per_s: f64,
    publish_us: f64,
    consume_per_s: f64,
    consume_us: f64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let seconds: f64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let rounds: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    println!("| case | SQLite /s | log /s | ratio | SQLite CPU us | log CPU us |\n|---|---|---|---|---|---|");
    for case in CASES {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            theirs.push(measure(true, case, seconds).await);
            ours.push(measure(false, case, seconds).await);
        }
        row(case.name, &theirs, &ours, |m| m.publish_per_s, |m| m.publish_us);
        if case.window > 1 {
            row(&format!("deliver + ack after {}", case.name), &theirs, &ours, |m| m.consume_per_s, |m| m.consume_us);
        }
    }
}

fn row(name: &str, theirs: &[Measured], ours: &[Measured], rate: fn(&Measured) -> f64, cost: fn(&Measured) -> f64) {
    let median = |all: &[Measured], of: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (their_rate, our_rate) = (median(theirs, rate), median(ours, rate));
    println!(
        "| {name} | {their_rate:.0} | {our_rate:.0} | {:.2} | {:.2} | {:.2} |",
        our_rate / their_rate,
        median(theirs, cost),
        median(ours, cost)
    );
}

async fn measure(sqlite: bool, case: Case, seconds: f64) -> Measured {
    let dir = tempfile::tempdir_in(".").expect("a temporary directory");
    let engine: Arc<dyn Engine> = if sqlite {
        Arc::new(sqlite::Sqlite::open(&dir.path().join("queue.db")))
    } else {
        let options = Options {
            store: Config { max_task_bytes: 16 << 30, ..Config::default() },
            lanes: [("a".to_owned(), Lane { max_depth: u64::MAX, ..Lane::default() })].into(),
            ..Options::default()
        };
        Arc::new(Log { store: embedded::open(dir.path(), options).expect("a store"), serial: AtomicU64::new(0) })
    };
    let mut measured = Measured::default();
    let (started, before) = (Instant::now(), cpu());
    let published = publish(&engine, case, seconds).await;
    measured.publish_per_s = published as f64 / started.elapsed().as_secs_f64();
    measured.publish_us = (cpu() - before) * 1e6 / published as f64;
    if case.window > 1 {
        let count = published.min(300_000);
        let (started, before) = (Instant::now(), cpu());
        engine.consume(count).await;
        measured.consume_per_s = count as f64 / started.elapsed().as_secs_f64();
        measured.consume_us = (cpu() - before) * 1e6 / count as f64;
    }
    engine.close().await;
    measured
}

async fn publish(engine: &Arc<dyn Engine>, case: Case, seconds: f64) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    // A read of a socket brings a part of the window, and that part is one call.
    let burst = case.window.div_ceil(4);
    let mut connections = Vec::new();
    for _ in 0..case.connections {
        let (engine, stop, count) = (Arc::clone(engine), Arc::clone(&stop), Arc::clone(&count));
        connections.push(tokio::spawn(async move {
            let mut flying = FuturesOrdered::new();
            loop {
                while !stop.load(Ordering::Relaxed) && flying.len() * burst < case.window {
                    flying.push_back(engine.publish(burst, case.keyed));
                }
                if flying.next().await.is_none() {
                    break;
                }
                count.fetch_add(burst as u64, Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    for connection in connections {
        connection.await.expect("no panic");
    }
    count.load(Ordering::Relaxed)
}

/// CPU seconds of this process so far, user and system.
fn cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
    [usage.user_time(), usage.system_time()].iter().map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).sum()
}
