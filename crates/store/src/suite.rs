//! One suite for every backend: what [`crate::Store`] promises, exercised through its public contract alone.
//!
//! A backend brings a [`Backend`] and calls [`store_test_suite!`] in a test module; each property becomes a test of its own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use serde_json::value::RawValue;
use squall_protocol::dead_letter::Handled;
use squall_protocol::{
    ConnectionId, DeadLetterFilter, DeadReason, EndSession, NackMode, NewSession, Priority, RetryOverride, SessionId,
    SessionState, TaskId, TaskState, TaskView, Time, Topic, UpdateSession,
};

use crate::config::{Affinity, Lane, OnSessionEnd, Options, RetryPolicy};
use crate::{
    Announcement, Delivery, Error, Holder, ListDeadLetters, ListSessions, ListTasks, ReplayHow, SettleVerb, Settled,
    Settlement, Store, TaskSpec, Which, Worker, WorkerSpec,
};

/// One place where a store can be opened again and again.
pub(crate) trait Backend: Default {
    /// Opens what lies there; nothing at first.
    fn open(&self, options: Options) -> BoxFuture<'_, Arc<dyn Store>>;
}

/// Makes a test of each property of the suite, for one [`Backend`].
macro_rules! store_test_suite {
    ($backend:ty) => {
        $crate::suite::store_test_suite!($backend:
            a_task_is_published_delivered_and_done,
            a_batch_is_answered_in_order_each_for_itself,
            an_unknown_lane_goes_to_the_default_lane_or_nowhere,
            a_full_lane_refuses_and_says_when_to_come_back,
            the_same_idempotency_key_answers_the_same_task,
            another_tenant_sees_nothing,
            priority_goes_first,
            nothing_is_delivered_without_credit,
            concurrency_is_never_exceeded,
            a_key_keeps_its_order_over_a_retry,
            a_worker_that_goes_returns_its_tasks,
            a_worker_whose_receiver_is_dropped_is_gone,
            a_drained_worker_loses_no_attempt,
            only_the_holder_settles_and_only_once,
            a_lease_that_expires_counts_as_an_attempt,
            an_extended_lease_does_not_expire,
            a_release_does_not_count,
            a_nack_may_pause_the_lane,
            retries_end_among_the_dead_letters,
            fatal_is_for_good_and_a_replay_brings_it_back,
            what_cannot_be_done_is_a_dead_letter_at_once,
            replays_are_capped_and_leave_a_trail,
            dead_letters_are_listed_filtered_and_purged,
            finished_tasks_are_listed_newest_first,
            a_lane_keeps_only_so_many_dead_letters,
            a_deadline_that_passes_is_a_dead_letter,
            a_delayed_task_waits,
            a_waiting_task_can_be_cancelled_a_leased_one_not,
            a_pull_waits_for_the_first_task_and_no_longer,
            a_paused_lane_delivers_nothing_until_it_is_resumed,
            sessions_have_a_life,
            a_session_too_many_is_refused_and_counted,
            an_idle_session_times_out_and_frees_its_slot,
            publishing_keeps_a_session_alive,
            the_tasks_of_an_ended_session_follow_the_policy,
            session_affinity_keeps_one_worker,
            the_feed_tells_everything_in_order,
            the_feed_takes_what_others_announce,
            the_feed_is_honest_about_the_future,
            everything_survives_a_restart,
            retries_and_delays_survive_a_restart,
            a_closed_store_says_so,
            too_many_commands_are_refused,
            figures_add_up,
        );
    };
    ($backend:ty: $($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::suite::$name(&<$backend>::default()).await;
            }
        )*
    };
}
pub(crate) use store_test_suite;

fn tenant() -> Arc<str> {
    "default".into()
}

fn options_with(lane: Lane) -> Options {
    Options { lanes: [("a".to_owned(), lane)].into(), default_lane: Some("a".to_owned()), ..Options::default() }
}

fn options() -> Options {
    options_with(Lane { retry: quick(), ..Lane::default() })
}

fn quick() -> RetryPolicy {
    RetryPolicy { max: 1, delay_ms: 20, backoff: 1.0, max_delay_ms: 1_000, jitter: 0.0 }
}

fn spec(payload: &str) -> TaskSpec {
    TaskSpec { lane: Some("a".into()), kind: "test".into(), payload: payload.into(), ..TaskSpec::default() }
}

async fn publish(store: &dyn Store, spec: TaskSpec) -> TaskId {
    store.publish(&tenant(), vec![spec]).await.remove(0).unwrap().id
}

async fn worker(store: &dyn Store, number: u128, credit: u32) -> Worker {
    let id = ConnectionId::at(Time(1), number);
    let worker = store.open_worker(WorkerSpec { id, tenant: None, lanes: vec!["a".into()] }).await.unwrap();
    if credit > 0 {
        store.grant(id, credit);
    }
    worker
}

async fn next(worker: &mut Worker, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        let more = tokio::time::timeout(Duration::from_secs(10), worker.deliveries.recv()).await;
        all.extend(more.expect("deliveries within ten seconds").expect("the store is open"));
    }
    all
}

async fn is_quiet(worker: &mut Worker) -> bool {
    tokio::time::timeout(Duration::from_millis(60), worker.deliveries.recv()).await.is_err()
}

async fn settle(store: &dyn Store, holder: Holder, id: TaskId, verb: SettleVerb) -> crate::Result<Settled> {
    store.settle(None, holder, vec![Settlement { id, receipt: None, verb }]).await.remove(0)
}

fn nack(mode: NackMode) -> SettleVerb {
    SettleVerb::Nack { mode, delay_ms: None, reason: Some("no luck".into()), pause_lane_ms: None }
}

async fn pull_one(store: &dyn Store) -> Delivery {
    store.lease(None, "a", 1, 10_000).await.unwrap().pop().expect("a task within ten seconds")
}

async fn settle_pulled(store: &dyn Store, delivery: &Delivery, verb: SettleVerb) -> crate::Result<Settled> {
    let settlement = Settlement { id: delivery.task.id, receipt: Some(delivery.receipt), verb };
    store.settle(None, Holder::Receipts, vec![settlement]).await.remove(0)
}

