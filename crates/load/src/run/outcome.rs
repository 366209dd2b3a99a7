//! From what was measured to the record: the ledger's figures become metrics, thresholds are evaluated, and everything is
//! written down.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use squall_protocol::Priority;
use squall_report::record::{
    Duplicated, Ended, FeedAccount, Finding, FindingClass, LaneRecord, Ledger as LedgerRecord, SessionsRecord,
};
use squall_report::statistics::{Measured, Registry, Shard, Tally};
use squall_report::thresholds::Phase;
use squall_report::{RunRecord, SecondSample};

use super::Finished;
use super::account::Accounted;
use super::conductor::Conductor;
use crate::engine::Leaves;
use crate::error::{Error, Result};
use crate::ledger::{Account, Class};
use crate::scenario::Scenario;
use crate::workloads::Workload;

/// What is remembered from the seconds.
#[derive(Debug, Default)]
pub(super) struct Peaks {
    /// Most tasks waiting, and those waiting at the last look, by lane and priority.
    depths: HashMap<(String, String), (u64, u64)>,
    active_sessions: u64,
    pub(super) recoveries_us: Vec<u64>,
}

impl Peaks {
    pub(super) fn see(&mut self, sample: &SecondSample) {
        for depth in &sample.depths {
            let key = (depth.lane.clone(), depth.priority.clone());
            let (peak, last) = self.depths.entry(key).or_default();
            *last = depth.ready + depth.delayed;
            *peak = (*peak).max(*last);
        }
        self.active_sessions = self.active_sessions.max(sample.sessions.get("active").copied().unwrap_or(0));
    }
}

/// Errors by kind, those that there were.
pub(super) fn errors(kinds: &[String], tally: &Tally, registry: &Registry) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    for kind in kinds {
        if let Some(Measured::Counter(count)) =
            tally.measure(registry, "errors", &[("kind".to_owned(), kind.clone())]).filter(|it| !it.is_empty())
            && count > 0
        {
            errors.insert(kind.clone(), count);
        }
    }
    errors
}

/// The end of a run.
pub(super) fn conclude(mut conductor: Conductor, accounted: Option<Accounted>) -> Result<Finished> {
    let load_ms = conductor.record.duration.load_ms.max(1);
    let (mut due, mut dropped, mut sessions) = (0, 0, BTreeMap::<String, u64>::new());
    for Leaves { dropped_undisturbed, due_undisturbed, sessions: ended, .. } in &conductor.leaves {
        due += due_undisturbed;
        dropped += dropped_undisturbed;
        for (state, count) in ended {
            *sessions.entry((*state).to_owned()).or_default() += count;
        }
    }
    let registry = conductor.totals.registry().clone();
    let mut last = Shard::new(&registry);
    if let Some(accounted) = &accounted {
        ledger_metrics(&mut last, &conductor.ids.ledger, &accounted.account);
    }
    if let Some(events) = conductor.feed_shortfall {
        last.count(conductor.ids.feed_shortfall, events);
    }
    for recovery_us in &conductor.peaks.recoveries_us {
        last.trend(conductor.ids.recovery_time, *recovery_us);
    }
    let (target, _) = conductor.target.usage();
    if let Some(target) = target {
        last.set(conductor.ids.target_cpu, target.cpu_avg_percent / f64::from(conductor.record.machine.cores.max(1)));
    }
    if let Some(percent) = conductor.target.memory_growth_percent() {
        last.set(conductor.ids.target_memory_growth, percent);
    }
    conductor.totals.absorb(&last.take(Tally::new(&registry)));
    conductor.totals.close_second();

    let Conductor { totals, thresholds, scenario, peaks, run, .. } = &conductor;
    let measure = |metric: &str, tags: &[(&str, &str)]| {
        let tags: Vec<_> = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match totals.run().measure(&registry, metric, &tags) {
            Some(Measured::Counter(count)) => count,
            _ => 0,
        }
    };
    let mut record = conductor.record.clone();
    if record.ended == Ended::Unfinished {
        record.ended = Ended::Completed;
    }
    record.finished_at = Some(Timestamp::now());
    record.metrics = totals.summaries(load_ms);
    record.thresholds = thresholds.evaluate(&registry, totals.run(), load_ms, Phase::Final);
    record.errors = errors(&crate::metrics::error_names(), totals.run(), &registry);
    record.resources = conductor.usage();
    record.generator.dropped_iterations = measure("dropped_iterations", &[]);
    judge_generator(&mut record, scenario, due, dropped);
    if scenario.load.iter().any(|load| matches!(load.workload, Workload::Sessions(_))) {
        record.sessions = Some(SessionsRecord {
            created: measure("sessions_created", &[]),
            refused: measure("sessions_refused", &[]),
            by_outcome: sessions,
            peak_active: peaks.active_sessions,
        });
    }
    if scenario.load.iter().any(|load| matches!(load.workload, Workload::Subscribers(_))) {
        let findings = run.comparison.findings();
        record.feed = Some(FeedAccount {
            events: measure("feed_events", &[]),
            gaps: measure("feed_gaps", &[]),
            repeats: measure("feed_repeats", &[]),
            conflicts: measure("feed_conflicts", &[]),
            shortfall: conductor.feed_shortfall,
            not_compared: run.comparison.not_compared(),
            findings: findings.listed,
            findings_omitted: findings.omitted,
        });
    }
    for lane in &run.lanes {
        for priority in Priority::ALL {
            let tags = [("lane", lane.as_str()), ("priority", priority.as_str())];
            let key = (lane.clone(), priority.as_str().to_owned());
            let (depth_peak, depth_final) = peaks.depths.get(&key).copied().unwrap_or_default();
            let dead = accounted.as_ref().and_then(|it| it.dead.get(&(lane.clone(), priority.as_str()))).copied();
            let row = LaneRecord {
                lane: lane.clone(),
                priority: priority.as_str().to_owned(),
                published: measure("tasks_published", &tags),
                acknowledged: measure("tasks_acknowledged", &tags),
                refused: measure("tasks_refused", &tags),
                delivered: measure("tasks_delivered", &tags),
                acked: measure("tasks_acked", &tags),
                dead_lettered: dead.unwrap_or(0),
                depth_peak,
                // After the last look the lanes were seen quiet.
                depth_final: if accounted.as_ref().is_some_and(|it| it.settled) { 0 } else { depth_final },
            };
            if row.published + row.delivered + row.depth_peak > 0 {
                record.lanes.push(row);
            }
        }
    }
    record.ledger = accounted.map(|accounted| ledger_record(&accounted, &run.lanes, &run.id));
    if record.ledger.is_none() && scenario.has_ledger() {
        record.notes.push("nobody works in this scenario, so its tasks are not accounted for".to_owned());
    }
    if let Some(judge) = conductor.judge.take() {
        record.experiment = Some(judge.conclude(&registry, &record));
    }
    if let Some(overridden) = shorter(&record) {
        record.notes.push(overridden);
    }
    let path = conductor.dir.path().to_owned();
    let verdict = conductor.dir.finish(&mut record).map_err(|error| Error::RunDir(error.to_string()))?;
    conductor.live.close();
    Ok(Finished { dir: path, verdict, record })
}

