//! Judges an experiment, pure: takes each second of the load, and says at the end what held.

use std::collections::BTreeMap;

use squall_report::RunRecord;
use squall_report::record::{
    Detected, Ended, ErrorBudget, Expectation, ExperimentPhase, ExperimentRecord, FaultRecord, PhaseRecord,
};
use squall_report::statistics::{Measured, Registry, Tally};
use squall_report::thresholds::{Phase, ThresholdResult, Thresholds};

use super::{Experiment, Health};
use crate::metrics::thresholds;
use crate::scenario::{Threshold, show_span};

/// One second of the load.
#[derive(Clone, Debug)]
struct Second {
    from_ms: u64,
    to_ms: u64,
    /// Why it was not steady, if it was not.
    unsteady: Option<String>,
}

/// See the module.
pub(crate) struct Judge {
    experiment: Experiment,
    steady: Thresholds,
    during: Thresholds,
    abort: Thresholds,
    seconds: Vec<Second>,
    /// What happened before, during and after.
    tallies: [Tally; 3],
    /// What happened from the begin of the fault until the target was steady again.
    troubled: Tally,
    errors: BTreeMap<String, u64>,
    aborted: Option<String>,
}

/// When the first fault began and the last one ended, as far as that is known; milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    begun_ms: Option<u64>,
    ended_ms: Option<u64>,
}

impl Window {
    /// `begun` of the faults have begun.
    fn of(faults: &[FaultRecord], begun: usize) -> Self {
        let last = faults.last().filter(|_| begun == faults.len());
        Self {
            begun_ms: faults.first().filter(|_| begun > 0).map(|fault| fault.at_ms),
            ended_ms: last.and_then(|fault| fault.until_ms),
        }
    }

    /// A second in which a fault begins or ends is one of those that it lasts.
    fn phase(self, from_ms: u64, to_ms: u64) -> ExperimentPhase {
        if self.begun_ms.is_none_or(|begun_ms| to_ms <= begun_ms) {
            ExperimentPhase::Before
        } else if self.ended_ms.is_some_and(|ended_ms| from_ms >= ended_ms) {
            ExperimentPhase::After
        } else {
            ExperimentPhase::During
        }
    }
}

const PHASES: [ExperimentPhase; 3] = [ExperimentPhase::Before, ExperimentPhase::During, ExperimentPhase::After];

impl Judge {
    /// # Errors
    /// In words, when one of the conditions is about what this run does not record.
    pub(crate) fn new(experiment: Experiment, registry: &Registry) -> Result<Self, String> {
        let read = |conditions: &[Threshold]| thresholds(conditions, registry);
        Ok(Self {
            steady: read(&experiment.steady_state)?,
            during: read(&experiment.during)?,
            abort: read(&experiment.abort)?,
            experiment,
            seconds: Vec::new(),
            tallies: std::array::from_fn(|_| Tally::new(registry)),
            troubled: Tally::new(registry),
            errors: BTreeMap::new(),
            aborted: None,
        })
    }

    /// Takes a second of the load, and answers why the experiment must end, if it must. `begun` of the faults have begun; `health` is
    /// what the target said last, `errors` those of this second.
    pub(crate) fn second(
        &mut self,
        (registry, tally): (&Registry, &Tally),
        (from_ms, to_ms): (u64, u64),
        (faults, begun): (&[FaultRecord], usize),
        health: Option<&str>,
        errors: &BTreeMap<String, u64>,
    ) -> Option<String> {
        let unsteady = self.unsteady(registry, tally, to_ms - from_ms, health);
        let window = Window::of(faults, begun);
        let phase = window.phase(from_ms, to_ms);
        self.tallies[phase as usize].add_later(tally);
        self.seconds.push(Second { from_ms, to_ms, unsteady });
        let over = window.ended_ms.is_some_and(|ended_ms| self.steady_again(ended_ms).is_some());
        if phase != ExperimentPhase::Before && !over {
            self.troubled.add_later(tally);
            for (kind, count) in errors {
                *self.errors.entry(kind.clone()).or_default() += count;
            }
        }
        let results = self.abort.evaluate(registry, tally, to_ms - from_ms, Phase::Running);
        let broken = results.iter().find(|result| !result.passed)?;
        self.aborted.get_or_insert_with(|| said(broken));
        self.aborted.clone()
    }

