//! `POST /hooks/github`: a signed webhook becomes exactly one task, by rules, or is refused by name.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use squall_protocol::task::Published;
use squall_protocol::{ErrorBody, ErrorCode};
use squall_store::TaskSpec;

use crate::app::App;
use crate::auth::Caller;
use crate::check;
use crate::config::GithubRule;
use crate::error::Refusal;
use crate::http::extract::{RawBody, header, json, parse};
use crate::http::tasks::publish_spec;
use crate::{rules, signature};

/// What is read of a payload; the rest is the worker's business.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    action: Option<std::borrow::Cow<'a, str>>,
}

/// Take a GitHub webhook
///
/// The task's payload is `{"event":…,"action":…,"delivery":…,"body":…}` with GitHub's payload as `body`. The delivery's id is the
/// idempotency key, so that a redelivery publishes nothing new.
#[utoipa::path(post, path = "/hooks/github", tag = "hooks", params(
    ("X-GitHub-Event" = String, Header, description = "The event"),
    ("X-GitHub-Delivery" = String, Header, description = "The delivery's id"),
    ("X-Hub-Signature-256" = String, Header, description = "`sha256=` and the HMAC of the body with the webhook's secret"),
), request_body(content = Object, description = "GitHub's payload"), responses(
    (status = 202, description = "It is a task", body = Published),
    (status = 401, description = "`BadSignature`", body = ErrorBody),
    (status = 404, description = "`NotFound`: no secret is configured", body = ErrorBody),
    (status = 422, description = "`NoRule`: no rule for this event and action", body = ErrorBody),
), security(()))]
pub(in crate::http) async fn receive(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    let github = &app.config.hooks.github;
    let Some(secret) = &github.secret else {
        return Err(Refusal::new(ErrorCode::NotFound, "no webhook secret is configured: set hooks.github.secret"));
    };
    let signed = header(&headers, "x-hub-signature-256")?;
    if !signed.is_some_and(|signed| signature::is_signed(secret, &body, signed)) {
        let what = if signed.is_some() { "is not this body's" } else { "is missing" };
        return Err(Refusal::new(ErrorCode::BadSignature, format!("X-Hub-Signature-256 {what}")));
    }
    app.accepts_work()?;
    let event = required(&headers, "x-github-event")?;
    let delivery = required(&headers, "x-github-delivery")?;
    check::length("X-GitHub-Delivery", delivery, 256)?;
    let payload: Payload<'_> = parse("the payload", &body)?;
    let action = payload.action.as_deref();
    let rule = find_rule(&github.rules, event, action).ok_or_else(|| {
        let of = action.map_or_else(String::new, |action| format!(", action {action:?}"));
        Refusal::new(ErrorCode::NoRule, format!("no rule for event {event:?}{of}: add one to [[hooks.github.rules]]"))
    })?;
    let spec = spec(rule, event, action, delivery, &body)?;
    let most = app.config.tasks.max_payload_bytes;
    if spec.payload.len() > most {
        let message = format!("event {event:?} is {} bytes: at most {most}", spec.payload.len());
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    let published = publish_spec(&app, &Caller::hook("github", &github.tenant), spec).await?;
    Ok((StatusCode::ACCEPTED, json(&published)).into_response())
}

fn required<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    header(headers, name)?.ok_or_else(|| Refusal::invalid(format!("the header {name} is missing")))
}

/// The first rule that matches.
fn find_rule<'a>(rules: &'a [GithubRule], event: &str, action: Option<&str>) -> Option<&'a GithubRule> {
    rules.iter().find(|rule| {
        let action_matches = |wanted: &str| wanted == "*" || Some(wanted) == action;
        rules::is_wanted(&rule.event, event) && rule.action.as_deref().is_none_or(action_matches)
    })
}

fn spec(
    rule: &GithubRule,
    event: &str,
    action: Option<&str>,
    delivery: &str,
    body: &[u8],
) -> Result<TaskSpec, Refusal> {
    let kind = match (&rule.kind, action) {
        (Some(kind), _) => kind.clone(),
        (None, Some(action)) => format!("github.{event}.{action}"),
        (None, None) => format!("github.{event}"),
    };
    check::length("the task's kind", &kind, 128)?;
    let body =
        std::str::from_utf8(body).map_err(|_| Refusal::new(ErrorCode::InvalidJson, "the payload is not UTF-8"))?;
    // serde's own strings; the body stays as GitHub wrote it.
    let payload = format!(
        r#"{{"event":{},"action":{},"delivery":{},"body":{}}}"#,
        serde_json::json!(event),
        serde_json::json!(action),
        serde_json::json!(delivery),
        body.trim_ascii()
    );
    Ok(rule.becomes().task(kind, payload, delivery))
}

#[cfg(test)]
mod tests {
    use squall_protocol::Priority;

    use super::*;

    fn rule(event: &str, action: Option<&str>, lane: &str) -> GithubRule {
        GithubRule {
            event: event.into(),
            action: action.map(Into::into),
            lane: Some(lane.into()),
            kind: None,
            priority: Some(Priority::High),
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = [
            rule("workflow_run", Some("completed"), "a"),
            rule("workflow_run", Some("*"), "b"),
            rule("push", None, "c"),
            rule("*", Some("opened"), "d"),
        ];
        let cases = [
            ("workflow_run", Some("completed"), Some("a")),
            ("workflow_run", Some("requested"), Some("b")),
            ("push", None, Some("c")),
            ("issues", Some("opened"), Some("d")),
            ("issues", Some("closed"), None),
            ("ping", None, None),
        ];
        for (event, action, lane) in cases {
            let found = find_rule(&rules, event, action).and_then(|rule| rule.lane.as_deref());
            assert_eq!(found, lane, "{event} {action:?}");
        }
    }

    #[test]
    fn the_task_holds_what_github_sent() {
        let body = br#" {"action":"opened", "n": 1.0} "#;
        let spec = spec(&rule("issues", None, "x"), "issues", Some("opened"), "d-1", body).unwrap();
        assert_eq!(&*spec.kind, "github.issues.opened");
        assert_eq!(spec.idempotency_key.as_deref(), Some("d-1"));
        assert_eq!(
            &*spec.payload,
            r#"{"event":"issues","action":"opened","delivery":"d-1","body":{"action":"opened", "n": 1.0}}"#
        );
    }
}
