//! The intervals of ratios by drawing the seconds of both runs again.

use std::collections::BTreeMap;

use crate::{SecondSample, statistics::Trend};

/// A run is cut into at most this many blocks of neighbouring seconds …
const BLOCKS: usize = 40;

/// … and needs at least this many: with fewer the draws say nothing about the spread.
const FEWEST: usize = 8;

/// Where 95 % of the draws lie.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// 2.5 % of the draws are below.
    pub low: f64,
    /// Half of them are.
    pub middle: f64,
    /// 2.5 % are above.
    pub high: f64,
}

/// What one run has of one metric, cut into blocks, so that a draw is a few additions.
pub(super) enum Material {
    /// Distributions: for each block the indices into `values` with their counts.
    Trend { values: Vec<u64>, blocks: Vec<Vec<(usize, u64)>>, quantiles: &'static [f64] },
    /// Counts: for each block how many in how many milliseconds.
    Counter { blocks: Vec<(u64, u64)> },
}

impl Material {
    /// Each of `quantiles` of a trend.
    pub(super) fn of_trend(series: &[SecondSample], name: &str, quantiles: &'static [f64]) -> Self {
        let trends = series.iter().filter_map(|second| Trend::from_base64(&second.trends.get(name)?.hdr).ok());
        let seconds: Vec<Vec<(u64, u64)>> = trends.map(|trend| trend.buckets().collect()).collect();
        let mut values: Vec<u64> = seconds.iter().flatten().map(|(value, _)| *value).collect();
        values.sort_unstable();
        values.dedup();
        let merged = |seconds: &[Vec<(u64, u64)>]| {
            let mut counts = BTreeMap::new();
            for (value, count) in seconds.iter().flatten() {
                let index = values.partition_point(|it| it < value);
                *counts.entry(index).or_default() += count;
            }
            counts.into_iter().collect()
        };
        let blocks = seconds.chunks(per_block(seconds.len())).map(merged).collect();
        Self::Trend { values, blocks, quantiles }
    }

    /// The rate per second of a counter; a second in which it counted nothing is a zero.
    pub(super) fn of_counter(series: &[SecondSample], name: &str) -> Self {
        let counts = |second: &SecondSample| second.counters.get(name).copied();
        let series = if series.iter().any(|second| counts(second).is_some()) { series } else { &[] };
        let merged = |seconds: &[SecondSample]| {
            (seconds.iter().filter_map(counts).sum(), seconds.iter().map(|second| second.span_ms).sum())
        };
        Self::Counter { blocks: series.chunks(per_block(series.len())).map(merged).collect() }
    }

    /// The figures of the run itself; empty when it has none.
    pub(super) fn read(&self) -> Vec<f64> {
        self.figures(&(0..self.len()).collect::<Vec<_>>(), &mut Vec::new())
    }

    fn len(&self) -> usize {
        match self {
            Self::Trend { blocks, .. } => blocks.len(),
            Self::Counter { blocks } => blocks.len(),
        }
    }

    fn figures(&self, chosen: &[usize], counts: &mut Vec<u64>) -> Vec<f64> {
        match self {
            Self::Counter { blocks } => {
                let (count, span_ms) =
                    chosen.iter().map(|at| blocks[*at]).fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
                if span_ms == 0 { Vec::new() } else { vec![count as f64 * 1000.0 / span_ms as f64] }
            }
            Self::Trend { values, blocks, quantiles } => {
                counts.clear();
                counts.resize(values.len(), 0);
                for (index, count) in chosen.iter().flat_map(|at| &blocks[*at]) {
                    counts[*index] += count;
                }
                let total: u64 = counts.iter().sum();
                if total == 0 {
                    return Vec::new();
                }
                let at_rank = |quantile: &f64| {
                    let rank = ((quantile * total as f64).ceil() as u64).clamp(1, total);
                    let mut seen = 0;
                    let index = counts.iter().position(|count| {
                        seen += count;
                        seen >= rank
                    });
                    index.map_or(0.0, |index| values[index] as f64)
                };
                quantiles.iter().map(at_rank).collect()
            }
        }
    }
}

fn per_block(seconds: usize) -> usize {
    seconds.div_ceil(BLOCKS).max(1)
}

/// For each figure the interval of `after / before`; none when a run is too short, or the baseline is zero.
pub(super) fn intervals(before: &Material, after: &Material, draws: usize, seed: u64) -> Vec<Option<Interval>> {
    let figures = before.read().len();
    if before.len() < FEWEST || after.len() < FEWEST {
        return vec![None; figures];
    }
    let (mut random, mut scratch) = (fastrand::Rng::with_seed(seed), Vec::new());
    let mut draw = |material: &Material| {
        let chosen: Vec<usize> = (0..material.len()).map(|_| random.usize(..material.len())).collect();
        material.figures(&chosen, &mut scratch)
    };
    let mut ratios = vec![Vec::with_capacity(draws); figures];
    for _ in 0..draws {
        let (before, after) = (draw(before), draw(after));
        for (ratios, (before, after)) in ratios.iter_mut().zip(before.into_iter().zip(after)) {
            if before > 0.0 {
                ratios.push(after / before);
            }
        }
    }
    ratios.into_iter().map(|ratios| middle_95(ratios, draws)).collect()
}

/// None when most of the draws had no ratio.
fn middle_95(mut ratios: Vec<f64>, draws: usize) -> Option<Interval> {
    if ratios.len() * 2 <= draws {
        return None;
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
    Some(Interval { low: at(0.025), middle: at(0.5), high: at(0.975) })
}
