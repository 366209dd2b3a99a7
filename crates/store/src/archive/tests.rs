//! The archive against a real PostgreSQL, with a real store before it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use squall_protocol::page::Incomplete;
use squall_protocol::{
    EndSession, NackMode, NewSession, SessionId, SessionState, SessionView, TaskId, TaskState, TaskView, UpdateSession,
};
use squall_testkit::{Postgres, eventually};

use super::connect::{self, Connection};
use super::migrate::{MIGRATIONS, Migration, migrate};
use super::{Archive, address, runs};
use crate::config::{self, Lane, Options};
use crate::{
    Delivery, Error, History, Holder, ListSessions, ListTasks, ReplayHow, SettleVerb, Settlement, Store, TaskSpec,
    Which, embedded,
};

const SOON: Duration = Duration::from_secs(20);

/// A store in a directory of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, change: impl FnOnce(&mut Options)) -> Arc<dyn Store> {
        let lanes = [("a".to_owned(), Lane::default())].into();
        let mut options = Options { lanes, default_lane: Some("a".to_owned()), ..Options::default() };
        options.sessions.max_concurrent = 1_000;
        options.sessions.max_per_tenant = 1_000;
        change(&mut options);
        Arc::new(embedded::open(self.0.path(), options).unwrap())
    }
}

fn config(postgres: &Postgres) -> config::Archive {
    config::Archive { url: postgres.url(), batch: 7, timeout_ms: 1_000, ..config::Archive::default() }
}

fn start(postgres: &Postgres, store: &Arc<dyn Store>) -> Arc<Archive> {
    Arc::new(Archive::start(&config(postgres), Arc::clone(store)).unwrap())
}

async fn connection(postgres: &Postgres) -> Connection {
    let address = address::read(&postgres.url(), "", SOON).unwrap_or_else(|why| panic!("{why}"));
    connect::connect(&address, "squall", SOON).await.unwrap_or_else(|why| panic!("{why}"))
}

/// Waits until everything that the feed tells now is archived.
async fn caught_up(postgres: &Postgres, store: &dyn Store) {
    let head = *store.feed_head().borrow();
    let what = format!("offset {head} to be archived");
    eventually(&what, SOON, async || {
        let there = postgres.sql("SELECT to_regclass('squall.cursors')");
        let found = if there.is_empty() { there } else { cursor(postgres, store) };
        (found == head.to_string()).then_some(())
    })
    .await;
}

fn cursor(postgres: &Postgres, store: &dyn Store) -> String {
    postgres.sql(&format!("SELECT \"offset\" FROM squall.cursors WHERE epoch = '{}'", store.epoch()))
}

async fn publish(store: &dyn Store, kind: &str, session: Option<&str>) -> TaskId {
    let session = session.map(|id| SessionId::new(id).unwrap());
    let spec =
        TaskSpec { lane: Some("a".into()), kind: kind.into(), payload: "1".into(), session, ..TaskSpec::default() };
    store.publish(&"default".into(), vec![spec]).await.remove(0).unwrap().id
}

async fn pull(store: &dyn Store) -> Delivery {
    store.lease(None, "a", 1, 5_000).await.unwrap().remove(0)
}

async fn settle(store: &dyn Store, delivery: &Delivery, verb: SettleVerb) {
    let settlement = Settlement { id: delivery.task.id, receipt: Some(delivery.receipt), verb };
    store.settle(None, Holder::Receipts, vec![settlement]).await.remove(0).unwrap();
}

fn fatal() -> SettleVerb {
    SettleVerb::Nack { mode: NackMode::Fatal, delay_ms: None, reason: Some("no luck".into()), pause_lane_ms: None }
}

/// Publishes so many tasks and finishes them.
async fn finish(store: &dyn Store, count: usize) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(publish(store, "k", None).await);
        settle(store, &pull(store).await, SettleVerb::Ack).await;
    }
    ids
}

