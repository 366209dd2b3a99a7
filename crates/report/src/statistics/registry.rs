//! Which metrics exist and which series of them are recorded: names and tags become small typed ids before the run.
//!
//! The ids are the indices of the arrays in a [`Tally`](super::Tally). A name that nobody declared is refused, so that a
//! typing error does not become a metric that stays empty for ever.

use std::collections::HashMap;

use super::{BUILT_IN, MetricKind, Unit};

/// A metric that may be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// `task_latency`.
    pub name: String,
    /// How its values add up.
    pub kind: MetricKind,
    /// In what it is shown.
    pub unit: Unit,
    /// One sentence for people.
    pub description: String,
}

/// Tags of a series, sorted by name.
pub type Tags = Vec<(String, String)>;

/// One metric with one set of tags.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) metric: usize,
    pub(super) tags: Tags,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub(super) u32);

        impl $name {
            #[inline]
            pub(super) const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )* };
}

ids! {
    /// A series of a counter.
    CounterId,
    /// A series of a gauge.
    GaugeId,
    /// A series of a rate.
    RateId,
    /// A series of a trend.
    TrendId
}

/// Why a metric cannot be declared or interned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Nobody declared it.
    #[error("unknown metric {name:?}{}", did_you_mean(.nearest))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The most similar name that exists.
        nearest: Option<String>,
    },
    /// It is of another kind.
    #[error("metric {name:?} is a {is}, not a {wanted}")]
    Kind {
        /// The metric.
        name: String,
        /// What it is.
        is: MetricKind,
        /// What it was taken for.
        wanted: MetricKind,
    },
    /// It was declared before, and differently.
    #[error("metric {name:?} is declared twice, and differently")]
    Declared {
        /// The metric.
        name: String,
    },
    /// Names are `[a-zA-Z_][a-zA-Z0-9_]{0,127}`, as in k6.
    #[error("metric name {name:?} must be letters, digits and underscores, at most 128, and not begin with a digit")]
    Name {
        /// What was asked for.
        name: String,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// The metrics that exist, and the series that are recorded.
#[derive(Clone, Debug)]
pub struct Registry {
    metrics: Vec<Metric>,
    by_name: HashMap<String, usize>,
    series: [Vec<Series>; 4],
    interned: HashMap<(usize, Tags), u32>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// Knows the [built-in](BUILT_IN) metrics and records no series yet.
    #[must_use]
    pub fn new() -> Self {
        let metrics: Vec<Metric> = BUILT_IN
            .iter()
            .map(|it| Metric { name: it.name.into(), kind: it.kind, unit: it.unit, description: it.description.into() })
            .collect();
        let by_name = metrics.iter().enumerate().map(|(index, metric)| (metric.name.clone(), index)).collect();
        Self { metrics, by_name, series: Default::default(), interned: HashMap::new() }
    }

    /// Declares a metric of a scenario's own. Declaring the same again changes nothing.
    ///
    /// # Errors
    /// When the name is taken by a different metric, or is no name.
    pub fn declare(&mut self, metric: Metric) -> Result<(), RegistryError> {
        let name = &metric.name;
        let mut bytes = name.bytes();
        let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !starts_well || name.len() > 128 || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(RegistryError::Name { name: metric.name });
        }
        match self.by_name.get(name) {
            Some(index) if self.metrics[*index].kind == metric.kind && self.metrics[*index].unit == metric.unit => {
                Ok(())
            }
            Some(_) => Err(RegistryError::Declared { name: metric.name }),
            None => {
                self.by_name.insert(name.clone(), self.metrics.len());
                self.metrics.push(metric);
                Ok(())
            }
        }
    }

    /// A series of a counter; the same name and tags give the same id.
    ///
    /// # Errors
    /// When the metric does not exist, or is no counter.
    pub fn counter(&mut self, name: &str, tags: &[(&str, &str)]) -> Result<CounterId, RegistryError> {
        self.intern(name, tags, MetricKind::Counter).map(CounterId)
    }

    /// A series of a gauge; the same name and tags give the same id.
    ///
    /// # Errors
    /// When the metric does not exist, or is no gauge.
    pub fn gauge(&mut self, name: &str, tags: &[(&str, &str)]) -> Result<GaugeId, RegistryError> {
        self.intern(name, tags, MetricKind::Gauge).map(GaugeId)
    }

    /// A series of a rate; the same name and tags give the same id.
    ///
    /// # Errors
    /// When the metric does not exist, or is no rate.
    pub fn rate(&mut self, name: &str, tags: &[(&str, &str)]) -> Result<RateId, RegistryError> {
        self.intern(name, tags, MetricKind::Rate).map(RateId)
    }

    /// A series of a trend; the same name and tags give the same id.
    ///
    /// # Errors
    /// When the metric does not exist, or is no trend.
    pub fn trend(&mut self, name: &str, tags: &[(&str, &str)]) -> Result<TrendId, RegistryError> {
        self.intern(name, tags, MetricKind::Trend).map(TrendId)
    }

    /// All metrics, built-in ones first.
    #[must_use]
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The metric of that name.
    ///
    /// # Errors
    /// When there is none; the error names the most similar one.
    pub fn metric(&self, name: &str) -> Result<&Metric, RegistryError> {
        self.index_of(name).map(|index| &self.metrics[index])
    }

    /// The distinct tag sets that are recorded for a metric.
    pub fn tag_sets<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Tags> + use<'a> {
        let index = self.by_name.get(name).copied();
        self.series.iter().flatten().filter(move |series| Some(series.metric) == index).map(|series| &series.tags)
    }

    pub(super) fn index_of(&self, name: &str) -> Result<usize, RegistryError> {
        self.by_name.get(name).copied().ok_or_else(|| RegistryError::Unknown {
            name: name.to_owned(),
            nearest: self
                .metrics
                .iter()
                .map(|metric| (strsim::jaro_winkler(name, &metric.name), &metric.name))
                .filter(|(similarity, _)| *similarity > 0.8)
                .max_by(|left, right| left.0.total_cmp(&right.0))
                .map(|(_, name)| name.clone()),
        })
    }

    pub(super) fn series(&self, kind: MetricKind) -> &[Series] {
        &self.series[kind as usize]
    }

    /// Indices of the series of `metric` whose tags include all of `tags`.
    pub(super) fn matching<'a>(
        &'a self,
        metric: usize,
        tags: &'a [(String, String)],
    ) -> impl Iterator<Item = usize> + 'a {
        self.series(self.metrics[metric].kind)
            .iter()
            .enumerate()
            .filter(move |(_, series)| series.metric == metric && tags.iter().all(|tag| series.tags.contains(tag)))
            .map(|(index, _)| index)
    }

    fn intern(&mut self, name: &str, tags: &[(&str, &str)], wanted: MetricKind) -> Result<u32, RegistryError> {
        let metric = self.index_of(name)?;
        let is = self.metrics[metric].kind;
        if is != wanted {
            return Err(RegistryError::Kind { name: name.to_owned(), is, wanted });
        }
        let mut tags: Tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        tags.sort();
        tags.dedup_by(|later, earlier| later.0 == earlier.0);
        let series = &mut self.series[wanted as usize];
        Ok(*self.interned.entry((metric, tags.clone())).or_insert_with(|| {
            series.push(Series { metric, tags });
            u32::try_from(series.len() - 1).expect("nobody interns four billion series")
        }))
    }
}
