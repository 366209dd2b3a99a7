//! Bad input: each is answered with a clear error, the rest goes on, and nothing that was acknowledged is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use squall_client::work::Incoming;
use squall_client::ws::frame::Opcode;
use squall_client::{Error, Http, Options, Work};
use squall_protocol::task::NackRequest;
use squall_protocol::{ErrorCode, HealthStatus, NackMode, TaskId, TaskState, Time, WireError};
use squall_testkit::{SmallDisk, Squall, eventually, within};

use crate::support::*;

/// A worker that was there before, and must not notice anything.
struct Bystander {
    worker: Worker,
    http: Http,
}

impl Bystander {
    async fn new(gateway: &Squall) -> Self {
        Self { worker: Worker::new(gateway, &["plain"], 10).await, http: http(gateway) }
    }

    /// Publishes, gets and finishes a task.
    async fn goes_on(&mut self) {
        let id = publish(&mut self.http, json!({"lane": "plain", "kind": "bystander"})).await;
        let got = self.worker.finish().await;
        assert_eq!(got.id, id);
        state_of(&mut self.http, id, TaskState::Done).await;
    }
}

/// Sends one frame on a connection of its own; answers the error frame and the close code.
async fn told(gateway: &Squall, queue: impl FnOnce(&mut Work)) -> (Option<WireError>, u16) {
    let mut work = work(gateway).await;
    queue(&mut work);
    let mut error = None;
    loop {
        match within("the close", SOON, work.next()).await {
            Ok(Incoming::Error(told)) => error = Some(told),
            Ok(_) => {}
            Err(end) => return (error, end.close_code().unwrap_or_else(|| panic!("closed without a code: {end:?}"))),
        }
    }
}

async fn post(http: &mut Http, target: &str, body: &str) -> (u16, WireError) {
    let headers = [(http::header::CONTENT_TYPE, squall_client::http::JSON)];
    let answer = http.request(Method::POST, target, &headers, Bytes::copy_from_slice(body.as_bytes())).await.unwrap();
    refused(&answer)
}

