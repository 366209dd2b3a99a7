//! Runs as a storm would leave them, made through the same doors: registry, shards, totals, record. Deterministic.

#![allow(clippy::unwrap_used, reason = "made for tests; the lint only knows functions with #[test]")]

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use squall_report::{
    OpenedRun, RunDir, RunRecord, SecondSample, Verdict,
    record::{
        Detected, Duplicated, DurationRecord, Ended, ErrorBudget, Expectation, ExperimentPhase, ExperimentRecord,
        FaultRecord, FeedAccount, FeedFinding, FeedFindingClass, Finding, FindingClass, GatewayRecord, GeneratorRecord,
        HealthChange, LaneRecord, Ledger, MachineRecord, PhaseRecord, ProcessRecord, ResourcesRecord, ScenarioRecord,
        SessionsRecord, Struck, TargetRecord,
    },
    series::{DepthSample, ProcessSample, TrendSample},
    statistics::{Registry, Shard, Tally, Totals, Trend, Unit},
    thresholds::{Phase, ThresholdConfig, Thresholds},
};

/// SplitMix64: small, seeded, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What the run is like.
pub(crate) struct Shape {
    pub(crate) seconds: u64,
    pub(crate) per_second: u64,
    /// The second in which the target is killed.
    pub(crate) kill_at: Option<u64>,
    pub(crate) thresholds: &'static str,
    pub(crate) seed: u64,
    /// Multiplies every latency.
    pub(crate) slowness: f64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            seconds: 20,
            per_second: 2_000,
            kill_at: Some(10),
            thresholds: r#"{
                "task_latency": ["p(50)<100", "p(99)<1500"],
                "session_success": "rate>0.95",
                "dead_letter_rate": "rate<0.01",
                "lost": "count==0"
            }"#,
            seed: 7,
            slowness: 1.0,
        }
    }
}

const LANES: [&str; 3] = ["gpt4", "claude_web", "crude"];
const PRIORITIES: [&str; 3] = ["high", "normal", "low"];