/// A shortened run says so, lest somebody takes it for the whole.
fn shorter(record: &RunRecord) -> Option<String> {
    let flag = record.scenario.overrides.get("--duration")?;
    Some(format!("this is {:?} with --duration {flag}, not the scenario as it stands", record.scenario.name))
}

/// Whether the storm, and not the target, was the limit. Drops in the wake of a fault are the fault's doing.
fn judge_generator(record: &mut RunRecord, scenario: &Scenario, due: u64, dropped: u64) {
    let lateness = record.metric("generator_lateness").and_then(|metric| metric.trend());
    let (p99, max) = (lateness.map(|it| it.p99), lateness.map(|it| it.max));
    record.generator.lateness_p99_ms = p99;
    record.generator.lateness_max_ms = max;
    let limits = &scenario.generator;
    if let Some(p99) = p99.filter(|p99| *p99 > limits.max_lateness_p99_ms) {
        record.invalid.push(format!(
            "the generator was the limit: one start in a hundred was {p99:.1} ms late or more, and {} ms are allowed",
            limits.max_lateness_p99_ms
        ));
    }
    let share = dropped as f64 / due.max(1) as f64;
    if share > limits.max_dropped {
        record.invalid.push(format!(
            "the generator was the limit: {dropped} of {due} iterations found no free VU ({:.1} %, {:.1} % are allowed); \
             raise max_vus, or lower the rate",
            share * 100.0,
            limits.max_dropped * 100.0
        ));
    }
}

fn ledger_metrics(shard: &mut Shard, ids: &crate::metrics::LedgerIds, account: &Account) {
    for (id, count) in [
        (ids.lost, account.lost),
        (ids.pending, account.pending),
        (ids.recovered, account.recovered),
        (ids.duplicated, account.duplicated_explained + account.duplicated_unexplained),
        (ids.duplicated_unexplained, account.duplicated_unexplained),
        (ids.reordered, account.reordered),
        (ids.unexpected, account.unexpected),
        (ids.dead_lettered, account.dead_lettered),
    ] {
        shard.count(id, count);
    }
    for index in 0..account.acknowledged {
        shard.rate(ids.dead_letter_rate, index < account.dead_lettered);
    }
}

fn ledger_record(accounted: &Accounted, lanes: &[String], run: &str) -> LedgerRecord {
    let account = &accounted.account;
    let finding = |it: &crate::ledger::Finding| Finding {
        class: match it.class {
            Class::Lost => FindingClass::Lost,
            Class::Pending => FindingClass::Pending,
            Class::DuplicatedUnexplained => FindingClass::Duplicated,
            Class::Reordered => FindingClass::Reordered,
            Class::Unexpected => FindingClass::Unexpected,
        },
        task: match (it.id, it.n) {
            (Some(id), Some(n)) => format!("{id} (#{n})"),
            (Some(id), None) => id.to_string(),
            (None, n) => format!("#{}", n.unwrap_or_default()),
        },
        key: (it.key != 0).then(|| crate::workloads::key_name(run, it.key)),
        lane: it.lane.and_then(|lane| lanes.get(usize::from(lane)).cloned()),
        detail: it.detail.clone(),
    };
    let findings: Vec<_> = account.findings.iter().map(finding).collect();
    let bad = account.lost + account.pending + account.duplicated_unexplained + account.reordered + account.unexpected;
    LedgerRecord {
        settled: accounted.settled,
        published: account.attempted,
        acknowledged: account.acknowledged,
        refused: account.refused + account.not_sent,
        unknown: account.unknown,
        delivered: account.delivered,
        acked: account.done,
        lost: account.lost,
        pending: account.pending,
        recovered: account.recovered,
        duplicated: Duplicated { explained: account.duplicated_explained, unexplained: account.duplicated_unexplained },
        reordered: account.reordered,
        unexpected: account.unexpected,
        dead_lettered: account.dead_lettered,
        findings_omitted: bad.saturating_sub(findings.len() as u64),
        findings,
    }
}
