//! `/ws/work`: workers and pipelined producers, as they should be and as they should not.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::collections::BTreeSet;

use common::Server;
use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_are_answered_in_the_order_sent() {
    let server = Server::start().await;
    let mut ws = server.ws("/ws/work").await;
    for n in 0..500 {
        let kind = if n % 7 == 3 { String::new() } else { format!("k{n}") };
        ws.stream.feed(Message::text(json!({"publish": {"kind": kind, "payload": n}}).to_string())).await.unwrap();
    }
    ws.stream.flush().await.unwrap();
    let mut ids = BTreeSet::new();
    for n in 0..500 {
        let answer = ws.next().await;
        if n % 7 == 3 {
            assert_eq!(answer["refused"]["code"], "InvalidRequest", "{n}: {answer}");
            continue;
        }
        let id = answer["published"]["id"].as_str().unwrap_or_else(|| panic!("{n}: {answer}")).to_owned();
        if n % 50 == 0 {
            assert_eq!(server.get(&format!("/v1/tasks/{id}")).await.json()["kind"], format!("k{n}"));
        }
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn no_more_is_delivered_than_credit_allows() {
    let server = Server::start().await;
    for n in 0..5 {
        server.publish(json!({"kind": "x", "lane": "gpt4", "payload": {"n": n}, "key": "k\"", "session": null})).await;
        server.publish(json!({"kind": "x", "lane": "crude"})).await;
    }
    server.publish(json!({"kind": "y", "lane": "gpt4"})).await;
    let mut ws = server.ws("/ws/work").await;
    ws.subscribe("gpt4", 2).await;
    let first = ws.next().await["deliver"].clone();
    assert_eq!((&first["lane"], &first["attempt"], &first["payload"]), (&json!("gpt4"), &json!(1), &json!({"n": 0})));
    assert_eq!(first["key"], "k\"");
    // Same key: only the task without one comes beside it.
    assert_eq!(ws.next().await["deliver"]["kind"], "y");
    ws.send(json!({"ack": first["id"]})).await;
    server.until("the ack is settled", |stats| stats.tasks.iter().any(|(what, n)| *what == "done" && *n == 1)).await;
    ws.send_text("ping").await;
    assert_eq!(ws.next().await, json!({"type": "pong"}));
    ws.send(json!({"credit": 1})).await;
    assert_eq!(ws.next().await["deliver"]["payload"], json!({"n": 1}));
}

#[tokio::test]
async fn a_worker_is_told_what_it_does_not_hold_and_goes_on() {
    let server = Server::start().await;
    let id = server.publish(json!({"kind": "x", "lane": "gpt4"})).await;
    let mut ws = server.ws("/ws/work").await;
    ws.send(json!({"ack": id})).await;
    let early = ws.next().await["error"].clone();
    assert_eq!((&early["code"], &early["id"]), (&json!("NotHeld"), &json!(id)));
    ws.subscribe("gpt4", 1).await;
    assert_eq!(ws.next().await["deliver"]["id"], json!(id));
    ws.send(json!({"extend": {"id": id, "for_ms": 60_000}})).await;
    assert_eq!(ws.next().await["extended"]["id"], json!(id));
    ws.send(json!({"ack": id})).await;
    ws.send(json!({"ack": id})).await;
    let double = ws.next().await["error"].clone();
    assert_eq!((&double["code"], &double["id"]), (&json!("NotHeld"), &json!(id)));
    ws.send_text("ping").await;
    assert_eq!(ws.next().await["type"], "pong");
}

#[tokio::test]
async fn a_nack_leads_to_a_retry_or_to_the_dead_letters() {
    let server = Server::start_with(|config| {
        let retry = &mut config.lanes.get_mut("gpt4").unwrap().retry;
        (retry.max, retry.delay_ms) = (1, 10);
    })
    .await;
    let id = server.publish(json!({"kind": "x", "lane": "gpt4"})).await;
    let mut ws = server.ws("/ws/work").await;
    ws.subscribe("gpt4", 10).await;
    for (mode, attempt) in [("release", 1), ("fail", 1), ("fail", 2)] {
        let delivered = ws.next().await["deliver"].clone();
        assert_eq!((&delivered["id"], &delivered["attempt"]), (&json!(id), &json!(attempt)), "{mode}");
        ws.send(json!({"nack": {"id": id, "mode": mode, "reason": "not today"}})).await;
    }
    server.until("it is dead", |stats| stats.lanes.iter().any(|lane| lane.dead_letters == 1)).await;
    let dead = server.get(&format!("/v1/dead-letters/{id}")).await.json();
    assert_eq!((&dead["reason"], &dead["detail"]), (&json!("retries_exhausted"), &json!("not today")));
}

#[tokio::test]
async fn a_worker_that_drops_gives_back_its_leases_at_once() {
    let server = Server::start_with(|config| {
        config.lanes.get_mut("gpt4").unwrap().retry.delay_ms = 1;
    })
    .await;
    let id = server.publish(json!({"kind": "x", "lane": "gpt4"})).await;
    let mut first = server.ws("/ws/work").await;
    first.subscribe("gpt4", 1).await;
    assert_eq!(first.next().await["deliver"]["attempt"], 1);
    let mut second = server.ws("/ws/work").await;
    second.subscribe("gpt4", 1).await;
    drop(first);
    let again = second.next().await["deliver"].clone();
    assert_eq!((&again["id"], &again["attempt"]), (&json!(id), &json!(2)));
    drop(second);
    server.until("both workers are gone", |stats| stats.workers == 0).await;
}

#[tokio::test]
async fn bad_frames_are_named_and_closed_with_the_right_code() {
    let server = Server::start().await;
    let cases: Vec<(Message, u16, &str, &str)> = vec![
        (Message::text("{\"subscrib\":{}}"), 1003, "UnknownFrame", "no frame \"subscrib\""),
        (Message::binary(b"abc".to_vec()), 1003, "UnknownFrame", "binary"),
        (Message::text("hello"), 1007, "InvalidJson", "expected value"),
        (Message::text("{\"credit\":-5}"), 1007, "InvalidRequest", "integer `-5`"),
        (Message::text("{\"publish\":{\"kind\":7}}"), 1007, "InvalidRequest", "integer `7`"),
        (Message::text("{\"ack\":\"7\"}"), 1007, "InvalidRequest", "ack"),
        (Message::text("{\"credit\":5}"), 1008, "Policy", "before subscribe"),
        (Message::text("{\"subscribe\":{\"lanes\":[\"nowhere\"]}}"), 1008, "UnknownLane", "nowhere"),
        (Message::text("{\"subscribe\":{\"lanes\":[]}}"), 1007, "InvalidRequest", "lanes is empty"),
        (Message::text("{\"subscribe\":{\"lanes\":[\"gpt4\"],\"credit\":65537}}"), 1008, "Policy", "65536"),
        (
            Message::text(format!("{{\"publish\":{{\"kind\":\"x\",\"payload\":\"{}\"}}}}", "p".repeat(2 << 20))),
            1009,
            "TooLarge",
            "",
        ),
    ];
    for (message, code, name, words) in cases {
        let mut ws = server.ws("/ws/work").await;
        // What was asked before is answered before.
        ws.send(json!({"publish": {"kind": "before"}})).await;
        ws.stream.send(message).await.unwrap();
        assert!(ws.next().await["published"]["id"].is_string());
        let error = ws.next().await["error"].clone();
        assert_eq!(error["code"], name, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert_eq!(ws.close_code().await, code, "{error}");
    }
    let mut ws = server.ws("/ws/work").await;
    ws.subscribe("gpt4", 0).await;
    ws.send(json!({"subscribe": {"lanes": ["gpt4"]}})).await;
    assert_eq!(ws.next().await["error"]["code"], "Policy");
    assert_eq!(ws.close_code().await, 1008);
    server.publish(json!({"kind": "x"})).await;
    // Who has answered the close is gone at once, and not when the server loses its patience.
    ws.message().await;
    let gone = async { while !server.get("/metrics").await.text().contains("\nsquall_work_connections 0\n") {} };
    let its_patience = std::time::Duration::from_secs(5);
    tokio::time::timeout(its_patience, gone).await.unwrap();
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused_and_the_connection_goes_on() {
    let server = Server::start_with(|config| config.tasks.max_payload_bytes = 100).await;
    let mut ws = server.ws("/ws/work").await;
    ws.send(json!({"publish": {"kind": "x", "payload": "p".repeat(100)}})).await;
    assert_eq!(ws.next().await["refused"]["code"], "TooLarge");
    ws.send(json!({"publish": {"kind": "x", "payload": "p".repeat(98)}})).await;
    assert!(ws.next().await["published"]["id"].is_string());
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_pinged_and_then_dropped() {
    let server = Server::start_with(|config| config.server.keepalive_ms = 1_000).await;
    let mut alive = server.ws("/ws/work").await;
    alive.subscribe("gpt4", 1).await;
    // A client that reads answers pings; one that does not is taken for dead.
    let mut dead = server.ws("/ws/work").await;
    dead.subscribe("crude", 1).await;
    let reading = tokio::spawn(async move {
        let mut pings = 0;
        while let Some(message) = alive.message().await {
            pings += u32::from(matches!(message, Message::Ping(_)));
            // The other one is gone before the second.
            if pings == 2 {
                return;
            }
        }
        panic!("a living connection was dropped");
    });
    server.until("the dead one is gone", |stats| stats.workers == 1).await;
    reading.await.unwrap();
}
