//! Deliveries a second: the generic cell rate algorithm (ITU-T I.371). One number per lane, the theoretical arrival time
//! (TAT) of the next delivery, says all: a delivery may come `burst − 1` intervals before it, and moves it by one interval.

use squall_protocol::Time;

use crate::config::Lane;

/// A lane's rate, ready for arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Rate {
    interval_ns: u64,
    tolerance_ns: u64,
}

impl Rate {
    /// The rate that a lane is set to; `None`: no limit.
    pub(in crate::core) fn of(lane: &Lane) -> Option<Self> {
        let per_s = lane.rate_per_s.filter(|rate| rate.is_finite() && *rate > 0.0)?;
        let interval_ns = (1e9 / per_s).clamp(1.0, 1e18) as u64;
        let burst = lane.burst.map_or_else(|| per_s.ceil().clamp(1.0, 1e9) as u64, |burst| u64::from(burst.max(1)));
        Some(Self { interval_ns, tolerance_ns: interval_ns.saturating_mul(burst - 1) })
    }

    /// The limiter after a delivery now, or when it allows the next one.
    pub(in crate::core) fn take(self, tat_ns: u64, now: Time) -> Result<u64, Time> {
        let now_ns = now.0.saturating_mul(1_000_000);
        let earliest = tat_ns.saturating_sub(self.tolerance_ns);
        if now_ns < earliest {
            return Err(Time(earliest.div_ceil(1_000_000)));
        }
        Ok(tat_ns.max(now_ns).saturating_add(self.interval_ns))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_s: f64, burst: u32) -> Rate {
        Rate::of(&Lane { rate_per_s: Some(per_s), burst: Some(burst), ..Lane::default() }).unwrap()
    }

    #[test]
    fn a_burst_and_then_one_per_interval() {
        let rate = rate(10.0, 3);
        let mut tat = 0;
        let mut at = Vec::new();
        let mut now = Time(1_000);
        while at.len() < 6 {
            match rate.take(tat, now) {
                Ok(next) => {
                    tat = next;
                    at.push(now.0);
                }
                Err(later) => now = later,
            }
        }
        assert_eq!(at, [1_000, 1_000, 1_000, 1_100, 1_200, 1_300]);
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_burst_and_rate(
            per_s in 1.0_f64..5_000.0, burst in 1_u32..50, steps in prop::collection::vec(0_u64..40, 1..300),
        ) {
            let rate = rate(per_s, burst);
            let (mut tat, mut now, mut taken) = (0, Time(10_000), Vec::new());
            for step in steps {
                now = now.plus_ms(step);
                while let Ok(next) = rate.take(tat, now) {
                    tat = next;
                    taken.push(now.0);
                }
            }
            for (i, from) in taken.iter().enumerate() {
                for (j, to) in taken.iter().enumerate().skip(i) {
                    let allowed = f64::from(burst) + (to - from) as f64 * per_s / 1_000.0 + 1.0;
                    prop_assert!((j - i + 1) as f64 <= allowed, "{} in {} ms", j - i + 1, to - from);
                }
            }
        }
    }
}
