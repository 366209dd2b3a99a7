//! Squall itself.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::raw::Raw;
use super::{Queue, Tasks, bullmq};
use crate::harness::process::{Core, Server, command, free_port};
use crate::wire::paced::Pace;
use crate::wire::publish::{Published, Until};
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
        let store = if self == Self::Commit { "durability = \"commit\"" } else { "durability = \"interval\"" };
        spawn(dir, store, Core::Server)
    }

    /// Starts a gateway and waits until it is ready.
    pub fn ready(self, dir: &Path) -> Result<Server> {
        ready(self.spawn(dir)?)
    }
}

/// A gateway with this in its `[store]`.
fn spawn(dir: &Path, store: &str, core: Core) -> Result<Server> {
    let port = free_port()?;
    let config = dir.join("squall.toml");
    // One lane without limits, as deep as the deepest case needs; everything else is the default.
    std::fs::write(
        &config,
        format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\ndata_dir = {:?}\n[log]\nlevel = \"warn\"\n\
             [store]\n{store}\n[tasks]\ndefault_lane = \"{LANE}\"\n\
             [lanes.{LANE}]\nmax_depth = 10_000_000\n",
            dir.join("data")
        ),
    )?;
    let program = std::env::var_os("SQUALL").context("SQUALL does not say where the program is; use bench/run")?;
    let mut serve = command(Path::new(&program), core);
    serve.arg("serve").arg("--config").arg(config);
    Server::start(serve, port, dir.join("log"))
}

fn ready(mut server: Server) -> Result<Server> {
    server.wait_until(|address| squall::get(address, "/ready").is_ok())?;
    Ok(server)
}

/// A gateway on the Redis at `address`, ready.
pub fn on_redis(dir: &Path, address: SocketAddr, core: Core) -> Result<Server> {
    ready(spawn(dir, &format!("url = \"redis://{address}/\""), core)?)
}

/// A gateway on the Redis that BullMQ gets too, with the same settings. Both are servers, and share the servers' core.
pub struct OnRedis;

impl Tasks for OnRedis {
    fn name(&self) -> &'static str {
        "Squall, Redis"
    }

    fn start(&self, dir: &Path) -> Result<Box<dyn Queue>> {
        let redis_dir = dir.join("redis");
        std::fs::create_dir(&redis_dir)?;
        let redis = bullmq::redis(&redis_dir)?;
        let server = on_redis(dir, redis.address, Core::Server)?;
        let wire = squall::Squall::new(server.address);
        Ok(Box::new(WithRedis { gateway: Raw { server, wire }, redis }))
    }
}

struct WithRedis {
    gateway: Raw<squall::Squall>,
    redis: Server,
}

impl Queue for WithRedis {
    fn publish(&mut self, connections: u64, in_flight: u64, until: Until) -> Result<Published> {
        self.gateway.publish(connections, in_flight, until)
    }

    fn prioritise(&mut self) -> Result<()> {
        self.gateway.prioritise()
    }

    fn consume(&mut self, acked: &[u64]) -> Result<Duration> {
        self.gateway.consume(acked)
    }

    fn paced(&mut self, pace: Pace) -> Result<Histogram<u64>> {
        self.gateway.paced(pace)
    }

    fn cpu(&self) -> Result<Duration> {
        Ok(self.gateway.cpu()? + self.redis.cpu()?)
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
