//! Where the shards come together: the current second and the whole run.

use std::{collections::BTreeMap, sync::Arc};

use super::{Measured, MetricKind, MetricSummary, Registry, Tally};
use crate::series::{RateSample, SecondSample, TrendSample};

/// The merger's books. Single owner; it absorbs each core's tally and closes the second.
#[derive(Debug)]
pub struct Totals {
    registry: Arc<Registry>,
    run: Tally,
    second: Tally,
    second_closed: bool,
}

impl Totals {
    /// Empty.
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> Self {
        let (run, second) = (Tally::new(&registry), Tally::new(&registry));
        Self { registry, run, second, second_closed: false }
    }

    /// Adds one core's tally to the current second. A core that is late simply counts in the next one.
    pub fn absorb(&mut self, tally: &Tally) {
        if std::mem::take(&mut self.second_closed) {
            self.second.clear();
        }
        self.second.add_core(tally);
    }

    /// Ends the current second: it becomes part of the run and stays readable until the next [`absorb`](Self::absorb).
    pub fn close_second(&mut self) {
        if std::mem::replace(&mut self.second_closed, true) {
            self.second.clear();
        }
        self.run.add_later(&self.second);
    }

    /// The metrics and series that are recorded.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Everything up to the last closed second.
    #[must_use]
    pub const fn run(&self) -> &Tally {
        &self.run
    }

    /// The second that was closed last, or what it has so far.
    #[must_use]
    pub const fn second(&self) -> &Tally {
        &self.second
    }

    /// The statistics of the second as a line of `series.jsonl`; the caller adds depths, sessions, resources and faults.
    /// `t_ms` is the end of the second since the start of the load, `span_ms` how long it really was. Metrics that
    /// recorded nothing in this second are left out.
    #[must_use]
    pub fn sample(&self, t_ms: u64, span_ms: u64) -> SecondSample {
        let mut sample = SecondSample { t_ms, span_ms, ..SecondSample::default() };
        for metric in self.registry.metrics() {
            let name = metric.name.clone();
            match self.second.measure(&self.registry, &metric.name, &[]) {
                Some(Measured::Counter(count)) if count > 0 => drop(sample.counters.insert(name, count)),
                Some(Measured::Gauge(Some(gauge))) => drop(sample.gauges.insert(name, gauge.last)),
                Some(Measured::Rate(rate)) if rate.total > 0 => {
                    sample.rates.insert(name, RateSample { hits: rate.hits, total: rate.total });
                }
                Some(Measured::Trend(trend)) => {
                    if let Some(it) = TrendSample::of(&trend, metric.unit) {
                        sample.trends.insert(name, it);
                    }
                }
                _ => {}
            }
        }
        sample
    }

    /// Summaries for the record: each metric that has a sample, and below it each of its tag sets. `elapsed_ms` is the
    /// span by which counters become rates.
    #[must_use]
    pub fn summaries(&self, elapsed_ms: u64) -> Vec<MetricSummary> {
        let mut summaries = Vec::new();
        for metric in self.registry.metrics() {
            let mut tag_sets: Vec<_> =
                self.registry.tag_sets(&metric.name).filter(|tags| !tags.is_empty()).cloned().collect();
            tag_sets.sort();
            for tags in std::iter::once(Vec::new()).chain(tag_sets) {
                let measured = self.run.measure(&self.registry, &metric.name, &tags);
                let tags: BTreeMap<_, _> = tags.into_iter().collect();
                summaries.extend(measured.and_then(|it| MetricSummary::of(metric, tags, &it, elapsed_ms)));
            }
        }
        summaries
    }

