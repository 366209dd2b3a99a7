//! How latencies are spread around their middle.

use serde::{Deserialize, Serialize};

/// The shape of a latency's spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Any of [−jitter, +jitter] alike, as Toxiproxy has it.
    #[default]
    Uniform,
    /// Jitter is the standard deviation.
    Normal,
    /// Mostly short, rarely very long: jitter is the scale of a Pareto tail that begins at zero, `shape` how fast it
    /// ends.
    Pareto,
    /// As often as was recorded; jitter has no meaning.
    Histogram,
}

/// A bucket of a recorded histogram: up to how many milliseconds, and how often. The first begins at 0, the others
/// where the one before ends.
pub type Bucket = (f64, f64);

/// Milliseconds to add to the latency, which may be negative: a sample of the shape.
pub(crate) fn sample(shape: Shape, jitter_ms: f64, tail: f64, histogram: &[Bucket], rng: &mut fastrand::Rng) -> f64 {
    match shape {
        Shape::Uniform => jitter_ms * (2.0 * rng.f64() - 1.0),
        // Box and Muller: https://en.wikipedia.org/wiki/Box-Muller_transform. 1 - f64() is never zero.
        Shape::Normal => {
            let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
            jitter_ms * radius * (std::f64::consts::TAU * rng.f64()).cos()
        }
        // The inverse of Lomax' distribution function: https://en.wikipedia.org/wiki/Lomax_distribution
        Shape::Pareto => jitter_ms * ((1.0 - rng.f64()).powf(-1.0 / tail) - 1.0),
        Shape::Histogram => recorded(histogram, rng),
    }
}

fn recorded(histogram: &[Bucket], rng: &mut fastrand::Rng) -> f64 {
    let total: f64 = histogram.iter().map(|(_, count)| count).sum();
    let (mut left, mut lower) = (rng.f64() * total, 0.0);
    for (upper, count) in histogram {
        if left < *count {
            return lower + (upper - lower) * left / count;
        }
        left -= count;
        lower = *upper;
    }
    lower
}

/// What is wrong with a histogram.
pub(crate) fn check(histogram: &[Bucket]) -> Result<(), String> {
    let mut lower = 0.0;
    let mut total = 0.0;
    for (upper, count) in histogram {
        if !(upper.is_finite() && *upper > lower) {
            return Err(format!("histogram: {upper} ms does not come after {lower} ms"));
        }
        if !(count.is_finite() && *count >= 0.0) {
            return Err(format!("histogram: {count} is no number of times"));
        }
        lower = *upper;
        total += count;
    }
    if total > 0.0 { Ok(()) } else { Err("histogram: nothing was recorded".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(shape: Shape, jitter: f64, tail: f64, histogram: &[Bucket]) -> Vec<f64> {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut samples: Vec<_> = (0..40_000).map(|_| sample(shape, jitter, tail, histogram, &mut rng)).collect();
        samples.sort_by(f64::total_cmp);
        samples
    }

    fn near(is: f64, should: f64) -> bool {
        (is - should).abs() <= 0.05 * should.abs().max(1.0)
    }

    /// Against the closed forms of the quantiles.
    #[test]
    fn shapes_are_what_they_are_called() {
        let quantile = |samples: &[f64], q: f64| samples[(q * samples.len() as f64) as usize];
        let uniform = samples(Shape::Uniform, 10.0, 3.0, &[]);
        assert!(near(quantile(&uniform, 0.25), -5.0) && near(quantile(&uniform, 0.9), 8.0));
        assert!(uniform[0] >= -10.0 && uniform[39_999] <= 10.0);
        let normal = samples(Shape::Normal, 10.0, 3.0, &[]);
        assert!(
            near(quantile(&normal, 0.5), 0.0)
                && near(quantile(&normal, 0.8413), 10.0)
                && near(quantile(&normal, 0.0228), -20.0)
        );
        let pareto = samples(Shape::Pareto, 10.0, 2.0, &[]);
        // (1 - q)^(-1/2) - 1
        assert!(near(quantile(&pareto, 0.75), 10.0) && near(quantile(&pareto, 0.99), 90.0) && pareto[0] >= 0.0);
        let recorded = samples(Shape::Histogram, 0.0, 0.0, &[(10.0, 50.0), (20.0, 0.0), (40.0, 50.0)]);
        assert!(near(quantile(&recorded, 0.25), 5.0) && near(quantile(&recorded, 0.75), 30.0));
        assert!(!recorded.iter().any(|ms| (10.1..19.9).contains(ms)), "nothing was recorded there");
    }

    #[test]
    fn a_histogram_that_is_none_is_refused() {
        for bad in
            [&[][..], &[(1.0, 0.0)], &[(2.0, 1.0), (1.0, 1.0)], &[(f64::NAN, 1.0)], &[(1.0, -1.0)], &[(0.0, 1.0)]]
        {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&[(1.0, 1.0), (5.0, 0.0), (9.0, 2.0)]).is_ok());
    }
}
