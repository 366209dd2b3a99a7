//! NATS JetStream, file storage, one server, no replicas.

use std::path::Path;

use anyhow::Result;

use super::raw::Raw;
use super::{Queue, Tasks};
use crate::harness::process::{Core, Server, command, free_port};
use crate::wire::jetstream::JetStream;

/// What a publish acknowledgement means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Written; on disk two minutes later at the latest. What one gets without asking.
    Default,
    /// On disk.
    Always,
}

impl Sync {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        if self == Self::Always { "JetStream, sync always" } else { "JetStream" }
    }

    /// Starts a server on `dir`, which may hold a stream already. Does not wait for it.
    pub fn spawn(self, dir: &Path) -> Result<Server> {
        let port = free_port()?;
        let sync = if self == Self::Always { "sync_interval: always" } else { "" };
        let config = dir.join("nats.conf");
        std::fs::write(
            &config,
            format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {:?}, {sync} }}\n", dir.join("data")),
        )?;
        let program = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let mut nats = command(Path::new(&program), Core::Server);
        nats.arg("-c").arg(config);
        Server::start(nats, port, dir.join("log"))
    }
}

impl Tasks for Sync {
    fn name(&self) -> &'static str {
        Sync::name(*self)
    }

    fn start(&self, dir: &Path) -> Result<Box<dyn Queue>> {
        let mut server = self.spawn(dir)?;
        server.wait_for_port()?;
        let wire = JetStream::new(server.address);
        wire.create_stream()?;
        Ok(Box::new(Raw { server, wire }))
    }
}
