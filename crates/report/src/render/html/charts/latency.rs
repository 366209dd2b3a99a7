//! Latency over time: the median, 99 % and the worst of each second, on a logarithmic axis.

use super::{Timeline, peak};
use crate::{
    SecondSample,
    render::html::{
        chart::{Chart, Line, Shape},
        scale::{Quantity, Scale},
    },
    series::TrendSample,
    statistics::{Trend, Unit},
};

/// Which trends get a chart of their own.
const SHOWN: [(&str, &str, &str, &str); 5] = [
    ("task_latency", "latency-task", "Task latency", "intended publish to the worker's ack"),
    ("publish_latency", "latency-publish", "Publish latency", "intended publish to its acknowledgement"),
    ("http_req_duration", "latency-http", "Request duration", "intended start to the answer"),
    ("feed_latency", "latency-feed", "Feed latency", "event to subscriber"),
    ("generator_lateness", "latency-generator", "Generator lateness", "how late the storm itself was"),
];

pub(super) fn charts(timeline: &Timeline<'_>) -> impl Iterator<Item = Chart> {
    SHOWN.iter().filter_map(|(metric, id, title, about)| {
        let samples: Vec<Option<TrendSample>> = timeline.buckets.iter().map(|bucket| merged(bucket, metric)).collect();
        let line = |name: &str, colour, read: fn(&TrendSample) -> f64| Line {
            name: name.into(),
            colour,
            strength: 1.0,
            // A logarithmic axis has no zero; a microsecond is the smallest value that is recorded.
            values: samples.iter().map(|it| it.as_ref().map(|it| read(it).max(0.001))).collect(),
        };
        let lines = vec![line("max", 5, |it| it.max), line("p99", 2, |it| it.p99), line("p50", 0, |it| it.p50)];
        let all = || lines.iter().flat_map(|line| &line.values);
        let lowest = all().flatten().copied().reduce(f64::min)?;
        let scale = Scale::logarithmic(Quantity::Milliseconds, lowest, peak(all()));
        let (about, positions) = ((*about).into(), timeline.positions());
        Some(Chart { id, title, about, shape: Shape::Lines, scale, positions, lines })
    })
}

/// One second as it is; several as the percentiles of their merged distribution. Without the distributions (another
/// tool's series) the worst of the seconds, which is what one may say without averaging.
pub(super) fn merged(bucket: &[SecondSample], metric: &str) -> Option<TrendSample> {
    let samples: Vec<&TrendSample> = bucket.iter().filter_map(|second| second.trends.get(metric)).collect();
    if let [only] = samples.as_slice() {
        return Some((*only).clone());
    }
    let mut trend = Trend::new();
    for sample in &samples {
        match Trend::from_base64(&sample.hdr) {
            Ok(it) => trend.merge(&it),
            Err(_) => {
                let worst = |read: fn(&TrendSample) -> f64| samples.iter().map(|it| read(it)).fold(0.0, f64::max);
                let (p50, p90, p99, max) =
                    (worst(|it| it.p50), worst(|it| it.p90), worst(|it| it.p99), worst(|it| it.max));
                let count = samples.iter().map(|it| it.count).sum();
                return Some(TrendSample { count, p50, p90, p99, max, ..TrendSample::default() });
            }
        }
    }
    let max = samples.iter().map(|it| it.max).fold(0.0, f64::max);
    TrendSample::of(&trend, Unit::Milliseconds).map(|it| TrendSample { max, ..it })
}
