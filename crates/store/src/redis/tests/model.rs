//! The library under random commands, in a time that the test owns, against the model that the embedded core meets too.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestRunner};
use squall_protocol::{ConnectionId, LaneView, TaskId, Time};
use squall_testkit::Redis;

use crate::config::Options;
use crate::model::{BEGINNING, Subject, World, op, options};
use crate::redis::library::{self, library};
use crate::redis::wire::{self, Answer, Envelope};
use crate::redis::{driver, encode, settings, views};
use crate::{Delivery, Holder, Result, Settled, Settlement, TaskSpec, WorkerSpec};

const GATEWAY: &str = "gateway";
/// Where it lies.
pub(crate) const PREFIX: &str = "p";

struct Connected {
    id: ConnectionId,
    tenant: Option<Arc<str>>,
    lanes: Vec<Box<str>>,
    credit: u32,
    held: Vec<TaskId>,
}

/// A store in Redis whose gateway is the test.
pub(crate) struct InRedis {
    connection: redis::Connection,
    options: Options,
    version: String,
    pub(crate) now: Time,
    workers: Vec<Connected>,
    pulls: Vec<(String, u32)>,
    batches: u32,
}

impl InRedis {
    /// A new one; whatever was there is gone.
    pub(crate) fn new(redis: &Redis, options: &Options) -> Self {
        let client = redis::Client::open(redis.url()).expect("an address");
        let mut connection = client.get_connection().expect("a connection");
        redis::cmd("FLUSHDB").exec(&mut connection).expect("flushed");
        let (text, version) = settings::of(options);
        let lanes: Vec<&String> = options.lanes.keys().collect();
        let mut open = library::call(&library().open, PREFIX);
        open.arg(library::FORMAT)
            .arg("epoch")
            .arg(&version)
            .arg(text)
            .arg(wire::pack(&lanes))
            .exec(&mut connection)
            .expect("opened");
        Self {
            connection,
            options: options.clone(),
            version,
            now: BEGINNING,
            workers: Vec::new(),
            pulls: Vec::new(),
            batches: 0,
        }
    }

    fn batch(&mut self, commands: &[Vec<u8>], takers: Vec<wire::Taker<'_>>) -> Answer {
        let answered = self.send(commands, takers).expect("an answer");
        wire::answer(&answered).expect("an answer that makes sense")
    }

    fn send(&mut self, commands: &[Vec<u8>], takers: Vec<wire::Taker<'_>>) -> redis::RedisResult<Vec<u8>> {
        self.batches += 1;
        let nonce = format!("{:012x}", self.batches);
        let envelope = Envelope {
            version: &self.version,
            gateway: GATEWAY,
            generation: 1,
            seed: self.batches,
            nonce: &nonce,
            now: Some(self.now.0),
            // In all the ways that a gateway says it.
            alive: self.batches.is_multiple_of(3),
            head: 0,
            lanes: if self.batches.is_multiple_of(2) {
                Vec::new()
            } else {
                self.options.lanes.keys().map(String::as_str).collect()
            },
            takers,
            budget: 1_000,
        };
        let mut call = library::call(&library().step, PREFIX);
        call.arg(envelope.write()).arg(commands).query(&mut self.connection)
    }

    fn ask(&mut self, command: Vec<u8>) -> rmpv::Value {
        self.batch(&[command], Vec::new()).replies.remove(0)
    }

    fn gone(&mut self, worker: &Connected, release: bool) {
        let held: Vec<String> = worker.held.iter().map(ToString::to_string).collect();
        let id = worker.id.to_string();
        let command = wire::command(&("close_worker", GATEWAY, id, &worker.lanes, release, held));
        wire::refused(&self.ask(command)).expect("closed");
    }
}

impl Subject for InRedis {
    fn begin(&mut self, now: Time) {
        self.now = now;
        self.batch(&[], Vec::new());
    }

    fn publish(&mut self, tenant: &str, spec: TaskSpec) -> TaskId {
        let (command, ids) = encode::publish_command(&self.options, tenant, std::slice::from_ref(&spec));
        let reply = self.ask(command);
        encode::published(ids[0], &reply).expect("there is room").id
    }

