//! A scenario in words, for `squall run --explain`.

use std::fmt::Write;

use super::{Scenario, show_span, without_password};

/// What the scenario does, in plain text.
#[must_use]
pub fn explain(scenario: &Scenario) -> String {
    let mut text = format!("{}: {}\n", scenario.name, scenario.description);
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "\nlasts {}, then up to {} until the lanes are quiet\n\nload",
        show_span(scenario.duration()),
        show_span(scenario.settle)
    );
    for load in &scenario.load {
        let _ = writeln!(text, "  {:<14} {}", load.name, load.workload.describe());
        let start =
            if load.start_time.is_zero() { String::new() } else { format!(", from {}", show_span(load.start_time)) };
        let until = if load.workload.is_consumer() { ", and until the lanes are quiet" } else { "" };
        let _ = writeln!(text, "  {:<14} {}: {}{start}{until}", "", load.executor.name(), load.executor.describe());
    }
    if !scenario.fault.is_empty() {
        text += "\nfaults\n";
        for fault in &scenario.fault {
            let _ = writeln!(text, "  at {:<11} {}", show_span(fault.at), fault.describe(scenario.gateways));
        }
    }
    if let Some(experiment) = &scenario.experiment {
        let _ = writeln!(text, "\nis supposed\n  {}", experiment.hypothesis);
        for (when, conditions) in [
            ("steady", &experiment.steady_state),
            ("until it is over", &experiment.during),
            ("or it is ended", &experiment.abort),
        ] {
            for condition in conditions {
                let _ = writeln!(text, "  {when:<22} {} {}", condition.metric, condition.condition);
            }
        }
        if let Some(health) = experiment.health {
            let lost = if experiment.lost.is_empty() {
                String::new()
            } else {
                format!(", {} lost", experiment.lost.join(", "))
            };
            let _ = writeln!(
                text,
                "  {:<22} {}{lost}, within {}",
                "/health says",
                health.as_str(),
                show_span(experiment.detect)
            );
        }
        let (steady_for, recover) = (show_span(experiment.steady_for), show_span(experiment.recover));
        let _ = writeln!(text, "  steady for {steady_for} before, and again within {recover} after the fault");
    }
    text += "\nmust hold\n";
    for threshold in &scenario.thresholds {
        let abort = if threshold.abort_on_fail { "  (ends the run when it fails)" } else { "" };
        let _ = writeln!(text, "  {:<22} {}{abort}", threshold.metric, threshold.condition);
    }
    if scenario.accounts_for_tasks() {
        text += "  every acknowledged task is delivered, or among the dead letters with a reason (else exit code 98)\n";
    }
    let services: Vec<_> = scenario.services.iter().map(|service| service.as_str()).collect();
    if !services.is_empty() {
        let _ = writeln!(text, "\nstarts {} for the own gateways, where no address is given", services.join(" and "));
    }
    if let Some(sources) = scenario.sources {
        let (files, functions) = (sources.files, sources.functions);
        let _ = writeln!(
            text,
            "\nmakes a tree of {files} source files, {functions} functions each, for the own gateways to read"
        );
    }
    for process in &scenario.process {
        let _ = writeln!(text, "\nstarts {} as {}", process.command.join(" "), process.name);
    }
    for proxy in &scenario.proxy {
        let _ = writeln!(text, "\nputs the fault proxy {} on {}, before {}", proxy.name, proxy.listen, proxy.upstream);
    }
    if scenario.gateways > 1 {
        let store = scenario.store_url().map_or_else(|| "a Redis that --store names".to_owned(), without_password);
        let _ = writeln!(text, "\n{} own gateways, which share {store} (ignored with --target)", scenario.gateways);
    }
    if !scenario.target.is_empty() {
        let settings = toml::to_string(&scenario.target).unwrap_or_default();
        text += "\nthe own gateway is set so (ignored with --target)\n";
        for line in settings.lines().filter(|line| !line.is_empty()) {
            let _ = writeln!(text, "  {}", without_password(line));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::scenario::{built_in, experiments, explain, list};

    #[test]
    fn says_load_faults_and_promises() {
        for (name, _) in list().into_iter().chain(experiments()) {
            let text = explain(&built_in(name).unwrap());
            for needle in ["lasts ", "\nload\n", "\nmust hold\n"] {
                assert!(text.contains(needle), "{name}: {text}");
            }
            let of_events = ["event-storm", "ten-clients", "hundred-clients", "sustained-analysis"];
            assert!(text.contains("98") || of_events.contains(&name), "{name} accounts for no task: {text}");
        }
        assert!(explain(&built_in("demo").unwrap()).contains("SIGKILL of the own gateway"));
        assert!(explain(&built_in("event-storm").unwrap()).contains("makes a tree of 500 source files"));
        let text = explain(&built_in("redis-down").unwrap());
        for needle in [
            "is supposed\n  While Redis is away",
            "steady                 http_req_failed rate<0.01",
            "starts redis for",
            "publish, deliver",
        ] {
            assert!(text.contains(needle), "{needle}: {text}");
        }
        let mut several = built_in("several").unwrap();
        assert!(explain(&several).contains("3 own gateways, which share a Redis that --store names"));
        several.target = toml::from_str("[store]\nurl = \"redis://me:s3cret@h:1/\"").unwrap();
        let text = explain(&several);
        assert!(text.contains("which share redis://…@h:1/ (") && !text.contains("s3cret"), "{text}");
        assert!(text.contains("SIGKILL of gateway 2"), "{text}");
    }
}
