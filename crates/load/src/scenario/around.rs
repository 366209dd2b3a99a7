//! What a scenario wants around the target: servers for own gateways, programs of its own, fault proxies.

use serde::Serialize;

use super::read::read_name;
use super::{ScenarioError, Section};

/// A real server on a free port of loopback, for the own gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// `redis-server`, which syncs each command to disk; it keeps what the gateways keep, unless `--store` names another.
    Redis,
    /// PostgreSQL, for the archive, unless `archive.url` names another.
    Postgres,
}

impl Service {
    const CHOICES: [(&'static str, Self); 2] = [("redis", Self::Redis), ("postgres", Self::Postgres)];

    /// What it is called, in scenarios and as a process that a fault is done to.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    pub(super) fn read_all(section: &mut Section<'_>) -> Result<Vec<Self>, ScenarioError> {
        let words = section.texts("services")?.unwrap_or_default();
        let mut services = Vec::new();
        for word in words {
            let service = section.choice("service", &word, &Self::CHOICES)?;
            if services.contains(&service) {
                return Err(section.error_at(word.at, format!("{} is named twice", service.as_str())));
            }
            services.push(service);
        }
        Ok(services)
    }
}

/// One `[[process]]`: a program that is started before the target, and ended after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// What faults call it.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `host:port`: it is ready when somebody listens there. Absent: as soon as it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
}

impl Process {
    pub(super) fn read(mut section: Section<'_>) -> Result<Self, ScenarioError> {
        let name = read_name(&mut section)?.ok_or_else(|| section.error("`name` is missing"))?;
        if Service::CHOICES.iter().any(|(service, _)| *service == name.value) {
            let message = format!("{:?} is what the service of this name is called: take another", name.value);
            return Err(section.error_at(name.at, message));
        }
        let command = section.texts("command")?.unwrap_or_default();
        if command.is_empty() {
            return Err(section.error("`command` is missing: [\"program\", \"argument\", …]"));
        }
        let ready = section.text("ready")?;
        if let Some(ready) = ready.as_ref().filter(|ready| !is_address(&ready.value)) {
            return Err(section.error_at(ready.at, format!("`ready` must be host:port, not {:?}", ready.value)));
        }
        section.finish()?;
        Ok(Self {
            name: name.value,
            command: command.into_iter().map(|word| word.value).collect(),
            ready: ready.map(|ready| ready.value),
        })
    }
}

/// One `[[proxy]]`: a fault proxy that the scenario places itself, between whom it likes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// What faults call it.
    pub name: String,
    /// `host:port`.
    pub listen: String,
    /// `host:port`.
    pub upstream: String,
}

impl Proxy {
    pub(super) fn read(mut section: Section<'_>) -> Result<Self, ScenarioError> {
        let mut text = |key, is_fine: fn(&str) -> bool, expected| {
            let text = section.text(key)?.ok_or_else(|| section.error(format!("`{key}` is missing")))?;
            if !is_fine(&text.value) {
                return Err(section.error_at(text.at, format!("`{key}` must be {expected}, not {:?}", text.value)));
            }
            Ok(text.value)
        };
        let known =
            |name: &str| !crate::faults::Link::KNOWN.iter().any(|(known, _)| *known == name) && !name.is_empty();
        let proxy = Self {
            name: text("name", known, "a name that no proxy has by itself")?,
            listen: text("listen", is_address, "host:port")?,
            upstream: text("upstream", is_address, "host:port")?,
        };
        section.finish()?;
        Ok(proxy)
    }
}

/// `[sources]`: a tree of Rust files that is made for the run, for the own gateways to read (`graph.root`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sources {
    /// How many files, ten in a folder.
    pub files: u32,
    /// Functions in each, which call one another.
    pub functions: u32,
}

impl Sources {
    pub(super) fn read(mut section: Section<'_>) -> Result<Self, ScenarioError> {
        let files = section.whole("files", 1, 100_000)?.ok_or_else(|| section.error("`files` is missing"))?;
        let functions = section.whole("functions", 1, 1_000)?.unwrap_or(10);
        section.finish()?;
        Ok(Self { files: files as u32, functions: functions as u32 })
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}
