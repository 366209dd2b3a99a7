//! What was done to the target, what it struck, and how long it took to get over it.

use super::{Align, Cell, Section, Tone};
use crate::{
    RunRecord,
    record::{FaultRecord, Struck},
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
    // Only a fault in a proxy has counts, and only own gateways are asked how they are; without either there is no line below.
    let more = record.faults.iter().any(|fault| fault.struck.is_some() || told(fault).is_some());
    columns.extend(more.then_some(("", Align::Left)));
    let mut section = Section { below: more, ..Section::new("faults", "Faults", &columns) };
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
        section.row(cells.into_iter().chain(more.then(|| below(fault))));
    }
    section.unless_empty()
}

/// What it struck, and who else noticed. A fault that met nothing proves nothing.
fn below(fault: &FaultRecord) -> Cell {
    let struck = fault.struck.map(struck);
    let tone = if struck.as_deref() == Some(NOTHING) { Tone::Warn } else { Tone::Plain };
    let text: Vec<_> = struck.into_iter().chain(told(fault)).collect();
    Cell::from(text.join("; ")).tone(tone)
}

const NOTHING: &str = "struck nothing";

fn struck(Struck { connections, bytes: size }: Struck) -> String {
    let connections = match connections {
        0 if size == 0 => return NOTHING.to_owned(),
        1 => "1 connection".to_owned(),
        several => format!("{} connections", thousands(several)),
    };
    let size = if size == 0 { String::new() } else { format!(", {}", bytes(size as f64)) };
    format!("struck {connections}{size}")
}

fn told(fault: &FaultRecord) -> Option<String> {
    let after = |who: &str, at_ms: u64| format!("{who} after {}", duration(at_ms.saturating_sub(fault.at_ms) as f64));
    let told = [("/health", fault.health_ms), ("the metrics", fault.metrics_ms)];
    let told: Vec<_> = told.into_iter().filter_map(|(who, at_ms)| Some(after(who, at_ms?))).collect();
    (!told.is_empty()).then(|| format!("told by {}", told.join(", by ")))
}
