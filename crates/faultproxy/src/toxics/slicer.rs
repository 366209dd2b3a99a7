//! `slicer`: data comes in slices, each a write of its own, with a pause after each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Attributes, Begin, Kind, Stage, on_time, us};
use crate::chain::{Item, Next, Waiting};
use crate::metrics::ToxicCounters;

/// Cuts data into slices of `average_size` ± `size_variation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slicer {
    /// Bytes; 0, the default, cuts nothing.
    pub average_size: i64,
    /// Bytes.
    pub size_variation: i64,
    /// Microseconds.
    pub delay: i64,
}

impl Kind for Slicer {
    const NAMES: &'static [&'static str] = &["average_size", "size_variation", "delay"];

    fn begin(&self, begin: Begin) -> Box<dyn Stage> {
        let Begin { rng, counters, .. } = begin;
        Box::new(Slicing { attributes: self.clone(), rng, sizes: VecDeque::new(), free_at: None, counters })
    }
}

struct Slicing {
    attributes: Slicer,
    rng: fastrand::Rng,
    /// Of what is first in the queue.
    sizes: VecDeque<usize>,
    /// When the pause after the last slice ends.
    free_at: Option<Instant>,
    counters: Arc<ToxicCounters>,
}

impl Stage for Slicing {
    fn update(&mut self, attributes: &Attributes, _now: Instant) {
        if let Attributes::Slicer(attributes) = attributes {
            self.attributes = attributes.clone();
            self.sizes.clear();
        }
    }

    fn next(&mut self, waiting: &mut Waiting, now: Instant) -> Next {
        if let (Some(_), Some(free_at)) = (waiting.front(), self.free_at)
            && now < free_at
        {
            return Next::At(free_at);
        }
        let (mut bytes, arrived) = match waiting.pop() {
            Some(Item::Data(bytes, arrived)) => (bytes, arrived),
            Some(end) => return Next::Item(end),
            None => return Next::Idle,
        };
        if self.sizes.is_empty() {
            self.sizes = slices(bytes.len(), &self.attributes, &mut self.rng);
            self.counters.act(self.sizes.len() as u64);
        }
        let slice = bytes.split_to(self.sizes.pop_front().unwrap_or(bytes.len()).min(bytes.len()));
        if !bytes.is_empty() {
            waiting.push_front(Item::Data(bytes, arrived));
        }
        let pause = us(self.attributes.delay);
        self.free_at = (!pause.is_zero()).then(|| on_time(self.free_at, now) + pause);
        Next::Item(Item::Data(slice, arrived))
    }
}

/// Sizes of the slices of `len` bytes: halves, a little off the middle, until each is small enough. As Toxiproxy does
/// it, but never empty, and never without end.
fn slices(len: usize, attributes: &Slicer, rng: &mut fastrand::Rng) -> VecDeque<usize> {
    let average = usize::try_from(attributes.average_size).unwrap_or(0);
    let variation = usize::try_from(attributes.size_variation).unwrap_or(0);
    if average == 0 {
        return VecDeque::from([len]);
    }
    let (mut sizes, mut left) = (VecDeque::new(), vec![len]);
    while let Some(size) = left.pop() {
        if size <= average.saturating_add(variation) || size < 2 {
            sizes.push_back(size);
            continue;
        }
        let off = variation.min(size / 2);
        let first = (size / 2 + rng.usize(0..=2 * off)).saturating_sub(off).clamp(1, size - 1);
        left.extend([size - first, first]);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Toxiproxy dies of some of these.
        #[test]
        fn slices_are_whole_and_never_larger_than_allowed(
            len in 1_usize..40_000, average_size in -5_i64..70_000, size_variation in prop_oneof![-5_i64..100, Just(i64::MAX)], seed: u64,
        ) {
            let attributes = Slicer { average_size, size_variation, delay: 0 };
            let sizes = slices(len, &attributes, &mut fastrand::Rng::with_seed(seed));
            prop_assert_eq!(sizes.iter().sum::<usize>(), len);
            prop_assert!(sizes.iter().all(|size| *size > 0));
            if average_size > 0 {
                let most = average_size.saturating_add(size_variation.max(0)) as usize;
                prop_assert!(sizes.iter().all(|size| *size <= most), "{sizes:?}");
            }
        }
    }
}
