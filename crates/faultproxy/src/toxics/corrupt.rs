//! `corrupt`: flips one bit in some of the bytes.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, Stage};
use crate::chain::{Item, Next, Waiting};
use crate::metrics::ToxicCounters;

/// Flips bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Corrupt {
    /// Share of the bytes in which a bit is flipped, 0 to 1.
    pub rate: f64,
}

impl Kind for Corrupt {
    const NAMES: &'static [&'static str] = &["rate"];

    fn check(&self) -> Result<(), String> {
        if (0.0..=1.0).contains(&self.rate) { Ok(()) } else { Err(format!("rate is {}; it must be 0 to 1", self.rate)) }
    }

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        Box::new(Corrupting { rate: self.rate, rng: begin.rng, gap: None, counters: begin.counters })
    }
}

struct Corrupting {
    rate: f64,
    rng: fastrand::Rng,
    /// Bytes that stay whole before the next that does not.
    gap: Option<u64>,
    counters: Arc<ToxicCounters>,
}

impl Corrupting {
    /// How many bytes a coin of this rate spares: the inverse of the geometric distribution function. One draw for each
    /// byte that is hit, instead of one for each byte.
    fn spare(&mut self) -> u64 {
        if self.rate >= 1.0 {
            return 0;
        }
        ((1.0 - self.rng.f64()).ln() / (-self.rate).ln_1p()) as u64
    }
}

impl Stage for Corrupting {
    fn update(&mut self, attributes: &Attributes, _now: Instant) {
        if let Attributes::Corrupt(attributes) = attributes {
            (self.rate, self.gap) = (attributes.rate, None);
        }
    }

    fn next(&mut self, waiting: &mut Waiting, _now: Instant) -> Next {
        let (bytes, arrived) = match waiting.pop() {
            Some(Item::Data(bytes, arrived)) if self.rate > 0.0 => (bytes, arrived),
            other => return other.map_or(Next::Idle, Next::Item),
        };
        let mut gap = match self.gap {
            Some(gap) => gap,
            None => self.spare(),
        };
        let len = bytes.len() as u64;
        if gap >= len {
            self.gap = Some(gap - len);
            return Next::Item(Item::Data(bytes, arrived));
        }
        let mut bytes = BytesMut::from(bytes);
        while let Some(byte) = usize::try_from(gap).ok().and_then(|at| bytes.get_mut(at)) {
            *byte ^= 1 << self.rng.u8(0..8);
            self.counters.act(1);
            gap = gap.saturating_add(1).saturating_add(self.spare());
        }
        self.gap = Some(gap - len);
        Next::Item(Item::Data(bytes.freeze(), arrived))
    }
}
