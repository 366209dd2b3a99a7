//! The store's own metrics, recorded where things happen; gauges of what is (depths, leases) are read from [`crate::StoreStats`] instead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use squall_protocol::Priority;
use squall_protocol::stats::{DeadLetterCount, Percentiles, TaskCount};

use crate::core::counts::{LaneCounts, Outcome, REASONS};

/// The labels of `squall_tasks`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TaskLabels {
    lane: Arc<str>,
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
    lane: Arc<str>,
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
    keys_evicted: Counter<u64, AtomicU64>,
    totals: Mutex<Totals>,
}

/// What is, as the store finds it when it is asked; the rest of [`crate::StoreStats`] was counted on the way.
#[derive(Debug, Default)]
pub struct Now {
    /// Whether what keeps it answers.
    pub up: bool,
    /// Every lane.
    pub lanes: Vec<squall_protocol::LaneView>,
    /// Sessions that are active.
    pub active_sessions: u64,
    /// The last offset of the feed.
    pub feed_offset: u64,
    /// The oldest offset that can be read; 0 when there is none.
    pub feed_oldest: u64,
    /// Connected workers.
    pub workers: u64,
    /// Bytes of tasks in memory.
    pub task_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// The same as plain numbers.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    lanes: BTreeMap<Arc<str>, LaneCounts>,
    /// Publishes refused for an unknown lane.
    pub without_lane: u64,
    /// Completed, failed, timed out.
    pub sessions_ended: [u64; 3],
    /// For the limit.
    pub sessions_refused: u64,
    /// Dead letters deleted because their lane keeps no more.
    pub dropped: u64,
    /// Idempotency keys forgotten before their time.
    pub keys_evicted: u64,
    /// So far.
    pub commits: u64,
    /// In them.
    pub commands: u64,
    /// How long they took.
    pub commit_ms: Distribution,
    /// What they carried.
    pub commit_commands: Distribution,
    /// What they wrote.
    pub commit_bytes: Distribution,
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
            keys_evicted: Counter::default(),
            totals: Mutex::default(),
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
        registry.register(
            "squall_idempotency_keys_evicted",
            "Idempotency keys forgotten before their window was over, because no more are kept",
            self.keys_evicted.clone(),
        );
    }

    /// A command was refused because too many waited.
    pub fn overloaded(&self) {
        self.overloaded.inc();
    }

    /// How many of those there were.
    #[must_use]
    pub fn overloaded_so_far(&self) -> u64 {
        self.overloaded.get()
    }

    /// A commit was made.
    pub fn committed(&self, commands: usize, bytes: usize, seconds: f64) {
        self.commit_seconds.observe(seconds);
        self.batch_commands.observe(commands as f64);
        self.batch_bytes.observe(bytes as f64);
        let mut totals = self.totals.lock();
        totals.commits += 1;
        totals.commands += commands as u64;
        totals.commit_ms.add(seconds * 1_000.0);
        totals.commit_commands.add(commands as f64);
        totals.commit_bytes.add(bytes as f64);
    }

    /// Tasks of one lane did these things.
    pub fn lane(&self, lane: &Arc<str>, counts: &LaneCounts) {
        self.totals.lock().lanes.entry(Arc::clone(lane)).or_default().add(counts);
        for (priority, outcomes) in Priority::ALL.iter().zip(&counts.tasks) {
            for (outcome, &count) in Outcome::ALL.iter().zip(outcomes) {
                if count > 0 {
                    let labels =
                        TaskLabels { lane: Arc::clone(lane), priority: priority.as_str(), outcome: outcome.as_str() };
                    self.tasks.get_or_create(&labels).inc_by(count);
                }
            }
        }
        for (reason, &count) in REASONS.iter().zip(&counts.dead) {
            if count > 0 {
                let labels = DeadLabels { lane: Arc::clone(lane), reason: reason.as_str() };
                self.dead.get_or_create(&labels).inc_by(count);
            }
        }
    }

    /// The rest of what happened.
    pub fn rest(
        &self,
        refused_without_lane: u64,
        sessions_refused: u64,
        sessions_ended: [u64; 3],
        dropped: u64,
        keys_evicted: u64,
    ) {
        let ended: u64 = sessions_ended.iter().sum();
        if refused_without_lane + sessions_refused + ended + dropped + keys_evicted == 0 {
            return;
        }
        self.refused_without_lane.inc_by(refused_without_lane);
        self.sessions_refused.inc_by(sessions_refused);
        self.dropped.inc_by(dropped);
        self.keys_evicted.inc_by(keys_evicted);
        let mut totals = self.totals.lock();
        totals.sessions_refused += sessions_refused;
        totals.without_lane += refused_without_lane;
        totals.dropped += dropped;
        totals.keys_evicted += keys_evicted;
        for ((state, ended), total) in
            ["completed", "failed", "timed_out"].into_iter().zip(sessions_ended).zip(&mut totals.sessions_ended)
        {
            if ended > 0 {
                self.sessions_ended.get_or_create(&[("state", state)]).inc_by(ended);
                *total += ended;
            }
        }
    }

    /// What was counted so far beside what is now.
    #[must_use]
    pub fn stats(&self, now: Now) -> crate::StoreStats {
        let totals = self.totals();
        let [completed, failed, timed_out] = totals.sessions_ended;
        crate::StoreStats {
            up: now.up,
            lanes: now.lanes,
            sessions: [now.active_sessions, completed, failed, timed_out],
            sessions_refused: totals.sessions_refused,
            tasks: totals.tasks(),
            tasks_by_lane: totals.tasks_by_lane(),
            tasks_without_lane: totals.without_lane,
            dead_letters: totals.dead_letters(),
            dead_letters_dropped: totals.dropped,
            idempotency_keys_evicted: totals.keys_evicted,
            commands_overloaded: self.overloaded_so_far(),
            feed_offset: now.feed_offset,
            feed_oldest: now.feed_oldest,
            workers: now.workers,
            commits: totals.commits,
            committed_commands: totals.commands,
            commit_ms: totals.commit_ms.percentiles(),
            commit_commands: totals.commit_commands.percentiles(),
            commit_bytes: totals.commit_bytes.percentiles(),
            task_bytes: now.task_bytes,
            disk_bytes: now.disk_bytes,
        }
    }

    /// All so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals.lock().clone()
    }
}

