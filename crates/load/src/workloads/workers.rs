//! `workers`: consume lanes over `/ws/work` with credit, take some time for each task, then ack, nack or vanish with
//! configured probabilities. What was delivered and how it ended goes into the ledger.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::pin::pin;
use std::time::Duration;

use serde::Serialize;
use squall_client::work::{Light, LightDelivery, Work};
use squall_client::{Endpoints, Error, Result};
use squall_protocol::frame::Nack;
use squall_protocol::{ErrorCode, NackMode, TaskId, Text, Time, WireError};

use super::homecoming::Homecoming;
use super::{Place, patience};
use crate::ledger::{DeliveryRef, End, Label};
use crate::metrics::ErrorKind;
use crate::scenario::{ScenarioError, Section};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Workers {
    /// The lanes that each worker serves.
    pub lanes: Vec<String>,
    /// Tasks that a worker has in hand at most.
    pub credit: u32,
    /// Shortest and longest time that a task takes; drawn evenly.
    pub work_ms: (u64, u64),
    /// Share of the deliveries that are given back as failed.
    pub nack: f64,
    /// Share that is given back as hopeless: a dead letter at once.
    pub fatal: f64,
    /// Share on which the worker drops its connection, with all that it has in hand.
    pub vanish: f64,
}

impl Workers {
    pub(super) fn read(section: &mut Section<'_>) -> std::result::Result<Self, ScenarioError> {
        let lanes = match section.texts("lanes")? {
            Some(lanes) => lanes.into_iter().map(|lane| lane.value).collect(),
            None => ["gpt4", "claude_web", "crude"].map(str::to_owned).to_vec(),
        };
        if lanes.is_empty() || lanes.len() > 64 {
            return Err(section.error_at(section.place("lanes"), "`lanes` must name 1 to 64"));
        }
        let work_ms = match section.wholes("work_ms")?.as_deref() {
            None => (0, 0),
            Some(&[shortest, longest]) if shortest <= longest && longest <= 3_600_000 => (shortest, longest),
            Some(_) => {
                let message = "`work_ms` must be the shortest and the longest time: work_ms = [5, 20]";
                return Err(section.error_at(section.place("work_ms"), message));
            }
        };
        let (nack, fatal) = (section.share("nack")?.unwrap_or(0.0), section.share("fatal")?.unwrap_or(0.0));
        let vanish = section.share("vanish")?.unwrap_or(0.0);
        if nack + fatal + vanish > 1.0 {
            return Err(section.error("`nack`, `fatal` and `vanish` are more than 1 together"));
        }
        let credit = section.whole("credit", 1, 65_536)?.unwrap_or(16) as u32;
        Ok(Self { lanes, credit, work_ms, nack, fatal, vanish })
    }

    pub(super) fn describe(&self) -> String {
        let mut text = format!("consumes {} with credit {}", self.lanes.join(", "), self.credit);
        match self.work_ms {
            (0, 0) => {}
            (shortest, longest) => text += &format!(", {shortest} to {longest} ms a task"),
        }
        for (share, what) in
            [(self.nack, "given back"), (self.fatal, "given up"), (self.vanish, "vanishing with its tasks")]
        {
            if share > 0.0 {
                text += &format!(", {} % {what}", share * 100.0);
            }
        }
        text
    }
}

/// A task in hand.
struct InHand {
    id: TaskId,
    delivery: DeliveryRef,
    /// When its publish was intended.
    intended_us: u64,
    lane: u8,
    priority: u8,
}

/// How a task will end; drawn when it is due.
enum Fortune {
    Ack,
    Nack,
    Fatal,
    Vanish,
}

/// Settled tasks that are remembered, in case the gateway answers that they were not held.
const REMEMBERED: usize = 512;

/// A task of somebody else is kept from coming back at once, and is not done.
const FOREIGN_DELAY_MS: u64 = 60_000;

/// A worker.
pub(crate) struct Vu {
    config: Workers,
    place: Place,
    gateways: Endpoints,
    homecoming: Homecoming,
    failures: u32,
    connections: u64,
}

/// Why a connection ended.
enum Over {
    Stopped,
    Vanished,
    /// Its own gateway is back.
    Returns,
    Lost(Error),
}

impl Vu {
    pub(super) fn new(config: Workers, place: Place) -> Self {
        let (gateways, homecoming) = (place.gateways(), Homecoming::new(&place));
        Self { config, place, gateways, homecoming, failures: 0, connections: 0 }
    }

