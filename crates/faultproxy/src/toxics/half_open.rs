//! `half_open`: a peer that was there and is no more, as after a power cut. Connections are accepted and stay; what
//! they send is acknowledged by the system and answered by nobody, not even their end. New ones reach no upstream at
//! all.
//!
//! When the toxic goes, the connections it struck are closed: what they sent is gone.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, ORPHAN, Stage};
use crate::chain::{Item, Next, Waiting};
use crate::metrics::ToxicCounters;

/// Accepts, and never answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HalfOpen {}

impl Kind for HalfOpen {
    const NAMES: &'static [&'static str] = &[];

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        Box::new(Gone { ended: None, counters: begin.counters })
    }
}

struct Gone {
    ended: Option<Instant>,
    counters: Arc<ToxicCounters>,
}

impl Stage for Gone {
    fn update(&mut self, _attributes: &Attributes, _now: Instant) {}

    fn takes(&self, _waiting: &Waiting) -> bool {
        true
    }

    fn next(&mut self, waiting: &mut Waiting, now: Instant) -> Next {
        while let Some(item) = waiting.pop() {
            match item {
                Item::Data(..) => self.counters.act(1),
                Item::End | Item::Close => self.ended = Some(now),
            }
        }
        match self.ended.map(|ended| ended + ORPHAN) {
            Some(due) if now < due => Next::At(due),
            Some(_) => Next::Item(Item::Close),
            None => Next::Idle,
        }
    }

    fn is_broken(&self) -> bool {
        true
    }
}
