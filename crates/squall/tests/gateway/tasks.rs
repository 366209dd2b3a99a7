//! A task's life: published, delivered, settled, tried again, given up, sent back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use squall_client::http::NDJSON;
use squall_protocol::dead_letter::ReplayRequest;
use squall_protocol::task::{NackRequest, PublishResult, PublishResults};
use squall_protocol::{DeadLetterFilter, DeadReason, ErrorCode, NackMode, Priority, TaskState};
use squall_testkit::{eventually, within};

use crate::support::*;

#[tokio::test]
async fn a_task_is_delivered_as_published_and_done_when_acknowledged() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let session = http.create_session(&Default::default()).await.unwrap().id;
    let payload = json!({"a": [1, 2.5, null], "ü": "\u{1F600}\n", "nested": {"deep": {"er": true}}});
    let id = publish(
        &mut http,
        json!({"lane": "plain", "kind": "build", "priority": "high", "payload": payload, "key": "k", "session": session}),
    )
    .await;

    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    let got = worker.take().await;
    assert_eq!((got.id, got.attempt, got.priority), (id, 1, Priority::High));
    assert_eq!((got.lane.as_str(), got.kind.as_str(), got.key.as_deref()), ("plain", "build", Some("k")));
    assert_eq!((got.session, got.payload), (Some(session.clone()), payload));
    assert_eq!(http.task(id).await.unwrap().state, TaskState::Leased);

    worker.work.ack(id);
    worker.work.flush().await.unwrap();
    state_of(&mut http, id, TaskState::Done).await;
    let report = http.session_report(&session).await.unwrap();
    assert_eq!((report.session.tasks.published, report.session.tasks.done, report.tasks_open), (1, 1, 0));
}

#[tokio::test]
async fn a_task_is_leased_over_http_and_settled_with_its_receipt() {
    let gateway = gateway().await;
    let mut publisher = http(&gateway);
    let mut puller = http(&gateway);

    let empty = puller.lease("plain", 5, 0).await.unwrap();
    assert!(empty.tasks().unwrap().is_empty());

    // A long poll is answered when something comes, not when its time is up.
    let start = Instant::now();
    let (leased, id) = tokio::join!(puller.lease("plain", 5, 20_000), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        publish(&mut publisher, json!({"kind": "build", "payload": 7})).await
    });
    assert!(start.elapsed() < SOON);
    let leased = leased.unwrap();
    let tasks = leased.tasks().unwrap();
    let [task] = tasks.as_slice() else { panic!("{tasks:?}") };
    assert_eq!((task.id, task.attempt, task.payload.get()), (id, 1, "7"));

    let extended = puller.extend(id, task.receipt, 600_000).await.unwrap();
    assert!(extended.lease_expires_at > task.lease_expires_at);
    puller.ack(id, task.receipt).await.unwrap();
    assert_eq!(puller.ack(id, task.receipt).await.unwrap_err().code(), Some(ErrorCode::NotHeld));
    assert_eq!(publisher.task(id).await.unwrap().state, TaskState::Done);

    let id = publish(&mut publisher, json!({"kind": "build"})).await;
    let leased = puller.lease("plain", 1, 5_000).await.unwrap();
    let receipt = leased.tasks().unwrap()[0].receipt;
    let fatal = NackRequest {
        receipt,
        mode: NackMode::Fatal,
        delay_ms: None,
        reason: Some("never".into()),
        pause_lane_ms: None,
    };
    puller.nack(id, &fatal).await.unwrap();
    assert_eq!(publisher.dead_letter(id).await.unwrap().detail, "never");
}

