//! What the shapes share: stages, and the closed forms over them. Pure: time is an argument.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::scenario::{ScenarioError, Section, show_span};

/// A stretch of time over which something goes in a straight line to `target`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// How long.
    #[serde(serialize_with = "as_text")]
    pub duration: Duration,
    /// Where to: VUs, or iterations per time unit.
    pub target: f64,
}

pub(super) fn as_text<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&show_span(*span))
}

/// The bound on VUs and rates of one load: more than one machine does, and small enough to compute with.
pub(super) const MOST_VUS: u64 = 100_000;
pub(super) const MOST_RATE: f64 = 10_000_000.0;

pub(super) fn read_stages(section: &mut Section<'_>, most: f64) -> Result<Vec<Stage>, ScenarioError> {
    let mut stages = Vec::new();
    for mut stage in section.sections("stages")? {
        let duration = stage.span("duration")?.ok_or_else(|| stage.error("`duration` is missing"))?;
        let target = stage.number("target", 0.0, most)?.ok_or_else(|| stage.error("`target` is missing"))?;
        stage.finish()?;
        stages.push(Stage { duration, target });
    }
    if stages.is_empty() {
        return Err(section.error("`stages` is missing: stages = [{ duration = \"30s\", target = 10 }]"));
    }
    Ok(stages)
}

pub(super) fn total(stages: &[Stage]) -> Duration {
    stages.iter().map(|stage| stage.duration).sum()
}

pub(super) fn stretch(stages: &mut [Stage], factor: f64) {
    for stage in stages {
        stage.duration = stage.duration.mul_f64(factor);
    }
}

pub(super) fn describe(stages: &[Stage]) -> String {
    let each = |stage: &Stage| format!("to {} in {}", stage.target, show_span(stage.duration));
    stages.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// How many VUs there should be, as a function of time.
#[derive(Clone, Debug)]
pub(crate) struct VusOverTime {
    pub(crate) start: f64,
    pub(crate) stages: Vec<Stage>,
}

impl VusOverTime {
    /// VUs wanted `at` after the start; none after the last stage. Rounded half up, so that a ramp from 0 to 1 changes in
    /// its middle.
    pub(crate) fn at(&self, at: Duration) -> u32 {
        let mut from = self.start;
        let mut begun = Duration::ZERO;
        for stage in &self.stages {
            let within = at.saturating_sub(begun);
            if at < begun + stage.duration {
                let part = within.as_secs_f64() / stage.duration.as_secs_f64();
                return (from + (stage.target - from) * part).round() as u32;
            }
            begun += stage.duration;
            from = stage.target;
        }
        0
    }

    pub(crate) fn total(&self) -> Duration {
        total(&self.stages)
    }

    /// Whether the number never changes while it lasts.
    pub(crate) fn is_constant(&self) -> bool {
        self.stages.iter().all(|stage| stage.target == self.start)
    }
}

/// When iterations start: the k-th (from 0) at the time at which the integral of the rate reaches k.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    segments: Vec<Segment>,
    total: u64,
}

/// A stretch over which the rate is a straight line.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Seconds from the start of the load, and how long.
    begins_s: f64,
    lasts_s: f64,
    /// Iterations before it; rate per second at its begin and end.
    before: f64,
    rate_from: f64,
    rate_to: f64,
}

impl Arrivals {
    /// Rates are per second.
    pub(crate) fn new(start_rate: f64, stages: &[Stage]) -> Self {
        let (mut begins_s, mut before, mut rate_from) = (0.0, 0.0, start_rate);
        let mut segments = Vec::with_capacity(stages.len());
        for stage in stages {
            let lasts_s = stage.duration.as_secs_f64();
            if lasts_s > 0.0 {
                segments.push(Segment { begins_s, lasts_s, before, rate_from, rate_to: stage.target });
                before += (rate_from + stage.target) / 2.0 * lasts_s;
                begins_s += lasts_s;
            }
            rate_from = stage.target;
        }
        // A whole product such as 3 × 0.1 s × 10/s must not become 3.0000000000000004 iterations, nor 2.9999999999999996.
        let total = (before - 1e-6).max(0.0).ceil() as u64;
        Self { segments, total }
    }

    /// Iterations in all.
    #[cfg(test)]
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Microseconds from the start of the load at which iteration `k` should start; `None` after the last one.
    pub(crate) fn at_us(&self, k: u64) -> Option<u64> {
        if k >= self.total {
            return None;
        }
        let index = self.segments.partition_point(|segment| segment.before <= k as f64) - 1;
        // A segment without any rate begins where the next one begins: the last that begins at or before k is right,
        // unless its rate is zero throughout.
        let segment = &self.segments[index];
        Some((segment.at(k as f64) * 1e6) as u64)
    }
}

