//! `noop`: does nothing. Toxiproxy has it, so clients may ask for it; it is of use to measure what a toxic costs.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, Stage};
use crate::chain::{Next, Waiting};

/// Does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Noop {}

impl Kind for Noop {
    const NAMES: &'static [&'static str] = &[];

    fn begin(&self, _begin: Begin) -> Box<dyn Stage> {
        Box::new(Passing)
    }
}

struct Passing;

impl Stage for Passing {
    fn update(&mut self, _attributes: &Attributes, _now: Instant) {}

    fn next(&mut self, waiting: &mut Waiting, _now: Instant) -> Next {
        waiting.pop().map_or(Next::Idle, Next::Item)
    }
}
