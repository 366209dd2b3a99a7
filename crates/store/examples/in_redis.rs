//! What a task costs in Redis and in the gateway: `cargo run --release -p squall-store --example in_redis -- redis://127.0.0.1:6379 [tasks]
//! [sessions]`.
//!
//! Publishes, delivers and acknowledges 256-byte tasks, so many in each call, and reads Redis's own figures between the steps:
//! microseconds inside the library (`INFO commandstats`), of CPU of the whole server (`INFO cpu`), and of CPU of this process, which
//! does what a gateway does behind its transports. Then says what a pending task, an event and a session take of its memory. Wants a
//! Redis of its own, and leaves its keys there.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::future::join_all;
use squall_protocol::{ConnectionId, NewSession, TaskId, Time};
use squall_store::config::{Lane, Options};
use squall_store::{Holder, SettleVerb, Settlement, Store, TaskSpec, WorkerSpec};

/// Seconds so far.
#[derive(Clone, Copy)]
struct Spent {
    library: f64,
    server: f64,
    here: f64,
    wall: Instant,
}

struct Probe(redis::aio::MultiplexedConnection);

impl Probe {
    async fn figures(&mut self, section: &str) -> HashMap<String, String> {
        let text: String = redis::cmd("INFO").arg(section).query_async(&mut self.0).await.expect("figures");
        text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.into(), value.into())).collect()
    }

    /// Bytes in use but for the feed's, and the feed's.
    async fn memory(&mut self, feed: &str) -> (f64, f64) {
        let memory = self.figures("memory").await;
        let used: f64 = memory.get("used_memory").and_then(|text| text.trim().parse().ok()).unwrap_or(0.0);
        let of_feed: Option<f64> = redis::cmd("MEMORY")
            .arg("USAGE")
            .arg(feed)
            .arg("SAMPLES")
            .arg(0)
            .query_async(&mut self.0)
            .await
            .expect("figures");
        let of_feed = of_feed.unwrap_or(0.0);
        (used - of_feed, of_feed)
    }

    async fn spent(&mut self) -> Spent {
        let calls = self.figures("commandstats").await;
        let library =
            calls.get("cmdstat_fcall").and_then(|of| of.split(',').find_map(|part| part.strip_prefix("usec=")));
        let cpu = self.figures("cpu").await;
        let seconds = |name: &str| cpu.get(name).and_then(|text| text.trim().parse::<f64>().ok()).unwrap_or(0.0);
        Spent {
            library: library.and_then(|usec| usec.parse::<f64>().ok()).unwrap_or(0.0) / 1e6,
            server: seconds("used_cpu_user") + seconds("used_cpu_sys"),
            here: cpu_here(),
            wall: Instant::now(),
        }
    }
}

fn cpu_here() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
    [usage.user_time(), usage.system_time()].map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).iter().sum()
}

fn told(what: &str, each: usize, tasks: usize, from: Spent, to: Spent) {
    let us = |seconds: f64| seconds * 1e6 / tasks as f64;
    let (library, server, here) = (us(to.library - from.library), us(to.server - from.server), us(to.here - from.here));
    let wall = us((to.wall - from.wall).as_secs_f64());
    println!(
        "{what:<10} {each:>4} a call: {library:>6.1} us in the library, {server:>6.1} CPU of Redis, {here:>6.1} CPU here, {wall:>6.1} in all; {:>3.0} % in Redis",
        100.0 * server / (server + here)
    );
}

