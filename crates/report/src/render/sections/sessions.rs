//! What became of the sessions.

use super::{Align, Cell, Section, Tone};
use crate::RunRecord;

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let sessions = record.sessions.as_ref()?;
    let mut section = Section::new("sessions", "Sessions", &[("sessions", Align::Left), ("number", Align::Right)]);
    section.row(["created".into(), sessions.created.into()]);
    section.row(["refused by the limit".into(), Cell::should_be_zero(sessions.refused, Tone::Plain)]);
    section.row(["most at one time".into(), sessions.peak_active.into()]);
    for (outcome, number) in &sessions.by_outcome {
        let tone = if outcome == "completed" { Tone::Plain } else { Tone::Warn };
        let number = if outcome == "completed" { (*number).into() } else { Cell::should_be_zero(*number, tone) };
        section.row([outcome.replace('_', " ").into(), number]);
    }
    Some(section)
}
