//! Everything else that was measured: counters, rates and gauges.

use super::{Align, Cell, Detail, Section};
use crate::{
    RunRecord,
    render::{amount, thousands},
    statistics::{MetricValues, Unit},
};

pub(super) fn section(record: &RunRecord, detail: Detail) -> Option<Section> {
    if detail == Detail::Short {
        return None;
    }
    let columns = [("metric", Align::Left), ("value", Align::Right), ("", Align::Left)];
    let mut section = Section::new("metrics", "Other metrics", &columns);
    for metric in &record.metrics {
        let (value, beside) = match &metric.values {
            MetricValues::Counter { count, rate_per_s } => {
                (amount(*count as f64, metric.unit), format!("{} per second", amount(*rate_per_s, metric.unit)))
            }
            MetricValues::Gauge { value, min, max } => {
                (amount(*value, metric.unit), format!("{} to {}", amount(*min, metric.unit), amount(*max, metric.unit)))
            }
            MetricValues::Rate { hits, total, rate } => {
                (amount(*rate, Unit::Ratio), format!("{} of {}", thousands(*hits), thousands(*total)))
            }
            MetricValues::Trend(_) => continue,
        };
        section.row([metric.selector().into(), value.into(), Cell::muted(beside)]);
    }
    Section { folded: true, ..section }.unless_empty()
}
