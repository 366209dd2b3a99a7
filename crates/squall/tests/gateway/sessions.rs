//! Sessions: slots, time-outs, metadata, and that all of it survives a kill.

use std::time::Duration;

use http::Method;
use serde_json::json;
use squall_client::Http;
use squall_protocol::{EndSession, ErrorCode, NewSession, SessionId, SessionState, TaskState, UpdateSession};
use squall_testkit::{eventually, exposition::Samples};

use crate::support::*;

fn named(id: &str) -> NewSession {
    NewSession { id: Some(SessionId::new(id).unwrap()), ..NewSession::default() }
}

fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().unwrap().clone()
}

async fn state(http: &mut Http, id: &SessionId) -> SessionState {
    http.session(id).await.unwrap().state
}

#[tokio::test]
async fn one_session_more_than_there_are_slots_is_refused_counted_and_visible() {
    let gateway = gateway_with("[sessions]\nmax_concurrent = 2\nmax_per_tenant = 2").await;
    let mut http = http(&gateway);
    let first = http.create_session(&NewSession::default()).await.unwrap();
    http.create_session(&NewSession::default()).await.unwrap();
    for refusals in 1..=3 {
        let answer = send(&mut http, Method::POST, "/v1/sessions", &json!({})).await;
        let (status, error) = refused(&answer);
        assert_eq!((status, error.code), (429, ErrorCode::SessionLimit));
        assert!(error.message.contains('2'), "{}", error.message);
        assert!(error.retry_after_ms.is_some() && answer.headers.contains_key("retry-after"));
        let stats = http.stats().await.unwrap();
        assert_eq!((stats.sessions["active"], stats.sessions_refused), (2, refusals));
    }
    let samples = Samples::parse(&http.metrics().await.unwrap()).unwrap();
    let refused = samples.names().into_iter().find(|name| name.contains("session") && name.contains("refused"));
    assert_eq!(samples.sum(refused.expect("a metric of refused sessions"), &[]), 3.0);

    http.end_session(&first.id, &EndSession::default()).await.unwrap();
    http.create_session(&NewSession::default()).await.unwrap();
}

#[tokio::test]
async fn a_session_lives_from_create_to_end() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let id = SessionId::new("chat:42").unwrap();
    let metadata = object(json!({"user": {"name": "Ada", "lang": "en"}, "tags": [1, 2], "gone": true}));
    let created = http
        .create_session(&NewSession { id: Some(id.clone()), metadata, idle_timeout_ms: Some(60_000) })
        .await
        .unwrap();
    assert_eq!((created.state, created.idle_timeout_ms, &created.id), (SessionState::Active, 60_000, &id));
    assert_eq!(http.create_session(&named("chat:42")).await.unwrap_err().code(), Some(ErrorCode::Conflict));

    // RFC 7386: objects merge, null removes, everything else replaces.
    let metadata = object(json!({"user": {"lang": "de"}, "tags": [3], "gone": null, "new": 1}));
    let updated = http.update_session(&id, &UpdateSession { metadata }).await.unwrap();
    let expected = object(json!({"user": {"name": "Ada", "lang": "de"}, "tags": [3], "new": 1}));
    assert_eq!(updated.metadata, expected);

    let beaten = http.heartbeat(&id).await.unwrap();
    assert!(beaten.last_activity_at >= updated.last_activity_at);
    let task = publish(&mut http, json!({"lane": "plain", "kind": "turn", "session": id})).await;

    let end = EndSession { status: SessionState::Failed, reason: Some("hung up".into()) };
    let ended = http.end_session(&id, &end).await.unwrap();
    assert_eq!((ended.state, ended.reason.as_deref(), ended.expires_at), (SessionState::Failed, Some("hung up"), None));
    for error in [
        http.heartbeat(&id).await.unwrap_err(),
        http.update_session(&id, &UpdateSession::default()).await.unwrap_err(),
        http.end_session(&id, &EndSession::default()).await.unwrap_err(),
        try_publish(&mut http, json!({"kind": "turn", "session": id})).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Some(ErrorCode::SessionEnded), "{error}");
    }
    assert_eq!(http.task(task).await.unwrap().state, TaskState::Ready, "the lane keeps what was published");

    let report = http.session_report(&id).await.unwrap();
    assert_eq!((report.session.state, report.tasks_open), (SessionState::Failed, 1));
    assert_eq!(report.duration_ms, ended.ended_at.unwrap().since_ms(created.created_at));

    let nobody = SessionId::new("nobody").unwrap();
    for error in [
        http.session(&nobody).await.unwrap_err(),
        http.heartbeat(&nobody).await.unwrap_err(),
        http.session_report(&nobody).await.unwrap_err(),
        try_publish(&mut http, json!({"kind": "turn", "session": nobody})).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Some(ErrorCode::NotFound), "{error}");
    }
}

