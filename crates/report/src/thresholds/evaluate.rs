//! Reading thresholds against a registry, and evaluating them against a tally.

use serde::{Deserialize, Serialize};

use super::{Aggregation, Expression, ExpressionError, Selector, SelectorError, ThresholdConfig};
use crate::statistics::{Registry, RegistryError, Tally, Unit};

/// All thresholds of a run.
#[derive(Clone, Debug, Default)]
pub struct Thresholds {
    all: Vec<Threshold>,
}

#[derive(Clone, Debug)]
struct Threshold {
    selector: Selector,
    expression: Expression,
    unit: Unit,
    abort_on_fail: bool,
    delay_abort_eval_ms: u64,
}

/// Whether more samples may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The run goes on: a metric without a sample is not held against anybody yet.
    Running,
    /// The run is over.
    Final,
}

/// What became of one threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// `task_latency{lane:gpt4}`.
    pub selector: String,
    /// `p(99)<500`.
    pub expression: String,
    /// The unit of `target` and `measured`.
    pub unit: Unit,
    /// The number in the expression.
    pub target: f64,
    /// What the run had; absent without a sample.
    pub measured: Option<f64>,
    /// Whether the promise was kept.
    pub passed: bool,
    /// Why it failed, when that is not the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// True when it may end the run, and its delay has passed, and it failed.
    #[serde(default)]
    pub aborts: bool,
}

/// Why a threshold is refused before the run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// The selector cannot be read.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The expression cannot be read.
    #[error("{selector}: {error}")]
    Expression {
        /// Of which selector.
        selector: String,
        /// Where and why.
        error: ExpressionError,
    },
    /// Nobody records that metric.
    #[error("threshold on {selector:?}: {error}")]
    Metric {
        /// The selector.
        selector: String,
        /// Unknown, with the nearest name.
        error: RegistryError,
    },
    /// The metric's kind does not answer it.
    #[error("threshold {expression:?} on {selector:?}: a {kind} answers {choices}")]
    Kind {
        /// The selector.
        selector: String,
        /// The expression.
        expression: String,
        /// What the metric is.
        kind: crate::statistics::MetricKind,
        /// What it answers.
        choices: &'static str,
    },
    /// The metric exists, and no series of this run carries these tags.
    #[error("threshold on {selector:?} would never be evaluated: this run records {recorded}")]
    NoSeries {
        /// The selector.
        selector: String,
        /// What it records instead.
        recorded: String,
    },
    /// An empty list promises nothing.
    #[error("threshold on {selector:?}: the list is empty")]
    Empty {
        /// The selector.
        selector: String,
    },
}

impl ThresholdError {
    /// The key in the `[thresholds]` table that is wrong.
    #[must_use]
    pub fn selector(&self) -> &str {
        match self {
            Self::Selector(error) => &error.selector,
            Self::Expression { selector, .. }
            | Self::Metric { selector, .. }
            | Self::Kind { selector, .. }
            | Self::NoSeries { selector, .. }
            | Self::Empty { selector } => selector,
        }
    }
}

