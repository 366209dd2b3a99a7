//! The values of all series over some span: of one core in one second, of all cores in one second, or of the whole run.

use super::{MetricKind, Registry, Trend};

/// Hits among all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// How many were hits.
    pub hits: u64,
    /// How many there were.
    pub total: u64,
}

impl Rate {
    /// The share of hits, 0 to 1; none without a sample.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.total > 0).then(|| self.hits as f64 / self.total as f64)
    }
}

/// A level over a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauge {
    /// The last level.
    pub last: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

/// The values of all series over one span, indexed by id.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    pub(super) counters: Box<[u64]>,
    pub(super) gauges: Box<[Option<Gauge>]>,
    pub(super) rates: Box<[Rate]>,
    pub(super) trends: Box<[Trend]>,
}

/// The values of one metric, or of those of its series that a selector chose, over one span.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// How often.
    Counter(u64),
    /// The level; none if it was never set.
    Gauge(Option<Gauge>),
    /// How many of all.
    Rate(Rate),
    /// The distribution.
    Trend(Box<Trend>),
}

impl Measured {
    /// True when nothing was recorded. A counter is never without a sample: nothing counted is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Counter(_) => false,
            Self::Gauge(gauge) => gauge.is_none(),
            Self::Rate(rate) => rate.total == 0,
            Self::Trend(trend) => trend.is_empty(),
        }
    }
}

impl Tally {
    /// Zero for every series that the registry has interned.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let len = |kind| registry.series(kind).len();
        Self {
            counters: vec![0; len(MetricKind::Counter)].into(),
            gauges: vec![None; len(MetricKind::Gauge)].into(),
            rates: vec![Rate::default(); len(MetricKind::Rate)].into(),
            trends: (0..len(MetricKind::Trend)).map(|_| Trend::new()).collect(),
        }
    }

    /// Adds what another core recorded in the same span: counts, rates and distributions add up, and so do levels,
    /// because each core knows only its own share of, say, the virtual users.
    pub fn add_core(&mut self, other: &Self) {
        self.add_amounts(other);
        for (mine, theirs) in self.gauges.iter_mut().zip(&other.gauges) {
            *mine = match (*mine, *theirs) {
                (Some(mine), Some(theirs)) => Some(Gauge {
                    last: mine.last + theirs.last,
                    min: mine.min + theirs.min,
                    max: mine.max + theirs.max,
                }),
                (mine, theirs) => mine.or(theirs),
            };
        }
    }

    /// Adds the span that follows: counts, rates and distributions add up, a level is replaced by the later one.
    pub fn add_later(&mut self, later: &Self) {
        self.add_amounts(later);
        for (mine, theirs) in self.gauges.iter_mut().zip(&later.gauges) {
            *mine = match (*mine, *theirs) {
                (Some(mine), Some(theirs)) => {
                    Some(Gauge { last: theirs.last, min: mine.min.min(theirs.min), max: mine.max.max(theirs.max) })
                }
                (mine, theirs) => theirs.or(mine),
            };
        }
    }

    /// Back to zero; keeps the memory.
    pub fn clear(&mut self) {
        self.counters.fill(0);
        self.gauges.fill(None);
        self.rates.fill(Rate::default());
        self.trends.iter_mut().for_each(Trend::clear);
    }

    /// The values of one metric over all series whose tags include `tags`; none if the metric is unknown or no such
    /// series was interned.
    #[must_use]
    pub fn measure(&self, registry: &Registry, metric: &str, tags: &[(String, String)]) -> Option<Measured> {
        let metric = registry.index_of(metric).ok()?;
        let mut chosen = registry.matching(metric, tags).peekable();
        chosen.peek()?;
        Some(match registry.metrics()[metric].kind {
            MetricKind::Counter => Measured::Counter(chosen.map(|index| self.counters[index]).sum()),
            MetricKind::Rate => Measured::Rate(
                chosen
                    .map(|index| self.rates[index])
                    .fold(Rate::default(), |sum, it| Rate { hits: sum.hits + it.hits, total: sum.total + it.total }),
            ),
            // Levels of different series are parts of a whole (depth by lane), so they add up too.
            MetricKind::Gauge => {
                Measured::Gauge(chosen.filter_map(|index| self.gauges[index]).reduce(|sum, it| Gauge {
                    last: sum.last + it.last,
                    min: sum.min + it.min,
                    max: sum.max + it.max,
                }))
            }
            MetricKind::Trend => {
                let mut sum = Trend::new();
                chosen.for_each(|index| sum.merge(&self.trends[index]));
                Measured::Trend(Box::new(sum))
            }
        })
    }

    fn add_amounts(&mut self, other: &Self) {
        for (mine, theirs) in self.counters.iter_mut().zip(&other.counters) {
            *mine += theirs;
        }
        for (mine, theirs) in self.rates.iter_mut().zip(&other.rates) {
            mine.hits += theirs.hits;
            mine.total += theirs.total;
        }
        for (mine, theirs) in self.trends.iter_mut().zip(&other.trends) {
            mine.merge(theirs);
        }
    }
}
