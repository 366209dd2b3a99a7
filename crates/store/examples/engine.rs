//! How fast the engine is on this machine: `cargo run --release -p squall-store --example engine -- [commit|interval] [seconds]`;
//! `-- redis://127.0.0.1:6379 [seconds]` measures the store in that Redis (and leaves it there, below prefixes of its own); `-- memory`
//! says what a pending task and an active session cost in memory instead.
//!
//! Publishes 256-byte tasks over so many connections with so many in flight each, as a gateway would: what arrived in one read is one
//! call. Then lets one worker take and acknowledge all of it. Prints rates, and the bare `fdatasync` of this disk beside them.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesOrdered;
use squall_protocol::{ConnectionId, NewSession, Time};
use squall_store::config::{Config, Durability, Lane, Options, Sessions};
use squall_store::{Holder, SettleVerb, Settlement, Store, TaskSpec, WorkerSpec, embedded};

fn spec(payload: &str) -> TaskSpec {
    TaskSpec { lane: Some("a".into()), kind: "bench".into(), payload: payload.into(), ..TaskSpec::default() }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let (durability, redis) = match args.next() {
        Some(text) if text == "memory" => return memory().await,
        Some(text) if text == "interval" => (Durability::Interval, None),
        Some(url) if url.contains("://") => (Durability::Commit, Some(url)),
        _ => (Durability::Commit, None),
    };
    let seconds: f64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    println!("{durability:?}; fdatasync of a preallocated file: {:.3} ms", probe());
    for (connections, window, burst) in [(1, 1, 1), (1, 100, 100), (1, 100, 25), (16, 100, 100), (16, 100, 25)] {
        let dir = tempfile::tempdir_in(".").expect("a temporary directory");
        let options = Options {
            store: Config { durability, max_task_bytes: 8 << 30, ..Config::default() },
            lanes: [("a".to_owned(), Lane { max_depth: u64::MAX, ..Lane::default() })].into(),
            ..Options::default()
        };
        let store = open(dir.path(), options, redis.as_deref()).await;
        let before = cpu();
        let (published, took) = publish(&store, connections, window, burst, seconds).await;
        let used = (cpu() - before) * 1e6 / published as f64;
        let stats = store.stats().await.expect("stats");
        println!(
            "publish {connections:>2} x {window:>3} by {burst:>3}: {:>9.0}/s   {:>5.0} commits/s, p50 {:.2} ms p99 {:.2} ms, {used:.2} us CPU each",
            published as f64 / took,
            stats.commits as f64 / took,
            stats.commit_ms.p50,
            stats.commit_ms.p99,
        );
        if window > 1 {
            let begun = stats.commits;
            let before = cpu();
            let (acked, took) = consume(&store, published).await;
            let used = (cpu() - before) * 1e6 / acked as f64;
            let stats = store.stats().await.expect("stats");
            println!(
                "                 deliver + ack: {:>9.0}/s   {:>5.0} commits/s, {used:.2} us CPU each",
                acked as f64 / took,
                (stats.commits - begun) as f64 / took
            );
        }
        let started = Instant::now();
        store.close().await.expect("closed");
        println!("                 closed in {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    }
}

/// The embedded store in `dir`, or a new one in Redis.
async fn open(dir: &std::path::Path, mut options: Options, redis: Option<&str>) -> Arc<dyn Store> {
    let Some(url) = redis else { return Arc::new(embedded::open(dir, options).expect("a store")) };
    options.store.url = url.to_owned();
    options.store.key_prefix = format!("squall-engine-{}", uuid::Uuid::new_v4());
    Arc::new(squall_store::redis::open(options).await.expect("a store"))
}

async fn publish(store: &Arc<dyn Store>, connections: usize, window: usize, burst: usize, seconds: f64) -> (u64, f64) {
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (store, stop, count) = (Arc::clone(store), Arc::clone(&stop), Arc::clone(&count));
        tasks.push(tokio::spawn(async move {
            let tenant: Arc<str> = "default".into();
            let payload = format!("\"{}\"", "x".repeat(254));
            let mut flying = FuturesOrdered::new();
            loop {
                while !stop.load(Ordering::Relaxed) && flying.len() * burst < window {
                    flying.push_back(store.publish(&tenant, (0..burst).map(|_| spec(&payload)).collect()));
                }
                let Some(results) = flying.next().await else { break };
                assert!(results.iter().all(Result::is_ok), "{results:?}");
                count.fetch_add(results.len() as u64, Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no panic");
    }
    (count.load(Ordering::Relaxed), started.elapsed().as_secs_f64())
}

async fn consume(store: &Arc<dyn Store>, count: u64) -> (u64, f64) {
    let id = ConnectionId::at(Time(1), 1);
    let started = Instant::now();
    let mut worker =
        store.open_worker(WorkerSpec { id, tenant: None, lanes: vec!["a".into()] }).await.expect("a worker");
    store.grant(id, 1_000);
    let mut acked = 0;
    let mut flying = FuturesOrdered::new();
    while acked < count {
        let deliveries = worker.deliveries.recv().await.expect("deliveries");
        acked += deliveries.len() as u64;
        let ack = |delivery: &squall_store::Delivery| Settlement {
            id: delivery.task.id,
            receipt: None,
            verb: SettleVerb::Ack,
        };
        for part in deliveries.chunks(100) {
            flying.push_back(store.settle(None, Holder::Worker(id), part.iter().map(ack).collect()));
            store.grant(id, part.len() as u32);
        }
        while flying.len() > 20 {
            let settled = flying.next().await.expect("an answer");
            assert!(settled.iter().all(Result::is_ok));
        }
    }
    while let Some(settled) = flying.next().await {
        assert!(settled.iter().all(Result::is_ok));
    }
    (acked, started.elapsed().as_secs_f64())
}

/// Resident memory per pending 256-byte task, over the second 200,000 of 400,000: the fixed costs are in the first.
async fn memory() {
    const TASKS: usize = 200_000;
    let dir = tempfile::tempdir_in(".").expect("a temporary directory");
    let options = Options {
        store: Config { durability: Durability::Interval, ..Config::default() },
        sessions: Sessions { max_concurrent: u64::MAX, max_per_tenant: u64::MAX, ..Sessions::default() },
        lanes: [("a".to_owned(), Lane { max_depth: u64::MAX, ..Lane::default() })].into(),
        ..Options::default()
    };
    let store = embedded::open(dir.path(), options).expect("a store");
    let payload = format!("\"{}\"", "x".repeat(254));
    let mut rss = Vec::new();
    for _ in 0..2 {
        for _ in 0..TASKS / 100 {
            let results = store.publish(&"default".into(), (0..100).map(|_| spec(&payload)).collect()).await;
            assert!(results.iter().all(Result::is_ok));
        }
        rss.push(resident_bytes());
    }
    println!("{:.0} bytes for each pending task", (rss[1] - rss[0]) / TASKS as f64);
    let counted = store.stats().await.expect("stats").task_bytes as f64 / (2 * TASKS) as f64;
    println!("{counted:.0} bytes are counted against max_task_bytes");

    let before = resident_bytes();
    let tenant: Arc<str> = "default".into();
    for _ in 0..TASKS / 100 {
        let new = (0..100).map(|_| store.create_session(&tenant, NewSession::default()));
        assert!(join_all(new).await.iter().all(Result::is_ok));
    }
    println!("{:.0} bytes for each active session", (resident_bytes() - before) / TASKS as f64);
}

fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib * 1_024.0
}

/// CPU seconds of this process so far, user and system.
fn cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
    [usage.user_time(), usage.system_time()].map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).iter().sum()
}

fn probe() -> f64 {
    let mut file = tempfile::tempfile_in(".").expect("a file");
    file.write_all(&vec![0; 8 << 20]).expect("room");
    file.sync_all().expect("a sync");
    let started = Instant::now();
    for i in 0..500 {
        file.write_all_at(&[1; 512], i * 512).expect("a write");
        file.sync_data().expect("a sync");
    }
    started.elapsed().as_secs_f64() * 1e3 / 500.0
}