fn taken(what: &str, number: usize, before: (f64, f64), after: (f64, f64)) {
    let each = |bytes: f64| bytes / number as f64;
    println!("{what}: {:.0} bytes in Redis, and {:.0} of the feed", each(after.0 - before.0), each(after.1 - before.1));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().expect("the address of a Redis");
    let tasks: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let sessions: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(tasks);
    let client = redis::Client::open(url.as_str()).expect("an address");
    let mut probe = Probe(client.get_multiplexed_async_connection().await.expect("Redis answers"));
    let mut options = Options {
        lanes: [("a".to_owned(), Lane { max_depth: u64::MAX, lease_ms: 600_000, ..Lane::default() })].into(),
        ..Options::default()
    };
    options.store.url = url;
    options.store.key_prefix = format!("squall-cost-{}", uuid::Uuid::new_v4());
    options.store.finished_tasks = usize::MAX;
    options.sessions.max_concurrent = u64::MAX;
    options.sessions.max_per_tenant = u64::MAX;
    let feed = format!("{}:feed", options.store.key_prefix);
    let store = squall_store::redis::open(options).await.expect("a store");
    for each in [1, 10, 100] {
        let tasks = if each == 1 { tasks / 4 } else { tasks };
        let begun = probe.spent().await;
        publish(&store, tasks, each).await;
        let published = probe.spent().await;
        told("publish", each, tasks, begun, published);
        let (worker, ids) = deliver(&store, tasks, each).await;
        let delivered = probe.spent().await;
        told("deliver", each, tasks, published, delivered);
        acknowledge(&store, worker, &ids, each).await;
        let acked = probe.spent().await;
        told("ack", each, tasks, delivered, acked);
        told("all three", each, tasks, begun, acked);
        store.close_worker(worker, true);
    }
    let before = probe.memory(&feed).await;
    publish(&store, tasks, 100).await;
    let pending = probe.memory(&feed).await;
    taken("a pending task of 256 bytes", tasks, before, pending);
    let (worker, held) = deliver(&store, tasks, 100).await;
    acknowledge(&store, worker, &held, 100).await;
    taken("a finished task, as long as it is remembered", tasks, before, probe.memory(&feed).await);
    store.close_worker(worker, true);

    let before = probe.memory(&feed).await;
    let begun = probe.spent().await;
    let mut ids = Vec::new();
    for _ in 0..sessions / 100 {
        let new = (0..100).map(|_| store.create_session(&"default".into(), NewSession::default()));
        ids.extend(join_all(new).await.into_iter().map(|session| session.expect("a session").id));
    }
    let created = probe.spent().await;
    told("session", 100, sessions, begun, created);
    taken("an active session without metadata", sessions, before, probe.memory(&feed).await);
    let begun = probe.spent().await;
    for ids in ids.chunks(100) {
        let beats = ids.iter().map(|id| store.heartbeat(None, id.clone()));
        assert!(join_all(beats).await.iter().all(Result::is_ok));
    }
    told("heartbeat", 100, sessions, begun, probe.spent().await);
    store.close().await.expect("closed");
}

async fn publish(store: &impl Store, tasks: usize, each: usize) {
    let payload = format!("\"{}\"", "x".repeat(254));
    let spec = || TaskSpec {
        lane: Some("a".into()),
        kind: "cost".into(),
        payload: payload.as_str().into(),
        ..TaskSpec::default()
    };
    for _ in 0..tasks / each {
        let answers = store.publish(&"default".into(), (0..each).map(|_| spec()).collect()).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
}

async fn deliver(store: &impl Store, tasks: usize, each: usize) -> (ConnectionId, Vec<TaskId>) {
    let id = ConnectionId::at(Time(1), each as u128);
    let spec = WorkerSpec { id, tenant: None, lanes: vec!["a".into()] };
    let mut worker = store.open_worker(spec).await.expect("a worker");
    let mut ids = Vec::new();
    while ids.len() < tasks {
        store.grant(id, each as u32);
        let until = ids.len() + each;
        while ids.len() < until {
            ids.extend(worker.deliveries.recv().await.expect("deliveries").iter().map(|delivery| delivery.task.id));
        }
    }
    // Its leases are to stay: `close_worker` will end it.
    std::mem::forget(worker);
    (id, ids)
}

async fn acknowledge(store: &impl Store, worker: ConnectionId, ids: &[TaskId], each: usize) {
    for some in ids.chunks(each) {
        let acks = some.iter().map(|id| Settlement { id: *id, receipt: None, verb: SettleVerb::Ack }).collect();
        let answers = store.settle(None, Holder::Worker(worker), acks).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
}
