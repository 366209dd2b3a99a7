//! CPU of target and storm; of several gateways, all together and each.

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
            values: timeline.highest(|second| second.target.map(|process| process.cpu_percent)),
        },
        Line {
            name: "storm".into(),
            colour: 5,
            strength: 1.0,
            values: timeline.highest(|second| second.storm.map(|process| process.cpu_percent)),
        },
    ];
    lines.extend(timeline.gateways(|process| process.cpu_percent));
    let highest = peak(lines.iter().flat_map(|line| &line.values));
    Some(Chart {
        id: "cpu",
        title: "CPU",
        about: "percent of one core".into(),
        shape: Shape::Lines,
        scale: Scale::linear(Quantity::Percent, highest.max(10.0)),
        positions: timeline.positions(),
        lines,
    })
}