    /// The kind of a metric, if it exists.
    #[must_use]
    pub fn kind(&self, metric: &str) -> Option<MetricKind> {
        self.registry.metric(metric).ok().map(|metric| metric.kind)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::{CounterId, GaugeId, Rate, RateId, Shard, Trend, TrendId};

    struct Ids(CounterId, RateId, TrendId, TrendId, GaugeId);

    fn registry() -> (Arc<Registry>, Ids) {
        let mut registry = Registry::new();
        let ids = Ids(
            registry.counter("tasks_published", &[]).unwrap(),
            registry.rate("checks", &[]).unwrap(),
            registry.trend("task_latency", &[("lane", "gpt4")]).unwrap(),
            registry.trend("task_latency", &[("lane", "crude")]).unwrap(),
            registry.gauge("vus", &[]).unwrap(),
        );
        (Arc::new(registry), ids)
    }

    /// One thing that a core records.
    #[derive(Clone, Debug)]
    struct Step {
        core: usize,
        second_ends: bool,
        amount: u64,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (0..4usize, prop::bool::weighted(0.1), 0..10_000_000u64);
        prop::collection::vec(step.prop_map(|(core, second_ends, amount)| Step { core, second_ends, amount }), 0..80)
    }

    fn play(steps: &[Step], cores: usize) -> Totals {
        let (registry, Ids(count, rate, gpt4, crude, _)) = registry();
        let mut totals = Totals::new(registry.clone());
        let mut shards: Vec<_> = (0..cores).map(|_| (Shard::new(&registry), Some(Tally::new(&registry)))).collect();
        let mut close = |shards: &mut Vec<(Shard, Option<Tally>)>| {
            for (shard, spare) in shards {
                let tally = shard.take(spare.take().unwrap());
                totals.absorb(&tally);
                *spare = Some(tally);
            }
            totals.close_second();
        };
        for step in steps {
            let shard = &mut shards[step.core % cores].0;
            shard.count(count, step.amount);
            shard.rate(rate, step.amount % 2 == 0);
            shard.trend(if step.amount % 3 == 0 { gpt4 } else { crude }, step.amount);
            if step.second_ends {
                close(&mut shards);
            }
        }
        close(&mut shards);
        totals
    }

    proptest! {
        #[test]
        fn many_shards_and_seconds_are_one_shard_and_one_second(steps in steps()) {
            let together: Vec<Step> = steps.iter().map(|step| Step { second_ends: false, ..*step }).collect();
            let spread = play(&steps, 4);
            let single = play(&together, 1);
            prop_assert_eq!(spread.run(), single.run());
            // And both are what was recorded, not the same nothing.
            let measure = |metric, tags: &[(String, String)]| single.run().measure(single.registry(), metric, tags);
            let amounts = || steps.iter().map(|step| step.amount);
            prop_assert_eq!(measure("tasks_published", &[]), Some(Measured::Counter(amounts().sum())));
            let hits = amounts().filter(|amount| amount % 2 == 0).count() as u64;
            prop_assert_eq!(measure("checks", &[]), Some(Measured::Rate(Rate { hits, total: steps.len() as u64 })));
            let mut gpt4 = Trend::new();
            amounts().filter(|amount| amount % 3 == 0).for_each(|amount| gpt4.record(amount));
            let tags = [("lane".to_owned(), "gpt4".to_owned())];
            prop_assert_eq!(measure("task_latency", &tags), Some(Measured::Trend(Box::new(gpt4))));
        }
    }

    #[test]
    fn levels_add_up_across_cores_and_not_across_seconds() {
        let (registry, Ids(.., vus)) = registry();
        let (mut one, mut two) = (Shard::new(&registry), Shard::new(&registry));
        let mut totals = Totals::new(registry.clone());
        one.set(vus, 3.0);
        two.set(vus, 4.0);
        for _ in 0..3 {
            totals.absorb(&one.take(Tally::new(&registry)));
            totals.absorb(&two.take(Tally::new(&registry)));
            totals.close_second();
            one.set(vus, 1.0);
        }
        let Some(Measured::Gauge(Some(gauge))) = totals.run().measure(&registry, "vus", &[]) else {
            panic!("no level")
        };
        assert_eq!((gauge.last, gauge.min, gauge.max), (5.0, 5.0, 7.0));
    }

    #[test]
    fn summaries_name_what_was_measured() {
        let mut registry = Registry::new();
        registry.counter("lost", &[]).unwrap();
        let refused = registry.counter("errors", &[("kind", "refused")]).unwrap();
        registry.counter("errors", &[("kind", "timeout")]).unwrap();
        registry.trend("task_latency", &[("lane", "gpt4")]).unwrap();
        let registry = Arc::new(registry);
        let (mut totals, mut shard) = (Totals::new(registry.clone()), Shard::new(&registry));
        shard.count(refused, 2);
        totals.absorb(&shard.take(Tally::new(&registry)));
        totals.close_second();
        let selectors: Vec<String> = totals.summaries(1_000).iter().map(MetricSummary::selector).collect();
        // A zero is an answer, a code that never came is not, and neither is a distribution without a value.
        assert_eq!(selectors, ["lost", "errors", "errors{kind:refused}"]);
    }

    #[test]
    fn a_selector_reads_the_series_whose_tags_it_names() {
        let totals = play(
            &[Step { core: 0, second_ends: false, amount: 3 }, Step { core: 0, second_ends: false, amount: 4 }],
            1,
        );
        let count = |tags: &[(&str, &str)]| {
            let tags: Vec<_> = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            match totals.run().measure(totals.registry(), "task_latency", &tags) {
                Some(Measured::Trend(trend)) => Some(trend.count()),
                _ => None,
            }
        };
        assert_eq!((count(&[]), count(&[("lane", "gpt4")]), count(&[("lane", "nobody")])), (Some(2), Some(1), None));
    }
}