    /// Why a second is not steady, if it is not.
    fn unsteady(&self, registry: &Registry, tally: &Tally, span_ms: u64, health: Option<&str>) -> Option<String> {
        if health != Some(Health::Healthy.as_str()) {
            return Some(format!("health {}", health.unwrap_or("is not known")));
        }
        let results = self.steady.evaluate(registry, tally, span_ms, Phase::Final);
        results.iter().find(|result| !result.passed).map(said)
    }

    /// The end of the first second that was not steady, at or after this time.
    fn first_unsteady(&self, from_ms: u64) -> Option<u64> {
        self.seconds
            .iter()
            .find(|second| second.to_ms > from_ms && second.unsteady.is_some())
            .map(|second| second.to_ms)
    }

    /// When it was steady again after `ended_ms`: the begin of the first seconds in a row that are enough.
    fn steady_again(&self, ended_ms: u64) -> Option<u64> {
        let after: Vec<_> = self.seconds.iter().filter(|second| second.from_ms >= ended_ms).collect();
        let mut runs = after.windows(self.experiment.steady_seconds());
        runs.find(|run| run.iter().all(|second| second.unsteady.is_none())).map(|run| run[0].from_ms)
    }

    /// Everything is known now but the experiment itself: `record` has the faults, health, ledger and feed.
    pub(crate) fn conclude(self, registry: &Registry, record: &RunRecord) -> ExperimentRecord {
        let window = Window::of(&record.faults, record.faults.len());
        let begun_ms = window.begun_ms;
        let recovered_after_ms = window.ended_ms.and_then(|ended_ms| Some(self.steady_again(ended_ms)? - ended_ms));
        let since = |at_ms: Option<u64>| Some(at_ms?.saturating_sub(begun_ms?));
        let first = record.faults.first();
        let felt_ms = first.and_then(|fault| fault.detected_ms);
        let clients_ms =
            begun_ms.and_then(|begun_ms| [felt_ms, self.first_unsteady(begun_ms)].into_iter().flatten().min());
        let mut expectations = vec![self.ran_to_its_end(record), self.steady_before(window)];
        expectations.extend(struck(record));
        if let (Some(health), Some(begun_ms)) = (self.experiment.health, begun_ms) {
            expectations.extend(self.health_told(health, record, begun_ms, window.ended_ms));
        }
        let results = self.during.evaluate(registry, &self.troubled, 1, Phase::Final);
        expectations.extend(results.iter().map(|result| Expectation {
            what: format!("until it is over {} {}", result.selector, result.expression),
            found: said_found(result),
            held: result.passed,
        }));
        let within_ms = self.experiment.recover.as_millis() as u64;
        expectations.push(Expectation {
            what: format!("steady again within {}", show_span(self.experiment.recover)),
            found: recovered_after_ms
                .map_or_else(|| self.never_again(window), |after_ms| format!("after {}", ms(after_ms))),
            held: recovered_after_ms.is_some_and(|after_ms| after_ms <= within_ms),
        });
        if recovered_after_ms.is_some() {
            expectations.push(self.steady_at_the_end());
        }
        expectations.push(nothing_is_lost(record));
        ExperimentRecord {
            hypothesis: self.experiment.hypothesis.clone(),
            steady_state: self.conditions(),
            phases: self.phases(registry, window),
            detected: Detected {
                health_ms: since(first.and_then(|fault| fault.health_ms)),
                metrics_ms: since(first.and_then(|fault| fault.metrics_ms)),
                clients_ms: since(clients_ms),
            },
            recovered_after_ms,
            budget: self.budget(registry),
            passed: expectations.iter().all(|it| it.held),
            expectations,
        }
    }

    fn conditions(&self) -> Vec<String> {
        let conditions = self.experiment.steady_state.iter().map(|it| format!("{} {}", it.metric, it.condition));
        std::iter::once("health healthy".to_owned()).chain(conditions).collect()
    }

    fn ran_to_its_end(&self, record: &RunRecord) -> Expectation {
        let what = "the experiment runs to its end".to_owned();
        let found = match (&self.aborted, &record.ended) {
            (Some(why), _) => format!("ended by its abort condition: {why}"),
            (None, Ended::Completed) => return Expectation { what, found: "it did".to_owned(), held: true },
            (None, Ended::Interrupted) => "interrupted".to_owned(),
            (None, Ended::Aborted) => "ended early by a threshold".to_owned(),
            (None, Ended::Failed { message }) => message.clone(),
            (None, Ended::Unfinished) => "it has no end".to_owned(),
        };
        Expectation { what, found, held: false }
    }

