//! What target and storm used.

use super::{Align, Cell, Section};
use crate::{
    RunRecord,
    record::ProcessRecord,
    render::{bytes, thousands},
};

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let numbers = ["CPU avg", "CPU max", "RSS start", "RSS max", "RSS end", "threads", "fds"];
    let columns: Vec<_> =
        std::iter::once(("process", Align::Left)).chain(numbers.map(|name| (name, Align::Right))).collect();
    let mut section = Section::new("resources", "Resources", &columns);
    let resources = &record.resources;
    let all = if resources.gateways.is_empty() { "target" } else { "all gateways" };
    let gateways = resources.gateways.iter().map(|(number, process)| (format!("gateway {number}"), process));
    let rows = resources.target.iter().map(|process| (all.to_owned(), process)).chain(gateways);
    for (name, process) in rows.chain(resources.storm.iter().map(|process| ("storm".to_owned(), process))) {
        section.row(std::iter::once(name.into()).chain(cells(process)));
    }
    section.note = Some(if record.machine.shared_with_target {
        "CPU in percent of one core. Storm and target shared this machine: the figures are lower bounds.".into()
    } else {
        "CPU in percent of one core.".into()
    });
    section.unless_empty()
}

fn cells(process: &ProcessRecord) -> [Cell; 7] {
    let percent = |value: f64| Cell::from(format!("{} %", thousands(value.round() as u64)));
    let size = |value: u64| Cell::from(bytes(value as f64));
    [
        percent(process.cpu_avg_percent),
        percent(process.cpu_max_percent),
        size(process.rss_start_bytes),
        size(process.rss_max_bytes),
        size(process.rss_end_bytes),
        process.threads_max.into(),
        process.fds_max.into(),
    ]
}
