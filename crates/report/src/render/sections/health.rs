//! What the gateways said of their health, whenever it changed.

use super::{Align, Cell, Detail, Section, Tone};
use crate::{
    RunRecord,
    record::HealthChange,
    render::{duration, thousands},
};

/// A terminal shows this many; a page all that the record has.
const SHORT: usize = 10;

/// How each began is of interest only when it did not stay so.
pub(super) fn section(record: &RunRecord, detail: Detail) -> Option<Section> {
    let several = record.health.iter().any(|it| it.gateway != record.health[0].gateway);
    let gateways = several.then_some(("gateway", Align::Right));
    let columns: Vec<_> = [("at", Align::Right)]
        .into_iter()
        .chain(gateways)
        .chain([("says", Align::Left), ("without", Align::Left)])
        .collect();
    let mut section = Section::new("health-changes", "Changes of health", &columns);
    let mut changes: Vec<&HealthChange> = record.health.iter().collect();
    changes.sort_by_key(|it| (it.at_ms, it.gateway));
    let first = |gateway: u32| changes.iter().find(|it| it.gateway == gateway).map(|it| &it.status);
    if changes.iter().all(|it| first(it.gateway) == Some(&it.status)) {
        return None;
    }
    let shown = if detail == Detail::Short { SHORT } else { usize::MAX };
    for it in changes.iter().take(shown) {
        let tone = match it.status.as_str() {
            "healthy" => Tone::Good,
            "degraded" | "draining" => Tone::Warn,
            _ => Tone::Bad,
        };
        let gateway = several.then(|| Cell::from(u64::from(it.gateway)));
        let said = [Cell::from(it.status.as_str()).tone(tone), it.lost.join(", ").into()];
        section.row([duration(it.at_ms as f64).into()].into_iter().chain(gateway).chain(said));
    }
    let omitted = changes.len().saturating_sub(shown);
    section.note = (omitted > 0).then(|| format!("{} more are in run.json.", thousands(omitted as u64)));
    Some(section)
}
