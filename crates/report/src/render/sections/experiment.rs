//! What an experiment supposed, and by what one knows whether it held: the verdict of such a run, and so the first thing to read.

use super::{Align, Cell, Section, Tone};
use crate::{
    RunRecord,
    record::{Detected, ExperimentRecord},
    render::{amount, duration, times},
    statistics::Unit,
};

/// Each expectation beside what was found.
pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let experiment = record.experiment.as_ref()?;
    let columns = [("", Align::Left), ("expected", Align::Left), ("found", Align::Left)];
    let mut section = Section::new("experiment", "Experiment", &columns);
    for it in &experiment.expectations {
        let (mark, tone) = if it.held { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
        section.row([Cell::from(mark).tone(tone), it.what.as_str().into(), Cell::from(it.found.as_str()).tone(tone)]);
    }
    if !experiment.steady_state.is_empty() {
        section.note = Some(format!("A second is steady with {}.", experiment.steady_state.join(", ")));
    }
    section.unless_empty()
}

/// The target without the fault, with it, and without it again.
pub(super) fn phases(record: &RunRecord) -> Option<Section> {
    let numbers = ["from", "steady seconds", "requests/s", "failed", "p99"];
    let columns: Vec<_> = std::iter::once(("", Align::Left)).chain(numbers.map(|name| (name, Align::Right))).collect();
    let mut section = Section::new("phases", "Before, during and after the fault", &columns);
    for it in &record.experiment.as_ref()?.phases {
        let none = || Cell::muted("none");
        section.row([
            it.phase.as_str().into(),
            duration(it.from_ms as f64).into(),
            format!("{} of {}", it.steady_seconds, it.seconds).into(),
            amount(it.requests_per_s, Unit::Count).into(),
            it.failed_ratio.map_or_else(none, |ratio| amount(ratio, Unit::Ratio).into()),
            it.latency_p99_ms.map_or_else(none, |ms| duration(ms).into()),
        ]);
    }
    section.unless_empty()
}

/// How long nobody knew, and how long it was not over. A run that did not get to its fault has nothing to notice.
pub(super) fn times_taken(record: &RunRecord) -> Option<Section> {
    let experiment = record.experiment.as_ref().filter(|_| !record.faults.is_empty())?;
    let columns = [("", Align::Left), ("after", Align::Right), ("that is", Align::Left)];
    let mut section = Section::new("times", "Time to detect and to recover", &columns);
    let mut row = |what: &str, ms: Option<u64>, never: Cell, meaning: &str| {
        let after = ms.map_or(never, |ms| duration(ms as f64).into());
        section.row([what.into(), after, Cell::muted(meaning)]);
    };
    let unnoticed = || Cell::muted("not noticed");
    let detected = &experiment.detected;
    row("noticed by /health", detected.health_ms, unnoticed(), "a gateway said something else than before");
    row(
        "noticed in the metrics",
        detected.metrics_ms,
        unnoticed(),
        "a gateway's figures told of it, or were not to be had",
    );
    row(
        "noticed by clients",
        detected.clients_ms,
        unnoticed(),
        "the first error, or the first second that was not steady",
    );
    let never = Cell::from("never").tone(Tone::Bad);
    row("recovered", experiment.recovered_after_ms, never, "from the end of the last fault until all was steady again");
    section.note = Some("Noticed is counted from the begin of the first fault.".into());
    Some(section)
}

/// What failed, against what may.
pub(super) fn budget(record: &RunRecord) -> Option<Section> {
    let budget = record.experiment.as_ref().map(|it| &it.budget).filter(|it| it.total > 0)?;
    let columns = [("", Align::Left), ("", Align::Right), ("that is", Align::Left)];
    let mut section = Section::new("budget", "Error budget", &columns);
    let mut row = |what: &str, value: Cell, meaning: &str| section.row([what.into(), value, Cell::muted(meaning)]);
    row("objective", amount(budget.objective, Unit::Ratio).into(), "of the requests should succeed");
    row("requests", budget.total.into(), "of the whole load");
    row(
        "failed",
        budget.failed.into(),
        &format!("{} of them", amount(budget.failed as f64 / budget.total as f64, Unit::Ratio)),
    );
    let tone = if budget.burned > 1.0 { Tone::Warn } else { Tone::Plain };
    row("burned", Cell::from(times(budget.burned)).tone(tone), "of what may fail; 1 × is all of it");
    let mut kinds: Vec<_> = budget.during.iter().filter(|(_, number)| **number > 0).collect();
    kinds.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
    for (kind, number) in kinds {
        row(kind, (*number).into(), "errors while the fault lasted");
    }
    Some(section)
}

/// Who noticed, and when, the first one first.
pub(super) fn noticed(experiment: &ExperimentRecord) -> Vec<(&'static str, u64)> {
    let Detected { health_ms, metrics_ms, clients_ms } = experiment.detected;
    let all = [("/health", health_ms), ("metrics", metrics_ms), ("clients", clients_ms)];
    let mut noticed: Vec<_> = all.into_iter().filter_map(|(who, ms)| Some((who, ms?))).collect();
    noticed.sort_by_key(|(_, ms)| *ms);
    noticed
}
