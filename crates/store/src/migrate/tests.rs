//! Moves of stores in every state, seen through the eyes of whoever uses them: what is there before is there afterwards, and goes on.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestRunner};
use serde_json::{Value, json};
use squall_protocol::{
    ConnectionId, DeadLetterFilter, EndSession, GapReason, LaneView, NackMode, NewSession, Priority, SessionId,
    SessionState, TaskId, Time, UpdateSession,
};
use squall_testkit::{Redis, Seed};

use super::source::count_state;
use super::{MigrateError, Outcome, Progress, migrate};
use crate::config::{Affinity, Lane, OnSessionEnd, Options, RetryPolicy};
use crate::core::tests::InProcess;
use crate::model::{Op, Subject, World, op, options as model_options};
use crate::redis::import::{self, Writer};
use crate::redis::tests::model::{InRedis, PREFIX, with_library};
use crate::redis::{self as in_redis};
use crate::{
    Delivery, Holder, ListDeadLetters, ListSessions, ReplayHow, Result, SettleVerb, Settled, Settlement, Store,
    TaskSpec, Which, WorkerSpec, embedded,
};

/// The core in this process, until its process dies: the next life is in Redis.
struct Moving<'a> {
    here: Option<InProcess>,
    there: Option<InRedis>,
    redis: &'a Redis,
    runtime: &'a tokio::runtime::Runtime,
}

impl Moving<'_> {
    fn subject(&mut self) -> &mut dyn Subject {
        match (&mut self.here, &mut self.there) {
            (Some(here), _) => here,
            (None, Some(there)) => there,
            (None, None) => unreachable!("it is somewhere"),
        }
    }

    fn go(&mut self, from: &InProcess) {
        let mut there = InRedis::new(self.redis, &model_options());
        there.now = from.core.now();
        let mut options = model_options();
        options.store.url = self.redis.url();
        let (after, odd) = self.runtime.block_on(async {
            let mut connection = in_redis::address::reach(&options).await.unwrap().1;
            let mut writer = Writer::new(connection.clone(), PREFIX, None);
            import::numbers(&mut writer, &from.core, 0);
            import::tasks(&mut writer, &from.core, &options, |_| ()).await.unwrap();
            writer.finish().await.unwrap();
            import::count(&mut connection, PREFIX).await.unwrap()
        });
        assert!(odd.is_empty(), "{odd:?}");
        let before = count_state(&from.core, from.core.now());
        assert_eq!((before.lanes, before.finished), (after.lanes, after.finished));
        self.there = Some(there);
    }
}

impl Subject for Moving<'_> {
    fn begin(&mut self, now: Time) {
        self.subject().begin(now);
    }

    fn publish(&mut self, tenant: &str, spec: TaskSpec) -> TaskId {
        self.subject().publish(tenant, spec)
    }

    fn open_worker(&mut self, spec: &WorkerSpec) {
        self.subject().open_worker(spec);
    }

    fn close_worker(&mut self, id: ConnectionId, release: bool) {
        self.subject().close_worker(id, release);
    }

    fn grant(&mut self, id: ConnectionId, more: u32) {
        self.subject().grant(id, more);
    }

    fn settle(&mut self, holder: Holder, settlement: Settlement) -> Result<Settled> {
        self.subject().settle(holder, settlement)
    }

    fn cancel(&mut self, id: TaskId) -> Result<()> {
        self.subject().cancel(id)
    }

    fn pull(&mut self, lane: &str, credit: u32) {
        self.subject().pull(lane, credit);
    }

    fn pause(&mut self, lane: &str, for_ms: u64) {
        self.subject().pause(lane, for_ms);
    }

    fn resume(&mut self, lane: &str) {
        self.subject().resume(lane);
    }

    fn schedule(&mut self) -> Vec<(Delivery, Option<ConnectionId>)> {
        self.subject().schedule()
    }

    fn restart(&mut self) {
        self.subject().restart();
        if let Some(here) = self.here.take() {
            self.go(&here);
        }
    }

    fn lane_view(&mut self, lane: &str) -> LaneView {
        self.subject().lane_view(lane)
    }
}

