//! `stall`: nothing more is read, so that the sender's buffers fill until it can write no more. Nothing is lost: when
//! the toxic goes, the stream goes on where it stood.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, Stage};
use crate::chain::{Next, Waiting};

/// Stops reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stall {}

impl Kind for Stall {
    const NAMES: &'static [&'static str] = &[];

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        begin.counters.act(1);
        Box::new(Standing)
    }
}

struct Standing;

impl Stage for Standing {
    fn update(&mut self, _attributes: &Attributes, _now: Instant) {}

    fn takes(&self, _waiting: &Waiting) -> bool {
        false
    }

    fn next(&mut self, _waiting: &mut Waiting, _now: Instant) -> Next {
        Next::Idle
    }
}