/// Plays a run of that shape second by second, as the storm does.
pub(crate) fn play(shape: &Shape) -> OpenedRun {
    let mut random = Random(shape.seed);
    let mut registry = Registry::new();
    let mut cells = Vec::new();
    for lane in LANES {
        for priority in PRIORITIES {
            let tags = [("lane", lane), ("priority", priority)];
            cells.push((
                registry.trend("task_latency", &tags).unwrap(),
                registry.counter("tasks_published", &tags).unwrap(),
                registry.counter("tasks_acknowledged", &tags).unwrap(),
            ));
        }
    }
    let publish = registry.trend("publish_latency", &[]).unwrap();
    let delivered = registry.counter("tasks_delivered", &[]).unwrap();
    let acked = registry.counter("tasks_acked", &[]).unwrap();
    let unknown = registry.counter("tasks_unknown", &[]).unwrap();
    let success = registry.rate("session_success", &[("load", "sessions")]).unwrap();
    let dead = registry.rate("dead_letter_rate", &[]).unwrap();
    let vus = registry.gauge("vus", &[("load", "tasks")]).unwrap();
    registry.counter("lost", &[]).unwrap();
    registry.rate("checks", &[]).unwrap();
    let registry = Arc::new(registry);
    let mut totals = Totals::new(registry.clone());
    let mut shard = Shard::new(&registry);
    let mut spare = Some(Tally::new(&registry));
    let config: ThresholdConfig = serde_json::from_str(shape.thresholds).unwrap();
    let thresholds = Thresholds::parse(&config, &registry).unwrap();
    thresholds.check_series(&registry).unwrap();

    let mut lanes: Vec<LaneRecord> = LANES
        .iter()
        .flat_map(|lane| {
            PRIORITIES.map(|priority| LaneRecord {
                lane: (*lane).into(),
                priority: priority.into(),
                ..LaneRecord::default()
            })
        })
        .collect();
    let (mut series, mut published, mut unanswered, mut backlog) = (Vec::new(), 0, 0, 0.0_f64);
    for second in 1..=shape.seconds {
        let down = shape.kill_at == Some(second);
        let after = shape.kill_at.is_some_and(|kill| second > kill && second <= kill + 3);
        let amount = (shape.per_second as f64 * (0.95 + 0.1 * random.next())) as u64;
        backlog = if down {
            backlog + amount as f64 * 0.7
        } else {
            (backlog * 0.35).max(40.0 * random.next() * shape.slowness)
        };
        for _ in 0..amount {
            let at = ((random.next() * random.next()) * 9.0) as usize;
            let (latency, count, acknowledged) = cells[at];
            let tail = 1.0 / (1.0 - random.next() * 0.9995);
            let wait = if down || after { backlog * random.next() } else { 0.0 };
            let ms = (1.8 + at as f64 * 0.4 + tail.sqrt() * 0.9) * shape.slowness + wait;
            shard.count(count, 1);
            published += 1;
            lanes[at].published += 1;
            if down && random.next() < 0.02 {
                unanswered += 1;
                shard.count(unknown, 1);
                continue;
            }
            shard.count(acknowledged, 1);
            lanes[at].acknowledged += 1;
            shard.duration(publish, Duration::from_secs_f64(ms * 0.0004));
            shard.duration(latency, Duration::from_secs_f64(ms * 0.001));
            shard.rate(dead, random.next() < 0.002);
            if !down || random.next() < 0.3 {
                shard.count(delivered, 1);
                shard.count(acked, 1);
            }
            lanes[at].delivered += 1;
            lanes[at].acked += 1;
        }
        for _ in 0..3 {
            shard.rate(success, true);
        }
        shard.set(vus, 32.0);
        let tally = shard.take(spare.take().unwrap());
        totals.absorb(&tally);
        totals.close_second();
        spare = Some(tally);

        let depths: Vec<DepthSample> = lanes
            .iter_mut()
            .enumerate()
            .map(|(at, lane)| {
                let ready = (backlog * (0.02 + 0.03 * at as f64) * (0.8 + 0.4 * random.next())) as u64;
                lane.depth_peak = lane.depth_peak.max(ready);
                DepthSample { lane: lane.lane.clone(), priority: lane.priority.clone(), ready, delayed: 0, leased: 4 }
            })
            .collect();
        let mib = 1024 * 1024;
        series.push(SecondSample {
            depths: if down { Vec::new() } else { depths },
            sessions: if down { [].into() } else { [("active".into(), 10), ("completed".into(), second * 3)].into() },
            errors: if down {
                [("connection_refused".into(), 180), ("no_answer".into(), 41)].into()
            } else {
                [].into()
            },
            target: (!down).then(|| ProcessSample {
                cpu_percent: (62.0 + 25.0 * random.next()).round(),
                rss_bytes: 31 * mib + (second % 9) * mib / 3,
                threads: 6,
                fds: 58,
            }),
            storm: Some(ProcessSample {
                cpu_percent: (40.0 + 12.0 * random.next()).round(),
                rss_bytes: 22 * mib,
                threads: 3,
                fds: 71,
            }),
            faults: if down { vec!["kill".into()] } else { Vec::new() },
            health: Some(
                if down {
                    "unreachable"
                } else if after {
                    "degraded"
                } else {
                    "healthy"
                }
                .into(),
            ),
            ..totals.sample(second * 1000, 1000)
        });
    }

    let elapsed_ms = shape.seconds * 1000;
    let process = |cpu: f64, rss: u64| ProcessRecord {
        cpu_avg_percent: cpu,
        cpu_max_percent: (cpu * 1.4).round(),
        rss_start_bytes: rss / 2,
        rss_max_bytes: rss,
        rss_end_bytes: rss - 1024 * 1024,
        threads_max: 6,
        fds_max: 71,
        samples: shape.seconds,
    };
    let record = RunRecord {
        id: "20261121T072629Z-demo".into(),
        squall_version: "0.1.0".into(),
        scenario: ScenarioRecord {
            name: "demo".into(),
            description: "Thousands of tasks, sessions and a SIGKILL in the middle.".into(),
            source: "built-in".into(),
            overrides: [("--duration".into(), format!("{}s", shape.seconds))].into(),
            resolved: serde_json::json!({"name": "demo", "load": [{"workload": "tasks", "executor": "constant-arrival-rate", "rate": shape.per_second}]}),
        },
        seed: shape.seed,
        started_at: "2026-11-21T07:26:29Z".parse().unwrap(),
        finished_at: Some("2026-11-21T07:26:53Z".parse().unwrap()),
        duration: DurationRecord {
            configured_ms: elapsed_ms,
            load_ms: elapsed_ms,
            settle_ms: 1_240,
            total_ms: elapsed_ms + 2_900,
        },
        ended: Ended::Completed,
        machine: MachineRecord {
            cores: 2,
            memory_bytes: 8 * 1024 * 1024 * 1024,
            kernel: "Linux 6.18.0 x86_64".into(),
            cpu_model: "A processor".into(),
            shared_with_target: true,
        },
        target: TargetRecord {
            url: "http://127.0.0.1:40123".into(),
            own: true,
            version: Some("0.1.0".into()),
            durability: Some("on disk (commit)".into()),
            restarts: u32::from(shape.kill_at.is_some()),
            pid: Some(4_711),
            ..TargetRecord::default()
        },
        generator: GeneratorRecord {
            cores: 2,
            dropped_iterations: 0,
            lateness_p99_ms: Some(0.21),
            lateness_max_ms: Some(3.2),
            lateness_limit_ms: Some(10.0),
            dropped_limit: Some(0.01),
        },
        metrics: totals.summaries(elapsed_ms),
        thresholds: thresholds.evaluate(&registry, totals.run(), elapsed_ms, Phase::Final),
        ledger: Some(Ledger {
            settled: true,
            published,
            acknowledged: published - unanswered,
            unknown: unanswered,
            delivered: published - unanswered / 2,
            acked: published - unanswered / 2,
            recovered: unanswered - unanswered / 2,
            duplicated: Duplicated { explained: if shape.kill_at.is_some() { 137 } else { 0 }, unexplained: 0 },
            dead_lettered: 31,
            ..Ledger::default()
        }),
        sessions: Some(SessionsRecord {
            created: shape.seconds * 3,
            refused: 0,
            by_outcome: [("completed".into(), shape.seconds * 3)].into(),
            peak_active: 10,
        }),
        lanes,
        resources: ResourcesRecord {
            target: Some(process(74.0, 34 * 1024 * 1024)),
            storm: Some(process(46.0, 22 * 1024 * 1024)),
            ..ResourcesRecord::default()
        },
        faults: shape
            .kill_at
            .map(|kill| FaultRecord {
                name: "kill".into(),
                kind: "kill".into(),
                at_ms: kill * 1000 - 800,
                until_ms: Some(kill * 1000 - 200),
                detected_ms: Some(kill * 1000 - 796),
                recovered_ms: Some(kill * 1000 + 212),
                detail: "SIGKILL to the gateway, started again after 600 ms".into(),
                ..FaultRecord::default()
            })
            .into_iter()
            .collect(),
        errors: if shape.kill_at.is_some() {
            [("connection_refused".into(), 180), ("no_answer".into(), 41)].into()
        } else {
            [].into()
        },
        ..RunRecord::default()
    };
    opened(record, series)
}

