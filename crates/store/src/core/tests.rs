//! The core under random commands and simulated time, against a model so naive that one can see that it is right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use squall_protocol::{ConnectionId, NackMode, Priority, TaskId, Time};

use super::records::{FRAME_HEADER, Records};
use super::state::State;
use super::{Core, Room, Scope, limits, retry};
use crate::config::{Config, Lane, Options, RetryPolicy};
use crate::{Delivery, Holder, SettleVerb, Settled, Settlement, TaskSpec, WorkerSpec};

const LANES: [&str; 2] = ["narrow", "wide"];
const TENANTS: [&str; 2] = ["acme", "zeta"];

#[derive(Clone, Debug)]
enum Op {
    Publish { lane: usize, tenant: usize, priority: usize, key: Option<u8>, delay_ms: u64, deadline_ms: Option<u64> },
    Open { tenant: Option<usize>, both: bool },
    Close { worker: usize, release: bool },
    Grant { worker: usize, more: u32 },
    Ack { held: usize },
    Nack { held: usize, mode: NackMode, delay_ms: Option<u64> },
    Extend { held: usize, for_ms: u64 },
    Cancel { task: usize },
    Pull { lane: usize, credit: u32 },
    Pause { lane: usize, for_ms: u64 },
    Resume { lane: usize },
    Pass { ms: u64 },
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let mode = prop_oneof![Just(NackMode::Fail), Just(NackMode::Release), Just(NackMode::Fatal)];
    prop_oneof![
        8 => (
            (0..2_usize, 0..2_usize, 0..3_usize, prop::option::of(0..3_u8)),
            prop_oneof![3 => Just(0), 1 => 1..3_000_u64],
            prop::option::weighted(0.3, 1..8_000_u64),
        )
            .prop_map(|((lane, tenant, priority, key), delay_ms, deadline_ms)| {
                Op::Publish { lane, tenant, priority, key, delay_ms, deadline_ms }
            }),
        1 => (prop::option::weighted(0.3, 0..2_usize), any::<bool>()).prop_map(|(tenant, both)| Op::Open { tenant, both }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(worker, release)| Op::Close { worker, release }),
        4 => (any::<usize>(), 1..4_u32).prop_map(|(worker, more)| Op::Grant { worker, more }),
        5 => any::<usize>().prop_map(|held| Op::Ack { held }),
        3 => (any::<usize>(), mode, prop::option::of(0..5_000_u64))
            .prop_map(|(held, mode, delay_ms)| Op::Nack { held, mode, delay_ms }),
        1 => (any::<usize>(), 1..20_000_u64).prop_map(|(held, for_ms)| Op::Extend { held, for_ms }),
        1 => any::<usize>().prop_map(|task| Op::Cancel { task }),
        2 => (0..2_usize, 1..4_u32).prop_map(|(lane, credit)| Op::Pull { lane, credit }),
        1 => (0..2_usize, 1..2_000_u64).prop_map(|(lane, for_ms)| Op::Pause { lane, for_ms }),
        1 => (0..2_usize).prop_map(|lane| Op::Resume { lane }),
        3 => (1..4_000_u64).prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Restart),
    ]
}

