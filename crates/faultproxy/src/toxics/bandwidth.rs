//! `bandwidth`: so many kilobytes a second, of each connection and direction. A rate of 0 lets nothing through.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, Stage, on_time};
use crate::chain::{Item, Next, Waiting};
use crate::metrics::ToxicCounters;

/// Limits the rate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bandwidth {
    /// Kilobytes per second, of 1,000 bytes each.
    pub rate: i64,
}

impl Kind for Bandwidth {
    const NAMES: &'static [&'static str] = &["rate"];

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        Box::new(Limiting { rate: self.rate, busy_until: None, since: None, counters: begin.counters })
    }
}

struct Limiting {
    rate: i64,
    /// When what went before was through.
    busy_until: Option<Instant>,
    /// Since when the first in the queue is on its way.
    since: Option<Instant>,
    counters: Arc<ToxicCounters>,
}

/// Pieces last no longer than this, so that a slow stream trickles instead of coming in lumps.
const PIECES_PER_S: u64 = 10;

impl Stage for Limiting {
    fn update(&mut self, attributes: &Attributes, _now: Instant) {
        if let Attributes::Bandwidth(attributes) = attributes {
            self.rate = attributes.rate;
        }
    }

    fn next(&mut self, waiting: &mut Waiting, now: Instant) -> Next {
        let len = match waiting.front() {
            Some(Item::Data(bytes, _)) => bytes.len(),
            Some(Item::End | Item::Close) => return waiting.pop().map_or(Next::Idle, Next::Item),
            None => return Next::Idle,
        };
        let per_s = u64::try_from(self.rate).unwrap_or(0).saturating_mul(1_000);
        if per_s == 0 {
            return Next::Idle;
        }
        let since = *self.since.get_or_insert_with(|| on_time(self.busy_until, now));
        let piece = len.min(usize::try_from(per_s / PIECES_PER_S).unwrap_or(usize::MAX));
        let through = since + Duration::from_secs_f64(piece as f64 / per_s as f64);
        if now < through {
            return Next::At(through);
        }
        (self.since, self.busy_until) = (None, Some(through));
        self.counters.act(1);
        let Some(Item::Data(mut bytes, arrived)) = waiting.pop() else { return Next::Idle };
        let first = bytes.split_to(piece);
        if !bytes.is_empty() {
            waiting.push_front(Item::Data(bytes, arrived));
        }
        Next::Item(Item::Data(first, arrived))
    }
}
