//! Scenarios: what to do to a target, for how long, with which faults, and what must hold. One TOML file each; the built-in
//! ones are also the examples. Reading and explaining are done here; carrying out is the business of `run`.

mod around;
mod built_in;
mod explain;
mod overrides;
mod read;
pub(crate) mod source;

use std::path::Path;
use std::time::Duration;

pub use around::{Process, Proxy, Service, Sources};
pub use built_in::{built_in, experiments, list};
pub use explain::explain;
pub use overrides::Overrides;
use serde::Serialize;
pub(crate) use source::Section;
pub use source::{ScenarioError, parse_span, show_span};

use crate::error::{Error, Result};
use crate::executors::Executor;
use crate::experiment::Experiment;
use crate::faults::{Fault, Link};
use crate::workloads::Workload;

/// A scenario as read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scenario {
    /// What it is called; part of the run directory's name.
    pub name: String,
    /// One or two sentences.
    pub description: String,
    /// How long to wait, after the load, for the lanes to become quiet.
    #[serde(serialize_with = "as_text")]
    pub settle: Duration,
    /// How many own gateways there are. Several need a store that they share: `store.url` in `target`.
    #[serde(skip_serializing_if = "is_one")]
    pub gateways: u32,
    /// Settings of the own gateway, over its defaults: the sections of `squall.toml`.
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    pub target: toml::Table,
    /// Servers that are started for the own gateways, where no address is given for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// A source tree that is made for the own gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Sources>,
    /// Programs that are started before everything else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub process: Vec<Process>,
    /// Fault proxies besides those that lie before and behind own gateways.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy: Vec<Proxy>,
    /// The loads, in the order of the file.
    pub load: Vec<Load>,
    /// The faults, in the order of time.
    pub fault: Vec<Fault>,
    /// Metric selectors with their conditions, in k6's grammar.
    pub thresholds: Vec<Threshold>,
    /// Limits on the generator's own misbehaviour.
    pub generator: Generator,
    /// What is supposed to hold while a fault lasts, and after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<Experiment>,
    /// Where it came from: the file, or `built-in`.
    #[serde(skip)]
    pub file: String,
}

/// One `[[load]]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// What it is called in reports.
    pub name: String,
    /// When it begins, from the start of the run.
    #[serde(serialize_with = "as_text")]
    pub start_time: Duration,
    /// How long iterations that run when it ends may go on.
    #[serde(serialize_with = "as_text")]
    pub graceful_stop: Duration,
    /// What its VUs do.
    #[serde(flatten)]
    pub workload: Workload,
    /// How many of them, or how often.
    #[serde(flatten)]
    pub executor: Executor,
}

/// A condition on a metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// `task_latency`, `task_latency{lane:gpt4}`.
    pub metric: String,
    /// `p(99)<500`.
    pub condition: String,
    /// End the run as soon as it fails.
    pub abort_on_fail: bool,
    /// Not before so long.
    #[serde(serialize_with = "as_text")]
    pub delay_abort_eval: Duration,
}

/// When the storm says that it, and not the target, was the limit: the run is then invalid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Generator {
    /// Own lateness, 99th percentile, milliseconds. Time while the target was down does not count less.
    pub max_lateness_p99_ms: f64,
    /// Dropped iterations, as a share of all that should have started.
    pub max_dropped: f64,
}

impl Default for Generator {
    fn default() -> Self {
        Self { max_lateness_p99_ms: 100.0, max_dropped: 0.05 }
    }
}

/// An address in a text, without the user and password in it.
pub(crate) fn without_password(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &text[..scheme], &text[at..]),
        _ => text.to_owned(),
    }
}

pub(crate) fn as_text<S: serde::Serializer>(span: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&show_span(*span))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_one(number: &u32) -> bool {
    *number == 1
}

/// Own gateways at most.
pub(crate) const MOST_GATEWAYS: u32 = 16;

/// Reads a scenario from a text; `file` is what it is called in errors.
///
/// # Errors
/// When it is not TOML or not a scenario: the first mistake, with its line.
pub fn parse(file: &str, text: &str) -> std::result::Result<Scenario, ScenarioError> {
    read::read(file, text)
}