#[tokio::test]
async fn a_task_that_fails_is_tried_again_later_and_later_and_then_given_up_with_its_history() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let id = publish(&mut http, json!({"lane": "plain", "kind": "build", "payload": {"n": 1}})).await;
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;

    let mut failed_at = Instant::now();
    for attempt in 1..=3 {
        let got = worker.take().await;
        assert_eq!((got.id, got.attempt), (id, attempt));
        if attempt > 1 {
            // 50 × 2^(n-1); the clock of the gateway counts whole milliseconds.
            let least = Duration::from_millis(50 * 2_u64.pow(attempt - 2) - 2);
            assert!(got.at - failed_at >= least, "attempt {attempt} after {:?}", got.at - failed_at);
        }
        failed_at = Instant::now();
        worker.nack(&got, NackMode::Fail, &format!("no. {attempt}")).await;
    }
    state_of(&mut http, id, TaskState::Dead).await;
    worker.idle(300).await;

    let letter = http.dead_letter(id).await.unwrap();
    assert_eq!((letter.reason, letter.attempts), (DeadReason::RetriesExhausted, 3));
    assert_eq!((letter.lane.as_str(), letter.kind.as_str(), letter.detail.as_str()), ("plain", "build", "no. 3"));
    assert_eq!(letter.payload.unwrap().get(), r#"{"n":1}"#);
    let history: Vec<_> = letter.failures.iter().map(|failure| (failure.attempt, failure.reason.as_str())).collect();
    assert_eq!(history, [(1, "no. 1"), (2, "no. 2"), (3, "no. 3")]);
    assert!(letter.failures.is_sorted_by_key(|failure| failure.at));
    assert!(letter.dead_at >= letter.failures[2].at && letter.dead_at > letter.created_at);
}

#[tokio::test]
async fn a_task_may_say_how_often_it_is_tried() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let id = publish(&mut http, json!({"kind": "once", "retry": {"max": 0}})).await;
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    let got = worker.take().await;
    worker.nack(&got, NackMode::Fail, "enough").await;
    state_of(&mut http, id, TaskState::Dead).await;
}

#[tokio::test]
async fn a_release_does_not_count_and_a_fatal_nack_ends_it() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let id = publish(&mut http, json!({"kind": "build"})).await;
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    for _ in 0..5 {
        let got = worker.take().await;
        assert_eq!(got.attempt, 1, "a released task was not tried");
        worker.nack(&got, NackMode::Release, "not mine").await;
    }
    let got = worker.take().await;
    worker.nack(&got, NackMode::Fatal, "will never work").await;
    state_of(&mut http, id, TaskState::Dead).await;
    let letter = http.dead_letter(id).await.unwrap();
    assert_eq!((letter.reason, letter.attempts), (DeadReason::Fatal, 1));
}

#[tokio::test]
async fn a_lease_that_expires_is_a_failed_attempt_and_an_extended_one_is_not() {
    let lane = "[lanes.leased]\nlease_ms = 2000\nretry = { max = 2, delay_ms = 10, jitter = 0.0 }\n";
    let gateway = gateway_with(lane).await;
    let mut http = http(&gateway);
    let id = publish(&mut http, json!({"lane": "leased", "kind": "build"})).await;
    // Nothing is leased before there is a worker, and when that hears of it does not matter.
    let start = Instant::now();
    let mut worker = Worker::new(&gateway, &["leased"], 2).await;
    assert_eq!(worker.take().await.attempt, 1);
    let second = worker.take().await;
    assert_eq!((second.id, second.attempt), (id, 2));
    assert!(second.at - start >= Duration::from_millis(1_995), "{:?}", second.at - start);

    // Beyond the end of the lease as it was.
    worker.work.extend(id, 60_000);
    worker.work.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    worker.work.ack(id);
    worker.work.flush().await.unwrap();
    state_of(&mut http, id, TaskState::Done).await;
    assert_eq!(http.task(id).await.unwrap().attempts, 2);
}

#[tokio::test]
async fn a_worker_that_drops_gives_its_tasks_to_the_next_at_once() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let mut first = Worker::new(&gateway, &["steady"], 10).await;
    for n in 0..3 {
        publish(&mut http, json!({"lane": "steady", "kind": "build", "payload": n})).await;
        first.take().await;
    }
    let mut second = Worker::new(&gateway, &["steady"], 10).await;
    second.idle(100).await;
    drop(first);
    for _ in 0..3 {
        let got = second.finish().await;
        assert_eq!(got.attempt, 2);
        assert_eq!(http.task(got.id).await.unwrap().last_error.as_deref(), Some("worker gone"));
    }
}

#[tokio::test]
async fn nothing_is_delivered_without_credit() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let mut worker = Worker::new(&gateway, &["plain"], 0).await;
    for n in 0..4 {
        publish(&mut http, json!({"kind": "build", "payload": n})).await;
    }
    worker.idle(100).await;
    for credit in [1, 2] {
        worker.work.credit(credit);
        for _ in 0..credit {
            worker.take().await;
        }
        worker.idle(50).await;
    }
}

