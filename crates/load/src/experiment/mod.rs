//! Experiments: what is supposed to hold while a fault lasts and after it, in the words of Chaos Toolkit. What is to be read of a
//! scenario stands here; `judge` decides, pure, from the seconds of a run.

mod judge;

use std::time::Duration;

pub(crate) use judge::Judge;
use serde::Serialize;

use crate::scenario::{ScenarioError, Section, Threshold, as_text};

/// `[experiment]`: a scenario that has it passes or fails as an experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Experiment {
    /// What is supposed to hold, in a sentence.
    pub hypothesis: String,
    /// What `/health` has to say while the fault lasts; `None`: whatever it likes.
    pub health: Option<Health>,
    /// Features that it has to name as lost.
    pub lost: Vec<String>,
    /// How long until it says so.
    #[serde(serialize_with = "as_text")]
    pub detect: Duration,
    /// How long until the steady state holds again, from the end of the fault.
    #[serde(serialize_with = "as_text")]
    pub recover: Duration,
    /// So long must it hold in a row to count.
    #[serde(serialize_with = "as_text")]
    pub steady_for: Duration,
    /// The share of requests that should succeed; what may fail is the error budget.
    pub objective: f64,
    /// What each second must be like to be steady, besides `/health` saying `healthy`.
    pub steady_state: Vec<Threshold>,
    /// What must hold of all that happened from the begin of the fault until the target was steady again.
    pub during: Vec<Threshold>,
    /// What each second must be like for the experiment to go on; otherwise it is ended, and has failed.
    pub abort: Vec<Threshold>,
}

/// What `/health` says of a gateway, as it is seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Everything works.
    Healthy,
    /// Something is lost.
    Degraded,
    /// It does not answer.
    Unreachable,
}

impl Health {
    const CHOICES: [(&'static str, Option<Self>); 4] = [
        ("healthy", Some(Self::Healthy)),
        ("degraded", Some(Self::Degraded)),
        ("unreachable", Some(Self::Unreachable)),
        ("any", None),
    ];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Experiment {
    /// `conditions` reads a table of thresholds.
    pub(crate) fn read(
        mut section: Section<'_>,
        conditions: impl Fn(Section<'_>) -> Result<Vec<Threshold>, ScenarioError>,
    ) -> Result<Self, ScenarioError> {
        let hypothesis = section.text("hypothesis")?.ok_or_else(|| section.error("`hypothesis` is missing"))?.value;
        let health = match section.text("health")? {
            Some(word) => section.choice("health", &word, &Health::CHOICES)?,
            None => None,
        };
        let lost = section.texts("lost")?.unwrap_or_default();
        if let Some(word) = lost.first().filter(|_| health != Some(Health::Degraded)) {
            return Err(section.error_at(word.at, "`lost` is what /health names when it is `degraded`"));
        }
        let mut table = |key| section.section(key)?.map_or_else(|| Ok(Vec::new()), &conditions);
        let (steady_state, during, abort) = (table("steady_state")?, table("during")?, table("abort")?);
        if steady_state.is_empty() {
            return Err(
                section.error("[experiment.steady_state] is missing: what is a second like in which all is well?")
            );
        }
        let experiment = Self {
            hypothesis,
            health,
            lost: lost.into_iter().map(|word| word.value).collect(),
            detect: section.span("detect")?.unwrap_or(Duration::from_secs(5)),
            recover: section.span("recover")?.unwrap_or(Duration::from_secs(10)),
            steady_for: section.span("steady_for")?.unwrap_or(Duration::from_secs(3)),
            objective: section.number("objective", 0.0, 0.999_999)?.unwrap_or(0.99),
            steady_state,
            during,
            abort,
        };
        section.finish()?;
        Ok(experiment)
    }

    /// Whole seconds in a row that have to be steady.
    pub(crate) fn steady_seconds(&self) -> usize {
        self.steady_for.as_secs_f64().ceil().max(1.0) as usize
    }
}