fn opened(record: RunRecord, series: Vec<SecondSample>) -> OpenedRun {
    let mut run = OpenedRun { path: PathBuf::from("runs").join(&record.id), record, series, problems: Vec::new() };
    run.record.verdict = Some(Verdict::of(&run.record));
    run
}

/// Everything kept, a kill in the middle.
pub(crate) fn passed() -> OpenedRun {
    play(&Shape::default())
}

/// Two tasks lost, others doubled and swapped, and a threshold failed.
pub(crate) fn lossy() -> OpenedRun {
    let mut run = play(&Shape {
        slowness: 2.0,
        thresholds: r#"{"task_latency": ["p(50)<2", "p(99)<1500"], "lost": "count==0", "checks": "rate>0.9"}"#,
        ..Shape::default()
    });
    let ledger = run.record.ledger.as_mut().unwrap();
    (ledger.lost, ledger.reordered, ledger.duplicated.unexplained, ledger.unexpected) = (2, 1, 1, 1);
    let finding = |class, task: &str, key: Option<&str>, detail: &str| Finding {
        class,
        task: task.into(),
        key: key.map(Into::into),
        lane: Some("gpt4".into()),
        detail: detail.into(),
    };
    ledger.findings = vec![
        finding(
            FindingClass::Reordered,
            "019a9f3e-7c1a-7000-8000-0000000000a1",
            Some("customer-17"),
            "delivered after its successor #1042 of the same key",
        ),
        finding(
            FindingClass::Lost,
            "019a9f3e-7c1a-7000-8000-0000000000b2",
            None,
            "acknowledged at 9.214 s, 14 ms before the kill; never delivered in 32 s",
        ),
        finding(
            FindingClass::Lost,
            "019a9f3e-7c1a-7000-8000-0000000000b3",
            None,
            "acknowledged at 9.216 s, 12 ms before the kill; never delivered in 32 s",
        ),
        finding(
            FindingClass::Duplicated,
            "019a9f3e-7c1a-7000-8000-0000000000c4",
            None,
            "delivered again at 4.1 s, though it was acked at 3.9 s",
        ),
        finding(FindingClass::Unexpected, "#99999", None, "delivered, though its publish was refused with LaneFull"),
    ];
    ledger.findings_omitted = 12;
    run.record.verdict = Some(Verdict::of(&run.record));
    run
}