fn options() -> Options {
    let retry = RetryPolicy { max: 2, delay_ms: 500, backoff: 2.0, max_delay_ms: 60_000, jitter: 0.0 };
    let lane = Lane { retry, lease_ms: 5_000, aging_ms: 1_500, ..Lane::default() };
    Options {
        store: Config { finished_tasks: 5, ..Config::default() },
        lanes: [("narrow".to_owned(), Lane { concurrency: 2, ..lane.clone() }), ("wide".to_owned(), lane)].into(),
        ..Options::default()
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Where {
    Waits { due: Time },
    Leased { expires: Time, holder: Option<ConnectionId>, due: Time },
    Over,
    Dead,
}

#[derive(Clone, Debug)]
struct Known {
    lane: usize,
    tenant: usize,
    priority: usize,
    key: Option<u8>,
    seq: usize,
    attempts: u32,
    deadline: Option<Time>,
    place: Where,
}

impl Known {
    /// No longer worth doing.
    fn is_late(&self, now: Time) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }
}

/// The naive side: every task in a map, every question answered by looking at all of them.
#[derive(Default)]
struct Model {
    tasks: BTreeMap<TaskId, Known>,
    paused: [Option<Time>; 2],
}

impl Model {
    fn fail(&mut self, id: TaskId, now: Time, asked_ms: Option<u64>, policy: &RetryPolicy) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.place = match retry::delay_ms(policy, task.attempts, 0.5) {
            _ if task.is_late(now) => Where::Dead,
            None => Where::Dead,
            Some(ms) => Where::Waits { due: retry::due_at(now, ms, asked_ms) },
        };
    }

    fn release(&mut self, id: TaskId, now: Time, asked: Option<Time>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if task.is_late(now) {
            task.place = Where::Dead;
        } else if let Where::Leased { due, .. } = task.place {
            task.attempts -= 1;
            task.place = Where::Waits { due: asked.unwrap_or(due) };
        }
    }

    fn expire(&mut self, now: Time, policy: &RetryPolicy) {
        let ended: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.place, Where::Leased { expires, .. } if expires <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            self.fail(id, now, None, policy);
        }
        for task in self.tasks.values_mut() {
            if matches!(task.place, Where::Waits { .. }) && task.is_late(now) {
                task.place = Where::Dead;
            }
        }
        for paused in &mut self.paused {
            if paused.is_some_and(|until| until <= now) {
                *paused = None;
            }
        }
    }

    /// Nothing but a worker is missing: its time has come, and it is the first unfinished one of its key.
    fn is_eligible(&self, task: &Known, now: Time) -> bool {
        let first_of_key = task.key.is_none()
            || !self.tasks.values().any(|other| {
                (other.lane, other.tenant, other.key) == (task.lane, task.tenant, task.key)
                    && other.seq < task.seq
                    && matches!(other.place, Where::Waits { .. } | Where::Leased { .. })
            });
        matches!(task.place, Where::Waits { due } if due <= now) && first_of_key
    }

    fn leased(&self, lane: usize) -> usize {
        let leased = |task: &&Known| task.lane == lane && matches!(task.place, Where::Leased { .. });
        self.tasks.values().filter(leased).count()
    }

    fn deliver(
        &mut self,
        delivery: &Delivery,
        holder: Option<ConnectionId>,
        tenant: Option<usize>,
        now: Time,
        options: &Options,
    ) {
        let id = delivery.task.id;
        let task = self.tasks.get(&id).expect("only what was published is delivered").clone();
        let settings = &options.lanes[LANES[task.lane]];
        assert!(!task.is_late(now), "{id} was delivered at {now}, after its deadline: {task:?}");
        assert!(self.is_eligible(&task, now), "{id} was delivered, but is {task:?} at {now}");
        assert!(tenant.is_none_or(|tenant| tenant == task.tenant), "a worker got another tenant's task");
        assert!(self.paused[task.lane].is_none(), "a paused lane delivered");
        let limit = settings.concurrency as usize;
        assert!(limit == 0 || self.leased(task.lane) < limit, "more than {limit} leases");
        // Strict priority, but for tasks that have aged, counted from the highest level that has anything. Keyed tasks age from when
        // they became the first of their key, which this model does not keep: it takes them as young as they may be.
        let Where::Waits { due } = task.place else { unreachable!("it is eligible") };
        let rivals: Vec<&Known> = self
            .tasks
            .values()
            .filter(|other| other.lane == task.lane && tenant.is_none_or(|tenant| tenant == other.tenant))
            .filter(|other| self.is_eligible(other, now))
            .collect();
        let top = rivals.iter().map(|other| other.priority).min().expect("at least itself");
        let aged = |priority: usize, due: Time| now.since_ms(due) >= settings.aging_ms * (priority - top) as u64;
        assert!(aged(task.priority, due), "{task:?} went before higher ones at {now}: {rivals:?}");
        for other in rivals {
            let Where::Waits { due: other_due } = other.place else { continue };
            let older = other.key.is_none() && task.key.is_none() && other_due < due;
            let passed_over = other.priority > top && aged(other.priority, other_due) && older;
            assert!(!passed_over, "{other:?} had aged, but {task:?} went at {now}");
        }
        let task = self.tasks.get_mut(&id).expect("seen above");
        task.attempts += 1;
        assert_eq!(delivery.attempt, task.attempts);
        task.place = Where::Leased { expires: delivery.lease_expires_at, holder, due };
    }
}

