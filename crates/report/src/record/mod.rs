//! `run.json`: everything about a run but its seconds. Its shape is a promise (`schema`), described field by field in
//! `docs/guide/run-directory.md` and by the JSON Schema beside it.
//!
//! The storm fills it, and renderings and comparisons read it. A field that a run has no answer for is absent,
//! never zero.

mod experiment;

use std::collections::BTreeMap;

pub use experiment::{Detected, ErrorBudget, Expectation, ExperimentPhase, ExperimentRecord, PhaseRecord};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{statistics::MetricSummary, thresholds::ThresholdResult, verdict::Verdict};

/// The version of the shape. A reader refuses a later one.
pub const SCHEMA: u32 = 1;

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// The version of this shape: [`SCHEMA`].
    pub schema: u32,
    /// The name of the run directory.
    pub id: String,
    /// The Squall that made it.
    pub squall_version: String,
    /// What was played.
    pub scenario: ScenarioRecord,
    /// The seed of all random choices; the same seed plays the same run.
    pub seed: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; absent while it goes on, or when it was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How long it was meant to be, and was.
    pub duration: DurationRecord,
    /// How it ended.
    pub ended: Ended,
    /// Why its numbers say nothing about the target; empty when they do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<String>,
    /// Things to know that change no verdict: a cap that was reached, a sampler that was not allowed to look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The outcome; written at the end, and always what [`Verdict::of`] says of the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Where the storm ran.
    pub machine: MachineRecord,
    /// What it ran against.
    pub target: TargetRecord,
    /// How well the storm itself kept up.
    pub generator: GeneratorRecord,
    /// All metrics with a sample, and their tag sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricSummary>,
    /// All thresholds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<ThresholdResult>,
    /// The account of every task; absent when the scenario publishes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Ledger>,
    /// What the subscribers saw of the feed, all together; absent when nobody follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedAccount>,
    /// What became of the sessions; absent when the scenario creates none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsRecord>,
    /// Tasks and queue depths by lane and priority.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<LaneRecord>,
    /// What the processes used.
    pub resources: ResourcesRecord,
    /// The faults that were injected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultRecord>,
    /// What the gateways said of their health, whenever it changed; the first entry of each is how it began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<HealthChange>,
    /// What the experiment found; absent when the scenario is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<ExperimentRecord>,
    /// Errors that the storm saw, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
}

impl Default for RunRecord {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            id: String::new(),
            squall_version: env!("CARGO_PKG_VERSION").into(),
            scenario: ScenarioRecord::default(),
            seed: 0,
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: None,
            duration: DurationRecord::default(),
            ended: Ended::Unfinished,
            invalid: Vec::new(),
            notes: Vec::new(),
            verdict: None,
            machine: MachineRecord::default(),
            target: TargetRecord::default(),
            generator: GeneratorRecord::default(),
            metrics: Vec::new(),
            thresholds: Vec::new(),
            ledger: None,
            feed: None,
            sessions: None,
            lanes: Vec::new(),
            resources: ResourcesRecord::default(),
            faults: Vec::new(),
            health: Vec::new(),
            experiment: None,
            errors: BTreeMap::new(),
        }
    }
}

impl RunRecord {
    /// The summary of a whole metric, without tags.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&MetricSummary> {
        self.metrics.iter().find(|metric| metric.name == name && metric.tags.is_empty())
    }
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ended {
    /// It has not: it goes on, or was killed.
    #[default]
    Unfinished,
    /// It did everything that the scenario says.
    Completed,
    /// Somebody ended it early (Ctrl-C).
    Interrupted,
    /// A threshold with `abort_on_fail` ended it early.
    Aborted,
    /// It broke.
    Failed {
        /// Why.
        message: String,
    },
}

/// What was played.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScenarioRecord {
    /// Its name.
    pub name: String,
    /// Its one sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `built-in`, or the path of the file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// What the command line changed: flag to value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, String>,
    /// The scenario with all defaults and overrides applied; secrets replaced.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub resolved: serde_json::Value,
}

/// How long a run was meant to be, and was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DurationRecord {
    /// The load, as configured.
    pub configured_ms: u64,
    /// The load, as it was.
    pub load_ms: u64,
    /// Waiting for the lanes to be quiet afterwards.
    pub settle_ms: u64,
    /// Everything, preparation included.
    pub total_ms: u64,
}