/// Three gateways on a Redis whose setting allows a loss; one lost, and a feed that is not the same for all.
pub(crate) fn several() -> OpenedRun {
    let mut run = play(&Shape::default());
    let target = &mut run.record.target;
    target.gateways = (1..=3)
        .map(|number| GatewayRecord {
            url: format!("http://127.0.0.1:4012{number}"),
            pid: Some(4_710 + number),
            restarts: u32::from(number == 2),
        })
        .collect();
    target.store = Some("Redis at redis://…@127.0.0.1:6379/".into());
    target.key_prefix = Some("{squall-storm-0123456789abcdef}".into());
    let durability = "appendfsync everysec: what was acknowledged in the last second may be lost with Redis's machine";
    target.durability = Some(durability.into());
    target.may_lose = squall_report::durability::may_lose(durability);
    let whole = run.record.resources.target.clone().unwrap();
    run.record.resources.gateways = (1..=3).map(|number| (number, whole.clone())).collect();
    for second in &mut run.series {
        if let Some(all) = second.target {
            let share = ProcessSample { cpu_percent: all.cpu_percent / 3.0, rss_bytes: all.rss_bytes / 3, ..all };
            second.gateways = (1..=3).map(|number| (number, share)).collect();
        }
    }
    run.record.ledger.as_mut().unwrap().lost = 1;
    let finding = |class, offset, detail: &str| FeedFinding { class, offset, detail: detail.into() };
    run.record.feed = Some(FeedAccount {
        events: 120_342,
        gaps: 1,
        repeats: 1,
        conflicts: 1,
        shortfall: Some(0),
        not_compared: 12,
        findings: vec![
            finding(FeedFindingClass::Gap, 1_042, "subscriber 2 on gateway 3 got 1042 after 1040"),
            finding(FeedFindingClass::Repeat, 1_043, "subscriber 2 on gateway 3 got 1043 after 1043"),
            finding(
                FeedFindingClass::Conflict,
                2_000,
                "subscriber 1 on gateway 1 got another event than one before it",
            ),
        ],
        findings_omitted: 3,
    });
    run.record.verdict = Some(Verdict::of(&run.record));
    run
}

