//! Which metrics the storm records, and under which ids. Names, kinds and units are `squall-report`'s; which tags they
//! carry is decided here, before the run: lane and priority for tasks, the load for iterations and requests, the kind for
//! errors, the name for checks.

use squall_client::Error;
use squall_protocol::{ErrorCode, Priority};
use squall_report::statistics::{CounterId, GaugeId, RateId, Registry, RegistryError, TrendId};
use squall_report::thresholds::{OneOrMany, ThresholdConfig, ThresholdSpec, Thresholds};

use crate::scenario::Threshold;

/// Errors without a code from the gateway come first, then the codes.
const PLAIN_ERRORS: [&str; 6] = ["connect", "timeout", "lost", "protocol", "status", "closed"];

const CODES: [ErrorCode; 28] = [
    ErrorCode::InvalidJson,
    ErrorCode::InvalidRequest,
    ErrorCode::UnknownFrame,
    ErrorCode::UnknownLane,
    ErrorCode::NotFound,
    ErrorCode::MethodNotAllowed,
    ErrorCode::Conflict,
    ErrorCode::SessionEnded,
    ErrorCode::SessionLimit,
    ErrorCode::LaneFull,
    ErrorCode::NotHeld,
    ErrorCode::NotCancellable,
    ErrorCode::ReplayLimit,
    ErrorCode::TooLarge,
    ErrorCode::Unauthorized,
    ErrorCode::Forbidden,
    ErrorCode::BadSignature,
    ErrorCode::NoRule,
    ErrorCode::Policy,
    ErrorCode::Overloaded,
    ErrorCode::TooManyConnections,
    ErrorCode::StoreFull,
    ErrorCode::StoreUnavailable,
    ErrorCode::HistoryUnavailable,
    ErrorCode::Draining,
    ErrorCode::Timeout,
    ErrorCode::Internal,
    // Twice, so that a code that is added to the protocol has somewhere to go until it is listed.
    ErrorCode::Internal,
];

/// What kind of error it was, as an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorKind(usize);

impl ErrorKind {
    /// An answer with a status that nobody wanted.
    pub(crate) const STATUS: Self = Self(4);
    /// The gateway closed a WebSocket.
    const CLOSED: Self = Self(5);

    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Connect { .. } => Self(0),
            Error::Timeout { .. } => Self(1),
            Error::Lost { .. } if error.close_code().is_some() => Self::CLOSED,
            Error::Lost { .. } => Self(2),
            Error::Protocol(_) => Self(3),
            Error::Refused { error, .. } => Self::of_code(error.code),
        }
    }

    pub(crate) fn of_code(code: ErrorCode) -> Self {
        let index = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len() - 1);
        Self(PLAIN_ERRORS.len() + index)
    }
}

/// The names of all kinds of errors, by index.
pub(crate) fn error_names() -> Vec<String> {
    PLAIN_ERRORS.iter().map(|name| (*name).to_owned()).chain(CODES.iter().map(|code| format!("{code:?}"))).collect()
}

/// What is checked, whatever the scenario says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    SessionCreated,
    SessionUpdated,
    SessionEnded,
    SessionReport,
    HttpStatus,
    FeedOrder,
}

impl Check {
    const NAMES: [&str; 6] = [
        "session_created",
        "session_updated",
        "session_ended",
        "session_report_adds_up",
        "http_status",
        "feed_offsets_follow",
    ];
}

/// A metric by lane and priority.
pub(crate) type ByLane<T> = Vec<[T; 3]>;