    /// Works until it is told to stop.
    pub(super) async fn iterate(&mut self) {
        while !self.place.stop.is_cancelled() {
            let core = self.place.core.clone();
            let connected = tokio::select! {
                connected = Work::connect(self.gateways.current(), &core.run.options) => connected,
                () = self.place.stop.cancelled() => return,
            };
            let over = match connected {
                Ok(work) => {
                    self.connections += 1;
                    if self.connections > 1 {
                        core.count(core.ids.reconnects, 1);
                    }
                    let connection = Connection::new(&self.config, &self.place, work);
                    connection.serve(&mut self.failures, &mut self.gateways, &mut self.homecoming).await
                }
                Err(error) => Over::Lost(error),
            };
            match over {
                Over::Stopped => return,
                Over::Vanished | Over::Returns => self.failures = 0,
                Over::Lost(error) => {
                    self.gateways.advance();
                    core.error(ErrorKind::of(&error));
                    let random = core.rng.borrow_mut().f64();
                    let wait_ms = patience::BACKOFF.wait_ms(self.failures, random);
                    let wait_ms = wait_ms.max(error.retry_after_ms().unwrap_or(0).min(1_000));
                    self.failures = self.failures.saturating_add(1);
                    patience::wait(&self.place, Duration::from_millis(wait_ms)).await;
                }
            }
        }
    }
}

/// One connection, and what it has in hand.
struct Connection<'a> {
    config: &'a Workers,
    place: &'a Place,
    work: Work,
    number: u32,
    /// By when they are due.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    in_hand: Vec<Option<InHand>>,
    free: Vec<usize>,
    settled: VecDeque<(TaskId, DeliveryRef)>,
    /// Lease time of each of the run's lanes, once seen.
    lease_ms: Vec<Option<u32>>,
    owed_credit: u32,
}

impl<'a> Connection<'a> {
    fn new(config: &'a Workers, place: &'a Place, work: Work) -> Self {
        let number = place.core.book.borrow_mut().connected();
        Self {
            config,
            place,
            work,
            number,
            due: BinaryHeap::new(),
            in_hand: Vec::new(),
            free: Vec::new(),
            settled: VecDeque::new(),
            lease_ms: vec![None; place.core.run.lanes.len()],
            owed_credit: 0,
        }
    }

