//! The fault proxy over real sockets. Times have generous bounds, since machines are busy; order and bytes are exact.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod api;
mod beyond;
mod defects;
mod kit;
mod pass;
mod raw;
mod toxics;
