//! Squall itself.

use std::path::Path;

use anyhow::{Context, Result};

use super::raw::Raw;
use super::{Queue, Tasks};
use crate::harness::process::{Core, Server, command, free_port};
use crate::wire::squall::{self, LANE};

/// What an acknowledgement means; the names are the configuration's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk. What one gets without asking.
    Commit,
    /// Written; on disk 100 ms later at the latest.
    Interval,
}

impl Durability {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        if self == Self::Commit { "Squall" } else { "Squall, interval" }
    }

    /// Starts a gateway on `dir`, which may hold a store already. Does not wait for it.
    pub fn spawn(self, dir: &Path) -> Result<Server> {
        let port = free_port()?;
        let durability = if self == Self::Commit { "commit" } else { "interval" };
        let config = dir.join("squall.toml");
        // One lane without limits, as deep as the deepest case needs; everything else is the default.
        std::fs::write(
            &config,
            format!(
                "[server]\nlisten = \"127.0.0.1:{port}\"\ndata_dir = {:?}\n[log]\nlevel = \"warn\"\n\
                 [store]\ndurability = \"{durability}\"\n[tasks]\ndefault_lane = \"{LANE}\"\n\
                 [lanes.{LANE}]\nmax_depth = 10_000_000\n",
                dir.join("data")
            ),
        )?;
        let program = std::env::var_os("SQUALL").context("SQUALL does not say where the program is; use bench/run")?;
        let mut serve = command(Path::new(&program), Core::Server);
        serve.arg("serve").arg("--config").arg(config);
        Server::start(serve, port, dir.join("log"))
    }

    /// Starts a gateway and waits until it is ready.
    pub fn ready(self, dir: &Path) -> Result<Server> {
        let mut server = self.spawn(dir)?;
        server.wait_until(|address| squall::get(address, "/ready").is_ok())?;
        Ok(server)
    }
}

impl Tasks for Durability {
    fn name(&self) -> &'static str {
        Durability::name(*self)
    }

    fn start(&self, dir: &Path) -> Result<Box<dyn Queue>> {
        let server = self.ready(dir)?;
        let wire = squall::Squall::new(server.address);
        Ok(Box::new(Raw { server, wire }))
    }
}
