//! `drop_connection`: connections die at random, each with so much probability in every second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, MOST, Stage};
use crate::chain::{Cut, Ending, Next, Waiting};
use crate::metrics::ToxicCounters;

/// Ends connections at random.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DropConnection {
    /// Of dying within a second, 0 to 1; with 1 at once.
    pub probability: f64,
    /// With RST instead of FIN.
    pub reset: bool,
}

impl Kind for DropConnection {
    const NAMES: &'static [&'static str] = &["probability", "reset"];

    fn check(&self) -> Result<(), String> {
        let probability = self.probability;
        if (0.0..=1.0).contains(&probability) {
            Ok(())
        } else {
            Err(format!("probability is {probability}; it must be 0 to 1"))
        }
    }

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        let Begin { mut rng, now, counters, .. } = begin;
        Box::new(Dying { attributes: self.clone(), dies: dies(self.probability, now, &mut rng), rng, counters })
    }
}

struct Dying {
    attributes: DropConnection,
    dies: Option<Instant>,
    rng: fastrand::Rng,
    counters: Arc<ToxicCounters>,
}

/// When one dies of which (1 − probability)ᵗ are left after t seconds.
fn dies(probability: f64, now: Instant, rng: &mut fastrand::Rng) -> Option<Instant> {
    let drawn = 1.0 - rng.f64();
    if probability <= 0.0 {
        return None;
    }
    let seconds = drawn.ln() / (-probability).ln_1p();
    Some(now + Duration::from_secs_f64(seconds.clamp(0.0, MOST as f64 / 1_000.0)))
}

impl Stage for Dying {
    fn update(&mut self, attributes: &Attributes, now: Instant) {
        if let Attributes::DropConnection(attributes) = attributes {
            self.attributes = attributes.clone();
            // A coin has no memory.
            self.dies = dies(attributes.probability, now, &mut self.rng);
        }
    }

    fn next(&mut self, waiting: &mut Waiting, _now: Instant) -> Next {
        waiting.pop().map_or(Next::Idle, Next::Item)
    }

    fn cut(&mut self, _waiting: &Waiting, now: Instant) -> Cut {
        match self.dies {
            None => Cut::No,
            Some(dies) if now < dies => Cut::At(dies),
            Some(_) => {
                self.counters.act(1);
                Cut::Now(if self.attributes.reset { Ending::Reset } else { Ending::Close })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_left_after_a_second_and_after_two() {
        let (now, mut rng) = (Instant::now(), fastrand::Rng::with_seed(1));
        let lives: Vec<_> = (0..20_000).filter_map(|_| dies(0.3, now, &mut rng)).map(|dies| dies - now).collect();
        let left = |after| lives.iter().filter(|life| **life > Duration::from_secs(after)).count() as f64 / 20_000.0;
        assert!((left(1) - 0.7).abs() < 0.02 && (left(2) - 0.49).abs() < 0.02, "{} {}", left(1), left(2));
        assert_eq!(dies(0.0, now, &mut rng), None);
        assert_eq!(dies(1.0, now, &mut rng), Some(now));
    }
}
