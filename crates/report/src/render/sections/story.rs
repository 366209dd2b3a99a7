//! The run in one sentence and in a handful of figures.

use super::{Tone, experiment::noticed};
use crate::{
    RunRecord, Verdict,
    record::{Ended, ExperimentRecord},
    render::{amount, duration, thousands, times},
    statistics::{MetricValues, Unit},
};

/// A number that belongs at the top of a page.
#[derive(Clone, Debug)]
pub(in crate::render) struct Figure {
    pub(in crate::render) label: &'static str,
    pub(in crate::render) value: String,
    pub(in crate::render) note: String,
    pub(in crate::render) tone: Tone,
}

/// What happened, for somebody who reads nothing else.
pub(in crate::render) fn story(record: &RunRecord) -> String {
    let mut parts = Vec::new();
    if let Some(experiment) = &record.experiment {
        let held = if experiment.passed { "It held." } else { "It did not hold." };
        match experiment.hypothesis.trim_end_matches('.') {
            "" => {}
            supposed => parts.push(format!("Supposed: {supposed}. {held}")),
        }
    }
    let target = match (record.target.own, record.target.gateways.len()) {
        (true, 0) => "a gateway of its own".to_owned(),
        (true, several) => format!("{several} gateways of its own on one store"),
        (false, _) => record.target.url.clone(),
    };
    let load = duration(record.duration.load_ms as f64);
    parts.push(match (record.duration.load_ms, target.is_empty()) {
        (0, _) => "There was no load.".to_owned(),
        (_, true) => format!("{load} of load."),
        (_, false) => format!("{load} of load against {target}."),
    });
    if let Some(ledger) = record.ledger.as_ref().filter(|ledger| ledger.acknowledged > 0) {
        let acknowledged = thousands(ledger.acknowledged);
        parts.push(if ledger.lost > 0 {
            format!("{acknowledged} tasks were acknowledged, and {} of them are gone.", thousands(ledger.lost))
        } else if ledger.pending > 0 {
            format!("{acknowledged} tasks were acknowledged; {} still wait.", thousands(ledger.pending))
        } else if ledger.settled {
            format!("{acknowledged} tasks were acknowledged, and every one is accounted for.")
        } else {
            format!("{acknowledged} tasks were acknowledged; the account was not closed.")
        });
    }
    if record.feed.as_ref().is_some_and(crate::record::FeedAccount::is_broken) {
        parts.push("The feed is not what it promises.".to_owned());
    }
    match record.faults.as_slice() {
        [] => {}
        [fault] => parts.push(match fault.recovered_ms {
            Some(recovered) => {
                format!(
                    "One fault ({}), working again after {}.",
                    fault.name,
                    duration(recovered.saturating_sub(fault.at_ms) as f64)
                )
            }
            None => format!("One fault ({}), and the target did not work again.", fault.name),
        }),
        faults => {
            let never = faults.iter().filter(|fault| fault.recovered_ms.is_none()).count();
            let slowest = faults.iter().filter_map(|it| Some(it.recovered_ms?.saturating_sub(it.at_ms))).max();
            parts.push(match (never, slowest) {
                (0, Some(slowest)) => {
                    format!("{} faults, each followed by recovery within {}.", faults.len(), duration(slowest as f64))
                }
                (never, _) => format!("{} faults; the target did not work again after {never}.", faults.len()),
            });
        }
    }
    if record.ended == Ended::Unfinished {
        parts.push("The run was killed, or is still going; this is what it had.".to_owned());
    }
    parts.join(" ")
}

/// The figures, most important first; only those that the run has.
pub(in crate::render) fn figures(record: &RunRecord) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(experiment) = &record.experiment {
        figures.extend(of_experiment(experiment, !record.faults.is_empty()));
    }
    let mut figure = |label, value: String, note: String, tone| figures.push(Figure { label, value, note, tone });
    let load_s = record.duration.load_ms as f64 / 1000.0;
    if let Some(ledger) = &record.ledger {
        let per_s = if load_s > 0.0 {
            format!("{} per second", thousands((ledger.acknowledged as f64 / load_s).round() as u64))
        } else {
            String::new()
        };
        figure("tasks acknowledged", thousands(ledger.acknowledged), per_s, Tone::Plain);
        let (tone, note) = match (ledger.lost, Verdict::of(record)) {
            (0, Verdict::CouldNotRun) => (Tone::Plain, "of what was accounted for".to_owned()),
            (0, _) if !ledger.settled => (Tone::Warn, "account not closed".to_owned()),
            (0, _) => (Tone::Good, "nothing acknowledged is gone".to_owned()),
            (_, _) => (Tone::Bad, "acknowledged, and gone".to_owned()),
        };
        figure("lost", thousands(ledger.lost), note, tone);
    }
    for (metric, label) in [
        ("task_latency", "task latency"),
        ("publish_latency", "publish latency"),
        ("http_req_duration", "request duration"),
    ] {
        // Where there are tasks, their latency is what counts, and requests are only the way there.
        if metric == "http_req_duration" && record.ledger.is_some() {
            continue;
        }
        if let Some(trend) = record.metric(metric).and_then(|metric| metric.trend()) {
            figure(
                label,
                duration(trend.p99),
                format!("p99; p50 {}, max {}", duration(trend.p50), duration(trend.max)),
                Tone::Plain,
            );
        }
    }
    if let Some(sessions) = &record.sessions {
        let success = record.metric("session_success").map(|metric| &metric.values);
        let note = match success {
            Some(MetricValues::Rate { rate, .. }) => {
                format!("{} succeeded", amount(*rate, Unit::Ratio))
            }
            _ => format!("{} refused", thousands(sessions.refused)),
        };
        figure("sessions", thousands(sessions.created), note, Tone::Plain);
    }
    // Of an experiment the time to recover stands above, from the fault's end until all was steady; this would be another one.
    let slowest = record.faults.iter().filter_map(|it| Some(it.recovered_ms?.saturating_sub(it.at_ms))).max();
    if let Some(slowest) = slowest.filter(|_| record.experiment.is_none()) {
        let faults = record.faults.len();
        let note = if faults == 1 { "after one fault".to_owned() } else { format!("slowest of {faults} faults") };
        figure("working again", duration(slowest as f64), note, Tone::Plain);
    }
    figures
}

/// Times only when there was a fault to notice.
fn of_experiment(experiment: &ExperimentRecord, struck: bool) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut figure = |label, value: String, note: String, tone| figures.push(Figure { label, value, note, tone });
    if struck {
        match noticed(experiment).as_slice() {
            [] => figure("time to detect", "not noticed".into(), "by nobody".into(), Tone::Warn),
            [(first, first_ms), others @ ..] => {
                let others: String =
                    others.iter().map(|(who, ms)| format!(", {who} {}", duration(*ms as f64))).collect();
                figure("time to detect", duration(*first_ms as f64), format!("by {first}{others}"), Tone::Plain);
            }
        }
        match experiment.recovered_after_ms {
            Some(ms) => {
                figure("time to recover", duration(ms as f64), "until all was steady again".into(), Tone::Plain);
            }
            None => figure("time to recover", "never".into(), "not steady until the end".into(), Tone::Bad),
        }
    }
    let budget = &experiment.budget;
    if budget.total > 0 {
        let tone = if budget.burned > 1.0 { Tone::Warn } else { Tone::Plain };
        let note = format!("{} of {} failed", thousands(budget.failed), thousands(budget.total));
        figure("error budget burned", times(budget.burned), note, tone);
    }
    figures
}
