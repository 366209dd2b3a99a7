//! The scenarios that come with the program: storms, and experiments. They are also the examples.

use super::{Scenario, read};

macro_rules! texts {
    ($folder:literal: $($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../scenarios/", $folder, $name, ".toml")))),*]
    };
}

/// Name and text of each.
const STORMS: [(&str, &str); 10] = texts!("":
    "demo",
    "light",
    "medium",
    "heavy",
    "several",
    "baseline",
    "event-storm",
    "ten-clients",
    "hundred-clients",
    "sustained-analysis",
);

const EXPERIMENTS: [(&str, &str); 13] = texts!("chaos/":
    "redis-latency",
    "redis-timeout",
    "redis-down",
    "postgres-latency",
    "postgres-timeout",
    "postgres-down",
    "network-jitter",
    "gateway-crash",
    "gateway-pause",
    "slow-subscriber",
    "worker-vanish",
    "disk-full",
    "client-flap",
);

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    STORMS.into_iter().chain(EXPERIMENTS)
}

/// What all of them are called.
pub(super) fn names() -> Vec<&'static str> {
    all().map(|(name, _)| name).collect()
}

/// Name and description of every built-in storm.
#[must_use]
pub fn list() -> Vec<(&'static str, String)> {
    described(&STORMS)
}

/// Name and description of every built-in experiment, in the order in which all of them are done.
#[must_use]
pub fn experiments() -> Vec<(&'static str, String)> {
    described(&EXPERIMENTS)
}

fn described(scenarios: &[(&'static str, &'static str)]) -> Vec<(&'static str, String)> {
    let describe = |&(name, text)| Some((name, read::read(name, text).ok()?.description));
    scenarios.iter().filter_map(describe).collect()
}

/// A built-in storm or experiment, or `None` when there is none of that name.
#[must_use]
pub fn built_in(name: &str) -> Option<Scenario> {
    let (name, text) = all().find(|(own, _)| *own == name)?;
    // The test below reads each of them.
    let mut scenario = read::read(name, text).ok()?;
    scenario.file = "built-in".to_owned();
    Some(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    #[test]
    fn built_in_scenarios_can_be_read() {
        for (name, text) in all() {
            let scenario = parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(scenario.name, name);
            assert!(!scenario.thresholds.is_empty(), "{name} promises nothing");
        }
        assert_eq!((list().len(), experiments().len()), (STORMS.len(), EXPERIMENTS.len()));
    }

    #[test]
    fn every_experiment_is_one_and_leaves_time_to_recover() {
        for (name, text) in EXPERIMENTS {
            let scenario = parse(name, text).unwrap();
            let experiment = scenario.experiment.as_ref().unwrap_or_else(|| panic!("{name} supposes nothing"));
            let last = scenario.fault.last().unwrap_or_else(|| panic!("{name} has no fault"));
            let needed = last.at + last.lasts + experiment.recover + experiment.steady_for;
            assert!(scenario.duration() >= needed, "{name} ends before it can tell");
            assert!(scenario.fault[0].at >= experiment.steady_for, "{name} does not look before it acts");
        }
    }
}
