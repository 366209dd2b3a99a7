//! What was done to the target, what it struck, and how long it took to get over it.

use super::{Align, Cell, Section, Tone};
use crate::{
    RunRecord,
    record::Struck,
    render::{bytes, duration, thousands},
};

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let mut columns = vec![
        ("fault", Align::Left),
        ("what", Align::Left),
        ("at", Align::Right),
        ("lasted", Align::Right),
        ("noticed after", Align::Right),
        ("working after", Align::Right),
    ];
    // Only a fault in a proxy has counts; what was done to a process is seen by its end.
    let counted = record.faults.iter().any(|fault| fault.struck.is_some());
    columns.extend(counted.then_some(("", Align::Left)));
    let mut section = Section { below: counted, ..Section::new("faults", "Faults", &columns) };
    for fault in &record.faults {
        let after = |moment: Option<u64>, from: u64, never: Cell| {
            moment.map_or(never, |moment| Cell::from(duration(moment.saturating_sub(from) as f64)))
        };
        let what = if fault.detail.is_empty() { &fault.kind } else { &fault.detail };
        let cells = [
            fault.name.as_str().into(),
            what.as_str().into(),
            duration(fault.at_ms as f64).into(),
            after(fault.until_ms, fault.at_ms, Cell::muted("to the end")),
            after(fault.detected_ms, fault.at_ms, Cell::muted("not noticed")),
            after(fault.recovered_ms, fault.at_ms, Cell::from("never").tone(Tone::Bad)),
        ];
        section.row(cells.into_iter().chain(counted.then(|| struck(fault.struck))));
    }
    section.unless_empty()
}

/// A fault that met nothing proves nothing.
fn struck(struck: Option<Struck>) -> Cell {
    let Some(Struck { connections, bytes: size }) = struck else { return Cell::default() };
    let connections = match connections {
        0 if size == 0 => return Cell::from("struck nothing").tone(Tone::Warn),
        1 => "1 connection".to_owned(),
        several => format!("{} connections", thousands(several)),
    };
    let size = if size == 0 { String::new() } else { format!(", {}", bytes(size as f64)) };
    format!("struck {connections}{size}").into()
}
