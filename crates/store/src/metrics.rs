//! The store's own metrics, recorded where things happen; gauges of what is (depths, leases) are read from [`crate::StoreStats`] instead.

use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use squall_protocol::Priority;
use squall_protocol::stats::Percentiles;

use crate::core::counts::{LaneCounts, Outcome, REASONS};

/// The labels of `squall_tasks`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TaskLabels {
    lane: std::sync::Arc<str>,
    priority: &'static str,
    outcome: &'static str,
}

impl EncodeLabelSet for TaskLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("lane", &*self.lane), ("priority", self.priority), ("outcome", self.outcome)].encode(encoder)
    }
}

/// The labels of `squall_dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct DeadLabels {
    lane: std::sync::Arc<str>,
    reason: &'static str,
}

impl EncodeLabelSet for DeadLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("lane", &*self.lane), ("reason", self.reason)].encode(encoder)
    }
}

type Name = [(&'static str, &'static str); 1];

/// All of them; cloning shares.
#[derive(Debug)]
pub struct Metrics {
    tasks: Family<TaskLabels, Counter<u64, AtomicU64>>,
    dead: Family<DeadLabels, Counter<u64, AtomicU64>>,
    sessions_refused: Counter<u64, AtomicU64>,
    sessions_ended: Family<Name, Counter<u64, AtomicU64>>,
    dropped: Counter<u64, AtomicU64>,
    refused_without_lane: Counter<u64, AtomicU64>,
    commit_seconds: Histogram,
    batch_commands: Histogram,
    batch_bytes: Histogram,
    overloaded: Counter<u64, AtomicU64>,
    totals: Mutex<Totals>,
}

/// The same as plain numbers.
#[derive(Clone, Debug)]
pub struct Totals {
    /// By outcome.
    pub tasks: [u64; Outcome::ALL.len()],
    /// Completed, failed, timed out.
    pub sessions_ended: [u64; 3],
    /// For the limit.
    pub sessions_refused: u64,
    /// So far.
    pub commits: u64,
    /// In them.
    pub commands: u64,
    latency: LatencyBuckets,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            tasks: Family::default(),
            dead: Family::default(),
            sessions_refused: Counter::default(),
            sessions_ended: Family::default(),
            dropped: Counter::default(),
            refused_without_lane: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            batch_commands: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            batch_bytes: Histogram::new(exponential_buckets(128.0, 4.0, 10)),
            overloaded: Counter::default(),
            totals: Mutex::new(Totals {
                tasks: [0; Outcome::ALL.len()],
                sessions_ended: [0; 3],
                sessions_refused: 0,
                commits: 0,
                commands: 0,
                latency: LatencyBuckets::default(),
            }),
        }
    }
}