/// The ids of everything.
#[derive(Debug)]
pub(crate) struct Ids {
    pub(crate) task_latency: ByLane<TrendId>,
    pub(crate) publish_latency: ByLane<TrendId>,
    pub(crate) delivery_latency: ByLane<TrendId>,
    pub(crate) tasks_published: ByLane<CounterId>,
    pub(crate) tasks_acknowledged: ByLane<CounterId>,
    pub(crate) tasks_refused: ByLane<CounterId>,
    pub(crate) tasks_unknown: ByLane<CounterId>,
    pub(crate) tasks_delivered: ByLane<CounterId>,
    pub(crate) tasks_acked: ByLane<CounterId>,
    pub(crate) tasks_nacked: ByLane<CounterId>,
    pub(crate) tasks_vanished: ByLane<CounterId>,
    pub(crate) loads: Vec<LoadIds>,
    errors: Vec<CounterId>,
    checks: Vec<RateId>,
    pub(crate) feed_latency: TrendId,
    pub(crate) feed_events: CounterId,
    pub(crate) feed_gaps: CounterId,
    pub(crate) feed_gaps_told: CounterId,
    pub(crate) feed_repeats: CounterId,
    pub(crate) feed_conflicts: CounterId,
    pub(crate) feed_shortfall: CounterId,
    pub(crate) session_duration: TrendId,
    pub(crate) sessions_created: CounterId,
    pub(crate) sessions_refused: CounterId,
    pub(crate) session_success: RateId,
    pub(crate) reconnects: CounterId,
    pub(crate) data_sent: CounterId,
    pub(crate) data_received: CounterId,
    pub(crate) vus: GaugeId,
    pub(crate) vus_max: GaugeId,
    pub(crate) recovery_time: TrendId,
    pub(crate) target_cpu: GaugeId,
    pub(crate) target_memory_growth: GaugeId,
    pub(crate) ledger: LedgerIds,
}

/// The ids of one load.
#[derive(Debug)]
pub(crate) struct LoadIds {
    pub(crate) iterations: CounterId,
    pub(crate) dropped_iterations: CounterId,
    pub(crate) iteration_duration: TrendId,
    pub(crate) generator_lateness: TrendId,
    pub(crate) http_reqs: CounterId,
    pub(crate) http_req_failed: RateId,
    pub(crate) http_req_duration: TrendId,
    pub(crate) http_req_service: TrendId,
}

/// What the ledger adds at the end.
#[derive(Debug)]
pub(crate) struct LedgerIds {
    pub(crate) lost: CounterId,
    pub(crate) pending: CounterId,
    pub(crate) recovered: CounterId,
    pub(crate) duplicated: CounterId,
    pub(crate) duplicated_unexplained: CounterId,
    pub(crate) reordered: CounterId,
    pub(crate) unexpected: CounterId,
    pub(crate) dead_lettered: CounterId,
    pub(crate) dead_letter_rate: RateId,
}