struct World {
    core: Core,
    model: Model,
    options: Options,
    now: Time,
    workers: Vec<(ConnectionId, Option<usize>)>,
    held: Vec<(Delivery, Option<ConnectionId>)>,
    pulls: BTreeSet<u32>,
    log: Vec<(Time, Vec<u8>)>,
    published: Vec<TaskId>,
    serial: u128,
}

impl World {
    fn new(options: Options) -> Self {
        let now = Time(1_000_000);
        let mut core = Core::new(State::new(limits(&options)), options.clone(), now, 7);
        let mut log = Vec::new();
        drain(&mut core, &mut log);
        Self {
            core,
            model: Model::default(),
            options,
            now,
            workers: Vec::new(),
            held: Vec::new(),
            pulls: BTreeSet::new(),
            log,
            published: Vec::new(),
            serial: 0,
        }
    }

    fn policy(&self) -> RetryPolicy {
        self.options.lanes["wide"].retry
    }

    fn step(&mut self, op: &Op) {
        if let Op::Pass { ms } = op {
            self.now = self.now.plus_ms(*ms);
        }
        let (now, policy) = (self.now, self.policy());
        self.core.begin(now, Room::default());
        self.core.tick();
        self.model.expire(now, &policy);
        self.held.retain(|(delivery, holder)| {
            let place = &self.model.tasks[&delivery.task.id].place;
            matches!(place, Where::Leased { expires, holder: by, .. } if by == holder && *expires > now)
        });
        match op.clone() {
            Op::Publish { lane, tenant, priority, key, delay_ms, deadline_ms } => {
                self.publish((lane, tenant, priority, key), delay_ms, deadline_ms);
            }
            Op::Open { tenant, both } => {
                self.serial += 1;
                let id = ConnectionId::at(now, self.serial);
                let lanes = if both { &LANES[..] } else { &LANES[..1] };
                let spec = WorkerSpec {
                    id,
                    tenant: tenant.map(|tenant| TENANTS[tenant].into()),
                    lanes: lanes.iter().map(|&lane| lane.into()).collect(),
                };
                self.core.open_worker(&spec).expect("the lanes are there");
                self.workers.push((id, tenant));
            }
            Op::Close { worker, release } if !self.workers.is_empty() => {
                let (id, _) = self.workers.remove(worker % self.workers.len());
                self.core.close_worker(id, release);
                for (delivery, holder) in std::mem::take(&mut self.held) {
                    if holder != Some(id) {
                        self.held.push((delivery, holder));
                    } else if release {
                        self.model.release(delivery.task.id, now, None);
                    } else {
                        self.model.fail(delivery.task.id, now, None, &policy);
                    }
                }
            }
            Op::Grant { worker, more } if !self.workers.is_empty() => {
                let (id, _) = self.workers[worker % self.workers.len()];
                self.core.grant(id, more);
            }
            Op::Ack { held } => self.settle(held, &SettleVerb::Ack),
            Op::Nack { held, mode, delay_ms } => {
                self.settle(held, &SettleVerb::Nack { mode, delay_ms, reason: None, pause_lane_ms: None });
            }
            Op::Extend { held, for_ms } => self.settle(held, &SettleVerb::Extend { for_ms }),
            Op::Cancel { task } if !self.published.is_empty() => {
                let id = self.published[task % self.published.len()];
                let known = self.model.tasks.get_mut(&id).expect("published");
                let waits = matches!(known.place, Where::Waits { .. });
                assert_eq!(self.core.cancel(Scope::All, id).is_ok(), waits, "{known:?}");
                if waits {
                    known.place = Where::Over;
                }
            }
            Op::Pull { lane, credit } => {
                let taker = self.core.pull(None, LANES[lane], credit, 0).expect("the lane is there");
                self.pulls.insert(taker);
            }
            Op::Pause { lane, for_ms } => {
                self.core.pause_lane(LANES[lane], Some(for_ms)).expect("the lane is there");
                self.model.paused[lane] = Some(now.plus_ms(for_ms));
            }
            Op::Resume { lane } => {
                self.core.resume_lane(LANES[lane]).expect("the lane is there");
                self.model.paused[lane] = None;
            }
            Op::Restart => self.restart(),
            Op::Close { .. } | Op::Grant { .. } | Op::Cancel { .. } | Op::Pass { .. } => {}
        }
        self.schedule();
        self.compare();
    }