impl Metrics {
    /// Registers all of them under `squall_`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("squall_tasks", "Tasks by lane, priority and outcome", self.tasks.clone());
        registry.register("squall_dead_letters", "Tasks given up, by lane and reason", self.dead.clone());
        registry.register(
            "squall_dead_letters_dropped",
            "Dead letters deleted because their lane keeps no more",
            self.dropped.clone(),
        );
        registry.register(
            "squall_tasks_without_lane",
            "Publishes refused for an unknown lane",
            self.refused_without_lane.clone(),
        );
        registry.register(
            "squall_sessions_refused",
            "Sessions refused because all slots were taken",
            self.sessions_refused.clone(),
        );
        registry.register("squall_sessions_ended", "Sessions that ended, by state", self.sessions_ended.clone());
        let seconds = Unit::Seconds;
        registry.register_with_unit(
            "squall_commit_duration",
            "From the first command of a batch to its sync",
            seconds,
            self.commit_seconds.clone(),
        );
        registry.register("squall_commit_commands", "Commands in a commit", self.batch_commands.clone());
        registry.register_with_unit(
            "squall_commit_size",
            "Bytes that a commit writes",
            Unit::Bytes,
            self.batch_bytes.clone(),
        );
        registry.register(
            "squall_commands_overloaded",
            "Commands refused because too many waited",
            self.overloaded.clone(),
        );
    }

    /// A command was refused because too many waited.
    pub fn overloaded(&self) {
        self.overloaded.inc();
    }

    /// A commit was made.
    pub fn committed(&self, commands: usize, bytes: usize, seconds: f64) {
        self.commit_seconds.observe(seconds);
        self.batch_commands.observe(commands as f64);
        self.batch_bytes.observe(bytes as f64);
        let mut totals = self.totals.lock();
        totals.commits += 1;
        totals.commands += commands as u64;
        totals.latency.add(seconds);
    }

    /// Tasks of one lane did these things.
    pub fn lane(&self, lane: &std::sync::Arc<str>, counts: &LaneCounts) {
        let mut totals = self.totals.lock();
        for (priority, outcomes) in Priority::ALL.iter().zip(&counts.tasks) {
            for (outcome, &count) in Outcome::ALL.iter().zip(outcomes) {
                if count > 0 {
                    let labels = TaskLabels {
                        lane: std::sync::Arc::clone(lane),
                        priority: priority.as_str(),
                        outcome: outcome.as_str(),
                    };
                    self.tasks.get_or_create(&labels).inc_by(count);
                    totals.tasks[*outcome as usize] += count;
                }
            }
        }
        for (reason, &count) in REASONS.iter().zip(&counts.dead) {
            if count > 0 {
                let labels = DeadLabels { lane: std::sync::Arc::clone(lane), reason: reason.as_str() };
                self.dead.get_or_create(&labels).inc_by(count);
            }
        }
    }

    /// The rest of what happened.
    pub fn rest(&self, refused_without_lane: u64, sessions_refused: u64, sessions_ended: [u64; 3], dropped: u64) {
        if refused_without_lane + sessions_refused + sessions_ended.iter().sum::<u64>() + dropped == 0 {
            return;
        }
        self.refused_without_lane.inc_by(refused_without_lane);
        self.sessions_refused.inc_by(sessions_refused);
        self.dropped.inc_by(dropped);
        let mut totals = self.totals.lock();
        totals.sessions_refused += sessions_refused;
        totals.tasks[Outcome::Refused as usize] += refused_without_lane;
        for ((state, ended), total) in
            ["completed", "failed", "timed_out"].into_iter().zip(sessions_ended).zip(&mut totals.sessions_ended)
        {
            if ended > 0 {
                self.sessions_ended.get_or_create(&[("state", state)]).inc_by(ended);
                *total += ended;
            }
        }
    }

    /// All so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals.lock().clone()
    }
}

impl Totals {
    /// Commit latency since the start, milliseconds.
    #[must_use]
    pub fn commit_ms(&self) -> Percentiles {
        Percentiles { p50: self.latency.percentile(0.5), p99: self.latency.percentile(0.99), max: self.latency.max_ms }
    }
}

/// Latencies in buckets that grow by an eighth: a percentile is right to 12 %.
#[derive(Clone, Debug)]
struct LatencyBuckets {
    counts: [u64; 160],
    total: u64,
    max_ms: f64,
}

impl Default for LatencyBuckets {
    fn default() -> Self {
        Self { counts: [0; 160], total: 0, max_ms: 0.0 }
    }
}

impl LatencyBuckets {
    const FIRST_MS: f64 = 0.001;
    const GROWTH: f64 = 1.125;

    fn add(&mut self, seconds: f64) {
        let ms = seconds * 1_000.0;
        let bucket = (ms / Self::FIRST_MS).max(1.0).ln() / Self::GROWTH.ln();
        self.counts[(bucket as usize).min(self.counts.len() - 1)] += 1;
        self.total += 1;
        self.max_ms = self.max_ms.max(ms);
    }

    fn percentile(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return (Self::FIRST_MS * Self::GROWTH.powi(bucket as i32 + 1)).min(self.max_ms);
            }
        }
        self.max_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_an_eighth() {
        let mut buckets = LatencyBuckets::default();
        for i in 1..=1_000 {
            buckets.add(f64::from(i) / 1e6);
        }
        for (share, exact) in [(0.5, 0.5), (0.99, 0.99)] {
            let got = buckets.percentile(share);
            assert!((got / exact - 1.0).abs() < 0.126, "{share}: {got}");
        }
        assert_eq!(buckets.percentile(1.0), buckets.max_ms);
    }
}
