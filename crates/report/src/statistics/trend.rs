//! A distribution: an HDR histogram with exact sum, minimum and maximum beside it.
//!
//! Three significant digits from 1 to [`TREND_MAX`] recorded units. A larger value is counted at the upper end *and* as an
//! overflow, so that a distribution that was cut says so. Memory is constant, about 190 KB, and taken with the first value:
//! a storm interns far more series than it uses.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer as _, V2DeflateSerializer},
};

/// The largest value that a trend tells apart: one hour in microseconds.
pub const TREND_MAX: u64 = 3_600_000_000;

/// A distribution of whole numbers (microseconds for times).
#[derive(Clone, Debug)]
pub struct Trend {
    /// None until the first value; kept, empty, by [`clear`](Self::clear).
    histogram: Option<Histogram<u64>>,
    sum: u128,
    min: u64,
    max: u64,
    overflow: u64,
}

/// A stored histogram that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("not a base64 HDR histogram (V2): {0}")]
pub struct TrendError(String);

impl Default for Trend {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Trend {
    fn eq(&self, other: &Self) -> bool {
        let counts = |it: &Self| it.histogram.clone().filter(|it| !it.is_empty());
        counts(self) == counts(other)
            && (self.sum, self.min, self.max, self.overflow) == (other.sum, other.min, other.max, other.overflow)
    }
}

impl Trend {
    /// Without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { histogram: None, sum: 0, min: u64::MAX, max: 0, overflow: 0 }
    }

    fn histogram(&mut self) -> &mut Histogram<u64> {
        self.histogram.get_or_insert_with(|| {
            let mut histogram =
                Histogram::new_with_bounds(1, TREND_MAX, 3).expect("the bounds are constants that are allowed");
            histogram.auto(false);
            histogram
        })
    }

    /// Records one value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records the same value `count` times.
    #[inline]
    pub fn record_n(&mut self, value: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.overflow += if value > TREND_MAX { count } else { 0 };
        self.histogram().saturating_record_n(value.min(TREND_MAX), count);
        self.sum += u128::from(value) * u128::from(count);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds all values of another one; the same as if they had been recorded here.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if let Some(histogram) = &other.histogram {
            self.histogram().add(histogram).expect("all trends have the same bounds");
        }
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.overflow += other.overflow;
    }

    /// Forgets all values; keeps the memory.
    pub fn clear(&mut self) {
        if let Some(histogram) = self.histogram.as_mut().filter(|it| !it.is_empty()) {
            histogram.reset();
            (self.sum, self.min, self.max, self.overflow) = (0, u64::MAX, 0, 0);
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// True without a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.histogram.as_ref().is_none_or(Histogram::is_empty)
    }

    /// How many values were larger than [`TREND_MAX`].
    #[must_use]
    pub const fn overflow(&self) -> u64 {
        self.overflow
    }

    /// The exact smallest value.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.min)
    }

