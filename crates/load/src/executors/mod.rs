//! Load shapes, with k6's names and meaning. One file each: its configuration beside its schedule. A schedule is a closed
//! form (how many VUs at a time, when the k-th iteration starts) and is split among the cores by index arithmetic: core
//! `c` of `n` has the VUs and the arrivals whose number is `c` modulo `n`, so that nothing is lost or done twice. Carrying
//! schedules out is the engine's business.

mod constant_arrival_rate;
mod constant_vus;
mod per_vu_iterations;
mod ramping_arrival_rate;
mod ramping_vus;
mod shared_iterations;
mod stages;

use std::time::Duration;

pub use constant_arrival_rate::ConstantArrivalRate;
pub use constant_vus::ConstantVus;
pub use per_vu_iterations::PerVuIterations;
pub use ramping_arrival_rate::RampingArrivalRate;
pub use ramping_vus::RampingVus;
use serde::Serialize;
pub use shared_iterations::SharedIterations;
pub use stages::Stage;
pub(crate) use stages::{Arrivals, VusOverTime};

use crate::scenario::{ScenarioError, Section};

/// A load shape.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "executor", rename_all = "kebab-case")]
pub enum Executor {
    /// So many VUs, for so long.
    ConstantVus(ConstantVus),
    /// VUs come and go in stages.
    RampingVus(RampingVus),
    /// So many iterations a second, whatever the target does.
    ConstantArrivalRate(ConstantArrivalRate),
    /// The rate of iterations goes up and down in stages.
    RampingArrivalRate(RampingArrivalRate),
    /// Each VU does so many iterations.
    PerVuIterations(PerVuIterations),
    /// All VUs together do so many iterations.
    SharedIterations(SharedIterations),
}

/// What the engine carries out.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// Closed: VUs iterate one after the other, as long as they are wanted.
    Vus(VusOverTime),
    /// Open: iterations start when they should, on whatever VU is free.
    Arrivals { arrivals: Arrivals, pre_allocated_vus: u32, max_vus: u32 },
    /// Closed, and counted.
    Iterations { vus: u32, iterations: Iterations, max: Duration },
}

/// How counted iterations are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Iterations {
    PerVu(u64),
    InAll(u64),
}

/// The names, as they stand in a scenario.
pub(crate) const NAMES: [&str; 6] = [
    "constant-vus",
    "ramping-vus",
    "constant-arrival-rate",
    "ramping-arrival-rate",
    "per-vu-iterations",
    "shared-iterations",
];

impl Executor {
    pub(crate) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let name = section.text("executor")?.ok_or_else(|| section.error("`executor` is missing"))?;
        let choices: Vec<_> = NAMES.iter().copied().zip(0..).collect();
        Ok(match section.choice("executor", &name, &choices)? {
            0 => Self::ConstantVus(ConstantVus::read(section)?),
            1 => Self::RampingVus(RampingVus::read(section)?),
            2 => Self::ConstantArrivalRate(ConstantArrivalRate::read(section)?),
            3 => Self::RampingArrivalRate(RampingArrivalRate::read(section)?),
            4 => Self::PerVuIterations(PerVuIterations::read(section)?),
            _ => Self::SharedIterations(SharedIterations::read(section)?),
        })
    }

    /// The name, as it stands in a scenario.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ConstantVus(_) => NAMES[0],
            Self::RampingVus(_) => NAMES[1],
            Self::ConstantArrivalRate(_) => NAMES[2],
            Self::RampingArrivalRate(_) => NAMES[3],
            Self::PerVuIterations(_) => NAMES[4],
            Self::SharedIterations(_) => NAMES[5],
        }
    }

    /// How long it starts iterations, at the longest.
    #[must_use]
    pub fn duration(&self) -> Duration {
        match self {
            Self::ConstantVus(it) => it.duration,
            Self::RampingVus(it) => stages::total(&it.stages),
            Self::ConstantArrivalRate(it) => it.duration,
            Self::RampingArrivalRate(it) => stages::total(&it.stages),
            Self::PerVuIterations(it) => it.max_duration,
            Self::SharedIterations(it) => it.max_duration,
        }
    }

    /// Makes it `factor` times as long; counted iterations stay as they are, but get so much less time.
    pub(crate) fn stretch(&mut self, factor: f64) {
        match self {
            Self::ConstantVus(it) => it.duration = it.duration.mul_f64(factor),
            Self::RampingVus(it) => stages::stretch(&mut it.stages, factor),
            Self::ConstantArrivalRate(it) => it.duration = it.duration.mul_f64(factor),
            Self::RampingArrivalRate(it) => stages::stretch(&mut it.stages, factor),
            Self::PerVuIterations(it) => it.max_duration = it.max_duration.mul_f64(factor),
            Self::SharedIterations(it) => it.max_duration = it.max_duration.mul_f64(factor),
        }
    }

    /// Sets the number of VUs that are there at the same time; false when the shape has no such number.
    pub(crate) const fn set_vus(&mut self, vus: u32) -> bool {
        match self {
            Self::ConstantVus(it) => it.vus = vus,
            Self::PerVuIterations(it) => it.vus = vus,
            Self::SharedIterations(it) => it.vus = vus,
            _ => return false,
        }
        true
    }

    /// The most VUs that are there at the same time.
    #[must_use]
    pub fn most_vus(&self) -> u32 {
        match self {
            Self::ConstantVus(it) => it.vus,
            Self::RampingVus(it) => it.stages.iter().map(|stage| stage.target as u32).fold(it.start_vus, u32::max),
            Self::ConstantArrivalRate(it) => it.max_vus,
            Self::RampingArrivalRate(it) => it.max_vus,
            Self::PerVuIterations(it) => it.vus,
            Self::SharedIterations(it) => it.vus,
        }
    }

    /// Whether it says how many VUs there are, and nothing about iterations.
    #[must_use]
    pub const fn counts_vus(&self) -> bool {
        matches!(self, Self::ConstantVus(_) | Self::RampingVus(_))
    }

    pub(crate) fn schedule(&self) -> Schedule {
        match self {
            Self::ConstantVus(it) => it.schedule(),
            Self::RampingVus(it) => it.schedule(),
            Self::ConstantArrivalRate(it) => it.schedule(),
            Self::RampingArrivalRate(it) => it.schedule(),
            Self::PerVuIterations(it) => it.schedule(),
            Self::SharedIterations(it) => it.schedule(),
        }
    }

    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::ConstantVus(it) => it.describe(),
            Self::RampingVus(it) => it.describe(),
            Self::ConstantArrivalRate(it) => it.describe(),
            Self::RampingArrivalRate(it) => it.describe(),
            Self::PerVuIterations(it) => it.describe(),
            Self::SharedIterations(it) => it.describe(),
        }
    }
}

/// How many of `total` things with the numbers 0, 1, 2 … belong to core `core` of `cores`.
#[must_use]
pub(crate) const fn share(total: u64, core: usize, cores: usize) -> u64 {
    (total + cores as u64 - 1 - core as u64) / cores as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::share;

    proptest! {
        #[test]
        fn shares_add_up(total in 0_u64..1_000_000, cores in 1_usize..64) {
            let parts: Vec<_> = (0..cores).map(|core| share(total, core, cores)).collect();
            prop_assert_eq!(parts.iter().sum::<u64>(), total);
            prop_assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
        }
    }
}