#[tokio::test]
async fn no_more_than_its_concurrency_is_out_at_a_time() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let mut workers = [Worker::new(&gateway, &["narrow"], 10).await, Worker::new(&gateway, &["narrow"], 10).await];
    for n in 0..3 {
        publish(&mut http, json!({"lane": "narrow", "kind": "build", "payload": n})).await;
    }
    let view =
        eventually("two to be leased", SOON, async || http.lane("narrow").await.ok().filter(|lane| lane.leased == 2))
            .await;
    assert_eq!((view.ready.normal, view.concurrency), (1, 2));
    // Over HTTP the limit is the same.
    assert!(http.lease("narrow", 5, 50).await.unwrap().tasks().unwrap().is_empty());
    let mut done = 0;
    while done < 3 {
        for worker in &mut workers {
            if let Ok(Ok(squall_client::work::Incoming::Deliver(delivery))) =
                tokio::time::timeout(Duration::from_millis(20), worker.work.next()).await
            {
                let got = Got::from(delivery);
                assert!(http.lane("narrow").await.unwrap().leased <= 2);
                worker.ack(&got).await;
                done += 1;
            }
        }
    }
}

#[tokio::test]
async fn a_lane_with_a_rate_keeps_it() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    for n in 0..7 {
        publish(&mut http, json!({"lane": "slow", "kind": "build", "payload": n})).await;
    }
    let start = Instant::now();
    let mut worker = Worker::new(&gateway, &["slow"], 10).await;
    for _ in 0..6 {
        worker.finish().await;
    }
    let last = worker.finish().await.at;
    // One at once, and six further tasks at 20 a second.
    assert!(last - start >= Duration::from_millis(290), "{:?}", last - start);
}

#[tokio::test]
async fn a_full_lane_refuses_and_says_when_to_come_back() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    for _ in 0..3 {
        publish(&mut http, json!({"lane": "narrow", "kind": "build"})).await;
    }
    let answer = send(&mut http, Method::POST, "/v1/tasks", &json!({"lane": "narrow", "kind": "build"})).await;
    let (status, error) = refused(&answer);
    assert_eq!((status, error.code), (429, ErrorCode::LaneFull));
    assert!(error.retry_after_ms.unwrap() > 0);
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds >= 1);
    // The other lanes go on, and so does this one when there is room.
    publish(&mut http, json!({"lane": "plain", "kind": "build"})).await;
    let mut worker = Worker::new(&gateway, &["narrow"], 1).await;
    worker.finish().await;
    publish(&mut http, json!({"lane": "narrow", "kind": "build"})).await;
}

#[tokio::test]
async fn a_lane_that_is_not_known_falls_to_the_default_or_is_refused() {
    let gateway = gateway().await;
    let id = publish(&mut http(&gateway), json!({"lane": "gtp4", "kind": "build"})).await;
    assert_eq!(http(&gateway).task(id).await.unwrap().lane, "plain");

    let strict = setup().config("[lanes.gpt4]\n").start().await.unwrap();
    let error = try_publish(&mut http(&strict), json!({"lane": "gtp4", "kind": "build"})).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownLane));
    assert!(error.to_string().contains("gtp4"), "{error}");
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_task_also_after_a_restart() {
    let mut gateway = gateway().await;
    let mut client = http(&gateway);
    let task = json!({"kind": "build", "idempotency_key": "once"});
    let first = try_publish(&mut client, task.clone()).await.unwrap();
    assert!(!first.duplicate);
    let again = try_publish(&mut client, task.clone()).await.unwrap();
    assert_eq!((again.id, again.duplicate), (first.id, true));

    // The header says the same.
    let headers = [
        (http::header::CONTENT_TYPE, squall_client::http::JSON),
        (http::HeaderName::from_static("idempotency-key"), http::HeaderValue::from_static("once")),
    ];
    let body = Bytes::from_static(br#"{"kind":"build"}"#);
    let answer = client.request(Method::POST, "/v1/tasks", &headers, body).await.unwrap();
    assert_eq!(answer.json::<squall_protocol::task::Published>().unwrap().id, first.id);

    gateway.kill().await.unwrap();
    gateway.restart(true).await.unwrap();
    let after = try_publish(&mut client, task).await.unwrap();
    assert_eq!((after.id, after.duplicate), (first.id, true));

    let mut worker = Worker::new(&gateway, &["plain"], 10).await;
    worker.finish().await;
    worker.idle(100).await;
}

#[tokio::test]
async fn a_delayed_task_waits_and_one_past_its_deadline_is_given_up() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let mut worker = Worker::new(&gateway, &["plain"], 10).await;
    let start = Instant::now();
    let id = publish(&mut http, json!({"kind": "build", "delay_ms": 300})).await;
    let view = http.task(id).await.unwrap();
    assert_eq!(view.state, TaskState::Delayed);
    assert!(view.due_at.unwrap() > view.created_at);
    let got = worker.finish().await;
    assert!(got.at - start >= Duration::from_millis(298), "{:?}", got.at - start);

    let late = publish(&mut http, json!({"lane": "narrow", "kind": "build", "deadline_ms": 100})).await;
    state_of(&mut http, late, TaskState::Dead).await;
    assert_eq!(http.dead_letter(late).await.unwrap().reason, DeadReason::DeadlineExceeded);
}