    /// The exact largest value.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.max)
    }

    /// The exact mean.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.sum as f64 / self.count() as f64)
    }

    /// The value below or at which `quantile` (0 to 1) of all values lie, to three digits; never outside the exact
    /// minimum and maximum, so that no percentile exceeds the maximum.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref().filter(|it| !it.is_empty())?;
        if quantile >= 1.0 {
            return Some(self.max);
        }
        Some(histogram.value_at_quantile(quantile.max(0.0)).clamp(self.min, self.max))
    }

    /// Recorded values with their counts, ascending; each value is the upper end of its bucket.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let steps = self.histogram.iter().flat_map(Histogram::iter_recorded);
        steps.map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
    }

    /// The histogram as base64 of the compressed V2 format, readable by every HdrHistogram implementation.
    #[must_use]
    pub fn to_base64(&self) -> String {
        let (mut bytes, mut empty) = (Vec::new(), Self::new());
        let histogram = self.histogram.as_ref().unwrap_or_else(|| empty.histogram());
        V2DeflateSerializer::new()
            .serialize(histogram, &mut bytes)
            .expect("writing to memory does not fail, and the bounds fit the format");
        BASE64.encode(bytes)
    }

    /// Reads what [`to_base64`](Self::to_base64), or another HdrHistogram with the same unit, wrote. Minimum, maximum
    /// and mean are then as exact as the buckets are; who knows better ones sets them with [`with_exact`](Self::with_exact).
    ///
    /// # Errors
    /// When it is not base64, or not a V2 histogram.
    pub fn from_base64(text: &str) -> Result<Self, TrendError> {
        let bytes = BASE64.decode(text).map_err(|error| TrendError(error.to_string()))?;
        let stored: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| TrendError(error.to_string()))?;
        let mut trend = Self::new();
        // Adding keeps the buckets of a histogram with our bounds, and fails for values beyond ours.
        if trend.histogram().add(&stored).is_ok() {
            for step in stored.iter_recorded() {
                trend.sum +=
                    u128::from(stored.median_equivalent(step.value_iterated_to())) * u128::from(step.count_at_value());
            }
            if !stored.is_empty() {
                (trend.min, trend.max) = (stored.min(), stored.max());
            }
        } else {
            for step in stored.iter_recorded() {
                trend.record_n(step.value_iterated_to(), step.count_at_value());
            }
        }
        Ok(trend)
    }

    /// Replaces minimum and maximum by exact ones that were stored beside the histogram.
    #[must_use]
    pub fn with_exact(mut self, min: u64, max: u64) -> Self {
        if !self.is_empty() {
            (self.min, self.max) = (min, max.max(min));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Trend {
        let mut trend = Trend::new();
        values.iter().for_each(|value| trend.record(*value));
        trend
    }

    #[test]
    fn a_value_beyond_the_end_is_counted_and_said() {
        let trend = of(&[1_000, TREND_MAX + 1, u64::MAX]);
        assert_eq!((trend.count(), trend.overflow(), trend.max()), (3, 2, Some(u64::MAX)));
        assert_eq!(trend.quantile(0.0), Some(1_000));
    }

    #[test]
    fn an_empty_trend_answers_nothing() {
        let trend = Trend::new();
        assert_eq!((trend.min(), trend.max(), trend.mean(), trend.quantile(0.5)), (None, None, None, None));
    }

    #[test]
    fn a_cleared_trend_is_as_new() {
        let mut trend = of(&[5, 70_000]);
        trend.clear();
        assert_eq!(trend, Trend::new());
        assert_eq!(trend.to_base64(), Trend::new().to_base64());
        trend.record(6);
        assert_eq!(trend, of(&[6]));
    }

    #[test]
    fn what_is_not_a_histogram_is_refused() {
        assert!(Trend::from_base64("%%%").is_err());
        assert!(Trend::from_base64("aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ=").is_err());
    }

    proptest! {
        #[test]
        fn merging_is_recording_in_one_place(left in prop::collection::vec(0..TREND_MAX * 2, 0..60),
                                             right in prop::collection::vec(0..TREND_MAX * 2, 0..60)) {
            let mut merged = of(&left);
            merged.merge(&of(&right));
            let all: Vec<u64> = left.into_iter().chain(right).collect();
            prop_assert_eq!(merged, of(&all));
        }

        #[test]
        fn quantiles_are_within_three_digits(mut values in prop::collection::vec(1..TREND_MAX, 1..200), quantile in 0.0..=1.0f64) {
            let trend = of(&values);
            values.sort_unstable();
            let rank = ((quantile * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1] as f64;
            let read = trend.quantile(quantile).unwrap() as f64;
            prop_assert!((read - exact).abs() <= exact / 1000.0 + 1.0, "{} for {}", read, exact);
            prop_assert!(read as u64 <= trend.max().unwrap());
        }

        #[test]
        fn base64_keeps_every_count_and_three_digits(values in prop::collection::vec(0..TREND_MAX, 0..200)) {
            let trend = of(&values);
            let back = Trend::from_base64(&trend.to_base64()).unwrap();
            prop_assert_eq!(back.buckets().collect::<Vec<_>>(), trend.buckets().collect::<Vec<_>>());
        }
    }
}
