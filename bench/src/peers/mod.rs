//! The systems that are compared: how each is started, and which protocol it speaks.

pub mod bullmq;
pub mod jetstream;
pub mod nchan;
pub mod node_ws;
pub mod raw;
pub mod squall;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::wire::paced::Pace;
use crate::wire::publish::{Published, Until};

/// A task queue that can be started.
pub trait Tasks {
    /// As it stands in the table.
    fn name(&self) -> &'static str;

    /// Starts it on an empty directory, ready for the first task.
    fn start(&self, dir: &Path) -> Result<Box<dyn Queue>>;
}

/// A task queue that runs. Every verb checks what it counted.
pub trait Queue {
    /// Publishes; all that was sent is acknowledged in the end.
    fn publish(&mut self, connections: u64, in_flight: u64, until: Until) -> Result<Published>;

    /// From now on tasks have one of three priorities, in turn. An error when the system has none.
    fn prioritise(&mut self) -> Result<()>;

    /// Delivers and acknowledges exactly those, over one connection.
    fn consume(&mut self, acked: &[u64]) -> Result<Duration>;

    /// An open loop; nanoseconds from due to received.
    fn paced(&mut self, pace: Pace) -> Result<Histogram<u64>>;

    /// CPU time of the server so far.
    fn cpu(&self) -> Result<Duration>;
}
