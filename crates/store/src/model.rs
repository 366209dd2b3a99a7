//! Random commands in a time that the test owns, against a model so naive that one can see that it is right. Every backend's
//! decisions are a [`Subject`], and meet the same model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use squall_protocol::{ConnectionId, DeadReason, LaneView, NackMode, Priority, TaskId, Time};

use crate::config::{Config, Lane, Options, RetryPolicy};
use crate::core::retry;
use crate::{Delivery, Holder, Result, SettleVerb, Settled, Settlement, TaskSpec, WorkerSpec};

pub(crate) const LANES: [&str; 2] = ["narrow", "wide"];
pub(crate) const TENANTS: [&str; 2] = ["acme", "zeta"];

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Publish {
        lane: usize,
        tenant: usize,
        priority: usize,
        key: Option<u8>,
        delay_ms: u64,
        deadline_ms: Option<u64>,
        dead: bool,
    },
    Open {
        tenant: Option<usize>,
        both: bool,
    },
    Close {
        worker: usize,
        release: bool,
    },
    Grant {
        worker: usize,
        more: u32,
    },
    Ack {
        held: usize,
    },
    Nack {
        held: usize,
        mode: NackMode,
        delay_ms: Option<u64>,
    },
    Extend {
        held: usize,
        for_ms: u64,
    },
    Cancel {
        task: usize,
    },
    Pull {
        lane: usize,
        credit: u32,
    },
    Pause {
        lane: usize,
        for_ms: u64,
    },
    Resume {
        lane: usize,
    },
    Pass {
        ms: u64,
    },
    Restart,
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let mode = prop_oneof![Just(NackMode::Fail), Just(NackMode::Release), Just(NackMode::Fatal)];
    prop_oneof![
        8 => (
            (0..2_usize, 0..2_usize, 0..3_usize, prop::option::of(0..3_u8)),
            prop_oneof![3 => Just(0), 1 => 1..3_000_u64],
            prop::option::weighted(0.3, 1..8_000_u64),
            prop::bool::weighted(0.1),
        )
            .prop_map(|((lane, tenant, priority, key), delay_ms, deadline_ms, dead)| {
                Op::Publish { lane, tenant, priority, key, delay_ms, deadline_ms, dead }
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

pub(crate) fn options() -> Options {
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

/// What is under test: a store's decisions, step by step, in a time that the test owns. Nothing is leased but by [`Subject::schedule`].
pub(crate) trait Subject {
    /// It is `now`; what is due happens.
    fn begin(&mut self, now: Time);
    fn publish(&mut self, tenant: &str, spec: TaskSpec) -> TaskId;
    fn open_worker(&mut self, spec: &WorkerSpec);
    fn close_worker(&mut self, id: ConnectionId, release: bool);
    fn grant(&mut self, id: ConnectionId, more: u32);
    fn settle(&mut self, holder: Holder, settlement: Settlement) -> Result<Settled>;
    fn cancel(&mut self, id: TaskId) -> Result<()>;
    /// A pull that takes what the next schedule has for it, and waits no longer.
    fn pull(&mut self, lane: &str, credit: u32);
    fn pause(&mut self, lane: &str, for_ms: u64);
    fn resume(&mut self, lane: &str);
    /// What is leased to whom, in the order in which it was leased.
    fn schedule(&mut self) -> Vec<(Delivery, Option<ConnectionId>)>;
    /// The process dies and another one comes: connections are gone, and their leases have failed.
    fn restart(&mut self);
    fn lane_view(&mut self, lane: &str) -> LaneView;
}

/// A subject beside the model; every step is compared.
pub(crate) struct World<S> {
    pub(crate) subject: S,
    model: Model,
    options: Options,
    now: Time,
    pub(crate) workers: Vec<(ConnectionId, Option<usize>)>,
    held: Vec<(Delivery, Option<ConnectionId>)>,
    published: Vec<TaskId>,
    serial: u128,
}

/// When a world begins.
pub(crate) const BEGINNING: Time = Time(1_000_000);

impl<S: Subject> World<S> {
    pub(crate) fn new(subject: S, options: Options) -> Self {
        Self {
            subject,
            model: Model::default(),
            options,
            now: BEGINNING,
            workers: Vec::new(),
            held: Vec::new(),
            published: Vec::new(),
            serial: 0,
        }
    }

    fn policy(&self) -> RetryPolicy {
        self.options.lanes["wide"].retry
    }

    pub(crate) fn step(&mut self, op: &Op) {
        if let Op::Pass { ms } = op {
            self.now = self.now.plus_ms(*ms);
        }
        let (now, policy) = (self.now, self.policy());
        self.subject.begin(now);
        self.model.expire(now, &policy);
        self.held.retain(|(delivery, holder)| {
            let place = &self.model.tasks[&delivery.task.id].place;
            matches!(place, Where::Leased { expires, holder: by, .. } if by == holder && *expires > now)
        });
        match op.clone() {
            Op::Publish { lane, tenant, priority, key, delay_ms, deadline_ms, dead } => {
                self.publish((lane, tenant, priority, key), delay_ms, deadline_ms, dead);
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
                self.subject.open_worker(&spec);
                self.workers.push((id, tenant));
            }
            Op::Close { worker, release } if !self.workers.is_empty() => {
                let (id, _) = self.workers.remove(worker % self.workers.len());
                self.subject.close_worker(id, release);
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
                self.subject.grant(id, more);
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
                assert_eq!(self.subject.cancel(id).is_ok(), waits, "{known:?}");
                if waits {
                    known.place = Where::Over;
                }
            }
            Op::Pull { lane, credit } => {
                self.subject.pull(LANES[lane], credit);
            }
            Op::Pause { lane, for_ms } => {
                self.subject.pause(LANES[lane], for_ms);
                self.model.paused[lane] = Some(now.plus_ms(for_ms));
            }
            Op::Resume { lane } => {
                self.subject.resume(LANES[lane]);
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
        self.subject.restart();
        self.workers.clear();
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
        dead: bool,
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
            dead: dead.then(|| (DeadReason::Unparsable, "rubbish".into())),
        };
        let id = self.subject.publish(TENANTS[tenant], spec);
        let place = if dead { Where::Dead } else { Where::Waits { due: self.now.plus_ms(delay_ms) } };
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
        assert!(self.subject.settle(wrong, settlement.clone()).is_err(), "somebody else may not settle");
        let settled = self.subject.settle(claim, settlement.clone()).expect("it is held");
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
        assert!(self.subject.settle(claim, settlement).is_err(), "nothing is settled twice");
    }

    fn schedule(&mut self) {
        for (delivery, worker) in self.subject.schedule() {
            let tenant =
                worker.and_then(|id| self.workers.iter().find(|(other, _)| *other == id)).and_then(|(_, t)| *t);
            self.model.deliver(&delivery, worker, tenant, self.now, &self.options);
            self.held.push((delivery, worker));
        }
    }

    fn compare(&mut self) {
        for (lane, name) in LANES.iter().enumerate() {
            let view = self.subject.lane_view(name);
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

    /// Everybody works and nothing fails: in the end nothing waits, or is leased.
    pub(crate) fn finish(&mut self) {
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
