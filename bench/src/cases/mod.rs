//! What is measured, one file each. A case adds one round's figures to the report; rounds are interleaved by the caller.

pub mod fanout;
pub mod gateways;
pub mod idle;
pub mod latency;
pub mod publish;
pub mod recovery;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::harness::report::Report;

/// What all cases share.
pub struct Bench {
    /// Where servers keep their data: a disk, not memory.
    pub dir: PathBuf,
    /// Much shorter, to see whether it works at all.
    pub quick: bool,
    /// Measure only these systems, by their names in the table; empty: all.
    pub only: Vec<String>,
    /// The figures so far.
    pub report: Report,
}

impl Bench {
    /// A duration, or a fifth of it when it has to be quick.
    pub fn time(&self, full: Duration) -> Duration {
        if self.quick { full / 5 } else { full }
    }

    /// A count, or a twentieth of it when it has to be quick.
    pub fn count(&self, full: u64) -> u64 {
        if self.quick { full / 20 } else { full }
    }

    /// The systems in an order that turns with the round, so that none always comes first, without those that nobody asked for.
    pub fn in_turn<T: Copy>(&self, systems: &[T], round: usize, name: impl Fn(&T) -> &'static str) -> Vec<T> {
        let start = round % systems.len().max(1);
        let turned = systems[start..].iter().chain(&systems[..start]);
        turned.filter(|s| self.only.is_empty() || self.only.iter().any(|only| *only == name(s))).copied().collect()
    }

    /// An empty directory that is removed when it is dropped.
    pub fn fresh_dir(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::tempdir_in(&self.dir)?)
    }
}

/// Says what is going on, on standard error.
pub fn progress(what: &str, value: f64, unit: &str) {
    eprintln!("  {what:<60} {value:>12.2} {unit}");
}

/// The name of the probe in the table.
pub const PROBE: &str = "bare fdatasync";

/// Runs the probe.
pub fn probe(dir: &Path) -> Result<f64> {
    crate::harness::probe::fdatasync_per_s(dir, Duration::from_millis(200))
}
