//! `/v1/runs`: the storm's runs, from the archive and from the directory where the storm leaves them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use squall_protocol::{ErrorBody, ErrorCode, Page, RunView, Time};
use squall_store::archive::runs::Run;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Id, Params, json, page_limit};
use crate::app::App;
use crate::auth::Caller;
use crate::config::Scope;
use crate::error::Refusal;
use crate::runs::Runs;

/// Which runs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Only those of this scenario.
    scenario: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 1,000, 100 by default.
    limit: Option<u64>,
}

/// List the runs of storms, newest first, without their records: those of the archive, or without one those of `runs.dir`
#[utoipa::path(get, path = "/v1/runs", tag = "runs", params(List), responses(
    (status = 200, description = "A page", body = Page<RunView>),
    (status = 503, description = "`HistoryUnavailable`: the archive does not answer, or the directory cannot be read", body = ErrorBody),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(list): Params<List>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    let limit = page_limit(list.limit)?;
    let (scenario, cursor) = (list.scenario.as_deref(), list.cursor.as_deref());
    let (found, archived) = match app.history.archive() {
        Some(archive) => {
            let after = cursor.map(place).transpose()?;
            let found = archive.runs(scenario, after, limit + 1).await.map_err(away)?;
            (found.into_iter().map(view).collect(), true)
        }
        None => (directory(&app).list(scenario, cursor, limit + 1).await.map_err(unreadable)?, false),
    };
    let more = found.len() > limit;
    let items: Vec<RunView> = found.into_iter().take(limit).collect();
    let next = items.last().filter(|_| more).map(|run| match archived {
        true => format!("{}~{}", run.started_at.0, run.id),
        false => run.id.clone(),
    });
    Ok(json(&Page { items, next }))
}

/// A run of a storm, with its record
#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs",
    params(("id" = String, Path, description = "The run, as its directory is named")), responses(
    (status = 200, description = "The run; `record` is its `run.json`", body = RunView),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 503, description = "`HistoryUnavailable`: the archive does not answer, or the directory cannot be read", body = ErrorBody),
))]
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<String>) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    let archived = match app.history.archive() {
        Some(archive) => archive.run(&id).await.map_err(away)?.map(view),
        None => None,
    };
    let found = match archived {
        Some(run) => Some(run),
        None => directory(&app).get(&id).await.map_err(unreadable)?,
    };
    Ok(json(&found.ok_or_else(|| missing(&id))?))
}

/// What happened in a run, second by second
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Series {
    /// The lines of its `series.jsonl`, as `docs/guide/series.schema.json` describes them.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Box<RawValue>>,
}

/// What happened in a run, second by second; only of runs whose directory is below `runs.dir`
#[utoipa::path(get, path = "/v1/runs/{id}/series", tag = "runs",
    params(("id" = String, Path, description = "The run, as its directory is named")), responses(
    (status = 200, description = "One item for each second", body = Series),
    (status = 404, description = "`NotFound`: no such run, or only in the archive", body = ErrorBody),
))]
pub(super) async fn series(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<String>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    let items = directory(&app).series(&id).await.map_err(unreadable)?.ok_or_else(|| missing(&id))?;
    Ok(json(&Series { items }))
}

/// What a report may do where it is shown: draw itself.
const REPORT_POLICY: &str = "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                             img-src data:";

/// The report of a run, as `squall report --format html` makes it; only of runs whose directory is below `runs.dir`
#[utoipa::path(get, path = "/v1/runs/{id}/report", tag = "runs",
    params(("id" = String, Path, description = "The run, as its directory is named")), responses(
    (status = 200, description = "The report", body = String, content_type = "text/html"),
    (status = 404, description = "`NotFound`: no such run, or only in the archive, or it was killed before its report", body = ErrorBody),
))]
pub(super) async fn report(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<String>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    let text = directory(&app).report(&id).await.map_err(unreadable)?.ok_or_else(|| missing(&id))?;
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, REPORT_POLICY)];
    Ok((headers, text).into_response())
}

fn directory(app: &App) -> Runs<'_> {
    Runs(&app.config.runs.dir)
}

fn missing(id: &str) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("there is no such run: {id}"))
}

fn unreadable(error: std::io::Error) -> Refusal {
    Refusal::new(ErrorCode::HistoryUnavailable, format!("runs.dir cannot be read: {error}")).retry_after_ms(5_000)
}

fn away(why: String) -> Refusal {
    squall_store::Error::HistoryAway(why).into()
}

fn place(cursor: &str) -> Result<(Time, &str), Refusal> {
    let parts = cursor.split_once('~').and_then(|(at, id)| Some((Time(at.parse().ok()?), id)));
    parts.ok_or_else(|| Refusal::invalid(format!("{cursor:?} is not a cursor that a list gave")))
}

fn view(run: Run) -> RunView {
    RunView {
        id: run.id,
        scenario: run.scenario,
        verdict: run.verdict,
        started_at: run.started_at,
        finished_at: run.finished_at,
        record: run.record.and_then(|text| RawValue::from_string(text).ok()),
    }
}
