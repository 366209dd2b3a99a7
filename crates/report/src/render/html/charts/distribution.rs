//! The latency distribution of the whole run: each further nine takes the same width, as HdrHistogram draws it.

use crate::{
    RunRecord,
    render::html::{
        chart::{Chart, Line, Positions, Shape},
        scale::{Mark, Quantity, Scale},
    },
};

const SHOWN: [(&str, &str, usize); 4] = [
    ("task_latency", "task", 0),
    ("publish_latency", "publish", 1),
    ("http_req_duration", "request", 2),
    ("feed_latency", "feed", 4),
];

/// Points from one nine to the next.
const POINTS_PER_NINE: u32 = 40;

pub(super) fn chart(record: &RunRecord) -> Option<Chart> {
    let trends: Vec<_> = SHOWN
        .iter()
        .filter_map(|(metric, name, colour)| {
            let metric = record.metric(metric)?;
            Some((metric.trend()?.distribution(metric.unit).ok()?, metric.unit.scale(), *name, *colour))
        })
        .collect();
    let largest = trends.iter().map(|(trend, ..)| trend.count()).max().filter(|count| *count > 0)?;
    // Beyond 1 − 1/count there is nothing but the maximum, and beyond five nines no room for the marks.
    let nines = (largest as f64).log10().ceil().clamp(1.0, 5.0);
    let quantiles: Vec<f64> = (0..=nines as u32 * POINTS_PER_NINE)
        .map(|point| 1.0 - 10f64.powf(-f64::from(point) / f64::from(POINTS_PER_NINE)))
        .collect();
    let lines: Vec<Line> = trends
        .iter()
        .map(|(trend, scale, name, colour)| Line {
            name: (*name).into(),
            colour: *colour,
            strength: 1.0,
            values: quantiles
                .iter()
                .map(|it| trend.quantile(*it).map(|value| (value as f64 / scale).max(0.001)))
                .collect(),
        })
        .collect();
    let values = || lines.iter().flat_map(|line| line.values.iter().flatten().copied());
    let scale = Scale::logarithmic(Quantity::Milliseconds, values().reduce(f64::min)?, values().reduce(f64::max)?);
    let fraction = |quantile: f64| -(1.0 - quantile).log10() / nines;
    // Zero would stand on top of one half.
    let marks = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
        .into_iter()
        .filter(|quantile| fraction(*quantile) <= 1.0 + 1e-9)
        .map(|quantile| Mark { percent: fraction(quantile) * 100.0, text: percentile(quantile) })
        .collect();
    Some(Chart {
        id: "distribution",
        title: "Latency distribution",
        about: "how many percent of all values are at or below".into(),
        shape: Shape::Lines,
        scale,
        positions: Positions::Other {
            at: quantiles.iter().map(|it| (fraction(*it), format!("p{}", percentile(*it)))).collect(),
            marks,
        },
        lines,
    })
}

/// `99.9`, with as many digits as it takes to tell it from 100.
fn percentile(quantile: f64) -> String {
    let digits = (-(1.0 - quantile).max(1e-9).log10() - 1.0).ceil().clamp(0.0, 6.0) as usize;
    let text = format!("{:.*}", digits, quantile * 100.0);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_written_with_the_digits_it_needs() {
        for (quantile, text) in
            [(0.0, "0"), (0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"), (0.99999, "99.999")]
        {
            assert_eq!(percentile(quantile), text);
        }
    }
}
