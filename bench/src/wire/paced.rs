//! Publishes at a fixed rate, whatever the server does, while a worker takes the tasks: latency from the instant at
//! which a task was due, so that a server that stalls is not flattered.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;

use super::{Inbox, Wire, consume};
use crate::harness::clock::{now_ns, sleep_until_ns};
use crate::harness::ledger::{Ledger, PAYLOAD_BYTES, read_stamp, stamp};

/// An open loop.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Tasks a second, evenly spaced.
    pub per_s: u64,
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

impl Pace {
    /// How many tasks that is in all.
    pub fn tasks(&self) -> u64 {
        let total = self.warm_up + self.measured;
        self.per_s * u64::try_from(total.as_millis()).unwrap_or(0) / 1_000
    }

    /// The first of them that counts.
    pub fn first_counted(&self) -> u64 {
        self.per_s * u64::try_from(self.warm_up.as_millis()).unwrap_or(0) / 1_000
    }
}

/// Nanoseconds from due to received.
pub fn paced<W: Wire>(wire: &W, pace: Pace) -> Result<Histogram<u64>> {
    let tasks = pace.tasks();
    let worker = thread::spawn({
        let mut wire = wire.clone();
        let stream = wire.consumer()?;
        move || work(&mut wire, stream, tasks, pace.first_counted())
    });
    let mut wire = wire.clone();
    let producer = wire.producer()?;
    let acked = Arc::new(AtomicU64::new(0));
    let acknowledged = thread::spawn({
        let (wire, mut stream, acked) = (wire.clone(), producer.try_clone()?, Arc::clone(&acked));
        move || -> Result<()> {
            // What it would answer, pongs, is not owed within the few seconds of a run.
            let (mut inbox, mut out) = (Inbox::default(), Vec::new());
            while acked.load(Relaxed) < tasks {
                inbox.fill(&mut stream)?;
                acked.fetch_add(wire.acknowledged(&mut inbox, &mut out)?, Relaxed);
            }
            Ok(())
        }
    });
    let sent = send(&wire, producer, pace);
    let histogram = worker.join().map_err(|_| anyhow!("the worker panicked"))??;
    acknowledged.join().map_err(|_| anyhow!("the producer panicked"))??;
    sent?;
    consume::settle(&wire)?;
    Ok(histogram)
}

fn send<W: Wire>(wire: &W, mut stream: std::net::TcpStream, pace: Pace) -> Result<()> {
    // The kernel may otherwise let a sleeper lie 50 µs longer than it asked for.
    let _ = nix::sys::prctl::set_timerslack(1_000);
    let (mut out, mut text) = (Vec::new(), [0_u8; PAYLOAD_BYTES]);
    let start_ns = now_ns() + 1_000_000;
    let mut number = 0;
    while number < pace.tasks() {
        let due = |number: u64| start_ns + number * 1_000_000_000 / pace.per_s;
        sleep_until_ns(due(number));
        let now = now_ns();
        while number < pace.tasks() && due(number) <= now {
            stamp(&mut text, 0, number, due(number));
            wire.publish(&mut out, &text);
            number += 1;
        }
        stream.write_all(&out)?;
        out.clear();
    }
    Ok(())
}

fn work<W: Wire>(wire: &mut W, mut stream: std::net::TcpStream, tasks: u64, first: u64) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    let mut ledger = Ledger::new(&[tasks]);
    let (mut inbox, mut out) = (Inbox::default(), Vec::new());
    while ledger.left() > 0 {
        inbox.fill(&mut stream)?;
        let now = now_ns();
        wire.delivered(&mut inbox, &mut out, &mut |text| {
            let (producer, number, due) = read_stamp(text)?;
            if number >= first {
                histogram.record(now.saturating_sub(due))?;
            }
            ledger.delivered(producer, number)
        })?;
        if !out.is_empty() {
            stream.write_all(&out)?;
            out.clear();
        }
    }
    Ok(histogram)
}
