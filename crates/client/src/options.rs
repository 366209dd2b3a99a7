//! What every connection of this client is opened with: time-outs and bounds.

use std::time::Duration;

/// Time-outs and bounds of one connection. The defaults suit a gateway on the same network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// From the first SYN to an open socket, name lookup and WebSocket handshake included.
    pub connect_timeout: Duration,
    /// From sending a request to the last byte of its answer. Calls that wait on purpose (a lease) add their wait.
    pub request_timeout: Duration,
    /// The largest answer or message that is taken; a larger one is [`crate::Error::Protocol`].
    pub max_message_bytes: usize,
    /// A WebSocket on which nothing was heard for so long is pinged, and given up when the same time passes again.
    pub keepalive: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            max_message_bytes: 64 << 20,
            keepalive: Duration::from_secs(20),
        }
    }
}
