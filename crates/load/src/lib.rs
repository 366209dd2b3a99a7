//! The storm: scenarios, executors, workloads, faults on a timeline, and the ledger that accounts for every message.
//!
//! In the order in which a run passes through:
//! - [`scenario`]: what to do, read from TOML, with errors that name line and nearest word;
//! - [`executors`]: load shapes with k6's names; closed-form schedules, pure;
//! - [`workloads`]: what a virtual user does;
//! - [`faults`]: what is done to the target, and when; pure;
//! - [`experiment`]: what is supposed to hold meanwhile, and whether it did; pure;
//! - `rig`: servers, programs and fault proxies around the target, and the journal of what must not be left behind;
//! - `target`: own gateways as child processes, or somebody else's; its resources and queues;
//! - `engine`: carries schedules out, one single-threaded runtime per core;
//! - `ledger`: what was published, promised and delivered, and what that means; pure;
//! - `live`: the run on the terminal while it goes on;
//! - `run`: the conductor that brings all of this together.
//!
//! The storm never imports the gateway. It meets it over the network, and kills it for real.

mod engine;
mod error;
pub mod executors;
pub mod experiment;
pub mod faults;
mod ledger;
mod live;
mod metrics;
mod rig;
mod run;
pub mod scenario;
mod target;
pub mod workloads;

pub use error::{Error, Result};
pub use rig::restore;
pub use run::{Finished, KeysInRedis, Plan, Target, Terminal, key_prefix, run};
pub use scenario::Overrides;