    async fn serve(mut self, failures: &mut u32, gateways: &mut Endpoints, homecoming: &mut Homecoming) -> Over {
        self.work.subscribe(&self.config.lanes, self.config.credit);
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let next_due = self.due.peek().map(|Reverse((due_us, _))| *due_us);
            if let Some(due_us) = next_due {
                timer.as_mut().reset(self.place.core.instant(due_us));
            }
            let woken = tokio::select! {
                biased;
                () = self.place.stop.cancelled() => return self.leave(Over::Stopped).await,
                () = homecoming.due() => {
                    if gateways.go_home() {
                        return self.leave(Over::Returns).await;
                    }
                    continue;
                }
                waited = self.work.wait() => waited,
                () = timer.as_mut(), if next_due.is_some() => Ok(()),
            };
            let taken = match woken {
                Ok(()) => self.take_all(failures),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                return self.gone(End::Lost, Over::Lost(error));
            }
            if !self.settle_due() {
                return self.gone(End::Vanished, Over::Vanished);
            }
        }
    }

    /// Reads whatever has arrived.
    fn take_all(&mut self, failures: &mut u32) -> Result<()> {
        let core = self.place.core.clone();
        while let Some(frame) = self.work.take_light()? {
            match frame {
                Light::Deliver(delivery) => {
                    let now_us = core.now_us();
                    core.count(core.ids.data_received, delivery.payload.get().len() as u64);
                    let seen = Seen::of(self.place, &delivery, &mut self.lease_ms);
                    self.delivered(seen, now_us);
                }
                Light::Subscribed(_) => *failures = 0,
                Light::Error(error) => self.told(&error),
                Light::Published { .. } | Light::Refused { .. } | Light::Extended { .. } => {}
            }
        }
        Ok(())
    }

    fn told(&mut self, error: &WireError) {
        let core = &self.place.core;
        core.error(ErrorKind::of_code(error.code));
        if error.code == ErrorCode::NotHeld
            && let Some(id) = error.id
            && let Some((_, delivery)) = self.settled.iter().rev().find(|(settled, _)| *settled == id)
        {
            core.book.borrow_mut().ended(*delivery, End::NotHeld, core.now_us());
        }
    }

    fn delivered(&mut self, seen: Seen, now_us: u64) {
        let core = &self.place.core;
        let Seen::Own { id, n, intended_us, lane, priority, attempt, lease_ms } = seen else {
            let Seen::Foreign { id, why } = seen else { return };
            // Somebody else's task is not ours to finish. With a gateway of our own there can be none.
            match core.run.own {
                true => core.book.borrow_mut().stray(id, why),
                false => core.book.borrow_mut().foreign(),
            }
            let reason = Some(Text::from("not a task of this storm"));
            let nack =
                Nack { id, mode: NackMode::Release, delay_ms: Some(FOREIGN_DELAY_MS), reason, pause_lane_ms: None };
            self.work.nack(&nack);
            self.owed_credit += 1;
            return;
        };
        let delivery = core.book.borrow_mut().delivered(n, self.number, lease_ms, now_us);
        core.count(core.ids.tasks_delivered[usize::from(lane)][usize::from(priority)], 1);
        if attempt == 1 {
            core.trend(
                core.ids.delivery_latency[usize::from(lane)][usize::from(priority)],
                now_us.saturating_sub(intended_us),
            );
        }
        let (shortest, longest) = self.config.work_ms;
        let work_us = match longest {
            0 => 0,
            _ => core.rng.borrow_mut().u64(shortest * 1000..=longest * 1000),
        };
        let in_hand = InHand { id, delivery, intended_us, lane, priority };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.in_hand.push(None);
            self.in_hand.len() - 1
        });
        self.in_hand[slot] = Some(in_hand);
        self.due.push(Reverse((now_us + work_us, slot)));
    }

    /// Ends what is due. False when the worker vanishes.
    fn settle_due(&mut self) -> bool {
        let core = self.place.core.clone();
        let now_us = core.now_us();
        while let Some(Reverse((due_us, slot))) = self.due.peek().copied() {
            if due_us > now_us {
                break;
            }
            let fortune = self.draw();
            if matches!(fortune, Fortune::Vanish) {
                return false;
            }
            self.due.pop();
            let Some(task) = self.in_hand[slot].take() else { continue };
            self.free.push(slot);
            let (lane, priority) = (usize::from(task.lane), usize::from(task.priority));
            let end = match fortune {
                Fortune::Ack => {
                    self.work.ack(task.id);
                    core.count(core.ids.tasks_acked[lane][priority], 1);
                    core.since(core.ids.task_latency[lane][priority], task.intended_us);
                    End::Acked
                }
                Fortune::Nack => self.nack(task.id, NackMode::Fail),
                Fortune::Fatal | Fortune::Vanish => self.nack(task.id, NackMode::Fatal),
            };
            if matches!(end, End::Nacked(_)) {
                core.count(core.ids.tasks_nacked[lane][priority], 1);
            }
            core.book.borrow_mut().ended(task.delivery, end, core.now_us());
            if self.settled.len() == REMEMBERED {
                self.settled.pop_front();
            }
            self.settled.push_back((task.id, task.delivery));
            self.owed_credit += 1;
        }
        // Credit goes back in lumps, unless little is left.
        if self.owed_credit * 4 >= self.config.credit || self.due.is_empty() && self.owed_credit > 0 {
            self.work.credit(std::mem::take(&mut self.owed_credit));
        }
        true
    }

    fn nack(&mut self, id: TaskId, mode: NackMode) -> End {
        let reason = Some(Text::from("the storm says so"));
        self.work.nack(&Nack { id, mode, delay_ms: None, reason, pause_lane_ms: None });
        End::Nacked(mode)
    }

    fn draw(&self) -> Fortune {
        let Workers { nack, fatal, vanish, .. } = *self.config;
        let drawn = self.place.core.rng.borrow_mut().f64();
        match drawn {
            _ if drawn < vanish => Fortune::Vanish,
            _ if drawn < vanish + nack => Fortune::Nack,
            _ if drawn < vanish + nack + fatal => Fortune::Fatal,
            _ => Fortune::Ack,
        }
    }

    /// Gives back what is in hand, and says goodbye.
    async fn leave(mut self, over: Over) -> Over {
        let core = self.place.core.clone();
        for task in std::mem::take(&mut self.in_hand).into_iter().flatten() {
            let end = self.nack(task.id, NackMode::Release);
            core.book.borrow_mut().ended(task.delivery, end, core.now_us());
        }
        core.book.borrow_mut().disconnected(self.number, core.now_us());
        // That the other side is gone already is no news at this point.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.work.close()).await;
        over
    }

    /// The connection is gone, with all that was in hand.
    fn gone(self, end: End, over: Over) -> Over {
        let core = &self.place.core;
        let now_us = core.now_us();
        let mut book = core.book.borrow_mut();
        for task in self.in_hand.iter().flatten() {
            book.ended(task.delivery, end, now_us);
            if end == End::Vanished {
                core.count(core.ids.tasks_vanished[usize::from(task.lane)][usize::from(task.priority)], 1);
            }
        }
        book.disconnected(self.number, now_us);
        over
    }
}

/// What a delivery turned out to be.
enum Seen {
    Own { id: TaskId, n: u32, intended_us: u64, lane: u8, priority: u8, attempt: u32, lease_ms: u32 },
    Foreign { id: TaskId, why: String },
}

impl Seen {
    fn of(place: &Place, delivery: &LightDelivery<'_>, lease_ms: &mut [Option<u32>]) -> Self {
        let core = &place.core;
        let id = delivery.id;
        match Label::read(delivery.payload.get()) {
            Some(label) if label.run == core.run.id => {
                let lane = core.lane_index(&delivery.lane);
                // Read once for each lane, because all its leases are equally long.
                let lease_ms = *lease_ms[usize::from(lane)].get_or_insert_with(|| {
                    let expires: Option<Time> = delivery.lease_expires_at.parse().ok();
                    expires.map_or(30_000, |at| at.0.saturating_sub(core.wall_ms()).min(u64::from(u32::MAX)) as u32)
                });
                let priority = delivery.priority as u8;
                let attempt = delivery.attempt;
                Self::Own { id, n: label.n, intended_us: label.t, lane, priority, attempt, lease_ms }
            }
            Some(label) => {
                Self::Foreign { id, why: format!("delivered, and published by another run ({})", label.run) }
            }
            None => Self::Foreign { id, why: "delivered, and not published by a storm".to_owned() },
        }
    }
}