#[tokio::test]
async fn sessions_are_listed_newest_first_page_by_page() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(http.create_session(&named(&format!("s{n}"))).await.unwrap().id);
        // Times count milliseconds; order among equals is not promised.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    http.end_session(&ids[1], &EndSession::default()).await.unwrap();
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let page = http.sessions(Some(SessionState::Active), cursor.as_deref(), 3).await.unwrap();
        listed.extend(page.items.into_iter().map(|session| session.id.to_string()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, ["s4", "s3", "s2", "s0"]);
    let completed = http.sessions(Some(SessionState::Completed), None, 10).await.unwrap();
    assert_eq!(completed.items.len(), 1);
}

#[tokio::test]
async fn an_idle_session_times_out_frees_its_slot_and_its_tasks_follow_their_lane() {
    let gateway = gateway_with(
        r#"
[sessions]
max_concurrent = 2
max_per_tenant = 2
idle_timeout_ms = 3000
[lanes.cancels]
on_session_end = "cancel"
[lanes.buries]
on_session_end = "dead_letter"
"#,
    )
    .await;
    let mut http = http(&gateway);
    let idle = http.create_session(&named("idle")).await.unwrap().id;
    let busy = http.create_session(&named("busy")).await.unwrap().id;
    let mut tasks = Vec::new();
    for lane in ["plain", "cancels", "buries"] {
        tasks.push(publish(&mut http, json!({"lane": lane, "kind": "turn", "session": idle})).await);
    }
    assert_eq!(http.create_session(&NewSession::default()).await.unwrap_err().code(), Some(ErrorCode::SessionLimit));

    eventually("the idle session to time out", SOON, async || {
        http.heartbeat(&busy).await.unwrap();
        (state(&mut http, &idle).await == SessionState::TimedOut).then_some(())
    })
    .await;
    assert_eq!(state(&mut http, &busy).await, SessionState::Active, "a heartbeat keeps it");
    http.create_session(&NewSession::default()).await.unwrap();
    state_of(&mut http, tasks[0], TaskState::Ready).await;
    state_of(&mut http, tasks[1], TaskState::Cancelled).await;
    state_of(&mut http, tasks[2], TaskState::Dead).await;
    let page = http.events(None, 1_000, &[], &["session_timed_out"]).await.unwrap();
    assert!(page.items.iter().any(|event| event.entity_id == "idle"), "{page:?}");
    assert_eq!(http.stats().await.unwrap().sessions["timed_out"], 1);
}

#[tokio::test]
async fn sessions_and_their_slots_survive_a_kill() {
    let mut gateway = gateway_with("[sessions]\nmax_concurrent = 3\nmax_per_tenant = 3").await;
    let mut http = http(&gateway);
    let metadata = object(json!({"step": 1}));
    let kept = NewSession { metadata: metadata.clone(), ..named("kept") };
    http.create_session(&kept).await.unwrap();
    http.create_session(&named("ended")).await.unwrap();
    let short = NewSession { idle_timeout_ms: Some(300), ..named("short") };
    http.create_session(&short).await.unwrap();
    http.end_session(&SessionId::new("ended").unwrap(), &EndSession::default()).await.unwrap();
    http.create_session(&named("third")).await.unwrap();
    publish(&mut http, json!({"kind": "turn", "session": "kept"})).await;

    gateway.kill().await.unwrap();
    // It also times out what was idle while nobody was there to see it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.restart(true).await.unwrap();

    let kept = http.session(&SessionId::new("kept").unwrap()).await.unwrap();
    assert_eq!((kept.state, kept.metadata, kept.tasks.published), (SessionState::Active, metadata, 1));
    assert_eq!(state(&mut http, &SessionId::new("ended").unwrap()).await, SessionState::Completed);
    let short = SessionId::new("short").unwrap();
    eventually("the short one to time out", SOON, async || {
        (state(&mut http, &short).await == SessionState::TimedOut).then_some(())
    })
    .await;
    http.create_session(&named("fourth")).await.unwrap();
    let error = http.create_session(&named("fifth")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::SessionLimit), "kept, third and fourth hold the three slots");
}
