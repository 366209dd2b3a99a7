//! From an interval and a margin to one of four words.

use std::fmt;

use super::Interval;

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not worse by more than the margin, and not surely better by more.
    Pass,
    /// Surely worse by more than the margin.
    Regression,
    /// Surely better by more than the margin.
    Improvement,
    /// The interval is too wide to say: run longer, or on a quieter machine.
    Inconclusive,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// As for latency.
    Lower,
    /// As for throughput.
    Higher,
}

impl Outcome {
    /// What a process that compares exits with, in the words of [`Verdict`](crate::Verdict): a regression is a promise
    /// (against the baseline) that was not kept, an open question is a run that could not be judged.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass | Self::Improvement => 0,
            Self::Regression => 99,
            Self::Inconclusive => 1,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Regression => "regression",
            Self::Improvement => "improvement",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// `ratio` is candidate / baseline. A margin of 0.1 calls 1.1 times the latency, or 1/1.1 times the throughput, the
/// smallest change that matters.
pub(super) fn judge(ratio: Interval, margin: f64, better: Direction) -> Outcome {
    let (low, high) = match better {
        Direction::Lower => (ratio.low, ratio.high),
        Direction::Higher => (1.0 / ratio.high, 1.0 / ratio.low),
    };
    let limit = 1.0 + margin;
    if low > limit {
        Outcome::Regression
    } else if high < 1.0 / limit {
        Outcome::Improvement
    } else if high <= limit {
        Outcome::Pass
    } else {
        Outcome::Inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_words() {
        for (low, high, lower_is_better, higher_is_better) in [
            (0.98, 1.03, Outcome::Pass, Outcome::Pass),
            (1.02, 1.08, Outcome::Pass, Outcome::Pass),
            (1.11, 1.40, Outcome::Regression, Outcome::Improvement),
            (0.50, 0.80, Outcome::Improvement, Outcome::Regression),
            (0.95, 1.20, Outcome::Inconclusive, Outcome::Pass),
            (0.80, 1.05, Outcome::Pass, Outcome::Inconclusive),
            (0.50, 2.00, Outcome::Inconclusive, Outcome::Inconclusive),
        ] {
            let ratio = Interval { low, middle: (low + high) / 2.0, high };
            let judged = (judge(ratio, 0.1, Direction::Lower), judge(ratio, 0.1, Direction::Higher));
            assert_eq!(judged, (lower_is_better, higher_is_better), "{low} to {high}");
        }
    }
}
