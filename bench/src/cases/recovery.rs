//! A million tasks wait, the server is killed and started again: how long until the first of them is delivered.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Bench, progress};
use crate::harness::process::{PATIENCE, Server};
use crate::harness::report::Better::Lower;
use crate::peers::jetstream::Sync;
use crate::peers::squall::Durability;
use crate::wire::publish::{Until, publish};
use crate::wire::{Wire, consume, jetstream, squall};

/// As the measure stands in the table.
pub const NAME: &str = "recovery with 1 M pending tasks";

/// One round.
pub fn run(bench: &mut Bench, round: usize) -> Result<()> {
    let each = bench.count(62_500);
    for ours in bench.in_turn(&[true, false], round, name) {
        let dir = bench.fresh_dir()?;
        let (system, took) = if ours {
            let server = Durability::Commit.ready(dir.path())?;
            let wire = squall::Squall::new(server.address);
            let again = |dir: &Path| {
                let server = Durability::Commit.spawn(dir)?;
                let wire = squall::Squall::new(server.address);
                Ok((server, wire))
            };
            (name(&true), recover(server, &wire, each, dir.path(), again).context("Squall")?)
        } else {
            let mut server = Sync::Default.spawn(dir.path())?;
            server.wait_for_port()?;
            let wire = jetstream::JetStream::new(server.address);
            wire.create_stream()?;
            let again = |dir: &Path| {
                let server = Sync::Default.spawn(dir)?;
                let wire = jetstream::JetStream::new(server.address);
                Ok((server, wire))
            };
            (name(&false), recover(server, &wire, each, dir.path(), again).context("JetStream")?)
        };
        progress(&format!("{NAME}: {system}"), took.as_secs_f64(), "s");
        bench.report.add(NAME, "s", Lower, system, took.as_secs_f64());
    }
    Ok(())
}

/// Fills, kills, starts, waits for the first task; then takes all of them, to see that they are all there.
fn recover<W: Wire>(
    server: Server,
    wire: &W,
    each: u64,
    dir: &Path,
    again: impl Fn(&Path) -> Result<(Server, W)>,
) -> Result<Duration> {
    let published = publish(wire, 16, 100, Until::Count(each))?;
    server.kill()?;
    let start = Instant::now();
    let (server, mut wire) = again(dir)?;
    let mut consumed = consume::consume(&mut wire, &published.acked);
    // Until it listens, and then until its queue is back, there is nobody to deliver.
    while let Err(error) = consumed {
        if start.elapsed() > PATIENCE || wire.unfinished().is_ok() {
            return Err(error.context(server.log_tail()));
        }
        std::thread::sleep(Duration::from_millis(1));
        consumed = consume::consume(&mut wire, &published.acked);
    }
    Ok(consumed?.first - start)
}

fn name(ours: &bool) -> &'static str {
    if *ours { Durability::Commit.name() } else { Sync::Default.name() }
}
