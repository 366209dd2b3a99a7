//! Memory that the server takes for a connection on which nothing happens.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Bench, progress};
use crate::harness::process::Server;
use crate::harness::report::Better::Lower;
use crate::peers::squall::Durability;
use crate::peers::{nchan, node_ws};
use crate::wire::{Wire, squall, websocket};

const CONNECTIONS: u32 = 1_000;
/// Opened before the first look, so that what is made once is not counted.
const WARM_UP: u32 = 50;

/// As the measure stands in the table.
pub const NAME: &str = "resident memory per idle WebSocket";
/// A worker with credit.
pub const WORK: &str = "Squall /ws/work";
/// A subscriber of the feed.
pub const EVENTS: &str = "Squall /ws/events";

type Start = fn(&Path) -> Result<Server>;
type Open = fn(SocketAddr) -> Result<TcpStream>;

/// One round.
pub fn run(bench: &mut Bench, round: usize) -> Result<()> {
    let squall: Start = |dir| Durability::Commit.ready(dir);
    let mut systems: Vec<(&'static str, Start, Open)> = vec![
        (EVENTS, squall, |address| websocket::connect(address, "/ws/events")),
        (WORK, squall, |address| squall::Squall::new(address).consumer()),
        ("Node ws", node_ws::start, |address| websocket::connect(address, "/")),
    ];
    if nchan::is_installed() {
        systems.push(("nchan", nchan::start, |address| websocket::connect(address, nchan::SUBSCRIBE)));
    }
    for (name, start, open) in bench.in_turn(&systems, round, |s| s.0) {
        let dir = bench.fresh_dir()?;
        let server = start(dir.path())?;
        let mut connections = Vec::new();
        for _ in 0..WARM_UP {
            connections.push(open(server.address)?);
        }
        let before = settled_rss(&server)?;
        for _ in 0..CONNECTIONS {
            connections.push(open(server.address)?);
        }
        let after = settled_rss(&server)?;
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let each = after.saturating_sub(before) as f64 / f64::from(CONNECTIONS) / 1_024.0;
        progress(&format!("{NAME}: {name}"), each, "KiB");
        bench.report.add(NAME, "KiB", Lower, name, each);
    }
    Ok(())
}

/// What it has once the last connection has been dealt with.
fn settled_rss(server: &Server) -> Result<u64> {
    std::thread::sleep(Duration::from_millis(300));
    server.rss_bytes()
}