    fn steady_before(&self, window: Window) -> Expectation {
        let before = self.seconds.iter().filter(|it| window.phase(it.from_ms, it.to_ms) == ExperimentPhase::Before);
        let needed = self.experiment.steady_seconds();
        let last: Vec<_> = before.rev().take(needed).collect();
        let unsteady = last.iter().find_map(|second| second.unsteady.clone());
        Expectation {
            what: format!("steady for {} before the fault", show_span(self.experiment.steady_for)),
            held: last.len() == needed && unsteady.is_none(),
            found: unsteady.unwrap_or_else(|| match last.len() < needed {
                true => format!("there were only {} whole seconds before it", last.len()),
                false => "it was".to_owned(),
            }),
        }
    }

    /// What `/health` said, and whether it said so in time.
    fn health_told(
        &self,
        health: Health,
        record: &RunRecord,
        begun_ms: u64,
        ended_ms: Option<u64>,
    ) -> Vec<Expectation> {
        let during = || {
            let changes = record.health.iter();
            changes.filter(|it| it.at_ms >= begun_ms && ended_ms.is_none_or(|ended_ms| it.at_ms < ended_ms))
        };
        if health == Health::Healthy {
            let other = during().find(|it| it.status != health.as_str());
            return vec![Expectation {
                what: "/health says healthy all the time".to_owned(),
                found: other.map_or_else(
                    || "it did".to_owned(),
                    |it| format!("{}{} after {}", it.status, lost(&it.lost), ms(it.at_ms - begun_ms)),
                ),
                held: other.is_none(),
            }];
        }
        let within = |at_ms: u64| at_ms - begun_ms <= self.experiment.detect.as_millis() as u64;
        let told = |what: String, first: Option<u64>| Expectation {
            what: format!("{what} within {}", show_span(self.experiment.detect)),
            found: first.map_or_else(|| "it never did".to_owned(), |at_ms| format!("after {}", ms(at_ms - begun_ms))),
            held: first.is_some_and(within),
        };
        let first = |fits: &dyn Fn(&squall_report::record::HealthChange) -> bool| {
            during().find(|it| fits(it)).map(|it| it.at_ms)
        };
        let says = match health {
            Health::Unreachable => "/health cannot be had".to_owned(),
            other => format!("/health says {}", other.as_str()),
        };
        let mut expectations = vec![told(says, first(&|it| it.status == health.as_str()))];
        for feature in &self.experiment.lost {
            expectations.push(told(format!("/health names {feature} as lost"), first(&|it| it.lost.contains(feature))));
        }
        expectations
    }

    fn never_again(&self, window: Window) -> String {
        let Some(ended_ms) = window.ended_ms else { return "the fault was never taken back".to_owned() };
        let last = self.seconds.iter().rev().find_map(|second| second.unsteady.clone());
        let after = self.seconds.iter().filter(|second| second.from_ms >= ended_ms).count();
        format!(
            "never, in {after} seconds; the last that was not: {}",
            last.unwrap_or_else(|| "too few of them".to_owned())
        )
    }

    fn steady_at_the_end(&self) -> Expectation {
        let last = self.seconds.iter().rev().take(self.experiment.steady_seconds());
        let unsteady = last.into_iter().find_map(|second| second.unsteady.clone());
        Expectation {
            what: "steady at the end".to_owned(),
            held: unsteady.is_none(),
            found: unsteady.unwrap_or_else(|| "it was".to_owned()),
        }
    }

    fn phases(&self, registry: &Registry, window: Window) -> Vec<PhaseRecord> {
        let phase = |phase: ExperimentPhase| {
            let tally = &self.tallies[phase as usize];
            let own = || self.seconds.iter().filter(move |it| window.phase(it.from_ms, it.to_ms) == phase);
            let (from_ms, to_ms) = (own().next()?.from_ms, own().next_back()?.to_ms);
            let (total, failed) = requests(registry, tally);
            Some(PhaseRecord {
                phase,
                from_ms,
                to_ms,
                seconds: own().count() as u64,
                steady_seconds: own().filter(|second| second.unsteady.is_none()).count() as u64,
                requests_per_s: (total as f64 * 100_000.0 / (to_ms - from_ms).max(1) as f64).round() / 100.0,
                failed_ratio: (total > 0).then(|| failed as f64 / total as f64),
                latency_p99_ms: latency_p99_ms(registry, tally),
            })
        };
        PHASES.into_iter().filter_map(phase).collect()
    }

