//! HTTP: one file per area, and here what all requests have in common.
//!
//! A handler takes a request apart ([`extract`]), says which scope it needs, calls one verb of the store, and answers.
//! What is refused becomes an answer in one place ([`crate::error`]).

#![allow(unused_qualifications, reason = "what utoipa's derives write")]

mod admin;
mod console;
mod dead_letters;
pub(crate) mod events;
pub(crate) mod extract;
mod graph;
pub(crate) mod health;
mod hooks;
mod lanes;
mod metrics;
pub(crate) mod openapi;
mod origin;
mod runs;
mod sessions;
mod tasks;

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use squall_protocol::ErrorCode;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::Refusal;
use crate::ws;

/// All routes that the OpenAPI document describes.
fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::text))
        .routes(routes!(metrics::stats))
        .routes(routes!(openapi::get))
        .routes(routes!(sessions::create, sessions::list))
        .routes(routes!(sessions::get, sessions::update))
        .routes(routes!(sessions::heartbeat))
        .routes(routes!(sessions::end))
        .routes(routes!(sessions::report))
        .routes(routes!(tasks::publish, tasks::list))
        .routes(routes!(tasks::get, tasks::cancel))
        .routes(routes!(tasks::ack))
        .routes(routes!(tasks::nack))
        .routes(routes!(tasks::extend))
        .routes(routes!(lanes::list))
        .routes(routes!(lanes::get))
        .routes(routes!(lanes::pause))
        .routes(routes!(lanes::resume))
        .routes(routes!(lanes::lease))
        .routes(routes!(dead_letters::list, dead_letters::purge))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(dead_letters::get, dead_letters::purge_one))
        .routes(routes!(dead_letters::replay_one))
        .routes(routes!(events::read))
        .routes(routes!(runs::list))
        .routes(routes!(runs::get))
        .routes(routes!(runs::series))
        .routes(routes!(runs::report))
        .routes(routes!(graph::find::stats))
        .routes(routes!(graph::find::search))
        .routes(routes!(graph::find::node))
        .routes(routes!(graph::find::related))
        .routes(routes!(graph::find::category))
        .routes(routes!(graph::find::files))
        .routes(routes!(graph::walk::traverse))
        .routes(routes!(graph::walk::call_chain))
        .routes(routes!(graph::walk::subgraph))
        .routes(routes!(graph::admin::reanalyze, graph::admin::latest, graph::admin::cancel))
        .routes(routes!(hooks::github::receive))
        .routes(routes!(admin::drain))
}

/// What answers requests; the server need not know what it is made of.
pub(crate) type Routes = Router;

/// Everything that this gateway answers.
pub(crate) fn router(app: Arc<App>) -> Routes {
    let (described, _) = routes().split_for_parts();
    described
        .route("/ws/work", get(ws::work::serve))
        .route("/ws/events", get(ws::events::serve))
        .fallback(elsewhere)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), admit))
        .with_state(app)
}

/// Lets a request in if its page may and there is room, and counts how it went.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    // A path that nobody serves is no label: anybody could invent any number of them.
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    // Whoever looks after the gateway gets through when it is full: that is when it matters.
    let slot = match route {
        "/health" | "/ready" | "/metrics" | "/v1/metrics" | "/v1/admin/drain" => Ok(None),
        _ => app.requests.try_acquire().map(Some),
    };
    let response = match (origin::check(request.headers(), &app.config.server.allowed_origins), slot) {
        (Err(refusal), _) => refusal.into_response(),
        (Ok(()), Ok(_slot)) => next.run(request).await,
        (Ok(()), Err(_)) => {
            let most = app.config.server.max_concurrent_requests;
            let message = format!("{most} requests are being answered, which is all that may be");
            Refusal::new(ErrorCode::Overloaded, message).retry_after_ms(1_000).into_response()
        }
    };
    let took = began.elapsed();
    tracing::debug!(%method, route, status = response.status().as_u16(), ?took, "answered");
    app.metrics.answered(route, &method, response.status(), took);
    response
}

/// What is no route may be the console's.
async fn elsewhere(request: Request) -> Response {
    console::find(&request).unwrap_or_else(|| {
        let (method, path) = (request.method(), request.uri().path());
        let message = format!("there is no {method} {path}; /openapi.json lists what there is");
        Refusal::new(ErrorCode::NotFound, message).into_response()
    })
}

async fn method_not_allowed(request: Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    Refusal::new(ErrorCode::MethodNotAllowed, format!("{path} does not take {method}; see the header Allow"))
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let what = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = what, "a request failed for a fault of the gateway");
    Refusal::new(ErrorCode::Internal, "a fault of the gateway; its log says more").into_response()
}
