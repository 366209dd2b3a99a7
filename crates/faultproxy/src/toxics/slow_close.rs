//! `slow_close`: the end of the stream comes later; data does not.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, Stage, ms};
use crate::chain::{Item, Next, Waiting};
use crate::metrics::ToxicCounters;

/// Delays the close.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlowClose {
    /// Milliseconds.
    pub delay: i64,
}

impl Kind for SlowClose {
    const NAMES: &'static [&'static str] = &["delay"];

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        Box::new(Closing { delay: self.delay, since: None, counters: begin.counters })
    }
}

struct Closing {
    delay: i64,
    since: Option<Instant>,
    counters: Arc<ToxicCounters>,
}

impl Stage for Closing {
    fn update(&mut self, attributes: &Attributes, _now: Instant) {
        if let Attributes::SlowClose(attributes) = attributes {
            self.delay = attributes.delay;
        }
    }

    fn next(&mut self, waiting: &mut Waiting, now: Instant) -> Next {
        if let Some(Item::End | Item::Close) = waiting.front() {
            let due = *self.since.get_or_insert(now) + ms(self.delay);
            if now < due {
                return Next::At(due);
            }
            self.counters.act(1);
        }
        waiting.pop().map_or(Next::Idle, Next::Item)
    }
}
