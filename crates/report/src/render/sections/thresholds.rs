//! Each promise beside what was measured.

use super::{Align, Cell, Section, Tone};
use crate::{RunRecord, render::amount};

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let columns = [("", Align::Left), ("metric", Align::Left), ("promised", Align::Left), ("measured", Align::Right)];
    let mut section = Section::new("thresholds", "Thresholds", &columns);
    for it in &record.thresholds {
        let tone = if it.passed { Tone::Good } else { Tone::Bad };
        let measured = match (it.measured, &it.reason) {
            (Some(measured), _) => amount(measured, it.unit),
            (None, Some(reason)) => reason.clone(),
            (None, None) => "not measured".into(),
        };
        let unit = if it.unit.suffix().is_empty() { String::new() } else { format!(" {}", it.unit.suffix()) };
        section.row([
            Cell::from(if it.passed { "✓" } else { "✗" }).tone(tone),
            it.selector.as_str().into(),
            Cell::from(format!("{}{unit}", it.expression)),
            Cell::from(measured).tone(tone),
        ]);
    }
    section.unless_empty()
}
