//! Faults on a timeline. What is due when is decided here, pure: time is an argument. Carrying a step out (the signal, the
//! restart) is the business of the target.

use std::time::Duration;

use serde::Serialize;

use crate::scenario::{MOST_GATEWAYS, ScenarioError, Section, as_text, show_span};

/// What is done to an own gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGKILL; started again on the same data and port when the fault ends.
    Kill,
    /// SIGTERM: it may drain; started again when the fault ends, and not before it has gone.
    Terminate,
    /// SIGSTOP; SIGCONT when the fault ends.
    Freeze,
}

impl FaultKind {
    const CHOICES: [(&'static str, Self); 3] =
        [("kill", Self::Kill), ("terminate", Self::Terminate), ("freeze", Self::Freeze)];

    /// The word in scenarios and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
            Self::Freeze => "freeze",
        }
    }
}

/// To which of the own gateways something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// To the one with this number, from 1.
    One(u32),
    /// To all of them, in one moment.
    All,
}

impl Whom {
    const fn is_first(&self) -> bool {
        matches!(self, Self::One(1))
    }

    /// Whether the gateway with this index, from 0, is meant.
    pub(crate) fn means(self, index: usize) -> bool {
        match self {
            Self::One(number) => number as usize == index + 1,
            Self::All => true,
        }
    }
}

impl Serialize for Whom {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(number) => serializer.serialize_u32(*number),
            Self::All => serializer.serialize_str(ALL),
        }
    }
}

const ALL: &str = "all";

/// One `[[fault]]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// To which gateway; the first if nothing is said.
    #[serde(rename = "gateway", skip_serializing_if = "Whom::is_first")]
    pub whom: Whom,
    /// The line that says so.
    #[serde(skip)]
    pub(crate) line: usize,
    /// When, from the start of the run.
    #[serde(serialize_with = "as_text")]
    pub at: Duration,
    /// How long until it is undone.
    #[serde(rename = "for", serialize_with = "as_text")]
    pub lasts: Duration,
}

impl Fault {
    pub(crate) fn read(mut section: Section<'_>) -> Result<Self, ScenarioError> {
        let word = section.text("kind")?.ok_or_else(|| section.error("`kind` is missing"))?;
        let kind = section.choice("fault", &word, &FaultKind::CHOICES)?;
        let at = section.span("at")?.ok_or_else(|| section.error("`at` is missing"))?;
        let lasts = section.span("for")?.unwrap_or(Duration::from_secs(1));
        let whom = match section.whole_or("gateway", 1, MOST_GATEWAYS.into(), ALL)? {
            None => Whom::One(1),
            Some(None) => Whom::All,
            Some(Some(number)) => Whom::One(number as u32),
        };
        let line = section.line("gateway");
        section.finish()?;
        Ok(Self { kind, whom, line, at, lasts })
    }

    /// In words, where there are so many gateways.
    #[must_use]
    pub fn describe(&self, gateways: u32) -> String {
        let lasts = show_span(self.lasts);
        let whom = match (gateways, self.whom) {
            (1, _) => "the own gateway".to_owned(),
            (_, Whom::One(number)) => format!("gateway {number}"),
            (_, Whom::All) => "all gateways".to_owned(),
        };
        match self.kind {
            FaultKind::Kill => format!("SIGKILL of {whom}, restart after {lasts}"),
            FaultKind::Terminate => format!("SIGTERM of {whom}, restart after {lasts}"),
            FaultKind::Freeze => format!("SIGSTOP of {whom}, SIGCONT after {lasts}"),
        }
    }
}

/// Whether there are enough gateways for all faults.
///
/// # Errors
/// The line of the first fault that is done to a gateway that there is not, and what is wrong in words.
pub(crate) fn in_reach(faults: &[Fault], gateways: u32) -> Result<(), (usize, String)> {
    let beyond = |fault: &&Fault| matches!(fault.whom, Whom::One(number) if number > gateways);
    let Some(fault) = faults.iter().find(beyond) else { return Ok(()) };
    let Whom::One(number) = fault.whom else { return Ok(()) };
    let message =
        format!("the fault at {} is done to gateway {number}, and `gateways` is {gateways}", show_span(fault.at));
    Err((fault.line, message))
}

/// Sorts faults by time.
///
/// # Errors
/// In words, when one begins before another has ended: a gateway cannot be killed while it is dead, and of two faults at one time
/// nobody could tell which was felt.
pub(crate) fn in_order(faults: &mut [Fault]) -> Result<(), String> {
    faults.sort_by_key(|fault| fault.at);
    for pair in faults.windows(2) {
        let ends = pair[0].at + pair[0].lasts;
        if pair[1].at <= ends {
            return Err(format!(
                "the fault at {} begins before the one at {} has ended at {}",
                show_span(pair[1].at),
                show_span(pair[0].at),
                show_span(ends)
            ));
        }
    }
    Ok(())
}

/// A step of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Fault number so-and-so begins.
    Begin(usize),
    /// It ends.
    End(usize),
}

/// Where a run stands in its faults. A fault is over when the target says so ([`Timeline::over`]), and none begins before the
/// one ahead of it is: a restart that takes longer than planned delays the next fault instead of being hit by it.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// When each should begin, and how long it lasts.
    faults: Vec<(Duration, Duration)>,
    /// The first that has not begun.
    next: usize,
    now: Now,
}

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    Nothing,
    /// The last one that began lasts until then.
    Lasts(Duration),
    /// It is being taken back.
    Ends,
}

