//! The gateway: lanes, sessions, feed, webhooks, auth and limits over HTTP and WebSocket.
//!
//! Layout, in the order in which a request passes through:
//! - [`config`]: how it is set;
//! - `server`: connections, up to a bound, and the drain; `app` is what they share;
//! - `auth`, `check`, `signature`: who calls, what they may do, and whether what they say makes sense;
//! - `http`: one file per area; `ws`: workers, producers and subscribers;
//! - `ingest`: what other programs left in Redis becomes tasks and sessions; `rules` it shares with the webhooks;
//! - `feed`: every event read once, encoded once, shared by all who follow;
//! - `graph`: the symbols of a source tree, analysed by a thread of its own, which tells the feed what changed;
//! - `runs`: the storm's runs that lie in a directory, for the console;
//! - `metrics`, `health_file`: what it tells of itself;
//! - `error`: what goes wrong, and the one place where that becomes a status or a close code;
//! - `weakness`: bugs that a test plants in a debug build, to see that they are found.
//!
//! It decides nothing about tasks and sessions: that is the store's. Only `http` and `ws` know the HTTP framework.

pub mod config;

mod app;
mod auth;
mod check;
mod error;
mod feed;
mod graph;
mod health_file;
mod http;
mod ingest;
mod metrics;
mod place;
mod rules;
mod runs;
mod server;
mod signature;
#[cfg(debug_assertions)]
mod weakness;
mod ws;

pub use config::{Config, ConfigError};
pub use error::Error;
pub use server::{Bound, Gateway};

/// The OpenAPI document of this gateway, as `/openapi.json` answers it.
#[must_use]
pub fn openapi() -> &'static [u8] {
    http::openapi::text()
}