#[test]
fn a_store_that_moves_goes_on_like_the_model() {
    let redis = with_library();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(RunnerConfig { cases: 60, failure_persistence: None, ..RunnerConfig::default() });
    let life = || prop::collection::vec(op().prop_filter("one life", |op| !matches!(op, Op::Restart)), 1..60);
    let ran = runner.run(&(life(), life()), |(before, after)| {
        let here = InProcess::new(model_options());
        let moving = Moving { here: Some(here), there: None, redis: &redis, runtime: &runtime };
        let mut world = World::new(moving, model_options());
        for op in before.iter().chain([&Op::Restart]).chain(&after) {
            world.step(op);
        }
        assert!(world.subject.there.is_some(), "it has moved");
        world.finish();
        Ok(())
    });
    if let Err(failed) = ran {
        panic!("{failed}\n{runner}");
    }
}

const TENANTS: [&str; 2] = ["acme", "zeta"];
const LANES: [&str; 4] = ["plain", "sticky", "strict", "shared"];

/// Lanes of every kind; retries come so late that none does while a test runs.
fn options(redis: &Redis) -> Options {
    let retry = RetryPolicy { max: 1, delay_ms: 3_600_000, backoff: 1.0, max_delay_ms: 7_200_000, jitter: 0.0 };
    let lane = Lane { retry, lease_ms: 3_600_000, ..Lane::default() };
    let mut options = Options {
        lanes: [
            ("plain".to_owned(), Lane { rate_per_s: Some(1_000.0), ..lane.clone() }),
            ("sticky".to_owned(), Lane { affinity: Affinity::Session, ..lane.clone() }),
            ("strict".to_owned(), Lane { on_session_end: OnSessionEnd::DeadLetter, ..lane.clone() }),
            (
                "shared".to_owned(),
                Lane {
                    on_session_end: OnSessionEnd::Cancel,
                    weights: Some(squall_protocol::lane::ByPriority { high: 3, normal: 2, low: 1 }),
                    ..lane
                },
            ),
        ]
        .into(),
        ..Options::default()
    };
    options.store.url = redis.url();
    options.store.finished_tasks = 30;
    options.sessions.max_concurrent = 1_000;
    options.sessions.max_per_tenant = 1_000;
    options.sessions.remember_ended = 5;
    options
}

/// An embedded store of its own.
fn open(dir: &Path, options: &Options) -> embedded::Embedded {
    let mut options = options.clone();
    options.store.url = String::new();
    embedded::open(dir, options).unwrap()
}

/// The directory as it is just now: what a crash of its process would leave.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else if entry.path().extension().is_none_or(|extension| extension != "tmp") {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// Every file below a directory, with its contents.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    all.sort();
    all
}

fn session(number: usize) -> SessionId {
    SessionId::new(&format!("s{number}")).unwrap()
}

/// Things done to a store, at random.
struct Life<'a> {
    store: &'a dyn Store,
    rng: fastrand::Rng,
    ids: Vec<TaskId>,
    /// Idempotency keys: whose, which, the task.
    keys: Vec<(&'static str, String, TaskId)>,
    pulled: Vec<Delivery>,
    sessions: usize,
}

impl<'a> Life<'a> {
    fn new(store: &'a dyn Store, rng: fastrand::Rng) -> Self {
        Self { store, rng, ids: Vec::new(), keys: Vec::new(), pulled: Vec::new(), sessions: 0 }
    }

    async fn publish(&mut self) {
        let rng = &mut self.rng;
        let tenant = TENANTS[rng.usize(..2)];
        let key = (rng.u8(..4) == 0).then(|| format!("idem: {} ü", self.ids.len()));
        let session = (self.sessions > 0 && rng.bool()).then(|| session(rng.usize(..self.sessions)));
        let spec = TaskSpec {
            lane: Some(LANES[rng.usize(..4)].into()),
            kind: ["build", "näh/\"test\""][rng.usize(..2)].into(),
            priority: Some(Priority::ALL[rng.usize(..3)]),
            payload: json!({ "n": rng.u32(..), "text": "ä".repeat(rng.usize(..50)) }).to_string().into(),
            session,
            key: (rng.u8(..3) == 0).then(|| format!("key {}", rng.u8(..3)).into()),
            delay_ms: if rng.u8(..4) == 0 { 3_600_000 + rng.u64(..1_000) } else { 0 },
            deadline_ms: (rng.u8(..4) == 0).then(|| 7_200_000 + rng.u64(..1_000)),
            retry: (rng.u8(..4) == 0)
                .then(|| squall_protocol::RetryOverride { max: Some(0), ..squall_protocol::RetryOverride::default() }),
            idempotency_key: key.clone().map(Into::into),
            dead: (rng.u8(..8) == 0).then(|| (squall_protocol::DeadReason::Unparsable, "it is not \"JSON\" ü".into())),
        };
        // A session that is another tenant's, or has ended, is refused; that is a state of affairs too.
        if let Ok(published) = self.store.publish(&tenant.into(), vec![spec]).await.remove(0) {
            self.ids.push(published.id);
            self.keys.extend(key.map(|key| (tenant, key, published.id)));
        }
    }