    fn open_worker(&mut self, spec: &WorkerSpec) {
        let command = wire::command(&("open_worker", GATEWAY, spec.id.to_string(), &spec.lanes));
        wire::refused(&self.ask(command)).expect("the lanes are there");
        self.workers.push(Connected {
            id: spec.id,
            tenant: spec.tenant.clone(),
            lanes: spec.lanes.clone(),
            credit: 0,
            held: Vec::new(),
        });
    }

    fn close_worker(&mut self, id: ConnectionId, release: bool) {
        let at = self.workers.iter().position(|worker| worker.id == id).expect("it is open");
        let worker = self.workers.remove(at);
        self.gone(&worker, release);
    }

    fn grant(&mut self, id: ConnectionId, more: u32) {
        self.workers.iter_mut().find(|worker| worker.id == id).expect("it is open").credit += more;
    }

    fn settle(&mut self, holder: Holder, settlement: Settlement) -> Result<Settled> {
        let reply = self.ask(encode::settle_command(None, holder, std::slice::from_ref(&settlement)));
        let replies = reply.as_array().expect("one for each");
        encode::settled(&replies[0])
    }

    fn cancel(&mut self, id: TaskId) -> Result<()> {
        wire::refused(&self.ask(wire::command(&("cancel", "", id.to_string()))))
    }

    fn pull(&mut self, lane: &str, credit: u32) {
        self.pulls.push((lane.to_owned(), credit));
    }

    fn pause(&mut self, lane: &str, for_ms: u64) {
        wire::refused(&self.ask(wire::command(&("pause", lane, for_ms)))).expect("the lane is there");
    }

    fn resume(&mut self, lane: &str) {
        wire::refused(&self.ask(wire::command(&("resume", lane)))).expect("the lane is there");
    }

    fn schedule(&mut self) -> Vec<(Delivery, Option<ConnectionId>)> {
        let (workers, pulls) = (std::mem::take(&mut self.workers), std::mem::take(&mut self.pulls));
        let of_workers = workers.iter().map(|worker| {
            let lanes = worker.lanes.iter().map(|lane| &**lane).collect();
            (worker.id.to_string(), worker.tenant.as_deref().unwrap_or_default(), worker.credit, lanes)
        });
        let of_pulls = pulls.iter().map(|(lane, credit)| (String::new(), "", *credit, vec![lane.as_str()]));
        let takers = of_workers.chain(of_pulls).collect();
        let leased = self.batch(&[], takers).rest.leased;
        self.workers = workers;
        let mut given = Vec::new();
        for lease in leased {
            let taker = lease.taker;
            let delivery = driver::delivery(lease).expect("a lease that makes sense");
            let worker = self.workers.get_mut(taker);
            if let Some(worker) = worker {
                assert!(worker.credit > 0, "no delivery without credit");
                worker.credit -= 1;
                worker.held.push(delivery.task.id);
                given.push((delivery, Some(worker.id)));
            } else {
                given.push((delivery, None));
            }
        }
        given
    }

    fn restart(&mut self) {
        for worker in std::mem::take(&mut self.workers) {
            self.gone(&worker, false);
        }
        self.pulls.clear();
    }

    fn lane_view(&mut self, lane: &str) -> LaneView {
        let reply = self.ask(wire::command(&("lane", lane)));
        let (_, lane): (u64, wire::Lane) = wire::read(&reply).expect("the lane is there");
        views::lane(lane)
    }
}

/// A Redis that has the library.
pub(crate) fn with_library() -> Redis {
    let redis = Redis::start("no");
    let mut client = redis::Client::open(redis.url()).expect("an address").get_connection().expect("a connection");
    library().load_blocking(&mut client);
    redis
}

#[test]
fn behaves_like_the_model() {
    let redis = with_library();
    let mut runner = TestRunner::new(RunnerConfig { cases: 100, failure_persistence: None, ..RunnerConfig::default() });
    let ran = runner.run(&prop::collection::vec(op(), 1..120), |ops| {
        let mut world = World::new(InRedis::new(&redis, &options()), options());
        for op in &ops {
            world.step(op);
        }
        world.finish();
        Ok(())
    });
    if let Err(failed) = ran {
        panic!("{failed}\n{runner}");
    }
}