impl Segment {
    /// Solves before + rate_from·x + (rate_to − rate_from)/(2·lasts)·x² = k for x, in the form that does not cancel.
    fn at(&self, k: f64) -> f64 {
        let wanted = k - self.before;
        let slope = (self.rate_to - self.rate_from) / self.lasts_s;
        let root = (self.rate_from * self.rate_from + 2.0 * slope * wanted).max(0.0).sqrt();
        let x = if wanted <= 0.0 { 0.0 } else { 2.0 * wanted / (self.rate_from + root) };
        self.begins_s + x.min(self.lasts_s)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stage(seconds: f64, target: f64) -> Stage {
        Stage { duration: Duration::from_secs_f64(seconds), target }
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        let arrivals = Arrivals::new(10.0, &[stage(1.0, 10.0)]);
        let times: Vec<_> = (0..12).map_while(|k| arrivals.at_us(k)).collect();
        assert_eq!(times, [0, 100_000, 200_000, 300_000, 400_000, 500_000, 600_000, 700_000, 800_000, 900_000]);
    }

    #[test]
    fn a_ramp_from_nothing_follows_the_square_root() {
        // The integral of 2t is t²: the k-th starts at √k seconds.
        let arrivals = Arrivals::new(0.0, &[stage(5.0, 10.0)]);
        assert_eq!(arrivals.total(), 25);
        for k in 0..25 {
            let expected = (k as f64).sqrt() * 1e6;
            assert!((arrivals.at_us(k).unwrap() as f64 - expected).abs() < 2.0, "{k}");
        }
    }

    #[test]
    fn a_pause_between_two_stages_has_no_arrivals() {
        let arrivals = Arrivals::new(
            10.0,
            &[stage(1.0, 10.0), stage(0.0, 0.0), stage(5.0, 0.0), stage(0.0, 10.0), stage(1.0, 10.0)],
        );
        assert_eq!(arrivals.total(), 20);
        assert_eq!(arrivals.at_us(9), Some(900_000));
        assert_eq!(arrivals.at_us(10), Some(6_000_000));
        assert_eq!(arrivals.at_us(19), Some(6_900_000));
        assert_eq!(arrivals.at_us(20), None);
    }

    #[test]
    fn vus_ramp_and_end() {
        let vus = VusOverTime { start: 0.0, stages: vec![stage(10.0, 10.0), stage(10.0, 10.0), stage(5.0, 0.0)] };
        for (at_s, wanted) in [(0.0, 0), (0.6, 1), (5.0, 5), (9.9, 10), (15.0, 10), (22.5, 5), (24.9, 0), (25.0, 0)] {
            assert_eq!(vus.at(Duration::from_secs_f64(at_s)), wanted, "{at_s}");
        }
    }

    fn stages() -> impl Strategy<Value = (f64, Vec<Stage>)> {
        let stage = (0_u32..4_000, prop_oneof![Just(0.0), 0.0..500.0])
            .prop_map(|(ms, target)| Stage { duration: Duration::from_millis(u64::from(ms)), target });
        (prop_oneof![Just(0.0), 0.0..500.0], prop::collection::vec(stage, 1..6))
    }

    proptest! {
        #[test]
        fn arrivals_are_the_integral_of_the_rate((start, stages) in stages()) {
            let arrivals = Arrivals::new(start, &stages);
            // The integral up to t, by the trapezium rule over each stage cut at t.
            let integral = |t: f64| {
                let (mut from, mut begun, mut sum) = (start, 0.0, 0.0);
                for stage in &stages {
                    let lasts = stage.duration.as_secs_f64();
                    let x = (t - begun).clamp(0.0, lasts);
                    if lasts > 0.0 {
                        let here = from + (stage.target - from) * x / lasts;
                        sum += (from + here) / 2.0 * x;
                    }
                    begun += lasts;
                    from = stage.target;
                }
                sum
            };
            let end = total(&stages).as_secs_f64();
            prop_assert!((integral(end) - arrivals.total() as f64).abs() <= 1.0);
            let mut last = 0;
            for k in 0..arrivals.total() {
                let at = arrivals.at_us(k).unwrap();
                prop_assert!(at >= last, "arrival {k} goes back");
                prop_assert!(at as f64 <= end * 1e6 + 1.0);
                // Within the microsecond that the answer is rounded to, at a rate of at most 500/s.
                let reached = integral((at as f64 + 1.0) / 1e6);
                prop_assert!(reached > k as f64 - 0.01, "arrival {k} at {at} µs comes early: {reached}");
                prop_assert!(integral(at as f64 / 1e6) < k as f64 + 0.01, "arrival {k} at {at} µs comes late");
                last = at;
            }
            prop_assert_eq!(arrivals.at_us(arrivals.total()), None);
        }

        #[test]
        fn cores_together_start_what_one_core_would((start, stages) in stages(), cores in 1_u64..8) {
            let arrivals = Arrivals::new(start, &stages);
            let mut split: Vec<_> = (0..cores)
                .flat_map(|core| (core..).step_by(cores as usize).map_while(|k| arrivals.at_us(k)).collect::<Vec<_>>())
                .collect();
            split.sort_unstable();
            let whole: Vec<_> = (0..).map_while(|k| arrivals.at_us(k)).collect();
            prop_assert_eq!(split, whole);
        }
    }
}
