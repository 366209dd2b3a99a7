//! Ports of loopback that nobody has yet.

use std::io;
use std::net::TcpListener;

use crate::process::Server;
use crate::{Error, Result};

/// So often another port is tried.
const TRIES: usize = 20;

/// A port of loopback that nobody listens on just now.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> io::Result<u16> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr().map(|address| address.port())
}

/// Starts a server on a free port. One that was free a moment ago may be taken by now; then another one is.
pub(crate) fn on_a_free_port(start: impl Fn(u16) -> Result<Server>) -> Result<(Server, u16)> {
    let mut tries = TRIES;
    loop {
        let port = free_port().map_err(Error::system("a free port of 127.0.0.1"))?;
        tries -= 1;
        match start(port) {
            Err(Error::Ended { log, .. }) if tries > 0 && log.contains("Address already in use") => {}
            other => return other.map(|server| (server, port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn another_port_is_taken_when_somebody_was_faster_and_for_no_other_reason() {
        for (log, starts) in [("bind: Address already in use", TRIES), ("Bad directive", 1)] {
            let started = Cell::new(0);
            let error = on_a_free_port(|_| {
                started.set(started.get() + 1);
                Err(Error::Ended { program: "redis-server".to_owned(), log: log.to_owned() })
            });
            assert_eq!(error.unwrap_err().to_string(), format!("redis-server ended before it was up: {log}"));
            assert_eq!(started.get(), starts);
        }
    }
}
