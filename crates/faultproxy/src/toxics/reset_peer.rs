//! `reset_peer`: the connection is reset (RST) on both sides. The time runs from the first data, or the end of it, and
//! for connections that were open already when the toxic came, from then.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, Stage, ms};
use crate::chain::{Cut, Ending, Next, Waiting};
use crate::metrics::ToxicCounters;

/// Resets the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetPeer {
    /// Milliseconds until then; nothing gets through meanwhile.
    pub timeout: i64,
}

impl Kind for ResetPeer {
    const NAMES: &'static [&'static str] = &["timeout"];

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        let since = begin.was_open.then_some(begin.now);
        Box::new(Resetting { timeout: self.timeout, since, counters: begin.counters })
    }
}

struct Resetting {
    timeout: i64,
    since: Option<Instant>,
    counters: Arc<ToxicCounters>,
}

impl Stage for Resetting {
    fn update(&mut self, attributes: &Attributes, _now: Instant) {
        if let Attributes::ResetPeer(attributes) = attributes {
            self.timeout = attributes.timeout;
        }
    }

    fn next(&mut self, _waiting: &mut Waiting, _now: Instant) -> Next {
        Next::Idle
    }

    fn cut(&mut self, waiting: &Waiting, now: Instant) -> Cut {
        if self.since.is_none() && waiting.is_empty() {
            return Cut::No;
        }
        let due = *self.since.get_or_insert(now) + ms(self.timeout);
        if now < due {
            return Cut::At(due);
        }
        self.counters.act(1);
        Cut::Now(Ending::Reset)
    }
}
