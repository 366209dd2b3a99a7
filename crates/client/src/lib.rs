//! The typed client of Squall, over HTTP and WebSocket, that reconnects and resumes.
//!
//! Nothing here spawns a task, and nothing here keeps a pool: a connection belongs to the value that opened it and moves
//! only while somebody awaits that value. A thousand clients in one thread are a thousand sockets and little else.
//!
//! Layout, from the outside in:
//! - [`Endpoint`]: where the gateway is, and the token to show it; [`Endpoints`]: several that act as one, the next when one is gone;
//! - [`http`]: one keep-alive HTTP/1.1 connection, raw requests and the typed calls of the whole surface;
//! - [`work`]: `/ws/work`, pipelined publishing and deliveries; [`work::Worker`] reconnects by itself;
//! - [`events`]: `/ws/events`; a subscriber that resumes after the last event that it has seen;
//! - [`Backoff`]: how long to wait before the next attempt, pure;
//! - [`Error`]: "refused" and "outcome unknown" are told apart, because a ledger lives on the difference.
//!
//! What the words on the wire are is `squall-protocol`'s business; what to do with an answer is the caller's.

pub mod backoff;
mod deadline;
pub mod endpoint;
pub mod endpoints;
pub mod error;
pub mod events;
pub mod http;
pub mod options;
pub mod work;
pub mod ws;

pub use self::http::Http;
pub use backoff::Backoff;
pub use endpoint::Endpoint;
pub use endpoints::Endpoints;
pub use error::{Error, Lost, Result};
pub use events::Subscriber;
pub use options::Options;
pub use work::{Work, Worker};
