//! Two runs side by side: is the second one worse?
//!
//! A fixed percentage cannot answer that on real machines, because it does not know how much the numbers jump by
//! themselves. So each figure gets an interval: the seconds of both runs are drawn again with replacement, in blocks,
//! because neighbouring seconds resemble each other (moving-block bootstrap, Künsch 1989); percentiles are read from
//! the merged histograms of each draw; the middle 95 % of the ratios are the interval. From it and a margin that the reader
//! cares about follows one of four [`Outcome`]s, and one of them is "cannot tell".
//!
//! The intervals know the jumping within a run only, not what differs from run to run (neighbours on the machine, a
//! warm cache). Who needs more certainty repeats both, interleaved, and compares each pair.

mod bootstrap;
mod outcome;

use std::collections::BTreeSet;

pub use self::{
    bootstrap::Interval,
    outcome::{Direction, Outcome},
};
use self::{
    bootstrap::{Material, intervals},
    outcome::judge,
};
use crate::{
    OpenedRun, RunRecord,
    record::ExperimentRecord,
    render,
    statistics::{MetricKind, MetricValues, Registry, Unit},
};

/// How a comparison is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The smallest change that matters, as a share: 0.1 is 10 %.
    pub margin: f64,
    /// How many draws make an interval.
    pub draws: usize,
    /// The seed of the draws; the same runs and seed give the same answer.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { margin: 0.1, draws: 1_000, seed: 1 }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// The id of the run that is compared with.
    pub baseline: String,
    /// The id of the run in question.
    pub candidate: String,
    /// The margin that it was judged by.
    pub margin: f64,
    /// Everything that both runs measured.
    pub figures: Vec<Compared>,
    /// What differs between the two besides the figures: then the figures compare that as well.
    pub differences: Vec<String>,
}

/// One figure in both runs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Compared {
    /// `task_latency p99`.
    pub name: String,
    /// The unit of both values.
    pub unit: Unit,
    /// Which way is better.
    pub better: Direction,
    /// What the baseline had.
    pub baseline: f64,
    /// What the run in question had.
    pub candidate: f64,
    /// The 95 % interval of candidate / baseline; none when the runs are too short to tell.
    pub ratio: Option<Interval>,
    /// What follows.
    pub outcome: Outcome,
}

/// Quantiles of each trend that are compared.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Counters whose rate is compared: what the target got done. Higher is better.
const DONE: [&str; 3] = ["tasks_acked", "http_reqs", "feed_events"];

/// A count of one run; none where it has no such account.
type Count = fn(&RunRecord) -> Option<u64>;

/// What no run may have more of; these are exact, and need no interval.
const NEVER: [(&str, Count); 4] = [
    ("lost", |run| Some(run.ledger.as_ref()?.lost)),
    ("unexpected", |run| Some(run.ledger.as_ref()?.unexpected)),
    ("duplicated_unexplained", |run| Some(run.ledger.as_ref()?.duplicated.unexplained)),
    ("expectations not held", |run| {
        Some(run.experiment.as_ref()?.expectations.iter().filter(|it| !it.held).count() as u64)
    }),
];

/// A figure of one experiment, in words.
type Told = fn(&ExperimentRecord) -> String;

/// What an experiment has once. Of one moment nobody knows how much it jumps, so these are told, and not judged.
const MOMENTS: [(&str, Told); 5] = [
    ("time to notice, /health", |it| moment(it.detected.health_ms)),
    ("time to notice, metrics", |it| moment(it.detected.metrics_ms)),
    ("time to notice, clients", |it| moment(it.detected.clients_ms)),
    ("time to recover", |it| moment(it.recovered_after_ms)),
    ("error budget burned", |it| render::times(it.budget.burned)),
];

fn moment(ms: Option<u64>) -> String {
    ms.map_or_else(|| "never".into(), |ms| render::duration(ms as f64))
}

/// Compares two runs.
#[must_use]
pub fn compare(baseline: &OpenedRun, candidate: &OpenedRun, options: &Options) -> Comparison {
    let mut figures = Vec::new();
    let (before, after) = (&baseline.series, &candidate.series);
    for name in trends(baseline).intersection(&trends(candidate)) {
        let material = |series| Material::of_trend(series, name, &QUANTILES);
        let names = QUANTILES.map(|quantile| format!("{name} p{}", quantile * 100.0));
        let unit = Registry::new().metric(name).map_or(Unit::Milliseconds, |metric| metric.unit);
        figures.extend(compared(names, unit, Direction::Lower, &material(before), &material(after), options));
    }
    for name in DONE {
        let material = |series| Material::of_counter(series, name);
        let names = [format!("{name} per second")];
        figures.extend(compared(names, Unit::Count, Direction::Higher, &material(before), &material(after), options));
    }
    figures.extend(NEVER.into_iter().filter_map(|(name, count)| exact(name, count, baseline, candidate)));
    Comparison {
        baseline: baseline.record.id.clone(),
        candidate: candidate.record.id.clone(),
        margin: options.margin,
        figures,
        differences: differences(baseline, candidate),
    }
}

