//! Publishes acknowledged per second, and then deliver + ack per second of what was published.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Bench, PROBE, probe, progress};
use crate::harness::report::Better::Higher;
use crate::peers::Tasks;
use crate::wire::publish::Until;

/// Connections and tasks in flight on each.
pub const SHAPES: [(u64, u64); 3] = [(1, 1), (1, 100), (16, 100)];

/// As the measure stands in the table.
pub fn name((connections, in_flight): (u64, u64)) -> String {
    let connections = if connections == 1 { "1 connection".into() } else { format!("{connections} connections") };
    format!("publish + ack, {connections}, {in_flight} in flight")
}

/// One round of publishing in one shape. What was acknowledged is consumed afterwards, to see that it is all there.
pub fn publish(bench: &mut Bench, shape: (u64, u64), systems: &[&dyn Tasks], round: usize) -> Result<()> {
    let until = Until::Time {
        warm_up: bench.time(Duration::from_millis(300)),
        measured: bench.time(Duration::from_millis(1_500)),
    };
    let name = name(shape);
    for system in bench.in_turn(systems, round, |s| s.name()) {
        let dir = bench.fresh_dir()?;
        let syncs = probe(dir.path())?;
        let mut queue = system.start(dir.path()).with_context(|| format!("{} does not start", system.name()))?;
        let cpu = queue.cpu()?;
        let start = Instant::now();
        let published = queue.publish(shape.0, shape.1, until).with_context(|| format!("{name}: {}", system.name()))?;
        let busy = (queue.cpu()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
        queue.consume(&published.acked).with_context(|| format!("after {name}: {}", system.name()))?;
        progress(&format!("{name}: {} (server {:.0} % busy)", system.name(), busy * 100.0), published.per_s, "/s");
        bench.report.add(&name, "tasks/s", Higher, system.name(), published.per_s);
        if system.name() == "Squall" {
            bench.report.add(&name, "tasks/s", Higher, PROBE, syncs);
        }
    }
    Ok(())
}

/// As the measure stands in the table.
pub const CONSUME: &str = "deliver + ack, 1 connection";

/// One round of consuming what waits.
pub fn consume(bench: &mut Bench, systems: &[&dyn Tasks], round: usize) -> Result<()> {
    for system in bench.in_turn(systems, round, |s| s.name()) {
        // Those on Redis would take a minute for as many as the others need to be busy for a second.
        let each = bench.count(match system.name() {
            "BullMQ" => 1_250,
            "Squall, Redis" => 2_500,
            _ => 20_000,
        });
        let dir = bench.fresh_dir()?;
        let mut queue = system.start(dir.path())?;
        let published = queue.publish(16, 100, Until::Count(each))?;
        let tasks: u64 = published.acked.iter().sum();
        let cpu = queue.cpu()?;
        let took = queue.consume(&published.acked).with_context(|| format!("{CONSUME}: {}", system.name()))?;
        let busy = (queue.cpu()? - cpu).as_secs_f64() / took.as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let per_s = tasks as f64 / took.as_secs_f64();
        progress(&format!("{CONSUME}: {} (server {:.0} % busy)", system.name(), busy * 100.0), per_s, "/s");
        bench.report.add(CONSUME, "tasks/s", Higher, system.name(), per_s);
    }
    Ok(())
}

/// As the measures stand in the table.
pub const PRIORITISED_PUBLISH: &str = "publish + ack, three priorities, 16 connections, 100 in flight";
/// Of tasks of three priorities.
pub const PRIORITISED_CONSUME: &str = "deliver + ack, three priorities, 1 connection";

/// One round of both, with tasks whose priorities take turns.
pub fn prioritised(bench: &mut Bench, systems: &[&dyn Tasks], round: usize) -> Result<()> {
    for system in bench.in_turn(systems, round, |s| s.name()) {
        let each = bench.count(if system.name() == "BullMQ" { 1_250 } else { 2_500 });
        let dir = bench.fresh_dir()?;
        let mut queue = system.start(dir.path())?;
        queue.prioritise()?;
        let published = queue.publish(16, 100, Until::Count(each))?;
        progress(&format!("{PRIORITISED_PUBLISH}: {}", system.name()), published.per_s, "/s");
        bench.report.add(PRIORITISED_PUBLISH, "tasks/s", Higher, system.name(), published.per_s);
        let tasks: u64 = published.acked.iter().sum();
        let took = queue.consume(&published.acked).with_context(|| system.name())?;
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let per_s = tasks as f64 / took.as_secs_f64();
        progress(&format!("{PRIORITISED_CONSUME}: {}", system.name()), per_s, "/s");
        bench.report.add(PRIORITISED_CONSUME, "tasks/s", Higher, system.name(), per_s);
    }
    Ok(())
}
