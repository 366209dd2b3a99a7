//! The toxics, one file each: its attributes, as the API has them, and its stage, a small function from what comes in
//! to what goes out. Time and randomness are arguments; nothing here knows a socket or a clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::chain::{Cut, Next, Waiting};
use crate::metrics::ToxicCounters;

mod bandwidth;
mod corrupt;
mod drop_connection;
mod half_open;
mod latency;
mod limit_data;
mod noop;
mod reset_peer;
mod slicer;
mod slow_close;
mod stall;
mod timeout;

pub use bandwidth::Bandwidth;
pub use corrupt::Corrupt;
pub use drop_connection::DropConnection;
pub use half_open::HalfOpen;
pub use latency::Latency;
pub use limit_data::LimitData;
pub use noop::Noop;
pub use reset_peer::ResetPeer;
pub use slicer::Slicer;
pub use slow_close::SlowClose;
pub use stall::Stall;
pub use timeout::Timeout;

/// How long a connection is kept whose peer has closed, when a toxic keeps the proxy from saying so. The peer's own
/// system forgets a closed connection after about as long (`tcp_fin_timeout`), so nobody is left to notice.
pub(crate) const ORPHAN: Duration = Duration::from_secs(60);

/// How late a stage may have been called and still keep to the times it meant, instead of starting anew: timers and
/// schedulers are late by up to some milliseconds, and without this they would add up.
const CREDIT: Duration = Duration::from_millis(5);

/// What a toxic does on one direction of one connection.
pub(crate) trait Stage: Send {
    /// Its attributes were changed; what waits at it is still there.
    fn update(&mut self, attributes: &Attributes, now: Instant);

    /// Whether more may be put before it. One thing at a time, unless it is its business to hold things back.
    fn takes(&self, waiting: &Waiting) -> bool {
        waiting.is_empty()
    }

    /// What comes out now.
    fn next(&mut self, waiting: &mut Waiting, now: Instant) -> Next;

    /// Whether it ends the connection, whatever is still under way.
    fn cut(&mut self, _waiting: &Waiting, _now: Instant) -> Cut {
        Cut::No
    }

    /// Whether the connection must end when this toxic goes, because bytes were thrown away.
    fn is_broken(&self) -> bool {
        false
    }
}

/// What a stage begins with.
pub(crate) struct Begin {
    pub(crate) now: Instant,
    pub(crate) rng: fastrand::Rng,
    /// The connection was open already when the toxic came.
    pub(crate) was_open: bool,
    pub(crate) counters: Arc<ToxicCounters>,
}

/// The attributes of one kind of toxic.
trait Kind: Default + Clone + PartialEq + Serialize + DeserializeOwned {
    /// All its attributes.
    const NAMES: &'static [&'static str];

    /// Says what makes no sense.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn begin(&self, begin: Begin) -> Box<dyn Stage>;
}

macro_rules! toxics {
    ($($name:literal $kind:ident,)*) => {
        /// What a toxic does: its type, with its attributes.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Attributes {
            $(
                #[doc = concat!("`", $name, "`")]
                $kind($kind),
            )*
        }

        impl Attributes {
            /// The types there are.
            pub const TYPES: &'static [&'static str] = &[$($name),*];

            /// A toxic of this type with the default of every attribute, if there is such a type.
            #[must_use]
            pub fn of_type(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$kind($kind::default())),)*
                    _ => None,
                }
            }

            /// The type.
            #[must_use]
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => $name,)*
                }
            }

            /// The names of its attributes.
            pub(crate) fn names(&self) -> &'static [&'static str] {
                match self {
                    $(Self::$kind(_) => $kind::NAMES,)*
                }
            }

            /// These with some others over them; names that are none of its are ignored, as Toxiproxy does.
            ///
            /// # Errors
            /// Names the attribute, and says what is wrong with its value.
            pub fn with(&self, over: &Map<String, Value>) -> Result<Self, String> {
                match self {
                    $(Self::$kind(attributes) => merged(attributes, over).map(Self::$kind),)*
                }
            }

            /// Says what makes no sense.
            pub(crate) fn check(&self) -> Result<(), String> {
                match self {
                    $(Self::$kind(attributes) => attributes.check(),)*
                }
            }

            /// As the API shows them.
            pub(crate) fn to_json(&self) -> Value {
                match self {
                    $(Self::$kind(attributes) => serde_json::to_value(attributes).unwrap_or_default(),)*
                }
            }

            pub(crate) fn begin(&self, begin: Begin) -> Box<dyn Stage> {
                match self {
                    $(Self::$kind(attributes) => attributes.begin(begin),)*
                }
            }
        }
    };
}

toxics! {
    "latency" Latency,
    "bandwidth" Bandwidth,
    "slow_close" SlowClose,
    "timeout" Timeout,
    "reset_peer" ResetPeer,
    "slicer" Slicer,
    "limit_data" LimitData,
    "noop" Noop,
    "corrupt" Corrupt,
    "drop_connection" DropConnection,
    "stall" Stall,
    "half_open" HalfOpen,
}

fn merged<K: Kind>(attributes: &K, over: &Map<String, Value>) -> Result<K, String> {
    let Ok(Value::Object(mut all)) = serde_json::to_value(attributes) else { return Ok(attributes.clone()) };
    for (name, value) in over {
        let name = name.to_lowercase();
        if value.is_null() || !K::NAMES.contains(&name.as_str()) {
            continue;
        }
        // One at a time, so that the error can say which.
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<K>(Value::Object(alone)).map_err(|error| format!("attributes.{name}: {error}"))?;
        all.insert(name, value.clone());
    }
    let merged: K = serde_json::from_value(Value::Object(all)).map_err(|error| format!("attributes: {error}"))?;
    merged.check().map_err(|error| format!("attributes: {error}"))?;
    Ok(merged)
}

/// Longest time that a toxic waits; more is as good as for ever, and clocks can still add it.
const MOST: u64 = 1_000_000_000_000;

/// Milliseconds of the API: what is negative is none.
fn ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).min(MOST))
}

/// Microseconds of the API.
fn us(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0).min(MOST))
}

/// When a stage that was to act at `meant` counts on from, having been called at `now`.
fn on_time(meant: Option<Instant>, now: Instant) -> Instant {
    meant.filter(|meant| now.saturating_duration_since(*meant) < CREDIT).unwrap_or(now)
}

#[cfg(test)]
mod tests;
