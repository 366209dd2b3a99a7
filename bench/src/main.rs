//! Squall beside its peers: the same work, the same windows, the same disk, in turn. `bench/run` builds and starts it.
//!
//! `squall-bench [CASE…]` runs the named cases (`publish`, `consume`, `priorities`, `gateways`, `latency`, `fanout`, `idle`, `recovery`), or all;
//! prints a table, and writes `results.json`. README.md says what each figure means.

mod cases;
mod harness;
mod peers;
mod wire;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use cases::fanout::System;
use cases::{Bench, PROBE, fanout, gateways, idle, latency, publish, recovery};
use harness::process;
use harness::report::Report;
use peers::Tasks;
use peers::bullmq::BullMq;
use peers::jetstream::Sync;
use peers::squall::{Durability, OnRedis};

const CASES: [&str; 8] = ["publish", "consume", "priorities", "gateways", "latency", "fanout", "idle", "recovery"];

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    for name in &chosen {
        ensure!(CASES.contains(&name.as_str()), "there is no case {name:?}; cases are {}", CASES.join(", "));
    }
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let flag = |name: &str| std::env::var(name).is_ok_and(|v| !v.is_empty() && v != "0");
    let quick = flag("BENCH_QUICK");
    let rounds = match std::env::var("BENCH_ROUNDS") {
        Ok(text) => text.parse().context("BENCH_ROUNDS is not a number")?,
        Err(_) if quick => 1,
        Err(_) => 3,
    };
    let dir = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    process::pin_load()?;
    eprintln!(
        "{rounds} rounds on {}; {}; {}",
        dir.display(),
        if process::pinned() { "servers on core 0, load on core 1" } else { "not pinned" },
        peers::bullmq::version(),
    );

    let only = std::env::var("BENCH_SYSTEMS").unwrap_or_default();
    let only = only.split(';').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
    let mut bench = Bench { dir, quick, only, report: Report::default() };
    for (name, case) in [
        ("publish", run_publish as fn(&mut Bench, usize) -> Result<()>),
        ("consume", run_consume),
        ("priorities", run_priorities),
        ("gateways", gateways::run),
        ("latency", run_latency),
        ("fanout", run_fanout),
        ("idle", idle::run),
        ("recovery", recovery::run),
    ] {
        if is_chosen(name) {
            for round in 0..rounds {
                eprintln!("{name}, round {}", round + 1);
                case(&mut bench, round)?;
            }
        }
    }

    let recovery = recovery::names(&bench);
    compare(&mut bench.report, &recovery);
    println!("{}", bench.report.table());
    println!("A ratio is the median of the rounds' ratios; more than 1 is better for Squall, whatever the unit.");
    // Figures of a quick look must not take the place of measured ones.
    let path = if quick { "results.quick.json" } else { "results.json" };
    let path = std::env::var_os("BENCH_RESULTS").map_or_else(|| PathBuf::from(path), PathBuf::from);
    std::fs::write(&path, bench.report.json()? + "\n").with_context(|| path.display().to_string())?;
    println!("written to {}", path.display());
    Ok(())
}

const ALL: [&dyn Tasks; 6] =
    [&Durability::Commit, &Sync::Default, &Durability::Interval, &Sync::Always, &OnRedis, &BullMq];

fn run_publish(bench: &mut Bench, round: usize) -> Result<()> {
    let only = std::env::var("BENCH_SHAPE").ok();
    let chosen = |(connections, in_flight): (u64, u64)| {
        only.as_ref().is_none_or(|only| *only == format!("{connections}x{in_flight}"))
    };
    let mut shapes = publish::SHAPES.into_iter().filter(|shape| chosen(*shape));
    shapes.try_for_each(|shape| publish::publish(bench, shape, &ALL, round))
}

fn run_consume(bench: &mut Bench, round: usize) -> Result<()> {
    publish::consume(bench, &[&Durability::Commit, &Sync::Default, &Durability::Interval, &OnRedis, &BullMq], round)
}

