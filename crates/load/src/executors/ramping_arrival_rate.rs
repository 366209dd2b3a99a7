//! `ramping-arrival-rate`: the rate of iterations goes in a straight line from stage to stage; the n-th iteration starts
//! when the integral of the rate reaches n.

use std::time::Duration;

use serde::Serialize;

use super::Schedule;
use super::constant_arrival_rate::read_pool;
use super::stages::{self, Arrivals, MOST_RATE, Stage, as_text};
use crate::scenario::{ScenarioError, Section, show_span};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RampingArrivalRate {
    /// Iterations per `time_unit` at the start.
    pub start_rate: f64,
    /// One second unless said otherwise.
    #[serde(serialize_with = "as_text")]
    pub time_unit: Duration,
    /// Where to, and how fast; targets are iterations per `time_unit`.
    pub stages: Vec<Stage>,
    /// VUs that are there from the start.
    pub pre_allocated_vus: u32,
    /// VUs at the most.
    pub max_vus: u32,
}

impl RampingArrivalRate {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let start_rate = section.number("start_rate", 0.0, MOST_RATE)?.unwrap_or(0.0);
        let stages = stages::read_stages(section, MOST_RATE)?;
        let (time_unit, pre_allocated_vus, max_vus) = read_pool(section)?;
        Ok(Self { start_rate, time_unit, stages, pre_allocated_vus, max_vus })
    }

    pub(super) fn schedule(&self) -> Schedule {
        let per_s = 1.0 / self.time_unit.as_secs_f64();
        let stages: Vec<_> = self.stages.iter().map(|stage| Stage { target: stage.target * per_s, ..*stage }).collect();
        Schedule::Arrivals {
            arrivals: Arrivals::new(self.start_rate * per_s, &stages),
            pre_allocated_vus: self.pre_allocated_vus,
            max_vus: self.max_vus,
        }
    }

    pub(super) fn describe(&self) -> String {
        let (unit, stages) = (show_span(self.time_unit), stages::describe(&self.stages));
        format!("iterations per {unit} from {}: {stages}; on up to {} VUs", self.start_rate, self.max_vus)
    }
}