#[tokio::test]
async fn malformed_json() {
    let gateway = gateway().await;
    let mut bystander = Bystander::new(&gateway).await;
    let mut http = http(&gateway);
    for body in ["", "{", r#"{"kind":"#, r#"{"kind":"x"} trailing"#, "kind=x", "[{]", "\u{0}", "{\"kind\":\"x\u{1}\"}"]
    {
        for target in ["/v1/tasks", "/v1/sessions"] {
            // A session needs no body.
            if target == "/v1/sessions" && body.is_empty() {
                continue;
            }
            let (status, error) = post(&mut http, target, body).await;
            assert_eq!((status, error.code), (400, ErrorCode::InvalidJson), "{target} {body:?}: {error:?}");
        }
    }
    let (_, error) = post(&mut http, "/v1/tasks", "{\n  \"kind\": \"x\",,\n}").await;
    assert!(error.message.contains("line 2"), "it says where: {}", error.message);
    for text in ["", "{", "hello", r#"{"publish":{"kind":"x"}"#, r#"{"ack":"}"#] {
        let (error, code) = told(&gateway, |work| work.queue_text(text)).await;
        assert_eq!((error.map(|error| error.code), code), (Some(ErrorCode::InvalidJson), 1007), "{text:?}");
    }
    bystander.goes_on().await;
}

#[tokio::test]
async fn wrong_types_and_values_out_of_range() {
    let gateway = gateway().await;
    let mut bystander = Bystander::new(&gateway).await;
    let mut http = http(&gateway);
    let long = "x".repeat(300);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/v1/tasks", json!({"kind": 5}), "kind"),
        ("/v1/tasks", json!({"lane": "plain"}), "kind"),
        ("/v1/tasks", json!({"kind": ""}), "kind"),
        ("/v1/tasks", json!({"kind": long}), "kind"),
        ("/v1/tasks", json!({"kind": "x", "prio": "high"}), "prio"),
        ("/v1/tasks", json!({"kind": "x", "priority": "urgent"}), "urgent"),
        ("/v1/tasks", json!({"kind": "x", "key": ""}), "key"),
        ("/v1/tasks", json!({"kind": "x", "key": long}), "key"),
        ("/v1/tasks", json!({"kind": "x", "idempotency_key": long}), "idempotency"),
        ("/v1/tasks", json!({"kind": "x", "delay_ms": -1}), "-1"),
        ("/v1/tasks", json!({"kind": "x", "delay_ms": 1e30}), "delay_ms"),
        ("/v1/tasks", json!({"kind": "x", "retry": {"backoff": 0.1}}), "backoff"),
        ("/v1/tasks", json!({"kind": "x", "session": "not a session"}), "session"),
        ("/v1/tasks", json!("a task"), "a task"),
        ("/v1/sessions", json!({"id": "no/slashes"}), "session id"),
        ("/v1/sessions", json!({"metadata": []}), "metadata"),
        ("/v1/sessions", json!({"idle_timeout_ms": 1}), "idle_timeout_ms"),
        ("/v1/lanes/plain/lease", json!({"credit": 0}), "credit"),
        ("/v1/lanes/plain/lease", json!({"credit": -1}), "-1"),
        ("/v1/lanes/plain/lease", json!({"credit": 1_001}), "credit"),
        ("/v1/lanes/plain/lease", json!({"credit": 1, "wait_ms": 3_600_000}), "wait_ms"),
        ("/v1/lanes/plain/pause", json!({"for": 1}), "for"),
        ("/v1/dead-letters/replay", json!({"filter": {"reason": "bad luck"}}), "bad luck"),
        ("/v1/dead-letters/replay", json!({"rate_per_s": 0}), "rate_per_s"),
    ];
    // All of them are tried before any of them is complained of.
    let mut complaints = Vec::new();
    for (target, body, word) in cases {
        let (status, error) = post(&mut http, target, &body.to_string()).await;
        if (status, error.code) != (400, ErrorCode::InvalidRequest) || !error.message.contains(word) {
            complaints.push(format!("{target} {body} should be 400 with {word:?}: {status} {error:?}"));
        }
    }
    for target in
        ["/v1/tasks/not-an-id", "/v1/events?after=yesterday", "/v1/events?limit=many", "/v1/sessions?state=asleep"]
    {
        let (status, error) = refused(&get(&mut http, target).await);
        assert!(matches!(status, 400 | 404), "{target}: {error:?}");
        assert!(!error.message.is_empty());
    }
    for (text, word) in [
        (r#"{"ack":5}"#, "ack"),
        (r#"{"ack":"not-an-id"}"#, "ack"),
        (r#"{"credit":"many"}"#, "credit"),
        (r#"{"subscribe":{"lanes":"plain"}}"#, "subscribe"),
        (r#"{"subscribe":{"lanes":[]}}"#, "lane"),
        (r#"{"nack":{"id":"00000000-0000-0000-0000-000000000000","mode":"maybe"}}"#, "maybe"),
        (r#"{"publish":{"kind":"x","prio":"high"}}"#, "prio"),
    ] {
        let (error, code) = told(&gateway, |work| work.queue_text(text)).await;
        if !matches!(code, 1007 | 1008) || !error.as_ref().is_some_and(|error| error.message.contains(word)) {
            complaints.push(format!("{text} should be closed with 1007 or 1008 and {word:?}: {code} {error:?}"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    bystander.goes_on().await;
}

#[tokio::test]
async fn unknown_routes_and_methods_are_told_like_everything_else() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let (status, error) = refused(&get(&mut http, "/v1/nothing").await);
    assert_eq!((status, error.code), (404, ErrorCode::NotFound));
    let (status, error) = refused(&send(&mut http, Method::PUT, "/v1/tasks", &json!({})).await);
    assert_eq!((status, error.code), (405, ErrorCode::MethodNotAllowed));
    let (status, error) = refused(&get(&mut http, "/ws/work").await);
    assert!((400..500).contains(&status) && !error.message.is_empty(), "{status}: {error:?}");
}

#[tokio::test]
async fn an_unknown_lane() {
    let gateway = gateway().await;
    let mut bystander = Bystander::new(&gateway).await;
    let mut http = http(&gateway);
    let (status, error) = post(&mut http, "/v1/lanes/gtp4/lease", "{}").await;
    assert_eq!((status, error.code), (404, ErrorCode::UnknownLane));
    assert!(error.message.contains("gtp4"), "{}", error.message);
    let (error, code) = told(&gateway, |work| work.subscribe(&["plain", "gtp4"], 1)).await;
    let error = error.unwrap();
    assert_eq!((error.code, code), (ErrorCode::UnknownLane, 1008));
    assert!(error.message.contains("gtp4"), "{}", error.message);
    bystander.goes_on().await;
}

#[tokio::test]
async fn bodies_payloads_and_frames_that_are_too_large() {
    // The lanes' configuration has a `[tasks]` section already, so the limit comes from the environment.
    let gateway = setup()
        .config(&format!("[server]\nmax_body_bytes = 200_000\n{LANES}"))
        .env("SQUALL_TASKS__MAX_PAYLOAD_BYTES", "50000")
        .start()
        .await
        .unwrap();
    let mut bystander = Bystander::new(&gateway).await;
    // A body that is not read to its end costs the connection, so each refusal has one of its own.
    let connect = || http(&gateway);
    let task = |bytes: usize| json!({"kind": "x", "payload": "x".repeat(bytes)}).to_string();
    for bytes in [60_000, 300_000] {
        let mut http = connect();
        let (status, error) = post(&mut http, "/v1/tasks", &task(bytes)).await;
        assert_eq!((status, error.code), (413, ErrorCode::TooLarge), "{bytes}");
        assert!(error.message.contains("50000") || error.message.contains("200000"), "{}", error.message);
    }
    // In a batch it is one result among others.
    let mut http = connect();
    let batch = json!([{"kind": "x"}, {"kind": "x", "payload": "x".repeat(60_000)}]);
    let answer = send(&mut http, Method::POST, "/v1/tasks", &batch).await;
    assert_eq!(answer.status, 202);
    let results: Value = answer.json().unwrap();
    assert!(results["results"][0]["id"].is_string(), "{results}");
    assert_eq!(results["results"][1]["error"]["code"], "TooLarge", "{results}");

    // A publish with too large a payload is refused as a publish; a frame of which the gateway will not even read the whole
    // ends the connection.
    let mut work = work(&gateway).await;
    work.publish_json(&task(60_000));
    work.publish_json(&task(10));
    let mut outcomes = Vec::new();
    while outcomes.len() < 2 {
        match within("the outcomes", SOON, work.next()).await.unwrap() {
            Incoming::Outcome { outcome, .. } => outcomes.push(outcome.map_err(|error| error.code)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(outcomes[0], Err(ErrorCode::TooLarge));
    assert!(outcomes[1].is_ok());
    let (error, code) = told(&gateway, |work| {
        work.publish_json(&task(3_000_000));
    })
    .await;
    assert_eq!(code, 1009, "{error:?}");
    let metadata = json!({"metadata": {"x": "x".repeat(70_000)}}).to_string();
    let (status, error) = post(&mut http, "/v1/sessions", &metadata).await;
    assert_eq!((status, error.code), (413, ErrorCode::TooLarge));
    let (status, _) = raw(&gateway, &format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000)));
    assert!((400..500).contains(&status), "{status}");
    bystander.worker.finish().await;
    bystander.worker.finish().await;
    bystander.goes_on().await;
}

#[tokio::test]
async fn frames_that_do_not_exist() {
    let gateway = gateway().await;
    let mut bystander = Bystander::new(&gateway).await;
    for text in [r#"{"hop":1}"#, r#"{"Ack":"00000000-0000-0000-0000-000000000000"}"#] {
        let (error, code) = told(&gateway, |work| work.queue_text(text)).await;
        assert_eq!((error.as_ref().map(|error| error.code), code), (Some(ErrorCode::UnknownFrame), 1003), "{text}");
        assert!(error.unwrap().message.contains(&text[2..5]), "it says which");
    }
    for text in ["[\"ack\"]", "{}", "5", r#"{"ack":"x","credit":1}"#] {
        let (error, code) = told(&gateway, |work| work.queue_text(text)).await;
        assert_eq!((error.map(|error| error.code), code), (Some(ErrorCode::UnknownFrame), 1003), "{text}");
    }
    let (_, code) = told(&gateway, |work| work.socket().queue_frame(Opcode::Binary, |out| out.extend([1, 2, 3]))).await;
    assert_eq!(code, 1003, "binary");
    let (_, code) = told(&gateway, |work| work.socket().queue(|out| out.extend([b'"', 0xff, b'"']))).await;
    assert_eq!(code, 1007, "text that is not UTF-8");
    let (_, code) = told(&gateway, |work| work.socket().queue_raw(&[0x81, 0x05, b'h', b'e', b'l', b'l', b'o'])).await;
    assert!(matches!(code, 1002 | 1008), "an unmasked frame: {code}");
    bystander.goes_on().await;
}

#[tokio::test]
async fn credit_that_is_negative_or_without_end() {
    let gateway = gateway().await;
    let mut bystander = Bystander::new(&gateway).await;
    for text in [r#"{"credit":-5}"#, r#"{"subscribe":{"lanes":["plain"],"credit":-1}}"#, r#"{"credit":4294967296}"#] {
        let (error, code) = told(&gateway, |work| work.queue_text(text)).await;
        assert_eq!(code, 1007, "{text}");
        assert!(error.unwrap().message.contains("credit"), "{text}");
    }
    for text in [
        r#"{"subscribe":{"lanes":["narrow"],"credit":65537}}"#,
        r#"{"credit":1}"#,
        r#"{"subscribe":{"lanes":["narrow"]}}{"subscribe":{"lanes":["narrow"]}}"#,
    ] {
        let (error, code) = told(&gateway, |work| {
            for frame in text.replace("}{", "}\n{").lines() {
                work.queue_text(frame);
            }
        })
        .await;
        assert_eq!((error.map(|error| error.code), code), (Some(ErrorCode::Policy), 1008), "{text}");
    }
    let (error, code) = told(&gateway, |work| {
        work.subscribe(&["narrow"], 60_000);
        work.credit(60_000);
    })
    .await;
    assert_eq!((error.map(|error| error.code), code), (Some(ErrorCode::Policy), 1008));
    bystander.goes_on().await;
}

#[tokio::test]
async fn an_ack_of_what_one_does_not_hold_of_what_is_done_and_of_what_expired() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let mut owner = Worker::new(&gateway, &["brief"], 1).await;
    let mut stranger = Worker::new(&gateway, &["narrow"], 1).await;
    let id = publish(&mut http, json!({"lane": "brief", "kind": "build"})).await;
    let got = owner.take().await;

    async fn not_held(worker: &mut Worker, id: TaskId) -> WireError {
        match within("the error", SOON, worker.work.next()).await.unwrap() {
            Incoming::Error(error) => {
                assert_eq!((error.code, error.id), (ErrorCode::NotHeld, Some(id)), "{error:?}");
                error
            }
            other => panic!("{other:?}"),
        }
    }

    // Somebody else's task, and one that never was.
    let nowhere = TaskId::at(Time(1), 1);
    for id in [id, nowhere] {
        stranger.work.ack(id);
        not_held(&mut stranger, id).await;
        stranger.work.nack(&nack(id, NackMode::Fatal, "mine!"));
        not_held(&mut stranger, id).await;
        stranger.work.extend(id, 1_000);
        not_held(&mut stranger, id).await;
    }
    assert_eq!(http.task(id).await.unwrap().state, TaskState::Leased, "the owner keeps it");

    // Twice.
    owner.ack(&got).await;
    state_of(&mut http, id, TaskState::Done).await;
    owner.work.ack(id);
    not_held(&mut owner, id).await;

    // Too late: the lease of 400 ms ran out, and the task went to somebody else. Nobody else is there to take it first.
    drop(owner);
    eventually("the lane to have no workers", SOON, async || {
        (http.lane("brief").await.ok()?.workers == 0).then_some(())
    })
    .await;
    let late = publish(&mut http, json!({"lane": "brief", "kind": "build"})).await;
    let receipt = {
        let leased = http.lease("brief", 1, 5_000).await.unwrap();
        let tasks = leased.tasks().unwrap();
        assert_eq!((tasks[0].id, tasks[0].attempt), (late, 1));
        tasks[0].receipt
    };
    let again = Worker::new(&gateway, &["brief"], 1).await.take().await;
    assert_eq!((again.id, again.attempt), (late, 2));
    for error in [
        http.ack(late, receipt).await.unwrap_err(),
        http.extend(late, receipt, 1_000).await.unwrap_err(),
        http.nack(
            late,
            &NackRequest { receipt, mode: NackMode::Fail, delay_ms: None, reason: None, pause_lane_ms: None },
        )
        .await
        .unwrap_err(),
    ] {
        assert!(matches!(error, Error::Refused { status: 409, .. }), "{error:?}");
        assert_eq!(error.code(), Some(ErrorCode::NotHeld));
    }
    assert_ne!(again.receipt, receipt, "every lease has another receipt");
    // All these connections are as good as new.
    publish(&mut http, json!({"lane": "narrow", "kind": "build"})).await;
    stranger.finish().await;
}

/// Sends bytes over a plain socket; answers the status and all that came.
fn raw(gateway: &Squall, bytes: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(gateway.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The gateway may well close before it has read all of it.
    let _ = stream.write_all(bytes.as_bytes());
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..read]);
        if read == 0 || answer.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), text)
}

#[tokio::test]
async fn what_is_no_http_at_all() {
    let gateway = gateway().await;
    let mut bystander = Bystander::new(&gateway).await;
    for bytes in [
        "hello\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{0}\u{a5}\u{1}\u{0}\u{0}\u{a1}\u{3}\u{3}",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n",
        "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ] {
        let (status, text) = raw(&gateway, bytes);
        assert!(status == 0 || (400..600).contains(&status), "{bytes:?}: {text}");
    }
    bystander.goes_on().await;
}

#[tokio::test]
async fn a_full_disk() {
    // Small enough to be full soon, large enough for the segments that are made ahead.
    let Some(disk) = SmallDisk::new(24 << 20).unwrap() else {
        eprintln!("NOT RUN: this machine lets nobody mount a small disk, so what a full one does was not tested");
        return;
    };
    let mut gateway = setup()
        .config(&format!("[store]\nsegment_bytes = 1_048_576\n{LANES}"))
        .wrapper(disk.wrapper())
        .data_dir(disk.path())
        .start()
        .await
        .unwrap();
    let mut http = http(&gateway);
    let mut worker = Worker::new(&gateway, &["plain"], 5).await;
    let mut held = Vec::new();
    let mut acknowledged = Vec::new();
    for n in 0..5 {
        publish(&mut http, json!({"lane": "plain", "kind": "early", "payload": n})).await;
        held.push(worker.take().await);
    }
    // Somebody else fills the disk, but for a little.
    disk.fill(gateway.pid(), 128 << 10).unwrap();

    let payload = "x".repeat(20_000);
    let error = loop {
        match try_publish(&mut http, json!({"lane": "steady", "kind": "late", "payload": payload})).await {
            Ok(published) => acknowledged.push(published.id),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 5_000, "the disk is never full");
    };
    assert!(matches!(error, Error::Refused { status: 507, .. }), "{error:?}");
    assert_eq!(error.code(), Some(ErrorCode::StoreFull));
    assert!(error.retry_after_ms().is_some());
    let health = http.health().await.unwrap();
    assert_eq!(health.status, HealthStatus::Degraded, "{health:?}");
    assert!(health.lost.iter().any(|lost| lost == "publish") && !health.dependencies["store"].ok, "{health:?}");

    // What was accepted is finished all the same.
    for got in &held {
        worker.work.ack(got.id);
    }
    worker.work.flush().await.unwrap();
    for got in &held {
        state_of(&mut http, got.id, TaskState::Done).await;
    }

    // Room again: it recovers by itself.
    disk.empty(gateway.pid()).unwrap();
    let id = eventually("publishes to work again", SOON, async || {
        try_publish(&mut http, json!({"lane": "plain", "kind": "again"})).await.ok()
    })
    .await
    .id;
    acknowledged.push(id);
    eventually("health to recover", SOON, async || {
        http.health().await.ok().filter(|health| health.status == HealthStatus::Healthy).map(drop)
    })
    .await;

    if disk.wrapper().is_empty() {
        // The disk of another namespace would be gone with its only process.
        gateway.kill().await.unwrap();
        gateway.restart(true).await.unwrap();
    }
    for id in acknowledged {
        let state = http.task(id).await.unwrap_or_else(|error| panic!("acknowledged and lost: {id}: {error}")).state;
        assert!(matches!(state, TaskState::Ready | TaskState::Leased), "{id} is {state:?}");
    }
    for got in held {
        assert_eq!(http.task(got.id).await.unwrap().state, TaskState::Done);
    }
}

#[tokio::test]
async fn more_connections_than_are_allowed() {
    let gateway = gateway_with("[server]\nmax_connections = 4\n").await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut http = http(&gateway);
        http.lanes().await.unwrap();
        kept.push(http);
    }
    // The fourth may be the readiness check's, which takes a moment to go.
    let refusal = eventually("a refusal", SOON, async || {
        let mut http = http(&gateway);
        let answer = http.request(Method::GET, "/v1/lanes", &[], Bytes::new()).await;
        match answer {
            Ok(answer) if answer.status.is_success() => {
                kept.push(http);
                None
            }
            Ok(answer) => Some(refused(&answer)),
            Err(_) => None,
        }
    })
    .await;
    assert_eq!((refusal.0, refusal.1.code), (503, ErrorCode::TooManyConnections));
    for http in &mut kept {
        http.lanes().await.unwrap();
    }
    kept.pop();
    eventually("room for another", SOON, async || {
        let mut http = Http::new(endpoint(&gateway), Options::default());
        http.lanes().await.ok().map(drop)
    })
    .await;
}
