//! What was done to the target, and how long it took to get over it.

use super::{Align, Cell, Section, Tone};
use crate::{RunRecord, render::duration};

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let columns = [
        ("fault", Align::Left),
        ("what", Align::Left),
        ("at", Align::Right),
        ("lasted", Align::Right),
        ("noticed after", Align::Right),
        ("working after", Align::Right),
    ];
    let mut section = Section::new("faults", "Faults", &columns);
    for fault in &record.faults {
        let after = |moment: Option<u64>, from: u64, never: Cell| {
            moment.map_or(never, |moment| Cell::from(duration(moment.saturating_sub(from) as f64)))
        };
        let what = if fault.detail.is_empty() { &fault.kind } else { &fault.detail };
        section.row([
            fault.name.as_str().into(),
            what.as_str().into(),
            duration(fault.at_ms as f64).into(),
            after(fault.until_ms, fault.at_ms, Cell::muted("to the end")),
            after(fault.detected_ms, fault.at_ms, Cell::muted("not noticed")),
            after(fault.recovered_ms, fault.at_ms, Cell::from("never").tone(Tone::Bad)),
        ]);
    }
    section.unless_empty()
}