/// Where the storm ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineRecord {
    /// Cores that the storm may use.
    pub cores: u32,
    /// Memory in all.
    pub memory_bytes: u64,
    /// `Linux 6.12.0 x86_64`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    /// `AMD EPYC …`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cpu_model: String,
    /// Storm and target compete for the same cores: the figures are lower bounds.
    pub shared_with_target: bool,
}

/// What the storm ran against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetRecord {
    /// Where; without credentials.
    pub url: String,
    /// True when the storm started it.
    pub own: bool,
    /// What it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What keeps its tasks, without credentials: `embedded`, or which Redis. Absent when it is not the storm's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// What all keys of this run begin with in that Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// What an acknowledgement means there: `commit`, `interval 100 ms`, or what the Redis is set to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<String>,
    /// What that setting allows to be lost; absent when it allows nothing, or when nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub may_lose: Option<String>,
    /// How often the storm saw it come back; of several gateways, all together.
    pub restarts: u32,
    /// The sampled process, the last one if it was restarted; of several gateways, the first one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The gateways, in their order; empty when there is only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<GatewayRecord>,
}

/// One of several gateways that act as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayRecord {
    /// Where.
    pub url: String,
    /// Its process, the last one if it was restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often the storm saw it come back.
    pub restarts: u32,
}

/// How well the storm itself kept up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratorRecord {
    /// Cores that generated load.
    pub cores: u32,
    /// Iterations that could not start, because no virtual user was free.
    pub dropped_iterations: u64,
    /// 99 % of all starts were late by at most this; absent without an open model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lateness_p99_ms: Option<f64>,
    /// The latest start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lateness_max_ms: Option<f64>,
    /// Above this p99 lateness a run is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lateness_limit_ms: Option<f64>,
    /// Above this share of dropped iterations a run is invalid, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_limit: Option<f64>,
}

/// The account of every task that the storm published, in the words of Jepsen's queue checkers; see
/// `docs/guide/verdict.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// True when the lanes were quiet at the end, so that what is missing is really lost.
    pub settled: bool,
    /// Attempts to publish.
    pub published: u64,
    /// Attempts that were acknowledged.
    pub acknowledged: u64,
    /// Attempts that were refused.
    pub refused: u64,
    /// Attempts without an answer.
    pub unknown: u64,
    /// Tasks delivered at least once.
    pub delivered: u64,
    /// Tasks that a worker finished.
    pub acked: u64,
    /// Acknowledged, and gone: neither finished by a worker, nor dead-lettered for a reason, nor waiting.
    pub lost: u64,
    /// Acknowledged, and still waiting when the settle time ended.
    pub pending: u64,
    /// Without an answer, and delivered anyway.
    pub recovered: u64,
    /// Deliveries beyond the first.
    pub duplicated: Duplicated,
    /// Deliveries of a key out of the order of publishing.
    pub reordered: u64,
    /// Deliveries of what was never published, or was refused.
    pub unexpected: u64,
    /// Tasks that ended in the dead letters.
    pub dead_lettered: u64,
    /// Examples of what is bad, by class; a bounded number of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Findings that are counted above and not listed.
    pub findings_omitted: u64,
}

/// Deliveries beyond the first. At-least-once allows them; what explains them is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Duplicated {
    /// After a nack, a vanished worker, an expired lease or a restart.
    pub explained: u64,
    /// After nothing that the storm knows of.
    pub unexplained: u64,
}

impl Duplicated {
    /// Both.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.explained + self.unexplained
    }
}

/// Which promise a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingClass {
    /// Acknowledged, and gone: neither finished by a worker, nor dead-lettered for a reason, nor waiting.
    Lost,
    /// Delivered, and never published, or refused.
    Unexpected,
    /// Delivered again without a reason.
    Duplicated,
    /// Delivered out of the order of its key.
    Reordered,
    /// Still waiting when the settle time ended.
    Pending,
    /// In the dead letters.
    DeadLettered,
}

impl FindingClass {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Unexpected => "unexpected",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Pending => "pending",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

/// One task that the ledger names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong with it.
    pub class: FindingClass,
    /// The target's id if it gave one, otherwise the storm's number (`#123`).
    pub task: String,
    /// Its ordering key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// What happened, in a sentence.
    pub detail: String,
}

