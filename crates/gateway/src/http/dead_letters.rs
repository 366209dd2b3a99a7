//! `/v1/dead-letters`: list, inspect, send back, delete.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use squall_protocol::dead_letter::{Handled, ReplayRequest};
use squall_protocol::{DeadLetter, DeadLetterFilter, DeadReason, ErrorBody, Page, SessionId, TaskId, Time};
use squall_store::{ListDeadLetters, ReplayHow, Which};
use utoipa::IntoParams;

use super::extract::{Id, Json, Params, json, page_limit};
use crate::app::App;
use crate::auth::Caller;
use crate::config::Scope;
use crate::error::Refusal;

/// Which dead letters. What is absent does not restrict.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Of this lane.
    lane: Option<String>,
    /// Of this kind.
    kind: Option<String>,
    /// Given up for this reason.
    reason: Option<DeadReason>,
    /// Of this session.
    #[param(value_type = Option<String>)]
    session: Option<SessionId>,
    /// Given up before this instant.
    #[param(value_type = Option<String>)]
    before: Option<Time>,
    /// Given up at or after this instant.
    #[param(value_type = Option<String>)]
    since: Option<Time>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 1,000, 100 by default.
    limit: Option<u64>,
    /// With their payloads.
    #[serde(default)]
    payload: bool,
}

/// List dead letters, oldest first
#[utoipa::path(get, path = "/v1/dead-letters", tag = "dead letters", params(List), responses(
    (status = 200, description = "A page", body = Page<DeadLetter>),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(list): Params<List>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    let limit = page_limit(list.limit)?;
    let List { lane, kind, reason, session, before, since, cursor, payload, .. } = list;
    let filter = DeadLetterFilter { lane, kind, reason, session, before, since };
    let list = ListDeadLetters { filter, cursor, limit, payload };
    Ok(json(&app.store.dead_letters(caller.sees(), list).await?))
}

/// Inspect a dead letter, with its payload
#[utoipa::path(get, path = "/v1/dead-letters/{id}", tag = "dead letters",
    params(("id" = String, Path, description = "The task")), responses(
    (status = 200, description = "The dead letter", body = DeadLetter),
    (status = 404, description = "`NotFound`", body = ErrorBody),
))]
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<TaskId>) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    Ok(json(&app.store.dead_letter(caller.sees(), id).await?))
}

/// Send one back to its lane
#[utoipa::path(post, path = "/v1/dead-letters/{id}/replay", tag = "dead letters",
    params(("id" = String, Path, description = "The task")), responses(
    (status = 200, description = "It is sent back", body = Handled),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 409, description = "`ReplayLimit`: sent back as often as is allowed", body = ErrorBody),
    (status = 429, description = "`LaneFull`", body = ErrorBody),
))]
pub(super) async fn replay_one(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<TaskId>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    app.accepts_work()?;
    let how = ReplayHow { by: (&*caller.name).into(), rate_per_s: None, limit: None };
    Ok(json(&app.store.replay(caller.sees(), Which::One(id), how).await?))
}

/// Send all that match back to their lanes, at a rate if wanted
#[utoipa::path(post, path = "/v1/dead-letters/replay", tag = "dead letters", request_body = ReplayRequest, responses(
    (status = 200, description = "How many", body = Handled),
))]
pub(super) async fn replay(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(request): Json<ReplayRequest>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    app.accepts_work()?;
    if let Some(rate) = request.rate_per_s
        && !(0.001..=1_000_000.0).contains(&rate)
    {
        return Err(Refusal::invalid(format!("rate_per_s is {rate}: it is 0.001 to 1,000,000")));
    }
    let how = ReplayHow { by: (&*caller.name).into(), rate_per_s: request.rate_per_s, limit: request.limit };
    Ok(json(&app.store.replay(caller.sees(), Which::Filter(request.filter), how).await?))
}

/// Delete one for good
#[utoipa::path(delete, path = "/v1/dead-letters/{id}", tag = "dead letters",
    params(("id" = String, Path, description = "The task")), responses(
    (status = 200, description = "It is deleted", body = Handled),
    (status = 404, description = "`NotFound`", body = ErrorBody),
))]
pub(super) async fn purge_one(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<TaskId>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    Ok(json(&app.store.purge(caller.sees(), Which::One(id)).await?))
}

/// Which dead letters to delete: a filter, or `all=true`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Purge {
    /// Of this lane.
    lane: Option<String>,
    /// Of this kind.
    kind: Option<String>,
    /// Given up for this reason.
    reason: Option<DeadReason>,
    /// Of this session.
    #[param(value_type = Option<String>)]
    session: Option<SessionId>,
    /// Given up before this instant.
    #[param(value_type = Option<String>)]
    before: Option<Time>,
    /// Given up at or after this instant.
    #[param(value_type = Option<String>)]
    since: Option<Time>,
    /// Needed when there is no filter, so that a forgotten one does not delete everything.
    #[serde(default)]
    all: bool,
}

/// Delete all that match for good
#[utoipa::path(delete, path = "/v1/dead-letters", tag = "dead letters", params(Purge), responses(
    (status = 200, description = "How many", body = Handled),
    (status = 400, description = "`InvalidRequest`: neither a filter nor `all=true`", body = ErrorBody),
))]
pub(super) async fn purge(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(purge): Params<Purge>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    let Purge { lane, kind, reason, session, before, since, all } = purge;
    let filter = DeadLetterFilter { lane, kind, reason, session, before, since };
    if filter == DeadLetterFilter::default() && !all {
        return Err(Refusal::invalid("no filter: say all=true to delete every dead letter"));
    }
    Ok(json(&app.store.purge(caller.sees(), Which::Filter(filter)).await?))
}
