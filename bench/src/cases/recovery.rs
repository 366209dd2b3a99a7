//! Many tasks wait, the server is killed and started again: how long until the first of them is delivered.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Bench, progress};
use crate::harness::process::{PATIENCE, Server};
use crate::harness::report::{Better::Lower, figure};
use crate::peers::Tasks as _;
use crate::peers::bullmq::{self, BullMq};
use crate::peers::jetstream::Sync;
use crate::peers::squall::Durability;
use crate::wire::publish::{Until, publish};
use crate::wire::{Wire, consume, jetstream, squall};

/// Producers that fill the queue.
const PRODUCERS: u64 = 16;
/// Tasks of each producer: a million in all, and for those that would need minutes for a million, a hundred thousand.
const EACH: [u64; 2] = [62_500, 6_250];

/// As the measures stand in the table. The number is that of the tasks, also when it had to be quick.
pub fn names(bench: &Bench) -> Vec<String> {
    EACH.iter().map(|each| name(PRODUCERS * bench.count(*each))).collect()
}

fn name(tasks: u64) -> String {
    match tasks {
        1_000_000 => "recovery with 1 M pending tasks".to_owned(),
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        _ => format!("recovery with {} pending tasks", figure(tasks as f64)),
    }
}

/// A system that recovers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum System {
    Squall,
    JetStream,
    BullMq,
}

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Squall => Durability::Commit.name(),
            Self::JetStream => Sync::Default.name(),
            Self::BullMq => BullMq.name(),
        }
    }

    fn recover(self, dir: &Path, each: u64) -> Result<Duration> {
        match self {
            Self::Squall => {
                let server = Durability::Commit.ready(dir)?;
                let wire = squall::Squall::new(server.address);
                let again = |dir: &Path| {
                    let server = Durability::Commit.spawn(dir)?;
                    let wire = squall::Squall::new(server.address);
                    Ok((server, wire))
                };
                recover(server, &wire, each, dir, again)
            }
            Self::JetStream => {
                let mut server = Sync::Default.spawn(dir)?;
                server.wait_for_port()?;
                let wire = jetstream::JetStream::new(server.address);
                wire.create_stream()?;
                let again = |dir: &Path| {
                    let server = Sync::Default.spawn(dir)?;
                    let wire = jetstream::JetStream::new(server.address);
                    Ok((server, wire))
                };
                recover(server, &wire, each, dir, again)
            }
            Self::BullMq => bullmq::recover(dir, each),
        }
    }
}

/// One round.
pub fn run(bench: &mut Bench, round: usize) -> Result<()> {
    let [million, fewer] = EACH;
    for (each, systems) in [
        (million, [System::Squall, System::JetStream].as_slice()),
        (fewer, &[System::Squall, System::JetStream, System::BullMq]),
    ] {
        let each = bench.count(each);
        let name = name(PRODUCERS * each);
        for system in bench.in_turn(systems, round, |system| system.name()) {
            let dir = bench.fresh_dir()?;
            let took = system.recover(dir.path(), each).with_context(|| format!("{name}: {}", system.name()))?;
            progress(&format!("{name}: {}", system.name()), took.as_secs_f64(), "s");
            bench.report.add(&name, "s", Lower, system.name(), took.as_secs_f64());
        }
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
    let published = publish(wire, PRODUCERS, 100, Until::Count(each))?;
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