impl Comparison {
    /// The answer in one word: a regression anywhere is a regression; without one, an open question anywhere is an open
    /// question; nothing compared is one as well.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let any = |outcome| self.figures.iter().any(|figure| figure.outcome == outcome);
        if any(Outcome::Regression) {
            Outcome::Regression
        } else if any(Outcome::Inconclusive) || self.figures.is_empty() {
            Outcome::Inconclusive
        } else if any(Outcome::Improvement) {
            Outcome::Improvement
        } else {
            Outcome::Pass
        }
    }
}

/// The figures that both runs have.
fn compared(
    names: impl IntoIterator<Item = String>,
    unit: Unit,
    better: Direction,
    before: &Material,
    after: &Material,
    options: &Options,
) -> Vec<Compared> {
    let values = before.read().into_iter().zip(after.read());
    let ratios = intervals(before, after, options.draws, options.seed);
    names
        .into_iter()
        .zip(values)
        .zip(ratios)
        .map(|((name, (baseline, candidate)), ratio)| Compared {
            name,
            unit,
            better,
            baseline: baseline / unit.scale(),
            candidate: candidate / unit.scale(),
            ratio,
            outcome: ratio.map_or(Outcome::Inconclusive, |ratio| judge(ratio, options.margin, better)),
        })
        .collect()
}

fn exact(name: &str, count: Count, baseline: &OpenedRun, candidate: &OpenedRun) -> Option<Compared> {
    let (before, after) = (count(&baseline.record)?, count(&candidate.record)?);
    let outcome = match after.cmp(&before) {
        std::cmp::Ordering::Greater => Outcome::Regression,
        std::cmp::Ordering::Equal => Outcome::Pass,
        std::cmp::Ordering::Less => Outcome::Improvement,
    };
    let (unit, better) = (Unit::Count, Direction::Lower);
    Some(Compared {
        name: name.into(),
        unit,
        better,
        baseline: before as f64,
        candidate: after as f64,
        ratio: None,
        outcome,
    })
}

/// Trends that a run measured of its target; how late the storm was itself is not among them.
fn trends(run: &OpenedRun) -> BTreeSet<&str> {
    let is_trend = |name: &str| Registry::new().metric(name).map_or(true, |metric| metric.kind == MetricKind::Trend);
    run.series
        .iter()
        .flat_map(|second| second.trends.keys())
        .map(String::as_str)
        .filter(|name| *name != "generator_lateness" && is_trend(name))
        .collect()
}

fn differences(baseline: &OpenedRun, candidate: &OpenedRun) -> Vec<String> {
    let (before, after) = (&baseline.record, &candidate.record);
    let mut differences = Vec::new();
    let mut differ = |what: &str, before: String, after: String| {
        if before != after {
            differences.push(format!("{what}: {before} before, {after} now"));
        }
    };
    differ("scenario", before.scenario.name.clone(), after.scenario.name.clone());
    differ("Squall", before.squall_version.clone(), after.squall_version.clone());
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
    differ("target version", text(&before.target.version), text(&after.target.version));
    let kind = |store: &Option<String>| text(store).split(" at ").next().unwrap_or_default().to_owned();
    differ("store", kind(&before.target.store), kind(&after.target.store));
    let gateways = |target: &crate::record::TargetRecord| target.gateways.len().max(1).to_string();
    differ("gateways", gateways(&before.target), gateways(&after.target));
    differ("durability", text(&before.target.durability), text(&after.target.durability));
    differ("cores", before.machine.cores.to_string(), after.machine.cores.to_string());
    differ("processor", before.machine.cpu_model.clone(), after.machine.cpu_model.clone());
    differ("kernel", before.machine.kernel.clone(), after.machine.kernel.clone());
    differ("faults", before.faults.len().to_string(), after.faults.len().to_string());
    if let (Some(before), Some(after)) = (&before.experiment, &after.experiment) {
        for (what, told) in MOMENTS {
            differ(what, told(before), told(after));
        }
    }
    if before.scenario.name == after.scenario.name && before.scenario.resolved != after.scenario.resolved {
        differences.push("the scenario was changed, or played with other flags".into());
    }
    let offered = |run: &OpenedRun| match run.record.metric("tasks_published").map(|metric| &metric.values) {
        Some(MetricValues::Counter { rate_per_s, .. }) => Some(*rate_per_s),
        _ => None,
    };
    if let (Some(before), Some(after)) = (offered(baseline), offered(candidate))
        && (after / before - 1.0).abs() > 0.05
    {
        differences.push(format!("load: {before:.0} tasks per second before, {after:.0} now"));
    }
    for (which, run) in [("baseline", baseline), ("candidate", candidate)] {
        differences.extend(run.record.invalid.iter().map(|reason| format!("the {which} is not valid: {reason}")));
        differences.extend(run.problems.iter().map(|problem| format!("{which}: {problem}")));
    }
    differences
}
