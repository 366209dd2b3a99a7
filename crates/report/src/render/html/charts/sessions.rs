//! Sessions of the target by state.

use std::collections::BTreeSet;

use super::{Timeline, peak};
use crate::render::html::{
    chart::{Chart, Line, Shape},
    scale::{Quantity, Scale},
};

pub(super) fn chart(timeline: &Timeline<'_>) -> Option<Chart> {
    let states: BTreeSet<&str> =
        timeline.seconds().flat_map(|second| second.sessions.keys().map(String::as_str)).collect();
    let lines: Vec<Line> = states
        .into_iter()
        .take(8)
        .enumerate()
        .map(|(colour, state)| Line {
            name: state.replace('_', " "),
            colour,
            strength: 1.0,
            values: timeline.highest(|second| second.sessions.get(state).map(|number| *number as f64)),
        })
        .collect();
    let highest = peak(lines.iter().flat_map(|line| &line.values));
    (highest > 0.0).then(|| Chart {
        id: "sessions-over-time",
        title: "Sessions",
        about: "by state, as the target says".into(),
        shape: Shape::Lines,
        scale: Scale::linear(Quantity::Count, highest),
        positions: timeline.positions(),
        lines,
    })
}
