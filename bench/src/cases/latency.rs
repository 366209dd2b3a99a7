//! From the instant at which a task is due to be published until a worker has it, at a rate that everybody can hold.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Bench, progress};
use crate::harness::report::Better::Lower;
use crate::peers::Tasks;
use crate::wire::paced::Pace;

/// As the measures stand in the table.
pub const P50: &str = "end to end at 2,000 tasks/s, p50";
/// As the measures stand in the table.
pub const P99: &str = "end to end at 2,000 tasks/s, p99";

/// One round.
pub fn run(bench: &mut Bench, systems: &[&dyn Tasks], round: usize) -> Result<()> {
    let pace = Pace {
        per_s: 2_000,
        warm_up: bench.time(Duration::from_millis(1_000)),
        measured: bench.time(Duration::from_millis(4_000)),
    };
    for system in bench.in_turn(systems, round, |s| s.name()) {
        let dir = bench.fresh_dir()?;
        let mut queue = system.start(dir.path())?;
        let latency = queue.paced(pace).with_context(|| format!("{P99}: {}", system.name()))?;
        for (name, quantile) in [(P50, 0.5), (P99, 0.99)] {
            #[allow(clippy::cast_precision_loss)] // nanoseconds, three digits of them right
            let ms = latency.value_at_quantile(quantile) as f64 / 1e6;
            progress(&format!("{name}: {}", system.name()), ms, "ms");
            bench.report.add(name, "ms", Lower, system.name(), ms);
        }
    }
    Ok(())
}
