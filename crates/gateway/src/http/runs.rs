//! `/v1/runs`: the storm's runs that were written to the archive.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use squall_protocol::{ErrorBody, ErrorCode, Page, RunView, Time};
use squall_store::Archive;
use squall_store::archive::runs::Run;
use utoipa::IntoParams;

use super::extract::{Id, Params, json, page_limit};
use crate::app::App;
use crate::auth::Caller;
use crate::config::Scope;
use crate::error::Refusal;

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

/// List the runs of storms that were archived, newest first, without their records
#[utoipa::path(get, path = "/v1/runs", tag = "runs", params(List), responses(
    (status = 200, description = "A page", body = Page<RunView>),
    (status = 404, description = "`NotFound`: this gateway has no archive", body = ErrorBody),
    (status = 503, description = "`HistoryUnavailable`: the archive does not answer", body = ErrorBody),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(list): Params<List>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    let limit = page_limit(list.limit)?;
    let after = list.cursor.as_deref().map(place).transpose()?;
    let found = archive(&app)?.runs(list.scenario.as_deref(), after, limit + 1).await.map_err(away)?;
    let more = found.len() > limit;
    let items: Vec<RunView> = found.into_iter().take(limit).map(view).collect();
    let next = items.last().filter(|_| more).map(|run| format!("{}~{}", run.started_at.0, run.id));
    Ok(json(&Page { items, next }))
}

/// A run of a storm, with its record
#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs",
    params(("id" = String, Path, description = "The run, as its directory is named")), responses(
    (status = 200, description = "The run; `record` is its `run.json`", body = RunView),
    (status = 404, description = "`NotFound`", body = ErrorBody),
    (status = 503, description = "`HistoryUnavailable`: the archive does not answer", body = ErrorBody),
))]
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<String>) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    let found = archive(&app)?.run(&id).await.map_err(away)?;
    let run = found.ok_or_else(|| Refusal::new(ErrorCode::NotFound, format!("there is no such run: {id}")))?;
    Ok(json(&view(run)))
}

fn archive(app: &App) -> Result<&Archive, Refusal> {
    let missing =
        || Refusal::new(ErrorCode::NotFound, "this gateway has no archive: runs are kept under [archive] url");
    app.history.archive().map(Arc::as_ref).ok_or_else(missing)
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