/// Only a threshold failed.
pub(crate) fn slow() -> OpenedRun {
    play(&Shape { slowness: 90.0, kill_at: None, seconds: 60, per_second: 300, ..Shape::default() })
}

/// Killed in its eighth second, the last line torn: left in a directory as a storm would, and read again.
pub(crate) fn killed() -> OpenedRun {
    let played = play(&Shape::default());
    let begun = RunRecord {
        duration: DurationRecord { configured_ms: 20_000, ..DurationRecord::default() },
        scenario: played.record.scenario,
        target: played.record.target,
        machine: played.record.machine,
        seed: played.record.seed,
        started_at: played.record.started_at,
        squall_version: played.record.squall_version,
        ..RunRecord::default()
    };
    let runs = tempfile::tempdir().unwrap();
    let mut dir = RunDir::create(runs.path(), "demo", begun.started_at).unwrap();
    dir.begin(&begun).unwrap();
    for second in &played.series[..8] {
        dir.append_second(second).unwrap();
    }
    let series = dir.path().join("series.jsonl");
    let whole = fs::read(&series).unwrap();
    fs::write(&series, &whole[..whole.len() - 200]).unwrap();
    let run = OpenedRun::open(dir.path()).unwrap();
    OpenedRun { path: PathBuf::from("runs").join(&run.record.id), ..run }
}

/// Forty seconds with two gateways, whose Redis is away for eight of them: noticed, survived, and over soon.
pub(crate) fn withstood() -> OpenedRun {
    experiment(true)
}

/// The same, and it is not over at the end.
pub(crate) fn gave_way() -> OpenedRun {
    experiment(false)
}

