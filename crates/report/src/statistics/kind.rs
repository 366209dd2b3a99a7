//! The four kinds of metrics, as in k6, and the units in which they are shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How values of a metric add up. The words and meanings are k6's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Grows only; answers `count` and `rate` (per second of the run).
    Counter,
    /// A level; answers `value` (the last), and is summarised with its lowest and highest.
    Gauge,
    /// How many of all were hits; answers `rate`, 0 to 1.
    Rate,
    /// A distribution; answers `avg`, `min`, `max`, `med` and `p(N)`.
    Trend,
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Rate => "rate",
            Self::Trend => "trend",
        })
    }
}

/// The unit in which a metric is shown and in which thresholds are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Shown and compared in milliseconds; recorded in whole microseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// A share, 0 to 1.
    Ratio,
}

impl Unit {
    /// How many recorded units make one shown unit.
    #[must_use]
    pub const fn scale(self) -> f64 {
        match self {
            Self::Milliseconds => 1000.0,
            Self::Bytes | Self::Count | Self::Ratio => 1.0,
        }
    }

    /// What is written behind a number; empty for things and shares.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Bytes => "B",
            Self::Count | Self::Ratio => "",
        }
    }
}
