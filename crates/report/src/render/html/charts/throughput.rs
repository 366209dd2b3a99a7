//! What goes in and what comes out, per second.

use super::{Timeline, peak};
use crate::render::html::{
    chart::{Chart, Line, Shape},
    scale::{Quantity, Scale},
};

const TASKS: [(&str, &str, usize); 4] = [
    ("tasks_published", "published", 5),
    ("tasks_acknowledged", "acknowledged", 0),
    ("tasks_delivered", "delivered", 2),
    ("tasks_acked", "acked", 1),
];
const OTHERS: [(&str, &str, usize); 2] = [("http_reqs", "requests", 0), ("iterations", "iterations", 1)];

pub(super) fn chart(timeline: &Timeline<'_>) -> Option<Chart> {
    let has = |metric: &str| timeline.seconds().any(|second| second.counters.contains_key(metric));
    let chosen: &[_] = if has("tasks_published") || has("tasks_delivered") { &TASKS } else { &OTHERS };
    let lines: Vec<Line> = chosen
        .iter()
        .filter(|(metric, ..)| has(metric))
        .map(|(metric, name, colour)| Line {
            name: (*name).into(),
            colour: *colour,
            strength: 1.0,
            values: timeline.per_second(|second| second.counters.get(*metric).copied().unwrap_or(0)),
        })
        .collect();
    let highest = peak(lines.iter().flat_map(|line| &line.values));
    (!lines.is_empty()).then(|| Chart {
        id: "throughput",
        title: "Throughput",
        about: "per second, in and out".into(),
        shape: Shape::Lines,
        scale: Scale::linear(Quantity::PerSecond, highest),
        positions: timeline.positions(),
        lines,
    })
}