async fn create(store: &dyn Store, id: &str) -> SessionView {
    let metadata = json!({"of": id}).as_object().unwrap().clone();
    let new = NewSession { id: Some(SessionId::new(id).unwrap()), metadata, idle_timeout_ms: None };
    store.create_session(&"default".into(), new).await.unwrap()
}

async fn end(store: &dyn Store, id: &str) -> SessionView {
    let end = EndSession { status: SessionState::Failed, reason: Some("tired".into()) };
    store.end_session(None, SessionId::new(id).unwrap(), end).await.unwrap()
}

async fn all_tasks(history: &History, list: &ListTasks) -> Vec<TaskView> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = history.tasks(None, list.clone(), cursor.as_deref()).await.unwrap();
        assert!(page.items.len() <= list.limit && page.incomplete.is_none());
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

async fn all_sessions(history: &History, limit: usize) -> Vec<SessionView> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let list = ListSessions { limit, ..ListSessions::default() };
        let page = history.sessions(None, list, cursor.as_deref()).await.unwrap();
        assert!(page.items.len() <= limit && page.incomplete.is_none());
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_run_once_in_order_and_never_over_what_they_do_not_know() {
    let postgres = Postgres::start(false);
    let mut one = connection(&postgres).await;
    let mut other = connection(&postgres).await;
    // Two gateways that start at the same time, on a database that has nothing; the second finds the work done.
    let earlier = &MIGRATIONS[..1];
    let (first, second) =
        tokio::join!(migrate(&mut one.client, "squall", earlier), migrate(&mut other.client, "squall", earlier));
    assert_eq!((first, second), (Ok(()), Ok(())));
    postgres.sql(
        "INSERT INTO squall.gaps (epoch, first_offset, last_offset, reason) VALUES (gen_random_uuid(), 1, 2, 'kept')",
    );
    for _ in 0..2 {
        migrate(&mut one.client, "squall", MIGRATIONS).await.unwrap();
    }
    assert_eq!(postgres.sql("SELECT string_agg(name, ' ' ORDER BY number) FROM squall.migrations"), "history runs");
    assert_eq!(postgres.sql("SELECT reason FROM squall.gaps"), "kept");

    let changed = [Migration { sql: "CREATE TABLE something_else ()", ..MIGRATIONS[0] }, MIGRATIONS[1]];
    let refused = migrate(&mut one.client, "squall", &changed).await.unwrap_err();
    assert!(refused.contains("migration 1 (history)"), "{refused}");
    let refused = migrate(&mut one.client, "squall", earlier).await.unwrap_err();
    assert!(refused.contains("later version") && refused.contains("2 (runs)"), "{refused}");
    let broken = [
        MIGRATIONS[0],
        MIGRATIONS[1],
        Migration { number: 3, name: "broken", sql: "CREATE TABLE half (); SELECT 1 / 0" },
    ];
    let refused = migrate(&mut one.client, "squall", &broken).await.unwrap_err();
    assert!(refused.contains("3 (broken)"), "{refused}");
    assert_eq!(postgres.sql("SELECT to_regclass('squall.half') IS NULL"), "t", "all of it or nothing");

    // What is refused is told by whoever would archive, and nothing else is touched.
    postgres.sql("UPDATE squall.migrations SET checksum = 1 WHERE number = 2");
    let place = Place::new();
    let store = place.open(|_| {});
    let archive = start(&postgres, &store);
    let health =
        eventually("the refusal to be told", SOON, async || Some(archive.health().await).filter(|one| !one.ok)).await;
    assert!(health.detail.contains("migration 2 (runs)"), "{}", health.detail);
    finish(&*store, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_is_found_when_the_store_has_forgotten_it() {
    let postgres = Postgres::start(false);
    let place = Place::new();
    let store = place.open(|options| {
        options.store.finished_tasks = 3;
        options.sessions.remember_ended = 2;
    });
    let archive = start(&postgres, &store);
    let history = History::new(Arc::clone(&store), Some(Arc::clone(&archive)));
    let kept = history.clone();
    let kept = async move |id| kept.task(None, id).await;

    // More than one batch, in every way in which a task can end.
    let mut expected = finish(&*store, 12).await;
    let cancelled = publish(&*store, "odd", None).await;
    store.cancel(None, cancelled).await.unwrap();
    let dead = publish(&*store, "odd\u{0}", None).await;
    settle(&*store, &pull(&*store).await, fatal()).await;
    let replayed = publish(&*store, "odd", None).await;
    settle(&*store, &pull(&*store).await, fatal()).await;
    caught_up(&postgres, &*store).await;
    let how = ReplayHow { by: "test".into(), rate_per_s: None, limit: None };
    store.replay(None, Which::One(replayed), how).await.unwrap();
    caught_up(&postgres, &*store).await;
    assert_eq!(
        postgres.sql(&format!("SELECT count(*) FROM squall.tasks WHERE id = '{replayed}'")),
        "0",
        "it is not over"
    );
    settle(&*store, &pull(&*store).await, SettleVerb::Ack).await;
    expected.extend([cancelled, dead, replayed]);

    // Sessions, with what their tasks did.
    for id in ["s1", "s2", "s3", "s4"] {
        create(&*store, id).await;
        expected.push(publish(&*store, "k", Some(id)).await);
        settle(&*store, &pull(&*store).await, SettleVerb::Ack).await;
        // Times count milliseconds; order among equals is not promised.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let metadata = json!({"more": [1]}).as_object().unwrap().clone();
    store.update_session(None, SessionId::new("s1").unwrap(), UpdateSession { metadata }).await.unwrap();
    let ended = end(&*store, "s1").await;
    for id in ["s2", "s3"] {
        end(&*store, id).await;
    }
    caught_up(&postgres, &*store).await;

    expected.sort_unstable_by(|a, b| b.cmp(a));
    for limit in [1_000, 4, 1] {
        let list = ListTasks { limit, ..ListTasks::default() };
        let found: Vec<TaskId> = all_tasks(&history, &list).await.into_iter().map(|task| task.id).collect();
        assert_eq!(found, expected, "each once, newest first, {limit} a page");
        let found: Vec<String> =
            all_sessions(&history, limit).await.into_iter().map(|one| one.id.to_string()).collect();
        assert_eq!(found, ["s4", "s3", "s2", "s1"], "{limit} a page");
    }
    let of = async |list: ListTasks| all_tasks(&history, &ListTasks { limit: 2, ..list }).await.len();
    assert_eq!(of(ListTasks { state: Some(TaskState::Dead), ..ListTasks::default() }).await, 1);
    assert_eq!(of(ListTasks { kind: Some("odd".into()), ..ListTasks::default() }).await, 2);
    assert_eq!(of(ListTasks { session: SessionId::new("s2").ok(), ..ListTasks::default() }).await, 1);
    assert_eq!(of(ListTasks { lane: Some("b".into()), ..ListTasks::default() }).await, 0);
    let between =
        ListTasks { since: Some(cancelled.time()), until: Some(cancelled.time().plus_ms(1)), ..ListTasks::default() };
    let same_ms = expected.iter().filter(|id| id.time() == cancelled.time()).count();
    assert_eq!(of(between).await, same_ms);
    assert!(
        history
            .tasks(Some("stranger"), ListTasks { limit: 9, ..ListTasks::default() }, None)
            .await
            .unwrap()
            .items
            .is_empty()
    );

    // The first of all is only in the archive, and shown as the store would have shown it.
    let first = expected[expected.len() - 1];
    assert!(matches!(store.task(None, first).await, Err(Error::NotFound { .. })));
    let task = kept(first).await.unwrap();
    assert_eq!(
        (task.state, task.attempts, &*task.lane, &*task.kind, &*task.tenant),
        (TaskState::Done, 1, "a", "k", "default")
    );
    assert_eq!(task.created_at, first.time());
    assert!(task.finished_at.unwrap() >= task.created_at);
    assert!(matches!(history.task(Some("stranger"), first).await, Err(Error::NotFound { .. })));
    assert!(matches!(kept(TaskId::at(task.created_at, 1)).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.session(None, ended.id.clone()).await, Err(Error::SessionNotFound { .. })));
    let session = history.session(None, ended.id.clone()).await.unwrap();
    // A sign of life just before the end may be a heartbeat, which is no event.
    assert_eq!(SessionView { last_activity_at: ended.last_activity_at, ..session }, ended);

    // A dead letter that is deleted stays what it was.
    store.purge(None, Which::One(dead)).await.unwrap();
    caught_up(&postgres, &*store).await;
    let task = kept(dead).await.unwrap();
    assert_eq!(
        (task.state, &*task.kind, task.last_error.as_deref()),
        (TaskState::Dead, "odd\u{fffd}", Some("no luck"))
    );

    let stats = archive.stats();
    assert_eq!((stats.writes, stats.behind, stats.failures, stats.lost), (true, 0, 0, 0));
    assert!(stats.tasks >= 19 && stats.sessions >= 7, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_away_is_told_and_caught_up_with() {
    let mut postgres = Postgres::start(true);
    let place = Place::new();
    let store = place.open(|options| options.store.finished_tasks = 5);
    let before = finish(&*store, 10).await;
    postgres.kill();
    // It begins while PostgreSQL is away.
    let archive = start(&postgres, &store);
    let history = History::new(Arc::clone(&store), Some(Arc::clone(&archive)));
    let health =
        eventually("the absence to be told", SOON, async || Some(archive.health().await).filter(|one| !one.ok)).await;
    assert!(health.detail.contains("127.0.0.1"), "{}", health.detail);
    let list = ListTasks { limit: 100, ..ListTasks::default() };
    let page = history.tasks(None, list.clone(), None).await.unwrap();
    assert_eq!((page.items.len(), page.incomplete), (5, Some(Incomplete::History)));
    let sessions = ListSessions { limit: 100, ..ListSessions::default() };
    assert_eq!(history.sessions(None, sessions.clone(), None).await.unwrap().incomplete, Some(Incomplete::History));
    let active = ListSessions { state: Some(SessionState::Active), ..sessions };
    assert_eq!(history.sessions(None, active, None).await.unwrap().incomplete, None, "those are all in the store");
    assert!(matches!(history.task(None, before[0]).await, Err(Error::HistoryAway(_))));
    let during = finish(&*store, 10).await;
    postgres.restart();
    caught_up(&postgres, &*store).await;
    eventually("health to say so", SOON, async || archive.health().await.ok.then_some(())).await;
    let expected: Vec<TaskId> = before.into_iter().chain(during).rev().collect();
    let found: Vec<TaskId> = all_tasks(&history, &list).await.into_iter().map(|task| task.id).collect();
    assert_eq!(found.len(), expected.len());
    assert!(archive.stats().failures > 0 && archive.stats().lost == 0);

    // Killed in the middle, again and again: nothing is missing, nothing is there twice.
    let busy = tokio::spawn({
        let store = Arc::clone(&store);
        async move { finish(&*store, 300).await.len() }
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        postgres.kill();
        postgres.restart();
    }
    let more = busy.await.unwrap();
    caught_up(&postgres, &*store).await;
    assert_eq!(postgres.sql("SELECT count(*) FROM squall.tasks"), (expected.len() + more).to_string());
    assert_eq!(postgres.sql("SELECT count(*) FROM squall.gaps"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_ends_in_the_middle_goes_on_where_it_was() {
    let postgres = Postgres::start(false);
    let place = Place::new();
    let store = place.open(|_| {});
    let busy = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 0..60 {
                let id = format!("s{n}");
                create(&*store, &id).await;
                for _ in 0..3 {
                    publish(&*store, "k", Some(&id)).await;
                    settle(&*store, &pull(&*store).await, SettleVerb::Ack).await;
                }
                end(&*store, &id).await;
            }
        }
    });
    let mut lives = 0;
    // Twice in any case: on a quick machine the work may be over before the first life is.
    while lives < 2 || !busy.is_finished() {
        let archive = start(&postgres, &store);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..120))).await;
        archive.stop().await;
        lives += 1;
    }
    busy.await.unwrap();
    let _archive = start(&postgres, &store);
    caught_up(&postgres, &*store).await;
    assert_eq!(postgres.sql("SELECT count(*) FROM squall.tasks"), "180");
    let counts =
        "SELECT count(*), sum(published), sum(done), min(published) FROM squall.sessions WHERE state = 'failed'";
    assert_eq!(postgres.sql(counts), "60|180|180|3", "counted once each, whatever was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_archivers_one_writes_and_the_other_takes_over() {
    let postgres = Postgres::start(false);
    let place = Place::new();
    let store = place.open(|_| {});
    let one = start(&postgres, &store);
    eventually("the first to write", SOON, async || one.stats().writes.then_some(())).await;
    let other = start(&postgres, &store);
    let waits = async || Some(other.health().await).filter(|health| health.detail.contains("another gateway"));
    let health = eventually("the second to wait", SOON, waits).await;
    assert!(health.ok && !other.stats().writes, "{}", health.detail);
    finish(&*store, 20).await;
    caught_up(&postgres, &*store).await;
    assert_eq!(other.stats().tasks, 0);
    one.stop().await;
    eventually("the second to take over", SOON, async || other.stats().writes.then_some(())).await;
    finish(&*store, 20).await;
    caught_up(&postgres, &*store).await;
    assert_eq!(postgres.sql("SELECT count(*) FROM squall.tasks"), "40");
    assert_eq!(other.stats().tasks, 20);
    // Another store in the same schema is another history, and nobody waits for anybody.
    let elsewhere = Place::new();
    let another = elsewhere.open(|_| {});
    let third = start(&postgres, &another);
    finish(&*another, 1).await;
    caught_up(&postgres, &*another).await;
    assert!(third.stats().writes && other.stats().writes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_feed_has_dropped_is_told() {
    let mut postgres = Postgres::start(false);
    let place = Place::new();
    let store = place.open(|options| {
        options.feed.retention_bytes = 1;
        options.store.segment_bytes = 1 << 20;
        options.store.finished_tasks = 10;
    });
    // Sessions that begin before the archive does are still whole when they end, as long as the store remembers.
    create(&*store, "old").await;
    let archive = start(&postgres, &store);
    finish(&*store, 3).await;
    caught_up(&postgres, &*store).await;
    postgres.kill();
    let begun = *store.feed_head().borrow();
    // Until retention has taken what the archive has not seen.
    eventually("the feed to drop events", 3 * SOON, async || {
        let big = TaskSpec { payload: format!("\"{}\"", "x".repeat(200_000)).into(), ..TaskSpec::default() };
        let published = store.publish(&"default".into(), vec![big; 10]).await;
        for id in published.into_iter().flatten().map(|one| one.id) {
            store.cancel(None, id).await.unwrap();
        }
        // Not `feed_oldest`, which is about the segments: the newest of the feed is in memory too, and read from there.
        store.read_feed(begun, 1).await.unwrap().gap.map(drop)
    })
    .await;
    postgres.restart();
    end(&*store, "old").await;
    caught_up(&postgres, &*store).await;
    let gap = postgres.sql("SELECT first_offset, last_offset > first_offset, reason FROM squall.gaps");
    assert_eq!(gap, format!("{}|t|retention", begun + 1));
    assert!(archive.stats().lost > 0);
    assert_eq!(postgres.sql("SELECT state, metadata->>'of' FROM squall.sessions"), "failed|old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgres_does_not_take_is_told_and_does_not_hold_up_the_rest() {
    let postgres = Postgres::start(false);
    let place = Place::new();
    let store = place.open(|_| {});
    let archive = start(&postgres, &store);
    finish(&*store, 1).await;
    caught_up(&postgres, &*store).await;
    postgres.sql("ALTER TABLE squall.tasks ADD CHECK (kind <> 'poison')");
    finish(&*store, 5).await;
    publish(&*store, "poison", None).await;
    settle(&*store, &pull(&*store).await, SettleVerb::Ack).await;
    finish(&*store, 5).await;
    caught_up(&postgres, &*store).await;
    assert_eq!(postgres.sql("SELECT count(*) FROM squall.tasks"), "11");
    assert_eq!(postgres.sql("SELECT last_offset - first_offset, reason FROM squall.gaps"), "0|refused by PostgreSQL");
    assert_eq!(archive.stats().lost, 1);
    eventually("it to be well again", SOON, async || archive.health().await.ok.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_it_keeps_goes() {
    let postgres = Postgres::start(false);
    let place = Place::new();
    let store = place.open(|options| options.store.finished_tasks = 0);
    let archive = start(&postgres, &store);
    finish(&*store, 5).await;
    create(&*store, "s").await;
    end(&*store, "s").await;
    caught_up(&postgres, &*store).await;
    archive.stop().await;
    postgres.sql("UPDATE squall.tasks SET finished_at = finished_at - interval '1 hour' WHERE id <> (SELECT max(id::text)::uuid FROM squall.tasks)");
    let keeps = config::Archive { keep_ms: 1_800_000, ..config(&postgres) };
    let _archive = Archive::start(&keeps, Arc::clone(&store)).unwrap();
    let count = "SELECT (SELECT count(*) FROM squall.tasks), (SELECT count(*) FROM squall.sessions)";
    eventually("the old ones to go", SOON, async || (postgres.sql(count) == "1|1").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_kept() {
    let postgres = Postgres::start(false);
    let place = Place::new();
    let config = config(&postgres);
    let at = squall_protocol::Time(1_795_243_200_000);
    for n in 0..3 {
        let run = runs::Run {
            id: format!("run-{n}"),
            scenario: if n == 1 { "soak".into() } else { "light".into() },
            verdict: Some("passed".into()),
            started_at: at.plus_ms(n),
            finished_at: Some(at.plus_ms(n + 5)),
            record: Some(json!({"schema": 1, "n": n}).to_string()),
        };
        // Once more is the same.
        runs::write(&config, &run).await.unwrap();
        runs::write(&config, &run).await.unwrap();
    }
    let archive = start(&postgres, &place.open(|_| {}));
    let newest = archive.runs(None, None, 2).await.unwrap();
    assert_eq!(newest.iter().map(|run| &*run.id).collect::<Vec<_>>(), ["run-2", "run-1"]);
    let rest = archive.runs(None, Some((newest[1].started_at, &newest[1].id)), 2).await.unwrap();
    assert_eq!(rest.iter().map(|run| &*run.id).collect::<Vec<_>>(), ["run-0"]);
    assert_eq!(archive.runs(Some("soak"), None, 10).await.unwrap().len(), 1);
    let one = archive.run("run-1").await.unwrap().unwrap();
    assert_eq!(one.record.as_deref(), Some(r#"{"n":1,"schema":1}"#));
    assert_eq!(archive.run("run-9").await.unwrap(), None);
    let refused =
        runs::write(&config::Archive { url: "postgres://u:s3cret@127.0.0.1:1/x".into(), ..config }, &one).await;
    let why = refused.unwrap_err();
    assert!(why.contains("127.0.0.1") && !why.contains("s3cret"), "{why}");
}
