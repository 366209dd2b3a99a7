//! The feed: pages, streams and WebSockets, replay and live tail.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{PATIENCE, Server, Ws};
use serde_json::{Value, json};
use squall_gateway::config::{Scope, Token};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

async fn publish_many(server: &Server, count: usize) {
    for start in (0..count).step_by(1_000) {
        let batch: Vec<Value> =
            (start..count.min(start + 1_000)).map(|n| json!({"kind": "x", "payload": n, "lane": "crude"})).collect();
        assert_eq!(server.post("/v1/tasks", &json!(batch)).await.status, 202);
    }
}

async fn offsets(ws: &mut Ws, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        offsets.push(ws.next().await["offset"].as_u64().expect("an event"));
    }
    offsets
}

/// Subscribers that begin at the beginning, in the middle and now, while events pour in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_and_live_tail_join_without_gap_or_repeat() {
    let server = Server::start().await;
    publish_many(&server, 3_000).await;
    let publishing = async {
        publish_many(&server, 5_000).await;
    };
    let following = async {
        let mut followers = Vec::new();
        for after in [0_u64, 1, 1_500, 2_999, 3_000] {
            let mut ws = server.ws(&format!("/ws/events?after={after}")).await;
            followers.push(tokio::spawn(async move {
                let count = usize::try_from(8_000 - after).unwrap();
                assert_eq!(offsets(&mut ws, count).await, (after + 1..=8_000).collect::<Vec<_>>());
            }));
        }
        for follower in followers {
            follower.await.unwrap();
        }
    };
    tokio::join!(publishing, following);
    let mut live = server.ws("/ws/events").await;
    publish_many(&server, 3).await;
    assert_eq!(offsets(&mut live, 3).await, [8_001, 8_002, 8_003]);
}

#[tokio::test]
async fn a_subscriber_gets_the_topics_and_types_it_asked_for() {
    let server = Server::start().await;
    let mut ws = server.ws("/ws/events?topics=sessions,lanes&types=session_created,lane_paused").await;
    publish_many(&server, 2).await;
    server.post("/v1/sessions", &json!({"id": "s1"})).await;
    server.post("/v1/sessions/s1/end", &json!({})).await;
    server.post("/v1/lanes/gpt4/pause", &json!({})).await;
    let event = ws.next().await;
    assert_eq!((&event["topic"], &event["event_type"]), (&json!("sessions"), &json!("session_created")));
    assert_eq!((&event["entity_type"], &event["entity_id"]), (&json!("session"), &json!("s1")));
    assert_eq!(ws.next().await["event_type"], "lane_paused");
    ws.send_text("ping").await;
    assert_eq!(ws.next().await, json!({"type": "pong"}));
    ws.send_text("hello").await;
    assert_eq!(ws.close_code().await, 1003);
    let mut ws = server.ws("/ws/events").await;
    ws.send_text("h".repeat(1 << 20)).await;
    assert_eq!(ws.close_code().await, 1009);
}

#[tokio::test]
async fn what_cannot_be_given_is_told_as_a_gap() {
    let server = Server::start().await;
    publish_many(&server, 3).await;
    let mut other = server.ws("/ws/events?after=019aa7bd-9a5b-7000-8000-000000000001:7").await;
    assert_eq!(other.next().await["gap"]["reason"], "epoch");
    assert_eq!(offsets(&mut other, 3).await, [1, 2, 3]);
    let mut ahead = server.ws("/ws/events?after=100").await;
    assert_eq!(ahead.next().await, json!({"gap": {"from": 4, "to": 100, "reason": "ahead"}}));
    publish_many(&server, 1).await;
    assert_eq!(offsets(&mut ahead, 1).await, [4]);

    let page = server.get("/v1/events?after=100").await.json();
    assert_eq!(page["gap"]["reason"], "ahead");
    assert_eq!(page["items"], json!([]));
}

#[tokio::test]
async fn pages_lead_from_the_beginning_to_the_head() {
    let server = Server::start().await;
    publish_many(&server, 25).await;
    server.post("/v1/sessions", &json!({})).await;
    let mut seen = Vec::new();
    let mut path = "/v1/events?limit=10".to_owned();
    loop {
        let page = server.get(&path).await.json();
        let items = page["items"].as_array().unwrap();
        if items.is_empty() {
            break;
        }
        seen.extend(items.iter().map(|item| item["offset"].as_u64().unwrap()));
        path = format!("/v1/events?limit=10&after={}", page["next"].as_str().unwrap());
    }
    assert_eq!(seen, (1..=26).collect::<Vec<_>>());
    let sessions = server.get("/v1/events?topics=sessions").await.json();
    assert_eq!(sessions["items"][0]["offset"], 26);
    assert!(sessions["next"].as_str().unwrap().ends_with(":26"));
}

/// One event of a stream: its fields by name.
async fn sse(lines: &mut tokio::io::Lines<BufReader<TcpStream>>) -> (String, String, Value) {
    let (mut id, mut event) = (String::new(), String::new());
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("the stream ended");
        match line.split_once(": ") {
            Some(("id", value)) => id = value.into(),
            Some(("event", value)) => event = value.into(),
            Some(("data", value)) => return (id, event, serde_json::from_str(value).unwrap()),
            _ => {}
        }
    }
}

