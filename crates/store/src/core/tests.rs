//! The core under random commands and simulated time, against the [`crate::model`]; and what it decides in single cases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use squall_protocol::{ConnectionId, LaneView, Priority, TaskId, Time};

use super::records::{FRAME_HEADER, Records};
use super::state::State;
use super::{Core, Room, Scope, limits};
use crate::config::{Lane, Options};
use crate::model::{BEGINNING, LANES, Subject, World, op, options};
use crate::{Delivery, Holder, Result, SettleVerb, Settled, Settlement, TaskSpec, WorkerSpec};

/// The core in this process, and all that it has written.
pub(crate) struct InProcess {
    pub(crate) core: Core,
    options: Options,
    pulls: BTreeSet<u32>,
    log: Vec<(Time, Vec<u8>)>,
    lives: u64,
}

fn world() -> World<InProcess> {
    World::new(InProcess::new(options()), options())
}

impl InProcess {
    /// An empty one.
    pub(crate) fn new(options: Options) -> Self {
        let mut core = Core::new(State::new(limits(&options)), options.clone(), BEGINNING, 7);
        let mut log = Vec::new();
        drain(&mut core, &mut log);
        Self { core, options, pulls: BTreeSet::new(), log, lives: 0 }
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
}

impl Subject for InProcess {
    fn begin(&mut self, now: Time) {
        self.core.begin(now, Room::default());
        self.core.tick();
    }

    fn publish(&mut self, tenant: &str, spec: TaskSpec) -> TaskId {
        self.core.publish(&Arc::from(tenant), spec).expect("there is room").id
    }

    fn open_worker(&mut self, spec: &WorkerSpec) {
        self.core.open_worker(spec).expect("the lanes are there");
    }

    fn close_worker(&mut self, id: ConnectionId, release: bool) {
        self.core.close_worker(id, release);
    }

    fn grant(&mut self, id: ConnectionId, more: u32) {
        self.core.grant(id, more);
    }

    fn settle(&mut self, holder: Holder, settlement: Settlement) -> Result<Settled> {
        self.core.settle(Scope::All, holder, settlement)
    }

    fn cancel(&mut self, id: TaskId) -> Result<()> {
        self.core.cancel(Scope::All, id)
    }

    fn pull(&mut self, lane: &str, credit: u32) {
        self.pulls.insert(self.core.pull(None, lane, credit, 0).expect("the lane is there"));
    }

    fn pause(&mut self, lane: &str, for_ms: u64) {
        self.core.pause_lane(lane, Some(for_ms)).expect("the lane is there");
    }

    fn resume(&mut self, lane: &str) {
        self.core.resume_lane(lane).expect("the lane is there");
    }

    fn schedule(&mut self) -> Vec<(Delivery, Option<ConnectionId>)> {
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
        drain(&mut self.core, &mut self.log);
        order.iter().map(|id| given.remove(id).expect("every lease is handed out")).collect()
    }

    fn restart(&mut self) {
        drain(&mut self.core, &mut self.log);
        let (state, now) = (State::copied(self.core.state(), limits(&self.options)), self.core.now());
        // Another seed: ids come from it, and two lives never share one.
        self.lives += 1;
        self.core = Core::new(state, self.options.clone(), now, 7 + self.lives);
        drain(&mut self.core, &mut self.log);
        self.core.begin(now, Room::default());
        self.pulls.clear();
    }

    fn lane_view(&mut self, lane: &str) -> LaneView {
        self.core.lane_view(lane).expect("the lane is there")
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
        let mut world = world();
        for op in &ops {
            world.step(op);
        }
        world.subject.replays();
        world.finish();
        world.subject.replays();
    }

    #[test]
    fn a_core_that_comes_back_has_the_same_queues(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = world();
        for op in &ops {
            world.step(op);
        }
        // Leases of connections return when their process is gone, and here when they are closed; pulls that wait go with it too.
        for (id, _) in std::mem::take(&mut world.workers) {
            world.subject.core.close_worker(id, false);
        }
        let InProcess { core, pulls, log, options, .. } = &mut world.subject;
        for taker in std::mem::take(pulls) {
            core.end_pull(taker);
        }
        drain(core, log);
        let copy = State::copied(core.state(), limits(options));
        let back = Core::new(copy, options.clone(), core.now(), 9);
        for name in LANES {
            prop_assert_eq!(core.lane_view(name).unwrap(), back.lane_view(name).unwrap());
        }
    }
}

fn publish(core: &mut Core, tenant: &str, lane: &str, priority: Priority, key: Option<&str>) -> TaskId {
    let spec = TaskSpec {
        lane: Some(lane.into()),
        kind: "k".into(),
        priority: Some(priority),
        payload: "1".into(),
        key: key.map(Into::into),
        ..TaskSpec::default()
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
            payload: "1".into(),
            session: Some(sessions[i % 2].clone()),
            ..TaskSpec::default()
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
