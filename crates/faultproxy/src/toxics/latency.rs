//! `latency`: everything comes later, in order. Counts from when the proxy got the data, so that time spent elsewhere
//! in the proxy is not added on top; and it costs no bandwidth, since what follows waits at the same time.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, MOST, Stage};
use crate::chain::{Item, Next, Waiting};
use crate::distribution::{self, Bucket, Shape};
use crate::metrics::ToxicCounters;

/// Delays by `latency` ± `jitter`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Milliseconds.
    pub latency: i64,
    /// Milliseconds; what they mean depends on the distribution.
    pub jitter: i64,
    /// How delays are spread.
    #[serde(skip_serializing_if = "is_uniform")]
    pub distribution: Shape,
    /// Of `pareto`: how fast the tail ends, more than 0; the smaller, the longer the longest delays.
    #[serde(skip_serializing_if = "is_default_tail")]
    pub tail: f64,
    /// Of `histogram`: what was recorded, as `[[up to ms, times], …]` in ascending order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<Bucket>,
}

const TAIL: f64 = 3.0;

fn is_uniform(shape: &Shape) -> bool {
    *shape == Shape::Uniform
}

fn is_default_tail(tail: &f64) -> bool {
    *tail == TAIL
}

impl Default for Latency {
    fn default() -> Self {
        Self { latency: 0, jitter: 0, distribution: Shape::Uniform, tail: TAIL, histogram: Vec::new() }
    }
}

impl Kind for Latency {
    const NAMES: &'static [&'static str] = &["latency", "jitter", "distribution", "tail", "histogram"];

    fn check(&self) -> Result<(), String> {
        if !(self.tail.is_finite() && self.tail > 0.0) {
            return Err(format!("tail is {}; it must be more than 0", self.tail));
        }
        if self.histogram.is_empty() && self.distribution != Shape::Histogram {
            return Ok(());
        }
        distribution::check(&self.histogram)
    }

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        Box::new(Delaying { attributes: self.clone(), rng: begin.rng, drawn: None, counters: begin.counters })
    }
}

struct Delaying {
    attributes: Latency,
    rng: fastrand::Rng,
    /// What the delay of the first in the queue is made from, so that a change of attributes does not roll dice again.
    drawn: Option<u64>,
    counters: std::sync::Arc<ToxicCounters>,
}

impl Delaying {
    fn delay(&mut self) -> Duration {
        let drawn = *self.drawn.get_or_insert_with(|| self.rng.u64(..));
        let Latency { latency, jitter, distribution, tail, histogram } = &self.attributes;
        let mut spread = 0.0;
        if *jitter != 0 || *distribution == Shape::Histogram {
            let mut rng = fastrand::Rng::with_seed(drawn);
            spread = distribution::sample(*distribution, *jitter as f64, *tail, histogram, &mut rng);
        }
        Duration::from_secs_f64((*latency as f64 + spread).clamp(0.0, MOST as f64) / 1_000.0)
    }
}

impl Stage for Delaying {
    fn update(&mut self, attributes: &Attributes, _now: Instant) {
        if let Attributes::Latency(attributes) = attributes {
            self.attributes = attributes.clone();
        }
    }

    fn takes(&self, waiting: &Waiting) -> bool {
        !waiting.is_full()
    }

    fn next(&mut self, waiting: &mut Waiting, now: Instant) -> Next {
        let arrived = match waiting.front() {
            Some(Item::Data(_, arrived)) => *arrived,
            Some(Item::End | Item::Close) => return waiting.pop().map_or(Next::Idle, Next::Item),
            None => return Next::Idle,
        };
        let due = arrived + self.delay();
        if now < due {
            return Next::At(due);
        }
        self.drawn = None;
        if due > arrived {
            self.counters.act(1);
        }
        match waiting.pop() {
            Some(Item::Data(bytes, _)) => Next::Item(Item::Data(bytes, due)),
            _ => Next::Idle,
        }
    }
}