/// Reads a scenario from a file.
///
/// # Errors
/// When the file cannot be read, or is not a scenario.
pub fn parse_file(path: &Path) -> Result<Scenario> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Error::Usage(format!("{file}: {error}")))?;
    Ok(read::read(&file, &text)?)
}

/// A built-in name, or else a path.
///
/// # Errors
/// When it is neither: names the nearest built-in scenario.
pub fn find(name_or_path: &str) -> Result<Scenario> {
    if let Some(scenario) = built_in(name_or_path) {
        return Ok(scenario);
    }
    let path = Path::new(name_or_path);
    if path.exists() || path.extension().is_some() || name_or_path.contains('/') {
        return parse_file(path);
    }
    Err(Error::Usage(source::unknown("scenario", name_or_path, &built_in::names()) + " (or the path of a TOML file)"))
}

impl Scenario {
    /// From the start to the end of the last load; settling comes after.
    #[must_use]
    pub fn duration(&self) -> Duration {
        let of_loads = |wanted: fn(&Workload) -> bool| {
            let ends = self.load.iter().filter(|load| wanted(&load.workload));
            ends.map(|load| load.start_time + load.executor.duration()).max()
        };
        // Workers and subscribers stay as long as there is something to do for them, so they do not say how long it is,
        // unless there is nothing else.
        of_loads(|workload| !workload.is_consumer()).or_else(|| of_loads(|_| true)).unwrap_or_default()
    }

    /// Lets the load last so long: start times and stages keep their place in proportion, faults theirs.
    pub(crate) fn last(&mut self, duration: Duration) {
        let factor = duration.as_secs_f64() / self.duration().as_secs_f64().max(0.001);
        for load in &mut self.load {
            load.start_time = load.start_time.mul_f64(factor);
            load.executor.stretch(factor);
        }
    }

    /// The Redis that the own gateways use; `None` for the embedded store.
    #[must_use]
    pub fn store_url(&self) -> Option<&str> {
        self.store_setting("url")
    }

    /// A setting of the own gateways' store that is a text, and not an empty one.
    #[must_use]
    pub fn store_setting(&self, name: &str) -> Option<&str> {
        self.setting("store", name)
    }

    /// The PostgreSQL of the own gateways' archive.
    #[must_use]
    pub fn archive_url(&self) -> Option<&str> {
        self.setting("archive", "url")
    }

    fn setting(&self, section: &str, name: &str) -> Option<&str> {
        let text = self.target.get(section)?.get(name)?.as_str()?;
        (!text.is_empty()).then_some(text)
    }

    /// Sets a setting of the own gateways to a text.
    pub(crate) fn set(&mut self, section: &str, name: &str, text: String) {
        let section = self.target.entry(section).or_insert_with(|| toml::Table::new().into());
        if let Some(section) = section.as_table_mut() {
            section.insert(name.to_owned(), text.into());
        }
    }

    /// Whether the own gateways have a Redis, given or started for them.
    #[must_use]
    pub fn has_redis(&self) -> bool {
        self.store_url().is_some() || self.services.contains(&Service::Redis)
    }

    /// Whether one of the faults is in a proxy of this kind.
    pub(crate) fn has_faults_in(&self, link: &Link) -> bool {
        self.fault.iter().any(|fault| fault.deed.links().contains(link))
    }

    /// Whether tasks are published.
    #[must_use]
    pub fn has_ledger(&self) -> bool {
        self.load.iter().any(|load| load.workload.publishes())
    }

    /// Whether there is somebody who publishes and somebody who consumes, so that every task can be accounted for.
    #[must_use]
    pub fn accounts_for_tasks(&self) -> bool {
        self.has_ledger() && self.load.iter().any(|load| matches!(load.workload, Workload::Workers(_)))
    }

    /// Whether it speaks to a gateway at all, and not only to some HTTP service.
    #[must_use]
    pub fn needs_gateway(&self) -> bool {
        // A fault may as well be done to a program of the scenario, or in a proxy of its own; an experiment asks for /health.
        self.experiment.is_some()
            || !self.services.is_empty()
            || self.fault.iter().any(|fault| fault.deed.needs_own_gateway())
            || self.load.iter().any(|load| !matches!(load.workload, Workload::Http(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        let error = find("lihgt").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"unknown scenario "lihgt"; did you mean "light"? (or the path of a TOML file)"#
        );
        assert!(error.is_usage());
    }
}