    fn budget(&self, registry: &Registry) -> ErrorBudget {
        let sums = self.tallies.iter().map(|tally| requests(registry, tally));
        let (total, failed) = sums.fold((0, 0), |(total, failed), (more, of_them)| (total + more, failed + of_them));
        let allowed = total as f64 * (1.0 - self.experiment.objective);
        let burned = if failed == 0 { 0.0 } else { (failed as f64 / allowed * 1000.0).round() / 1000.0 };
        ErrorBudget { objective: self.experiment.objective, total, failed, burned, during: self.errors.clone() }
    }
}

/// A fault that met nothing proves nothing.
fn struck(record: &RunRecord) -> Vec<Expectation> {
    let faults = record.faults.iter().filter_map(|fault| Some((fault, fault.struck?)));
    let expectation = |(fault, struck): (&FaultRecord, squall_report::record::Struck)| Expectation {
        what: format!("the fault {} strikes", fault.name),
        found: format!("{} connections, {} bytes", struck.connections, struck.bytes),
        held: struck.connections > 0,
    };
    let never = record.faults.iter().filter(|fault| fault.until_ms.is_none()).map(|fault| Expectation {
        what: format!("the fault {} is done and taken back", fault.name),
        found: "it was not".to_owned(),
        held: false,
    });
    faults.map(expectation).chain(never).collect()
}

fn nothing_is_lost(record: &RunRecord) -> Expectation {
    let mut wrong = Vec::new();
    let mut found = "there were no tasks to account for".to_owned();
    if let Some(ledger) = &record.ledger {
        found = format!("{} acknowledged, all accounted for", ledger.acknowledged);
        let duplicated = ledger.duplicated.unexplained;
        for (count, what) in [
            (ledger.lost, "lost"),
            (ledger.pending, "still waiting"),
            (ledger.unexpected, "never published"),
            (ledger.reordered, "out of order"),
            (duplicated, "delivered again without a reason"),
        ] {
            if count > 0 {
                wrong.push(format!("{count} {what}"));
            }
        }
        if !ledger.settled {
            wrong.push("the account was not closed".to_owned());
        }
    }
    if let Some(feed) = &record.feed {
        let shortfall = feed.shortfall.unwrap_or(0);
        for (count, what) in [
            (feed.gaps, "missing in"),
            (feed.repeats, "repeated in"),
            (feed.conflicts, "contradicted in"),
            (shortfall, "never reached by"),
        ] {
            if count > 0 {
                wrong.push(format!("{count} events {what} the feed"));
            }
        }
    }
    Expectation {
        what: "no acknowledged task is lost, no event of the feed is missing".to_owned(),
        held: wrong.is_empty(),
        found: if wrong.is_empty() { found } else { wrong.join(", ") },
    }
}

/// Requests, and those of them that failed; where there are none, tasks that were published over WebSockets.
fn requests(registry: &Registry, tally: &Tally) -> (u64, u64) {
    let measure = |metric| tally.measure(registry, metric, &[]);
    if let Some(Measured::Rate(failed)) = measure("http_req_failed")
        && failed.total > 0
    {
        return (failed.total, failed.hits);
    }
    let count = |metric| match measure(metric) {
        Some(Measured::Counter(count)) => count,
        _ => 0,
    };
    (count("tasks_published"), count("tasks_refused") + count("tasks_unknown"))
}

fn latency_p99_ms(registry: &Registry, tally: &Tally) -> Option<f64> {
    ["http_req_duration", "publish_latency"].iter().find_map(|metric| match tally.measure(registry, metric, &[]) {
        Some(Measured::Trend(trend)) => trend.quantile(0.99).map(|us| us as f64 / 1000.0),
        _ => None,
    })
}

fn said(result: &ThresholdResult) -> String {
    format!("{} {}: {}", result.selector, result.expression, said_found(result))
}

fn said_found(result: &ThresholdResult) -> String {
    match (result.measured, &result.reason) {
        (Some(measured), _) => squall_report::render::amount(measured, result.unit),
        (None, reason) => reason.clone().unwrap_or_else(|| "not measured".to_owned()),
    }
}

