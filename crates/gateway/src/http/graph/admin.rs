//! The analysis: asked for, looked at, cancelled.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use squall_protocol::{ErrorBody, ErrorCode};
use utoipa::IntoParams;

use super::{readable, there_is};
use crate::app::App;
use crate::auth::Caller;
use crate::config::Scope;
use crate::error::Refusal;
use crate::graph::run::Run;
use crate::http::extract::{Params, json};

/// How to analyse.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct How {
    /// Answer when it has ended.
    #[serde(default)]
    wait: bool,
    /// From scratch: `graph_reset`, and then everything is read and told again. Without it only files that changed are read.
    #[serde(default)]
    force: bool,
}

/// Analyse the tree; one at a time
#[utoipa::path(post, path = "/api/graph/admin/reanalyze", tag = "graph", params(How), responses(
    (status = 202, description = "It runs, or will when one that the watcher began has ended", body = Run),
    (status = 200, description = "With `wait`: it has ended", body = Run),
    (status = 409, description = "`AnalysisRunning`: one that was asked for has not ended", body = ErrorBody),
))]
pub(in crate::http) async fn reanalyze(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(how): Params<How>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    let service = there_is(&app)?;
    app.accepts_work()?;
    let run = service.ask(how.force)?;
    if !how.wait {
        return Ok((StatusCode::ACCEPTED, json(&run)).into_response());
    }
    Ok(json(&service.ended(&run).await))
}

/// The analysis that runs, or the last one
#[utoipa::path(get, path = "/api/graph/admin/reanalyze", tag = "graph", responses(
    (status = 200, description = "How it stands", body = Run),
    (status = 404, description = "`NotFound`: there was none yet", body = ErrorBody),
))]
pub(in crate::http) async fn latest(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    let none = || Refusal::new(ErrorCode::NotFound, "nothing was analysed yet");
    Ok(json(&readable(&app, &caller)?.latest().ok_or_else(none)?))
}

/// Cancel the analysis that runs; what it has reached stays
#[utoipa::path(delete, path = "/api/graph/admin/reanalyze", tag = "graph", responses(
    (status = 202, description = "It ends soon", body = Run),
    (status = 404, description = "`NotFound`: none runs", body = ErrorBody),
))]
pub(in crate::http) async fn cancel(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    let none = || Refusal::new(ErrorCode::NotFound, "no analysis runs");
    let run = there_is(&app)?.cancel().ok_or_else(none)?;
    Ok((StatusCode::ACCEPTED, json(&run)).into_response())
}
