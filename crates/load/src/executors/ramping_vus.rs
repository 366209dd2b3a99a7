//! `ramping-vus`: the number of VUs goes in a straight line from stage to stage. A VU that is no longer wanted finishes its
//! iteration.

use serde::Serialize;

use super::Schedule;
use super::stages::{self, MOST_VUS, Stage, VusOverTime};
use crate::scenario::{ScenarioError, Section};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RampingVus {
    /// VUs at the start.
    pub start_vus: u32,
    /// Where to, and how fast.
    pub stages: Vec<Stage>,
}

impl RampingVus {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let start_vus = section.whole("start_vus", 0, MOST_VUS)?.unwrap_or(1) as u32;
        Ok(Self { start_vus, stages: stages::read_stages(section, MOST_VUS as f64)? })
    }

    pub(super) fn schedule(&self) -> Schedule {
        Schedule::Vus(VusOverTime { start: f64::from(self.start_vus), stages: self.stages.clone() })
    }

    pub(super) fn describe(&self) -> String {
        format!("VUs from {}: {}", self.start_vus, stages::describe(&self.stages))
    }
}
