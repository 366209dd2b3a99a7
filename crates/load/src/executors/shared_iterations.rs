//! `shared-iterations`: all VUs together do so many iterations. They are dealt out to the cores beforehand; the VUs of one
//! core take from one heap, so that a fast VU does more.

use std::time::Duration;

use serde::Serialize;

use super::stages::{MOST_VUS, as_text};
use super::{Iterations, Schedule};
use crate::scenario::{ScenarioError, Section, show_span};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SharedIterations {
    /// VUs at the same time.
    pub vus: u32,
    /// Iterations of all together.
    pub iterations: u64,
    /// No iteration starts later.
    #[serde(serialize_with = "as_text")]
    pub max_duration: Duration,
}

impl SharedIterations {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let vus = section.whole("vus", 1, MOST_VUS)?.unwrap_or(1);
        let iterations = section.whole("iterations", 1, 1_000_000_000)?.unwrap_or(1);
        if iterations < vus {
            let message =
                format!("`iterations` ({iterations}) is less than `vus` ({vus}): some would never do anything");
            return Err(section.error_at(section.place("iterations"), message));
        }
        let max_duration = section.span("max_duration")?.unwrap_or(Duration::from_secs(600));
        Ok(Self { vus: vus as u32, iterations, max_duration })
    }

    pub(super) fn schedule(&self) -> Schedule {
        let iterations = Iterations::InAll(self.iterations);
        Schedule::Iterations { vus: self.vus, iterations, max: self.max_duration }
    }

    pub(super) fn describe(&self) -> String {
        let max = show_span(self.max_duration);
        format!("{} iterations on {} VUs, in at most {max}", self.iterations, self.vus)
    }
}
