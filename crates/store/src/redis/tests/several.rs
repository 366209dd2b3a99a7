//! Several gateways as one: what one does the others see, limits hold over all of them, and nothing is lost when one, or Redis
//! itself, goes away.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use squall_protocol::{ConnectionId, NewSession, SessionId, SessionState, TaskId, TaskState, Time};
use squall_testkit::{Redis, eventually};

use crate::config::{Affinity, Lane, Options, RetryPolicy};
use crate::redis::{RedisStore, open};
use crate::{Delivery, Error, Holder, SettleVerb, Settlement, Store, TaskSpec, Worker, WorkerSpec};

const LIMIT: Duration = Duration::from_secs(20);

fn options(redis: &Redis, lane: Lane) -> Options {
    let mut options = Options { lanes: [("a".to_owned(), lane)].into(), ..Options::default() };
    options.store.url = redis.url();
    options
}

async fn gateways(redis: &Redis, lane: Lane) -> [RedisStore; 2] {
    let options = options(redis, lane);
    [open(options.clone()).await.unwrap(), open(options).await.unwrap()]
}

fn spec() -> TaskSpec {
    TaskSpec { lane: Some("a".into()), kind: "test".into(), payload: "1".into(), ..TaskSpec::default() }
}

async fn publish(store: &RedisStore, spec: TaskSpec) -> TaskId {
    store.publish(&"t".into(), vec![spec]).await.remove(0).unwrap().id
}

async fn worker(store: &RedisStore, number: u128, credit: u32) -> Worker {
    let id = ConnectionId::at(Time(1), number);
    let worker = store.open_worker(WorkerSpec { id, tenant: None, lanes: vec!["a".into()] }).await.unwrap();
    store.grant(id, credit);
    worker
}

async fn next(worker: &mut Worker) -> Vec<Delivery> {
    tokio::time::timeout(LIMIT, worker.deliveries.recv()).await.expect("a delivery in time").expect("the store is open")
}

