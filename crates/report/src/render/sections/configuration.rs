//! What was played, against what, where, and for how long really.

use super::{Align, Cell, Detail, Section, Tone};
use crate::{
    OpenedRun,
    render::{bytes, duration},
};

pub(super) fn section(run: &OpenedRun, detail: Detail) -> Option<Section> {
    let record = &run.record;
    let mut section =
        Section::new("configuration", "Configuration", &[("setting", Align::Left), ("value", Align::Left)]);
    let mut row = |name: &str, value: String| section.row([Cell::muted(name), value.into()]);

    let scenario = &record.scenario;
    row(
        "scenario",
        if scenario.source.is_empty() {
            scenario.name.clone()
        } else {
            format!("{} ({})", scenario.name, scenario.source)
        },
    );
    for (flag, value) in &scenario.overrides {
        row("override", format!("{flag} = {value}"));
    }
    let (configured, load) = (record.duration.configured_ms as f64, record.duration.load_ms as f64);
    row(
        "load",
        match (configured == 0.0, load == 0.0) {
            (true, true) => "none".into(),
            (false, true) => format!("configured {}", duration(configured)),
            (true, false) => duration(load),
            (false, false) => format!("{} of {} configured", duration(load), duration(configured)),
        },
    );
    if record.duration.settle_ms > 0 {
        row("settled in", duration(record.duration.settle_ms as f64));
    }
    row("seed", record.seed.to_string());

    let target = &record.target;
    let own = if target.own { " (started by the storm)" } else { "" };
    row("target", format!("{}{own}", target.url));
    for (index, gateway) in target.gateways.iter().enumerate() {
        let restarts = match gateway.restarts {
            0 => String::new(),
            1 => ", restarted once".to_owned(),
            several => format!(", restarted {several} times"),
        };
        row(&format!("gateway {}", index + 1), format!("{}{restarts}", gateway.url));
    }
    for (name, value) in [
        ("target version", &target.version),
        ("store", &target.store),
        ("keys begin with", &target.key_prefix),
        ("an acknowledgement means", &target.durability),
        ("may be lost", &target.may_lose),
    ] {
        if let Some(value) = value {
            row(name, value.clone());
        }
    }
    if target.restarts > 0 {
        row("target restarts", target.restarts.to_string());
    }

    let machine = &record.machine;
    if machine.cores > 0 {
        let shared = if machine.shared_with_target { ", shared with the target" } else { "" };
        row("machine", format!("{} cores, {}{shared}", machine.cores, bytes(machine.memory_bytes as f64)));
    }
    if detail == Detail::Full {
        for (name, value) in [("processor", &machine.cpu_model), ("kernel", &machine.kernel)] {
            if !value.is_empty() {
                row(name, value.clone());
            }
        }
        row("started", record.started_at.to_string());
        if let Some(finished_at) = record.finished_at {
            row("finished", finished_at.to_string());
        }
        row("Squall", record.squall_version.clone());
    }
    if let Some(lateness) = record.generator.lateness_p99_ms {
        let limit =
            record.generator.lateness_limit_ms.map(|limit| format!(", limit {}", duration(limit))).unwrap_or_default();
        row("generator lateness", format!("p99 {}{limit}", duration(lateness)));
    }
    for note in record.notes.iter().chain(&run.problems) {
        section.row([Cell::from("note").tone(Tone::Warn), note.as_str().into()]);
    }
    Some(section)
}
