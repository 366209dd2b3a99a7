//! An experiment's part of a record: what was supposed, whether it held before, during and after the fault, and by what the answer
//! is known. In the words of Chaos Toolkit; how seconds become these figures is told where they are made, in the storm.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an experiment found. It passed or it did not: what could not be told did not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExperimentRecord {
    /// What is supposed to hold, in a sentence.
    pub hypothesis: String,
    /// What a second must be like to be steady: `http_req_failed rate<0.01`, `health healthy`.
    pub steady_state: Vec<String>,
    /// Before, during and after the fault, in this order; one that the run did not get to is absent.
    pub phases: Vec<PhaseRecord>,
    /// Everything that had to hold, and whether it did.
    pub expectations: Vec<Expectation>,
    /// How long it took until somebody noticed, from the begin of the first fault.
    pub detected: Detected,
    /// From the end of the last fault until the steady state held again, to the begin of the first second of which that is true;
    /// absent if it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered_after_ms: Option<u64>,
    /// Requests that failed, and what that is of what may fail.
    pub budget: ErrorBudget,
    /// True when every expectation held.
    pub passed: bool,
}

/// A part of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExperimentPhase {
    /// From the first second of the load to the fault.
    Before,
    /// While the fault lasted.
    During,
    /// From its end to that of the load.
    After,
}

impl ExperimentPhase {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }
}

/// The seconds of one part. Those in which a fault began or ended are of the part in which it lasted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Which.
    pub phase: ExperimentPhase,
    /// Where it begins, since the start of the load.
    pub from_ms: u64,
    /// Where it ends.
    pub to_ms: u64,
    /// Whole seconds in it.
    pub seconds: u64,
    /// Those that were steady.
    pub steady_seconds: u64,
    /// Requests per second.
    pub requests_per_s: f64,
    /// Requests that failed, 0 to 1; absent without a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_ratio: Option<f64>,
    /// 99 % of all requests were answered within so long; absent without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p99_ms: Option<f64>,
}

/// Something that had to hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Expectation {
    /// What, in words: `/health says degraded within 5s`.
    pub what: String,
    /// What was found: `after 1.2s`.
    pub found: String,
    /// Whether it held.
    pub held: bool,
}

/// How long it took until somebody noticed the first fault; absent when nobody did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detected {
    /// A gateway's `/health` said something else than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_ms: Option<u64>,
    /// A gateway's figures told of it (`store_up`, failures of the archive), or could not be had any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_ms: Option<u64>,
    /// Clients: the first error, or the end of the first second that was not steady.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients_ms: Option<u64>,
}

/// What failed, against what may.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorBudget {
    /// The share of requests that should succeed, 0 to 1.
    pub objective: f64,
    /// Requests of the whole load.
    pub total: u64,
    /// Those that failed.
    pub failed: u64,
    /// How many times the budget was used up: 1 is all of it.
    pub burned: f64,
    /// Errors while the fault lasted, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub during: BTreeMap<String, u64>,
}