async fn ack(store: &RedisStore, worker: &Worker, id: TaskId) {
    let settlement = Settlement { id, receipt: None, verb: SettleVerb::Ack };
    store.settle(None, Holder::Worker(worker.id), vec![settlement]).await.remove(0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_publishes_a_worker_of_the_other_gets() {
    let redis = Redis::start("everysec");
    let [one, other] = gateways(&redis, Lane::default()).await;
    let mut there = worker(&other, 1, 1).await;
    let mut head = other.feed_head();
    let id = publish(&one, spec()).await;
    assert_eq!(next(&mut there).await[0].task.id, id);
    ack(&other, &there, id).await;
    assert_eq!(one.task(None, id).await.unwrap().state, TaskState::Done);
    tokio::time::timeout(LIMIT, head.wait_for(|head| *head >= 3)).await.unwrap().unwrap();
    let told = |slice: crate::FeedSlice| slice.records.into_iter().map(|event| event.event_id).collect::<Vec<_>>();
    let (here, there) = (one.read_feed(0, 10).await.unwrap(), other.read_feed(0, 10).await.unwrap());
    assert_eq!(here.records.iter().map(|event| event.offset).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(told(here), told(there), "one feed, whoever reads it");
}

/// What wakes the others: that there is something in a lane, and that the feed has gone on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_alone_tells_the_others() {
    let redis = Redis::start("everysec");
    let [one, _other] = gateways(&redis, Lane::default()).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut asking = client.get_connection().unwrap();
    eventually("two gateways to be counted", LIMIT, async || {
        let peers: Option<String> = redis::cmd("GET").arg("squall:peers").query(&mut asking).unwrap();
        (peers.as_deref() == Some("2")).then_some(())
    })
    .await;
    let mut listening = client.get_connection().unwrap();
    listening.set_read_timeout(Some(LIMIT)).unwrap();
    let mut heard = listening.as_pubsub();
    heard.psubscribe("squall:wake:*").unwrap();
    // The first gives its owner a turn; those behind it are published quickly.
    for expected in ["1\na", "2\na", "3\na"] {
        publish(&one, spec()).await;
        assert_eq!(heard.get_message().unwrap().get_payload::<String>().unwrap(), expected);
    }
    one.pause_lane("a", None).await.unwrap();
    assert_eq!(heard.get_message().unwrap().get_payload::<String>().unwrap(), "4");
    publish(&one, spec()).await;
    assert_eq!(
        heard.get_message().unwrap().get_payload::<String>().unwrap(),
        "5",
        "a paused lane has nothing for anybody"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_taken_for_gone_tells_of_its_workers_again() {
    let redis = Redis::start("everysec");
    let store = open(options(&redis, Lane::default())).await.unwrap();
    let _worker = worker(&store, 1, 1).await;
    assert_eq!(store.lane("a").await.unwrap().workers, 1);
    // What others do to one that gave no sign of life for long, because its process was stopped, say.
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let gateways: Vec<String> = redis::cmd("ZRANGE").arg("squall:gateways").arg(0).arg(-1).query(&mut client).unwrap();
    redis::cmd("ZREM").arg("squall:gateways").arg(&gateways).exec(&mut client).unwrap();
    redis::cmd("DEL").arg(format!("squall:gateway:{}", gateways[0])).exec(&mut client).unwrap();
    eventually("the worker to be known again", LIMIT, async || {
        (store.lane("a").await.unwrap().workers == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_another_format_is_refused_by_name() {
    let redis = Redis::start("everysec");
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    // What the first format left: an epoch, and nothing that says which format it is.
    redis::cmd("SET").arg("squall:epoch").arg("1").exec(&mut client).unwrap();
    let Err(error) = open(options(&redis, Lane::default())).await else { panic!("it was opened") };
    assert!(error.to_string().contains("it was written in format 1, and this version knows format 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_over_all() {
    let redis = Redis::start("everysec");
    let mut options = options(&redis, Lane { concurrency: 2, ..Lane::default() });
    options.sessions.max_concurrent = 2;
    let (one, other) = (open(options.clone()).await.unwrap(), open(options).await.unwrap());
    let new = |id: &str| NewSession { id: Some(SessionId::new(id).unwrap()), ..NewSession::default() };
    one.create_session(&"t".into(), new("a")).await.unwrap();
    other.create_session(&"t".into(), new("b")).await.unwrap();
    for store in [&one, &other] {
        assert!(matches!(store.create_session(&"t".into(), new("c")).await, Err(Error::SessionLimit { limit: 2, .. })));
        assert!(matches!(store.create_session(&"t".into(), new("a")).await, Err(Error::SessionExists { .. })));
    }
    other.end_session(None, SessionId::new("a").unwrap(), squall_protocol::EndSession::default()).await.unwrap();
    one.create_session(&"t".into(), new("c")).await.unwrap();

    for _ in 0..4 {
        publish(&one, spec()).await;
    }
    let first = one.lease(None, "a", 1, 0).await.unwrap();
    let second = other.lease(None, "a", 10, 0).await.unwrap();
    assert_eq!((first.len(), second.len()), (1, 1), "two slots, wherever they are used");
    assert!(one.lease(None, "a", 1, 0).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_fires_once() {
    let redis = Redis::start("everysec");
    let [one, other] = gateways(&redis, Lane::default()).await;
    let id = SessionId::new("s").unwrap();
    let new = NewSession { id: Some(id.clone()), idle_timeout_ms: Some(100), ..NewSession::default() };
    one.create_session(&"t".into(), new).await.unwrap();
    eventually("the session times out", LIMIT, async || {
        let seen = other.session(None, id.clone()).await.unwrap();
        (seen.state == SessionState::TimedOut).then_some(())
    })
    .await;
    let slice = one.read_feed(0, 100).await.unwrap();
    assert_eq!(slice.records.iter().filter(|event| event.event_type == "session_timed_out").count(), 1);
    assert_eq!(one.stats().await.unwrap().sessions[0], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_has_one_worker_wherever_it_is_and_keys_keep_their_order() {
    let redis = Redis::start("everysec");
    let [one, other] = gateways(&redis, Lane { affinity: Affinity::Session, ..Lane::default() }).await;
    let session = SessionId::new("s").unwrap();
    let new = NewSession { id: Some(session.clone()), ..NewSession::default() };
    one.create_session(&"t".into(), new).await.unwrap();
    let mut ids = Vec::new();
    for store in [&one, &other, &one, &other] {
        ids.push(publish(store, TaskSpec { session: Some(session.clone()), ..spec() }).await);
    }
    let mut home = worker(&one, 1, 10).await;
    let mut elsewhere = None;
    for id in &ids[..2] {
        let got = next(&mut home).await;
        assert_eq!((got.len(), got[0].task.id), (1, *id));
        // Not before the first has the session: whoever comes first is its worker.
        if elsewhere.is_none() {
            elsewhere = Some(worker(&other, 2, 10).await);
        }
        ack(&one, &home, *id).await;
    }
    let mut elsewhere = elsewhere.expect("opened above");
    next(&mut home).await;
    one.close().await.unwrap();
    // The gateway of its worker is gone in good order: what is left goes elsewhere, still in order, and counts no attempt.
    for id in &ids[2..] {
        let got = next(&mut elsewhere).await;
        assert_eq!((got[0].task.id, got[0].attempt), (*id, 1));
        ack(&other, &elsewhere, *id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_of_one_session_through_two_gateways_are_all_kept() {
    let redis = Redis::start("everysec");
    let [one, other] = gateways(&redis, Lane::default()).await;
    let session = SessionId::new("s").unwrap();
    let new = NewSession { id: Some(session.clone()), ..NewSession::default() };
    one.create_session(&"t".into(), new).await.unwrap();
    let updates = (0..12).map(|number| {
        let store = if number % 2 == 0 { &one } else { &other };
        let metadata = serde_json::json!({ format!("k{number}"): number }).as_object().unwrap().clone();
        store.update_session(None, session.clone(), squall_protocol::UpdateSession { metadata })
    });
    for updated in futures_util::future::join_all(updates).await {
        updated.unwrap();
    }
    assert_eq!(one.session(None, session).await.unwrap().metadata.len(), 12);
}

/// What was acknowledged before Redis was killed is delivered after it came back; what could not be answered says so, quickly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_under_load_and_nothing_acknowledged_is_lost() {
    let mut redis = Redis::start("always");
    let retry = RetryPolicy { delay_ms: 10, max: 50, ..RetryPolicy::default() };
    let mut options = options(&redis, Lane { lease_ms: 2_000, retry, ..Lane::default() });
    options.store.timeout_ms = 1_000;
    let one = Arc::new(open(options.clone()).await.unwrap());
    let other = open(options).await.unwrap();
    let publisher = tokio::spawn({
        let one = Arc::clone(&one);
        async move {
            let (mut acknowledged, mut refused) = (Vec::new(), 0);
            let started = std::time::Instant::now();
            while acknowledged.len() < 3_000 && started.elapsed() < LIMIT {
                let begun = std::time::Instant::now();
                for answer in one.publish(&"t".into(), (0..10).map(|_| spec()).collect()).await {
                    match answer {
                        Ok(published) => acknowledged.push(published.id),
                        Err(Error::Unavailable(_)) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(begun.elapsed() < Duration::from_secs(5), "no answer takes for ever");
                if refused > 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            (acknowledged, refused)
        }
    });
    let mut worker = worker(&other, 1, 50).await;
    let mut seen: HashSet<TaskId> = HashSet::new();
    let mut killed = false;
    loop {
        let deliveries = match tokio::time::timeout(Duration::from_secs(6), worker.deliveries.recv()).await {
            Ok(deliveries) => deliveries.expect("the store is open"),
            Err(_) => break,
        };
        let settlements: Vec<Settlement> = deliveries
            .iter()
            .map(|held| Settlement { id: held.task.id, receipt: None, verb: SettleVerb::Ack })
            .collect();
        seen.extend(deliveries.iter().map(|held| held.task.id));
        let count = settlements.len() as u32;
        other.settle(None, Holder::Worker(worker.id), settlements).await;
        other.grant(worker.id, count);
        if !killed && seen.len() > 500 {
            killed = true;
            redis.kill();
            eventually("the gateway says that Redis is away", LIMIT, async || (!other.health().ok).then_some(())).await;
            redis.restart();
        }
    }
    let (acknowledged, refused) = publisher.await.unwrap();
    assert!(killed && refused > 0, "Redis was away: {refused} refused");
    let missing: Vec<&TaskId> = acknowledged.iter().filter(|id| !seen.contains(id)).collect();
    assert!(missing.is_empty(), "{} of {} acknowledged are lost: {missing:?}", missing.len(), acknowledged.len());
    assert!(one.health().ok && other.health().ok, "it recovers by itself");
    let mut by_type: BTreeMap<String, u64> = BTreeMap::new();
    let (mut after, mut expected) = (0, 1);
    loop {
        let slice = one.read_feed(after, 1_000).await.unwrap();
        let Some(last) = slice.records.last() else { break };
        after = last.offset;
        for event in slice.records {
            assert_eq!(event.offset, expected, "no offset is missing or doubled");
            expected += 1;
            *by_type.entry(event.event_type.into_owned()).or_default() += 1;
        }
    }
    assert!(by_type["task_published"] >= acknowledged.len() as u64, "{by_type:?}");
}

/// With `appendfsync everysec` a Redis may come back without its last second. What it told then must not be told again of other events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_its_last_second_gives_no_offset_twice() {
    let redis = Redis::start("everysec");
    let [one, other] = gateways(&redis, Lane::default()).await;
    for _ in 0..10 {
        publish(&one, spec()).await;
    }
    let mut head = other.feed_head();
    tokio::time::timeout(LIMIT, head.wait_for(|head| *head == 10)).await.unwrap().unwrap();
    // As if it had been killed after the fourth.
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut lost = redis::pipe();
    lost.atomic().cmd("SET").arg("squall:offset").arg(4).ignore().cmd("XDEL").arg("squall:feed");
    for offset in 5..=10 {
        lost.arg(format!("{offset}-0"));
    }
    lost.exec(&mut client).unwrap();

    let id = publish(&one, spec()).await;
    for store in [&one, &other] {
        let slice = store.read_feed(10, 10).await.unwrap();
        let event = slice.records.iter().find(|event| event.entity_id == id.to_string()).expect("it is told");
        let gap = slice.gap.expect("the loss is told");
        assert_eq!((gap.from, gap.to), (11, event.offset - 1));
        assert!(
            event.offset > 1_000_000,
            "another gateway may have told of more than this one knows: {}",
            event.offset
        );
    }
    // And from then on there is no gap.
    let last = *one.feed_head().borrow();
    publish(&other, spec()).await;
    let slice = one.read_feed(last, 10).await.unwrap();
    assert_eq!((slice.gap, slice.records[0].offset), (None, last + 1));
}

/// Offsets that were given out must not be given to other events: a store that was emptied is another one, and is begun anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_emptied_is_another_store() {
    let redis = Redis::start("everysec");
    let options = options(&redis, Lane::default());
    for wipe in [&["FLUSHALL"][..], &["DEL", "squall:epoch"]] {
        let store = open(options.clone()).await.unwrap();
        publish(&store, spec()).await;
        let head = *store.feed_head().borrow();
        let _ = redis.ask(wipe);
        let refused = store.publish(&"t".into(), vec![spec()]).await.remove(0);
        assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("restart")), "{refused:?}");
        assert_eq!(redis.ask(&["EXISTS", "squall:seq"]) == ":1", wipe.len() > 1, "nothing was written");
        eventually("it says so", LIMIT, async || store.health().detail.contains("restart").then_some(())).await;
        let (again, epoch) = (open(options.clone()).await.unwrap(), store.epoch());
        assert_ne!(again.epoch(), epoch);
        publish(&again, spec()).await;
        assert!(head >= 1 && again.health().ok);
        again.close().await.unwrap();
        let _ = redis.ask(&["FLUSHALL"]);
    }
}