fn lost(features: &[String]) -> String {
    if features.is_empty() { String::new() } else { format!(" ({})", features.join(", ")) }
}

fn ms(ms: u64) -> String {
    show_span(std::time::Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use squall_report::record::{HealthChange, Ledger, Struck};
    use squall_report::statistics::Shard;

    use super::*;
    use crate::metrics::Ids;
    use crate::scenario::parse;

    const SCENARIO: &str = "name = \"x\"\n[[load]]\nworkload = \"tasks\"\nexecutor = \"constant-vus\"\nduration = \"20s\"\n\
        [[fault]]\nkind = \"kill\"\nat = \"3s\"\nfor = \"4s\"\n\
        [experiment]\nhypothesis = \"it stands\"\nhealth = \"degraded\"\nlost = [\"publish\"]\ndetect = \"2s\"\nrecover = \"3s\"\nsteady_for = \"2s\"\nobjective = 0.9\n\
        [experiment.steady_state]\nhttp_req_failed = \"rate<0.1\"\n\
        [experiment.during]\nhttp_req_service = \"max<1000\"\n\
        [experiment.abort]\nhttp_req_service = \"max<5000\"\n";

    /// What a second is like: requests that worked, that failed, and how long the slowest took.
    #[derive(Clone, Copy)]
    struct Like(u64, u64, u64);

    const FINE: Like = Like(100, 0, 5);
    const BAD: Like = Like(10, 90, 5);

    /// Plays a second after the other; the fault lasts from second 3 to 7. Answers the record of the experiment, and the first second
    /// that was too much.
    fn play(seconds: &[Like], record: impl FnOnce(&mut RunRecord)) -> (ExperimentRecord, Option<usize>) {
        let scenario = parse("x", SCENARIO).unwrap();
        let mut registry = Registry::new();
        let ids = Ids::new(&mut registry, &["a".to_owned()], &["tasks".to_owned()]).unwrap();
        let mut judge = Judge::new(scenario.experiment.unwrap(), &registry).unwrap();
        let mut run = RunRecord { ended: Ended::Completed, ..RunRecord::default() };
        let fault = FaultRecord { name: "kill-1".to_owned(), at_ms: 3_000, ..FaultRecord::default() };
        run.faults = vec![FaultRecord {
            until_ms: Some(7_000),
            detected_ms: Some(3_100),
            health_ms: Some(4_500),
            metrics_ms: Some(4_000),
            ..fault.clone()
        }];
        run.ledger = Some(Ledger { settled: true, acknowledged: 7, ..Ledger::default() });
        let said = |at_ms, status: &str, lost: &[&str]| HealthChange {
            at_ms,
            gateway: 1,
            status: status.to_owned(),
            lost: lost.iter().map(|&word| word.to_owned()).collect(),
        };
        run.health = vec![said(0, "healthy", &[]), said(4_500, "degraded", &["publish"]), said(7_200, "healthy", &[])];
        let (mut shard, mut tally, mut enough) = (Shard::new(&registry), Tally::new(&registry), None);
        for (second, Like(worked, failed, slowest_ms)) in seconds.iter().enumerate() {
            let (from_ms, to_ms) = (second as u64 * 1_000, second as u64 * 1_000 + 1_000);
            for request in 0..worked + failed {
                shard.rate(ids.loads[0].http_req_failed, request >= *worked);
                shard.trend(ids.loads[0].http_req_service, slowest_ms * 1_000);
            }
            tally = shard.take(tally);
            // What the conductor knows in this second.
            let faults = [FaultRecord { until_ms: (to_ms > 7_000).then_some(7_000), ..fault.clone() }];
            let begun = usize::from(to_ms > 3_000);
            let health = if (4..7).contains(&second) { "degraded" } else { "healthy" };
            let errors = BTreeMap::from([("Kind".to_owned(), *failed)]);
            let told = judge.second((&registry, &tally), (from_ms, to_ms), (&faults, begun), Some(health), &errors);
            if told.is_some() {
                enough.get_or_insert(second);
            }
        }
        record(&mut run);
        (judge.conclude(&registry, &run), enough)
    }

    fn broken(experiment: &ExperimentRecord) -> Vec<String> {
        let broken = experiment.expectations.iter().filter(|it| !it.held);
        broken.map(|it| format!("{}: {}", it.what, it.found)).collect()
    }

    const STOOD: [Like; 12] = [FINE, FINE, FINE, BAD, BAD, BAD, BAD, BAD, FINE, FINE, FINE, FINE];

    #[test]
    fn what_holds_passes_and_is_measured() {
        let (experiment, enough) = play(&STOOD, |_| ());
        assert_eq!((broken(&experiment), experiment.passed, enough), (Vec::<String>::new(), true, None));
        let detected = Detected { health_ms: Some(1_500), metrics_ms: Some(1_000), clients_ms: Some(100) };
        assert_eq!((experiment.detected, experiment.recovered_after_ms), (detected, Some(1_000)));
        let phases: Vec<_> =
            experiment.phases.iter().map(|it| (it.from_ms, it.to_ms, it.seconds, it.steady_seconds)).collect();
        assert_eq!(phases, [(0, 3_000, 3, 3), (3_000, 7_000, 4, 0), (7_000, 12_000, 5, 4)]);
        let budget = &experiment.budget;
        assert_eq!((budget.total, budget.failed, budget.burned), (1_200, 450, 3.75));
        // In the second in which it was taken back as well.
        assert_eq!(budget.during["Kind"], 450);
        assert_eq!(experiment.phases[1].failed_ratio, Some(0.9));
    }

    #[test]
    fn every_expectation_can_fail() {
        let with = |at: usize, like: Like| {
            let mut seconds = STOOD;
            seconds[at] = like;
            seconds
        };
        let late = [FINE, FINE, FINE, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, FINE, FINE, FINE];
        let nothing: fn(&mut RunRecord) = |_| ();
        type Case = (Vec<Like>, fn(&mut RunRecord), &'static str);
        let cases: [Case; 11] = [
            (with(1, BAD).to_vec(), nothing, "steady for 2s before the fault: http_req_failed rate<0.1: 90 %"),
            (with(4, Like(9, 91, 1_500)).to_vec(), nothing, "until it is over http_req_service max<1000: 1.50 s"),
            (late.to_vec(), nothing, "steady again within 3s: after 4s"),
            (
                STOOD[..9].to_vec(),
                nothing,
                "steady again within 3s: never, in 2 seconds; the last that was not: http_req_failed rate<0.1: 90 %",
            ),
            (with(11, BAD).to_vec(), nothing, "steady at the end: http_req_failed rate<0.1: 90 %"),
            (STOOD.to_vec(), |run| run.ended = Ended::Interrupted, "the experiment runs to its end: interrupted"),
            (STOOD.to_vec(), |run| run.health.truncate(1), "/health says degraded within 2s: it never did"),
            (STOOD.to_vec(), |run| run.health[1].at_ms = 5_100, "/health says degraded within 2s: after 2s100ms"),
            (STOOD.to_vec(), |run| run.health[1].lost.clear(), "/health names publish as lost within 2s: it never did"),
            (
                STOOD.to_vec(),
                |run| run.faults[0].struck = Some(Struck::default()),
                "the fault kill-1 strikes: 0 connections, 0 bytes",
            ),
            (
                STOOD.to_vec(),
                |run| run.ledger.as_mut().unwrap().lost = 2,
                "no acknowledged task is lost, no event of the feed is missing: 2 lost",
            ),
        ];
        for (seconds, record, expected) in cases {
            let (experiment, _) = play(&seconds, record);
            assert!(
                !experiment.passed && broken(&experiment).contains(&expected.to_owned()),
                "{expected}: {:?}",
                broken(&experiment)
            );
        }
    }

    #[test]
    fn what_is_too_much_ends_it() {
        let mut seconds = STOOD;
        seconds[5] = Like(1, 1, 6_000);
        let (experiment, enough) = play(&seconds, |run| run.ended = Ended::Aborted);
        assert_eq!(enough, Some(5));
        let expected = "the experiment runs to its end: ended by its abort condition: http_req_service max<5000: 6 s";
        assert!(broken(&experiment).contains(&expected.to_owned()), "{:?}", broken(&experiment));
    }

    #[test]
    fn a_fault_that_never_was_is_no_proof() {
        let (experiment, _) = play(&[FINE; 12], |run| run.faults[0].until_ms = None);
        let broken = broken(&experiment);
        assert!(broken.contains(&"the fault kill-1 is done and taken back: it was not".to_owned()), "{broken:?}");
        assert_eq!(experiment.recovered_after_ms, None);
    }
}
