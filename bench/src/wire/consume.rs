//! Takes and acknowledges everything that waits, over one connection.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Inbox, Wire};
use crate::harness::ledger::{Ledger, read_stamp};
use crate::harness::process::PATIENCE;

/// When things happened.
pub struct Consumed {
    /// The first task came.
    pub first: Instant,
    /// The server said that nothing was left: all delivered, and all acks applied.
    pub settled: Instant,
}

/// Consumes exactly the acknowledged tasks.
pub fn consume<W: Wire>(wire: &mut W, acked: &[u64]) -> Result<Consumed> {
    let mut stream = wire.consumer()?;
    let mut ledger = Ledger::new(acked);
    let (mut inbox, mut out) = (Inbox::default(), Vec::new());
    let mut first = None;
    while ledger.left() > 0 {
        inbox.fill(&mut stream)?;
        wire.delivered(&mut inbox, &mut out, &mut |text| {
            first.get_or_insert_with(Instant::now);
            let (producer, number, _) = read_stamp(text)?;
            ledger.delivered(producer, number)
        })?;
        if !out.is_empty() {
            stream.write_all(&out)?;
            out.clear();
        }
    }
    settle(wire)?;
    let settled = Instant::now();
    // Anything that still arrives came twice. The acks are applied, so nothing is due.
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    if inbox.fill(&mut stream).is_ok() {
        wire.delivered(&mut inbox, &mut out, &mut |text| {
            let (producer, number, _) = read_stamp(text)?;
            ledger.delivered(producer, number)
        })?;
    }
    Ok(Consumed { first: first.unwrap_or(settled), settled })
}

/// Waits until the server has nothing left.
pub fn settle<W: Wire>(wire: &W) -> Result<()> {
    let start = Instant::now();
    loop {
        let left = wire.unfinished()?;
        if left == 0 {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "all was delivered and acknowledged, but {left} tasks are still there");
        thread::sleep(Duration::from_millis(1));
    }
}