    async fn settle(&mut self) {
        let Some(at) = self.pulled.len().checked_sub(1).map(|last| self.rng.usize(..=last)) else { return };
        let held = self.pulled.swap_remove(at);
        let nack = |mode| SettleVerb::Nack { mode, delay_ms: None, reason: Some("sö".into()), pause_lane_ms: None };
        let verb = match self.rng.u8(..6) {
            0 | 1 => SettleVerb::Ack,
            2 => nack(NackMode::Fail),
            3 => nack(NackMode::Release),
            4 => nack(NackMode::Fatal),
            _ => {
                // Left as it is: its lease goes on elsewhere.
                self.pulled.push(held);
                return;
            }
        };
        let settlement = Settlement { id: held.task.id, receipt: Some(held.receipt), verb };
        self.store.settle(None, Holder::Receipts, vec![settlement]).await.remove(0).unwrap();
    }

    async fn step(&mut self) {
        match self.rng.u8(..20) {
            0..=8 => self.publish().await,
            9..=10 => {
                let lane = LANES[self.rng.usize(..4)];
                let credit = self.rng.u32(1..4);
                self.pulled.extend(self.store.lease(None, lane, credit, 0).await.unwrap());
            }
            11..=13 => self.settle().await,
            14 => {
                let metadata = json!({"a": {"b": self.rng.u32(..)}}).as_object().unwrap().clone();
                let idle = (self.rng.bool()).then_some(86_400_000);
                let new = NewSession { id: Some(session(self.sessions)), metadata, idle_timeout_ms: idle };
                let tenant = TENANTS[self.rng.usize(..2)];
                self.store.create_session(&tenant.into(), new).await.unwrap();
                self.sessions += 1;
            }
            15 if self.sessions > 0 => {
                let id = session(self.rng.usize(..self.sessions));
                let metadata = json!({"c": self.rng.u32(..)}).as_object().unwrap().clone();
                let _ = self.store.update_session(None, id, UpdateSession { metadata }).await;
            }
            16 if self.sessions > 2 && self.rng.bool() => {
                let id = session(self.rng.usize(..self.sessions));
                let end = EndSession { status: SessionState::Failed, reason: Some("enough".to_owned()) };
                let _ = self.store.end_session(None, id, end).await;
            }
            17 if !self.ids.is_empty() => {
                let id = self.ids[self.rng.usize(..self.ids.len())];
                let _ = self.store.cancel(None, id).await;
            }
            18 if self.rng.bool() => {
                let how = ReplayHow { limit: Some(1), rate_per_s: None, by: "somebody".into() };
                self.store.replay(None, Which::Filter(DeadLetterFilter::default()), how).await.unwrap();
            }
            _ => {
                let lane = LANES[self.rng.usize(..4)];
                match self.rng.u8(..6) {
                    0 => drop(self.store.pause_lane(lane, Some(3_600_000)).await.unwrap()),
                    1 => drop(self.store.pause_lane(lane, None).await.unwrap()),
                    _ => drop(self.store.resume_lane(lane).await.unwrap()),
                }
            }
        }
    }
}

/// All that a user can see of a store, but for what depends on when he looks.
async fn seen(store: &dyn Store, ids: &[TaskId]) -> Value {
    let mut tasks = Vec::new();
    for id in ids {
        tasks.push(store.task(None, *id).await.map_or_else(|error| json!(error.to_string()), |task| json!(task)));
    }
    let mut lanes = store.stats().await.unwrap().lanes;
    for lane in &mut lanes {
        lane.oldest_ready_ms = squall_protocol::lane::ByPriority::default();
    }
    let sessions = store.sessions(None, ListSessions { limit: 1_000, ..ListSessions::default() }).await.unwrap();
    let dead = ListDeadLetters { limit: 1_000, payload: true, ..ListDeadLetters::default() };
    let dead = store.dead_letters(None, dead).await.unwrap();
    json!({ "tasks": tasks, "lanes": lanes, "sessions": sessions.items, "dead letters": dead.items })
}

