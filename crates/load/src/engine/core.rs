//! What the VUs of one core share: clock, statistics, ledger, randomness. Single-threaded: cells, no locks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use squall_client::http::Response;
use squall_protocol::SessionReport;
use squall_report::statistics::{CounterId, RateId, Shard, Tally, TrendId};
use tokio::sync::mpsc;

use super::{FromCore, Leaves, PANICKED, Run};
use crate::ledger::Book;
use crate::metrics::{Check, ErrorKind, Ids};

/// One core.
pub(crate) struct Core {
    pub(crate) index: usize,
    pub(crate) cores: usize,
    pub(crate) run: Arc<Run>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) book: RefCell<Book>,
    pub(crate) rng: RefCell<fastrand::Rng>,
    shard: RefCell<Shard>,
    events: mpsc::Sender<FromCore>,
    vus: Cell<u64>,
    busy: Cell<u64>,
    next_key: Cell<u32>,
    /// The fault whose first error was told.
    felt: Cell<u64>,
    /// The fault whose first success was told.
    worked: Cell<u64>,
    dropped_undisturbed: Cell<u64>,
    due_undisturbed: Cell<u64>,
    sessions: RefCell<BTreeMap<&'static str, u64>>,
    broken: RefCell<Option<String>>,
}

/// A VU that exists, from its start to its end, whichever way it ends.
pub(super) struct Presence(Rc<Core>);

impl Presence {
    pub(super) fn new(core: Rc<Core>) -> Self {
        core.vu(true);
        Self(core)
    }

    /// While it iterates.
    pub(super) fn at_work(&self) -> AtWork<'_> {
        self.0.at_work(true);
        AtWork(&self.0)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.vu(false);
        if std::thread::panicking() {
            self.0.broken(PANICKED.to_owned());
        }
    }
}

/// A VU that iterates.
pub(super) struct AtWork<'a>(&'a Core);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work(false);
    }
}

impl Core {
    pub(super) fn new(
        index: usize,
        cores: usize,
        run: Arc<Run>,
        ids: Arc<Ids>,
        shard: Shard,
        events: mpsc::Sender<FromCore>,
    ) -> Self {
        Self {
            index,
            cores,
            book: RefCell::new(Book::new(index, cores)),
            rng: RefCell::new(fastrand::Rng::with_seed(
                run.seed.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            )),
            shard: RefCell::new(shard),
            events,
            vus: Cell::new(0),
            busy: Cell::new(0),
            // Each core has its own range of keys; 0 means none.
            next_key: Cell::new(1 + index as u32 * (u32::MAX / cores as u32)),
            felt: Cell::new(u64::MAX),
            worked: Cell::new(u64::MAX),
            dropped_undisturbed: Cell::new(0),
            due_undisturbed: Cell::new(0),
            sessions: RefCell::default(),
            broken: RefCell::default(),
            run,
            ids,
        }
    }

    #[inline]
    pub(crate) fn now_us(&self) -> u64 {
        self.run.clock.now_us()
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        self.run.clock.wall_ms()
    }

    pub(crate) fn instant(&self, at_us: u64) -> tokio::time::Instant {
        self.run.clock.instant(at_us).into()
    }

    #[inline]
    pub(crate) fn count(&self, id: CounterId, amount: u64) {
        self.shard.borrow_mut().count(id, amount);
    }

    #[inline]
    pub(crate) fn rate(&self, id: RateId, hit: bool) {
        self.shard.borrow_mut().rate(id, hit);
    }

    /// Microseconds.
    #[inline]
    pub(crate) fn trend(&self, id: TrendId, value_us: u64) {
        self.shard.borrow_mut().trend(id, value_us);
    }

    /// From `from_us` to now.
    #[inline]
    pub(crate) fn since(&self, id: TrendId, from_us: u64) {
        self.trend(id, self.now_us().saturating_sub(from_us));
    }

    pub(crate) fn check(&self, check: Check, held: bool) {
        self.rate(self.ids.check(check), held);
    }

