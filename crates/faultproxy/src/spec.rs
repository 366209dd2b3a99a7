//! What proxies and toxics are to be, and what they are: the values that go into and come out of [`crate::FaultProxy`].

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::schedule::Schedule;
use crate::toxics::Attributes;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the client to the server.
    Upstream = 0,
    /// From the server to the client.
    Downstream = 1,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Upstream, Self::Downstream];

    /// `upstream` or `downstream`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        }
    }

    /// Reads it, in letters of any size.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.as_str().eq_ignore_ascii_case(text))
    }
}

/// A proxy that is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxySpec {
    /// Its name, not empty.
    pub name: String,
    /// `host:port`; port 0 takes a free one, no host is every address. Empty: a free port of loopback.
    pub listen: String,
    /// `host:port`, looked up anew for every connection.
    pub upstream: String,
    /// Whether it listens.
    pub enabled: bool,
    /// There from the first connection on, which Toxiproxy cannot do.
    pub toxics: Vec<ToxicSpec>,
}

impl ProxySpec {
    /// From a free port of loopback to `upstream`, without toxics.
    #[must_use]
    pub fn new(name: impl Into<String>, upstream: impl Into<String>) -> Self {
        Self { name: name.into(), listen: String::new(), upstream: upstream.into(), enabled: true, toxics: Vec::new() }
    }
}

/// What is to change of a proxy. Everything else stays, toxics too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyUpdate {
    /// Where it listens; another one closes its connections.
    pub listen: Option<String>,
    /// Where it connects to; another one closes its connections.
    pub upstream: Option<String>,
    /// `false` closes its listener and all its connections.
    pub enabled: Option<bool>,
}

/// A toxic that is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct ToxicSpec {
    /// Unique in its proxy, over both directions; empty: type and stream, as in `latency_downstream`.
    pub name: String,
    /// On which way.
    pub direction: Direction,
    /// The direction as the caller spelled it, and is answered.
    pub(crate) stream: String,
    /// The share of connections that it strikes: 0 none, 1 all.
    pub toxicity: f32,
    /// What it does.
    pub attributes: Attributes,
    /// When it is on; `None`: always.
    pub schedule: Option<Schedule>,
}

impl ToxicSpec {
    /// On all connections, always.
    #[must_use]
    pub fn new(direction: Direction, attributes: Attributes) -> Self {
        Self {
            name: String::new(),
            direction,
            stream: direction.as_str().to_owned(),
            toxicity: 1.0,
            attributes,
            schedule: None,
        }
    }

    /// Its name, given or made.
    pub(crate) fn full_name(&self) -> String {
        if self.name.is_empty() {
            format!("{}_{}", self.attributes.type_name(), self.stream)
        } else {
            self.name.clone()
        }
    }
}

/// What is to change of a toxic. Connections stay, and so does what the toxic holds of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToxicUpdate {
    /// The share of connections that it strikes.
    pub toxicity: Option<f32>,
    /// Attributes by name; others stay.
    pub attributes: Map<String, Value>,
    /// Another schedule, from now, or none.
    pub schedule: Option<Option<Schedule>>,
}

/// A proxy as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProxyView {
    /// Its name.
    pub name: String,
    /// Where it listens; with the port that it got, once it does.
    pub listen: String,
    /// Where it connects to.
    pub upstream: String,
    /// Whether it listens.
    pub enabled: bool,
    /// Those of upstream first, each in the order in which they were added.
    pub toxics: Vec<ToxicView>,
}

/// A toxic as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ToxicView {
    /// What it does.
    pub attributes: Attributes,
    /// Its name.
    pub name: String,
    /// Its direction, as it was spelled.
    pub stream: String,
    /// The share of connections that it strikes.
    pub toxicity: f32,
    /// When it is on.
    pub schedule: Option<Schedule>,
    /// Whether it is on now.
    pub active: bool,
}

impl Serialize for ToxicView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("attributes", &self.attributes.to_json())?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("type", self.attributes.type_name())?;
        map.serialize_entry("stream", &self.stream)?;
        // Go writes 1, not 1.0; a client that reads whole numbers only must not fail on ours.
        if self.toxicity.fract() == 0.0 && self.toxicity.abs() < 1e6 {
            map.serialize_entry("toxicity", &(self.toxicity as i64))?;
        } else {
            map.serialize_entry("toxicity", &self.toxicity)?;
        }
        if let Some(schedule) = &self.schedule {
            map.serialize_entry("schedule", schedule.as_str())?;
            map.serialize_entry("active", &self.active)?;
        }
        map.end()
    }
}
