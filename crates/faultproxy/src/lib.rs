//! The fault proxy of Squall: TCP proxies whose connections meet the faults of networks, set through Toxiproxy's HTTP
//! API or from inside a program.
//!
//! Modules in the order in which data passes through them: [`config`] and `json` say what is wanted, `spec` are the
//! words for it; `api` is the HTTP, `control` is [`FaultProxy`], all proxies of a program; `proxy` is one, with its
//! listener; `link` is one connection, a shell of sockets around `chain`, the toxics of one direction, and [`toxics`],
//! one file each. `schedule` says when a toxic is on, `distribution` how latencies are spread, `draw` whom chance
//! strikes; these decide and know no clock. `metrics` counts.
//!
//! What a fault means to whoever is tested, and when it is to begin, is left to the caller.

mod api;
mod chain;
pub mod config;
mod control;
mod distribution;
mod draw;
mod error;
mod json;
mod link;
mod metrics;
mod proxy;
mod schedule;
mod spec;
pub mod toxics;

pub use api::serve;
pub use config::Options;
pub use control::FaultProxy;
pub use distribution::{Bucket, Shape};
pub use draw::Seed;
pub use error::{ConfigError, Error};
pub use metrics::{ProxyFigures, ToxicFigures};
pub use schedule::Schedule;
pub use spec::{Direction, ProxySpec, ProxyUpdate, ProxyView, ToxicSpec, ToxicUpdate, ToxicView};
pub use toxics::Attributes;
