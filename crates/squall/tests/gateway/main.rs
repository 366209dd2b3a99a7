//! The gateway, end to end: real processes, real sockets, real kills. One file per theme; each test starts a gateway of its
//! own and reads as a story about it.
//!
//! They are one program because they are linked once, and share [`support`]. The themes do not depend on each other.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod support;

mod bad_input;
mod clocks;
mod config;
mod crash;
mod feed;
mod graph;
mod history;
mod ingest;
mod metrics;
mod migrate;
mod sessions;
mod several;
mod tasks;