    /// The process dies and comes back: connections are gone and their leases have failed, pulls keep theirs by receipt.
    fn restart(&mut self) {
        drain(&mut self.core, &mut self.log);
        let state = State::copied(self.core.state(), limits(&self.options));
        // Another seed: ids come from it, and two lives never share one.
        self.serial += 1;
        self.core = Core::new(state, self.options.clone(), self.now, 7 + self.serial as u64);
        drain(&mut self.core, &mut self.log);
        self.core.begin(self.now, Room::default());
        self.workers.clear();
        self.pulls.clear();
        let (now, policy) = (self.now, self.policy());
        for (delivery, holder) in std::mem::take(&mut self.held) {
            if holder.is_none() {
                self.held.push((delivery, holder));
            } else {
                self.model.fail(delivery.task.id, now, None, &policy);
            }
        }
    }

    fn publish(
        &mut self,
        (lane, tenant, priority, key): (usize, usize, usize, Option<u8>),
        delay_ms: u64,
        deadline_ms: Option<u64>,
    ) {
        let spec = TaskSpec {
            lane: Some(LANES[lane].into()),
            kind: "k".into(),
            priority: Some(Priority::ALL[priority]),
            payload: "1".into(),
            session: None,
            key: key.map(|key| key.to_string().into()),
            delay_ms,
            deadline_ms,
            retry: None,
            idempotency_key: None,
        };
        let id = self.core.publish(&Arc::from(TENANTS[tenant]), spec).expect("there is room").id;
        let place = Where::Waits { due: self.now.plus_ms(delay_ms) };
        let seq = self.published.len();
        self.published.push(id);
        let deadline = deadline_ms.map(|ms| self.now.plus_ms(ms));
        self.model.tasks.insert(id, Known { lane, tenant, priority, key, seq, attempts: 0, deadline, place });
    }

    fn settle(&mut self, held: usize, verb: &SettleVerb) {
        if self.held.is_empty() {
            return;
        }
        let at = held % self.held.len();
        let (delivery, holder) = self.held[at].clone();
        let id = delivery.task.id;
        let claim = holder.map_or(Holder::Receipts, Holder::Worker);
        let settlement = Settlement { id, receipt: Some(delivery.receipt), verb: verb.clone() };
        let wrong = Holder::Worker(ConnectionId::at(self.now, u128::MAX));
        assert!(self.core.settle(Scope::All, wrong, settlement.clone()).is_err(), "somebody else may not settle");
        let settled = self.core.settle(Scope::All, claim, settlement.clone()).expect("it is held");
        let (now, policy) = (self.now, self.policy());
        match verb {
            SettleVerb::Extend { for_ms } => {
                let until = now.plus_ms(*for_ms);
                assert_eq!(settled, Settled::Extended(until));
                let known = self.model.tasks.get_mut(&id).expect("published");
                if let Where::Leased { expires, .. } = &mut known.place {
                    *expires = until;
                }
                return;
            }
            SettleVerb::Ack => self.model.tasks.get_mut(&id).expect("published").place = Where::Over,
            SettleVerb::Nack { mode: NackMode::Fail, delay_ms, .. } => self.model.fail(id, now, *delay_ms, &policy),
            SettleVerb::Nack { mode: NackMode::Release, delay_ms, .. } => {
                self.model.release(id, now, delay_ms.map(|ms| now.plus_ms(ms)));
            }
            SettleVerb::Nack { mode: NackMode::Fatal, .. } => {
                self.model.tasks.get_mut(&id).expect("published").place = Where::Dead;
            }
        }
        self.held.remove(at);
        assert!(self.core.settle(Scope::All, claim, settlement).is_err(), "nothing is settled twice");
    }

