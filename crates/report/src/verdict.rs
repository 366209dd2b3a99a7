//! The outcome of a run, and the one place where it becomes an exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | passed |
//! | 1 | could not run, or could not be judged: failed to start, generator was the limit, interrupted, never settled |
//! | 2 | usage: the command line, the scenario or the configuration is wrong |
//! | 98 | a loss: something acknowledged is gone, something arrived that nobody sent, or the feed is not what it promises |
//! | 99 | a threshold failed, or what an experiment supposed did not hold |
//!
//! When several hold, the first of this order is the verdict, and all reasons are listed: loss, could not run, invalid,
//! unsettled, experiment, threshold, interrupted. A loss outranks everything, because no circumstance excuses it. A run that is
//! invalid outranks its thresholds, because numbers that measure the generator accuse and acquit nobody.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::{Ended, FeedAccount, RunRecord};

/// The exit code for a wrong command line, scenario or configuration; no run, so no verdict.
pub const EXIT_USAGE: u8 = 2;

/// How a run ended for whoever asked "is it good?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was promised was measured and kept.
    Passed,
    /// The ledger found something acknowledged that is gone, or something that nobody sent; or the feed skipped events without a
    /// word, repeated some, or told different subscribers different things.
    Loss,
    /// What an experiment supposed did not hold.
    ExperimentFailed,
    /// A threshold failed.
    ThresholdFailed,
    /// The run did not happen, or broke.
    CouldNotRun,
    /// It happened, and its numbers say nothing about the target: the generator was the limit.
    Invalid,
    /// Acknowledged tasks were still waiting when the settle time ended: neither delivered nor lost. Or the storm's own gateway did
    /// not say by then that nothing waits.
    Unsettled,
    /// Somebody ended it early; what was measured until then was fine.
    Interrupted,
}

impl Verdict {
    /// What the process exits with.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Loss => 98,
            Self::ExperimentFailed | Self::ThresholdFailed => 99,
            Self::CouldNotRun | Self::Invalid | Self::Unsettled | Self::Interrupted => 1,
        }
    }

    /// The verdict on a record. A record without an end is that of a run that was killed: it could not run.
    #[must_use]
    pub fn of(record: &RunRecord) -> Self {
        let ledger = record.ledger.as_ref();
        if ledger.is_some_and(|ledger| ledger.lost > 0 || ledger.unexpected > 0)
            || record.feed.as_ref().is_some_and(FeedAccount::is_broken)
        {
            Self::Loss
        } else if matches!(record.ended, Ended::Unfinished | Ended::Failed { .. }) {
            Self::CouldNotRun
        } else if !record.invalid.is_empty() {
            Self::Invalid
        } else if ledger.is_some_and(|ledger| ledger.pending > 0) || never_quiet(record) {
            Self::Unsettled
        } else if record.ended != Ended::Interrupted && record.experiment.as_ref().is_some_and(|it| !it.passed) {
            // One that was ended early has not passed either, and says nothing about the target.
            Self::ExperimentFailed
        } else if record.thresholds.iter().any(|threshold| !threshold.passed) {
            Self::ThresholdFailed
        } else if record.ended == Ended::Interrupted {
            Self::Interrupted
        } else {
            Self::Passed
        }
    }

    /// Everything that speaks against the run, the gravest first; empty when it passed.
    #[must_use]
    pub fn reasons(record: &RunRecord) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(ledger) = &record.ledger {
            if ledger.lost > 0 {
                reasons.push(format!("{} lost: acknowledged, and gone", tasks(ledger.lost)));
            }
            if ledger.unexpected > 0 {
                reasons.push(format!("{} unexpected: delivered, and never published", tasks(ledger.unexpected)));
            }
        }
        if let Some(feed) = &record.feed {
            for (number, what) in [
                (feed.gaps, "missing, without a word"),
                (feed.repeats, "repeated"),
                (feed.conflicts, "not the same for all subscribers"),
            ] {
                if number > 0 {
                    reasons.push(format!("{} of the feed {what}", counted(number, "event")));
                }
            }
        }
        if let Some(may_lose) = record.target.may_lose.as_ref().filter(|_| Self::of(record) == Self::Loss) {
            reasons.push(format!("the store's setting allows a loss, and it is one all the same: {may_lose}"));
        }
        match &record.ended {
            Ended::Unfinished => reasons.push("the run has no end: it was killed, or is still going".into()),
            Ended::Failed { message } => reasons.push(format!("the run broke: {message}")),
            Ended::Completed | Ended::Interrupted | Ended::Aborted => {}
        }
        reasons.extend(record.invalid.iter().map(|reason| format!("the numbers are not valid: {reason}")));
        if let Some(ledger) = record.ledger.as_ref().filter(|ledger| ledger.pending > 0) {
            reasons.push(format!("{} still waiting when the settle time ended", tasks(ledger.pending)));
        }
        if never_quiet(record) {
            reasons.push("the lanes were not seen quiet within the settle time, so the account is not closed".into());
        }
        if let Some(experiment) = &record.experiment {
            let broken = experiment.expectations.iter().filter(|it| !it.held);
            let before = reasons.len();
            reasons.extend(broken.map(|it| format!("the experiment: {}: {}", it.what, it.found)));
            if !experiment.passed && reasons.len() == before {
                reasons.push("the experiment: it did not come to what had to hold".into());
            }
        }
        reasons.extend(record.thresholds.iter().filter(|it| !it.passed).map(|it| {
            let measured = match (it.measured, &it.reason) {
                (Some(measured), _) => crate::render::amount(measured, it.unit),
                (None, Some(reason)) => reason.clone(),
                (None, None) => "not measured".into(),
            };
            format!("threshold {} {}: {measured}", it.selector, it.expression)
        }));
        match &record.ended {
            Ended::Interrupted => reasons.push("interrupted before its end".into()),
            Ended::Aborted => reasons.push("ended early by a threshold with abort_on_fail".into()),
            Ended::Unfinished | Ended::Completed | Ended::Failed { .. } => {}
        }
        reasons
    }

    /// One or two words for a headline.
    #[must_use]
    pub const fn headline(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Loss => "loss",
            Self::ExperimentFailed => "experiment failed",
            Self::ThresholdFailed => "threshold failed",
            Self::CouldNotRun => "did not finish",
            Self::Invalid => "not valid",
            Self::Unsettled => "not settled",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.headline())
    }
}

