//! Axes: where the marks are, and where a value lies between the ends.

use crate::render::{bytes, duration, thousands};

/// What the numbers of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    Count,
    PerSecond,
    Milliseconds,
    Percent,
    Bytes,
}

impl Quantity {
    /// The name by which the page's script formats values.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::PerSecond => "per_second",
            Self::Milliseconds => "ms",
            Self::Percent => "percent",
            Self::Bytes => "bytes",
        }
    }

    fn mark(self, value: f64) -> String {
        match self {
            Self::Count | Self::PerSecond if value.fract() != 0.0 => format!("{value:.1}"),
            Self::Count | Self::PerSecond => thousands(value as u64),
            Self::Milliseconds => short_duration(value),
            Self::Percent => format!("{} %", thousands(value as u64)),
            Self::Bytes => bytes(value),
        }
    }
}

/// Marks are round numbers: `10 ms` and not `10.0 ms`.
fn short_duration(ms: f64) -> String {
    match ms {
        it if (1000.0..60_000.0).contains(&it) && (it / 1000.0).fract() == 0.0 => format!("{} s", it / 1000.0),
        it => duration(it),
    }
}

/// A vertical axis.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    quantity: Quantity,
    low: f64,
    high: f64,
    logarithmic: bool,
    marks: Vec<f64>,
}

/// A mark on an axis.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// 0 to 100 from the beginning of the axis.
    pub(super) percent: f64,
    pub(super) text: String,
}

impl Scale {
    /// From zero to a round number at or above `highest`.
    pub(super) fn linear(quantity: Quantity, highest: f64) -> Self {
        let step = match quantity {
            Quantity::Bytes => binary_step(highest / 4.0),
            Quantity::Count if highest <= 4.0 => 1.0,
            _ => round_step(highest / 4.0),
        };
        let steps = (highest / step).ceil().max(1.0);
        let marks = (0..=steps as u64).map(|index| index as f64 * step).collect();
        Self { quantity, low: 0.0, high: steps * step, logarithmic: false, marks }
    }

    /// Powers of ten around `lowest` and `highest`, both positive.
    pub(super) fn logarithmic(quantity: Quantity, lowest: f64, highest: f64) -> Self {
        let low = lowest.max(1e-3).log10().floor();
        let high = highest.max(1e-3).log10().ceil().max(low + 1.0);
        let marks = (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect();
        Self { quantity, low, high, logarithmic: true, marks }
    }

    /// With so many marks, where there is little room.
    pub(super) fn with_at_most(mut self, marks: usize) -> Self {
        let step = self.marks.len().div_ceil(marks.max(1)).max(1);
        self.marks = self.marks.into_iter().step_by(step).collect();
        self
    }

    /// 0 at the lower end, 1 at the upper; what lies outside is moved to the end.
    pub(super) fn fraction(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(1e-9).log10() } else { value };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    pub(super) const fn quantity(&self) -> Quantity {
        self.quantity
    }

    pub(super) fn marks(&self) -> Vec<Mark> {
        self.marks
            .iter()
            .map(|value| Mark { percent: self.fraction(*value) * 100.0, text: self.quantity.mark(*value) })
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, at or above `least`.
fn round_step(least: f64) -> f64 {
    if least.is_nan() || least <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|it| it * power)
        .find(|step| *step >= least * 0.999_999)
        .unwrap_or(10.0 * power)
}

/// A power of two times a power of 1024, at or above `least`.
fn binary_step(least: f64) -> f64 {
    2f64.powf(least.max(1.0).log2().ceil())
}

/// Marks for a time axis from zero to `end_ms`: at most seven round ones.
pub(super) fn time_marks(end_ms: u64) -> Vec<Mark> {
    const STEPS_S: [u64; 16] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200];
    let end_s = end_ms as f64 / 1000.0;
    let step =
        STEPS_S.into_iter().find(|step| end_s / *step as f64 <= 7.0).unwrap_or_else(|| (end_s / 7.0).ceil() as u64);
    (0..)
        .map(|index| index * step)
        .take_while(|second| *second as f64 <= end_s)
        .map(|second| Mark {
            percent: if end_ms == 0 { 0.0 } else { second as f64 * 100_000.0 / end_ms as f64 },
            text: clock(second),
        })
        .collect()
}

/// `45 s`, `4:10`, `2:05:00`.
pub(super) fn clock(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes}:{rest:02}"),
        _ => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_reach_the_highest() {
        let marks = |scale: Scale| scale.marks().into_iter().map(|mark| mark.text).collect::<Vec<_>>().join(" | ");
        for (scale, expected) in [
            (Scale::linear(Quantity::Count, 0.0), "0 | 1"),
            (Scale::linear(Quantity::Count, 3.0), "0 | 1 | 2 | 3"),
            (Scale::linear(Quantity::PerSecond, 4_100.0), "0 | 2,000 | 4,000 | 6,000"),
            (Scale::linear(Quantity::Percent, 98.0), "0 % | 50 % | 100 %"),
            (Scale::linear(Quantity::Bytes, 90.0 * 1024.0 * 1024.0), "0 B | 32 MiB | 64 MiB | 96 MiB"),
            (Scale::logarithmic(Quantity::Milliseconds, 0.4, 2_300.0), "100 µs | 1 ms | 10 ms | 100 ms | 1 s | 10 s"),
            (Scale::logarithmic(Quantity::Milliseconds, 5.0, 5.0), "1 ms | 10 ms"),
            (Scale::logarithmic(Quantity::Milliseconds, 0.4, 2_300.0).with_at_most(5), "100 µs | 10 ms | 1 s"),
            (Scale::linear(Quantity::Count, 3.0).with_at_most(5), "0 | 1 | 2 | 3"),
        ] {
            assert_eq!(marks(scale), expected);
        }
    }

    #[test]
    fn time_marks_are_few() {
        for end_ms in [0, 1, 999, 20_000, 61_000, 900_000, 86_400_000, 900_000_000] {
            assert!(time_marks(end_ms).len() <= 8, "{end_ms}");
        }
        let texts: Vec<String> = time_marks(900_000).into_iter().map(|mark| mark.text).collect();
        assert_eq!(texts, ["0 s", "5:00", "10:00", "15:00"]);
    }
}
