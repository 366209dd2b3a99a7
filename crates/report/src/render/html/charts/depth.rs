//! What waits, by lane and priority: a lane is a colour, a priority its strength.

use std::collections::BTreeMap;

use super::Timeline;
use crate::render::html::{
    chart::{Chart, Line, Shape},
    scale::{Quantity, Scale},
};

/// Lanes beyond this many are drawn together.
const LANES: usize = 7;

pub(super) fn chart(timeline: &Timeline<'_>) -> Option<Chart> {
    let mut peaks: BTreeMap<&str, u64> = BTreeMap::new();
    for depth in timeline.seconds().flat_map(|second| &second.depths) {
        let peak = peaks.entry(&depth.lane).or_default();
        *peak = (*peak).max(depth.ready + depth.delayed);
    }
    let mut lanes: Vec<(&str, u64)> = peaks.into_iter().collect();
    lanes.sort_by_key(|(_, peak)| std::cmp::Reverse(*peak));
    let (shown, rest) = lanes.split_at(lanes.len().min(LANES));
    let mut lines: Vec<Line> = Vec::new();
    for (colour, (lane, _)) in shown.iter().enumerate() {
        for (priority, strength) in [("high", 0.95), ("normal", 0.65), ("low", 0.38)] {
            lines.push(line(timeline, format!("{lane} · {priority}"), colour, strength, |of, at| {
                of == *lane && at == priority
            }));
        }
    }
    lines.push(line(timeline, "other lanes".into(), 7, 0.65, |of, _| rest.iter().any(|(lane, _)| *lane == of)));
    lines.retain(|line| line.values.iter().flatten().any(|value| *value > 0.0));
    let tops = timeline.positions_count();
    let highest = (0..tops).map(|at| lines.iter().filter_map(|line| line.values[at]).sum()).fold(0.0, f64::max);
    (!lines.is_empty()).then(|| Chart {
        id: "depth",
        title: "Queue depth",
        about: "tasks waiting, by lane and priority".into(),
        shape: Shape::Stack,
        scale: Scale::linear(Quantity::Count, highest),
        positions: timeline.positions(),
        lines,
    })
}

fn line(timeline: &Timeline<'_>, name: String, colour: usize, strength: f64, is: impl Fn(&str, &str) -> bool) -> Line {
    let values = timeline.highest(|second| {
        let of_line = second.depths.iter().filter(|depth| is(&depth.lane, &depth.priority));
        (!second.depths.is_empty()).then(|| of_line.map(|depth| depth.ready + depth.delayed).sum::<u64>() as f64)
    });
    Line { name, colour, strength, values }
}
