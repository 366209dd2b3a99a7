//! Memory that the server takes for a connection on which nothing happens.

use std::any::Any;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Bench, progress};
use crate::harness::process::Server;
use crate::harness::report::Better::Lower;
use crate::peers::jetstream::Sync;
use crate::peers::squall::Durability;
use crate::peers::{bullmq, nchan, node_ws};
use crate::wire::{Wire, jetstream, squall, websocket};

const CONNECTIONS: u32 = 1_000;
/// Opened before the first look, so that what is made once is not counted, and so that memory which starting has left to the
/// allocator is used up: with fewer, a thousand small connections fit into that and seem to cost nothing.
const WARM_UP: u32 = 1_000;

/// As the measure stands in the table.
pub const NAME: &str = "resident memory per idle connection";
/// A worker with credit.
pub const WORK: &str = "Squall /ws/work";
/// A subscriber of the feed.
pub const EVENTS: &str = "Squall /ws/events";

/// A subscriber of a subject.
pub const NATS: &str = "NATS";
/// A worker of a queue, two connections each, in Redis.
pub const BULLMQ: &str = "BullMQ worker, in Redis";

type Start = fn(&Path) -> Result<Server>;
/// Opens so many connections, which stay as long as what it answers.
type Open = fn(&Server, u32) -> Result<Box<dyn Any>>;

/// One round.
pub fn run(bench: &mut Bench, round: usize) -> Result<()> {
    let squall: Start = |dir| Durability::Commit.ready(dir);
    let nats: Start = |dir| {
        let mut server = Sync::Default.spawn(dir)?;
        server.wait_for_port()?;
        Ok(server)
    };
    let mut systems: Vec<(&'static str, Start, Open)> = vec![
        (EVENTS, squall, |server, n| many(n, || websocket::connect(server.address, "/ws/events"))),
        (WORK, squall, |server, n| many(n, || squall::Squall::new(server.address).consumer())),
        (NATS, nats, |server, n| many(n, || jetstream::subscribe(server.address, "idle"))),
        (BULLMQ, bullmq::redis, |server, n| Ok(Box::new(bullmq::idle(server, n)?))),
        ("Node ws", node_ws::start, |server, n| many(n, || websocket::connect(server.address, "/"))),
    ];
    if nchan::is_installed() {
        systems.push(("nchan", nchan::start, |server, n| {
            many(n, || websocket::connect(server.address, nchan::SUBSCRIBE))
        }));
    }
    for (name, start, open) in bench.in_turn(&systems, round, |s| s.0) {
        let dir = bench.fresh_dir()?;
        let server = start(dir.path())?;
        let _first = open(&server, WARM_UP).with_context(|| name)?;
        let before = settled_rss(&server)?;
        let _more = open(&server, CONNECTIONS).with_context(|| name)?;
        let after = settled_rss(&server)?;
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let each = after.saturating_sub(before) as f64 / f64::from(CONNECTIONS) / 1_024.0;
        progress(&format!("{NAME}: {name}"), each, "KiB");
        bench.report.add(NAME, "KiB", Lower, name, each);
    }
    Ok(())
}

fn many(n: u32, open: impl Fn() -> Result<TcpStream>) -> Result<Box<dyn Any>> {
    Ok(Box::new((0..n).map(|_| open()).collect::<Result<Vec<_>>>()?))
}

/// What it has once the last connection has been dealt with, and what starting took has been given back: when a second has
/// changed nothing, or after ten.
fn settled_rss(server: &Server) -> Result<u64> {
    let (mut last, mut same) = (server.rss_bytes()?, 0);
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(200));
        let now = server.rss_bytes()?;
        same = if now == last { same + 1 } else { 0 };
        if same == 5 {
            break;
        }
        last = now;
    }
    Ok(last)
}