fn experiment(held: bool) -> OpenedRun {
    let mut run = play(&Shape { seconds: 40, per_second: 300, kill_at: None, ..Shape::default() });
    let (from_ms, to_ms) = (12_300, 20_300);
    let steady_again_ms = if held { 22_100 } else { 60_000 };
    let mut random = Random(11);
    let (mut requests, mut failed) = (0, 0);
    for second in &mut run.series {
        let bad = second.t_ms > from_ms && second.t_ms < steady_again_ms + 1_000;
        let struck = bad && second.t_ms < to_ms + 1_000;
        let number = 500 + (100.0 * random.next()) as u64;
        let mut durations = Trend::new();
        for _ in 0..number {
            let slow = if bad { 900.0 * random.next() } else { 0.0 };
            durations.record(((2.0 + 9.0 * random.next() * random.next() + slow) * 1_000.0) as u64);
        }
        second.trends.insert("http_req_duration".into(), TrendSample::of(&durations, Unit::Milliseconds).unwrap());
        second.counters.insert("http_reqs".into(), number);
        requests += number;
        if bad {
            let timeouts = if struck { 60 + (30.0 * random.next()) as u64 } else { 4 };
            second.errors = [("http_503".into(), timeouts), ("timeout".into(), timeouts / 9)].into();
            failed += timeouts + timeouts / 9;
            let published = second.counters.get_mut("tasks_published").unwrap();
            *published = *published * 2 / 3;
            second.faults = if struck { vec!["redis-stalls".into()] } else { Vec::new() };
        }
        second.health = Some(if bad { "degraded" } else { "healthy" }.into());
    }
    let record = &mut run.record;
    let change = |at_ms, gateway, status: &str, lost: &[&str]| HealthChange {
        at_ms,
        gateway,
        status: status.into(),
        lost: lost.iter().map(|it| (*it).into()).collect(),
    };
    record.health = vec![
        change(0, 1, "healthy", &[]),
        change(0, 2, "healthy", &[]),
        change(13_500, 1, "degraded", &["publish"]),
        change(13_900, 2, "unreachable", &[]),
        change(20_900, 1, "healthy", &[]),
        change(20_950, 2, "draining", &[]),
    ];
    if held {
        record.health.push(change(21_800, 2, "healthy", &[]));
    }
    record.faults = vec![FaultRecord {
        name: "redis-stalls".into(),
        kind: "toxic".into(),
        at_ms: from_ms,
        until_ms: Some(to_ms),
        detected_ms: Some(12_420),
        recovered_ms: held.then_some(20_640),
        detail: "stall between the gateways and Redis, for 8 s".into(),
        struck: Some(Struck { connections: 12, bytes: 4_404_019 }),
        health_ms: Some(from_ms + 1_200),
        metrics_ms: Some(from_ms + 1_900),
    }];
    record.errors = run.series.iter().flat_map(|second| second.errors.clone()).fold(BTreeMap::new(), |mut sum, it| {
        *sum.entry(it.0).or_default() += it.1;
        sum
    });
    let phase = |phase, from_ms, to_ms, steady_seconds, failed_ratio, p99| PhaseRecord {
        phase,
        from_ms,
        to_ms,
        seconds: (to_ms - from_ms) / 1_000,
        steady_seconds,
        requests_per_s: 549.25,
        failed_ratio: Some(failed_ratio),
        latency_p99_ms: Some(p99),
    };
    let expectation = |what: &str, found: &str, held| Expectation { what: what.into(), found: found.into(), held };
    record.scenario.name = "redis-stalls".into();
    record.experiment = Some(ExperimentRecord {
        hypothesis:
            "While Redis stalls nothing that was acknowledged is lost, and five seconds later all is as it was.".into(),
        steady_state: vec![
            "http_req_failed rate<0.01".into(),
            "http_req_duration p(99)<50".into(),
            "health healthy".into(),
        ],
        phases: vec![
            phase(ExperimentPhase::Before, 0, from_ms, 12, 0.0, 10.4),
            phase(ExperimentPhase::During, from_ms, to_ms, 0, 0.1384, 892.0),
            phase(
                ExperimentPhase::After,
                to_ms,
                40_000,
                if held { 18 } else { 0 },
                0.0041,
                if held { 11.2 } else { 887.0 },
            ),
        ],
        expectations: vec![
            expectation("steady before the fault", "12 of 12 seconds", true),
            expectation("/health says degraded within 5s", "after 1.20 s", true),
            expectation("requests still answered during the fault: rate>0.8", "86.2 %", true),
            expectation(
                "steady again within 5s after the fault",
                if held { "after 1.80 s" } else { "not until the end, 19.7 s later" },
                held,
            ),
            expectation("nothing that was acknowledged is lost", "0 lost", true),
        ],
        detected: Detected { health_ms: Some(1_200), metrics_ms: held.then_some(1_900), clients_ms: Some(120) },
        recovered_after_ms: held.then_some(1_800),
        budget: ErrorBudget {
            objective: 0.999,
            total: requests,
            failed,
            burned: failed as f64 / (requests as f64 * 0.001),
            during: [("http_503".into(), 611), ("timeout".into(), 64)].into(),
        },
        passed: held,
    });
    record.target.gateways = (1..=2)
        .map(|number| GatewayRecord { url: format!("http://127.0.0.1:4012{number}"), ..GatewayRecord::default() })
        .collect();
    record.verdict = Some(Verdict::of(record));
    run
}

/// Ctrl-C after four seconds.
pub(crate) fn interrupted() -> OpenedRun {
    let mut run = play(&Shape { seconds: 4, kill_at: None, ..Shape::default() });
    run.record.ended = Ended::Interrupted;
    run.record.duration.configured_ms = 20_000;
    run.record.verdict = Some(Verdict::of(&run.record));
    run
}

