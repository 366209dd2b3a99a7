//! What of the faults is due. Pure: the caller says what time it is.

use std::time::Duration;

use super::Fault;

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

    /// Drops what has not begun, and takes back at once what has.
    pub(crate) fn cut_short(&mut self) {
        self.faults.truncate(self.next);
        if let Now::Lasts(until) = &mut self.now {
            *until = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::faults::{a_kill as fault, in_order};

    #[test]
    fn an_ending_run_still_undoes_its_fault() {
        let mut timeline = Timeline::new(&[fault(10, 10), fault(30, 10)]);
        assert_eq!(timeline.due(Duration::from_millis(12)), Some(Step::Begin(0)));
        timeline.cut_short();
        assert_eq!(timeline.next_at(), Some(Duration::ZERO), "at once");
        assert_eq!(timeline.due(Duration::from_millis(13)), Some(Step::End(0)));
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