fn task(payload: &str) -> TaskSpec {
    TaskSpec { lane: Some("wide".into()), kind: "k".into(), payload: payload.into(), ..TaskSpec::default() }
}

/// What the library remembers of a lane is what Redis has, also when a call has failed half-way.
#[test]
fn a_batch_that_fails_is_not_remembered() {
    let redis = with_library();
    let mut store = InRedis::new(&redis, &options());
    store.publish("acme", task("1"));
    let (publish, _) = encode::publish_command(&store.options, "acme", &[task("2")]);
    let failed = store.send(&[publish, wire::command(&("no such verb",))], Vec::new()).expect_err("a defect");
    assert!(failed.to_string().contains("attempt to call"), "{failed}");
    store.publish("acme", task("3"));
    let ready = store.lane_view("wide").ready.normal;
    let listed: u64 = redis::cmd("LLEN").arg("p:queue:wide:normal").query(&mut store.connection).unwrap();
    assert_eq!((ready, listed), (2, 2));
}

/// A lane that says nothing of owners, as earlier versions write it, and one that a second owner joins and leaves again.
#[test]
fn a_lane_need_not_know_its_only_owner() {
    let redis = with_library();
    let mut store = InRedis::new(&redis, &options());
    let mut published = vec![store.publish("acme", task("1"))];
    let written: Vec<u8> = redis::cmd("GET").arg("p:lane:wide").query(&mut store.connection).unwrap();
    let parts: Vec<rmpv::Value> = rmp_serde::from_slice(&written).unwrap();
    assert_eq!(parts[11].as_str(), Some("t:acme"), "the only owner at the normal level");
    redis::cmd("SET").arg("p:lane:wide").arg(wire::pack(&&parts[..10])).exec(&mut store.connection).unwrap();
    for tenant in ["acme", "zeta", "acme", "zeta"] {
        published.push(store.publish(tenant, task("1")));
    }
    let mut given = Vec::new();
    for credit in [2, 1, 9] {
        store.pull("wide", credit);
        given.extend(store.schedule().into_iter().map(|(delivery, _)| delivery.task.id));
        published.push(store.publish("acme", task("1")));
    }
    store.pull("wide", 9);
    given.extend(store.schedule().into_iter().map(|(delivery, _)| delivery.task.id));
    published.sort_unstable();
    given.sort_unstable();
    assert_eq!(given, published);
    let turns: u64 = redis::cmd("LLEN").arg("p:turn:wide:2").query(&mut store.connection).unwrap();
    assert_eq!(turns, 0, "nobody has a turn who has nothing");
}

/// `publish_quickly` is another way to do the same: key by key, Redis then has what the verb would have left.
#[test]
fn publishing_quickly_leaves_what_publishing_leaves() {
    let redis = with_library();
    let mut store = InRedis::new(&redis, &options());
    let published: Vec<Vec<u8>> = ["1", "\"two\"", "[3]"]
        .iter()
        .map(|payload| encode::publish_command(&store.options, "acme", &[task(payload)]).0)
        .collect();
    // With a sign of life a batch is never quick; in both it lists the lanes.
    let left = [2, 0].map(|before| {
        store = InRedis::new(&redis, &options());
        for command in &published {
            store.batches = before;
            assert_eq!(store.ask(command.clone()).as_u64(), Some(1));
        }
        let keys: Vec<String> = redis::cmd("KEYS").arg("p:*").query(&mut store.connection).unwrap();
        let mut left = BTreeMap::new();
        for key in keys.into_iter().filter(|key| !["p:gateways", "p:peers"].contains(&key.as_str())) {
            let dumped: Vec<u8> = redis::cmd("DUMP").arg(&key).query(&mut store.connection).unwrap();
            left.insert(key, dumped);
        }
        left
    });
    let [usual, quick] = &left;
    assert!(usual.len() > 10, "{:?}", usual.keys());
    assert_eq!(usual, quick);
}