/// Never began.
pub(crate) fn empty() -> OpenedRun {
    let record = RunRecord {
        id: "20261121T072629Z-demo".into(),
        squall_version: "0.1.0".into(),
        scenario: ScenarioRecord { name: "demo".into(), ..ScenarioRecord::default() },
        started_at: "2026-11-21T07:26:29Z".parse().unwrap(),
        ended: Ended::Failed { message: "cannot reach http://127.0.0.1:9: connection refused".into() },
        target: TargetRecord { url: "http://127.0.0.1:9".into(), ..TargetRecord::default() },
        ..RunRecord::default()
    };
    opened(record, Vec::new())
}

/// Forty minutes with three kills.
pub(crate) fn long() -> OpenedRun {
    let mut run = play(&Shape { seconds: 2_400, per_second: 20, kill_at: Some(1_000), ..Shape::default() });
    for (name, at_ms) in [("kill-2", 1_500_000), ("kill-3", 2_130_000)] {
        let fault = run.record.faults[0].clone();
        run.record.faults.push(FaultRecord {
            name: name.into(),
            at_ms,
            until_ms: Some(at_ms + 600),
            detected_ms: None,
            recovered_ms: Some(at_ms + 40_000),
            ..fault
        });
    }
    run
}

/// Everything that somebody else can name tries to be markup.
pub(crate) fn hostile() -> OpenedRun {
    let mut run = lossy();
    let evil = "</script><img src=x onerror=alert(1)>\u{1b}[31m|`*&\"'\u{0}";
    let record = &mut run.record;
    record.scenario.name = evil.into();
    record.scenario.resolved = serde_json::json!({ evil: evil });
    record.target.url = evil.into();
    record.target.version = Some(evil.into());
    record.invalid = vec![evil.into()];
    record.notes = vec![evil.into()];
    record.errors.insert(evil.into(), 3);
    record.lanes[0].lane = evil.into();
    record.faults[0].name = evil.into();
    record.faults[0].detail = evil.into();
    record.thresholds[0].selector = evil.into();
    record.health = vec![HealthChange { at_ms: 0, gateway: 1, status: evil.into(), lost: vec![evil.into()] }];
    let mut experiment = gave_way().record.experiment.unwrap();
    experiment.hypothesis = evil.into();
    experiment.steady_state = vec![evil.into()];
    experiment.expectations[3].what = evil.into();
    experiment.expectations[3].found = evil.into();
    experiment.budget.during.insert(evil.into(), 9);
    record.experiment = Some(experiment);
    let finding = &mut record.ledger.as_mut().unwrap().findings[0];
    (finding.task, finding.key, finding.detail) = (evil.into(), Some(evil.into()), evil.into());
    record.sessions.as_mut().unwrap().by_outcome.insert(evil.into(), 1);
    for second in &mut run.series {
        second.errors.insert(evil.into(), 2);
        second.sessions.insert(evil.into(), 1);
        second.health = Some(evil.into());
        second.depths.push(DepthSample {
            lane: evil.into(),
            priority: "high".into(),
            ready: 90,
            ..DepthSample::default()
        });
    }
    run
}

/// All of them, by name.
pub(crate) fn all() -> &'static [(&'static str, OpenedRun)] {
    static ALL: LazyLock<Vec<(&str, OpenedRun)>> = LazyLock::new(|| {
        vec![
            ("passed", passed()),
            ("lossy", lossy()),
            ("several", several()),
            ("withstood", withstood()),
            ("gave_way", gave_way()),
            ("slow", slow()),
            ("killed", killed()),
            ("interrupted", interrupted()),
            ("empty", empty()),
            ("long", long()),
            ("hostile", hostile()),
        ]
    });
    &ALL
}