/// The account was not closed, and nobody else's tasks can be the reason.
fn never_quiet(record: &RunRecord) -> bool {
    record.target.own && record.ledger.as_ref().is_some_and(|ledger| !ledger.settled)
}

fn tasks(count: u64) -> String {
    counted(count, "task")
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", crate::render::thousands(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{Expectation, ExperimentRecord, Ledger},
        statistics::Unit,
        thresholds::ThresholdResult,
    };

    fn threshold(passed: bool) -> ThresholdResult {
        ThresholdResult {
            selector: "task_latency".into(),
            expression: "p(99)<500".into(),
            unit: Unit::Milliseconds,
            target: 500.0,
            measured: Some(if passed { 12.5 } else { 612.0 }),
            passed,
            reason: None,
            aborts: false,
        }
    }

    #[test]
    fn the_gravest_wins_and_all_reasons_are_said() {
        let bad = |lost, unexpected, pending| Ledger { lost, unexpected, pending, ..Ledger::default() };
        let failed = || Ended::Failed { message: "no port".into() };
        for (ended, invalid, ledger, passed, verdict, code, reasons) in [
            (Ended::Completed, false, bad(0, 0, 0), true, Verdict::Passed, 0, 0),
            (Ended::Completed, false, bad(0, 0, 0), false, Verdict::ThresholdFailed, 99, 1),
            (Ended::Aborted, false, bad(0, 0, 0), false, Verdict::ThresholdFailed, 99, 2),
            (Ended::Completed, false, bad(1, 0, 0), false, Verdict::Loss, 98, 2),
            (Ended::Completed, false, bad(0, 1, 0), true, Verdict::Loss, 98, 1),
            (failed(), true, bad(1, 0, 5), false, Verdict::Loss, 98, 5),
            (failed(), true, bad(0, 0, 5), false, Verdict::CouldNotRun, 1, 4),
            (Ended::Unfinished, false, bad(0, 0, 0), true, Verdict::CouldNotRun, 1, 1),
            (Ended::Completed, true, bad(0, 0, 5), false, Verdict::Invalid, 1, 3),
            (Ended::Completed, false, bad(0, 0, 5), false, Verdict::Unsettled, 1, 2),
            (Ended::Interrupted, false, bad(0, 0, 0), false, Verdict::ThresholdFailed, 99, 2),
            (Ended::Interrupted, false, bad(0, 0, 0), true, Verdict::Interrupted, 1, 1),
        ] {
            let record = RunRecord {
                ended,
                invalid: if invalid { vec!["the generator was the limit".into()] } else { Vec::new() },
                ledger: Some(ledger),
                thresholds: vec![threshold(true), threshold(passed)],
                ..RunRecord::default()
            };
            assert_eq!((Verdict::of(&record), Verdict::of(&record).exit_code()), (verdict, code), "{record:?}");
            assert_eq!(Verdict::reasons(&record).len(), reasons, "{:?}", Verdict::reasons(&record));
        }
    }

    #[test]
    fn an_experiment_that_was_ended_early_says_nothing_of_the_target() {
        for (ended, verdict) in
            [(Ended::Completed, Verdict::ExperimentFailed), (Ended::Interrupted, Verdict::Interrupted)]
        {
            let record = RunRecord { ended, experiment: Some(ExperimentRecord::default()), ..RunRecord::default() };
            assert_eq!(Verdict::of(&record), verdict);
        }
    }

    #[test]
    fn a_feed_that_breaks_its_promise_is_a_loss_and_one_that_is_slow_is_not() {
        let feed = |gaps, repeats, conflicts| FeedAccount {
            gaps,
            repeats,
            conflicts,
            shortfall: Some(7),
            ..FeedAccount::default()
        };
        for (feed, verdict, reason) in [
            (feed(0, 0, 0), Verdict::Passed, None),
            (feed(1, 0, 0), Verdict::Loss, Some("1 event of the feed missing, without a word")),
            (feed(0, 2, 0), Verdict::Loss, Some("2 events of the feed repeated")),
            (feed(0, 0, 1), Verdict::Loss, Some("1 event of the feed not the same for all subscribers")),
        ] {
            let record = RunRecord { ended: Ended::Completed, feed: Some(feed), ..RunRecord::default() };
            assert_eq!(Verdict::of(&record), verdict);
            assert_eq!(Verdict::reasons(&record), reason.map(str::to_owned).into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_experiment_passes_or_fails() {
        let experiment = |passed, held: &[bool]| ExperimentRecord {
            passed,
            expectations: held
                .iter()
                .map(|held| Expectation { what: "steady again within 5s".into(), found: "never".into(), held: *held })
                .collect(),
            ..ExperimentRecord::default()
        };
        let never = "the experiment: steady again within 5s: never";
        let nothing = "the experiment: it did not come to what had to hold";
        for (ended, passed, held, kept, verdict, reasons) in [
            (Ended::Completed, true, &[true][..], true, Verdict::Passed, vec![]),
            (Ended::Completed, false, &[true, false][..], true, Verdict::ExperimentFailed, vec![never]),
            (Ended::Completed, false, &[][..], true, Verdict::ExperimentFailed, vec![nothing]),
            (
                Ended::Completed,
                false,
                &[false][..],
                false,
                Verdict::ExperimentFailed,
                vec![never, "threshold task_latency p(99)<500: 612 ms"],
            ),
            (
                Ended::Interrupted,
                false,
                &[false][..],
                true,
                Verdict::Interrupted,
                vec![never, "interrupted before its end"],
            ),
            (
                Ended::Unfinished,
                false,
                &[false][..],
                true,
                Verdict::CouldNotRun,
                vec!["the run has no end: it was killed, or is still going", never],
            ),
        ] {
            let experiment = Some(experiment(passed, held));
            let record = RunRecord { ended, experiment, thresholds: vec![threshold(kept)], ..RunRecord::default() };
            assert_eq!(Verdict::of(&record), verdict);
            assert_eq!(Verdict::reasons(&record), reasons);
        }
        assert_eq!(Verdict::ExperimentFailed.exit_code(), 99);
    }

    #[test]
    fn an_account_that_was_not_closed_passes_nobody() {
        for (own, settled, verdict) in [
            (true, true, Verdict::Passed),
            (true, false, Verdict::Unsettled),
            // There, others may keep the lanes busy for ever.
            (false, false, Verdict::Passed),
        ] {
            let record = RunRecord {
                ended: Ended::Completed,
                target: crate::record::TargetRecord { own, ..Default::default() },
                ledger: Some(Ledger { settled, ..Ledger::default() }),
                ..RunRecord::default()
            };
            assert_eq!(Verdict::of(&record), verdict);
            assert_eq!(Verdict::reasons(&record).len(), usize::from(verdict != Verdict::Passed));
        }
    }

    #[test]
    fn a_loss_that_the_setting_allows_is_a_loss() {
        let may_lose = crate::durability::may_lose("appendfsync everysec: what was acknowledged");
        let target = crate::record::TargetRecord { may_lose, ..Default::default() };
        let lost = |lost| {
            let ledger = Some(Ledger { lost, settled: true, ..Ledger::default() });
            RunRecord { ended: Ended::Completed, ledger, target: target.clone(), ..RunRecord::default() }
        };
        assert_eq!(Verdict::of(&lost(1)).exit_code(), 98);
        let [gone, allowed] = &Verdict::reasons(&lost(1))[..] else { panic!("two reasons") };
        assert_eq!(gone, "1 task lost: acknowledged, and gone");
        assert!(
            allowed.contains("it is one all the same: Redis with appendfsync everysec: up to a second"),
            "{allowed}"
        );
        assert!(Verdict::of(&lost(0)) == Verdict::Passed && Verdict::reasons(&lost(0)).is_empty());
    }
}
