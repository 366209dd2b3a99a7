//! `constant-arrival-rate`: so many iterations start per time unit, whatever the target does. An iteration that finds no
//! free VU, and no room for one more, is dropped and counted.

use std::time::Duration;

use serde::Serialize;

use super::Schedule;
use super::stages::{Arrivals, MOST_RATE, MOST_VUS, Stage, as_text};
use crate::scenario::{ScenarioError, Section, show_span};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConstantArrivalRate {
    /// Iterations per `time_unit`.
    pub rate: f64,
    /// One second unless said otherwise.
    #[serde(serialize_with = "as_text")]
    pub time_unit: Duration,
    /// How long.
    #[serde(serialize_with = "as_text")]
    pub duration: Duration,
    /// VUs that are there from the start.
    pub pre_allocated_vus: u32,
    /// VUs at the most.
    pub max_vus: u32,
}

/// `time_unit`, `pre_allocated_vus` and `max_vus`, as both open shapes have them.
pub(super) fn read_pool(section: &mut Section<'_>) -> Result<(Duration, u32, u32), ScenarioError> {
    let time_unit = section.span("time_unit")?.unwrap_or(Duration::from_secs(1));
    if time_unit.is_zero() {
        return Err(section.error_at(section.place("time_unit"), "`time_unit` must be longer than nothing"));
    }
    let pre_allocated_vus = section.whole("pre_allocated_vus", 1, MOST_VUS)?.unwrap_or(10);
    let max_vus = section.whole("max_vus", 1, MOST_VUS)?.unwrap_or(pre_allocated_vus);
    if max_vus < pre_allocated_vus {
        let message = format!("`max_vus` ({max_vus}) is less than `pre_allocated_vus` ({pre_allocated_vus})");
        return Err(section.error_at(section.place("max_vus"), message));
    }
    Ok((time_unit, pre_allocated_vus as u32, max_vus as u32))
}

impl ConstantArrivalRate {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let rate = section.number("rate", 0.0, MOST_RATE)?.ok_or_else(|| section.error("`rate` is missing"))?;
        let duration = section.span("duration")?.ok_or_else(|| section.error("`duration` is missing"))?;
        let (time_unit, pre_allocated_vus, max_vus) = read_pool(section)?;
        Ok(Self { rate, time_unit, duration, pre_allocated_vus, max_vus })
    }

    pub(super) fn schedule(&self) -> Schedule {
        let rate_per_s = self.rate / self.time_unit.as_secs_f64();
        Schedule::Arrivals {
            arrivals: Arrivals::new(rate_per_s, &[Stage { duration: self.duration, target: rate_per_s }]),
            pre_allocated_vus: self.pre_allocated_vus,
            max_vus: self.max_vus,
        }
    }

    pub(super) fn describe(&self) -> String {
        let (unit, duration) = (show_span(self.time_unit), show_span(self.duration));
        format!("{} iterations per {unit} for {duration}, on up to {} VUs", self.rate, self.max_vus)
    }
}
