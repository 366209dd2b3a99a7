//! Publishes as fast as the window allows: what is acknowledged is replaced at once, in one write.

use std::io::Write;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::{Inbox, Wire};
use crate::harness::clock::now_ns;
use crate::harness::ledger::{PAYLOAD_BYTES, stamp};

/// How much is published.
#[derive(Clone, Copy)]
pub enum Until {
    /// For a time; the first part does not count.
    Time {
        /// Not counted.
        warm_up: Duration,
        /// Counted.
        measured: Duration,
    },
    /// So many per connection.
    Count(u64),
}

/// What came of it.
pub struct Published {
    /// Acknowledged, by connection; all that was sent was acknowledged in the end.
    pub acked: Vec<u64>,
    /// Acknowledged per second, in the part that counts.
    pub per_s: f64,
}

/// Publishes over `connections`, each with `in_flight` unacknowledged.
pub fn publish<W: Wire>(wire: &W, connections: u64, in_flight: u64, until: Until) -> Result<Published> {
    publish_as(wire, 0..connections, in_flight, until)
}

/// The same; the connections have these numbers, which stand in their tasks.
pub fn publish_as<W: Wire>(wire: &W, connections: Range<u64>, in_flight: u64, until: Until) -> Result<Published> {
    let start_ns = now_ns();
    let threads: Vec<_> = connections
        .map(|c| {
            let mut wire = wire.clone();
            thread::spawn(move || one(&mut wire, c, in_flight, until, start_ns))
        })
        .collect();
    let mut published = Published { acked: Vec::new(), per_s: 0.0 };
    for thread in threads {
        let (acked, per_s) = thread.join().map_err(|_| anyhow!("a publisher panicked"))??;
        published.acked.push(acked);
        published.per_s += per_s;
    }
    Ok(published)
}

fn one<W: Wire>(wire: &mut W, connection: u64, in_flight: u64, until: Until, start_ns: u64) -> Result<(u64, f64)> {
    let mut stream = wire.producer()?;
    let (from_ns, to_ns, count) = match until {
        Until::Time { warm_up, measured } => {
            let from = start_ns + u64::try_from(warm_up.as_nanos())?;
            (from, from + u64::try_from(measured.as_nanos())?, u64::MAX)
        }
        Until::Count(count) => (start_ns, u64::MAX, count),
    };
    let (mut inbox, mut out, mut text) = (Inbox::default(), Vec::new(), [0_u8; PAYLOAD_BYTES]);
    let (mut sent, mut acked) = (0, 0);
    let (mut first, mut last) = (None, None);
    loop {
        let now = now_ns();
        if now >= from_ns && first.is_none() {
            first = Some((acked, now));
        }
        if now >= to_ns && last.is_none() {
            last = Some((acked, now));
        }
        if now < to_ns {
            for _ in 0..(in_flight - (sent - acked)).min(count - sent) {
                stamp(&mut text, connection, sent, now);
                wire.publish(&mut out, &text);
                sent += 1;
            }
        }
        if !out.is_empty() {
            stream.write_all(&out)?;
            out.clear();
        }
        if sent == acked {
            break;
        }
        inbox.fill(&mut stream)?;
        acked += wire.acknowledged(&mut inbox, &mut out)?;
    }
    let ((a, from), (b, to)) = (first.unwrap_or((0, start_ns)), last.unwrap_or((acked, now_ns())));
    #[allow(clippy::cast_precision_loss)] // counts far below 2^52
    let per_s = (b - a) as f64 / (to - from).max(1) as f64 * 1e9;
    Ok((acked, per_s))
}