    /// Counts an error, and tells the conductor if it is the first one after a fault.
    pub(crate) fn error(&self, kind: ErrorKind) {
        self.count(self.ids.error(kind), 1);
        let fault = self.run.fault.load(Ordering::Acquire);
        if self.felt.get() != fault && self.events.try_send(FromCore::Felt { fault, at_us: self.now_us() }).is_ok() {
            self.felt.set(fault);
        }
    }

    /// Something that was sent at `sent_us` worked: tells the conductor if it is the first after a fault.
    #[inline]
    pub(crate) fn worked(&self, sent_us: u64) {
        let fault = self.run.fault.load(Ordering::Acquire);
        // Told again by the next success if the conductor is behind by a whole queue: without it no fault is ever over.
        if self.worked.get() != fault
            && sent_us >= self.run.fault_ended_us.load(Ordering::Relaxed)
            && self.events.try_send(FromCore::Worked { fault, at_us: self.now_us() }).is_ok()
        {
            self.worked.set(fault);
        }
    }

    /// Records what every request has: how often, how long, whether as expected, how much.
    pub(crate) fn http_request(
        &self,
        load: usize,
        intended_us: u64,
        sent_us: u64,
        sent_bytes: usize,
        answer: &squall_client::Result<Response>,
        fine: impl FnOnce(StatusCode) -> bool,
    ) {
        let now_us = self.now_us();
        let ids = &self.ids.loads[load];
        let mut shard = self.shard.borrow_mut();
        shard.count(ids.http_reqs, 1);
        shard.count(self.ids.data_sent, sent_bytes as u64);
        shard.rate(ids.http_req_failed, !answer.as_ref().is_ok_and(|answer| fine(answer.status)));
        if let Ok(answer) = answer {
            shard.count(self.ids.data_received, answer.body.len() as u64);
            shard.trend(ids.http_req_duration, now_us.saturating_sub(intended_us));
            shard.trend(ids.http_req_service, now_us - sent_us.min(now_us));
        }
    }

    /// Index of a lane; the last one stands for all that the scenario does not name.
    pub(crate) fn lane_index(&self, lane: &str) -> u8 {
        let lanes = &self.run.lanes;
        lanes.iter().position(|known| known == lane).unwrap_or(lanes.len() - 1) as u8
    }

    /// Sets `count` ordering keys aside, and gives the first one's number.
    pub(crate) fn take_keys(&self, count: u32) -> u32 {
        let first = self.next_key.get();
        self.next_key.set(first.wrapping_add(count).max(1));
        first
    }

    /// Something on this core did not do what it should: its figures are not to be trusted, and more of them help nobody.
    /// The first reason is kept.
    pub(super) fn broken(&self, why: String) {
        tracing::error!(core = self.index, "{why}");
        self.broken.borrow_mut().get_or_insert(why);
        self.run.stop_load.cancel();
    }

    /// A VU begins (`true`) or ends to be at work.
    fn at_work(&self, begins: bool) {
        self.busy.set(if begins { self.busy.get() + 1 } else { self.busy.get().saturating_sub(1) });
        self.shard.borrow_mut().set(self.ids.vus, self.busy.get() as f64);
    }

    /// An iteration is over.
    pub(super) fn iteration(&self, load: usize, begun_us: u64) {
        self.count(self.ids.loads[load].iterations, 1);
        self.since(self.ids.loads[load].iteration_duration, begun_us);
    }

    /// A VU came (`true`) or went.
    fn vu(&self, came: bool) {
        self.vus.set(if came { self.vus.get() + 1 } else { self.vus.get().saturating_sub(1) });
        self.shard.borrow_mut().set(self.ids.vus_max, self.vus.get() as f64);
    }

    /// An iteration of an open load should start now; `dropped` when it could not.
    pub(super) fn arrival(&self, load: usize, dropped: bool) {
        let disturbed = self.run.disturbed.load(Ordering::Relaxed);
        if !disturbed {
            self.due_undisturbed.set(self.due_undisturbed.get() + 1);
        }
        if dropped {
            self.count(self.ids.loads[load].dropped_iterations, 1);
            if !disturbed {
                self.dropped_undisturbed.set(self.dropped_undisturbed.get() + 1);
            }
        }
    }