    fn schedule(&mut self) {
        self.core.schedule();
        // In the order in which they were leased, which is the order of their records.
        let mut order = Vec::new();
        for (record, _) in Records::new(self.core.journal().bytes.get(FRAME_HEADER..).unwrap_or_default()).flatten() {
            if let super::records::Record::Leased { id, .. } = record {
                order.push(TaskId(id));
            }
        }
        let mut given = BTreeMap::new();
        self.core.take_handouts(|handout| {
            for delivery in handout.deliveries {
                assert!(
                    given.insert(delivery.task.id, (delivery, handout.worker)).is_none(),
                    "leased twice in one commit"
                );
            }
        });
        assert_eq!(order.len(), given.len(), "every lease is handed out");
        for id in order {
            let (delivery, worker) = given.remove(&id).expect("every lease is handed out");
            let tenant =
                worker.and_then(|id| self.workers.iter().find(|(other, _)| *other == id)).and_then(|(_, t)| *t);
            self.model.deliver(&delivery, worker, tenant, self.now, &self.options);
            self.held.push((delivery, worker));
        }
        drain(&mut self.core, &mut self.log);
    }

    fn compare(&self) {
        for (lane, name) in LANES.iter().enumerate() {
            let view = self.core.lane_view(name).expect("the lane is there");
            let of = |wanted: &dyn Fn(&Known) -> bool| {
                self.model.tasks.values().filter(|task| task.lane == lane && wanted(task)).count() as u64
            };
            let ready = of(&|task| matches!(task.place, Where::Waits { due } if due <= self.now));
            let delayed = of(&|task| matches!(task.place, Where::Waits { due } if due > self.now));
            assert_eq!(view.ready.high + view.ready.normal + view.ready.low, ready, "ready in {name}");
            for (level, priority) in Priority::ALL.into_iter().enumerate() {
                let ages = self.model.tasks.values().filter_map(|task| match task.place {
                    Where::Waits { due } if (task.lane, task.priority) == (lane, level) && due <= self.now => {
                        Some(self.now.since_ms(due))
                    }
                    _ => None,
                });
                let oldest = ages.max().unwrap_or(0);
                assert_eq!(*view.oldest_ready_ms.get(priority), oldest, "oldest {priority:?} in {name}");
            }
            assert_eq!(view.delayed, delayed, "delayed in {name}");
            assert_eq!(view.leased, self.model.leased(lane) as u64, "leased in {name}");
            assert_eq!(view.dead_letters, of(&|task| task.place == Where::Dead), "dead in {name}");
        }
    }

    /// What was written makes the same state again, from the records and from a snapshot.
    fn replays(&self) {
        let mut replayed = State::new(limits(&self.options));
        for (time, bytes) in &self.log {
            for (record, _) in Records::new(bytes).map(|read| read.expect("what was written can be read")) {
                replayed.apply(&record, *time);
            }
        }
        let live = image(self.core.state());
        assert_eq!(image(&replayed), live, "replay");
        assert_eq!(image(&State::copied(self.core.state(), limits(&self.options))), live, "snapshot");
        assert_eq!(replayed.orphans, 0);
    }

    /// Everybody works and nothing fails: in the end nothing waits, or is leased.
    fn finish(&mut self) {
        for lane in 0..2 {
            self.step(&Op::Resume { lane });
        }
        self.step(&Op::Open { tenant: None, both: true });
        let last = self.workers.len() - 1;
        for _ in 0..2_000 {
            self.step(&Op::Grant { worker: last, more: 10 });
            while !self.held.is_empty() {
                self.step(&Op::Ack { held: 0 });
            }
            let open =
                self.model.tasks.values().any(|task| matches!(task.place, Where::Waits { .. } | Where::Leased { .. }));
            if !open {
                return;
            }
            self.step(&Op::Pass { ms: 300 });
        }
        panic!("some tasks are never delivered: {:?}", self.model.tasks);
    }
}

fn drain(core: &mut Core, log: &mut Vec<(Time, Vec<u8>)>) {
    let now = core.now();
    let journal = core.journal();
    let (bytes, frames) = journal.finish();
    for span in frames {
        log.push((now, bytes[span.start + FRAME_HEADER..span.end].to_vec()));
    }
    journal.clear();
}

