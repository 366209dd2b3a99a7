//! `/v1/sessions`: create, look, change, keep alive, end, report.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use squall_protocol::{
    EndSession, ErrorBody, HistoryPage, NewSession, SessionId, SessionReport, SessionState, SessionView, Time,
    UpdateSession,
};
use squall_store::ListSessions;
use utoipa::IntoParams;

use super::extract::{Id, Json, Params, json, page_limit};
use crate::app::App;
use crate::auth::Caller;
use crate::check;
use crate::config::Scope;
use crate::error::Refusal;

/// Create a session
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = NewSession, responses(
    (status = 201, description = "It holds a slot", body = SessionView),
    (status = 409, description = "`Conflict`: the id exists", body = ErrorBody),
    (status = 429, description = "`SessionLimit`: all slots are taken", body = ErrorBody),
))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(new): Json<NewSession>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Publish)?;
    app.accepts_work()?;
    check::bound("idle_timeout_ms", new.idle_timeout_ms, 100, 86_400_000)?;
    check::metadata(&new.metadata)?;
    let session = app.store.create_session(&caller.tenant, new).await?;
    Ok((StatusCode::CREATED, json(&session)).into_response())
}

/// Which sessions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Only those in this state.
    state: Option<SessionState>,
    /// Only those of this tenant; a token sees its own unless it is an administrator's.
    tenant: Option<String>,
    /// Only those created at or after this instant, RFC 3339.
    since: Option<Time>,
    /// Only those created before this instant.
    until: Option<Time>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 1,000, 100 by default.
    limit: Option<u64>,
}

/// List sessions, newest first: active ones, ended ones that are remembered, and those that are archived
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions", params(List), responses(
    (status = 200, description = "A page; with `incomplete` when the archive does not answer, which may have more", body = HistoryPage<SessionView>),
    (status = 403, description = "`Forbidden`: another tenant's", body = ErrorBody),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(list): Params<List>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    let tenant = caller.sees_of(list.tenant.as_deref())?;
    let wanted = ListSessions {
        state: list.state,
        since: list.since,
        until: list.until,
        after: None,
        limit: page_limit(list.limit)?,
    };
    Ok(json(&app.history.sessions(tenant, wanted, list.cursor.as_deref()).await?))
}

/// Look at a session, also at one that is only archived
#[utoipa::path(get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session")), responses(
    (status = 200, description = "The session", body = SessionView),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 503, description = "`HistoryUnavailable`: it may be archived, and the archive does not answer", body = ErrorBody),
))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    Ok(json(&app.history.session(caller.sees(), id).await?))
}

/// Merge metadata into an active session
#[utoipa::path(patch, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session")), request_body = UpdateSession, responses(
    (status = 200, description = "The session as it is now", body = SessionView),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 409, description = "`SessionEnded`", body = ErrorBody),
))]
pub(super) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Json(update): Json<UpdateSession>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Publish)?;
    check::metadata(&update.metadata)?;
    Ok(json(&app.store.update_session(caller.sees(), id, update).await?))
}

/// Keep a session from timing out
#[utoipa::path(post, path = "/v1/sessions/{id}/heartbeat", tag = "sessions",
    params(("id" = String, Path, description = "The session")), responses(
    (status = 200, description = "The session as it is now", body = SessionView),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 409, description = "`SessionEnded`", body = ErrorBody),
))]
pub(super) async fn heartbeat(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Publish)?;
    Ok(json(&app.store.heartbeat(caller.sees(), id).await?))
}

/// End a session; its slot is free again
#[utoipa::path(post, path = "/v1/sessions/{id}/end", tag = "sessions",
    params(("id" = String, Path, description = "The session")), request_body = EndSession, responses(
    (status = 200, description = "The session as it ended", body = SessionView),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 409, description = "`SessionEnded`", body = ErrorBody),
))]
pub(super) async fn end(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Json(mut end): Json<EndSession>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Publish)?;
    if !matches!(end.status, SessionState::Completed | SessionState::Failed) {
        let message = format!("status is {:?}: a client ends a session as completed or failed", end.status.as_str());
        return Err(Refusal::invalid(message));
    }
    if let Some(reason) = &mut end.reason {
        reason.truncate(check::cut(reason, check::REASON_BYTES).len());
    }
    Ok(json(&app.store.end_session(caller.sees(), id, end).await?))
}

/// A session, and how long it took
#[utoipa::path(get, path = "/v1/sessions/{id}/report", tag = "sessions",
    params(("id" = String, Path, description = "The session")), responses(
    (status = 200, description = "The report", body = SessionReport),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 503, description = "`HistoryUnavailable`: it may be archived, and the archive does not answer", body = ErrorBody),
))]
pub(super) async fn report(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    let session = app.history.session(caller.sees(), id).await?;
    let until = session.ended_at.unwrap_or_else(squall_store::now);
    let tasks = session.tasks;
    let finished = tasks.done + tasks.dead + tasks.cancelled;
    Ok(json(&SessionReport {
        duration_ms: until.since_ms(session.created_at),
        tasks_open: tasks.published.saturating_sub(finished),
        session,
    }))
}
