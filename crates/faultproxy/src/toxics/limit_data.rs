//! `limit_data`: exactly so many bytes get through, then the connection is closed.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, Stage};
use crate::chain::{Item, Next, Waiting};
use crate::metrics::ToxicCounters;

/// Closes after `bytes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitData {
    /// Bytes.
    pub bytes: i64,
}

impl Kind for LimitData {
    const NAMES: &'static [&'static str] = &["bytes"];

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        Box::new(Counting { bytes: self.bytes, passed: 0, reached: false, counters: begin.counters })
    }
}

struct Counting {
    bytes: i64,
    /// Counted over changes of the limit.
    passed: usize,
    reached: bool,
    counters: Arc<ToxicCounters>,
}

impl Counting {
    fn close(&self) -> Next {
        self.counters.act(1);
        Next::Item(Item::Close)
    }
}

impl Stage for Counting {
    fn update(&mut self, attributes: &Attributes, _now: Instant) {
        if let Attributes::LimitData(attributes) = attributes {
            self.bytes = attributes.bytes;
        }
    }

    fn next(&mut self, waiting: &mut Waiting, _now: Instant) -> Next {
        if self.reached {
            return self.close();
        }
        match waiting.pop() {
            Some(Item::Data(mut bytes, arrived)) => {
                let left = usize::try_from(self.bytes).unwrap_or(0).saturating_sub(self.passed);
                bytes.truncate(left);
                self.passed += bytes.len();
                self.reached = bytes.len() == left;
                if bytes.is_empty() {
                    return self.close();
                }
                Next::Item(Item::Data(bytes, arrived))
            }
            Some(end) => Next::Item(end),
            None => Next::Idle,
        }
    }
}