/// All that a state says, in an order of its own.
fn image(state: &State) -> Vec<String> {
    let mut entries = Vec::new();
    let _: Result<(), std::convert::Infallible> = state.entries(|entry| {
        entries.push(format!("{entry:?}"));
        Ok(())
    });
    entries.sort();
    entries
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_the_model(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new(options());
        for op in &ops {
            world.step(op);
        }
        world.replays();
        world.finish();
        world.replays();
    }

    #[test]
    fn a_core_that_comes_back_has_the_same_queues(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new(options());
        for op in &ops {
            world.step(op);
        }
        // Leases of connections return when their process is gone, and here when they are closed; pulls that wait go with it too.
        for (id, _) in std::mem::take(&mut world.workers) {
            world.core.close_worker(id, false);
        }
        for taker in std::mem::take(&mut world.pulls) {
            world.core.end_pull(taker);
        }
        drain(&mut world.core, &mut world.log);
        let copy = State::copied(world.core.state(), limits(&world.options));
        let back = Core::new(copy, world.options.clone(), world.now, 9);
        for name in LANES {
            prop_assert_eq!(world.core.lane_view(name).unwrap(), back.lane_view(name).unwrap());
        }
    }
}

fn publish(core: &mut Core, tenant: &str, lane: &str, priority: Priority, key: Option<&str>) -> TaskId {
    let spec = TaskSpec {
        lane: Some(lane.into()),
        kind: "k".into(),
        priority: Some(priority),
        payload: "1".into(),
        session: None,
        key: key.map(Into::into),
        delay_ms: 0,
        deadline_ms: None,
        retry: None,
        idempotency_key: None,
    };
    core.publish(&Arc::from(tenant), spec).unwrap().id
}

fn deliveries(core: &mut Core) -> Vec<Delivery> {
    core.schedule();
    let mut all = Vec::new();
    core.take_handouts(|handout| all.extend(handout.deliveries));
    all
}

fn worker(core: &mut Core, number: u128, lanes: &[&str], credit: u32) -> ConnectionId {
    let id = ConnectionId::at(Time(1), number);
    let spec = WorkerSpec { id, tenant: None, lanes: lanes.iter().map(|&lane| lane.into()).collect() };
    core.open_worker(&spec).unwrap();
    core.grant(id, credit);
    id
}

#[test]
fn tenants_take_turns() {
    let mut core = Core::new(State::new(limits(&options())), options(), Time(1_000), 1);
    let many: Vec<_> = (0..4).map(|_| publish(&mut core, "acme", "wide", Priority::Normal, None)).collect();
    let few: Vec<_> = (0..2).map(|_| publish(&mut core, "zeta", "wide", Priority::Normal, None)).collect();
    worker(&mut core, 1, &["wide"], 10);
    let order: Vec<_> = deliveries(&mut core).iter().map(|delivery| delivery.task.id).collect();
    assert_eq!(order, [many[0], few[0], many[1], few[1], many[2], many[3]]);
}

#[test]
fn keys_take_turns() {
    let mut core = Core::new(State::new(limits(&options())), options(), Time(1_000), 1);
    let first: Vec<_> = (0..3).map(|_| publish(&mut core, "t", "wide", Priority::Normal, Some("a"))).collect();
    let other = publish(&mut core, "t", "wide", Priority::Normal, Some("b"));
    let id = worker(&mut core, 1, &["wide"], 1);
    let mut order = Vec::new();
    for _ in 0..4 {
        let got = deliveries(&mut core);
        order.push(got[0].task.id);
        let ack = Settlement { id: got[0].task.id, receipt: None, verb: SettleVerb::Ack };
        core.settle(Scope::All, Holder::Worker(id), ack).unwrap();
        core.grant(id, 1);
    }
    assert_eq!(order, [first[0], other, first[1], first[2]]);
}

#[test]
fn weights_share_a_lane() {
    let mut options = options();
    let weights = squall_protocol::lane::ByPriority { high: 2, normal: 1, low: 1 };
    options.lanes.insert("wide".into(), Lane { weights: Some(weights), aging_ms: 0, ..Lane::default() });
    let mut core = Core::new(State::new(limits(&options)), options, Time(1_000), 1);
    for priority in Priority::ALL {
        for _ in 0..40 {
            publish(&mut core, "t", "wide", priority, None);
        }
    }
    worker(&mut core, 1, &["wide"], 40);
    let mut counts = [0; 3];
    for delivery in deliveries(&mut core) {
        counts[delivery.task.priority as usize] += 1;
    }
    assert_eq!(counts, [20, 10, 10]);
}

