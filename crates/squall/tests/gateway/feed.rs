//! The feed: everything that changes, in order, once; replayed, followed, resumed, and honest about what it cannot give.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use squall_client::events::{Filter, Item, RawItem, Start};
use squall_client::ws::{Message, Socket};
use squall_client::{Error, Lost, Options, Work};
use squall_protocol::{Cursor, EndSession, Epoch, FeedRecord, GapReason, NackMode, NewTask, Topic};
use squall_testkit::{Seed, Squall, eventually, within};

use crate::support::*;

async fn head(gateway: &Squall) -> Cursor {
    let stats = http(gateway).stats().await.unwrap();
    Cursor { epoch: Some(stats.epoch), offset: stats.feed_offset }
}

/// Publishes so many tasks in a pipeline, and waits until all are on disk.
async fn publish_many(gateway: &Squall, count: u64, payload: &str) {
    let mut work = work(gateway).await;
    let payload = serde_json::value::RawValue::from_string(payload.to_owned()).unwrap();
    let task = NewTask { payload: Some(&payload), lane: Some("steady".into()), ..NewTask::new("build") };
    let mut queued = 0;
    while work.unanswered().start < count {
        while queued < count && work.unanswered().end - work.unanswered().start < 500 {
            work.publish(&task);
            queued += 1;
        }
        match within("an outcome", SOON, work.next()).await.unwrap() {
            squall_client::work::Incoming::Outcome { outcome, .. } => drop(outcome.unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_change_is_told_once_and_in_order() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let mut follower = subscriber(&gateway, Start::Now, Filter::default());
    assert!(matches!(follower.next().await.unwrap(), Item::Connected { .. }));

    let session = http.create_session(&Default::default()).await.unwrap().id;
    let id = publish(&mut http, json!({"kind": "build", "session": session, "retry": {"max": 1, "delay_ms": 1}})).await;
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    for _ in 0..2 {
        let got = worker.take().await;
        worker.nack(&got, NackMode::Fail, "no").await;
    }
    state_of(&mut http, id, squall_protocol::TaskState::Dead).await;
    http.replay(id).await.unwrap();
    worker.finish().await;
    state_of(&mut http, id, squall_protocol::TaskState::Done).await;
    http.pause_lane("plain", None).await.unwrap();
    http.resume_lane("plain").await.unwrap();
    http.end_session(&session, &EndSession::default()).await.unwrap();

    let expected = [
        (Topic::Sessions, "session_created"),
        (Topic::Tasks, "task_published"),
        (Topic::Tasks, "task_leased"),
        (Topic::Tasks, "task_retry_scheduled"),
        (Topic::Tasks, "task_leased"),
        (Topic::DeadLetters, "task_dead_lettered"),
        (Topic::DeadLetters, "task_replayed"),
        (Topic::Tasks, "task_leased"),
        (Topic::Tasks, "task_done"),
        (Topic::Lanes, "lane_paused"),
        (Topic::Lanes, "lane_resumed"),
        (Topic::Sessions, "session_ended"),
    ];
    let mut seen = Vec::new();
    for (nth, (topic, event_type)) in expected.iter().enumerate() {
        let event = next_event(&mut follower).await;
        assert_eq!((event.topic, event.event_type.as_ref()), (*topic, *event_type), "no. {nth}: {event:?}");
        let entity = match event.entity_type.as_ref() {
            "task" => id.to_string(),
            "session" => session.to_string(),
            "lane" => "plain".to_owned(),
            other => panic!("{other}"),
        };
        assert_eq!(event.entity_id, entity);
        assert!(serde_json::from_str::<serde_json::Value>(event.data.get()).unwrap().is_object());
        seen.push(event);
    }
    assert!(seen.windows(2).all(|pair| pair[1].offset == pair[0].offset + 1 && pair[1].time >= pair[0].time));
    let mut event_ids: Vec<_> = seen.iter().map(|event| event.event_id).collect();
    event_ids.sort_unstable();
    event_ids.dedup();
    assert_eq!(event_ids.len(), seen.len());

    // Replayed, over either surface, it is the same feed.
    let page = http.events(Some(Cursor { epoch: None, offset: 0 }), 1_000, &[], &[]).await.unwrap();
    let mut again = subscriber(&gateway, Start::Beginning, Filter::default());
    for item in &page.items {
        let event = next_event(&mut again).await;
        assert_eq!((event.offset, event.event_id), (item.offset, item.event_id));
    }
    assert_eq!(page.items.last().unwrap().event_id, seen.last().unwrap().event_id);
}

#[tokio::test]
async fn subscribers_see_what_they_asked_for() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    http.create_session(&Default::default()).await.unwrap();
    publish(&mut http, json!({"kind": "build"})).await;
    http.pause_lane("plain", None).await.unwrap();
    publish(&mut http, json!({"kind": "build"})).await;
    http.resume_lane("plain").await.unwrap();
    let cases: [(Filter, &[&str]); 4] = [
        (Filter { topics: vec![Topic::Lanes], ..Filter::default() }, &["lane_paused", "lane_resumed"]),
        (
            Filter { topics: vec![Topic::Tasks, Topic::Sessions], ..Filter::default() },
            &["session_created", "task_published", "task_published"],
        ),
        (Filter { types: vec!["lane_resumed".into()], ..Filter::default() }, &["lane_resumed"]),
        (
            Filter { topics: vec![Topic::Lanes], types: vec!["lane_paused".into(), "task_published".into()] },
            &["lane_paused"],
        ),
    ];
    for (filter, expected) in cases {
        let types: Vec<&str> = filter.types.iter().map(String::as_str).collect();
        let beginning = Some(Cursor { epoch: None, offset: 0 });
        let page = http.events(beginning, 100, &filter.topics, &types).await.unwrap();
        let paged: Vec<_> = page.items.iter().map(|event| event.event_type.to_string()).collect();
        assert_eq!(paged, expected, "{filter:?}");
        let mut subscriber = subscriber(&gateway, Start::Beginning, filter);
        for event_type in expected {
            assert_eq!(next_event(&mut subscriber).await.event_type, *event_type);
        }
    }
    let answer = get(&mut http, "/v1/events?topics=weather").await;
    let (status, error) = refused(&answer);
    assert!(status == 400 && error.message.contains("weather"), "{error:?}");
}

#[tokio::test]
async fn replay_and_live_tail_join_without_gap_or_repeat_under_load_reconnects_and_a_kill() {
    let seed = Seed::new();
    let mut rng = seed.rng(0);
    let mut gateway = gateway().await;
    publish_many(&gateway, 2_000, "0").await;

    // A publisher that goes on whatever happens to the gateway.
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let address = endpoint(&gateway);
    let publisher = tokio::spawn(async move {
        let mut published = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            let Ok(mut work) = Work::connect(&address, &Options::default()).await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    work.publish(&NewTask::new("build"));
                }
                let mut lost = false;
                while !work.unanswered().is_empty() && !lost {
                    match work.next().await {
                        Ok(_) => published += 1,
                        Err(_) => lost = true,
                    }
                }
                if lost {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        published
    });

    let mut follower = subscriber(&gateway, Start::Beginning, Filter::default());
    let (mut last, mut connects, mut epoch) = (0_u64, 0, None);
    let mut next_cut = rng.u64(1..500);
    let mut killed = false;
    while connects < 25 || !killed {
        match within("the feed to go on", SOON, follower.next()).await.unwrap() {
            Item::Connected { resumed_from } => {
                assert_eq!(resumed_from.unwrap().offset, last);
                connects += 1;
            }
            Item::Event(record) => {
                assert_eq!(record.offset, last + 1, "after {connects} connections");
                assert_eq!(*epoch.get_or_insert(record.epoch), record.epoch);
                last = record.offset;
                if last >= next_cut {
                    next_cut = last + rng.u64(1..400);
                    follower.disconnect();
                    if connects == 12 && !killed {
                        gateway.kill().await.unwrap();
                        gateway.restart(true).await.unwrap();
                        killed = true;
                    }
                }
            }
            Item::Lost { .. } => {}
            Item::Gap(gap) => panic!("{gap:?} after {last}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(within("the publisher", SOON, publisher).await.unwrap() > 0);
    let head = head(&gateway).await;
    assert_eq!(head.epoch, epoch, "a restart is not another life of the store");
    while last < head.offset {
        match within("the feed to be complete", SOON, follower.next()).await.unwrap() {
            Item::Event(record) => {
                assert_eq!(record.offset, last + 1);
                last = record.offset;
            }
            Item::Gap(gap) => panic!("{gap:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn server_sent_events_resume_after_the_last_event_id() {
    let gateway = gateway().await;
    publish_many(&gateway, 50, "0").await;
    let head = head(&gateway).await;
    let url = format!("{}/v1/events", gateway.url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (mut last_id, mut seen) = (format!("{}:0", head.epoch.unwrap()), Vec::new());
    while seen.len() < 53 {
        if seen.len() == 50 {
            publish_many(&gateway, 3, "0").await;
        }
        let request = client.get(&url).header("Accept", "text/event-stream").header("Last-Event-ID", &last_id);
        let mut answer = within("the stream", SOON, request.send()).await.unwrap();
        assert_eq!(answer.headers()["content-type"].to_str().unwrap().split(';').next(), Some("text/event-stream"));
        // Each connection is left after ten events, in the middle of whatever comes.
        let (mut text, mut taken) = (String::new(), 0);
        while taken < 10 && seen.len() < 53 && !(seen.len() == 50 && taken > 0) {
            let chunk = within("an event", SOON, answer.chunk()).await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some((event, rest)) = text.split_once("\n\n") {
                if taken < 10 {
                    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                    if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                        let record: FeedRecord = serde_json::from_str(data).unwrap();
                        assert_eq!(field("event:"), Some(record.event_type.as_ref()));
                        assert_eq!(id, format!("{}:{}", record.epoch, record.offset));
                        last_id = id.to_owned();
                        seen.push(record.offset);
                        taken += 1;
                    }
                }
                text = rest.to_owned();
            }
        }
    }
    assert_eq!(seen, (1..=53).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_place_in_another_life_of_the_store_or_ahead_of_it_is_a_gap_and_said_so() {
    let gateway = gateway().await;
    publish_many(&gateway, 5, "0").await;
    let head = head(&gateway).await;
    let elsewhere = Cursor { epoch: Some(Epoch::at(squall_protocol::Time(1), 1)), offset: 3 };
    let ahead = Cursor { epoch: head.epoch, offset: 1_000 };
    for (after, reason) in [(elsewhere, GapReason::Epoch), (ahead, GapReason::Ahead)] {
        let page = http(&gateway).events(Some(after), 100, &[], &[]).await.unwrap();
        assert_eq!(page.gap.map(|gap| gap.reason), Some(reason));
        let mut subscriber = subscriber(&gateway, Start::After(after), Filter::default());
        assert!(matches!(subscriber.next().await.unwrap(), Item::Connected { .. }));
        match within("the gap", SOON, subscriber.next()).await.unwrap() {
            Item::Gap(gap) => assert_eq!(gap.reason, reason),
            other => panic!("{other:?} before the gap"),
        }
        publish_many(&gateway, 1, "0").await;
        assert!(next_event(&mut subscriber).await.offset <= 1_000, "and then it goes on");
    }
}

#[tokio::test]
async fn what_retention_took_is_a_gap_and_the_rest_is_complete() {
    let mut gateway = gateway_with("[feed]\nretention_bytes = 1_048_576\n[store]\nsegment_bytes = 1_048_576\n").await;
    let payload = format!("\"{}\"", "x".repeat(1_000));
    // Retention runs when a segment is closed and covered by a snapshot: publish until it has.
    let oldest = eventually("the oldest events to go", Duration::from_secs(60), async || {
        publish_many(&gateway, 1_000, &payload).await;
        let stats = http(&gateway).stats().await.unwrap();
        (stats.feed_oldest > 1).then_some(stats.feed_oldest)
    })
    .await;
    // What is gone from disk may still be in memory, and is then given; after a restart it is gone for good.
    gateway.kill().await.unwrap();
    gateway.restart(true).await.unwrap();
    let head = head(&gateway).await.offset;
    let mut subscriber = subscriber(&gateway, Start::After(Cursor { epoch: None, offset: 0 }), Filter::default());
    assert!(matches!(subscriber.next().await.unwrap(), Item::Connected { .. }));
    let gap = match within("the gap", SOON, subscriber.next()).await.unwrap() {
        Item::Gap(gap) => gap,
        other => panic!("{other:?} before the gap"),
    };
    assert_eq!((gap.from, gap.reason), (1, GapReason::Retention));
    assert!(gap.to + 1 >= oldest);
    for offset in gap.to + 1..=head {
        assert_eq!(next_event(&mut subscriber).await.offset, offset);
    }
}

#[tokio::test]
async fn a_slow_subscriber_is_closed_and_resumes_without_loss_and_the_others_do_not_notice() {
    let gateway = gateway_with("[feed]\nbuffer_events = 20_000\nbuffer_bytes = 8_388_608\n").await;
    let start = head(&gateway).await;
    let path = format!("/ws/events?after={start}");
    let mut slow = Socket::connect(&endpoint(&gateway), &path, &Options::default()).await.unwrap();

    let mut quick = subscriber(&gateway, Start::After(start), Filter::default());
    let (progress, mut seen) = tokio::sync::watch::channel(start.offset);
    let reader = tokio::spawn(async move {
        let (mut last, mut losses) = (start.offset, 0);
        while last < start.offset + 60_000 {
            match within("the quick one's events", SOON, quick.next_raw()).await.unwrap() {
                RawItem::Event { offset, .. } => {
                    assert_eq!(offset, last + 1);
                    last = offset;
                    progress.send_replace(last);
                }
                RawItem::Gap(gap) => panic!("{gap:?}"),
                RawItem::Lost { .. } => losses += 1,
                RawItem::Connected { .. } => {}
            }
        }
        losses
    });
    // More than the kernel's buffers and the gateway's together hold for one connection; but never so much at once that a reader
    // which the machine holds up is slow, too.
    for burst in 1..=12 {
        publish_many(&gateway, 5_000, "0").await;
        within("the quick one", SOON, seen.wait_for(|offset| *offset >= start.offset + burst * 5_000)).await.unwrap();
    }
    assert_eq!(reader.await.unwrap(), 0, "the quick one is never closed");
    let stats = http(&gateway).stats().await.unwrap();
    assert_eq!(stats.subscribers_dropped, 1);

    // What had been sent before is still there to be read; then the close; then the rest, from where it stood.
    let mut last = start;
    let error = loop {
        match within("the slow one's events", SOON, slow.next()).await {
            Ok(Message::Text(text)) => {
                if text.starts_with("{\"error\"") {
                    continue;
                }
                let record: FeedRecord = serde_json::from_str(text).unwrap();
                assert_eq!(record.offset, last.offset + 1);
                last.offset = record.offset;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Lost { why: Lost::Closed { code: 1013, .. } }), "{error:?}");
    assert!(last.offset < start.offset + 60_000, "it was never behind");
    let mut resumed = subscriber(&gateway, Start::After(last), Filter::default());
    while last.offset < start.offset + 60_000 {
        let event = next_event(&mut resumed).await;
        assert_eq!(event.offset, last.offset + 1);
        last.offset = event.offset;
    }
}
