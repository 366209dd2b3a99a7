//! The HTTP surface: what it takes, what it answers, and how it refuses.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::time::Duration;

use common::{Server, config};
use hyper::Method;
use serde_json::{Value, json};
use squall_gateway::config::{Scope, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn every_refusal_is_json_and_says_what_and_where() {
    let server = Server::start_with(|config| {
        config.server.max_body_bytes = 2 << 20;
        config.tasks.max_batch = 3;
    })
    .await;
    let long_kind = json!({"kind": "k".repeat(129)}).to_string();
    let large = json!({"kind": "x", "payload": "p".repeat(1 << 20)}).to_string();
    let cases: Vec<(Method, &str, String, u16, &str, &str)> = vec![
        (Method::GET, "/nowhere", String::new(), 404, "NotFound", "there is no GET /nowhere"),
        (Method::PUT, "/v1/tasks", String::new(), 405, "MethodNotAllowed", "does not take PUT"),
        (Method::POST, "/v1/tasks", "{".into(), 400, "InvalidJson", "EOF while parsing an object at line 1 column 1"),
        (Method::POST, "/v1/tasks", String::new(), 400, "InvalidJson", "EOF"),
        (Method::POST, "/v1/tasks", r#"{"kind":1}"#.into(), 400, "InvalidRequest", "integer `1`, expected"),
        (Method::POST, "/v1/tasks", r#"{"lane":"gpt4"}"#.into(), 400, "InvalidRequest", "missing field `kind`"),
        (Method::POST, "/v1/tasks", r#"{"kind":"x","prio":1}"#.into(), 400, "InvalidRequest", "unknown field `prio`"),
        (
            Method::POST,
            "/v1/tasks",
            r#"{"kind":"x","priority":"urgent"}"#.into(),
            400,
            "InvalidRequest",
            "unknown variant `urgent`",
        ),
        (Method::POST, "/v1/tasks", r#"{"kind":"x","delay_ms":-1}"#.into(), 400, "InvalidRequest", "integer `-1`"),
        (Method::POST, "/v1/tasks", long_kind, 400, "InvalidRequest", "kind is 129 bytes: it is 1 to 128"),
        (Method::POST, "/v1/tasks", large, 413, "TooLarge", "payload is 1048578 bytes: at most 1048576"),
        (Method::POST, "/v1/tasks", " ".repeat(3 << 20), 413, "TooLarge", "the body is over 2097152 bytes"),
        (Method::POST, "/v1/tasks", "[1,2,3,4]".into(), 413, "TooLarge", "the batch holds 4 tasks: at most 3"),
        (Method::POST, "/v1/tasks", r#"{"kind":"x","session":"none"}"#.into(), 404, "NotFound", "no such session"),
        (Method::GET, "/v1/tasks/7", String::new(), 400, "InvalidRequest", "the id \"7\" in the path"),
        (Method::GET, "/v1/tasks/019aa7bd-9a5b-7000-8000-000000000001", String::new(), 404, "NotFound", "no such task"),
        (Method::GET, "/v1/sessions/none", String::new(), 404, "NotFound", "none"),
        (Method::GET, "/v1/sessions?limit=0", String::new(), 400, "InvalidRequest", "limit is 0: it is 1 to 1000"),
        (Method::GET, "/v1/sessions?colour=red", String::new(), 400, "InvalidRequest", "unknown field `colour`"),
        (Method::GET, "/v1/sessions?state=asleep", String::new(), 400, "InvalidRequest", "unknown variant `asleep`"),
        (Method::POST, "/v1/sessions", r#"{"id":"a b"}"#.into(), 400, "InvalidRequest", "a session id is"),
        (
            Method::POST,
            "/v1/sessions",
            r#"{"idle_timeout_ms":1}"#.into(),
            400,
            "InvalidRequest",
            "idle_timeout_ms is 1",
        ),
        (
            Method::POST,
            "/v1/sessions/s/end",
            r#"{"status":"active"}"#.into(),
            400,
            "InvalidRequest",
            "completed or failed",
        ),
        (Method::GET, "/v1/lanes/nowhere", String::new(), 404, "UnknownLane", "nowhere"),
        (Method::POST, "/v1/lanes/gpt4/lease", r#"{"credit":0}"#.into(), 400, "InvalidRequest", "credit is 0"),
        (Method::POST, "/v1/lanes/gpt4/pause", r#"{"for_ms":0}"#.into(), 400, "InvalidRequest", "for_ms is 0"),
        (Method::GET, "/v1/events?after=x:y", String::new(), 400, "InvalidRequest", "a cursor is"),
        (Method::GET, "/v1/events?topics=weather", String::new(), 400, "InvalidRequest", "no topic \"weather\""),
        (Method::DELETE, "/v1/dead-letters", String::new(), 400, "InvalidRequest", "all=true"),
        (
            Method::POST,
            "/v1/dead-letters/replay",
            r#"{"rate_per_s":0}"#.into(),
            400,
            "InvalidRequest",
            "rate_per_s is 0",
        ),
        (Method::GET, "/ws/work", String::new(), 400, "InvalidRequest", "this is a WebSocket"),
    ];
    for (method, path, body, status, code, words) in cases {
        let answer = server.request(method.clone(), path, &[("content-type", "application/json")], body).await;
        let error = answer.error();
        assert_eq!((error.0, error.1.as_str()), (status, code), "{method} {path}: {}", error.2);
        assert!(error.2.contains(words), "{method} {path}: {}", error.2);
        assert_eq!(answer.headers["content-type"], "application/json");
    }
    let allowed = server.request(Method::PUT, "/v1/tasks", &[], "").await;
    assert_eq!(allowed.headers["allow"], "POST,GET,HEAD");
}

#[tokio::test]
async fn a_batch_is_answered_task_by_task_in_the_order_sent() {
    let server = Server::start().await;
    let tasks = [r#"{"kind":"a"}"#, r#"{"kind":""}"#, r#"{"kind":"b","session":"none"}"#, r#"{"kind":"c"}"#, "7"];
    let array = format!("[{}]", tasks.join(","));
    let lines = format!("{}\n\n", tasks.join("\r\n"));
    for (content_type, body) in [("application/json", array), ("application/x-ndjson; charset=utf-8", lines)] {
        let answer = server.request(Method::POST, "/v1/tasks", &[("content-type", content_type)], body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let results = answer.json()["results"].as_array().unwrap().clone();
        let codes: Vec<&str> = results.iter().map(|result| result["error"]["code"].as_str().unwrap_or("ok")).collect();
        assert_eq!(codes, ["ok", "InvalidRequest", "NotFound", "ok", "InvalidRequest"]);
        assert!(results[4]["error"]["message"].as_str().unwrap().starts_with("task 4: "), "{}", results[4]);
        let first = server.get(&format!("/v1/tasks/{}", results[0]["id"].as_str().unwrap())).await.json();
        assert_eq!((&first["kind"], &first["lane"]), (&json!("a"), &json!("claude_web")));
        let fourth = server.get(&format!("/v1/tasks/{}", results[3]["id"].as_str().unwrap())).await.json();
        assert_eq!(fourth["kind"], "c");
    }
    let empty = server.request(Method::POST, "/v1/tasks", &[], "[]").await;
    assert_eq!((empty.status.as_u16(), empty.json()), (202, json!({"results": []})));
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_task() {
    let server = Server::start().await;
    let publish = |header: &'static str, body: &'static str| {
        server.request(
            Method::POST,
            "/v1/tasks",
            if header.is_empty() { &[] } else { &[("idempotency-key", "k1")] },
            body,
        )
    };
    let first = publish("k1", r#"{"kind":"a"}"#).await.json();
    assert_eq!(first.get("duplicate"), None);
    for answer in [publish("k1", r#"{"kind":"b"}"#).await, publish("", r#"{"kind":"b","idempotency_key":"k1"}"#).await]
    {
        assert_eq!(answer.status, 202);
        assert_eq!((&answer.json()["id"], &answer.json()["duplicate"]), (&first["id"], &json!(true)));
    }
    let (status, _, message) = publish("k1", r#"{"kind":"b","idempotency_key":"k2"}"#).await.error();
    assert!(status == 400 && message.contains("differ"), "{message}");
    let (status, _, message) = publish("k1", r#"[{"kind":"b"}]"#).await.error();
    assert!(status == 400 && message.contains("single task"), "{message}");
}

#[tokio::test]
async fn a_full_lane_says_when_to_come_back() {
    let server = Server::start_with(|config| config.lanes.get_mut("gpt4").unwrap().max_depth = 1).await;
    let task = json!({"kind": "x", "lane": "gpt4"});
    server.publish(task.clone()).await;
    let answer = server.post("/v1/tasks", &task).await;
    let (status, code, _) = answer.error();
    assert_eq!((status, code.as_str()), (429, "LaneFull"));
    assert!(answer.json()["error"]["retry_after_ms"].as_u64().unwrap() > 0);
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn a_session_lives_and_its_slot_is_free_again() {
    let server = Server::start_with(|config| {
        config.sessions.max_concurrent = 2;
        config.sessions.max_per_tenant = 2;
    })
    .await;
    let created = server.post("/v1/sessions", &json!({"id": "s1", "metadata": {"a": {"b": 1}, "c": 2}})).await;
    assert_eq!((created.status.as_u16(), &created.json()["state"]), (201, &json!("active")));
    let again = server.post("/v1/sessions", &json!({"id": "s1"})).await.error();
    assert_eq!((again.0, again.1.as_str()), (409, "Conflict"));
    assert_eq!(server.post("/v1/sessions", &json!({})).await.status, 201);
    let refused = server.post("/v1/sessions", &json!({})).await;
    assert_eq!((refused.error().0, refused.error().1.as_str()), (429, "SessionLimit"));
    assert!(refused.headers.contains_key("retry-after"));

    let body = json!({"metadata": {"a": {"d": 3}, "c": null}}).to_string();
    let merged = server.request(Method::PATCH, "/v1/sessions/s1", &[], body).await.json();
    assert_eq!(merged["metadata"], json!({"a": {"b": 1, "d": 3}}));
    assert_eq!(server.request(Method::POST, "/v1/sessions/s1/heartbeat", &[], "").await.status, 200);
    server.publish(json!({"kind": "x", "session": "s1"})).await;

    let ended = server.post("/v1/sessions/s1/end", &json!({"status": "failed", "reason": "enough"})).await.json();
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("failed"), &json!("enough")));
    let late = server.request(Method::POST, "/v1/sessions/s1/heartbeat", &[], "").await.error();
    assert_eq!((late.0, late.1.as_str()), (409, "SessionEnded"));
    let report = server.get("/v1/sessions/s1/report").await.json();
    assert_eq!((&report["session"]["tasks"]["published"], &report["tasks_open"]), (&json!(1), &json!(1)));
    assert_eq!(server.post("/v1/sessions", &json!({})).await.status, 201);

    let failed = server.get("/v1/sessions?state=failed").await.json();
    assert_eq!(failed["items"].as_array().unwrap().len(), 1);
    let mut seen = Vec::new();
    let mut path = "/v1/sessions?limit=2".to_owned();
    loop {
        let page = server.get(&path).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|session| session["id"].clone()));
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/sessions?limit=2&cursor={next}"),
            None => break,
        }
    }
    seen.sort_by_key(Value::to_string);
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
    let stats = server.get("/v1/metrics").await.json();
    assert_eq!((&stats["sessions_refused"], &stats["sessions"]["failed"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_lease_over_http_is_settled_by_its_receipt() {
    let server = Server::start().await;
    let id = server.publish(json!({"kind": "build", "lane": "gpt4", "payload": {"n": 1}, "key": "k"})).await;
    let leased = server.post("/v1/lanes/gpt4/lease", &json!({"credit": 10})).await.json();
    let task = leased["tasks"][0].clone();
    assert_eq!((&task["id"], &task["attempt"], &task["payload"]), (&json!(id), &json!(1), &json!({"n": 1})));
    let path = |verb: &str| format!("/v1/tasks/{id}/{verb}");

    let wrong = server.post(&path("ack"), &json!({"receipt": "00000000000000ff"})).await.error();
    assert_eq!((wrong.0, wrong.1.as_str()), (409, "NotHeld"));
    let receipt = &task["receipt"];
    let extended = server.post(&path("extend"), &json!({"receipt": receipt, "for_ms": 60_000})).await.json();
    assert!(extended["lease_expires_at"].as_str() > task["lease_expires_at"].as_str());
    let nacked = server.post(&path("nack"), &json!({"receipt": receipt, "mode": "release"})).await.json();
    assert_eq!(nacked["dead"], false);
    let again =
        server.post("/v1/lanes/gpt4/lease", &json!({"credit": 1, "wait_ms": 5_000})).await.json()["tasks"][0].clone();
    assert_eq!((&again["id"], &again["attempt"]), (&json!(id), &json!(1)));
    assert_eq!(server.post(&path("ack"), &json!({"receipt": receipt})).await.error().1, "NotHeld");
    assert_eq!(server.post(&path("ack"), &json!({"receipt": again["receipt"]})).await.status, 204);
    assert_eq!(server.post(&path("ack"), &json!({"receipt": again["receipt"]})).await.error().1, "NotHeld");
    assert_eq!(server.get(&format!("/v1/tasks/{id}")).await.json()["state"], "done");
}

#[tokio::test]
async fn a_long_poll_waits_for_the_first_task_and_a_client_that_left_takes_nothing_with_it() {
    let server = Server::start().await;
    // Asks, and leaves before there is anything.
    let mut gone = TcpStream::connect(server.addr).await.unwrap();
    let body = r#"{"credit":1,"wait_ms":20000}"#;
    let head = format!("POST /v1/lanes/gpt4/lease HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    gone.write_all(head.as_bytes()).await.unwrap();
    // It waits for the store once a second one, asked after it, does.
    server.request(Method::GET, "/v1/lanes/gpt4", &[], "").await;
    drop(gone);
    let id = server.publish(json!({"kind": "x", "lane": "gpt4"})).await;
    let leased = server.post("/v1/lanes/gpt4/lease", &json!({"credit": 1, "wait_ms": 10_000})).await.json();
    assert_eq!((&leased["tasks"][0]["id"], &leased["tasks"][0]["attempt"]), (&json!(id), &json!(1)));

    let nothing = server.post("/v1/lanes/crude/lease", &json!({"credit": 1, "wait_ms": 20})).await.json();
    assert_eq!(nothing, json!({"tasks": []}));
}

#[tokio::test]
async fn a_dead_letter_can_be_inspected_replayed_and_purged() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(server.publish(json!({"kind": "x", "lane": "gpt4", "payload": n})).await);
    }
    let kill_all = || async {
        let leased = server.post("/v1/lanes/gpt4/lease", &json!({"credit": 10, "wait_ms": 1_000})).await.json();
        let tasks = leased["tasks"].as_array().unwrap().clone();
        for task in &tasks {
            let path = format!("/v1/tasks/{}/nack", task["id"].as_str().unwrap());
            let body = json!({"receipt": task["receipt"], "mode": "fatal", "reason": "no such model"});
            assert_eq!(server.post(&path, &body).await.json()["dead"], true);
        }
        tasks.len()
    };
    assert_eq!(kill_all().await, 3);
    let listed = server.get("/v1/dead-letters?lane=gpt4&reason=fatal&limit=2").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert_eq!(listed["items"][0].get("payload"), None);
    let one = server.get(&format!("/v1/dead-letters/{}", ids[1])).await.json();
    assert_eq!((&one["payload"], &one["detail"], &one["attempts"]), (&json!(1), &json!("no such model"), &json!(1)));

    let replayed = server.request(Method::POST, &format!("/v1/dead-letters/{}/replay", ids[1]), &[], "").await.json();
    assert_eq!(replayed["done"], 1);
    assert_eq!(kill_all().await, 1);
    let trail = server.get(&format!("/v1/dead-letters/{}", ids[1])).await.json()["replays"].clone();
    assert_eq!(trail[0]["by"], "anonymous");

    let deleted = server.request(Method::DELETE, &format!("/v1/dead-letters/{}", ids[0]), &[], "").await.json();
    assert_eq!(deleted["done"], 1);
    let all = server.post("/v1/dead-letters/replay", &json!({"filter": {"lane": "gpt4"}})).await.json();
    assert_eq!((&all["matched"], &all["done"]), (&json!(2), &json!(2)));
    assert_eq!(kill_all().await, 2);
    let purged = server.request(Method::DELETE, "/v1/dead-letters?kind=x", &[], "").await.json();
    assert_eq!(purged["done"], 2);
}

#[tokio::test]
async fn a_paused_lane_delivers_nothing() {
    let server = Server::start().await;
    server.publish(json!({"kind": "x", "lane": "gpt4"})).await;
    assert_eq!(server.post("/v1/lanes/gpt4/pause", &json!({})).await.json()["paused"], true);
    let lease = json!({"credit": 1, "wait_ms": 50});
    assert_eq!(server.post("/v1/lanes/gpt4/lease", &lease).await.json(), json!({"tasks": []}));
    assert_eq!(server.request(Method::POST, "/v1/lanes/gpt4/resume", &[], "").await.json()["paused"], false);
    assert_eq!(server.post("/v1/lanes/gpt4/lease", &lease).await.json()["tasks"].as_array().unwrap().len(), 1);
    let lanes = server.get("/v1/lanes").await.json();
    assert_eq!((lanes["items"].as_array().unwrap().len(), &lanes["next"]), (3, &Value::Null));
}

#[tokio::test]
async fn it_tells_how_it_is() {
    let server = Server::start().await;
    server.publish(json!({"kind": "x", "lane": "gpt4", "priority": "high"})).await;
    let health = server.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (200, &json!("healthy")));
    assert_eq!(health.json()["dependencies"]["store"]["ok"], true);
    assert_eq!(health.json()["durability"], "commit");
    assert_eq!(server.get("/ready").await.status, 200);
    let text = server.get("/metrics").await.text();
    for line in [
        r#"squall_http_requests_total{route="/v1/tasks",method="POST",status="202"} 1"#,
        r#"squall_http_request_duration_seconds_count{route="/v1/tasks",method="POST"} 1"#,
        r#"squall_lane_ready{lane="gpt4",priority="high"} 1.0"#,
        r#"squall_lane_ready{lane="gpt4",priority="low"} 0.0"#,
        r#"squall_tasks_total{lane="gpt4",priority="high",outcome="published"} 1"#,
        "squall_feed_subscribers 0.0",
        "squall_feed_offset 1.0",
        "squall_build_info{version=",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    for name in
        ["squall_lane_oldest_ready_seconds", "squall_process_resident_memory_bytes", "squall_process_cpu_seconds_total"]
    {
        assert!(text.contains(&format!("\n{name}")), "no {name}");
    }
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a metric is there twice: {names:?}");
    assert!(!text.contains("squall_squall"));
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    let stats = server.get("/v1/metrics").await.json();
    assert_eq!((&stats["tasks"]["published"], &stats["feed_offset"]), (&json!(1), &json!(1)));
    assert!(stats["process"]["rss_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(server.get("/openapi.json").await.body, squall_gateway::openapi());
}

fn token(name: &str, tenant: &str, scopes: &[Scope]) -> Token {
    use sha2::{Digest, Sha256};
    let sha256 = Sha256::digest(name.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    Token { name: name.into(), sha256, tenant: tenant.into(), scopes: scopes.into() }
}

/// Each route of the document, without a token and with tokens that may too little.
#[tokio::test]
async fn no_route_is_open_that_should_not_be() {
    let server = Server::start_with(|config| {
        let tokens = [("p", Scope::Publish), ("w", Scope::Work), ("r", Scope::Read), ("a", Scope::Admin)];
        config.auth.tokens = tokens.iter().map(|(name, scope)| token(name, "t", &[*scope])).collect();
    })
    .await;
    let open = ["/health", "/ready", "/openapi.json", "/hooks/github"];
    let document: Value = serde_json::from_slice(squall_gateway::openapi()).unwrap();
    let mut routes: Vec<(Method, String)> = vec![(Method::GET, "/ws/work".into()), (Method::GET, "/ws/events".into())];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            routes.push((method.to_uppercase().parse().unwrap(), path.clone()));
        }
    }
    for (method, path) in routes {
        let task = path.contains("/tasks/") || path.contains("/dead-letters/");
        let id = if task { "019aa7bd-9a5b-7000-8000-000000000001" } else { "x" };
        let path = path.replace("{id}", id).replace("{lane}", "gpt4");
        let path = path.replace("{relation}", "callers").replace("{category}", "hubs");
        let body = match path.rsplit('/').next().unwrap() {
            "ack" | "nack" => r#"{"receipt":"0000000000000000"}"#,
            "extend" => r#"{"receipt":"0000000000000000","for_ms":1}"#,
            _ if method == Method::PATCH => r#"{"metadata":{}}"#,
            _ => "",
        };
        let anonymous = server.request(method.clone(), &path, &[], body).await;
        if open.contains(&path.as_str()) {
            assert_ne!(anonymous.status, 401, "{method} {path}");
            continue;
        }
        assert_eq!(anonymous.error().1, "Unauthorized", "{method} {path}");
        assert_eq!(anonymous.headers["www-authenticate"], "Bearer");
        let mut let_in = Vec::new();
        for name in ["p", "w", "r"] {
            let bearer = format!("Bearer {name}");
            let answer = server.request(method.clone(), &path, &[("authorization", &bearer)], body).await;
            if answer.status != 403 {
                let_in.push(name);
            }
        }
        let expected: &[&str] = match (method.as_str(), path.as_str()) {
            (_, "/ws/work") => &["p", "w"],
            // Runs are nobody's but the operator's.
            ("GET", path) if path.starts_with("/v1/runs") => &[],
            ("GET", _) => &["r"],
            (_, path) if path.contains("/lease") || body.contains("receipt") => &["w"],
            (_, path) if path.starts_with("/v1/tasks") || path.starts_with("/v1/sessions") => &["p"],
            _ => &[],
        };
        assert_eq!(let_in, expected, "{method} {path}");
        if path != "/v1/admin/drain" {
            let answer = server.request(method.clone(), &path, &[("authorization", "Bearer a")], body).await;
            assert!(answer.status != 403 && answer.status != 401, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_tenant_does_not_see_another() {
    let server = Server::start_with(|config| {
        let all = [Scope::Publish, Scope::Work, Scope::Read];
        config.auth.tokens = vec![token("a", "one", &all), token("b", "two", &all)];
    })
    .await;
    let call = |who: &'static str, method: Method, path: String, body: Value| {
        let server = &server;
        async move { server.request(method, &path, &[("authorization", &format!("Bearer {who}"))], body.to_string()).await }
    };
    let published = call("a", Method::POST, "/v1/tasks".into(), json!({"kind": "x", "lane": "gpt4"})).await.json();
    let id = published["id"].as_str().unwrap();
    call("a", Method::POST, "/v1/sessions".into(), json!({"id": "s"})).await;
    assert_eq!(call("b", Method::GET, format!("/v1/tasks/{id}"), json!({})).await.status, 404);
    assert_eq!(call("b", Method::DELETE, format!("/v1/tasks/{id}"), json!({})).await.status, 404);
    assert_eq!(call("b", Method::GET, "/v1/sessions/s".into(), json!({})).await.status, 404);
    assert_eq!(call("b", Method::GET, "/v1/sessions".into(), json!({})).await.json()["items"], json!([]));
    assert_eq!(call("b", Method::GET, "/v1/events".into(), json!({})).await.json()["items"], json!([]));
    assert_eq!(
        call("a", Method::GET, "/v1/events".into(), json!({})).await.json()["items"].as_array().unwrap().len(),
        2
    );
    let lease = json!({"credit": 1});
    assert_eq!(
        call("b", Method::POST, "/v1/lanes/gpt4/lease".into(), lease.clone()).await.json(),
        json!({"tasks": []})
    );
    let leased = call("a", Method::POST, "/v1/lanes/gpt4/lease".into(), lease).await.json();
    assert_eq!(leased["tasks"][0]["id"], id);
}

#[tokio::test]
async fn too_many_connections_and_requests_are_told_so() {
    let server = Server::start_with(|config| {
        config.server.max_connections = 8;
        config.server.max_concurrent_requests = 1;
    })
    .await;
    // One request that waits takes the only place; health gets through all the same.
    let mut waits = TcpStream::connect(server.addr).await.unwrap();
    let body = r#"{"credit":1,"wait_ms":20000}"#;
    let head = format!("POST /v1/lanes/gpt4/lease HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    waits.write_all(head.as_bytes()).await.unwrap();
    let refused = loop {
        let answer = server.get("/v1/lanes").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.error().0, refused.error().1.as_str()), (503, "Overloaded"));
    assert_eq!(server.get("/health").await.status, 200);

    // Connections that are kept open leave no room for another.
    let mut open = Vec::new();
    for _ in 0..7 {
        open.push(TcpStream::connect(server.addr).await.unwrap());
    }
    let answer = loop {
        let mut one_more = TcpStream::connect(server.addr).await.unwrap();
        one_more.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        one_more.read_to_string(&mut answer).await.unwrap();
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
    };
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && answer.contains("TooManyConnections"),
        "{answer}"
    );
    drop(open);
    let back = async {
        loop {
            let mut again = TcpStream::connect(server.addr).await.unwrap();
            again.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            again.read_to_string(&mut answer).await.unwrap();
            if answer.starts_with("HTTP/1.1 200") {
                break;
            }
        }
    };
    tokio::time::timeout(common::PATIENCE, back).await.expect("the slot of a connection that ended is free again");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_without_end() {
    let server = Server::start_with(|config| config.server.body_timeout_ms = 50).await;
    let mut slow = TcpStream::connect(server.addr).await.unwrap();
    slow.write_all(b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    let mut answer = vec![0; 4_096];
    let n = tokio::time::timeout(Duration::from_secs(10), slow.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..n]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("longer than 50 ms"), "{answer}");
}

#[tokio::test]
async fn it_does_not_listen_to_the_world_without_a_token() {
    let server = Server::start().await;
    let mut config = config();
    config.server.listen = "0.0.0.0:0".parse().unwrap();
    let error = squall_gateway::Gateway::bind(config, server.store.clone(), None).await.unwrap_err();
    assert!(error.to_string().contains("without a token"), "{error}");
}

#[tokio::test]
async fn a_page_of_elsewhere_is_refused_and_an_allowed_one_is_not() {
    let server = Server::start_with(|config| {
        config.server.allowed_origins = vec!["https://console.example".into()];
    })
    .await;
    let task = json!({"kind": "x"}).to_string();
    let evil = [("origin", "https://evil.example"), ("content-type", "text/plain")];
    let refused = server.request(Method::POST, "/v1/tasks", &evil, task.clone()).await;
    assert_eq!((refused.error().0, refused.error().1.as_str()), (403, "Forbidden"));
    for path in ["/ws/work", "/ws/events"] {
        let refused = server.try_ws(path, &[("origin", "https://evil.example")]).await.err().unwrap();
        assert_eq!(refused.error().0, 403, "{path}");
        let own = format!("http://{}", server.addr);
        for origin in ["https://console.example", own.as_str()] {
            assert!(server.try_ws(path, &[("origin", origin)]).await.is_ok(), "{path} {origin}");
        }
    }
    let allowed = [("origin", "https://console.example")];
    assert_eq!(server.request(Method::POST, "/v1/tasks", &allowed, task).await.status, 202);
    assert_eq!(server.store.lane("claude_web").await.unwrap().ready.normal, 1);
}

#[tokio::test]
async fn figures_are_given_whatever_the_store_does() {
    let server = Server::start().await;
    server.publish(json!({"kind": "x"})).await;
    let stats = server.get("/v1/metrics").await.json();
    assert_eq!((&stats["store_up"], &stats["tasks"]["published"]), (&json!(true), &json!(1)));
    server.store.close().await.unwrap();
    let text = server.get("/metrics").await;
    assert!(text.status == 200 && text.text().contains("\nsquall_store_up 0.0\n"), "{}", text.text());
    let stats = server.get("/v1/metrics").await;
    assert!(stats.status == 200 && stats.json()["requests"].as_u64() >= Some(3), "{}", stats.text());
    assert_eq!(stats.json()["store_up"], false);
}
