//! What is left after the worst: kills at random moments under load, and stops in good order.
//!
//! The ledger of these tests is kept by the test, never by the gateway: what was acknowledged to a publisher, what a worker
//! was given, what was confirmed as done. Then the gateway's story must fit.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use squall_client::events::{Filter, Item, Start};
use squall_client::work::{self, Incoming};
use squall_client::{Backoff, Endpoint, Http, Options, Subscriber, Work};
use squall_protocol::{NackMode, NewTask, TaskId, TaskState};
use squall_testkit::{Seed, eventually, within};

use crate::support::*;

/// How often the gateway is killed.
const KILLS: u32 = 16;

/// What the test knows for itself.
#[derive(Default)]
struct Ledger {
    /// Answered with an id: it is on disk.
    acknowledged: HashSet<TaskId>,
    /// Publishes whose outcome nobody knows.
    unknown: u64,
    /// How often each was delivered.
    delivered: HashMap<TaskId, u32>,
    /// An ack that was answered: done for good.
    done: HashSet<TaskId>,
    /// Delivered after that.
    undead: Vec<TaskId>,
}

type Shared = Arc<Mutex<Ledger>>;

fn quick() -> Backoff {
    Backoff { first_ms: 5, longest_ms: 50, ..Backoff::default() }
}

fn hasty() -> Options {
    Options { request_timeout: Duration::from_secs(5), ..Options::default() }
}