    pub(crate) fn session_over(&self, report: SessionReport) {
        *self.sessions.borrow_mut().entry(report.session.state.as_str()).or_default() += 1;
        // Reports are for reading, not for counting: when the conductor is behind, one less is kept.
        let _ = self.events.try_send(FromCore::SessionOver(Box::new(report)));
    }

    pub(super) async fn hand_over(&self, spare: Box<Tally>) {
        let tally = Box::new(self.shard.borrow_mut().take(*spare));
        // The conductor is gone only when the run is.
        let _ = self.events.send(FromCore::Tally { core: self.index, tally }).await;
    }

    pub(super) async fn load_done(&self) {
        let _ = self.events.send(FromCore::LoadDone { core: self.index }).await;
    }

    pub(super) fn leave(&self, spare: Tally) -> Leaves {
        Leaves {
            book: self.book.replace(Book::new(self.index, self.cores)),
            tally: self.shard.borrow_mut().take(spare),
            dropped_undisturbed: self.dropped_undisturbed.get(),
            due_undisturbed: self.due_undisturbed.get(),
            sessions: self.sessions.take(),
            broken: self.broken.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use squall_protocol::session::SessionTasks;
    use squall_protocol::{SessionId, SessionState, SessionView, Time};

    use super::super::testing::Lone;
    use super::*;

    const HTTP: &str =
        "workload = \"http\"\npath = \"/\"\nexecutor = \"constant-arrival-rate\"\nrate = 1\nduration = \"1s\"\n";

    #[test]
    fn latency_counts_from_the_intended_start_and_service_from_the_sending() {
        let lone = Lone::new(HTTP, 8);
        let answer =
            Ok(Response { status: StatusCode::OK, headers: http::HeaderMap::new(), body: Bytes::from_static(b"ok") });
        // Intended some 50 seconds before it was sent.
        let sent_us = lone.core.now_us();
        lone.core.http_request(0, 10_000_000, sent_us, 0, &answer, |_| true);
        let leaves = lone.leave();
        assert!(lone.trend(&leaves, "http_req_duration").max() >= Some(49_000_000));
        assert!(lone.trend(&leaves, "http_req_service").max() < Some(49_000_000));
    }

    #[test]
    fn sessions_are_counted_also_when_the_conductor_is_behind() {
        let lone = Lone::new(HTTP, 1);
        for name in ["a", "b", "c"] {
            let session = SessionView {
                id: SessionId::new(name).unwrap(),
                tenant: "default".to_owned(),
                state: SessionState::Completed,
                created_at: Time(0),
                last_activity_at: Time(0),
                expires_at: None,
                ended_at: None,
                reason: None,
                idle_timeout_ms: 1,
                metadata: serde_json::Map::new(),
                tasks: SessionTasks::default(),
            };
            lone.core.session_over(SessionReport { session, duration_ms: 0, tasks_open: 0 });
        }
        assert_eq!(lone.leave().sessions, BTreeMap::from([("completed", 3)]));
    }

    #[test]
    fn a_success_after_a_fault_is_told_again_until_it_is_heard() {
        let mut lone = Lone::new(HTTP, 1);
        let run = lone.core.run.clone();
        run.fault.store(0, Ordering::Release);
        run.fault_ended_us.store(5, Ordering::Relaxed);
        lone.core.error(ErrorKind::STATUS);
        // No room: the error is in the way.
        lone.core.worked(6);
        assert!(matches!(lone.from_core.try_recv(), Ok(FromCore::Felt { fault: 0, .. })));
        lone.core.worked(4);
        assert!(lone.from_core.try_recv().is_err(), "sent before the fault was over");
        lone.core.worked(7);
        assert!(matches!(lone.from_core.try_recv(), Ok(FromCore::Worked { fault: 0, .. })));
        lone.core.worked(8);
        assert!(lone.from_core.try_recv().is_err(), "once is enough");
    }
}