async fn feed(store: &dyn Store) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let slice = store.read_feed(after, 1_000).await.unwrap();
        assert!(slice.gap.is_none(), "{:?}", slice.gap);
        let Some(last) = slice.records.last() else { return events };
        after = last.offset;
        events.extend(slice.records.iter().map(|event| json!([event, event.tenant])));
    }
}

fn assert_same(moved: &Value, stayed: &Value) {
    for (part, stayed) in stayed.as_object().unwrap() {
        let (moved, stayed) = (moved[part].as_array().unwrap(), stayed.as_array().unwrap());
        assert_eq!(moved.len(), stayed.len(), "{part}: {moved:#?} {stayed:#?}");
        for (moved, stayed) in moved.iter().zip(stayed) {
            assert_eq!(moved, stayed, "{part}");
        }
    }
}

async fn moved(dir: &Path, options: &Options) -> std::result::Result<Outcome, MigrateError> {
    migrate(dir, options.clone(), false, |_| ()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_there_was_is_there_and_goes_on() {
    let redis = Redis::start("no");
    let seed = Seed::new();
    for round in 0..4 {
        let mut options = options(&redis);
        options.store.key_prefix = format!("{{round}}:[{round}]*");
        let dir = tempfile::tempdir().unwrap();
        let (lived, stays, moves) = (dir.path().join("lived"), dir.path().join("stays"), dir.path().join("moves"));
        let store = open(&lived, &options);
        let mut life = Life::new(&store, seed.rng(round));
        for _ in 0..600 {
            life.step().await;
        }
        // One more lane has tasks and is not in the configuration any more; and a worker that goes without a word.
        let connection = ConnectionId::at(Time(1), 1);
        let mut worker =
            store.open_worker(WorkerSpec { id: connection, tenant: None, lanes: vec!["shared".into()] }).await.unwrap();
        store.resume_lane("shared").await.unwrap();
        let spec =
            TaskSpec { lane: Some("shared".into()), kind: "k".into(), payload: "1".into(), ..TaskSpec::default() };
        store.publish(&"acme".into(), vec![spec]).await.remove(0).unwrap();
        store.grant(connection, 2);
        let held: BTreeSet<TaskId> = worker.deliveries.recv().await.unwrap().iter().map(|held| held.task.id).collect();
        let (ids, keys, pulled) = (life.ids.clone(), life.keys.clone(), std::mem::take(&mut life.pulled));
        let events = feed(&store).await;
        copy(&lived, &stays);
        copy(&lived, &moves);
        drop(worker);
        drop(store);
        if round % 2 == 1 {
            options.lanes.remove("plain");
        }

        let before = contents(&moves);
        let counted = migrate(&moves, options.clone(), true, |_| ()).await.unwrap();
        assert!(counted.after.is_none());
        assert_eq!(contents(&moves), before, "looking changes nothing");
        let outcome = moved(&moves, &options).await.unwrap();
        assert!(outcome.agrees(), "{:?} {outcome:#?}", outcome.before.beside(outcome.after.as_ref()));
        assert_eq!(outcome.before, counted.before);
        assert_eq!(outcome.before.feed.next, events.len() as u64 + 1 + held.len() as u64);
        let after: Vec<_> = contents(&moves).into_iter().filter(|(path, _)| !path.ends_with("moved")).collect();
        assert_eq!(after, before, "the directory is as it was");

        // The same, where the gateway started again on its directory.
        let (stayed, moved) = (open(&stays, &options), in_redis::open(options.clone()).await.unwrap());
        let others: Vec<TaskId> = ids.iter().filter(|id| !held.contains(id)).copied().collect();
        // What a dead worker left is due a moment later here than there; that it is in the same state is seen below.
        let (mut here, mut there) = (seen(&stayed, &others).await, seen(&moved, &others).await);
        for seen in [&mut here, &mut there] {
            let dead = seen["dead letters"].as_array_mut().unwrap();
            dead.retain(|letter| !held.iter().any(|id| letter["id"] == id.to_string()));
        }
        assert_same(&there, &here);
        for id in &held {
            let (here, there) = (stayed.task(None, *id).await.unwrap(), moved.task(None, *id).await.unwrap());
            assert_eq!((here.state, here.attempts, here.last_error), (there.state, there.attempts, there.last_error));
        }
        assert_eq!(stayed.epoch(), moved.epoch());
        let told = feed(&moved).await;
        assert_eq!(told[..events.len()], events, "what was told is told to the letter");
        assert_eq!(told.len(), events.len() + held.len(), "and what became of a dead worker's leases");

        for (tenant, key, id) in keys {
            let again = TaskSpec {
                lane: Some("sticky".into()),
                kind: "k".into(),
                payload: "1".into(),
                idempotency_key: Some(key.into()),
                ..TaskSpec::default()
            };
            let published = moved.publish(&tenant.into(), vec![again]).await.remove(0).unwrap();
            assert_eq!((published.id, published.duplicate), (id, true));
        }
        for held in pulled {
            let settlement = Settlement { id: held.task.id, receipt: Some(held.receipt), verb: SettleVerb::Ack };
            for store in [&stayed as &dyn Store, &moved] {
                store.settle(None, Holder::Receipts, vec![settlement.clone()]).await.remove(0).unwrap();
            }
        }
        let (here, there) = (drain(&stayed).await, drain(&moved).await);
        assert!(!here.is_empty());
        assert_eq!(here, there, "the same tasks wait for nothing but a worker");
        drop(stayed);
        let refused = embedded::open(&moves, options.clone()).map(drop).unwrap_err().to_string();
        assert!(refused.contains("was moved to redis://127.0.0.1"), "{refused}");
    }
}

/// Delivers all that waits for nothing but a worker, once each, in order of lanes. What is behind a key whose first task is delayed stays.
async fn drain(store: &dyn Store) -> BTreeSet<TaskId> {
    let lanes = store.stats().await.unwrap().lanes;
    for lane in &lanes {
        store.resume_lane(&lane.lane).await.ok();
    }
    let (mut seen, mut quiet) = (BTreeSet::new(), 0);
    // The rate of a lane may hold one back for a moment.
    while quiet < 3 {
        quiet += 1;
        for lane in &lanes {
            for held in store.lease(None, &lane.lane, 100, 20).await.unwrap_or_default() {
                assert!(seen.insert(held.task.id), "{} comes twice", held.task.id);
                let settlement = Settlement { id: held.task.id, receipt: Some(held.receipt), verb: SettleVerb::Ack };
                store.settle(None, Holder::Receipts, vec![settlement]).await.remove(0).unwrap();
                quiet = 0;
            }
        }
    }
    seen
}

async fn one_task(dir: &Path, options: &Options) -> TaskId {
    let store = open(dir, options);
    let spec = TaskSpec { lane: Some("plain".into()), kind: "k".into(), payload: "1".into(), ..TaskSpec::default() };
    let id = store.publish(&"acme".into(), vec![spec]).await.remove(0).unwrap().id;
    store.close().await.unwrap();
    id
}

fn ask<T: ::redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> T {
    let mut connection = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut command = ::redis::cmd(words[0]);
    command.arg(&words[1..]).query(&mut connection).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_moved_is_refused_and_nothing_changes() {
    let redis = Redis::start("no");
    let options = options(&redis);
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(moved(dir.path(), &options).await, Err(MigrateError::From(embedded::OpenError::Missing { .. }))));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made there");
    let running = open(dir.path(), &options);
    let refused = moved(dir.path(), &options).await;
    assert!(matches!(refused, Err(MigrateError::From(embedded::OpenError::Locked { .. }))), "{refused:?}");
    running.close().await.unwrap();
    one_task(dir.path(), &options).await;

    // Somebody's keys, and nothing that says whose.
    let _: () = ask(&redis, &["SET", "squall:seq", "7"]);
    let refused = moved(dir.path(), &options).await.unwrap_err();
    assert!(matches!(&refused, MigrateError::Foreign { key, .. } if key == "squall:seq"), "{refused}");
    let _: () = ask(&redis, &["DEL", "squall:seq"]);
    // Another move that is going on, and one that was killed long ago; a store beside it is nobody's business.
    let now: (String, String) = ask(&redis, &["TIME"]);
    let _: () = ask(&redis, &["HSET", "squall:migrating", "epoch", "e", "run", "r", "beat", &format!("{}000", now.0)]);
    let _: () = ask(&redis, &["SET", "squall:other:epoch", "e"]);
    let _: () = ask(&redis, &["RPUSH", "squall:done", "x"]);
    let refused = moved(dir.path(), &options).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Busy { .. }), "{refused}");
    let closed = in_redis::open(options.clone()).await.map(drop).unwrap_err();
    assert!(closed.to_string().contains("squall migrate is moving a store to this prefix"), "{closed}");
    assert_eq!(ask::<u64>(&redis, &["EXISTS", "squall:epoch", "squall:config"]), 0);
    let _: () = ask(&redis, &["HSET", "squall:migrating", "beat", "1000"]);
    let outcome = moved(dir.path(), &options).await.unwrap();
    assert!(outcome.agrees() && outcome.notes.iter().any(|note| note.starts_with("2 keys")), "{outcome:?}");
    assert_eq!(ask::<u64>(&redis, &["EXISTS", "squall:migrating", "squall:done"]), 0);
    assert_eq!(ask::<String>(&redis, &["GET", "squall:other:epoch"]), "e");

    // It has gone, and whoever takes the notice away hears it again.
    let gone = moved(dir.path(), &options).await;
    assert!(matches!(gone, Err(MigrateError::From(embedded::OpenError::Moved { .. }))), "{gone:?}");
    std::fs::remove_file(dir.path().join("moved")).unwrap();
    let gone = moved(dir.path(), &options).await.unwrap_err();
    assert!(matches!(gone, MigrateError::Already { .. }), "{gone}");
    assert!(dir.path().join("moved").exists());
    let other = tempfile::tempdir().unwrap();
    one_task(other.path(), &options).await;
    let taken = moved(other.path(), &options).await.unwrap_err();
    assert!(matches!(taken, MigrateError::Taken { .. }), "{taken}");
    one_task(other.path(), &options).await;
}

