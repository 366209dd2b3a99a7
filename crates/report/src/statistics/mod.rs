//! Numbers while a run is going: what is measured (the catalogue), where it is recorded (shards), and how it is added up.
//!
//! Before the run every metric with its tags is interned by the [`Registry`] to a small typed id. During the run each
//! core owns a [`Shard`] and records by id: an array access and, for a trend, one histogram record; no lock, no
//! allocation. Once a second the shards' [`Tally`]s are absorbed by [`Totals`], into the current second and into the
//! run. Percentiles are always read from merged histograms and never averaged.
//!
//! A value is recorded once, under its full tag set. `task_latency` is the sum of all `task_latency{…}` series, and
//! `task_latency{lane:gpt4}` of those whose tags match; that addition happens when somebody reads.

mod catalogue;
mod kind;
mod registry;
mod shard;
mod summary;
mod tally;
mod totals;
mod trend;

pub use catalogue::{BUILT_IN, BuiltIn};
pub use kind::{MetricKind, Unit};
pub use registry::{CounterId, GaugeId, Metric, RateId, Registry, RegistryError, Tags, TrendId};
pub use shard::Shard;
pub(crate) use summary::per_second;
pub use summary::{MetricSummary, MetricValues, TrendSummary};
pub use tally::{Gauge, Measured, Rate, Tally};
pub use totals::Totals;
pub use trend::{TREND_MAX, Trend, TrendError};
