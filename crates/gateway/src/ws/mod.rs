//! WebSockets: the upgrade, and the two kinds of connection.
//!
//! [`upgrade`] takes the socket out of the HTTP server, [`reader`] is its reading side and
//! [`decode`] what comes over it, [`deflate`] its compression, [`parse`] what is read, [`frame`] what is written;
//! [`work`] serves workers and pipelined producers, [`events`] the subscribers of the feed.

mod decode;
pub(crate) mod deflate;
pub(crate) mod deliver;
pub(crate) mod events;
pub(crate) mod frame;
mod parse;
pub(crate) mod reader;
pub(crate) mod upgrade;
pub(crate) mod work;

use std::time::Duration;

/// How long a peer may take to read what it is owed and to answer a close, before it is dropped.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A close that nothing was wrong with.
pub(crate) const NORMAL: u16 = 1000;

/// The answer to a text `ping`.
pub(crate) const PONG: &[u8] = br#"{"type":"pong"}"#;
