//! `constant-vus`: so many VUs iterate, one iteration after the other, for so long.

use std::time::Duration;

use serde::Serialize;

use super::stages::{MOST_VUS, as_text};
use super::{Schedule, Stage, VusOverTime};
use crate::scenario::{ScenarioError, Section, show_span};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConstantVus {
    /// VUs at the same time.
    pub vus: u32,
    /// How long.
    #[serde(serialize_with = "as_text")]
    pub duration: Duration,
}

impl ConstantVus {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let vus = section.whole("vus", 1, MOST_VUS)?.unwrap_or(1) as u32;
        let duration = section.span("duration")?.ok_or_else(|| section.error("`duration` is missing"))?;
        Ok(Self { vus, duration })
    }

    pub(super) fn schedule(&self) -> Schedule {
        let target = f64::from(self.vus);
        Schedule::Vus(VusOverTime { start: target, stages: vec![Stage { duration: self.duration, target }] })
    }

    pub(super) fn describe(&self) -> String {
        format!("{} VUs for {}", self.vus, show_span(self.duration))
    }
}
