//! Node's `ws`: what an idle WebSocket costs elsewhere.

use std::path::Path;

use anyhow::Result;

use super::bullmq::scripts;
use crate::harness::process::{Core, Server, command, free_port};

/// Starts a server that accepts and does nothing.
pub fn start(dir: &Path) -> Result<Server> {
    let port = free_port()?;
    let mut node = command(Path::new("node"), Core::Server);
    node.arg(scripts().join("idle.mjs")).arg(port.to_string());
    let mut server = Server::start(node, port, dir.join("log"))?;
    server.wait_for_port()?;
    Ok(server)
}