fn run_priorities(bench: &mut Bench, round: usize) -> Result<()> {
    publish::prioritised(bench, &[&Durability::Commit, &OnRedis, &BullMq], round)
}

fn run_latency(bench: &mut Bench, round: usize) -> Result<()> {
    latency::run(bench, &ALL, round)
}

fn run_fanout(bench: &mut Bench, round: usize) -> Result<()> {
    let mut systems = vec![System::Squall(Durability::Commit)];
    if peers::nchan::is_installed() {
        systems.push(System::Nchan);
    }
    systems.extend([System::Nats, System::Squall(Durability::Interval)]);
    fanout::add_reference(&mut bench.report);
    [1, 64].iter().try_for_each(|in_flight| fanout::run(bench, *in_flight, &systems, round))
}

/// Who is compared with whom, and what has to be reached.
fn compare(report: &mut Report, recovery: &[String]) {
    let (commit, interval) = (Durability::Commit.name(), Durability::Interval.name());
    let (jetstream, always) = (Sync::Default.name(), Sync::Always.name());
    let bullmq = BullMq.name();
    let redis = OnRedis.name();

    let one = publish::name((1, 1));
    report.compare(&one, commit, PROBE, Some(0.5));
    report.compare(&one, commit, always, None);
    report.compare(&one, interval, jetstream, None);
    report.compare(&one, commit, bullmq, None);
    report.compare(&one, redis, bullmq, Some(1.0));
    for (shape, always_goal) in [((1, 100), None), ((16, 100), Some(50.0))] {
        let name = publish::name(shape);
        report.compare(&name, commit, jetstream, Some(1.0));
        report.compare(&name, interval, jetstream, Some(1.0));
        report.compare(&name, commit, always, always_goal);
        report.compare(&name, commit, bullmq, Some(5.0));
        report.compare(&name, redis, bullmq, Some(1.0));
    }
    report.compare(publish::CONSUME, commit, jetstream, Some(1.0));
    report.compare(publish::CONSUME, interval, jetstream, None);
    report.compare(publish::CONSUME, commit, bullmq, Some(8.0));
    report.compare(publish::CONSUME, redis, bullmq, Some(1.0));
    for name in [publish::PRIORITISED_PUBLISH, publish::PRIORITISED_CONSUME] {
        report.compare(name, commit, bullmq, Some(5.0));
        report.compare(name, redis, bullmq, Some(1.0));
    }
    let [one_gateway, more @ ..] = gateways::NAMES;
    for name in [gateways::PUBLISH, gateways::CONSUME, gateways::REDIS, gateways::GATEWAYS] {
        for more in more {
            report.compare(name, more, one_gateway, None);
        }
    }
    for (name, bullmq_goal) in [(latency::P50, None), (latency::P99, None)] {
        let goal = (name == latency::P99).then_some(1.0);
        report.compare(name, commit, always, goal);
        report.compare(name, interval, jetstream, goal);
        report.compare(name, commit, bullmq, bullmq_goal);
        report.compare(name, redis, bullmq, None);
    }
    for in_flight in [1, 64] {
        let name = fanout::name(in_flight);
        report.compare(&name, commit, System::Nchan.name(), Some(2.0));
        report.compare(&name, interval, System::Nchan.name(), None);
        report.compare(&name, commit, System::Nats.name(), None);
        report.compare(&name, interval, System::Nats.name(), None);
        report.compare(&name, commit, fanout::REFERENCE, Some(2.0));
    }
    report.compare(idle::NAME, idle::EVENTS, "nchan", None);
    report.compare(idle::NAME, idle::EVENTS, "Node ws", Some(1.0));
    report.compare(idle::NAME, idle::WORK, "Node ws", None);
    report.compare(idle::NAME, idle::EVENTS, idle::NATS, None);
    report.compare(idle::NAME, idle::WORK, idle::NATS, None);
    report.compare(idle::NAME, idle::WORK, idle::BULLMQ, None);
    for name in recovery {
        report.compare(name, commit, jetstream, None);
        report.compare(name, commit, bullmq, None);
    }
}