impl Timeline {
    /// For faults in order.
    pub(crate) fn new(faults: &[Fault]) -> Self {
        Self { faults: faults.iter().map(|fault| (fault.at, fault.lasts)).collect(), next: 0, now: Now::Nothing }
    }

    /// When the next step is due; `None` when there is none, or when it waits for the end of a fault.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        match self.now {
            Now::Nothing => self.faults.get(self.next).map(|(at, _)| *at),
            Now::Lasts(until) => Some(until),
            Now::Ends => None,
        }
    }

    /// The next step that is due at `now`, which it thereby takes. A fault that begins late lasts as long as one in time.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Step> {
        if self.next_at()? > now {
            return None;
        }
        if self.now == Now::Nothing {
            let (at, lasts) = self.faults[self.next];
            self.now = Now::Lasts(now.max(at) + lasts);
            self.next += 1;
            return Some(Step::Begin(self.next - 1));
        }
        self.now = Now::Ends;
        Some(Step::End(self.next - 1))
    }

    /// The fault that was being taken back is over.
    pub(crate) const fn over(&mut self) {
        self.now = Now::Nothing;
    }

    /// A fault has begun and is not over.
    pub(crate) fn is_open(&self) -> bool {
        self.now != Now::Nothing
    }

    /// The first fault that has not begun.
    pub(crate) const fn not_begun(&self) -> usize {
        self.next
    }

    /// Drops what has not begun; a fault that has begun will still end.
    pub(crate) fn cut_short(&mut self) {
        self.faults.truncate(self.next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(at_ms: u64, for_ms: u64) -> Fault {
        let (at, lasts) = (Duration::from_millis(at_ms), Duration::from_millis(for_ms));
        Fault { kind: FaultKind::Kill, whom: Whom::One(1), line: 0, at, lasts }
    }

    #[test]
    fn faults_that_overlap_are_refused() {
        let mut fine = [fault(5_000, 100), fault(1_000, 500)];
        assert_eq!(in_order(&mut fine), Ok(()));
        assert_eq!(fine[0].at, Duration::from_secs(1));
        let message = in_order(&mut [fault(1_000, 500), fault(1_500, 1)]).unwrap_err();
        assert_eq!(message, "the fault at 1s500ms begins before the one at 1s has ended at 1s500ms");
    }

    #[test]
    fn an_ending_run_still_undoes_its_fault() {
        let mut timeline = Timeline::new(&[fault(10, 10), fault(30, 10)]);
        assert_eq!(timeline.due(Duration::from_millis(12)), Some(Step::Begin(0)));
        timeline.cut_short();
        assert_eq!(timeline.next_at(), Some(Duration::from_millis(22)));
        assert_eq!(timeline.due(Duration::from_secs(1)), Some(Step::End(0)));
        timeline.over();
        assert_eq!(timeline.due(Duration::from_secs(1)), None);
    }

    #[test]
    fn a_restart_that_takes_its_time_delays_the_next_fault() {
        let at = Duration::from_millis;
        let mut timeline = Timeline::new(&[fault(10, 10), fault(30, 10)]);
        assert_eq!(timeline.due(at(10)), Some(Step::Begin(0)));
        assert_eq!(timeline.due(at(20)), Some(Step::End(0)));
        // The second would be due, and the target is not back.
        assert_eq!((timeline.due(at(35)), timeline.next_at()), (None, None));
        assert!(timeline.is_open());
        timeline.over();
        assert_eq!(timeline.due(at(90)), Some(Step::Begin(1)));
        assert_eq!(timeline.next_at(), Some(at(100)), "it lasts as long as one in time");
        assert_eq!(timeline.due(at(100)), Some(Step::End(1)));
    }

    proptest! {
        #[test]
        fn every_fault_begins_and_ends_once_and_in_time(
            gaps in prop::collection::vec((1_u64..500, 0_u64..300), 0..6),
            polls in prop::collection::vec((0_u64..200, any::<bool>()), 0..60),
        ) {
            let mut faults = Vec::new();
            let mut at = 0;
            for (gap, lasts) in gaps {
                at += gap;
                faults.push(fault(at, lasts));
                at += lasts;
            }
            prop_assert!(in_order(&mut faults).is_ok());
            let mut timeline = Timeline::new(&faults);
            let mut seen = Vec::new();
            let mut now = 0;
            let rest = (0..=2 * faults.len()).map(|_| (1_000_000, true));
            for (step, over) in polls.into_iter().chain(rest) {
                now += step;
                while let Some(step) = timeline.due(Duration::from_millis(now)) {
                    if let Step::Begin(index) = step {
                        prop_assert!(faults[index].at <= Duration::from_millis(now));
                        prop_assert!(!matches!(seen.last(), Some(Step::Begin(_))), "one at a time");
                    }
                    seen.push(step);
                }
                if over && matches!(seen.last(), Some(Step::End(_))) {
                    timeline.over();
                }
            }
            let expected: Vec<_> = (0..faults.len()).flat_map(|index| [Step::Begin(index), Step::End(index)]).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
