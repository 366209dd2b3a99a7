//! Squall and JetStream: the same loops over different bytes.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::Queue;
use crate::harness::process::Server;
use crate::wire::paced::{Pace, paced};
use crate::wire::publish::{Published, Until, publish};
use crate::wire::{Wire, consume};

/// A server and its protocol.
pub struct Raw<W> {
    /// The process.
    pub server: Server,
    /// How it is spoken to.
    pub wire: W,
}

impl<W: Wire> Queue for Raw<W> {
    fn publish(&mut self, connections: u64, in_flight: u64, until: Until) -> Result<Published> {
        publish(&self.wire, connections, in_flight, until)
    }

    fn prioritise(&mut self) -> Result<()> {
        self.wire.prioritise()
    }

    fn consume(&mut self, acked: &[u64]) -> Result<Duration> {
        let start = Instant::now();
        Ok(consume::consume(&mut self.wire, acked)?.settled - start)
    }

    fn paced(&mut self, pace: Pace) -> Result<Histogram<u64>> {
        paced(&self.wire, pace)
    }

    fn cpu(&self) -> Result<Duration> {
        self.server.cpu()
    }
}
