//! `/metrics` for Prometheus, `/v1/metrics` with the same figures as JSON.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use squall_protocol::Stats;

use super::extract::json;
use crate::app::App;
use crate::auth::Caller;
use crate::config::Scope;
use crate::error::Refusal;
use crate::metrics;

/// All figures as Prometheus text
#[utoipa::path(get, path = "/metrics", tag = "metrics", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
))]
pub(super) async fn text(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    let text = metrics::text(&app).await;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

/// All figures as JSON
#[utoipa::path(get, path = "/v1/metrics", tag = "metrics", responses(
    (status = 200, description = "The figures", body = Stats),
))]
pub(super) async fn stats(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    Ok(json(&metrics::stats(&app).await))
}
