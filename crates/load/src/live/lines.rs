//! Plain lines, every few seconds: for logs, CI, and terminals that are none.

use std::path::Path;
use std::time::Duration;

use super::{Phase, View, ms, per_second, total, trend};
use crate::scenario::{Scenario, show_span};

/// How often, for a run of that length: some twenty lines in all, at most one every two seconds.
fn every(duration: Duration) -> u64 {
    (duration.as_secs() / 20).clamp(2, 60)
}

pub(crate) struct Lines {
    every_s: u64,
    seconds: u64,
}

impl Lines {
    #[expect(clippy::print_stdout, reason = "this is what is shown")]
    pub(super) fn new(scenario: &Scenario, target: &str, dir: &Path) -> Self {
        let (name, duration) = (&scenario.name, show_span(scenario.duration()));
        println!("{name}: {duration} against {target}, into {}", dir.display());
        Self { every_s: every(scenario.duration()), seconds: 0 }
    }

    #[expect(clippy::print_stdout, reason = "this is what is shown")]
    pub(super) fn second(&mut self, view: &View<'_>) {
        self.seconds += 1;
        if self.seconds.is_multiple_of(self.every_s) || view.phase == Phase::Settle {
            println!("{}", line(view));
        }
    }

    #[expect(clippy::print_stdout, reason = "this is what is shown")]
    pub(super) fn say(&self, text: &str) {
        println!("      {text}");
    }
}

/// One second in one line.
fn line(view: &View<'_>) -> String {
    let waiting: u64 = view.sample.depths.iter().map(|depth| depth.ready + depth.delayed).sum();
    let leased: u64 = view.sample.depths.iter().map(|depth| depth.leased).sum();
    let mut text = format!("{:>5}", show_span(Duration::from_secs(view.at.as_secs())));
    if view.phase == Phase::Settle {
        text += "  settling";
    }
    let mut part = |name: &str, value: String| text += &format!("  {name} {value}");
    if total(view, "tasks_published") > 0 {
        part("acknowledged/s", format!("{:.0}", per_second(view, "tasks_acknowledged")));
        part("done/s", format!("{:.0}", per_second(view, "tasks_acked")));
        if let Some(trend) = trend(view, "task_latency") {
            part("task p50/p99", format!("{}/{} ms", ms(trend.quantile(0.5)), ms(trend.quantile(0.99))));
        }
        part("waiting", format!("{waiting}+{leased}"));
    } else {
        part("requests/s", format!("{:.0}", per_second(view, "http_reqs")));
        if let Some(trend) = trend(view, "http_req_duration") {
            part("p50/p99", format!("{}/{} ms", ms(trend.quantile(0.5)), ms(trend.quantile(0.99))));
        }
    }
    if let Some(active) = view.sample.sessions.get("active").filter(|active| **active > 0) {
        part("sessions", active.to_string());
    }
    let errors: u64 = view.sample.errors.values().sum();
    if errors > 0 {
        part("errors/s", errors.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use squall_report::SecondSample;
    use squall_report::statistics::{Registry, Shard, Tally, Totals};

    use super::*;
    use crate::metrics::Ids;

    #[test]
    fn a_line_says_what_a_second_was() {
        let mut registry = Registry::new();
        let ids = Ids::new(&mut registry, &["gpt4".to_owned()], &["steady".to_owned()]).unwrap();
        let registry = Arc::new(registry);
        let (mut totals, mut shard) = (Totals::new(registry.clone()), Shard::new(&registry));
        shard.count(ids.tasks_published[0][1], 500);
        shard.trend(ids.task_latency[0][1], 2_500);
        totals.absorb(&shard.take(Tally::new(&registry)));
        totals.close_second();
        let sample = SecondSample {
            span_ms: 500,
            counters: [("tasks_acknowledged".to_owned(), 200), ("tasks_acked".to_owned(), 100)].into(),
            sessions: [("active".to_owned(), 3)].into(),
            errors: [("status".to_owned(), 2)].into(),
            ..SecondSample::default()
        };
        let at = Duration::from_millis(61_900);
        let view = View { phase: Phase::Settle, at, left: Duration::ZERO, sample: &sample, totals: &totals };
        assert_eq!(
            line(&view),
            " 1m1s  settling  acknowledged/s 400  done/s 200  task p50/p99 2.50/2.50 ms  waiting 0+0  sessions 3  errors/s 2"
        );
    }
}
