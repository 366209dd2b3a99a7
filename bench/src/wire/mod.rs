//! Protocols as the load speaks them: bytes on a blocking socket, no client library on either side.
//!
//! Both systems get the same loops ([`publish`], [`consume`], [`paced`]) with the same windows, and differ only in what
//! a [`Wire`] writes and recognises, so that what is compared is the servers.

pub mod consume;
pub mod inbox;
pub mod jetstream;
pub mod paced;
pub mod publish;
pub mod squall;
pub mod websocket;

use std::net::TcpStream;

use anyhow::Result;

pub use inbox::Inbox;

/// How many deliveries a consumer lets run ahead: credit here, the pull batch there.
pub const WINDOW: usize = 1_000;

/// One protocol. Clones are handed to threads; each connection has its own.
pub trait Wire: Clone + Send + 'static {
    /// A connection that may publish.
    fn producer(&mut self) -> Result<TcpStream>;

    /// From now on tasks have one of three priorities, in turn. An error when the system has none.
    fn prioritise(&mut self) -> Result<()> {
        anyhow::bail!("has no priorities")
    }

    /// Appends one publish of a task; `text` is [`crate::harness::ledger::PAYLOAD_BYTES`] long.
    fn publish(&self, out: &mut Vec<u8>, text: &[u8]);

    /// Takes what has arrived, and says how many publishes were acknowledged. An error when one was refused.
    fn acknowledged(&self, inbox: &mut Inbox, out: &mut Vec<u8>) -> Result<u64>;

    /// A connection that is sent tasks, [`WINDOW`] ahead at most.
    fn consumer(&mut self) -> Result<TcpStream>;

    /// Takes what has arrived: hands each task's text to `each`, and appends its ack, and more credit when it is time.
    fn delivered(
        &mut self,
        inbox: &mut Inbox,
        out: &mut Vec<u8>,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()>;

    /// How many tasks the server still has, waiting or leased.
    fn unfinished(&self) -> Result<u64>;
}
