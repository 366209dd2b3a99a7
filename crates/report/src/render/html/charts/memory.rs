//! Resident memory of target and storm; of several gateways, all together and each.

use super::{Timeline, peak};
use crate::render::html::{
    chart::{Chart, Line, Shape},
    scale::{Quantity, Scale},
};

pub(super) fn chart(timeline: &Timeline<'_>) -> Option<Chart> {
    let mut lines = vec![
        Line {
            name: "target".into(),
            colour: 0,
            strength: 1.0,
            values: timeline.highest(|second| second.target.map(|process| process.rss_bytes as f64)),
        },
        Line {
            name: "storm".into(),
            colour: 5,
            strength: 1.0,
            values: timeline.highest(|second| second.storm.map(|process| process.rss_bytes as f64)),
        },
    ];
    lines.extend(timeline.gateways(|process| process.rss_bytes as f64));
    let highest = peak(lines.iter().flat_map(|line| &line.values));
    Some(Chart {
        id: "memory",
        title: "Memory",
        about: "resident set".into(),
        shape: Shape::Lines,
        scale: Scale::linear(Quantity::Bytes, highest),
        positions: timeline.positions(),
        lines,
    })
}
