//! When a failed task is tried again, and when it is given up.

use squall_protocol::{RetryOverride, Time};

use crate::config::RetryPolicy;

/// The lane's policy, with what the task says differently.
#[must_use]
pub fn effective(lane: &RetryPolicy, task: Option<&RetryOverride>) -> RetryPolicy {
    let Some(task) = task else { return *lane };
    RetryPolicy {
        max: task.max.unwrap_or(lane.max),
        delay_ms: task.delay_ms.unwrap_or(lane.delay_ms),
        backoff: task.backoff.unwrap_or(lane.backoff),
        max_delay_ms: task.max_delay_ms.unwrap_or(lane.max_delay_ms),
        jitter: task.jitter.unwrap_or(lane.jitter),
    }
}

/// Milliseconds until the next attempt after `attempt` (from 1) failed; `None`: it was the last.
///
/// `delay × backoff^(attempt−1)`, at most `max_delay_ms`, times `1 ± jitter` as `random` (0 to 1) says.
#[must_use]
pub fn delay_ms(policy: &RetryPolicy, attempt: u32, random: f64) -> Option<u64> {
    if attempt > policy.max {
        return None;
    }
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let backoff = if policy.backoff.is_finite() { policy.backoff.max(1.0) } else { 1.0 };
    let cap = policy.max_delay_ms as f64;
    // Infinity × 0 is not a number; `min` with the cap turns it into the cap, which a delay of 0 must not become.
    let raw = if policy.delay_ms == 0 { 0.0 } else { (policy.delay_ms as f64 * backoff.powi(exponent)).min(cap) };
    let jitter = if policy.jitter.is_finite() { policy.jitter.clamp(0.0, 1.0) } else { 0.0 };
    let spread = 1.0 + jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
    Some((raw * spread).round() as u64)
}

/// When the next attempt may begin: the policy's delay, or the worker's wish if that is longer.
#[must_use]
pub fn due_at(now: Time, policy_ms: u64, asked_ms: Option<u64>) -> Time {
    now.plus_ms(policy_ms.max(asked_ms.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy { max: 5, delay_ms: 1_000, backoff: 2.0, max_delay_ms: 6_000, jitter: 0.0 }
    }

    #[test]
    fn delays_double_up_to_the_cap_and_then_end() {
        let delays: Vec<_> = (1..=6).map(|attempt| delay_ms(&policy(), attempt, 0.5)).collect();
        assert_eq!(delays, [Some(1_000), Some(2_000), Some(4_000), Some(6_000), Some(6_000), None]);
    }

    #[test]
    fn jitter_spreads_around_the_delay() {
        let policy = RetryPolicy { jitter: 0.1, ..policy() };
        let at = |random| delay_ms(&policy, 1, random);
        assert_eq!([at(0.0), at(0.5), at(1.0)], [Some(900), Some(1_000), Some(1_100)]);
    }

    #[test]
    fn a_task_replaces_parts_of_the_policy() {
        let task = RetryOverride { max: Some(0), backoff: Some(3.0), jitter: Some(0.5), ..RetryOverride::default() };
        let got = effective(&policy(), Some(&task));
        assert_eq!((got.max, got.delay_ms, got.backoff, got.max_delay_ms, got.jitter), (0, 1_000, 3.0, 6_000, 0.5));
    }

    #[test]
    fn the_longer_of_policy_and_wish_holds() {
        assert_eq!(due_at(Time(10), 5, Some(3)), Time(15));
        assert_eq!(due_at(Time(10), 5, Some(30)), Time(40));
    }

    proptest! {
        #[test]
        fn a_delay_is_never_longer_than_the_cap_allows(
            max in 0_u32..1_000, delay in 0_u64..10_000_000, backoff in 0.0_f64..1e9, cap in 0_u64..1_000_000_000,
            jitter in 0.0_f64..1.0, attempt in 1_u32..2_000, random in 0.0_f64..1.0,
        ) {
            let policy = RetryPolicy { max, delay_ms: delay, backoff, max_delay_ms: cap, jitter };
            match delay_ms(&policy, attempt, random) {
                None => prop_assert!(attempt > max),
                Some(ms) => {
                    prop_assert!(attempt <= max);
                    prop_assert!(ms as f64 <= cap as f64 * (1.0 + jitter) + 1.0);
                }
            }
        }
    }
}
