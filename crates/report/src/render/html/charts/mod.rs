//! The charts of the page, one per file: each reads the seconds of a run and says what is drawn.
//!
//! A long run has more seconds than a screen has points, so neighbouring seconds are drawn as one. Counts become a rate
//! over the real span, distributions are merged and read again: a percentile is never averaged.

mod cpu;
mod depth;
mod distribution;
mod errors;
mod latency;
mod memory;
mod overview;
mod sessions;
mod throughput;

use std::collections::BTreeSet;

use super::{
    chart::{Drawn, Line, Positions},
    together::DrawnTogether,
};
use crate::{OpenedRun, SecondSample, series::ProcessSample};

/// A chart has at most this many positions.
const POINTS: usize = 480;

/// The seconds of a run as positions on a time axis.
pub(super) struct Timeline<'a> {
    buckets: Vec<&'a [SecondSample]>,
    end_ms: u64,
}

impl<'a> Timeline<'a> {
    pub(super) fn of(run: &'a OpenedRun) -> Self {
        let per_bucket = run.series.len().div_ceil(POINTS).max(1);
        let buckets: Vec<_> = run.series.chunks(per_bucket).collect();
        let faults =
            run.record.faults.iter().filter_map(|fault| fault.recovered_ms.or(fault.until_ms).or(Some(fault.at_ms)));
        let end_ms = run.series.iter().map(|second| second.t_ms).chain(faults).max().unwrap_or(0);
        Self { buckets, end_ms }
    }

    pub(super) const fn end_ms(&self) -> u64 {
        self.end_ms
    }

    fn positions(&self) -> Positions {
        // What happened within a span is drawn in its middle, so that a dip stands where the fault was.
        let middle = |bucket: &&[SecondSample]| match (bucket.first(), bucket.last()) {
            (Some(first), Some(last)) => (first.t_ms.saturating_sub(first.span_ms) + last.t_ms) / 2,
            _ => 0,
        };
        let at_ms = self.buckets.iter().map(middle).collect();
        Positions::Time { at_ms, end_ms: self.end_ms }
    }

    const fn positions_count(&self) -> usize {
        self.buckets.len()
    }

    /// One value for each position.
    fn values(&self, value: impl Fn(&[SecondSample]) -> Option<f64>) -> Vec<Option<f64>> {
        self.buckets.iter().map(|bucket| value(bucket)).collect()
    }

    /// The sum of a count per second of real time.
    fn per_second(&self, count: impl Fn(&SecondSample) -> u64) -> Vec<Option<f64>> {
        self.values(|bucket| {
            let span_ms: u64 = bucket.iter().map(|second| second.span_ms).sum();
            (span_ms > 0).then(|| bucket.iter().map(&count).sum::<u64>() as f64 * 1000.0 / span_ms as f64)
        })
    }

    /// The highest level.
    fn highest(&self, level: impl Fn(&SecondSample) -> Option<f64>) -> Vec<Option<f64>> {
        self.values(|bucket| bucket.iter().filter_map(&level).reduce(f64::max))
    }

    /// A thin line for each of several gateways.
    fn gateways(&self, level: impl Fn(&ProcessSample) -> f64) -> Vec<Line> {
        const COLOURS: [usize; 6] = [1, 2, 3, 4, 6, 7];
        let numbers: BTreeSet<u32> = self.seconds().flat_map(|second| second.gateways.keys().copied()).collect();
        let line = |(index, number): (usize, u32)| Line {
            name: format!("gateway {number}"),
            colour: COLOURS[index % COLOURS.len()],
            strength: 0.6,
            values: self.highest(|second| second.gateways.get(&number).map(&level)),
        };
        numbers.into_iter().enumerate().map(line).collect()
    }

    fn seconds(&self) -> impl Iterator<Item = &'a SecondSample> + '_ {
        self.buckets.iter().flat_map(|bucket| bucket.iter())
    }
}

/// The highest of all values.
fn peak<'v>(values: impl IntoIterator<Item = &'v Option<f64>>) -> f64 {
    values.into_iter().flatten().copied().fold(0.0, f64::max)
}

/// What a run with faults begins with.
pub(super) fn overview(run: &OpenedRun, timeline: &Timeline<'_>) -> Option<DrawnTogether> {
    overview::drawn(run, timeline)
}

/// All charts that have something to show, in the order of the page.
pub(super) fn all(run: &OpenedRun, timeline: &Timeline<'_>) -> Vec<Drawn> {
    let mut charts = Vec::new();
    charts.extend(throughput::chart(timeline));
    charts.extend(latency::charts(timeline));
    charts.extend(depth::chart(timeline));
    charts.extend(distribution::chart(&run.record));
    charts.extend(sessions::chart(timeline));
    charts.extend(errors::chart(timeline));
    charts.extend(cpu::chart(timeline));
    charts.extend(memory::chart(timeline));
    charts.into_iter().filter_map(|chart| chart.draw(&run.record.faults)).collect()
}
