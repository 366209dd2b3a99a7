//! One second of a run: a line of `series.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::statistics::{Trend, Unit};

/// What happened in one second. Metrics without a sample in it are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecondSample {
    /// The end of the second, since the start of the load.
    pub t_ms: u64,
    /// How long it really was; rates per second divide by it.
    pub span_ms: u64,
    /// Counters: how many in this second.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// Gauges: the level at the end of the second.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gauges: BTreeMap<String, f64>,
    /// Rates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<String, RateSample>,
    /// Trends.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub trends: BTreeMap<String, TrendSample>,
    /// What waits in the target's queues, as the target says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depths: Vec<DepthSample>,
    /// Sessions of the target by state.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sessions: BTreeMap<String, u64>,
    /// Errors that the storm saw in this second, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// The target's process; absent while it is down. Of several gateways, those that are up, all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ProcessSample>,
    /// Each of several gateways that is up, by its number from 1; empty when there is only one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gateways: BTreeMap<u32, ProcessSample>,
    /// The storm's own process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<ProcessSample>,
    /// Faults that were active at any time in this second, by their name in the record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// What the target said of its health: `healthy`, `degraded`, `draining`, `unreachable`; of several gateways, the worst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
}

/// A rate in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateSample {
    /// How many were hits.
    pub hits: u64,
    /// How many there were.
    pub total: u64,
}

/// A trend in one second, in its metric's unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrendSample {
    /// How many values.
    pub count: u64,
    /// The mean.
    pub avg: f64,
    /// The median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// The distribution in recorded units (µs for times), as in the record; [comparisons](crate::comparison) resample it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hdr: String,
}

impl TrendSample {
    /// Of a distribution; none without a value.
    #[must_use]
    pub fn of(trend: &Trend, unit: Unit) -> Option<Self> {
        let shown = |recorded: u64| recorded as f64 / unit.scale();
        let quantile = |q| trend.quantile(q).map(shown);
        Some(Self {
            count: trend.count(),
            avg: (trend.mean()? / unit.scale() * 1000.0).round() / 1000.0,
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p99: quantile(0.99)?,
            max: shown(trend.max()?),
            hdr: trend.to_base64(),
        })
    }
}

/// What waits in one lane at one priority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepthSample {
    /// The lane.
    pub lane: String,
    /// `high`, `normal`, `low`.
    pub priority: String,
    /// Waiting for a worker.
    pub ready: u64,
    /// Waiting for their time: delayed, or between two attempts.
    #[serde(default)]
    pub delayed: u64,
    /// With a worker.
    #[serde(default)]
    pub leased: u64,
}

impl std::ops::AddAssign for ProcessSample {
    /// Several processes as if they were one.
    fn add_assign(&mut self, other: Self) {
        self.cpu_percent += other.cpu_percent;
        self.rss_bytes += other.rss_bytes;
        self.threads += other.threads;
        self.fds += other.fds;
    }
}

/// A process in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// CPU time in this second, in percent of one core: 150 is one core and a half.
    pub cpu_percent: f64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Threads.
    #[serde(default)]
    pub threads: u64,
    /// Open file descriptors.
    #[serde(default)]
    pub fds: u64,
}