/// Publishes in a pipeline, over connection after connection.
async fn publisher(endpoint: Endpoint, ledger: Shared, stop: Arc<AtomicBool>) {
    let payload = serde_json::value::RawValue::from_string(format!("\"{}\"", "p".repeat(200))).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut work) = Work::connect(&endpoint, &hasty()).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut n = 0_u64;
        loop {
            while work.unanswered().end - work.unanswered().start < 32 && !stop.load(Ordering::Relaxed) {
                n += 1;
                let key = (n.is_multiple_of(4)).then(|| format!("k{}", n % 32).into());
                let task =
                    NewTask { payload: Some(&payload), lane: Some("steady".into()), key, ..NewTask::new("build") };
                work.publish(&task);
            }
            if work.unanswered().is_empty() {
                return;
            }
            match work.next().await {
                Ok(Incoming::Outcome { outcome: Ok(published), .. }) => {
                    ledger.lock().unwrap().acknowledged.insert(published.id);
                }
                Ok(Incoming::Outcome { outcome: Err(error), .. }) => {
                    assert_eq!(error.code, squall_protocol::ErrorCode::Draining, "{error:?}");
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => {
                    let open = work.unanswered();
                    ledger.lock().unwrap().unknown += open.end - open.start;
                    break;
                }
            }
            // The load is steady, and the machine has other tests to run.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// Consumes over the WebSocket: acks most, fails some.
async fn consumer(endpoint: Endpoint, ledger: Shared, mut rng: fastrand::Rng) {
    let mut worker = squall_client::Worker::new(endpoint, hasty(), quick(), &["steady"], 20);
    loop {
        let event = match worker.next().await {
            Ok(event) => event,
            Err(error) => panic!("{error}"),
        };
        if let work::Event::Frame(Incoming::Deliver(delivery)) = event {
            let id = delivery.id;
            {
                let mut ledger = ledger.lock().unwrap();
                *ledger.delivered.entry(id).or_default() += 1;
                if ledger.done.contains(&id) {
                    ledger.undead.push(id);
                }
            }
            if rng.u32(0..20) == 0 {
                worker.nack(&nack(id, NackMode::Fail, "by chance"));
            } else {
                worker.ack(id);
            }
        }
    }
}

/// Consumes over HTTP, where an ack is answered: what was confirmed must never come back.
async fn puller(endpoint: Endpoint, ledger: Shared) {
    let mut http = Http::new(endpoint, hasty());
    loop {
        let Ok(leased) = http.lease("steady", 5, 200).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let tasks: Vec<_> = leased.tasks().unwrap().iter().map(|task| (task.id, task.receipt)).collect();
        for (id, receipt) in tasks {
            {
                let mut ledger = ledger.lock().unwrap();
                *ledger.delivered.entry(id).or_default() += 1;
                if ledger.done.contains(&id) {
                    ledger.undead.push(id);
                }
            }
            if http.ack(id, receipt).await.is_ok() {
                ledger.lock().unwrap().done.insert(id);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_under_load_it_keeps_every_promise() {
    let seed = Seed::new();
    let mut rng = seed.rng(0);
    let mut gateway = gateway_with("[sessions]\nmax_concurrent = 2\nmax_per_tenant = 2\n").await;
    let address = endpoint(&gateway);
    let ledger = Shared::default();
    let stop = Arc::new(AtomicBool::new(false));
    for name in ["first", "second"] {
        http(&gateway).create_session(&serde_json::from_value(json!({"id": name})).unwrap()).await.unwrap();
    }

    let publishers: Vec<_> =
        (0..2).map(|_| tokio::spawn(publisher(address.clone(), ledger.clone(), stop.clone()))).collect();
    let consumers = [
        tokio::spawn(consumer(address.clone(), ledger.clone(), seed.rng(1))),
        tokio::spawn(consumer(address.clone(), ledger.clone(), seed.rng(2))),
        tokio::spawn(puller(address.clone(), ledger.clone())),
    ];
    // The feed is followed through all of it: no offset twice, none left out, and every publish told exactly once.
    let follower = tokio::spawn({
        let (address, ledger, stop) = (address.clone(), ledger.clone(), stop.clone());
        async move {
            let mut feed = Subscriber::new(address, hasty(), quick(), Start::Beginning, Filter::default());
            let (mut last, mut told, mut quiet) = (0, HashMap::<TaskId, u32>::new(), false);
            loop {
                match tokio::time::timeout(Duration::from_millis(500), feed.next()).await {
                    Ok(Ok(Item::Event(event))) => {
                        assert_eq!(event.offset, last + 1, "the feed has a gap or a repeat");
                        last = event.offset;
                        if event.event_type == "task_published" {
                            *told.entry(event.entity_id.parse().unwrap()).or_default() += 1;
                        }
                        quiet = false;
                    }
                    Ok(Ok(Item::Gap(gap))) => panic!("{gap:?} after {last}"),
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => panic!("{error}"),
                    // Quiet for a while, after the load has ended: that was all.
                    Err(_) if quiet && stop.load(Ordering::Relaxed) => break,
                    Err(_) => quiet = true,
                }
            }
            let ledger = ledger.lock().unwrap();
            let untold = ledger.acknowledged.iter().filter(|id| told.get(id) != Some(&1)).count();
            assert_eq!(untold, 0, "acknowledged tasks that the feed does not tell exactly once");
            last
        }
    });

    let started = Instant::now();
    let mut recoveries = Vec::new();
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rng.u64(50..600))).await;
        gateway.kill().await.unwrap();
        let down = Instant::now();
        gateway.restart(true).await.unwrap_or_else(|why| panic!("after kill {kill}: {why:#}"));
        recoveries.push(down.elapsed());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    for publisher in publishers {
        within("the publishers", SOON, publisher).await.unwrap();
    }
    let mut http = http(&gateway);
    eventually("the lane to be quiet", Duration::from_secs(60), async || {
        let lane = http.lane("steady").await.ok()?;
        (lane.ready.high + lane.ready.normal + lane.ready.low + lane.delayed + lane.leased == 0).then_some(())
    })
    .await;
    let events = within("the feed", Duration::from_secs(60), follower).await.unwrap();
    for consumer in consumers {
        assert!(!consumer.is_finished(), "a consumer gave up");
        consumer.abort();
    }

    // The slots are as they were.
    let error = http.create_session(&Default::default()).await.unwrap_err();
    assert_eq!(error.code(), Some(squall_protocol::ErrorCode::SessionLimit));

    let ledger = ledger.lock().unwrap();
    let lost: Vec<_> = ledger.acknowledged.iter().filter(|id| !ledger.delivered.contains_key(id)).collect();
    let recovered = ledger.delivered.keys().filter(|id| !ledger.acknowledged.contains(id)).count() as u64;
    recoveries.sort_unstable();
    println!(
        "{KILLS} kills in {:?}: {} acknowledged, {} unknown of which {recovered} came, {} deliveries, {events} events, \
         restart p50 {:?} max {:?}",
        started.elapsed(),
        ledger.acknowledged.len(),
        ledger.unknown,
        ledger.delivered.values().sum::<u32>(),
        recoveries[recoveries.len() / 2],
        recoveries[recoveries.len() - 1],
    );
    assert!(ledger.acknowledged.len() > 1_000, "that was no load: {}", ledger.acknowledged.len());
    assert!(lost.is_empty(), "acknowledged and never delivered: {lost:?}");
    assert!(recovered <= ledger.unknown, "{recovered} tasks came that nobody published");
    assert!(ledger.undead.is_empty(), "confirmed as done and delivered again: {:?}", ledger.undead);
    assert!(ledger.done.len() > 50, "the puller did not get its share: {}", ledger.done.len());
}

#[tokio::test]
async fn retries_and_dead_letters_survive_a_kill() {
    let mut gateway = gateway().await;
    let mut http = http(&gateway);
    let waiting =
        publish(&mut http, json!({"kind": "waits", "retry": {"max": 3, "delay_ms": 6_000, "jitter": 0.0}})).await;
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    let got = worker.take().await;
    worker.nack(&got, NackMode::Fail, "first try").await;
    let dead = publish(&mut http, json!({"kind": "dies"})).await;
    let got = worker.take().await;
    worker.nack(&got, NackMode::Fatal, "for good").await;
    state_of(&mut http, waiting, TaskState::Delayed).await;
    state_of(&mut http, dead, TaskState::Dead).await;
    let due = http.task(waiting).await.unwrap().due_at;

    gateway.kill().await.unwrap();
    gateway.restart(true).await.unwrap();

    let view = http.task(waiting).await.unwrap();
    assert_eq!((view.state, view.attempts, view.due_at), (TaskState::Delayed, 1, due));
    assert_eq!(view.last_error.as_deref(), Some("first try"));
    let letter = http.dead_letter(dead).await.unwrap();
    assert_eq!((letter.detail.as_str(), letter.failures.len()), ("for good", 1));
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    let got = worker.finish().await;
    assert_eq!((got.id, got.attempt), (waiting, 2));
}

#[tokio::test]
async fn a_lease_that_was_held_by_a_connection_returns_after_a_kill_and_one_held_by_receipt_stays() {
    let mut gateway = gateway().await;
    let mut http = http(&gateway);
    let connected = publish(&mut http, json!({"lane": "steady", "kind": "build"})).await;
    let mut worker = Worker::new(&gateway, &["steady"], 1).await;
    worker.take().await;
    let pulled = publish(&mut http, json!({"lane": "plain", "kind": "build"})).await;
    let leased = http.lease("plain", 1, 5_000).await.unwrap();
    let receipt = leased.tasks().unwrap()[0].receipt;

    gateway.kill().await.unwrap();
    gateway.restart(true).await.unwrap();

    // The receipt is still good: its holder may not even have noticed.
    assert_eq!(http.task(pulled).await.unwrap().state, TaskState::Leased);
    http.ack(pulled, receipt).await.unwrap();
    let mut worker = Worker::new(&gateway, &["steady"], 1).await;
    let got = worker.finish().await;
    assert_eq!((got.id, got.attempt), (connected, 2));
}

#[tokio::test]
async fn asked_to_stop_it_returns_leases_says_goodbye_and_exits_with_zero() {
    let mut gateway = gateway().await;
    let mut client = http(&gateway);
    let id = publish(&mut client, json!({"lane": "plain", "kind": "build"})).await;
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    worker.take().await;
    let mut subscriber =
        Subscriber::new(endpoint(&gateway), Options::default(), quick(), Start::Now, Filter::default());
    assert!(matches!(subscriber.next().await.unwrap(), Item::Connected { .. }));
    // A long poll is under way, too.
    let address = endpoint(&gateway);
    let poll = tokio::spawn(async move { Http::new(address, Options::default()).lease("narrow", 1, 20_000).await });
    eventually("the poll to wait", SOON, async || {
        let lane = client.lane("narrow").await.ok()?;
        (lane.credit > 0).then_some(())
    })
    .await;

    // Both read on, as a living client does.
    let worker = tokio::spawn(async move {
        loop {
            if let Err(error) = worker.work.next().await {
                return error;
            }
        }
    });
    let subscriber = tokio::spawn(async move {
        loop {
            match subscriber.next().await.unwrap() {
                Item::Lost { why, .. } => return why,
                Item::Event(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });

    let start = Instant::now();
    let status = gateway.terminate(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0), "after {:?}", start.elapsed());
    // Nobody has to be waited for: not the poll, which would have gone on for 20 s, and nothing up to the deadline of 10 s.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}: {}", start.elapsed(), gateway.log());
    for goodbye in [worker, subscriber] {
        let error = within("goodbye", SOON, goodbye).await.unwrap();
        assert_eq!(error.close_code(), Some(1001), "{error:?}");
    }
    // The poll was answered, with nothing or with "draining", not cut off.
    match within("the poll", SOON, poll).await.unwrap() {
        Ok(leased) => assert!(leased.tasks().unwrap().is_empty()),
        Err(error) => assert_eq!(error.code(), Some(squall_protocol::ErrorCode::Draining), "{error:?}"),
    }

    gateway.restart(true).await.unwrap();
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    let got = worker.finish().await;
    assert_eq!((got.id, got.attempt), (id, 1), "a drain returns a lease without counting an attempt");
}

#[tokio::test]
async fn stopped_under_load_it_keeps_every_promise_and_its_deadline() {
    let seed = Seed::new();
    let mut gateway = gateway().await;
    let address = endpoint(&gateway);
    let ledger = Shared::default();
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn(publisher(address.clone(), ledger.clone(), stop.clone()));
    let consumer = tokio::spawn(consumer(address, ledger.clone(), seed.rng(0)));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let status = gateway.terminate(Duration::from_secs(12)).await.unwrap();
        assert_eq!(status.code(), Some(0));
        gateway.restart(true).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    within("the publisher", SOON, publisher).await.unwrap();
    let mut http = http(&gateway);
    eventually("every acknowledged task to be delivered", Duration::from_secs(30), async || {
        let missing = {
            let ledger = ledger.lock().unwrap();
            ledger.acknowledged.iter().filter(|id| !ledger.delivered.contains_key(id)).count()
        };
        let lane = http.lane("steady").await.ok()?;
        (missing == 0 && lane.leased == 0).then_some(())
    })
    .await;
    assert!(!consumer.is_finished());
    consumer.abort();
}