#[tokio::test]
async fn urgent_tasks_go_first_and_the_others_do_not_starve() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    for (n, priority) in ["low", "normal", "high", "low", "normal", "high"].iter().enumerate() {
        publish(&mut http, json!({"kind": "build", "priority": priority, "payload": n})).await;
    }
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(worker.finish().await.payload.as_u64().unwrap());
    }
    assert_eq!(order, [2, 5, 1, 4, 0, 3]);

    // After twice the aging time a low task goes before a high one that is younger.
    publish(&mut http, json!({"lane": "aging", "kind": "old", "priority": "low"})).await;
    tokio::time::sleep(Duration::from_millis(450)).await;
    for _ in 0..3 {
        publish(&mut http, json!({"lane": "aging", "kind": "young", "priority": "high"})).await;
    }
    let mut worker = Worker::new(&gateway, &["aging"], 1).await;
    assert_eq!(worker.finish().await.kind, "old");
    assert_eq!(worker.finish().await.kind, "young");
}

#[tokio::test]
async fn tasks_of_one_key_stay_in_order_through_their_retries() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    for n in 0..4 {
        publish(&mut http, json!({"lane": "steady", "kind": "build", "key": "a", "payload": n})).await;
    }
    publish(&mut http, json!({"lane": "steady", "kind": "other", "key": "b"})).await;
    let mut worker = Worker::new(&gateway, &["steady"], 10).await;
    let (mut order, mut other, mut failures) = (Vec::new(), 0, 0);
    while order.len() < 4 || other == 0 {
        let got = worker.take().await;
        if got.kind == "other" {
            other += 1;
            worker.ack(&got).await;
        } else if got.payload == json!(1) && failures < 3 {
            failures += 1;
            worker.nack(&got, NackMode::Fail, "not yet").await;
        } else {
            order.push(got.payload.as_u64().unwrap());
            worker.ack(&got).await;
        }
    }
    assert_eq!(order, [0, 1, 2, 3]);
    assert_eq!((failures, other), (3, 1));
}

#[tokio::test]
async fn a_paused_lane_delivers_nothing_until_it_is_resumed_or_its_time_is_up() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let mut worker = Worker::new(&gateway, &["plain"], 10).await;

    assert!(http.pause_lane("plain", None).await.unwrap().paused);
    publish(&mut http, json!({"kind": "build"})).await;
    worker.idle(150).await;
    assert!(!http.resume_lane("plain").await.unwrap().paused);
    worker.finish().await;

    let start = Instant::now();
    assert!(http.pause_lane("plain", Some(250)).await.unwrap().paused_until.is_some());
    publish(&mut http, json!({"kind": "build"})).await;
    let got = worker.take().await;
    assert!(got.at - start >= Duration::from_millis(248), "{:?}", got.at - start);

    // An upstream's Retry-After, handed on by a worker: the whole lane waits.
    let mut nack = nack(got.id, NackMode::Release, "429 from upstream");
    nack.pause_lane_ms = Some(250);
    worker.work.nack(&nack);
    worker.work.flush().await.unwrap();
    let start = Instant::now();
    eventually("the lane to be paused", SOON, async || {
        http.lane("plain").await.ok().filter(|lane| lane.paused).map(drop)
    })
    .await;
    let got = worker.finish().await;
    assert!(got.at - start >= Duration::from_millis(200), "{:?}", got.at - start);
}

