//! Errors per second, by kind.

use std::collections::BTreeMap;

use super::Timeline;
use crate::render::html::{
    chart::{Chart, Line, Shape},
    scale::{Quantity, Scale},
};

/// Kinds beyond this many are drawn together.
const KINDS: usize = 7;

pub(super) fn chart(timeline: &Timeline<'_>) -> Option<Chart> {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, number) in timeline.seconds().flat_map(|second| &second.errors) {
        *totals.entry(kind).or_default() += number;
    }
    let mut kinds: Vec<(&str, u64)> = totals.into_iter().filter(|(_, number)| *number > 0).collect();
    kinds.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let (shown, rest) = kinds.split_at(kinds.len().min(KINDS));
    const COLOURS: [usize; KINDS] = [3, 2, 4, 0, 1, 6, 5];
    let mut lines: Vec<Line> = shown
        .iter()
        .zip(COLOURS)
        .map(|((kind, _), colour)| Line {
            name: kind.replace('_', " "),
            colour,
            strength: 0.75,
            values: timeline.per_second(|second| second.errors.get(*kind).copied().unwrap_or(0)),
        })
        .collect();
    if !rest.is_empty() {
        let values = timeline.per_second(|second| rest.iter().filter_map(|(kind, _)| second.errors.get(*kind)).sum());
        lines.push(Line { name: "others".into(), colour: 7, strength: 0.75, values });
    }
    let highest = (0..timeline.positions_count())
        .map(|at| lines.iter().filter_map(|line| line.values[at]).sum())
        .fold(0.0, f64::max);
    (!lines.is_empty()).then(|| Chart {
        id: "errors-over-time",
        title: "Errors",
        about: "per second, by kind".into(),
        shape: Shape::Stack,
        scale: Scale::linear(Quantity::PerSecond, highest),
        positions: timeline.positions(),
        lines,
    })
}
