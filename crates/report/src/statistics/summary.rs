//! A metric as it stands in the record of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Measured, Metric, Trend, TrendError, Unit};

/// One metric, or one of its tag sets, over the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSummary {
    /// `task_latency`.
    pub name: String,
    /// Empty for the whole metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The unit of all values but counts.
    pub unit: Unit,
    /// The values, by kind.
    #[serde(flatten)]
    pub values: MetricValues,
}

/// What a metric of each kind says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MetricValues {
    /// A counter.
    Counter {
        /// How often, or how much.
        count: u64,
        /// Per second of the run.
        rate_per_s: f64,
    },
    /// A gauge.
    Gauge {
        /// The last level.
        value: f64,
        /// The lowest.
        min: f64,
        /// The highest.
        max: f64,
    },
    /// A rate.
    Rate {
        /// How many were hits.
        hits: u64,
        /// How many there were.
        total: u64,
        /// `hits / total`.
        rate: f64,
    },
    /// A trend.
    Trend(TrendSummary),
}

/// A distribution, in its metric's unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrendSummary {
    /// How many values.
    pub count: u64,
    /// How many of them were above the histogram's end (one hour), and are in it as that.
    #[serde(default)]
    pub overflow: u64,
    /// The mean.
    pub avg: f64,
    /// The smallest.
    pub min: f64,
    /// Half of the values are at most this.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 95 %.
    pub p95: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// The largest, exact.
    pub max: f64,
    /// The whole distribution in recorded units (µs for times): HDR histogram, V2 with deflate, base64.
    pub hdr: String,
}

impl MetricSummary {
    /// Of what was measured; none without a sample. A counter always has one, but a tag set of it that never counted says
    /// nothing that the whole does not: a storm interns one per error code.
    #[must_use]
    pub fn of(metric: &Metric, tags: BTreeMap<String, String>, measured: &Measured, elapsed_ms: u64) -> Option<Self> {
        let values = match measured {
            Measured::Counter(0) if !tags.is_empty() => return None,
            Measured::Counter(count) => {
                MetricValues::Counter { count: *count, rate_per_s: per_second(*count, elapsed_ms) }
            }
            Measured::Gauge(gauge) => {
                let gauge = (*gauge)?;
                MetricValues::Gauge { value: gauge.last, min: gauge.min, max: gauge.max }
            }
            Measured::Rate(rate) => MetricValues::Rate { hits: rate.hits, total: rate.total, rate: rate.share()? },
            Measured::Trend(trend) => MetricValues::Trend(TrendSummary::of(trend, metric.unit)?),
        };
        Some(Self { name: metric.name.clone(), tags, unit: metric.unit, values })
    }

    /// `task_latency{lane:gpt4}`, as thresholds write it.
    #[must_use]
    pub fn selector(&self) -> String {
        if self.tags.is_empty() {
            return self.name.clone();
        }
        let tags: Vec<String> = self.tags.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        format!("{}{{{}}}", self.name, tags.join(","))
    }

    /// The distribution, of a trend.
    #[must_use]
    pub const fn trend(&self) -> Option<&TrendSummary> {
        match &self.values {
            MetricValues::Trend(trend) => Some(trend),
            _ => None,
        }
    }
}

impl TrendSummary {
    /// Of a distribution; none without a value.
    #[must_use]
    pub fn of(trend: &Trend, unit: Unit) -> Option<Self> {
        let shown = |recorded: u64| recorded as f64 / unit.scale();
        let quantile = |q| trend.quantile(q).map(shown);
        Some(Self {
            count: trend.count(),
            overflow: trend.overflow(),
            avg: (trend.mean()? / unit.scale() * 1000.0).round() / 1000.0,
            min: shown(trend.min()?),
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p95: quantile(0.95)?,
            p99: quantile(0.99)?,
            p999: quantile(0.999)?,
            max: shown(trend.max()?),
            hdr: trend.to_base64(),
        })
    }

    /// The distribution itself, in recorded units.
    ///
    /// # Errors
    /// When the stored histogram cannot be read.
    pub fn distribution(&self, unit: Unit) -> Result<Trend, TrendError> {
        let recorded = |shown: f64| (shown * unit.scale()).round() as u64;
        Ok(Trend::from_base64(&self.hdr)?.with_exact(recorded(self.min), recorded(self.max)))
    }
}

pub(crate) fn per_second(count: u64, elapsed_ms: u64) -> f64 {
    if elapsed_ms == 0 { 0.0 } else { (count as f64 * 1_000_000.0 / elapsed_ms as f64).round() / 1000.0 }
}
