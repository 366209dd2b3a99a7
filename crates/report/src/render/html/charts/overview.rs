//! A run with faults at one glance: load, latency, errors and health on one axis.

use super::{Timeline, latency::merged, peak};
use crate::{
    OpenedRun,
    render::html::{
        chart::{Chart, Line, Positions, Shape},
        health,
        scale::{Quantity, Scale},
        together::{DrawnTogether, Together},
    },
};

/// What is asked of the target: counters.
const LOAD: [(&str, &str, usize); 2] = [("http_reqs", "requests", 0), ("tasks_published", "tasks published", 1)];

/// How long it takes to answer: trends. Where nothing is asked over HTTP and nothing published, tasks still take their time.
const LATENCY: [(&str, &str, usize); 2] =
    [("http_req_duration", "request p99", 2), ("publish_latency", "publish p99", 4)];
const OTHERWISE: (&str, &str, usize) = ("task_latency", "task p99", 2);

/// Marks of an axis in so little room.
const MARKS: usize = 5;

/// None without a fault: then there is nothing to compare the times of.
pub(super) fn drawn(run: &OpenedRun, timeline: &Timeline<'_>) -> Option<DrawnTogether> {
    let faults = &run.record.faults;
    if faults.is_empty() {
        return None;
    }
    let Positions::Time { at_ms, end_ms } = timeline.positions() else { return None };
    let charts = [load(timeline), latency(timeline), Some(errors(timeline))].into_iter().flatten().collect();
    let healths = health::of_gateways(run, end_ms);
    Together { id: "timeline", title: "Timeline", charts, healths, at_ms, end_ms }.draw(faults)
}

fn load(timeline: &Timeline<'_>) -> Option<Chart> {
    let has = |metric: &str| timeline.seconds().any(|second| second.counters.contains_key(metric));
    let line = |(metric, name, colour): &(&str, &str, usize)| Line {
        name: (*name).into(),
        colour: *colour,
        strength: 1.0,
        values: timeline.per_second(|second| second.counters.get(*metric).copied().unwrap_or(0)),
    };
    let lines: Vec<Line> = LOAD.iter().filter(|(metric, ..)| has(metric)).map(line).collect();
    let highest = peak(lines.iter().flat_map(|line| &line.values));
    (!lines.is_empty()).then(|| Chart {
        id: "timeline-load",
        title: "Load",
        about: "per second".into(),
        shape: Shape::Lines,
        scale: Scale::linear(Quantity::PerSecond, highest).with_at_most(MARKS),
        positions: timeline.positions(),
        lines,
    })
}

fn latency(timeline: &Timeline<'_>) -> Option<Chart> {
    let has = |metric: &str| timeline.seconds().any(|second| second.trends.contains_key(metric));
    let line = |(metric, name, colour): &(&str, &str, usize)| Line {
        name: (*name).into(),
        colour: *colour,
        strength: 1.0,
        values: timeline.values(|bucket| merged(bucket, metric).map(|it| it.p99.max(0.001))),
    };
    let mut lines: Vec<Line> = LATENCY.iter().filter(|(metric, ..)| has(metric)).map(line).collect();
    if lines.is_empty() {
        lines.extend([&OTHERWISE].into_iter().filter(|(metric, ..)| has(metric)).map(line));
    }
    let values = || lines.iter().flat_map(|line| &line.values);
    let lowest = values().flatten().copied().reduce(f64::min)?;
    let scale = Scale::logarithmic(Quantity::Milliseconds, lowest, peak(values())).with_at_most(MARKS);
    Some(Chart {
        id: "timeline-latency",
        title: "Latency",
        about: "99 % are answered within".into(),
        shape: Shape::Lines,
        scale,
        positions: timeline.positions(),
        lines,
    })
}

/// All kinds as one; the chart of errors has them by kind.
fn errors(timeline: &Timeline<'_>) -> Chart {
    let values = timeline.per_second(|second| second.errors.values().sum());
    Chart {
        id: "timeline-errors",
        title: "Errors",
        about: "per second, of every kind".into(),
        shape: Shape::Stack,
        scale: Scale::linear(Quantity::PerSecond, peak(&values)).with_at_most(MARKS),
        positions: timeline.positions(),
        lines: vec![Line { name: "errors".into(), colour: 3, strength: 0.75, values }],
    }
}