impl Ids {
    /// Interns everything that a run may record. `lanes` are all that tasks may come over.
    pub(crate) fn new(registry: &mut Registry, lanes: &[String], loads: &[String]) -> Result<Self, RegistryError> {
        let load = |name: &String, registry: &mut Registry| {
            let tags: &[(&str, &str)] = &[("load", name)];
            Ok(LoadIds {
                iterations: registry.counter("iterations", tags)?,
                dropped_iterations: registry.counter("dropped_iterations", tags)?,
                iteration_duration: registry.trend("iteration_duration", tags)?,
                generator_lateness: registry.trend("generator_lateness", tags)?,
                http_reqs: registry.counter("http_reqs", tags)?,
                http_req_failed: registry.rate("http_req_failed", tags)?,
                http_req_duration: registry.trend("http_req_duration", tags)?,
                http_req_service: registry.trend("http_req_service", tags)?,
            })
        };
        let mut tags_of_lanes = Vec::new();
        for lane in lanes {
            tags_of_lanes
                .push(Priority::ALL.map(|priority| [("lane", lane.as_str()), ("priority", priority.as_str())]));
        }
        let mut trends = |name| each(&tags_of_lanes, |tags| registry.trend(name, tags));
        let (task_latency, publish_latency) = (trends("task_latency")?, trends("publish_latency")?);
        let delivery_latency = trends("delivery_latency")?;
        let mut counters = |name| each(&tags_of_lanes, |tags| registry.counter(name, tags));
        Ok(Self {
            task_latency,
            publish_latency,
            delivery_latency,
            tasks_published: counters("tasks_published")?,
            tasks_acknowledged: counters("tasks_acknowledged")?,
            tasks_refused: counters("tasks_refused")?,
            tasks_unknown: counters("tasks_unknown")?,
            tasks_delivered: counters("tasks_delivered")?,
            tasks_acked: counters("tasks_acked")?,
            tasks_nacked: counters("tasks_nacked")?,
            tasks_vanished: counters("tasks_vanished")?,
            loads: loads.iter().map(|name| load(name, registry)).collect::<Result<_, _>>()?,
            errors: error_names()
                .iter()
                .map(|kind| registry.counter("errors", &[("kind", kind)]))
                .collect::<Result<_, _>>()?,
            checks: Check::NAMES
                .iter()
                .map(|check| registry.rate("checks", &[("check", check)]))
                .collect::<Result<_, _>>()?,
            feed_latency: registry.trend("feed_latency", &[])?,
            feed_events: registry.counter("feed_events", &[])?,
            feed_gaps: registry.counter("feed_gaps", &[])?,
            feed_gaps_told: registry.counter("feed_gaps_told", &[])?,
            feed_repeats: registry.counter("feed_repeats", &[])?,
            feed_conflicts: registry.counter("feed_conflicts", &[])?,
            feed_shortfall: registry.counter("feed_shortfall", &[])?,
            session_duration: registry.trend("session_duration", &[])?,
            sessions_created: registry.counter("sessions_created", &[])?,
            sessions_refused: registry.counter("sessions_refused", &[])?,
            session_success: registry.rate("session_success", &[])?,
            reconnects: registry.counter("reconnects", &[])?,
            data_sent: registry.counter("data_sent", &[])?,
            data_received: registry.counter("data_received", &[])?,
            vus: registry.gauge("vus", &[])?,
            vus_max: registry.gauge("vus_max", &[])?,
            recovery_time: registry.trend("recovery_time", &[])?,
            target_cpu: registry.gauge("target_cpu", &[])?,
            target_memory_growth: registry.gauge("target_memory_growth", &[])?,
            ledger: LedgerIds {
                lost: registry.counter("lost", &[])?,
                pending: registry.counter("pending", &[])?,
                recovered: registry.counter("recovered", &[])?,
                duplicated: registry.counter("duplicated", &[])?,
                duplicated_unexplained: registry.counter("duplicated_unexplained", &[])?,
                reordered: registry.counter("reordered", &[])?,
                unexpected: registry.counter("unexpected", &[])?,
                dead_lettered: registry.counter("dead_lettered", &[])?,
                dead_letter_rate: registry.rate("dead_letter_rate", &[])?,
            },
        })
    }

    pub(crate) fn error(&self, kind: ErrorKind) -> CounterId {
        self.errors[kind.0]
    }

    pub(crate) fn check(&self, check: Check) -> RateId {
        self.checks[check as usize]
    }
}

fn each<T>(
    lanes: &[[[(&str, &str); 2]; 3]],
    mut intern: impl FnMut(&[(&str, &str)]) -> Result<T, RegistryError>,
) -> Result<ByLane<T>, RegistryError> {
    lanes.iter().map(|[a, b, c]| Ok([intern(a)?, intern(b)?, intern(c)?])).collect()
}

/// Whether it is known only when the load is over, so that it can end no run early.
pub(crate) fn is_after_load(selector: &str) -> bool {
    const METRICS: [&str; 4] = ["feed_shortfall", "recovery_time", "target_cpu", "target_memory_growth"];
    is_of_ledger(selector) || METRICS.contains(&metric_of(selector))
}

fn metric_of(selector: &str) -> &str {
    selector.split('{').next().unwrap_or_default().trim()
}

/// Whether the ledger says it, and nobody else.
pub(crate) fn is_of_ledger(selector: &str) -> bool {
    const METRICS: [&str; 9] = [
        "lost",
        "pending",
        "recovered",
        "duplicated",
        "duplicated_unexplained",
        "reordered",
        "unexpected",
        "dead_lettered",
        "dead_letter_rate",
    ];
    METRICS.contains(&metric_of(selector))
}

