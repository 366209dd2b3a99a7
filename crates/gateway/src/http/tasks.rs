//! `/v1/tasks`: publish one or many, look, withdraw, and settle a lease by its receipt.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use squall_protocol::task::{
    AckRequest, ExtendRequest, Extended, NackRequest, PublishResult, PublishResults, Published,
};
use squall_protocol::{
    ErrorBody, ErrorCode, HistoryPage, NewTask, Receipt, SessionId, TaskId, TaskState, TaskView, Text, Time,
};
use squall_store::{Holder, ListTasks, SettleVerb, Settled, Settlement, TaskSpec};

use utoipa::IntoParams;

use super::extract::{Id, Json, Params, RawBody, header, json, page_limit, parse};
use crate::app::App;
use crate::auth::Caller;
use crate::check;
use crate::config::Scope;
use crate::error::Refusal;

/// What a publish may send.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[allow(dead_code, clippy::large_enum_variant, reason = "it is only described, never made")]
pub(super) enum PublishBody<'a> {
    One(NewTask<'a>),
    Batch(Vec<NewTask<'a>>),
}

/// What a publish answers: `Published` to one task, `PublishResults` to a batch.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is only described, never made")]
pub(super) enum PublishAnswer {
    One(Published),
    Batch(PublishResults),
}

/// Publish a task, or many: an array, or one JSON text per line as `application/x-ndjson`
#[utoipa::path(post, path = "/v1/tasks", tag = "tasks",
    request_body(content((PublishBody = "application/json"), (String = "application/x-ndjson"))),
    params(("Idempotency-Key" = Option<String>, Header, description = "For a single task: the same key within 24 h answers the first task's id")),
    responses(
    (status = 202, description = "It is on disk; of a batch, what became of each in the order sent", body = PublishAnswer),
    (status = 400, description = "`InvalidJson`, `InvalidRequest`: what is wrong, and where", body = ErrorBody),
    (status = 404, description = "`UnknownLane` and no default lane; `NotFound`: no such session", body = ErrorBody),
    (status = 409, description = "`SessionEnded`", body = ErrorBody),
    (status = 413, description = "`TooLarge`", body = ErrorBody),
    (status = 429, description = "`LaneFull`", body = ErrorBody),
    (status = 503, description = "`Overloaded`, `StoreUnavailable`, `Draining`", body = ErrorBody),
    (status = 507, description = "`StoreFull`: nothing was stored", body = ErrorBody),
))]
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    caller.may(Scope::Publish)?;
    app.accepts_work()?;
    let key = header(&headers, "idempotency-key")?;
    let batch = if is_ndjson(&headers) {
        lines(&body)
    } else if body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
        parse::<Vec<&RawValue>>("the body", &body)?.into_iter().map(|raw| raw.get().as_bytes()).collect()
    } else {
        return publish_one(&app, &caller, &body, key).await;
    };
    if key.is_some() {
        return Err(Refusal::invalid(
            "the header Idempotency-Key is for a single task; in a batch each task has its own idempotency_key",
        ));
    }
    publish_batch(&app, &caller, &batch).await
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/x-ndjson") || essence.eq_ignore_ascii_case("application/ndjson")
}

/// The lines that hold something.
fn lines(body: &[u8]) -> Vec<&[u8]> {
    body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect()
}

async fn publish_one(app: &App, caller: &Caller, body: &[u8], key: Option<&str>) -> Result<Response, Refusal> {
    let mut new: NewTask<'_> = parse("the body", body)?;
    match (key, &new.idempotency_key) {
        (Some(header), Some(field)) if header != field.as_str() => {
            return Err(Refusal::invalid("the header Idempotency-Key and the field idempotency_key differ"));
        }
        (Some(header), _) => new.idempotency_key = Some(Text::from(header)),
        (None, _) => {}
    }
    let spec = check::task(new, app.config.tasks.max_payload_bytes)?;
    let published = publish_spec(app, caller, spec).await?;
    Ok((StatusCode::ACCEPTED, json(&published)).into_response())
}