#[tokio::test]
async fn the_tasks_of_a_session_go_to_the_worker_that_has_it_and_in_order() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let session = http.create_session(&Default::default()).await.unwrap().id;
    let task = |n: u32| json!({"lane": "sticky", "kind": "turn", "session": session, "payload": n});
    publish(&mut http, task(0)).await;
    let mut first = Worker::new(&gateway, &["sticky"], 5).await;
    let zero = first.take().await;
    let mut second = Worker::new(&gateway, &["sticky"], 5).await;
    for n in 1..5 {
        publish(&mut http, task(n)).await;
    }
    // One at a time: the next only when the last is settled, and never to the other worker.
    second.idle(100).await;
    first.ack(&zero).await;
    for n in 1..4 {
        let got = first.take().await;
        assert_eq!(got.payload, json!(n));
        second.idle(20).await;
        first.ack(&got).await;
    }
    assert_eq!(first.take().await.payload, json!(4));
    drop(first);
    let got = second.finish().await;
    assert_eq!((got.payload, got.attempt), (json!(4), 2), "the session moves when its worker is gone");
}

#[tokio::test]
async fn a_batch_is_answered_task_by_task_in_the_order_sent() {
    let gateway = gateway().await;
    let mut client = http(&gateway);
    let good = json!({"kind": "build", "payload": 1});
    let bad = json!({"kind": "", "payload": 2});
    let array = json!([good, bad, good]).to_string();
    let lines = format!("{good}\n{bad}\n\n{good}\n");
    for (content_type, body) in [(squall_client::http::JSON, array), (NDJSON, lines)] {
        let headers = [(http::header::CONTENT_TYPE, content_type.clone())];
        let answer = client.request(Method::POST, "/v1/tasks", &headers, body.into()).await.unwrap();
        assert_eq!(answer.status, 202, "{content_type:?}");
        let results: PublishResults = answer.json().unwrap();
        match results.results.as_slice() {
            [PublishResult::Published(first), PublishResult::Refused(second), PublishResult::Published(third)] => {
                assert!(first.id != third.id);
                assert_eq!(second.error.code, ErrorCode::InvalidRequest);
                assert!(second.error.message.contains("kind"), "{}", second.error.message);
            }
            other => panic!("{content_type:?}: {other:?}"),
        }
    }
    assert_eq!(client.lane("plain").await.unwrap().ready.normal, 4);
}

#[tokio::test]
async fn a_task_is_withdrawn_only_while_nobody_has_it() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let id = publish(&mut http, json!({"kind": "build"})).await;
    http.cancel(id).await.unwrap();
    assert_eq!(http.task(id).await.unwrap().state, TaskState::Cancelled);
    assert_eq!(http.cancel(id).await.unwrap_err().code(), Some(ErrorCode::NotCancellable));

    let id = publish(&mut http, json!({"kind": "build"})).await;
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    assert_eq!(worker.take().await.id, id, "the withdrawn one is not delivered");
    assert_eq!(http.cancel(id).await.unwrap_err().code(), Some(ErrorCode::NotCancellable));
}

/// Publishes tasks of a kind and has them given up.
async fn dead(gateway: &squall_testkit::Squall, kind: &str, count: usize) -> Vec<squall_protocol::TaskId> {
    let mut http = http(gateway);
    let mut worker = Worker::new(gateway, &["plain"], 1).await;
    let mut ids = Vec::new();
    for n in 0..count {
        let id = publish(&mut http, json!({"kind": kind, "payload": n})).await;
        let got = worker.take().await;
        worker.nack(&got, NackMode::Fatal, "broken").await;
        state_of(&mut http, id, TaskState::Dead).await;
        ids.push(id);
    }
    worker.work.close().await.unwrap();
    ids
}