/// What the subscribers saw of the feed, all together and over all gateways: one order, in which no offset is missing, none comes
/// twice, and each is the same event for everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedAccount {
    /// Events that subscribers received.
    pub events: u64,
    /// The metric `feed_gaps`: events that a subscriber missed.
    pub gaps: u64,
    /// The metric `feed_repeats`: offsets that a subscriber received again.
    pub repeats: u64,
    /// The metric `feed_conflicts`: events that were another one at the same offset for another subscriber.
    pub conflicts: u64,
    /// The metric `feed_shortfall`; absent when it could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<u64>,
    /// Events that were not compared between subscribers, because one was too far behind the others.
    pub not_compared: u64,
    /// Examples of what is bad; a bounded number of each class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FeedFinding>,
    /// Findings that are counted above and not listed.
    pub findings_omitted: u64,
}

impl FeedAccount {
    /// Whether the feed broke its promise.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.gaps > 0 || self.repeats > 0 || self.conflicts > 0
    }
}

/// Which promise of the feed a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedFindingClass {
    /// Offsets are missing.
    Gap,
    /// An offset came again.
    Repeat,
    /// Two subscribers were told different events at the same offset.
    Conflict,
}

impl FeedFindingClass {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Repeat => "repeat",
            Self::Conflict => "conflict",
        }
    }
}

/// One place of the feed that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedFinding {
    /// What is wrong.
    pub class: FeedFindingClass,
    /// The offset at which it was seen.
    pub offset: u64,
    /// What happened, in a sentence: to whom, and on which gateway.
    pub detail: String,
}

/// What became of the sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionsRecord {
    /// Created.
    pub created: u64,
    /// Refused by the limit.
    pub refused: u64,
    /// How they ended: `completed`, `failed`, `timed_out`, `abandoned` …
    pub by_outcome: BTreeMap<String, u64>,
    /// Most at one time.
    pub peak_active: u64,
}

/// One lane at one priority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneRecord {
    /// The lane.
    pub lane: String,
    /// `high`, `normal`, `low`.
    pub priority: String,
    /// Attempts to publish.
    pub published: u64,
    /// Attempts that were acknowledged.
    pub acknowledged: u64,
    /// Attempts that were refused.
    pub refused: u64,
    /// Deliveries, repeated ones too.
    pub delivered: u64,
    /// Deliveries that a worker finished.
    pub acked: u64,
    /// Tasks that ended in the dead letters.
    pub dead_lettered: u64,
    /// Most tasks waiting (ready and delayed) at one time, from the samples once a second.
    pub depth_peak: u64,
    /// Tasks waiting at the end.
    pub depth_final: u64,
}

/// What the processes used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourcesRecord {
    /// The target's process; absent when it cannot be seen from here. Of several gateways, all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ProcessRecord>,
    /// Each of several gateways, by its number from 1; empty when there is only one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gateways: BTreeMap<u32, ProcessRecord>,
    /// The storm's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<ProcessRecord>,
}

/// A process over the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessRecord {
    /// Mean CPU in percent of one core.
    pub cpu_avg_percent: f64,
    /// Most CPU in one second, in percent of one core.
    pub cpu_max_percent: f64,
    /// Resident memory at the first sample.
    pub rss_start_bytes: u64,
    /// Most resident memory.
    pub rss_max_bytes: u64,
    /// Resident memory at the last sample.
    pub rss_end_bytes: u64,
    /// Most threads.
    pub threads_max: u64,
    /// Most open file descriptors.
    pub fds_max: u64,
    /// How many samples there were.
    pub samples: u64,
}

/// A fault that was injected. Times are since the start of the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultRecord {
    /// Its name in the scenario, unique in the run.
    pub name: String,
    /// `kill`, `stop`, `toxic` …
    pub kind: String,
    /// When it began.
    pub at_ms: u64,
    /// When it was taken back; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// When the storm's clients had the first error; absent if they had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected_ms: Option<u64>,
    /// When a gateway's `/health` first said that it is not well; absent if none did before the next fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_ms: Option<u64>,
    /// When a gateway's figures first told of trouble, or could not be had any more; absent if none did before the next fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_ms: Option<u64>,
    /// When the target worked again; absent if it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered_ms: Option<u64>,
    /// What was done, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What the fault proxy counted while it lasted: proof that it struck. Absent when it was done to a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub struck: Option<Struck>,
}

/// What a fault in a proxy struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Struck {
    /// Connections that met it, or that it ended.
    pub connections: u64,
    /// Bytes that came to it.
    pub bytes: u64,
}

/// A gateway's health, from this moment on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthChange {
    /// Since the start of the load.
    pub at_ms: u64,
    /// The gateway's number, from 1.
    pub gateway: u32,
    /// `healthy`, `degraded`, `draining`, `unreachable`.
    pub status: String,
    /// The features that it says are lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
}