/// Reads one condition as the verdict will read it.
pub(crate) fn check_threshold(metric: &str, condition: &str) -> Result<(), String> {
    let config = [(metric.to_owned(), OneOrMany::One(ThresholdSpec::Short(condition.to_owned())))];
    match Thresholds::parse(&config.into_iter().collect(), &Registry::new()) {
        Ok(_) => Ok(()),
        Err(errors) => Err(errors.first().map(ToString::to_string).unwrap_or_default()),
    }
}

/// Thresholds of a scenario as the verdict reads them.
pub(crate) fn thresholds(thresholds: &[Threshold], registry: &Registry) -> Result<Thresholds, String> {
    let mut config = ThresholdConfig::new();
    for threshold in thresholds {
        let spec = ThresholdSpec::Full(squall_report::thresholds::FullSpec {
            threshold: threshold.condition.clone(),
            abort_on_fail: threshold.abort_on_fail,
            delay_abort_eval_ms: threshold.delay_abort_eval.as_millis() as u64,
        });
        match config.entry(threshold.metric.clone()).or_insert_with(|| OneOrMany::Many(Vec::new())) {
            OneOrMany::Many(specs) => specs.push(spec),
            OneOrMany::One(_) => {}
        }
    }
    let said = |errors: Vec<squall_report::thresholds::ThresholdError>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let thresholds = Thresholds::parse(&config, registry).map_err(said)?;
    thresholds.check_series(registry).map_err(said)?;
    Ok(thresholds)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use squall_report::statistics::{BUILT_IN, MetricKind, Unit};

    use super::*;

    const INTRO: &str = "# Metrics

What the storm measures. Kinds are k6's: a *trend* is a distribution (`avg`, `min`, `med`, `max`, `p(N)`), a *counter* answers
`count` and `rate` (per second of the load), a *rate* is a share, a *gauge* a level. Thresholds choose among the tags with
`metric{tag:value}`. This page is made from the code (`SQUALL_BLESS=1 cargo test -p squall-load metrics`).

**Task latency** is what the profiles promise, so here is what it is: from the moment at which a task *should* have been published
(the executor's schedule, not the moment of sending) until a worker has finished it and its ack leaves. It contains the wait for
the connection, the publish, the commit, the queue, the delivery, the worker's own work, and every retry and outage in between.
`publish_latency` and `delivery_latency` are the parts until the acknowledgement and until the first delivery.

";

    /// Which tags a metric carries.
    fn tags(registry: &Registry, name: &str) -> String {
        let mut names: Vec<&str> = registry.tag_sets(name).flatten().map(|(tag, _)| tag.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_built_in_metric_is_recorded_and_documented() {
        let mut registry = Registry::new();
        Ids::new(&mut registry, &["a".to_owned()], &["b".to_owned()]).unwrap();
        let mut page = INTRO.to_owned() + "| metric | kind | unit | tags | what |\n|---|---|---|---|---|\n";
        for it in BUILT_IN {
            assert!(registry.tag_sets(it.name).count() > 0, "nobody records {}", it.name);
            let unit = match it.unit {
                Unit::Milliseconds => "ms",
                Unit::Bytes => "bytes",
                Unit::Count if it.kind == MetricKind::Trend => "",
                Unit::Count | Unit::Ratio => "",
            };
            let tags = tags(&registry, it.name);
            writeln!(page, "| `{}` | {} | {unit} | {tags} | {} |", it.name, it.kind, it.description).unwrap();
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/metrics.md");
        if std::env::var_os("SQUALL_BLESS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == page, "docs/guide/metrics.md is not what the code says; see its third line");
    }

    #[test]
    fn every_code_of_the_protocol_has_a_name_of_its_own() {
        let mut names = error_names();
        assert_eq!(names.pop().as_deref(), Some("Internal"), "the last one is there twice");
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        let kind = ErrorKind::of_code(ErrorCode::LaneFull);
        assert_eq!(error_names()[kind.0], "LaneFull");
    }
}