async fn open_sse(server: &Server, last_event_id: &str) -> tokio::io::Lines<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nlast-event-id: {last_event_id}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "HTTP/1.1 200 OK");
    // The first comment says that the subscription holds.
    while !lines.next_line().await.unwrap().unwrap().starts_with(": connected") {}
    lines
}

#[tokio::test]
async fn a_stream_resumes_from_its_last_event_id() {
    let server = Server::start().await;
    let mut lines = open_sse(&server, "").await;
    publish_many(&server, 2).await;
    let (first, event, data) = sse(&mut lines).await;
    assert_eq!((event.as_str(), &data["offset"]), ("task_published", &json!(1)));
    assert_eq!(first, format!("{}:1", data["epoch"].as_str().unwrap()));
    drop(lines);
    let mut lines = open_sse(&server, &first).await;
    assert_eq!(sse(&mut lines).await.2["offset"], 2);
    publish_many(&server, 1).await;
    assert_eq!(sse(&mut lines).await.2["offset"], 3);
    let mut lines = open_sse(&server, "77").await;
    let (id, event, data) = sse(&mut lines).await;
    assert_eq!((id.as_str(), event.as_str(), &data["gap"]["reason"]), ("", "gap", &json!("ahead")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_falls_behind_is_closed_and_resumes_without_loss() {
    let server = Server::start_with(|config| {
        config.feed.buffer_events = 2_000;
        config.feed.buffer_bytes = 1 << 20;
    })
    .await;
    let mut slow = server.ws("/ws/events").await;
    let mut quick = server.ws("/ws/events").await;
    let published = Arc::new(AtomicU64::new(u64::MAX));
    let until = Arc::clone(&published);
    let reading = tokio::spawn(async move {
        let mut last = 0;
        while last < until.load(Ordering::Relaxed) {
            assert_eq!(offsets(&mut quick, 1).await, [last + 1]);
            last += 1;
        }
    });
    // Nobody reads from the slow one: its socket fills up, then the ring overtakes it.
    let mut total = 0;
    while server.get("/v1/metrics").await.json()["subscribers_dropped"] == 0 {
        publish_many(&server, 1_000).await;
        total += 1_000;
        assert!(total < 200_000, "it never falls behind");
    }
    published.store(total, Ordering::Relaxed);
    publish_many(&server, 1).await;
    reading.await.unwrap();
    let mut last = 0;
    let code = loop {
        match slow.message().await {
            Some(Message::Text(text)) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(event["offset"], last + 1);
                last += 1;
            }
            Some(Message::Close(Some(frame))) => break u16::from(frame.code),
            Some(_) => {}
            None => panic!("the connection ended without a close, after {last}"),
        }
    };
    assert_eq!(code, 1013);
    assert!(last < total, "it never fell behind");
    let stats = server.get("/v1/metrics").await.json();
    assert_eq!(stats["subscribers_dropped"], 1);
    let mut back = server.ws(&format!("/ws/events?after={last}")).await;
    let rest = usize::try_from(total - last).unwrap();
    assert_eq!(offsets(&mut back, rest).await, (last + 1..=total).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_tenant_follows_its_own_events_only() {
    let token = |name: &str, tenant: &str, scope: Scope| {
        use sha2::{Digest, Sha256};
        let sha256 = Sha256::digest(name.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        Token { name: name.into(), sha256, tenant: tenant.into(), scopes: vec![scope, Scope::Publish] }
    };
    let server = Server::start_with(|config| {
        config.auth.tokens =
            vec![token("a", "one", Scope::Read), token("b", "two", Scope::Read), token("root", "ops", Scope::Admin)];
    })
    .await;
    let follow = |name: &'static str| {
        let server = &server;
        async move {
            let Ok(ws) = server.try_ws("/ws/events", &[("authorization", &format!("Bearer {name}"))]).await else {
                panic!("{name} is not let in");
            };
            ws
        }
    };
    let (mut a, mut b, mut root) = (follow("a").await, follow("b").await, follow("root").await);
    for (name, kind) in [("a", "of-a"), ("b", "of-b"), ("a", "of-a")] {
        let bearer = format!("Bearer {name}");
        let body = json!({"kind": kind}).to_string();
        let answer = server.request(hyper::Method::POST, "/v1/tasks", &[("authorization", &bearer)], body).await;
        assert_eq!(answer.status, 202);
    }
    assert_eq!(offsets(&mut root, 3).await, [1, 2, 3]);
    assert_eq!(offsets(&mut a, 2).await, [1, 3]);
    assert_eq!(offsets(&mut b, 1).await, [2]);
    assert_eq!(server.try_ws("/ws/events", &[]).await.err().unwrap().error().1, "Unauthorized");
}

#[tokio::test]
async fn there_are_only_so_many_subscribers() {
    let server = Server::start_with(|config| config.feed.max_subscribers = 1).await;
    let first = server.ws("/ws/events").await;
    let refused = server.try_ws("/ws/events", &[]).await.err().unwrap();
    assert_eq!((refused.error().0, refused.error().1.as_str()), (503, "TooManyConnections"));
    drop(first);
    let back = async {
        while server.try_ws("/ws/events", &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("the place of a subscriber that left is free again");
}
