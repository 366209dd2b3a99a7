//! One, two and three gateways on one Redis: what goes through them together, and what it costs Redis and them.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::{Bench, progress};
use crate::harness::ledger::{Ledger, read_stamp};
use crate::harness::process::{Core, PATIENCE, Server};
use crate::harness::report::Better::{Higher, Lower};
use crate::peers::{bullmq, squall};
use crate::wire::consume::settle;
use crate::wire::publish::{Until, publish_as};
use crate::wire::squall::Squall;
use crate::wire::{Inbox, Wire};

/// As the measures stand in the table.
pub const PUBLISH: &str = "publish + ack over all gateways, 16 connections, 100 in flight";
/// Deliveries.
pub const CONSUME: &str = "deliver + ack over all gateways, a connection each";
/// CPU time of Redis for a task's whole way.
pub const REDIS: &str = "CPU of Redis for a task's whole way";
/// CPU time of all gateways together.
pub const GATEWAYS: &str = "CPU of the gateways for a task's whole way";

/// As the systems stand in the table.
pub const NAMES: [&str; 3] = ["1 gateway", "2 gateways", "3 gateways"];

const CONNECTIONS: u64 = 16;

/// One round. Redis has the servers' core for itself; gateways share the other with the load.
pub fn run(bench: &mut Bench, round: usize) -> Result<()> {
    for name in bench.in_turn(&NAMES, round, |name| *name) {
        let number = NAMES.iter().position(|n| *n == name).context("a number of gateways")? + 1;
        one(bench, name, number).with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn one(bench: &mut Bench, name: &str, number: usize) -> Result<()> {
    let dir = bench.fresh_dir()?;
    let redis_dir = dir.path().join("redis");
    std::fs::create_dir(&redis_dir)?;
    let redis = bullmq::redis(&redis_dir)?;
    let gateways: Vec<Server> = (0..number)
        .map(|at| {
            let dir = dir.path().join(at.to_string());
            std::fs::create_dir(&dir)?;
            squall::on_redis(&dir, redis.address, Core::Load)
        })
        .collect::<Result<_>>()?;
    let wires: Vec<Squall> = gateways.iter().map(|gateway| Squall::new(gateway.address)).collect();
    let cpu = || -> Result<(Duration, Duration)> {
        let of_gateways = gateways.iter().map(Server::cpu).sum::<Result<Duration>>()?;
        Ok((redis.cpu()?, of_gateways))
    };

    let each = bench.count(2_500);
    let before = cpu()?;
    let start = Instant::now();
    let acked = publish_over(&wires, each)?;
    let took = start.elapsed();
    let tasks: u64 = acked.iter().sum();
    let per_s = |took: Duration| tasks as f64 / took.as_secs_f64();
    let middle = cpu()?;
    let share = |from: Duration, to: Duration, took: Duration| 100.0 * (to - from).as_secs_f64() / took.as_secs_f64();
    progress(&format!("{name}: publish (Redis {:.0} % busy)", share(before.0, middle.0, took)), per_s(took), "/s");
    bench.report.add(PUBLISH, "tasks/s", Higher, name, per_s(took));

    let took = consume_over(&wires, &acked)?;
    let after = cpu()?;
    progress(&format!("{name}: deliver + ack (Redis {:.0} % busy)", share(middle.0, after.0, took)), per_s(took), "/s");
    bench.report.add(CONSUME, "tasks/s", Higher, name, per_s(took));
    let each_us = |from: Duration, to: Duration| (to - from).as_secs_f64() * 1e6 / tasks as f64;
    for (measure, cost) in [(REDIS, each_us(before.0, after.0)), (GATEWAYS, each_us(before.1, after.1))] {
        progress(&format!("{name}: {measure}"), cost, "us");
        bench.report.add(measure, "us", Lower, name, cost);
    }
    Ok(())
}

/// Publishes through all of them at once. Answers what was acknowledged, by connection.
fn publish_over(wires: &[Squall], each: u64) -> Result<Vec<u64>> {
    let gateways = wires.len() as u64;
    let mut threads = Vec::new();
    for (wire, at) in wires.iter().cloned().zip(0..gateways) {
        let connections = CONNECTIONS * at / gateways..CONNECTIONS * (at + 1) / gateways;
        threads.push(thread::spawn(move || publish_as(&wire, connections, 100, Until::Count(each))));
    }
    let mut acked = Vec::new();
    for thread in threads {
        acked.extend(thread.join().map_err(|_| anyhow!("a publisher panicked"))??.acked);
    }
    Ok(acked)
}

/// Takes everything through all of them at once; every task must come once, wherever.
fn consume_over(wires: &[Squall], acked: &[u64]) -> Result<Duration> {
    let ledger = Arc::new(Mutex::new(Ledger::new(acked)));
    let start = Instant::now();
    let mut threads = Vec::new();
    for mut wire in wires.iter().cloned() {
        let ledger = Arc::clone(&ledger);
        threads.push(thread::spawn(move || consume_some(&mut wire, &ledger)));
    }
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a consumer panicked"))??;
    }
    settle(&wires[0])?;
    Ok(start.elapsed())
}

fn consume_some(wire: &mut Squall, ledger: &Mutex<Ledger>) -> Result<()> {
    let mut stream: TcpStream = wire.consumer()?;
    // The others may get the last ones: then nothing comes here any more.
    stream.set_read_timeout(Some(Duration::from_millis(10)))?;
    let (mut inbox, mut out) = (Inbox::default(), Vec::new());
    let start = Instant::now();
    let ledger = || ledger.lock().unwrap_or_else(PoisonError::into_inner);
    while ledger().left() > 0 {
        ensure!(start.elapsed() < PATIENCE, "tasks are missing");
        if inbox.fill(&mut stream).is_err() {
            continue;
        }
        let mut ledger = ledger();
        wire.delivered(&mut inbox, &mut out, &mut |text| {
            let (producer, number, _) = read_stamp(text)?;
            ledger.delivered(producer, number)
        })?;
        drop(ledger);
        stream.write_all(&out)?;
        out.clear();
    }
    Ok(())
}