fn session_id(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

async fn create(store: &dyn Store, id: &str) -> crate::Result<squall_protocol::SessionView> {
    store.create_session(&tenant(), NewSession { id: Some(session_id(id)), ..NewSession::default() }).await
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within ten seconds");
}

pub(crate) async fn a_task_is_published_delivered_and_done(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let id = publish(&*store, spec(r#"{"a": [1, 2]}"#)).await;
    assert_eq!(store.task(None, id).await.unwrap().state, TaskState::Ready);
    let mut worker = worker(&*store, 1, 1).await;
    let got = next(&mut worker, 1).await.remove(0);
    assert_eq!((got.task.id, got.attempt, &*got.task.payload), (id, 1, r#"{"a": [1, 2]}"#));
    assert_eq!(store.task(None, id).await.unwrap().state, TaskState::Leased);
    assert_eq!(settle(&*store, Holder::Worker(worker.id), id, SettleVerb::Ack).await, Ok(Settled::Done));
    let done = store.task(None, id).await.unwrap();
    assert_eq!((done.state, done.attempts, done.payload.is_none()), (TaskState::Done, 1, true));
    assert!(done.finished_at.is_some());
}

pub(crate) async fn a_batch_is_answered_in_order_each_for_itself(backend: &impl Backend) {
    let store = backend.open(Options { default_lane: None, ..options() }).await;
    let mut specs: Vec<TaskSpec> = (0..5).map(|i| spec(&i.to_string())).collect();
    specs[2].lane = Some("nowhere".into());
    let answers = store.publish(&tenant(), specs).await;
    assert!(matches!(&answers[2], Err(Error::UnknownLane { lane }) if lane == "nowhere"));
    for (i, answer) in answers.iter().enumerate().filter(|(i, _)| *i != 2) {
        let view = store.task(None, answer.as_ref().unwrap().id).await.unwrap();
        assert_eq!(view.payload.unwrap().get(), i.to_string());
    }
}

pub(crate) async fn an_unknown_lane_goes_to_the_default_lane_or_nowhere(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let id = publish(&*store, TaskSpec { lane: Some("nowhere".into()), ..spec("1") }).await;
    assert_eq!(store.task(None, id).await.unwrap().lane, "a");
    let id = publish(&*store, TaskSpec { lane: None, ..spec("1") }).await;
    assert_eq!(store.task(None, id).await.unwrap().lane, "a");
    let unknown = Error::UnknownLane { lane: "nowhere".into() };
    assert_eq!(store.lane("nowhere").await.unwrap_err(), unknown);
    assert_eq!(store.lease(None, "nowhere", 1, 0).await.unwrap_err(), unknown);
    let spec = WorkerSpec { id: ConnectionId::at(Time(1), 1), tenant: None, lanes: vec!["nowhere".into()] };
    assert_eq!(store.open_worker(spec).await.unwrap_err(), unknown);
}

pub(crate) async fn a_full_lane_refuses_and_says_when_to_come_back(backend: &impl Backend) {
    let store = backend.open(options_with(Lane { max_depth: 2, ..Lane::default() })).await;
    let answers = store.publish(&tenant(), vec![spec("1"), spec("2"), spec("3")]).await;
    assert!(answers[0].is_ok() && answers[1].is_ok());
    assert!(matches!(&answers[2], Err(Error::LaneFull { max_depth: 2, retry_after_ms: 1.., .. })), "{:?}", answers[2]);
    // A leased task does not wait, so there is room for another.
    pull_one(&*store).await;
    publish(&*store, spec("4")).await;
}

pub(crate) async fn the_same_idempotency_key_answers_the_same_task(backend: &impl Backend) {
    let keyed = || TaskSpec { idempotency_key: Some("once".into()), ..spec("1") };
    let store = backend.open(options()).await;
    let answers = store.publish(&tenant(), vec![keyed(), keyed()]).await;
    let (first, second) = (answers[0].clone().unwrap(), answers[1].clone().unwrap());
    assert_eq!((first.duplicate, second.duplicate, second.id), (false, true, first.id));
    let other = store.publish(&"other".into(), vec![keyed()]).await.remove(0).unwrap();
    assert!(!other.duplicate, "a key is its tenant's own");
    store.close().await.unwrap();
    let store = backend.open(options()).await;
    let third = store.publish(&tenant(), vec![keyed()]).await.remove(0).unwrap();
    assert_eq!((third.duplicate, third.id), (true, first.id), "also after a restart");
    assert_eq!(store.lane("a").await.unwrap().ready.normal, 2);
}

pub(crate) async fn another_tenant_sees_nothing(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let id = publish(&*store, spec("1")).await;
    create(&*store, "s").await.unwrap();
    for stranger in ["stranger", "nobody"] {
        assert!(matches!(store.task(Some(stranger), id).await, Err(Error::NotFound { .. })));
        assert!(matches!(store.cancel(Some(stranger), id).await, Err(Error::NotFound { .. })));
        assert!(matches!(store.session(Some(stranger), session_id("s")).await, Err(Error::SessionNotFound { .. })));
        assert!(store.lease(Some(stranger), "a", 1, 0).await.unwrap().is_empty());
        let list = ListSessions { limit: 10, ..ListSessions::default() };
        assert!(store.sessions(Some(stranger), list).await.unwrap().items.is_empty());
        let foreign = TaskSpec { session: Some(session_id("s")), ..spec("1") };
        let refused = store.publish(&stranger.into(), vec![foreign]).await.remove(0);
        assert!(matches!(refused, Err(Error::SessionNotFound { .. })));
    }
    let id_of = ConnectionId::at(Time(1), 9);
    let spec = WorkerSpec { id: id_of, tenant: Some("stranger".into()), lanes: vec!["a".into()] };
    let mut theirs = store.open_worker(spec).await.unwrap();
    store.grant(id_of, 1);
    assert!(is_quiet(&mut theirs).await);
    let got = store.lease(Some("default"), "a", 1, 0).await.unwrap().remove(0);
    assert_eq!(got.task.id, id);
    // Not even with the receipt.
    let ack = Settlement { id, receipt: Some(got.receipt), verb: SettleVerb::Ack };
    for stranger in ["stranger", "nobody"] {
        let refused = store.settle(Some(stranger), Holder::Receipts, vec![ack.clone()]).await.remove(0);
        assert!(matches!(refused, Err(Error::NotHeld { .. })), "{refused:?}");
    }
    assert_eq!(store.settle(Some("default"), Holder::Receipts, vec![ack]).await, [Ok(Settled::Done)]);
}

pub(crate) async fn priority_goes_first(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let of = |priority| TaskSpec { priority: Some(priority), ..spec("1") };
    let mut ids = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::High, Priority::Low, Priority::High] {
        ids.push(publish(&*store, of(priority)).await);
    }
    let mut worker = worker(&*store, 1, 5).await;
    let order: Vec<TaskId> = next(&mut worker, 5).await.iter().map(|delivery| delivery.task.id).collect();
    assert_eq!(order, [ids[2], ids[4], ids[1], ids[0], ids[3]]);
}

pub(crate) async fn nothing_is_delivered_without_credit(backend: &impl Backend) {
    let store = backend.open(options()).await;
    for _ in 0..5 {
        publish(&*store, spec("1")).await;
    }
    let mut worker = worker(&*store, 1, 0).await;
    assert!(is_quiet(&mut worker).await);
    store.grant(worker.id, 2);
    assert_eq!(next(&mut worker, 2).await.len(), 2);
    assert!(is_quiet(&mut worker).await);
    store.grant(worker.id, 3);
    assert_eq!(next(&mut worker, 3).await.len(), 3);
    let lane = store.lane("a").await.unwrap();
    assert_eq!((lane.leased, lane.credit, lane.workers), (5, 0, 1));
}

pub(crate) async fn concurrency_is_never_exceeded(backend: &impl Backend) {
    let store = backend.open(options_with(Lane { concurrency: 2, ..Lane::default() })).await;
    for _ in 0..6 {
        publish(&*store, spec("1")).await;
    }
    let mut one = worker(&*store, 1, 10).await;
    let first = next(&mut one, 2).await;
    let pulled = store.lease(None, "a", 10, 0).await.unwrap();
    assert!(pulled.is_empty(), "the slots are the lane's, not the worker's");
    assert!(is_quiet(&mut one).await);
    settle(&*store, Holder::Worker(one.id), first[0].task.id, SettleVerb::Ack).await.unwrap();
    assert_eq!(next(&mut one, 1).await.len(), 1);
    assert!(is_quiet(&mut one).await);
    // A worker that drops its slots leaks none of them.
    store.close_worker(one.id, true);
    let mut two = worker(&*store, 2, 10).await;
    assert_eq!(next(&mut two, 2).await.len(), 2);
    assert_eq!(store.lane("a").await.unwrap().leased, 2);
}

pub(crate) async fn a_key_keeps_its_order_over_a_retry(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let keyed = |payload: &str| TaskSpec { key: Some("k".into()), ..spec(payload) };
    let first = publish(&*store, keyed("1")).await;
    let second = publish(&*store, TaskSpec { priority: Some(Priority::High), ..keyed("2") }).await;
    let free = publish(&*store, TaskSpec { priority: Some(Priority::Low), ..spec("3") }).await;
    let mut worker = worker(&*store, 1, 10).await;
    let order: Vec<TaskId> = next(&mut worker, 2).await.iter().map(|delivery| delivery.task.id).collect();
    assert_eq!(order, [first, free], "one of a key at a time, in order of publishing, whatever the priority");
    let holder = Holder::Worker(worker.id);
    assert!(matches!(settle(&*store, holder, first, nack(NackMode::Fail)).await, Ok(Settled::Retry(_))));
    let again = next(&mut worker, 1).await.remove(0);
    assert_eq!((again.task.id, again.attempt), (first, 2), "the retry blocks what comes after it");
    settle(&*store, holder, first, SettleVerb::Ack).await.unwrap();
    assert_eq!(next(&mut worker, 1).await[0].task.id, second);
}

pub(crate) async fn a_worker_that_goes_returns_its_tasks(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let id = publish(&*store, spec("1")).await;
    let mut gone = worker(&*store, 1, 1).await;
    next(&mut gone, 1).await;
    store.close_worker(gone.id, false);
    let mut other = worker(&*store, 2, 1).await;
    let again = next(&mut other, 1).await.remove(0);
    assert_eq!((again.task.id, again.attempt), (id, 2), "at once, but for the delay of a retry, and counted");
    assert_eq!(store.task(None, id).await.unwrap().last_error.as_deref(), Some("worker gone"));
    let late = settle(&*store, Holder::Worker(gone.id), id, SettleVerb::Ack).await;
    assert!(matches!(late, Err(Error::NotHeld { .. })));
}

pub(crate) async fn a_worker_whose_receiver_is_dropped_is_gone(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let id = publish(&*store, spec("1")).await;
    let mut gone = worker(&*store, 1, 1).await;
    next(&mut gone, 1).await;
    drop(gone);
    let mut other = worker(&*store, 2, 1).await;
    assert_eq!(next(&mut other, 1).await[0].task.id, id);
}

pub(crate) async fn a_drained_worker_loses_no_attempt(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let ids = [publish(&*store, spec("1")).await, publish(&*store, spec("2")).await];
    let third = publish(&*store, spec("3")).await;
    let mut gone = worker(&*store, 1, 2).await;
    next(&mut gone, 2).await;
    store.close_worker(gone.id, true);
    let mut other = worker(&*store, 2, 3).await;
    let again: Vec<_> = next(&mut other, 3).await.iter().map(|delivery| (delivery.task.id, delivery.attempt)).collect();
    assert_eq!(again, [(ids[0], 1), (ids[1], 1), (third, 1)], "back where they were, uncounted");
}

pub(crate) async fn only_the_holder_settles_and_only_once(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let id = publish(&*store, spec("1")).await;
    let not_held = |result: crate::Result<Settled>| matches!(result, Err(Error::NotHeld { .. }));
    assert!(not_held(settle(&*store, Holder::Receipts, id, SettleVerb::Ack).await), "never leased");
    let mut holder = worker(&*store, 1, 1).await;
    let stranger = worker(&*store, 2, 0).await;
    let delivery = next(&mut holder, 1).await.remove(0);
    assert!(not_held(settle(&*store, Holder::Worker(stranger.id), id, SettleVerb::Ack).await));
    assert!(
        not_held(settle_pulled(&*store, &delivery, SettleVerb::Ack).await),
        "a connection's lease has no use for receipts"
    );
    assert_eq!(settle(&*store, Holder::Worker(holder.id), id, SettleVerb::Ack).await, Ok(Settled::Done));
    assert!(not_held(settle(&*store, Holder::Worker(holder.id), id, SettleVerb::Ack).await), "twice");

    let second = publish(&*store, spec("2")).await;
    let pulled = pull_one(&*store).await;
    let forged =
        Settlement { id: second, receipt: Some(squall_protocol::Receipt(pulled.receipt.0 ^ 1)), verb: SettleVerb::Ack };
    assert!(not_held(store.settle(None, Holder::Receipts, vec![forged]).await.remove(0)));
    assert_eq!(settle_pulled(&*store, &pulled, SettleVerb::Ack).await, Ok(Settled::Done));
}

pub(crate) async fn a_lease_that_expires_counts_as_an_attempt(backend: &impl Backend) {
    let store = backend.open(options_with(Lane { lease_ms: 50, retry: quick(), ..Lane::default() })).await;
    let id = publish(&*store, spec("1")).await;
    let late = pull_one(&*store).await;
    let again = pull_one(&*store).await;
    assert_eq!((again.task.id, again.attempt), (id, 2));
    assert!(matches!(settle_pulled(&*store, &late, SettleVerb::Ack).await, Err(Error::NotHeld { .. })));
    assert_eq!(store.task(None, id).await.unwrap().last_error.as_deref(), Some("lease expired"));
    let dead = until(async || store.dead_letter(None, id).await.ok()).await;
    assert_eq!((dead.reason, dead.attempts), (DeadReason::RetriesExhausted, 2));
}

pub(crate) async fn an_extended_lease_does_not_expire(backend: &impl Backend) {
    let store = backend.open(options_with(Lane { lease_ms: 2_000, retry: quick(), ..Lane::default() })).await;
    let id = publish(&*store, spec("1")).await;
    let held = pull_one(&*store).await;
    let Ok(Settled::Extended(until)) = settle_pulled(&*store, &held, SettleVerb::Extend { for_ms: 60_000 }).await
    else {
        panic!("not extended");
    };
    assert!(until > held.lease_expires_at);
    assert!(store.lease(None, "a", 1, 2_200).await.unwrap().is_empty(), "it would have expired by now");
    assert_eq!(store.task(None, id).await.unwrap().lease_expires_at, Some(until));
    assert_eq!(settle_pulled(&*store, &held, SettleVerb::Ack).await, Ok(Settled::Done));
}

pub(crate) async fn a_release_does_not_count(backend: &impl Backend) {
    let store = backend.open(options_with(Lane { retry: RetryPolicy { max: 0, ..quick() }, ..Lane::default() })).await;
    let id = publish(&*store, spec("1")).await;
    for _ in 0..3 {
        let got = pull_one(&*store).await;
        assert_eq!((got.task.id, got.attempt), (id, 1));
        assert!(matches!(settle_pulled(&*store, &got, nack(NackMode::Release)).await, Ok(Settled::Retry(_))));
    }
}

pub(crate) async fn a_nack_may_pause_the_lane(backend: &impl Backend) {
    let store = backend.open(options()).await;
    publish(&*store, spec("1")).await;
    publish(&*store, spec("2")).await;
    let got = pull_one(&*store).await;
    let verb = SettleVerb::Nack { mode: NackMode::Release, delay_ms: None, reason: None, pause_lane_ms: Some(2_000) };
    settle_pulled(&*store, &got, verb).await.unwrap();
    let lane = store.lane("a").await.unwrap();
    assert!(lane.paused && lane.paused_until.is_some());
    assert!(store.lease(None, "a", 1, 0).await.unwrap().is_empty());
    pull_one(&*store).await;
    assert!(!store.lane("a").await.unwrap().paused, "it resumed by itself");
}

pub(crate) async fn retries_end_among_the_dead_letters(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let retry = RetryOverride { max: Some(2), ..RetryOverride::default() };
    let id = publish(&*store, TaskSpec { retry: Some(retry), ..spec("1") }).await;
    for attempt in 1..=3 {
        let got = pull_one(&*store).await;
        assert_eq!(got.attempt, attempt);
        let settled = settle_pulled(&*store, &got, nack(NackMode::Fail)).await.unwrap();
        assert_eq!(matches!(settled, Settled::Dead), attempt == 3, "{settled:?}");
    }
    let dead = store.dead_letter(None, id).await.unwrap();
    assert_eq!((dead.reason, dead.attempts, dead.detail.as_str()), (DeadReason::RetriesExhausted, 3, "no luck"));
    let attempts: Vec<u32> = dead.failures.iter().map(|failure| failure.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(dead.payload.unwrap().get(), "1");
    assert_eq!(store.task(None, id).await.unwrap().state, TaskState::Dead);
}

pub(crate) async fn fatal_is_for_good_and_a_replay_brings_it_back(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let id = publish(&*store, spec("1")).await;
    let got = pull_one(&*store).await;
    assert_eq!(settle_pulled(&*store, &got, nack(NackMode::Fatal)).await, Ok(Settled::Dead));
    assert_eq!(store.dead_letter(None, id).await.unwrap().reason, DeadReason::Fatal);
    let how = ReplayHow { by: "ops".into(), rate_per_s: None, limit: None };
    let handled = store.replay(None, Which::One(id), how).await.unwrap();
    assert_eq!(handled, Handled { matched: 1, done: 1, refused: 0 });
    assert!(matches!(store.dead_letter(None, id).await, Err(Error::NotFound { .. })));
    let again = pull_one(&*store).await;
    assert_eq!((again.task.id, again.attempt), (id, 1), "with all its attempts before it");
}

pub(crate) async fn what_cannot_be_done_is_a_dead_letter_at_once(backend: &impl Backend) {
    let mut options = options();
    options.lanes.get_mut("a").unwrap().max_depth = 1;
    let store = backend.open(options.clone()).await;
    let waits = publish(&*store, spec("1")).await;
    let rubbish = || TaskSpec {
        dead: Some((DeadReason::Unparsable, "it is not JSON".into())),
        idempotency_key: Some("once".into()),
        ..spec("\"rub\\\"bish\"")
    };
    // A lane that is full has room for what does not wait in it.
    let id = publish(&*store, rubbish()).await;
    let again = store.publish(&tenant(), vec![rubbish()]).await.remove(0).unwrap();
    assert_eq!((again.id, again.duplicate), (id, true));
    let nowhere = TaskSpec { lane: Some("nowhere".into()), ..rubbish() };
    assert_eq!(publish(&*store, TaskSpec { idempotency_key: None, ..nowhere }).await.to_string().len(), 36);
    let store = {
        store.close().await.unwrap();
        drop(store);
        backend.open(options).await
    };
    let dead = store.dead_letter(None, id).await.unwrap();
    assert_eq!((dead.reason, dead.detail.as_str(), dead.attempts), (DeadReason::Unparsable, "it is not JSON", 0));
    assert_eq!((dead.failures.len(), dead.payload.unwrap().get()), (0, "\"rub\\\"bish\""));
    let lane = store.lane("a").await.unwrap();
    assert_eq!((lane.ready.normal, lane.dead_letters), (1, 2));
    let told = store.read_feed(0, 100).await.unwrap().records;
    let of_it: Vec<_> = told.iter().filter(|event| event.entity_id == id.to_string()).collect();
    assert_eq!(
        of_it.iter().map(|event| &*event.event_type).collect::<Vec<_>>(),
        ["task_published", "task_dead_lettered"]
    );
    assert!(of_it[1].data.get().contains(r#""reason":"unparsable","detail":"it is not JSON""#), "{}", of_it[1].data);
    // It can be sent to its lane like any other, when there is room.
    let how = || ReplayHow { by: "ops".into(), rate_per_s: None, limit: None };
    assert!(matches!(store.replay(None, Which::One(id), how()).await, Err(Error::LaneFull { .. })));
    store.cancel(None, waits).await.unwrap();
    store.replay(None, Which::One(id), how()).await.unwrap();
    assert_eq!(pull_one(&*store).await.task.id, id);
}

pub(crate) async fn replays_are_capped_and_leave_a_trail(backend: &impl Backend) {
    let mut options = options();
    options.store.max_replays = 2;
    let store = backend.open(options).await;
    let id = publish(&*store, spec("1")).await;
    let how = |by: &str| ReplayHow { by: by.into(), rate_per_s: None, limit: None };
    for by in ["ann", "bob"] {
        let got = pull_one(&*store).await;
        settle_pulled(&*store, &got, nack(NackMode::Fatal)).await.unwrap();
        store.replay(None, Which::One(id), how(by)).await.unwrap();
    }
    let got = pull_one(&*store).await;
    settle_pulled(&*store, &got, nack(NackMode::Fatal)).await.unwrap();
    let refused = store.replay(None, Which::One(id), how("eve")).await;
    assert!(matches!(refused, Err(Error::ReplayLimit { times: 2, .. })), "{refused:?}");
    let handled = store.replay(None, Which::Filter(DeadLetterFilter::default()), how("eve")).await.unwrap();
    assert_eq!(handled, Handled { matched: 1, done: 0, refused: 1 });
    let trail: Vec<String> =
        store.dead_letter(None, id).await.unwrap().replays.into_iter().map(|replay| replay.by).collect();
    assert_eq!(trail, ["ann", "bob"]);
}

async fn kill(store: &dyn Store, kind: &str) -> TaskId {
    let id = publish(store, TaskSpec { kind: kind.into(), ..spec("1") }).await;
    let got = pull_one(store).await;
    assert_eq!(got.task.id, id);
    settle_pulled(store, &got, nack(NackMode::Fatal)).await.unwrap();
    id
}

pub(crate) async fn dead_letters_are_listed_filtered_and_purged(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let mut ids = Vec::new();
    for kind in ["x", "y", "x", "y", "x"] {
        ids.push(kill(&*store, kind).await);
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let list = ListDeadLetters { cursor, limit: 2, payload: false, ..ListDeadLetters::default() };
        let page = store.dead_letters(None, list).await.unwrap();
        assert!(page.items.len() <= 2 && page.items.iter().all(|dead| dead.payload.is_none()));
        seen.extend(page.items.into_iter().map(|dead| dead.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids, "oldest first, page by page");
    let bad = ListDeadLetters { cursor: Some("rubbish".into()), limit: 2, ..ListDeadLetters::default() };
    assert!(matches!(store.dead_letters(None, bad).await, Err(Error::Invalid(_))));

    let x = DeadLetterFilter { kind: Some("x".into()), ..DeadLetterFilter::default() };
    let how = ReplayHow { by: "ops".into(), rate_per_s: Some(100.0), limit: Some(2) };
    let handled = store.replay(None, Which::Filter(x), how).await.unwrap();
    assert_eq!(handled, Handled { matched: 3, done: 2, refused: 0 });
    let lane = store.lane("a").await.unwrap();
    assert_eq!(lane.dead_letters, 3);
    assert_eq!(lane.ready.normal + lane.delayed, 2);
    assert!(store.purge(Some("stranger"), Which::One(ids[1])).await.is_err());
    assert_eq!(store.purge(None, Which::One(ids[1])).await.unwrap().done, 1);
    assert!(matches!(store.task(None, ids[1]).await, Err(Error::NotFound { .. })));
    let rest = store.purge(None, Which::Filter(DeadLetterFilter::default())).await.unwrap();
    assert_eq!(rest, Handled { matched: 2, done: 2, refused: 0 });
}

/// All pages of a list, each of at most `limit`.
async fn all_tasks(store: &dyn Store, tenant: Option<&str>, list: ListTasks) -> Vec<TaskView> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.tasks(tenant, ListTasks { after, ..list.clone() }).await.unwrap();
        assert!(page.items.len() <= list.limit);
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

pub(crate) async fn finished_tasks_are_listed_newest_first(backend: &impl Backend) {
    let mut options = options();
    options.store.finished_tasks = 6;
    let store = backend.open(options).await;
    let any = ListTasks { limit: 2, ..ListTasks::default() };
    assert!(all_tasks(&*store, None, any.clone()).await.is_empty());
    create(&*store, "s").await.unwrap();
    let mut ids = Vec::new();
    for n in 0..8 {
        let session = (n == 6).then(|| session_id("s"));
        let kind = if n % 2 == 0 { "even" } else { "odd" };
        ids.push(publish(&*store, TaskSpec { session, kind: kind.into(), ..spec("1") }).await);
        // Ids count milliseconds.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let listed = async |list: ListTasks| -> Vec<TaskId> {
        all_tasks(&*store, None, list).await.into_iter().map(|task| task.id).collect()
    };
    assert!(listed(any.clone()).await.is_empty(), "what waits is no history");
    store.cancel(None, ids[7]).await.unwrap();
    let mut held = worker(&*store, 1, 7).await;
    let got = next(&mut held, 7).await;
    // The order in which they end is another one.
    for delivery in got.iter().rev() {
        let verb = if delivery.task.id == ids[5] { nack(NackMode::Fatal) } else { SettleVerb::Ack };
        settle(&*store, Holder::Worker(held.id), delivery.task.id, verb).await.unwrap();
    }
    // Seven finished, of which six are remembered, and one is dead.
    let newest_first = [6, 5, 4, 3, 2, 1, 0].map(|n| ids[n]);
    assert_eq!(listed(any.clone()).await, newest_first);
    let state = |state| ListTasks { state: Some(state), ..any.clone() };
    assert_eq!(listed(state(TaskState::Dead)).await, [ids[5]]);
    assert!(listed(state(TaskState::Cancelled)).await.is_empty(), "it was the first to be over, and is forgotten");
    assert!(listed(state(TaskState::Ready)).await.is_empty());
    assert_eq!(listed(ListTasks { kind: Some("odd".into()), ..any.clone() }).await, [5, 3, 1].map(|n| ids[n]));
    assert_eq!(listed(ListTasks { session: Some(session_id("s")), ..any.clone() }).await, [ids[6]]);
    assert!(listed(ListTasks { lane: Some("b".into()), ..any.clone() }).await.is_empty());
    let range = ListTasks { since: Some(ids[2].time()), until: Some(ids[4].time()), ..any.clone() };
    assert_eq!(listed(range).await, [ids[3], ids[2]]);
    assert!(all_tasks(&*store, Some("stranger"), any.clone()).await.is_empty());
    let shown = all_tasks(&*store, Some("default"), state(TaskState::Dead)).await.remove(0);
    assert_eq!((&*shown.tenant, &*shown.lane, shown.attempts, shown.payload.is_none()), ("default", "a", 1, true));
    assert_eq!(shown.last_error.as_deref(), Some("no luck"));

    // What is sent back is not over; what ends later is told too.
    let how = ReplayHow { by: "test".into(), rate_per_s: None, limit: None };
    store.replay(None, Which::One(ids[5]), how).await.unwrap();
    assert_eq!(listed(any.clone()).await, [6, 4, 3, 2, 1, 0].map(|n| ids[n]));
    store.grant(held.id, 1);
    next(&mut held, 1).await;
    settle(&*store, Holder::Worker(held.id), ids[5], SettleVerb::Ack).await.unwrap();
    assert_eq!(listed(any).await, [5, 4, 3, 2, 1, 0].map(|n| ids[n]), "one is forgotten for it");
}

pub(crate) async fn a_lane_keeps_only_so_many_dead_letters(backend: &impl Backend) {
    let mut options = options();
    options.store.max_dead_letters = 2;
    let store = backend.open(options).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(kill(&*store, "x").await);
    }
    assert!(matches!(store.dead_letter(None, ids[0]).await, Err(Error::NotFound { .. })), "the oldest went");
    assert!(store.dead_letter(None, ids[1]).await.is_ok());
    let slice = store.read_feed(0, 1_000).await.unwrap();
    let dropped = slice.records.iter().find(|event| event.event_type == "dead_letter_dropped").expect("never silently");
    assert_eq!(dropped.entity_id, ids[0].to_string());
}

pub(crate) async fn a_deadline_that_passes_is_a_dead_letter(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let id = publish(&*store, TaskSpec { deadline_ms: Some(50), ..spec("1") }).await;
    let dead = until(async || store.dead_letter(None, id).await.ok()).await;
    assert_eq!((dead.reason, dead.attempts), (DeadReason::DeadlineExceeded, 0));
    assert!(store.lease(None, "a", 1, 0).await.unwrap().is_empty());
    // Whoever replays it thinks that it is worth doing all the same.
    let how = ReplayHow { by: "ops".into(), rate_per_s: None, limit: None };
    store.replay(None, Which::One(id), how).await.unwrap();
    assert_eq!(pull_one(&*store).await.task.id, id);
}

pub(crate) async fn a_delayed_task_waits(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let started = std::time::Instant::now();
    let id = publish(&*store, TaskSpec { delay_ms: 1_500, ..spec("1") }).await;
    let view = store.task(None, id).await.unwrap();
    assert_eq!(view.state, TaskState::Delayed);
    assert_eq!(view.due_at, Some(view.created_at.plus_ms(1_500)));
    assert_eq!(store.lane("a").await.unwrap().delayed, 1);
    assert_eq!(pull_one(&*store).await.task.id, id);
    assert!(started.elapsed() >= Duration::from_millis(1_495), "{:?}", started.elapsed());
}

pub(crate) async fn a_waiting_task_can_be_cancelled_a_leased_one_not(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let waiting = publish(&*store, TaskSpec { delay_ms: 60_000, ..spec("1") }).await;
    store.cancel(None, waiting).await.unwrap();
    assert_eq!(store.task(None, waiting).await.unwrap().state, TaskState::Cancelled);
    let again = store.cancel(None, waiting).await;
    assert!(matches!(again, Err(Error::NotCancellable { state: "cancelled", .. })), "{again:?}");
    let leased = publish(&*store, spec("1")).await;
    pull_one(&*store).await;
    let refused = store.cancel(None, leased).await;
    assert!(matches!(refused, Err(Error::NotCancellable { state: "leased", .. })), "{refused:?}");
    let nobody = TaskId::at(Time(1), 1);
    assert!(matches!(store.cancel(None, nobody).await, Err(Error::NotFound { .. })));
}

pub(crate) async fn a_pull_waits_for_the_first_task_and_no_longer(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let started = std::time::Instant::now();
    assert!(store.lease(None, "a", 5, 80).await.unwrap().is_empty());
    assert!(started.elapsed() >= Duration::from_millis(75), "{:?}", started.elapsed());
    let pull = store.lease(None, "a", 5, 10_000);
    let ids: Vec<TaskId> = store
        .publish(&tenant(), vec![spec("1"), spec("2")])
        .await
        .into_iter()
        .map(|result| result.unwrap().id)
        .collect();
    let got: Vec<TaskId> = pull.await.unwrap().iter().map(|delivery| delivery.task.id).collect();
    assert_eq!(got, ids, "all that came at once");
    // A pull that nobody waits for any more gives its tasks back, uncounted.
    drop(store.lease(None, "a", 5, 60_000));
    let third = publish(&*store, spec("3")).await;
    let got = pull_one(&*store).await;
    assert_eq!((got.task.id, got.attempt), (third, 1));
    // Nor does one whose tasks were on their way already.
    let pull = store.lease(None, "a", 5, 60_000);
    let fourth = publish(&*store, spec("4")).await;
    until(async || (store.task(None, fourth).await.unwrap().state == TaskState::Leased).then_some(())).await;
    drop(pull);
    let got = pull_one(&*store).await;
    assert_eq!((got.task.id, got.attempt), (fourth, 1));
}

pub(crate) async fn a_paused_lane_delivers_nothing_until_it_is_resumed(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let view = store.pause_lane("a", None).await.unwrap();
    assert!(view.paused && view.paused_until.is_none());
    publish(&*store, spec("1")).await;
    assert!(store.lease(None, "a", 1, 30).await.unwrap().is_empty());
    store.close().await.unwrap();
    let store = backend.open(options()).await;
    assert!(store.lane("a").await.unwrap().paused, "also after a restart");
    let pull = store.lease(None, "a", 1, 10_000);
    assert!(!store.resume_lane("a").await.unwrap().paused);
    assert_eq!(pull.await.unwrap().len(), 1);
}

pub(crate) async fn sessions_have_a_life(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let metadata = json!({"a": 1, "b": {"c": 2}}).as_object().unwrap().clone();
    let new = NewSession { id: Some(session_id("s")), metadata, idle_timeout_ms: Some(60_000) };
    let created = store.create_session(&tenant(), new.clone()).await.unwrap();
    assert_eq!((created.state, created.idle_timeout_ms), (SessionState::Active, 60_000));
    assert_eq!(created.expires_at, Some(created.created_at.plus_ms(60_000)));
    assert!(matches!(store.create_session(&tenant(), new).await, Err(Error::SessionExists { .. })));
    let patch = json!({"b": {"c": null, "d": 3}, "a": null}).as_object().unwrap().clone();
    let updated = store.update_session(None, session_id("s"), UpdateSession { metadata: patch }).await.unwrap();
    assert_eq!(json!(updated.metadata), json!({"b": {"d": 3}}));
    let huge = json!({"x": "y".repeat(70_000)}).as_object().unwrap().clone();
    let refused = store.update_session(None, session_id("s"), UpdateSession { metadata: huge }).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    store.heartbeat(None, session_id("s")).await.unwrap();
    let id = publish(&*store, TaskSpec { session: Some(session_id("s")), ..spec("1") }).await;
    let got = pull_one(&*store).await;
    settle_pulled(&*store, &got, SettleVerb::Ack).await.unwrap();
    assert_eq!(got.task.id, id);
    let end = EndSession { status: SessionState::Failed, reason: Some("tired".into()) };
    let ended = store.end_session(None, session_id("s"), end.clone()).await.unwrap();
    assert_eq!((ended.state, ended.reason.as_deref(), ended.expires_at), (SessionState::Failed, Some("tired"), None));
    assert_eq!((ended.tasks.published, ended.tasks.done), (1, 1));
    let over = store.end_session(None, session_id("s"), end).await;
    assert!(matches!(over, Err(Error::SessionEnded { state: "failed", .. })), "{over:?}");
    assert!(matches!(store.heartbeat(None, session_id("s")).await, Err(Error::SessionEnded { .. })));
    let late = store.publish(&tenant(), vec![TaskSpec { session: Some(session_id("s")), ..spec("1") }]).await;
    assert!(matches!(late[0], Err(Error::SessionEnded { .. })), "{late:?}");
    let timed_out = EndSession { status: SessionState::TimedOut, reason: None };
    create(&*store, "t").await.unwrap();
    assert!(matches!(store.end_session(None, session_id("t"), timed_out).await, Err(Error::Invalid(_))));
    let list = |state| ListSessions { state, limit: 10, ..ListSessions::default() };
    let all = store.sessions(None, list(None)).await.unwrap().items;
    assert_eq!(all.iter().map(|(_, session)| session.id.as_str()).collect::<Vec<_>>(), ["t", "s"], "newest first");
    let created_at = all[0].1.created_at;
    let between = |since, until| ListSessions { since, until, limit: 10, ..ListSessions::default() };
    let count = async |list| store.sessions(None, list).await.unwrap().items.len();
    assert_eq!(count(between(Some(created_at.plus_ms(1)), None)).await, 0);
    assert_eq!(count(between(None, Some(created_at.plus_ms(1)))).await, 2);
    assert!(count(between(Some(created_at), Some(created_at.plus_ms(1)))).await >= 1);
    assert_eq!(store.sessions(None, list(Some(SessionState::Failed))).await.unwrap().items.len(), 1);
}

pub(crate) async fn a_session_too_many_is_refused_and_counted(backend: &impl Backend) {
    let mut options = options();
    options.sessions.max_concurrent = 3;
    options.sessions.max_per_tenant = 2;
    let store = backend.open(options.clone()).await;
    create(&*store, "a").await.unwrap();
    create(&*store, "b").await.unwrap();
    let refused = create(&*store, "c").await;
    assert!(
        matches!(refused, Err(Error::SessionLimit { limit: 2, of: "of this tenant", retry_after_ms: 1.. })),
        "{refused:?}"
    );
    let other: Arc<str> = "other".into();
    store.create_session(&other, NewSession::default()).await.unwrap();
    let refused = store.create_session(&other, NewSession::default()).await;
    assert!(matches!(refused, Err(Error::SessionLimit { limit: 3, of: "of this gateway", .. })), "{refused:?}");
    assert_eq!(store.stats().await.unwrap().sessions_refused, 2);
    store.close().await.unwrap();
    let store = backend.open(options).await;
    assert!(matches!(create(&*store, "c").await, Err(Error::SessionLimit { .. })), "slots survive a restart");
    store.end_session(None, session_id("a"), EndSession::default()).await.unwrap();
    create(&*store, "c").await.unwrap();
}

pub(crate) async fn an_idle_session_times_out_and_frees_its_slot(backend: &impl Backend) {
    let mut options = options();
    options.sessions.max_concurrent = 1;
    let store = backend.open(options).await;
    let new = NewSession { id: Some(session_id("s")), idle_timeout_ms: Some(1_500), ..NewSession::default() };
    store.create_session(&tenant(), new).await.unwrap();
    assert!(matches!(create(&*store, "t").await, Err(Error::SessionLimit { retry_after_ms: 1..=1_500, .. })));
    until(async || create(&*store, "t").await.ok()).await;
    let over = store.session(None, session_id("s")).await.unwrap();
    assert_eq!((over.state, over.expires_at), (SessionState::TimedOut, None));
    assert_eq!(store.stats().await.unwrap().sessions, [1, 0, 0, 1]);
    let feed = store.read_feed(0, 100).await.unwrap();
    assert!(feed.records.iter().any(|event| event.event_type == "session_timed_out" && event.entity_id == "s"));
}

pub(crate) async fn publishing_keeps_a_session_alive(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let new = NewSession { id: Some(session_id("s")), idle_timeout_ms: Some(2_000), ..NewSession::default() };
    let created = store.create_session(&tenant(), new).await.unwrap();
    let mut published = 0;
    // Longer than it may be idle.
    while crate::now() < created.created_at.plus_ms(2_500) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publish(&*store, TaskSpec { session: Some(session_id("s")), ..spec("1") }).await;
        published += 1;
    }
    let view = store.session(None, session_id("s")).await.unwrap();
    assert_eq!((view.state, view.tasks.published), (SessionState::Active, published));
    assert!(view.last_activity_at > created.last_activity_at);
}

pub(crate) async fn the_tasks_of_an_ended_session_follow_the_policy(backend: &impl Backend) {
    let lane = |on_session_end| Lane { on_session_end, retry: quick(), ..Lane::default() };
    let mut options = options();
    for (name, policy) in
        [("keep", OnSessionEnd::Keep), ("cancel", OnSessionEnd::Cancel), ("dead", OnSessionEnd::DeadLetter)]
    {
        options.lanes.insert(name.to_owned(), lane(policy));
    }
    let store = backend.open(options).await;
    create(&*store, "s").await.unwrap();
    let of = |lane: &str| TaskSpec { lane: Some(lane.into()), session: Some(session_id("s")), ..spec("1") };
    let mut ids = Vec::new();
    for lane in ["keep", "cancel", "dead"] {
        ids.push(publish(&*store, of(lane)).await);
        ids.push(publish(&*store, TaskSpec { delay_ms: 60_000, ..of(lane) }).await);
    }
    let held = store.lease(None, "dead", 1, 0).await.unwrap().remove(0);
    store.end_session(None, session_id("s"), EndSession::default()).await.unwrap();
    let mut states = Vec::new();
    for id in &ids {
        states.push(store.task(None, *id).await.unwrap().state);
    }
    use TaskState::{Cancelled, Dead, Delayed, Leased, Ready};
    assert_eq!(states, [Ready, Delayed, Cancelled, Cancelled, Leased, Dead]);
    assert_eq!(store.dead_letter(None, ids[5]).await.unwrap().reason, DeadReason::SessionEnded);
    // What a worker has it may finish; it is not tried again.
    assert_eq!(settle_pulled(&*store, &held, nack(NackMode::Fail)).await, Ok(Settled::Dead));
    let tasks = store.session(None, session_id("s")).await.unwrap().tasks;
    assert_eq!((tasks.published, tasks.cancelled, tasks.dead), (6, 2, 2));
}

pub(crate) async fn session_affinity_keeps_one_worker(backend: &impl Backend) {
    let store =
        backend.open(options_with(Lane { affinity: Affinity::Session, retry: quick(), ..Lane::default() })).await;
    create(&*store, "s").await.unwrap();
    let mut ids = Vec::new();
    for i in 0..4 {
        ids.push(publish(&*store, TaskSpec { session: Some(session_id("s")), ..spec(&i.to_string()) }).await);
    }
    let mut home = worker(&*store, 1, 1).await;
    assert_eq!(next(&mut home, 1).await[0].task.id, ids[0]);
    let mut other = worker(&*store, 2, 10).await;
    settle(&*store, Holder::Worker(home.id), ids[0], SettleVerb::Ack).await.unwrap();
    assert!(is_quiet(&mut other).await, "the session has a worker, even if that has no credit just now");
    store.grant(home.id, 1);
    assert_eq!(next(&mut home, 1).await[0].task.id, ids[1]);
    store.close_worker(home.id, true);
    let mut order = Vec::new();
    for _ in 1..4 {
        let got = next(&mut other, 1).await;
        assert_eq!(got.len(), 1, "one at a time");
        order.push(got[0].task.id);
        settle(&*store, Holder::Worker(other.id), got[0].task.id, SettleVerb::Ack).await.unwrap();
    }
    assert_eq!(order, ids[1..]);
}

pub(crate) async fn the_feed_tells_everything_in_order(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let mut head = store.feed_head();
    create(&*store, "s").await.unwrap();
    let id = publish(&*store, TaskSpec { session: Some(session_id("s")), key: Some("k".into()), ..spec("1") }).await;
    let got = pull_one(&*store).await;
    settle_pulled(&*store, &got, nack(NackMode::Fail)).await.unwrap();
    let got = pull_one(&*store).await;
    settle_pulled(&*store, &got, nack(NackMode::Fail)).await.unwrap();
    store.replay(None, Which::One(id), ReplayHow { by: "ops".into(), rate_per_s: None, limit: None }).await.unwrap();
    store.cancel(None, id).await.unwrap();
    store.pause_lane("a", Some(60_000)).await.unwrap();
    store.resume_lane("a").await.unwrap();
    store.end_session(None, session_id("s"), EndSession::default()).await.unwrap();
    let slice = store.read_feed(0, 1_000).await.unwrap();
    let told: Vec<&str> = slice.records.iter().map(|event| &*event.event_type).collect();
    assert_eq!(
        told,
        [
            "session_created",
            "task_published",
            "task_leased",
            "task_retry_scheduled",
            "task_leased",
            "task_dead_lettered",
            "task_replayed",
            "task_cancelled",
            "lane_paused",
            "lane_resumed",
            "session_ended",
        ]
    );
    assert!(slice.gap.is_none());
    assert_eq!(slice.records.iter().map(|event| event.offset).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    assert!(head.has_changed().unwrap());
    assert_eq!((*head.borrow_and_update(), slice.head), (11, 11));
    let retried: serde_json::Value = serde_json::from_str(slice.records[3].data.get()).unwrap();
    assert_eq!(retried["lane"], "a");
    assert_eq!(
        (&retried["reason"], &retried["attempt"], &retried["session"], &retried["key"]),
        (&json!("no luck"), &json!(1), &json!("s"), &json!("k"))
    );
    assert_eq!(slice.records[3].tenant.as_deref(), Some("default"));
    // Piece by piece it is the same, and nothing twice.
    let mut pieces = Vec::new();
    let mut after = 0;
    while after < slice.head {
        let piece = store.read_feed(after, 3).await.unwrap();
        assert!(piece.records.len() <= 3 && piece.gap.is_none());
        after = piece.records.last().unwrap().offset;
        pieces.extend(piece.records);
    }
    let ids = |records: &[squall_protocol::FeedRecord]| records.iter().map(|event| event.event_id).collect::<Vec<_>>();
    assert_eq!(ids(&pieces), ids(&slice.records));
}

pub(crate) async fn the_feed_takes_what_others_announce(backend: &impl Backend) {
    let announcement = |number: usize| Announcement {
        event_type: if number == 0 { "analysis_started" } else { "node_added" },
        entity_id: format!("{number:x}"),
        data: RawValue::from_string(json!({ "name": "a\nb \u{1}ü", "line": number }).to_string()).unwrap(),
    };
    let store = backend.open(options()).await;
    publish(&*store, spec("1")).await;
    let events: Vec<Announcement> = (0..500)
        .map(announcement)
        .chain([Announcement {
            event_type: "graph_reset",
            entity_id: "graph".to_owned(),
            data: RawValue::from_string("{}".to_owned()).unwrap(),
        }])
        .collect();
    store.announce(events.clone()).await.unwrap();
    store.announce(Vec::new()).await.unwrap();
    publish(&*store, spec("2")).await;
    drop(store.close().await);
    let store = backend.open(options()).await;
    let slice = store.read_feed(1, 1_000).await.unwrap();
    assert_eq!(slice.records.iter().map(|event| event.offset).collect::<Vec<_>>(), (2..=503).collect::<Vec<_>>());
    for (event, announced) in slice.records.iter().zip(&events) {
        assert_eq!((event.topic, &*event.event_type), (Topic::Graph, announced.event_type));
        let entity_type = event.event_type.split('_').next().unwrap();
        assert_eq!((&*event.entity_type, &event.entity_id), (entity_type, &announced.entity_id));
        assert_eq!((event.data.get(), event.tenant.as_deref()), (announced.data.get(), None));
    }
    assert_eq!(slice.records[501].event_type, "task_published");
}

pub(crate) async fn the_feed_is_honest_about_the_future(backend: &impl Backend) {
    let store = backend.open(options()).await;
    publish(&*store, spec("1")).await;
    let slice = store.read_feed(50, 10).await.unwrap();
    let gap = slice.gap.expect("it cannot know what came after 50");
    assert_eq!((gap.from, gap.to, gap.reason), (2, 50, squall_protocol::GapReason::Ahead));
    let now = store.read_feed(1, 10).await.unwrap();
    assert!(now.gap.is_none() && now.records.is_empty());
}

pub(crate) async fn everything_survives_a_restart(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let epoch = store.epoch();
    create(&*store, "s").await.unwrap();
    let done = publish(&*store, spec("1")).await;
    let got = pull_one(&*store).await;
    settle_pulled(&*store, &got, SettleVerb::Ack).await.unwrap();
    let dead = kill(&*store, "x").await;
    let pulled_id = publish(&*store, spec("3")).await;
    let pulled = pull_one(&*store).await;
    let ready = publish(&*store, TaskSpec { session: Some(session_id("s")), ..spec("4") }).await;
    let mut before = Vec::new();
    for id in [done, dead, pulled_id, ready] {
        before.push(serde_json::to_value(store.task(None, id).await.unwrap()).unwrap());
    }
    let session = store.session(None, session_id("s")).await.unwrap();
    let letter = serde_json::to_value(store.dead_letter(None, dead).await.unwrap()).unwrap();
    let head = *store.feed_head().borrow();
    store.close().await.unwrap();
    drop(store);

    let store = backend.open(options()).await;
    assert_eq!(store.epoch(), epoch);
    let mut after = Vec::new();
    for id in [done, dead, pulled_id, ready] {
        let mut view = serde_json::to_value(store.task(None, id).await.unwrap()).unwrap();
        if id == done {
            view["payload"].take();
        }
        after.push(view);
    }
    before[0]["payload"].take();
    assert_eq!(after, before);
    assert_eq!(store.session(None, session_id("s")).await.unwrap(), session);
    assert_eq!(serde_json::to_value(store.dead_letter(None, dead).await.unwrap()).unwrap(), letter);
    assert_eq!(*store.feed_head().borrow(), head, "nothing happened meanwhile");
    assert_eq!(
        settle_pulled(&*store, &pulled, SettleVerb::Ack).await,
        Ok(Settled::Done),
        "a receipt outlives a restart"
    );
    assert_eq!(pull_one(&*store).await.task.id, ready);
}

pub(crate) async fn retries_and_delays_survive_a_restart(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let retried = publish(&*store, spec("1")).await;
    let mut worker = worker(&*store, 1, 1).await;
    next(&mut worker, 1).await;
    let verb = SettleVerb::Nack { mode: NackMode::Fail, delay_ms: Some(3_000), reason: None, pause_lane_ms: None };
    let Ok(Settled::Retry(due)) = settle(&*store, Holder::Worker(worker.id), retried, verb).await else {
        panic!("no retry")
    };
    let delayed = publish(&*store, TaskSpec { delay_ms: 60_000, ..spec("2") }).await;
    store.close().await.unwrap();
    drop(store);
    let store = backend.open(options()).await;
    assert_eq!(store.task(None, retried).await.unwrap().due_at, Some(due));
    assert_eq!(store.task(None, delayed).await.unwrap().state, TaskState::Delayed);
    let got = pull_one(&*store).await;
    assert_eq!((got.task.id, got.attempt), (retried, 2));
    assert!(crate::now() >= due, "not before its time");
}

pub(crate) async fn a_closed_store_says_so(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let last = store.publish(&tenant(), vec![spec("1")]);
    let closed = store.close();
    assert!(last.await[0].is_ok(), "what was queued before is committed and answered");
    closed.await.unwrap();
    assert_eq!(store.publish(&tenant(), vec![spec("1")]).await, [Err(Error::Closed)]);
    assert_eq!(store.stats().await.unwrap_err(), Error::Closed);
    assert_eq!(store.lane("a").await.unwrap_err(), Error::Closed);
    assert_eq!(store.close().await, Ok(()), "closing twice is no error");
}

pub(crate) async fn too_many_commands_are_refused(backend: &impl Backend) {
    let mut options = options();
    options.store.max_queued_commands = 0;
    let store = backend.open(options).await;
    assert_eq!(store.publish(&tenant(), vec![spec("1")]).await, [Err(Error::Overloaded)]);
    assert_eq!(store.lane("a").await.unwrap_err(), Error::Overloaded);
    assert!(store.stats().await.is_ok(), "figures are wanted most when too much waits");
    store.close().await.unwrap();
}

pub(crate) async fn figures_add_up(backend: &impl Backend) {
    let store = backend.open(options()).await;
    let answers = store.publish(&tenant(), vec![spec("1"), spec("2"), spec("3")]).await;
    assert!(answers.iter().all(Result::is_ok));
    let got = pull_one(&*store).await;
    settle_pulled(&*store, &got, SettleVerb::Ack).await.unwrap();
    let got = pull_one(&*store).await;
    settle_pulled(&*store, &got, nack(NackMode::Fatal)).await.unwrap();
    let stats = store.stats().await.unwrap();
    let count = |name: &str| stats.tasks.iter().find(|(outcome, _)| *outcome == name).expect("all are named").1;
    assert_eq!((count("published"), count("delivered"), count("done"), count("dead")), (3, 2, 1, 1));
    assert_eq!((stats.lanes.len(), stats.lanes[0].ready.normal, stats.lanes[0].dead_letters), (1, 1, 1));
    assert_eq!((stats.feed_offset, stats.feed_oldest), (7, 1));
    assert!(stats.commits > 0 && stats.committed_commands >= stats.commits.min(4) && stats.commit_ms.max > 0.0);
    assert!(stats.task_bytes > 0 && stats.disk_bytes > 0);
    let mut registry = prometheus_client::registry::Registry::default();
    store.register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains(r#"squall_tasks_total{lane="a",priority="normal",outcome="published"} 3"#), "{text}");
    assert!(store.health().ok && store.health().lost.is_empty());
}
