//! `POST /hooks/github` with every payload that GitHub's own examples have.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::Server;
use hmac::{Hmac, Mac};
use hyper::Method;
use serde_json::Value;
use sha2::Sha256;
use squall_gateway::config::GithubRule;
use squall_protocol::Priority;
use squall_store::ListDeadLetters;

const SECRET: &str = "a secret";

fn sign(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256={hex}")
}

fn rule(event: &str, action: Option<&str>, lane: &str, priority: Priority) -> GithubRule {
    GithubRule {
        event: event.into(),
        action: action.map(Into::into),
        lane: Some(lane.into()),
        kind: None,
        priority: Some(priority),
    }
}

/// What has a rule in this test; everything else is refused by name.
fn rules() -> Vec<GithubRule> {
    vec![
        rule("push", None, "gpt4", Priority::High),
        rule("workflow_run", Some("completed"), "gpt4", Priority::High),
        rule("check_run", Some("*"), "claude_web", Priority::Normal),
        rule("pull_request", Some("opened"), "gpt4", Priority::Normal),
        rule("pull_request", None, "crude", Priority::Low),
        rule("issues", None, "crude", Priority::Low),
    ]
}

fn lane_of(event: &str, action: Option<&str>) -> Option<&'static str> {
    match (event, action) {
        ("push", _) | ("workflow_run", Some("completed")) | ("pull_request", Some("opened")) => Some("gpt4"),
        ("check_run", Some(_)) => Some("claude_web"),
        ("pull_request" | "issues", _) => Some("crude"),
        _ => None,
    }
}

/// Every example of every GitHub version: event and payload.
fn examples() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhooks/node_modules/@octokit/webhooks-examples");
    let versions = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}; .ci/install fetches the examples", root.display()));
    let mut examples = Vec::new();
    for version in versions {
        let Ok(text) = std::fs::read_to_string(version.unwrap().path().join("index.json")) else { continue };
        let events: Vec<Value> = serde_json::from_str(&text).unwrap();
        for event in events {
            let name = event["name"].as_str().unwrap();
            let payloads = event["examples"].as_array().unwrap();
            examples.extend(payloads.iter().map(|payload| (name.to_owned(), payload.clone())));
        }
    }
    examples
}

async fn server() -> Server {
    Server::start_with(|config| {
        config.hooks.github.secret = Some(SECRET.into());
        config.hooks.github.rules = rules();
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_becomes_one_task_or_is_refused_by_name() {
    let server = server().await;
    let examples = examples();
    assert!(examples.len() > 300, "only {} examples", examples.len());
    let mut ids = BTreeSet::new();
    let mut by_lane: BTreeMap<&str, u64> = BTreeMap::new();
    let mut refused = 0;
    for (n, (event, payload)) in examples.iter().enumerate() {
        let body = payload.to_string();
        let signature = sign(&body);
        let delivery = format!("delivery-{n}");
        let headers = [
            ("x-github-event", event.as_str()),
            ("x-github-delivery", &delivery),
            ("x-hub-signature-256", &signature),
            ("content-type", "application/json"),
        ];
        let answer = server.request(Method::POST, "/hooks/github", &headers, body.clone()).await;
        let action = payload["action"].as_str();
        match lane_of(event, action) {
            Some(lane) => {
                assert_eq!(answer.status, 202, "{event} {action:?}: {}", answer.text());
                let id = answer.json()["id"].as_str().unwrap().to_owned();
                let task = server.get(&format!("/v1/tasks/{id}")).await.json();
                assert_eq!(task["lane"], lane);
                let kind = action.map_or(format!("github.{event}"), |action| format!("github.{event}.{action}"));
                assert_eq!(task["kind"], kind);
                assert_eq!(task["payload"]["event"], event.as_str());
                assert_eq!(task["payload"]["body"], *payload);
                assert!(ids.insert(id), "two examples became one task");
                *by_lane.entry(lane).or_default() += 1;
            }
            None => {
                let (status, code, message) = answer.error();
                assert_eq!((status, code.as_str()), (422, "NoRule"));
                assert!(message.contains(&format!("{event:?}")), "{message}");
                assert!(action.is_none_or(|action| message.contains(&format!("{action:?}"))), "{message}");
                refused += 1;
            }
        }
    }
    // Exactly one task each: what the store holds is what was answered.
    let stats = server.store.stats().await.unwrap();
    for lane in &stats.lanes {
        let ready = lane.ready.high + lane.ready.normal + lane.ready.low;
        assert_eq!(ready, by_lane.get(lane.lane.as_str()).copied().unwrap_or(0), "{}", lane.lane);
    }
    assert_eq!(ids.len() + refused, examples.len());
    assert!(ids.len() > 50 && refused > 50, "{} became tasks, {refused} were refused", ids.len());
    assert!(
        server
            .store
            .dead_letters(None, ListDeadLetters { limit: 1, ..Default::default() })
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn a_redelivery_is_the_same_task() {
    let server = server().await;
    let body = r#"{"ref":"refs/heads/main"}"#;
    let signature = sign(body);
    let headers = [("x-github-event", "push"), ("x-github-delivery", "d-1"), ("x-hub-signature-256", &signature)];
    let first = server.request(Method::POST, "/hooks/github", &headers, body).await.json();
    let second = server.request(Method::POST, "/hooks/github", &headers, body).await.json();
    assert_eq!(first["id"], second["id"]);
    assert_eq!(second["duplicate"], true);
}

#[tokio::test]
async fn what_is_not_signed_is_refused() {
    let server = server().await;
    let body = r#"{"ref":"refs/heads/main"}"#;
    let wrong = sign("another body");
    let event = ("x-github-event", "push");
    let delivery = ("x-github-delivery", "d-1");
    for headers in [vec![event, delivery], vec![event, delivery, ("x-hub-signature-256", wrong.as_str())]] {
        let (status, code, _) = server.request(Method::POST, "/hooks/github", &headers, body).await.error();
        assert_eq!((status, code.as_str()), (401, "BadSignature"));
    }
    let right = sign(body);
    let (status, code, message) =
        server.request(Method::POST, "/hooks/github", &[("x-hub-signature-256", &right)], body).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidRequest"));
    assert!(message.contains("x-github-event"), "{message}");

    let without_secret = Server::start().await;
    let (status, code, _) = without_secret.request(Method::POST, "/hooks/github", &[], body).await.error();
    assert_eq!((status, code.as_str()), (404, "NotFound"));
}
