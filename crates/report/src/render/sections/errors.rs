//! Errors that the storm saw, by kind.

use super::{Align, Section};
use crate::RunRecord;

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let mut section = Section::new("errors", "Errors", &[("kind", Align::Left), ("number", Align::Right)]);
    let mut errors: Vec<_> = record.errors.iter().filter(|(_, number)| **number > 0).collect();
    errors.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
    for (kind, number) in errors {
        section.row([kind.as_str().into(), (*number).into()]);
    }
    section.unless_empty()
}