impl Thresholds {
    /// Reads a scenario's thresholds; the registry says which metrics exist and of which kind they are. Series need not
    /// be interned yet, see [`check_series`](Self::check_series).
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub fn parse(config: &ThresholdConfig, registry: &Registry) -> Result<Self, Vec<ThresholdError>> {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for (written, specs) in config {
            let parsed = written.parse::<Selector>().map_err(ThresholdError::from).and_then(|selector| {
                let metric = registry
                    .metric(&selector.metric)
                    .map_err(|error| ThresholdError::Metric { selector: written.clone(), error })?;
                Ok((selector, metric))
            });
            let (selector, metric) = match parsed {
                Ok(parsed) => parsed,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            if specs.as_slice().is_empty() {
                errors.push(ThresholdError::Empty { selector: written.clone() });
            }
            for spec in specs.as_slice() {
                let spec = spec.full();
                match spec.threshold.parse::<Expression>() {
                    Err(error) => errors.push(ThresholdError::Expression { selector: written.clone(), error }),
                    Ok(expression) if !expression.aggregation.fits(metric.kind) => errors.push(ThresholdError::Kind {
                        selector: written.clone(),
                        expression: spec.threshold,
                        kind: metric.kind,
                        choices: Aggregation::choices(metric.kind),
                    }),
                    Ok(expression) => all.push(Threshold {
                        selector: selector.clone(),
                        expression,
                        unit: metric.unit,
                        abort_on_fail: spec.abort_on_fail,
                        delay_abort_eval_ms: spec.delay_abort_eval_ms,
                    }),
                }
            }
        }
        if errors.is_empty() { Ok(Self { all }) } else { Err(errors) }
    }

    /// Once all series are interned: is there one for each threshold?
    ///
    /// # Errors
    /// Every threshold that this run would never evaluate.
    pub fn check_series(&self, registry: &Registry) -> Result<(), Vec<ThresholdError>> {
        let nothing = Tally::new(registry);
        let errors: Vec<_> = self
            .all
            .iter()
            .filter(|it| nothing.measure(registry, &it.selector.metric, &it.selector.tags).is_none())
            .map(|it| ThresholdError::NoSeries {
                selector: it.selector.to_string(),
                recorded: recorded(registry, &it.selector.metric),
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Evaluates all thresholds against everything recorded up to now. `elapsed_ms` since the start of the load.
    #[must_use]
    pub fn evaluate(&self, registry: &Registry, run: &Tally, elapsed_ms: u64, phase: Phase) -> Vec<ThresholdResult> {
        self.all.iter().map(|it| it.evaluate(registry, run, elapsed_ms, phase)).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True without a threshold.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// True when one of them may end the run early, so that evaluating each second is worth it.
    #[must_use]
    pub fn may_abort(&self) -> bool {
        self.all.iter().any(|it| it.abort_on_fail)
    }
}

impl Threshold {
    fn evaluate(&self, registry: &Registry, run: &Tally, elapsed_ms: u64, phase: Phase) -> ThresholdResult {
        let Expression { aggregation, operator, target } = self.expression;
        let measured = run
            .measure(registry, &self.selector.metric, &self.selector.tags)
            .and_then(|measured| aggregation.read(&measured, self.unit, elapsed_ms));
        let (passed, reason) = match measured {
            Some(measured) => (operator.holds(measured, target), None),
            None => (phase == Phase::Running, Some("no samples".to_owned())),
        };
        ThresholdResult {
            selector: self.selector.to_string(),
            expression: self.expression.to_string(),
            unit: self.unit,
            target,
            measured,
            passed,
            reason,
            aborts: self.abort_on_fail && !passed && elapsed_ms >= self.delay_abort_eval_ms,
        }
    }
}

fn recorded(registry: &Registry, metric: &str) -> String {
    let mut sets: Vec<String> = registry
        .tag_sets(metric)
        .map(|tags| Selector { metric: metric.to_owned(), tags: tags.clone() }.to_string())
        .collect();
    if sets.is_empty() {
        return format!("no {metric} at all");
    }
    sets.sort();
    let more = sets.len().saturating_sub(5);
    sets.truncate(5);
    sets.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::statistics::Shard;

    fn config(value: Value) -> ThresholdConfig {
        serde_json::from_value(value).unwrap()
    }

    /// Two lanes, some sessions, a thousand tasks of 1 to 1000 ms; nothing ever lost, no feed event.
    fn storm() -> (Registry, Tally) {
        let mut registry = Registry::new();
        let gpt4 = registry.trend("task_latency", &[("lane", "gpt4")]).unwrap();
        let crude = registry.trend("task_latency", &[("lane", "crude")]).unwrap();
        let success = registry.rate("session_success", &[]).unwrap();
        let published = registry.counter("tasks_published", &[]).unwrap();
        let vus = registry.gauge("vus", &[]).unwrap();
        registry.counter("lost", &[]).unwrap();
        registry.trend("feed_latency", &[]).unwrap();
        registry.rate("checks", &[]).unwrap();
        registry.gauge("vus_max", &[]).unwrap();
        let mut shard = Shard::new(&registry);
        for ms in 1..=1000 {
            shard.trend(if ms <= 100 { gpt4 } else { crude }, ms * 1000);
            shard.rate(success, ms % 50 != 0);
        }
        shard.count(published, 1000);
        shard.set(vus, 7.0);
        let tally = shard.take(Tally::new(&registry));
        (registry, tally)
    }

    #[test]
    fn evaluates_each_method_of_each_kind() {
        let (registry, tally) = storm();
        for (selector, expression, passed, measured) in [
            ("task_latency", "p(50)<=500.3", true, Some(500.0)),
            ("task_latency", "p(99)<500", false, Some(990.0)),
            ("task_latency", "min==1", true, Some(1.0)),
            ("task_latency", "max==1000", true, Some(1000.0)),
            ("task_latency", "avg==500.5", true, Some(500.5)),
            ("task_latency", "med>499", true, Some(500.0)),
            ("task_latency{lane:gpt4}", "max<=100", true, Some(100.0)),
            ("task_latency{lane:crude}", "min>100", true, Some(101.0)),
            ("session_success", "rate>0.95", true, Some(0.98)),
            ("session_success", "rate>0.98", false, Some(0.98)),
            ("tasks_published", "count===1000", true, Some(1000.0)),
            ("tasks_published", "rate>=100", true, Some(100.0)),
            ("vus", "value!=8", true, Some(7.0)),
            // Nothing counted is zero; everything else without a sample was not measured, and that is no pass.
            ("lost", "count==0", true, Some(0.0)),
            ("lost", "count>0", false, Some(0.0)),
            ("feed_latency", "p(99)<500", false, None),
            ("checks", "rate<0.01", false, None),
            ("vus_max", "value<10", false, None),
        ] {
            let thresholds = Thresholds::parse(&config(json!({ selector: expression })), &registry).unwrap();
            thresholds.check_series(&registry).unwrap();
            let result = thresholds.evaluate(&registry, &tally, 10_000, Phase::Final).remove(0);
            assert_eq!(result.passed, passed, "{selector} {expression}: {result:?}");
            match (result.measured, measured) {
                (Some(is), Some(should)) => {
                    assert!((is - should).abs() <= should / 1000.0, "{selector} {expression}: {is}")
                }
                (is, should) => assert_eq!(is, should, "{selector} {expression}"),
            }
            assert_eq!(result.reason.is_some(), result.measured.is_none());
        }
    }

    #[test]
    fn refuses_what_it_could_not_evaluate() {
        let (registry, _) = storm();
        for (written, message) in [
            (
                json!({"task_latencies": "p(99)<5"}),
                r#"threshold on "task_latencies": unknown metric "task_latencies"; did you mean "task_latency"?"#,
            ),
            (json!({"zzz": "p(99)<5"}), r#"threshold on "zzz": unknown metric "zzz""#),
            (json!({"lost": "p(99)<5"}), r#"threshold "p(99)<5" on "lost": a counter answers count, rate"#),
            (json!({"checks": "count>5"}), r#"threshold "count>5" on "checks": a rate answers rate"#),
            (json!({"vus": "rate>5"}), r#"threshold "rate>5" on "vus": a gauge answers value"#),
            (
                json!({"task_latency": "count>5"}),
                r#"threshold "count>5" on "task_latency": a trend answers avg, min, max, med, p(N)"#,
            ),
            (
                json!({"task_latency{lane}": "max<5"}),
                r#"threshold on "task_latency{lane}", column 14: expected tag:value"#,
            ),
            (
                json!({"lost": "count=0"}),
                r#"lost: threshold "count=0", column 6: expected one of <, <=, >, >=, ==, ===, !=, found "=0""#,
            ),
            (json!({"lost": []}), r#"threshold on "lost": the list is empty"#),
        ] {
            let errors = Thresholds::parse(&config(written), &registry).unwrap_err();
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].to_string(), message);
        }
    }

    #[test]
    fn refuses_tags_that_nobody_records() {
        let (registry, _) = storm();
        let thresholds =
            Thresholds::parse(&config(json!({"task_latency{lane:gpt5}": "max<5", "errors": "count==0"})), &registry);
        let errors = thresholds.unwrap().check_series(&registry).unwrap_err();
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                r#"threshold on "errors" would never be evaluated: this run records no errors at all"#,
                r#"threshold on "task_latency{lane:gpt5}" would never be evaluated: this run records task_latency{lane:crude}, task_latency{lane:gpt4}"#,
            ]
        );
    }

    #[test]
    fn reports_all_errors_at_once() {
        let config = config(json!({"lost": ["count=0", "med<1"], "nope": "count==0"}));
        assert_eq!(Thresholds::parse(&config, &Registry::new()).unwrap_err().len(), 3);
    }

    #[test]
    fn aborts_only_after_its_delay_and_never_for_want_of_samples() {
        let (registry, tally) = storm();
        let spec = |threshold: &str| json!({"threshold": threshold, "abort_on_fail": true, "delay_abort_eval": "10s"});
        let thresholds = config(json!({"task_latency": spec("p(99)<500"), "feed_latency": spec("p(99)<500")}));
        let thresholds = Thresholds::parse(&thresholds, &registry).unwrap();
        let aborts = |elapsed_ms| -> Vec<bool> {
            thresholds.evaluate(&registry, &tally, elapsed_ms, Phase::Running).iter().map(|it| it.aborts).collect()
        };
        assert_eq!((aborts(9_999), aborts(10_000)), (vec![false, false], vec![false, true]));
    }
}