/// Publishes one task.
pub(super) async fn publish_spec(app: &App, caller: &Caller, spec: TaskSpec) -> Result<Published, Refusal> {
    #[cfg(debug_assertions)]
    if let Some(published) = crate::weakness::publish(app, &caller.tenant, &spec).await {
        return published;
    }
    let mut results = app.store.publish(&caller.tenant, vec![spec]).await;
    match results.pop() {
        Some(result) => Ok(result?),
        None => Err(Refusal::new(ErrorCode::Internal, "the store gave no answer to this task")),
    }
}

async fn publish_batch(app: &App, caller: &Caller, batch: &[&[u8]]) -> Result<Response, Refusal> {
    let most = app.config.tasks.max_batch;
    if batch.len() > most {
        let message = format!("the batch holds {} tasks: at most {most}", batch.len());
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    // Each on its own: what is refused here keeps its place, and does not hold back the others.
    let mut specs = Vec::with_capacity(batch.len());
    let checked: Vec<Option<Refusal>> = batch
        .iter()
        .enumerate()
        .map(|(i, text)| {
            let what = format!("task {i}");
            match parse(&what, text).and_then(|new| check::task(new, app.config.tasks.max_payload_bytes)) {
                Ok(spec) => {
                    specs.push(spec);
                    None
                }
                Err(refusal) => Some(refusal),
            }
        })
        .collect();
    let mut results =
        if specs.is_empty() { Vec::new() } else { app.store.publish(&caller.tenant, specs).await }.into_iter();
    let mut answer = Vec::with_capacity(checked.len());
    for refused in checked {
        let result = match refused {
            Some(refusal) => Err(refusal),
            None => match results.next() {
                Some(result) => result.map_err(Refusal::from),
                None => Err(Refusal::new(ErrorCode::Internal, "the store gave no answer to this task")),
            },
        };
        answer.push(match result {
            Ok(published) => PublishResult::Published(published),
            Err(refusal) => PublishResult::Refused(ErrorBody { error: refusal.error }),
        });
    }
    Ok((StatusCode::ACCEPTED, json(&PublishResults { results: answer })).into_response())
}

/// Which tasks to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Only those that ended so: `done`, `cancelled` or `dead`.
    state: Option<TaskState>,
    /// Of this lane.
    lane: Option<String>,
    /// Of this tenant; a token sees its own unless it is an administrator's.
    tenant: Option<String>,
    /// Of this session.
    session: Option<SessionId>,
    /// Of this kind.
    kind: Option<String>,
    /// Published at or after this instant, RFC 3339, by the time in their ids.
    since: Option<Time>,
    /// Published before this instant.
    until: Option<Time>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 1,000, 100 by default.
    limit: Option<u64>,
}

/// List what is over, newest first: finished tasks that are remembered, dead letters, and what is archived
///
/// Tasks that wait or are leased are not history: `/v1/lanes` counts them, `/v1/tasks/{id}` shows each.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", params(List), responses(
    (status = 200, description = "A page; with `incomplete` when the archive does not answer, which may have more", body = HistoryPage<TaskView>),
    (status = 400, description = "`InvalidRequest`: a state that is no end, or a cursor that no list gave", body = ErrorBody),
    (status = 403, description = "`Forbidden`: another tenant's", body = ErrorBody),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(list): Params<List>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    let tenant = caller.sees_of(list.tenant.as_deref())?;
    if let Some(state) = list.state.filter(|state| !state.is_over()) {
        return Err(Refusal::invalid(format!(
            "state is {:?}; listed are done, cancelled and dead. /v1/lanes counts what waits and what is leased",
            state.as_str()
        )));
    }
    let wanted = ListTasks {
        state: list.state,
        lane: list.lane,
        kind: list.kind,
        session: list.session,
        since: list.since,
        until: list.until,
        after: None,
        limit: page_limit(list.limit)?,
    };
    Ok(json(&app.history.tasks(tenant, wanted, list.cursor.as_deref()).await?))
}

/// Look at a task, also at one that is only archived
#[utoipa::path(get, path = "/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "The task")), responses(
    (status = 200, description = "The task; finished ones are remembered for a while, and archived if there is an archive", body = TaskView),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 503, description = "`HistoryUnavailable`: it may be archived, and the archive does not answer", body = ErrorBody),
))]
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<TaskId>) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    Ok(json(&app.history.task(caller.sees(), id).await?))
}

