//! What one core records into: arrays indexed by id, owned by one thread, emptied once a second.

use std::time::Duration;

use super::{CounterId, GaugeId, RateId, Registry, Tally, TrendId, tally::Gauge};

/// One core's recorder. `Send`, so that it can be made on one thread and handed to its own; never shared.
#[derive(Debug)]
pub struct Shard {
    tally: Tally,
}

impl Shard {
    /// For the series that the registry has interned by now; an id that was interned later must not be used here.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self { tally: Tally::new(registry) }
    }

    /// Adds to a counter.
    #[inline]
    pub fn count(&mut self, id: CounterId, amount: u64) {
        self.tally.counters[id.index()] += amount;
    }

    /// Sets this core's share of a level; it keeps it until it is set again.
    #[inline]
    pub fn set(&mut self, id: GaugeId, level: f64) {
        let gauge = &mut self.tally.gauges[id.index()];
        *gauge = Some(match *gauge {
            Some(Gauge { min, max, .. }) => Gauge { last: level, min: min.min(level), max: max.max(level) },
            None => Gauge { last: level, min: level, max: level },
        });
    }

    /// Records one sample of a rate.
    #[inline]
    pub fn rate(&mut self, id: RateId, hit: bool) {
        let rate = &mut self.tally.rates[id.index()];
        rate.hits += u64::from(hit);
        rate.total += 1;
    }

    /// Records one value of a trend, in recorded units (microseconds for times).
    #[inline]
    pub fn trend(&mut self, id: TrendId, value: u64) {
        self.tally.trends[id.index()].record(value);
    }

    /// Records a duration into a trend in milliseconds.
    #[inline]
    pub fn duration(&mut self, id: TrendId, duration: Duration) {
        self.trend(id, u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Hands over what was recorded since the last call, and goes on with `spare`, which need not be empty: two tallies
    /// go back and forth between a core and the merger, so that nothing is allocated during a run.
    pub fn take(&mut self, mut spare: Tally) -> Tally {
        spare.clear();
        for (next, now) in spare.gauges.iter_mut().zip(&self.tally.gauges) {
            *next = now.map(|gauge| Gauge { last: gauge.last, min: gauge.last, max: gauge.last });
        }
        std::mem::replace(&mut self.tally, spare)
    }
}
