//! `/v1/lanes`: look, pause, resume, and take tasks over HTTP.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use squall_protocol::lane::PauseRequest;
use squall_protocol::task::{LeaseRequest, Leased};
use squall_protocol::{ErrorBody, LaneView, Page};

use super::extract::{Id, Json, json, json_bytes};
use crate::app::App;
use crate::auth::Caller;
use crate::check;
use crate::config::Scope;
use crate::error::Refusal;
use crate::ws::deliver;

/// List all lanes
#[utoipa::path(get, path = "/v1/lanes", tag = "lanes", responses(
    (status = 200, description = "All of them, in one page", body = Page<LaneView>),
))]
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    let items = app.store.stats().await?.lanes;
    Ok(json(&Page { items, next: None }))
}

/// Look at a lane
#[utoipa::path(get, path = "/v1/lanes/{lane}", tag = "lanes",
    params(("lane" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The lane", body = LaneView),
    (status = 404, description = "`UnknownLane`", body = ErrorBody),
))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(lane): Id<String>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    Ok(json(&app.store.lane(&lane).await?))
}

/// Pause a lane, for a time or until it is resumed; leases that run go on
#[utoipa::path(post, path = "/v1/lanes/{lane}/pause", tag = "lanes",
    params(("lane" = String, Path, description = "Its name")), request_body = PauseRequest, responses(
    (status = 200, description = "The lane as it is now", body = LaneView),
    (status = 404, description = "`UnknownLane`", body = ErrorBody),
))]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(lane): Id<String>,
    Json(pause): Json<PauseRequest>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    check::bound("for_ms", pause.for_ms, 1, check::YEAR_MS)?;
    Ok(json(&app.store.pause_lane(&lane, pause.for_ms).await?))
}

/// Resume a lane
#[utoipa::path(post, path = "/v1/lanes/{lane}/resume", tag = "lanes",
    params(("lane" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The lane as it is now", body = LaneView),
    (status = 404, description = "`UnknownLane`", body = ErrorBody),
))]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(lane): Id<String>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Admin)?;
    Ok(json(&app.store.resume_lane(&lane).await?))
}

/// Take tasks, and wait for the first if there is none
#[utoipa::path(post, path = "/v1/lanes/{lane}/lease", tag = "lanes",
    params(("lane" = String, Path, description = "Its name")), request_body = LeaseRequest, responses(
    (status = 200, description = "What was leased; settle each by its receipt", body = Leased),
    (status = 404, description = "`UnknownLane`", body = ErrorBody),
))]
pub(super) async fn lease(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(lane): Id<String>,
    Json(lease): Json<LeaseRequest>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Work)?;
    app.accepts_work()?;
    check::bound("credit", Some(lease.credit.into()), 1, 1_000)?;
    check::bound("wait_ms", Some(lease.wait_ms), 0, 30_000)?;
    // A client that leaves takes this future with it, and a drain ends the wait; the store takes back what nobody took.
    let deliveries = tokio::select! {
        biased;
        deliveries = app.store.lease(caller.sees(), &lane, lease.credit, lease.wait_ms) => deliveries?,
        () = app.draining.cancelled() => Vec::new(),
    };
    let mut text = br#"{"tasks":["#.to_vec();
    for (i, delivery) in deliveries.iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        deliver::json(&mut text, delivery);
    }
    text.extend_from_slice(b"]}");
    Ok(json_bytes(text))
}