#[test]
fn low_priority_is_slower_but_never_starves() {
    let mut core = Core::new(State::new(limits(&options())), options(), Time(1_000_000), 1);
    core.begin(Time(1_000_000), Room::default());
    let low = publish(&mut core, "t", "wide", Priority::Low, None);
    let id = worker(&mut core, 1, &["wide"], 0);
    // High tasks come without end, one more than is taken; aging is 1.5 s a level.
    for step in 0..100 {
        let now = Time(1_000_000 + step * 100);
        core.begin(now, Room::default());
        core.tick();
        publish(&mut core, "t", "wide", Priority::High, None);
        publish(&mut core, "t", "wide", Priority::High, None);
        core.grant(id, 1);
        if deliveries(&mut core).iter().any(|delivery| delivery.task.id == low) {
            assert_eq!(now.0, 1_003_000, "after two levels' worth of waiting, and not before");
            return;
        }
    }
    panic!("the low task starved");
}

#[test]
fn a_rate_holds_a_lane_back_and_then_lets_go() {
    let mut options = options();
    options.lanes.insert("wide".into(), Lane { rate_per_s: Some(10.0), burst: Some(2), ..Lane::default() });
    let mut core = Core::new(State::new(limits(&options)), options, Time(1_000), 1);
    for _ in 0..5 {
        publish(&mut core, "t", "wide", Priority::Normal, None);
    }
    worker(&mut core, 1, &["wide"], 10);
    let mut at = Vec::new();
    for _ in 0..10 {
        at.extend(deliveries(&mut core).iter().map(|_| core.now().0));
        let Some(next) = core.next_wake() else { break };
        if at.len() == 5 {
            break;
        }
        core.begin(next, Room::default());
        core.tick();
    }
    assert_eq!(at, [1_000, 1_000, 1_100, 1_200, 1_300]);
}

#[test]
fn a_session_goes_to_its_worker_in_order() {
    let mut options = options();
    options.lanes.insert("wide".into(), Lane { affinity: crate::config::Affinity::Session, ..Lane::default() });
    options.sessions.max_concurrent = 10;
    let mut core = Core::new(State::new(limits(&options)), options, Time(1_000), 1);
    let tenant: Arc<str> = "t".into();
    let sessions: Vec<_> =
        (0..2).map(|_| core.create_session(&tenant, squall_protocol::NewSession::default()).unwrap()).collect();
    let mut ids = Vec::new();
    for i in 0..6 {
        let spec = TaskSpec {
            lane: Some("wide".into()),
            kind: "k".into(),
            priority: None,
            payload: "1".into(),
            session: Some(sessions[i % 2].clone()),
            key: None,
            delay_ms: 0,
            deadline_ms: None,
            retry: None,
            idempotency_key: None,
        };
        ids.push(core.publish(&tenant, spec).unwrap().id);
    }
    let workers = [worker(&mut core, 1, &["wide"], 1), worker(&mut core, 2, &["wide"], 1)];
    let mut seen: Vec<Vec<TaskId>> = vec![Vec::new(); 2];
    for _ in 0..3 {
        core.schedule();
        let mut got = Vec::new();
        core.take_handouts(|handout| got.push((handout.worker.unwrap(), handout.deliveries)));
        // Each worker gets its own session's next task, however the credit is given out.
        for (id, tasks) in got {
            assert_eq!(tasks.len(), 1, "one at a time");
            let at = workers.iter().position(|worker| *worker == id).unwrap();
            seen[at].push(tasks[0].task.id);
            core.settle(
                Scope::All,
                Holder::Worker(id),
                Settlement { id: tasks[0].task.id, receipt: None, verb: SettleVerb::Ack },
            )
            .unwrap();
        }
        core.grant(workers[1], 1);
        core.grant(workers[0], 1);
    }
    assert_eq!(seen, [vec![ids[0], ids[2], ids[4]], vec![ids[1], ids[3], ids[5]]]);
}
