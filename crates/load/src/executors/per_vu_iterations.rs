//! `per-vu-iterations`: each VU does so many iterations.

use std::time::Duration;

use serde::Serialize;

use super::stages::{MOST_VUS, as_text};
use super::{Iterations, Schedule};
use crate::scenario::{ScenarioError, Section, show_span};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PerVuIterations {
    /// VUs at the same time.
    pub vus: u32,
    /// Iterations of each.
    pub iterations: u64,
    /// No iteration starts later.
    #[serde(serialize_with = "as_text")]
    pub max_duration: Duration,
}

impl PerVuIterations {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        Ok(Self {
            vus: section.whole("vus", 1, MOST_VUS)?.unwrap_or(1) as u32,
            iterations: section.whole("iterations", 1, 1_000_000_000)?.unwrap_or(1),
            max_duration: section.span("max_duration")?.unwrap_or(Duration::from_secs(600)),
        })
    }

    pub(super) fn schedule(&self) -> Schedule {
        let iterations = Iterations::PerVu(self.iterations);
        Schedule::Iterations { vus: self.vus, iterations, max: self.max_duration }
    }

    pub(super) fn describe(&self) -> String {
        format!("{} VUs, {} iterations each, in at most {}", self.vus, self.iterations, show_span(self.max_duration))
    }
}
