//! How a gateway stops: nothing new, leases returned, everybody told, within a deadline.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::time::{Duration, Instant};

use common::{PATIENCE, Server};
use futures_util::SinkExt;
use hyper::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn told_to_drain_it_returns_leases_and_says_so() {
    let mut server = Server::start_with(|config| config.server.drain_timeout_ms = 500).await;
    let id = server.publish(json!({"kind": "x", "lane": "gpt4"})).await;
    let mut worker = server.ws("/ws/work").await;
    worker.subscribe("gpt4", 1).await;
    assert_eq!(worker.next().await["deliver"]["attempt"], 1);
    let mut subscriber = server.ws("/ws/events").await;

    assert_eq!(server.request(Method::POST, "/v1/admin/drain", &[], "").await.status, 202);
    assert_eq!(worker.close_code().await, 1001);
    let health = server.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (503, &json!("draining")));
    assert_eq!(server.get("/ready").await.status, 503);
    let refused = server.post("/v1/tasks", &json!({"kind": "x"})).await;
    assert_eq!((refused.error().0, refused.error().1.as_str()), (503, "Draining"));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(server.try_ws("/ws/work", &[]).await.err().unwrap().error().1, "Draining");
    // Returned, and not counted as an attempt.
    server.until("the lease is back", |stats| stats.lanes.iter().all(|lane| lane.leased == 0)).await;
    let task = server.get(&format!("/v1/tasks/{id}")).await.json();
    assert_eq!((&task["state"], &task["attempts"]), (&json!("ready"), &json!(0)));

    server.stop().await;
    assert_eq!(subscriber.close_code().await, 1001);
    let health: Value = serde_json::from_slice(&std::fs::read(server.dir.path().join("health.json")).unwrap()).unwrap();
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn what_is_being_answered_is_answered_before_it_stops() {
    const SENT: usize = 5_000;
    let mut server = Server::start().await;
    let mut producer = server.ws("/ws/work").await;
    for n in 0..SENT {
        producer.stream.feed(Message::text(json!({"publish": {"kind": "x", "payload": n}}).to_string())).await.unwrap();
    }
    producer.stream.flush().await.unwrap();
    // Most of it is on its way when the server is told to stop: to the store, or back from it.
    assert!(producer.next().await["published"]["id"].is_string());
    server.stop.cancel();
    let mut answered = 1;
    let code = loop {
        match producer.message().await {
            Some(Message::Text(text)) => {
                assert!(text.contains("published"), "{text}");
                answered += 1;
            }
            Some(Message::Close(Some(frame))) => break u16::from(frame.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1001);
    drop(producer);
    server.stop().await;
    let stats = server.store.stats().await.unwrap();
    assert!(stats.tasks.contains(&("published", answered)), "{answered} were answered: {:?}", stats.tasks);
}

#[tokio::test]
async fn a_client_that_does_not_leave_does_not_hold_it_up() {
    let mut server = Server::start_with(|config| config.server.drain_timeout_ms = 200).await;
    // It never answers the close, because it never reads.
    let mut rude = server.ws("/ws/events").await;
    let began = Instant::now();
    server.stop().await;
    // Sooner than it waits for a peer's close when there is no hurry.
    assert!(began.elapsed() < Duration::from_millis(4_500), "{:?}", began.elapsed());
    let said = tokio::time::timeout(PATIENCE, rude.message()).await.unwrap();
    assert!(matches!(said, Some(Message::Close(Some(frame))) if u16::from(frame.code) == 1001));
}