impl Totals {
    /// Tasks by outcome; one that was refused for an unknown lane was refused, too.
    #[must_use]
    pub fn tasks(&self) -> Vec<(&'static str, u64)> {
        let of = |outcome: Outcome| {
            let lanes: u64 =
                self.lanes.values().flat_map(|lane| lane.tasks).map(|counts| counts[outcome as usize]).sum();
            lanes + if outcome == Outcome::Refused { self.without_lane } else { 0 }
        };
        Outcome::ALL.map(|outcome| (outcome.as_str(), of(outcome))).to_vec()
    }

    /// Tasks by lane, priority and outcome.
    #[must_use]
    pub fn tasks_by_lane(&self) -> Vec<TaskCount> {
        let mut counted = Vec::new();
        for (lane, counts) in &self.lanes {
            for (priority, outcomes) in Priority::ALL.into_iter().zip(&counts.tasks) {
                for (outcome, &count) in Outcome::ALL.into_iter().zip(outcomes).filter(|(_, count)| **count > 0) {
                    counted.push(TaskCount {
                        lane: lane.to_string(),
                        priority,
                        outcome: outcome.as_str().into(),
                        count,
                    });
                }
            }
        }
        counted
    }

    /// Tasks given up, by lane and reason.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetterCount> {
        let mut counted = Vec::new();
        for (lane, counts) in &self.lanes {
            for (reason, &count) in REASONS.into_iter().zip(&counts.dead).filter(|(_, count)| **count > 0) {
                counted.push(DeadLetterCount { lane: lane.to_string(), reason, count });
            }
        }
        counted
    }
}

/// Values in buckets that grow by an eighth: a percentile is right to 12 %. Good from a thousandth to thirty million.
#[derive(Clone, Debug)]
pub struct Distribution {
    counts: [u64; Self::BUCKETS],
    total: u64,
    max: f64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { counts: [0; Self::BUCKETS], total: 0, max: 0.0 }
    }
}

impl Distribution {
    const BUCKETS: usize = 205;
    const FIRST: f64 = 0.001;
    const GROWTH: f64 = 1.125;

    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        let bucket = (value / Self::FIRST).max(1.0).ln() / Self::GROWTH.ln();
        self.counts[(bucket as usize).min(Self::BUCKETS - 1)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// The summary.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        Percentiles { p50: self.percentile(0.5), p99: self.percentile(0.99), max: self.max }
    }

    fn percentile(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return (Self::FIRST * Self::GROWTH.powi(bucket as i32 + 1)).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_an_eighth() {
        for unit in [0.001, 1.0, 10_000.0] {
            let mut values = Distribution::default();
            for i in 1..=1_000 {
                values.add(f64::from(i) * unit);
            }
            let got = values.percentiles();
            for (got, exact) in [(got.p50, 500.0 * unit), (got.p99, 990.0 * unit), (got.max, 1_000.0 * unit)] {
                assert!((got / exact - 1.0).abs() < 0.126, "{exact}: {got}");
            }
        }
    }
}
