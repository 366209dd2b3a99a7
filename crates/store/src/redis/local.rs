//! The connections of this gateway that take tasks: workers with credit, and pulls over HTTP that wait. All that a gateway remembers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use squall_protocol::{ConnectionId, TaskId};
use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::wire;
use crate::{Delivery, Result};

/// Takers in one batch at most; with more they take turns.
const MAX_TAKERS: usize = 256;
/// What a pull leased, on its way to whoever asked. When nobody takes it the leases are given back uncounted, and not kept from
/// others until they expire.
pub(super) struct Pulled {
    deliveries: Vec<Delivery>,
    inbox: mpsc::UnboundedSender<Command>,
}

impl Pulled {
    /// On its way to whoever asked; `inbox` is where it comes back.
    pub(super) fn new(deliveries: Vec<Delivery>, inbox: mpsc::UnboundedSender<Command>) -> Self {
        Self { deliveries, inbox }
    }

    /// Takes all of it.
    pub(super) fn take(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }
}

impl Drop for Pulled {
    fn drop(&mut self) {
        if !self.deliveries.is_empty() {
            let _ = self.inbox.send(Command::GiveBack(std::mem::take(&mut self.deliveries)));
        }
    }
}

/// A connected worker.
pub(super) struct LocalWorker {
    pub(super) tenant: Option<Arc<str>>,
    pub(super) lanes: Vec<Box<str>>,
    pub(super) credit: u32,
    pub(super) held: HashSet<TaskId>,
    pub(super) deliveries: mpsc::UnboundedSender<Vec<Delivery>>,
}

/// A pull that waits.
pub(super) struct Pull {
    pub(super) number: u64,
    pub(super) tenant: Option<Box<str>>,
    pub(super) lane: Box<str>,
    pub(super) credit: u32,
    pub(super) until: Instant,
    /// Redis has seen it: the lane exists.
    pub(super) checked: bool,
    pub(super) reply: oneshot::Sender<Result<Pulled>>,
}

/// The connections of this gateway that take tasks.
#[derive(Default)]
pub(super) struct Local {
    pub(super) workers: HashMap<ConnectionId, LocalWorker>,
    pub(super) pulls: VecDeque<Pull>,
    pub(super) next_pull: u64,
    pub(super) turn: usize,
}

impl Local {
    /// Tasks that those connected here would still take from a lane.
    pub(super) fn credit(&self, lane: &str) -> u64 {
        let of_workers = self.workers.values().filter(|worker| worker.lanes.iter().any(|served| **served == *lane));
        let of_pulls = self.pulls.iter().filter(|pull| *pull.lane == *lane);
        of_workers.map(|worker| u64::from(worker.credit)).sum::<u64>()
            + of_pulls.map(|pull| u64::from(pull.credit)).sum::<u64>()
    }

    /// Workers connected here.
    pub(super) fn workers(&self) -> u64 {
        self.workers.len() as u64
    }

    /// Pulls whose time is over. One that Redis has not seen yet stays: its batch is about to tell.
    pub(super) fn take_over(&mut self) -> VecDeque<Pull> {
        let now = Instant::now();
        let (over, waiting) =
            std::mem::take(&mut self.pulls).into_iter().partition(|pull| pull.checked && pull.until <= now);
        self.pulls = waiting;
        over
    }

    pub(super) fn wants(&self, lane: &str) -> bool {
        self.credit(lane) > 0
    }

    /// Those who would take something, in an order that turns.
    pub(super) fn takers(&mut self) -> (Vec<wire::Taker<'_>>, Vec<Taker>) {
        self.turn = self.turn.wrapping_add(1);
        let mut wanting: Vec<(Taker, String, &str, u32, Vec<&str>)> = Vec::new();
        for (id, worker) in self.workers.iter().filter(|(_, worker)| worker.credit > 0) {
            let lanes = worker.lanes.iter().map(|lane| &**lane).collect();
            let tenant = worker.tenant.as_deref().unwrap_or_default();
            wanting.push((Taker::Worker(*id), id.to_string(), tenant, worker.credit, lanes));
        }
        for pull in &self.pulls {
            let tenant = pull.tenant.as_deref().unwrap_or_default();
            wanting.push((Taker::Pull(pull.number), String::new(), tenant, pull.credit, vec![&*pull.lane]));
        }
        let turn = self.turn % wanting.len().max(1);
        wanting.rotate_left(turn);
        wanting.truncate(MAX_TAKERS);
        let mut order = Vec::with_capacity(wanting.len());
        let mut takers = Vec::with_capacity(wanting.len());
        for (taker, worker, tenant, credit, lanes) in wanting {
            order.push(taker);
            takers.push((worker, tenant, credit, lanes));
        }
        (takers, order)
    }
}

/// Whom an index in a batch stands for.
pub(super) enum Taker {
    Worker(ConnectionId),
    Pull(u64),
}