#[tokio::test]
async fn dead_letters_are_listed_inspected_and_purged() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let red = dead(&gateway, "red", 3).await;
    let blue = dead(&gateway, "blue", 2).await;

    let (mut listed, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = http.dead_letters(&DeadLetterFilter::default(), cursor.as_deref(), 2, false).await.unwrap();
        assert!(page.items.len() <= 2 && page.items.iter().all(|letter| letter.payload.is_none()));
        listed.extend(page.items.iter().map(|letter| letter.id));
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, [red.as_slice(), blue.as_slice()].concat(), "oldest first, each once");
    assert!(pages >= 3);
    let only_blue = DeadLetterFilter { kind: Some("blue".into()), ..Default::default() };
    let page = http.dead_letters(&only_blue, None, 10, true).await.unwrap();
    assert_eq!(page.items.iter().map(|letter| letter.id).collect::<Vec<_>>(), blue);
    assert!(page.items.iter().all(|letter| letter.payload.is_some()));

    http.purge(red[0]).await.unwrap();
    assert_eq!(http.dead_letter(red[0]).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    assert_eq!(http.purge(red[0]).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    let handled = http.purge_all(&only_blue).await.unwrap();
    assert_eq!((handled.matched, handled.done, handled.refused), (2, 2, 0));
    let left = http.dead_letters(&DeadLetterFilter::default(), None, 10, false).await.unwrap();
    assert_eq!(left.items.iter().map(|letter| letter.id).collect::<Vec<_>>(), red[1..]);
}

#[tokio::test]
async fn a_dead_letter_is_replayed_with_all_its_attempts_so_often_and_no_more() {
    let gateway = gateway_with("[store]\nmax_replays = 2\n").await;
    let mut http = http(&gateway);
    let id = dead(&gateway, "red", 1).await[0];
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    for replays in 1..=2 {
        let handled = http.replay(id).await.unwrap();
        assert_eq!((handled.matched, handled.done), (1, 1));
        let got = worker.take().await;
        assert_eq!((got.id, got.attempt), (id, 1), "its attempts begin anew");
        worker.nack(&got, NackMode::Fatal, "still broken").await;
        state_of(&mut http, id, TaskState::Dead).await;
        let letter = http.dead_letter(id).await.unwrap();
        assert_eq!(letter.replays.len(), replays);
        assert!(letter.replays.iter().all(|replay| replay.by == "anonymous" && replay.at > letter.created_at));
    }
    let error = http.replay(id).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ReplayLimit));
    let handled = http.replay_all(&ReplayRequest::default()).await.unwrap();
    assert_eq!((handled.matched, handled.done, handled.refused), (1, 0, 1));
    assert_eq!(http.dead_letter(id).await.unwrap().replays.len(), 2);
}

#[tokio::test]
async fn dead_letters_are_replayed_by_filter_and_at_a_rate() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    dead(&gateway, "red", 4).await;
    let blue = dead(&gateway, "blue", 1).await;
    let request = ReplayRequest {
        filter: DeadLetterFilter { kind: Some("red".into()), ..Default::default() },
        rate_per_s: Some(10.0),
        limit: Some(3),
    };
    let start = Instant::now();
    let handled = http.replay_all(&request).await.unwrap();
    assert_eq!(handled.done, 3);
    let mut worker = Worker::new(&gateway, &["plain"], 10).await;
    let mut last = start;
    for _ in 0..3 {
        let got = worker.finish().await;
        assert_eq!(got.kind, "red");
        last = got.at;
    }
    assert!(last - start >= Duration::from_millis(195), "three at ten a second: {:?}", last - start);
    worker.idle(100).await;
    assert_eq!(http.dead_letter(blue[0]).await.unwrap().replays.len(), 0);
    assert_eq!(http.lane("plain").await.unwrap().dead_letters, 2);
}

#[tokio::test]
async fn a_pipelined_producer_is_answered_in_order_on_one_connection_with_its_deliveries() {
    let gateway = gateway().await;
    let mut both = Worker::new(&gateway, &["plain"], 1_000).await;
    let mut expected = Vec::new();
    for n in 0..500 {
        let text = match n % 10 {
            3 => r#"{"kind":""}"#.to_owned(),
            _ => format!(r#"{{"kind":"build","payload":{n}}}"#),
        };
        expected.push(n % 10 != 3);
        assert_eq!(both.work.publish_json(&text), n);
    }
    let (mut outcomes, mut delivered) = (Vec::new(), std::collections::BTreeMap::new());
    within("all outcomes and deliveries", SOON, async {
        while outcomes.len() < 500 || delivered.len() < 450 {
            match both.work.next().await.unwrap() {
                squall_client::work::Incoming::Outcome { sequence, outcome } => {
                    assert_eq!(sequence, outcomes.len() as u64);
                    outcomes.push(outcome.is_ok());
                }
                squall_client::work::Incoming::Deliver(delivery) => {
                    let payload: Value = serde_json::from_str(delivery.payload.get()).unwrap();
                    *delivered.entry(payload.as_u64().unwrap()).or_insert(0) += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert_eq!(outcomes, expected);
    assert!(both.work.unanswered().is_empty());
    assert!(delivered.values().all(|&times| times == 1));
}
