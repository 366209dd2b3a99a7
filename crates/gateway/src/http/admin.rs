//! `/v1/admin`: what an operator does to the gateway itself.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use squall_protocol::Health;

use super::extract::json;
use crate::app::App;
use crate::auth::Caller;
use crate::config::Scope;
use crate::error::Refusal;

/// Take no new work, return all leases, and say so in `/health`, until the process is stopped
///
/// For the time between taking a gateway out of a load balancer and stopping it. Settling over HTTP and reading go on.
#[utoipa::path(post, path = "/v1/admin/drain", tag = "admin", responses(
    (status = 202, description = "It drains", body = Health),
))]
pub(super) async fn drain(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    tracing::info!(by = %caller.name, "told to drain");
    app.draining.cancel();
    Ok((StatusCode::ACCEPTED, json(&super::health::check(&app).await)).into_response())
}
