//! Every distribution as percentiles, none of them averaged.

use super::{Align, Cell, Detail, Section};
use crate::{RunRecord, render::amount, statistics::MetricSummary};

/// Whole metrics.
pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let mut section = table("latency", "Latency", record, |metric| metric.tags.is_empty());
    let whole = record.metrics.iter().filter(|metric| metric.tags.is_empty());
    let overflow: u64 = whole.filter_map(MetricSummary::trend).map(|trend| trend.overflow).sum();
    if overflow > 0 {
        section.note = Some(format!("{overflow} values were above one hour and count as that in the percentiles."));
    }
    section.unless_empty()
}

/// The same by lane, priority and whatever else is tagged.
pub(super) fn by_tag(record: &RunRecord, detail: Detail) -> Option<Section> {
    if detail == Detail::Short {
        return None;
    }
    let section = table("latency-by-tag", "Latency by tag", record, |metric| !metric.tags.is_empty());
    Section { folded: true, ..section }.unless_empty()
}

fn table(id: &'static str, title: &'static str, record: &RunRecord, wanted: fn(&MetricSummary) -> bool) -> Section {
    let numbers = ["count", "p50", "p90", "p95", "p99", "p99.9", "max"].map(|name| (name, Align::Right));
    let columns: Vec<_> = std::iter::once(("latency", Align::Left)).chain(numbers).collect();
    let mut section = Section::new(id, title, &columns);
    for metric in record.metrics.iter().filter(|metric| wanted(metric)) {
        let Some(trend) = metric.trend() else { continue };
        let values = [trend.p50, trend.p90, trend.p95, trend.p99, trend.p999, trend.max];
        let cells = values.map(|value| Cell::from(amount(value, metric.unit)));
        section.row([metric.selector().into(), trend.count.into()].into_iter().chain(cells));
    }
    section
}