/// Something goes wrong in Redis between writing and counting: no gateway starts on what is there, and the next move does it all again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_keeps_the_store_shut() {
    let redis = Redis::start("no");
    let options = options(&redis);
    let dir = tempfile::tempdir().unwrap();
    let id = one_task(dir.path(), &options).await;
    let lose: [&[&str]; 4] = [
        &["DEL", "squall:queue:plain:normal"],
        &["DEL", &format!("squall:task:{id}")],
        &["XTRIM", "squall:feed", "MAXLEN", "0"],
        &["SADD", "squall:lanes", "no such thing"],
    ];
    for (round, lost) in lose.into_iter().enumerate() {
        let outcome = migrate(dir.path(), options.clone(), false, |progress| {
            if progress == Progress::Counting {
                let _: ::redis::Value = ask(&redis, lost);
            }
        });
        let outcome = outcome.await.unwrap();
        assert_eq!(outcome.agrees(), round == 3, "{lost:?}: {outcome:#?}");
        assert_eq!(ask::<u64>(&redis, &["EXISTS", "squall:epoch"]), u64::from(round == 3));
        if round < 3 {
            assert!(in_redis::open(options.clone()).await.is_err());
        }
    }
    let store = in_redis::open(options).await.unwrap();
    assert_eq!(store.lease(None, "plain", 1, 0).await.unwrap()[0].task.id, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_was_there_is_told() {
    let redis = Redis::start("no");
    let mut options = options(&redis);
    options.store.key_prefix = "squall".to_owned();
    let source = tempfile::tempdir().unwrap();
    let store = open(source.path(), &options);
    let new = |n| NewSession { id: Some(session(n)), ..NewSession::default() };
    for n in 0..6 {
        store.create_session(&"acme".into(), new(n)).await.unwrap();
    }
    let records = store.read_feed(0, 10).await.unwrap().records;
    drop(store);
    let moved = in_redis::open(options.clone()).await.unwrap();
    let connection = in_redis::address::reach(&options).await.unwrap().1;
    let mut writer = Writer::new(connection, "squall", None);
    let mut events = import::Events::new();
    for event in records.iter().filter(|event| ![1, 4].contains(&event.offset)) {
        events.write(&mut writer, event).await.unwrap();
    }
    events.end(&mut writer);
    let mut head = writer.command("SET", "offset");
    head.arg(8);
    writer.push(head, 10);
    writer.finish().await.unwrap();
    let offsets = |slice: &crate::FeedSlice| slice.records.iter().map(|event| event.offset).collect::<Vec<_>>();
    let gap = |slice: &crate::FeedSlice| slice.gap.map(|gap| (gap.from, gap.to, gap.reason));
    let slice = moved.read_feed(0, 10).await.unwrap();
    assert_eq!((gap(&slice), offsets(&slice)), (Some((1, 1, GapReason::Retention)), vec![2, 3]));
    let slice = moved.read_feed(3, 10).await.unwrap();
    assert_eq!((gap(&slice), offsets(&slice)), (Some((4, 4, GapReason::Corrupt)), vec![5, 6]));
    let slice = moved.read_feed(6, 10).await.unwrap();
    assert_eq!((gap(&slice), offsets(&slice)), (Some((7, 8, GapReason::Corrupt)), vec![]));
}
