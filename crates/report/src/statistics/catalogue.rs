//! The built-in metrics, in one table: what the storm may record without declaring it.

use super::{
    MetricKind::{self, Counter, Gauge, Rate, Trend},
    Unit::{self, Bytes, Count, Milliseconds, Ratio},
};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// The name, as thresholds write it.
    pub name: &'static str,
    /// How its values add up.
    pub kind: MetricKind,
    /// In what it is shown.
    pub unit: Unit,
    /// One sentence for people.
    pub description: &'static str,
}

const fn row(name: &'static str, kind: MetricKind, unit: Unit, description: &'static str) -> BuiltIn {
    BuiltIn { name, kind, unit, description }
}

/// All built-in metrics, in the order in which summaries show them.
#[rustfmt::skip]
pub const BUILT_IN: &[BuiltIn] = &[
    row("task_latency", Trend, Milliseconds, "from the intended publish of a task until its worker's ack was sent"),
    row("publish_latency", Trend, Milliseconds, "from the intended publish of a task until its acknowledgement"),
    row("delivery_latency", Trend, Milliseconds, "from the intended publish of a task until its first delivery"),
    row("feed_latency", Trend, Milliseconds, "from the time of an event until a subscriber had it"),
    row("session_duration", Trend, Milliseconds, "from creating a session until it was ended"),
    row("http_req_duration", Trend, Milliseconds, "from the intended start of a request until its answer was read"),
    row("http_req_service", Trend, Milliseconds, "from sending a request until its answer was read"),
    row("iteration_duration", Trend, Milliseconds, "one complete iteration of a virtual user"),
    row("generator_lateness", Trend, Milliseconds, "from the intended start until the storm really sent: its own fault"),
    row("recovery_time", Trend, Milliseconds, "from the end of a fault until the target answered again"),

    row("tasks_published", Counter, Count, "tasks that the storm tried to publish"),
    row("tasks_acknowledged", Counter, Count, "publishes that the target acknowledged"),
    row("tasks_refused", Counter, Count, "publishes that the target refused: definitely not accepted"),
    row("tasks_unknown", Counter, Count, "publishes without an answer: accepted or not, nobody knows"),
    row("tasks_delivered", Counter, Count, "deliveries, repeated ones too"),
    row("tasks_acked", Counter, Count, "deliveries that a worker finished"),
    row("tasks_nacked", Counter, Count, "deliveries that a worker gave back"),
    row("tasks_vanished", Counter, Count, "deliveries that a worker took away by dropping its connection"),

    row("lost", Counter, Count, "ledger: acknowledged, and gone"),
    row("pending", Counter, Count, "ledger: acknowledged, and still waiting when the settle time ended"),
    row("recovered", Counter, Count, "ledger: no answer to the publish, and delivered anyway"),
    row("duplicated", Counter, Count, "ledger: deliveries beyond the first, explained or not"),
    row("duplicated_unexplained", Counter, Count, "ledger: deliveries beyond the first without a retry or a fault that explains them"),
    row("reordered", Counter, Count, "ledger: deliveries of a key out of the order of publishing"),
    row("unexpected", Counter, Count, "ledger: deliveries of what was never published, or was refused"),
    row("dead_lettered", Counter, Count, "ledger: tasks that ended in the dead letters"),
    row("dead_letter_rate", Rate, Ratio, "share of the acknowledged tasks that ended in the dead letters"),

    row("sessions_created", Counter, Count, "sessions that the target created"),
    row("sessions_refused", Counter, Count, "sessions refused by the limit"),
    row("session_success", Rate, Ratio, "share of the sessions that went from create to end without an error"),

    row("feed_events", Counter, Count, "events that subscribers received"),
    row("feed_gaps", Counter, Count, "offsets that a subscriber missed without being told, or because the own gateway's store was not what it had been"),
    row("feed_gaps_told", Counter, Count, "offsets that the target said it could not give"),
    row("feed_repeats", Counter, Count, "offsets that a subscriber received again"),
    row("feed_conflicts", Counter, Count, "events that were another one, at the same offset, for another subscriber"),
    row("feed_shortfall", Counter, Count, "offsets that subscribers of the whole feed had not reached when the load was over and the lanes were quiet"),

    row("checks", Rate, Ratio, "share of the checks that held"),
    row("http_reqs", Counter, Count, "requests"),
    row("http_req_failed", Rate, Ratio, "share of the requests without the expected answer"),
    row("iterations", Counter, Count, "complete iterations"),
    row("dropped_iterations", Counter, Count, "iterations that could not start, because no virtual user was free"),
    row("errors", Counter, Count, "errors of any kind; tag kind"),
    row("reconnects", Counter, Count, "connections made again after a drop"),
    row("target_cpu", Gauge, Count, "CPU of the own gateways, on average over the run, in percent of all cores of the machine"),
    row("target_memory_growth", Gauge, Count, "by how many percent the own gateways' memory was larger in the last quarter of the run than in the second"),
    row("vus", Gauge, Count, "virtual users at work"),
    row("vus_max", Gauge, Count, "virtual users that exist"),
    row("data_sent", Counter, Bytes, "bytes sent: bodies of requests, and frames that publish"),
    row("data_received", Counter, Bytes, "bytes received: bodies of answers, payloads of deliveries, events of the feed"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::statistics::{Metric, Registry};

    #[test]
    fn names_are_names_and_unique() {
        let mut seen = HashSet::new();
        for it in BUILT_IN {
            assert!(seen.insert(it.name), "{} twice", it.name);
            let metric =
                Metric { name: it.name.into(), kind: it.kind, unit: it.unit, description: it.description.into() };
            Registry::new().declare(metric).unwrap();
        }
    }
}
