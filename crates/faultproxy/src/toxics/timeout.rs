//! `timeout`: nothing gets through, and after so long a silence the connection is closed; with 0 it is not.
//!
//! As with Toxiproxy, every byte that comes in starts the silence anew, and the connection is closed when the toxic
//! goes, because what was thrown away is missing.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, ORPHAN, Stage, ms};
use crate::chain::{Item, Next, Waiting};
use crate::metrics::ToxicCounters;

/// Throws everything away, then closes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeout {
    /// Milliseconds of silence; 0 for ever.
    pub timeout: i64,
}

impl Kind for Timeout {
    const NAMES: &'static [&'static str] = &["timeout"];

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        Box::new(Silencing { timeout: self.timeout, since: begin.now, ended: false, counters: begin.counters })
    }
}

struct Silencing {
    timeout: i64,
    since: Instant,
    /// The sender will send no more.
    ended: bool,
    counters: Arc<ToxicCounters>,
}

impl Stage for Silencing {
    fn update(&mut self, attributes: &Attributes, now: Instant) {
        if let Attributes::Timeout(attributes) = attributes {
            (self.timeout, self.since) = (attributes.timeout, now);
        }
    }

    fn takes(&self, _waiting: &Waiting) -> bool {
        true
    }

    fn next(&mut self, waiting: &mut Waiting, now: Instant) -> Next {
        while let Some(item) = waiting.pop() {
            match item {
                Item::Data(..) => self.counters.act(1),
                Item::End => self.ended = true,
                Item::Close => return Next::Item(Item::Close),
            }
            self.since = now;
        }
        let due = match (ms(self.timeout), self.ended) {
            (timeout, _) if !timeout.is_zero() => self.since + timeout,
            (_, true) => self.since + ORPHAN,
            (_, false) => return Next::Idle,
        };
        if now < due { Next::At(due) } else { Next::Item(Item::Close) }
    }

    fn is_broken(&self) -> bool {
        true
    }
}
