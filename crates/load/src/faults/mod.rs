//! Faults on a timeline: what is done, to whom, and when. Pure: time is an argument, and carrying a step out (the signal, the
//! restart, the toxic) is the business of the target.
//!
//! `deed` is what a fault does, `timeline` says what is due.

mod deed;
mod timeline;

use std::time::Duration;

pub use deed::{Deed, GatewayFault, Link, Links, ProcessFault, Subject, Toxic, Whom};
use serde::{Serialize, Serializer};
pub(crate) use timeline::{Step, Timeline};

use crate::scenario::{ScenarioError, Section, show_span};

/// One `[[fault]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What is done, and to whom.
    pub deed: Deed,
    /// The line that says so.
    pub(crate) line: usize,
    /// When, from the start of the run.
    pub at: Duration,
    /// How long until it is undone.
    pub lasts: Duration,
}

impl Fault {
    pub(crate) fn read(mut section: Section<'_>) -> Result<Self, ScenarioError> {
        let line = section.line(&["gateway", "process", "proxy"]);
        let deed = Deed::read(&mut section)?;
        let at = section.span("at")?.ok_or_else(|| section.error("`at` is missing"))?;
        let lasts = match (section.span("for")?, deed.ends_by_itself()) {
            (Some(_), true) => {
                let message = "a restart is over when it is done: leave out `for`";
                return Err(section.error_at(section.place("for"), message));
            }
            (None, true) => Duration::ZERO,
            (lasts, false) => lasts.unwrap_or(Duration::from_secs(1)),
        };
        section.finish()?;
        Ok(Self { deed, line, at, lasts })
    }

    /// In words, where there are so many gateways.
    #[must_use]
    pub fn describe(&self, gateways: u32) -> String {
        self.deed.describe(gateways, &show_span(self.lasts))
    }
}

impl Serialize for Fault {
    /// As a scenario says it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = self.deed.fields();
        fields.insert("at".to_owned(), show_span(self.at).into());
        if !self.deed.ends_by_itself() {
            fields.insert("for".to_owned(), show_span(self.lasts).into());
        }
        fields.serialize(serializer)
    }
}

/// Whether there are enough gateways for all faults.
///
/// # Errors
/// The line of the first fault that is done to a gateway that there is not, and what is wrong in words.
pub(crate) fn in_reach(faults: &[Fault], gateways: u32) -> Result<(), (usize, String)> {
    for fault in faults {
        if let Some(Whom::One(number)) = fault.deed.gateways().filter(|whom| whom.beyond(gateways)) {
            let at = show_span(fault.at);
            let message = format!("the fault at {at} is done to gateway {number}, and `gateways` is {gateways}");
            return Err((fault.line, message));
        }
    }
    Ok(())
}

/// Sorts faults by time.
///
/// # Errors
/// In words, when one begins before another has ended: a gateway cannot be killed while it is dead, and of two faults at one time
/// nobody could tell which was felt. What is to happen at once is one fault: `proxy` and `toxic` may be lists.
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

/// A kill of the first gateway, for tests.
#[cfg(test)]
pub(crate) fn a_kill(at_ms: u64, for_ms: u64) -> Fault {
    let deed = Deed::Process(ProcessFault::Kill, Subject::Gateway(Whom::One(1)));
    Fault { deed, line: 0, at: Duration::from_millis(at_ms), lasts: Duration::from_millis(for_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_that_overlap_are_refused() {
        let mut fine = [a_kill(5_000, 100), a_kill(1_000, 500)];
        assert_eq!(in_order(&mut fine), Ok(()));
        assert_eq!(fine[0].at, Duration::from_secs(1));
        let message = in_order(&mut [a_kill(1_000, 500), a_kill(1_500, 1)]).unwrap_err();
        assert_eq!(message, "the fault at 1s500ms begins before the one at 1s has ended at 1s500ms");
    }
}