/// Withdraw a task that no worker has
#[utoipa::path(delete, path = "/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "The task")), responses(
    (status = 204, description = "It is withdrawn"),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 409, description = "`NotCancellable`: it is finished, or a worker has it", body = ErrorBody),
))]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<TaskId>,
) -> Result<StatusCode, Refusal> {
    caller.may(Scope::Publish)?;
    app.store.cancel(caller.sees(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Acknowledge a leased task
#[utoipa::path(post, path = "/v1/tasks/{id}/ack", tag = "tasks",
    params(("id" = String, Path, description = "The task")), request_body = AckRequest, responses(
    (status = 204, description = "It is done"),
    (status = 409, description = "`NotHeld`: finished already, or the lease expired", body = ErrorBody),
))]
pub(super) async fn ack(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<TaskId>,
    Json(ack): Json<AckRequest>,
) -> Result<StatusCode, Refusal> {
    settle(&app, &caller, id, ack.receipt, SettleVerb::Ack).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What became of a refused task.
#[derive(Debug, serde::Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct Nacked {
    /// When it is tried again at the earliest; absent when it is among the dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_at: Option<squall_protocol::Time>,
    /// True when it is among the dead letters.
    dead: bool,
}

/// Refuse a leased task: it failed, was not tried, or will never work
#[utoipa::path(post, path = "/v1/tasks/{id}/nack", tag = "tasks",
    params(("id" = String, Path, description = "The task")), request_body = NackRequest, responses(
    (status = 200, description = "What becomes of it", body = Nacked),
    (status = 409, description = "`NotHeld`: finished already, or the lease expired", body = ErrorBody),
))]
pub(super) async fn nack(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<TaskId>,
    Json(nack): Json<NackRequest>,
) -> Result<Response, Refusal> {
    check::bound("delay_ms", nack.delay_ms, 0, check::YEAR_MS)?;
    check::bound("pause_lane_ms", nack.pause_lane_ms, 0, check::YEAR_MS)?;
    let verb = SettleVerb::Nack {
        mode: nack.mode,
        delay_ms: nack.delay_ms,
        reason: nack.reason.map(|reason| check::cut(&reason, check::REASON_BYTES).into()),
        pause_lane_ms: nack.pause_lane_ms.filter(|ms| *ms > 0),
    };
    let settled = settle(&app, &caller, id, nack.receipt, verb).await?;
    let retry_at = if let Settled::Retry(at) = settled { Some(at) } else { None };
    Ok(json(&Nacked { retry_at, dead: settled == Settled::Dead }))
}

/// Keep a lease for longer
#[utoipa::path(post, path = "/v1/tasks/{id}/extend", tag = "tasks",
    params(("id" = String, Path, description = "The task")), request_body = ExtendRequest, responses(
    (status = 200, description = "When the lease now ends", body = Extended),
    (status = 409, description = "`NotHeld`: finished already, or the lease expired", body = ErrorBody),
))]
pub(super) async fn extend(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<TaskId>,
    Json(extend): Json<ExtendRequest>,
) -> Result<Response, Refusal> {
    check::bound("for_ms", Some(extend.for_ms), 1, check::MAX_EXTEND_MS)?;
    let verb = SettleVerb::Extend { for_ms: extend.for_ms };
    match settle(&app, &caller, id, extend.receipt, verb).await? {
        Settled::Extended(lease_expires_at) => Ok(json(&Extended { lease_expires_at })),
        other => Err(Refusal::new(ErrorCode::Internal, format!("the store extended, and answered {other:?}"))),
    }
}

async fn settle(
    app: &App,
    caller: &Caller,
    id: TaskId,
    receipt: Receipt,
    verb: SettleVerb,
) -> Result<Settled, Refusal> {
    caller.may(Scope::Work)?;
    let settlement = Settlement { id, receipt: Some(receipt), verb };
    let mut results = app.store.settle(caller.sees(), Holder::Receipts, vec![settlement]).await;
    match results.pop() {
        Some(result) => Ok(result?),
        None => Err(Refusal::new(ErrorCode::Internal, "the store gave no answer to this settlement")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_are_no_tasks() {
        assert_eq!(lines(b"{}\r\n\n  {} \n"), [b"{}", b"{}"]);
        assert!(lines(b"").is_empty());
    }
}
