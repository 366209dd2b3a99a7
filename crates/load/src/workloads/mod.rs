//! What a virtual user does. One file each: configuration beside behaviour. A virtual user owns its connections, lives on
//! one core, and reconnects by itself when the target comes back; of several gateways it uses the next when its own is gone.

mod homecoming;
mod http;
mod patience;
mod publish;
mod sessions;
mod subscribers;
mod tasks;
mod workers;

use std::rc::Rc;

pub use http::Http;
pub(crate) use publish::key_name;
use serde::Serialize;
pub use sessions::Sessions;
use squall_client::Endpoints;
pub use subscribers::Subscribers;
pub use tasks::{Mix, Tasks, Transport};
use tokio_util::sync::CancellationToken;
pub use workers::Workers;

use crate::engine::Core;
use crate::scenario::{ScenarioError, Section};

/// What a load does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "workload", rename_all = "snake_case")]
pub enum Workload {
    /// Creates, updates, and ends sessions, and publishes in them.
    Sessions(Sessions),
    /// Publishes tasks.
    Tasks(Tasks),
    /// Consumes tasks.
    Workers(Workers),
    /// Follows the feed.
    Subscribers(Subscribers),
    /// Sends a request to any HTTP service.
    Http(Http),
}

impl Workload {
    pub(crate) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        const NAMES: [(&str, u8); 5] = [("sessions", 0), ("tasks", 1), ("workers", 2), ("subscribers", 3), ("http", 4)];
        let name = section.text("workload")?.ok_or_else(|| section.error("`workload` is missing"))?;
        Ok(match section.choice("workload", &name, &NAMES)? {
            0 => Self::Sessions(Sessions::read(section)?),
            1 => Self::Tasks(Tasks::read(section)?),
            2 => Self::Workers(Workers::read(section)?),
            3 => Self::Subscribers(Subscribers::read(section)?),
            _ => Self::Http(Http::read(section)?),
        })
    }

    /// The word in scenarios.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sessions(_) => "sessions",
            Self::Tasks(_) => "tasks",
            Self::Workers(_) => "workers",
            Self::Subscribers(_) => "subscribers",
            Self::Http(_) => "http",
        }
    }

    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Sessions(it) => it.describe(),
            Self::Tasks(it) => it.describe(),
            Self::Workers(it) => it.describe(),
            Self::Subscribers(it) => it.describe(),
            Self::Http(it) => it.describe(),
        }
    }

    /// Whether its VUs stay connected and live off what others publish. They stay until the lanes are quiet.
    #[must_use]
    pub const fn is_consumer(&self) -> bool {
        matches!(self, Self::Workers(_) | Self::Subscribers(_))
    }

    /// Whether it publishes tasks.
    #[must_use]
    pub fn publishes(&self) -> bool {
        match self {
            Self::Tasks(_) => true,
            Self::Sessions(it) => it.events_per_min > 0.0,
            _ => false,
        }
    }

    /// The lanes that it publishes to or consumes from.
    #[must_use]
    pub fn lanes(&self) -> Vec<&str> {
        match self {
            Self::Tasks(it) => it.mix.lanes.iter().map(String::as_str).collect(),
            Self::Sessions(it) => it.mix.lanes.iter().map(String::as_str).collect(),
            Self::Workers(it) => it.lanes.iter().map(String::as_str).collect(),
            Self::Subscribers(_) | Self::Http(_) => Vec::new(),
        }
    }
}

/// What a VU knows about its place.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) core: Rc<Core>,
    /// Index of its load.
    pub(crate) load: usize,
    /// Its number among all VUs of that load, over all cores.
    pub(crate) number: u64,
    /// Whether iterations start when they should (open) or when the last one is over (closed).
    pub(crate) open: bool,
    /// It should come to an end.
    pub(crate) stop: CancellationToken,
}

impl Place {
    /// The target as this VU uses it: VUs are spread over its gateways.
    fn gateways(&self) -> Endpoints {
        let run = &self.core.run;
        let way = match run.loads[self.load].workload {
            Workload::Workers(_) => &run.ways.workers,
            Workload::Subscribers(_) => &run.ways.subscribers,
            Workload::Sessions(_) | Workload::Tasks(_) | Workload::Http(_) => &run.ways.clients,
        };
        way.spread(self.number + self.load as u64)
    }
}

/// One virtual user.
pub(crate) enum Vu {
    Sessions(Box<sessions::Vu>),
    Tasks(Box<tasks::Vu>),
    Workers(workers::Vu),
    Subscribers(Box<subscribers::Vu>),
    Http(Box<http::Vu>),
}

impl Vu {
    pub(crate) fn new(workload: &Workload, place: Place) -> Self {
        match workload {
            Workload::Sessions(it) => Self::Sessions(Box::new(sessions::Vu::new(it.clone(), place))),
            Workload::Tasks(it) => Self::Tasks(Box::new(tasks::Vu::new(it.clone(), place))),
            Workload::Workers(it) => Self::Workers(workers::Vu::new(it.clone(), place)),
            Workload::Subscribers(it) => Self::Subscribers(Box::new(subscribers::Vu::new(it.clone(), place))),
            Workload::Http(it) => Self::Http(Box::new(http::Vu::new(it.clone(), place))),
        }
    }

    /// One iteration, which should have started at `intended_us` of the run's clock.
    pub(crate) async fn iterate(&mut self, intended_us: u64) {
        match self {
            Self::Sessions(vu) => vu.iterate(intended_us).await,
            Self::Tasks(vu) => vu.iterate(intended_us).await,
            Self::Workers(vu) => vu.iterate().await,
            Self::Subscribers(vu) => vu.iterate().await,
            Self::Http(vu) => vu.iterate(intended_us).await,
        }
    }
}
