//! `/health` and `/ready`: whether it works, found out now and not remembered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use squall_protocol::health::Dependency;
use squall_protocol::{Health, HealthStatus};

use super::extract::json;
use crate::app::App;
use crate::ingest;
#[cfg(debug_assertions)]
use crate::weakness::{Weakness, planted};

/// A store that does not answer for so long is not well.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Whether everything works; each dependency is checked live
#[utoipa::path(get, path = "/health", tag = "health", responses(
    (status = 200, description = "`healthy`, or `degraded` with what is lost", body = Health),
    (status = 503, description = "`draining`", body = Health),
), security(()))]
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let health = check(&app).await;
    let status = if health.status == HealthStatus::Draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, json(&health)).into_response()
}

/// Whether it takes work now
#[utoipa::path(get, path = "/ready", tag = "health", responses(
    (status = 200, description = "It takes work", body = Health),
    (status = 503, description = "It does not: it drains, or cannot store what is published", body = Health),
), security(()))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let health = check(&app).await;
    let ready = health.status == HealthStatus::Healthy
        || health.status == HealthStatus::Degraded && !health.lost.iter().any(|lost| lost == "publish");
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json(&health)).into_response()
}

/// The gateway as it is now.
pub(crate) async fn check(app: &App) -> Health {
    // Side by side: a health check must not take as long as all that is slow together.
    let (store, archive) = tokio::join!(check_store(app), check_archive(app));
    let mut lost = store.lost;
    let mut dependencies = BTreeMap::from([("store".to_owned(), store.dependency)]);
    if let Some(ingest) = ingest::health(&app.ingest, &app.config) {
        if !ingest.ok {
            lost.push("ingest".into());
        }
        dependencies.insert("ingest".to_owned(), ingest);
    }
    if let Some(archive) = archive {
        if !archive.ok {
            lost.push("history".into());
        }
        dependencies.insert("archive".to_owned(), archive);
    }
    if let Some(graph) = &app.graph {
        let asked = Instant::now();
        let (ok, detail) = graph.health().map_or_else(|why| (false, why), |detail| (true, detail));
        if !ok {
            lost.push("graph".into());
        }
        dependencies.insert("graph".to_owned(), Dependency { ok, checked_in_ms: since_ms(asked), detail });
    }
    #[cfg(debug_assertions)]
    lost.retain(|_| !planted(Weakness::Rosy));
    let status = if app.draining.is_cancelled() {
        HealthStatus::Draining
    } else if lost.is_empty() {
        HealthStatus::Healthy
    } else {
        HealthStatus::Degraded
    };
    Health {
        status,
        lost,
        dependencies,
        durability: store.durability,
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_ms: since_ms(app.started),
        time: squall_store::now(),
    }
}

fn since_ms(then: Instant) -> u64 {
    u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX)
}

struct StoreCheck {
    dependency: Dependency,
    lost: Vec<String>,
    durability: String,
}

async fn check_store(app: &App) -> StoreCheck {
    let asked = Instant::now();
    // That the store still answers is found out by asking for something. It looks at its disk on the way, so what it says of itself
    // comes after.
    let answered = tokio::time::timeout(ANSWERS_WITHIN, app.store.stats()).await;
    let said = app.store.health();
    let checked_in_ms = since_ms(asked);
    let mut lost: Vec<String> = said.lost.iter().map(|&lost| lost.into()).collect();
    let (answers, why) = match answered {
        Ok(Ok(_)) => (true, None),
        Ok(Err(error)) => (false, Some(error.to_string())),
        Err(_) => (false, Some(format!("it has not answered for {} ms", ANSWERS_WITHIN.as_millis()))),
    };
    let ok = said.ok && answers;
    if !ok && !lost.iter().any(|lost| lost == "publish") {
        lost.push("publish".into());
    }
    let detail = match why {
        Some(why) => format!("{}; {why}", said.detail),
        None => said.detail,
    };
    StoreCheck { dependency: Dependency { ok, checked_in_ms, detail }, lost, durability: said.durability }
}

/// History is all that is lost with it, and that only in part: what is to be archived waits in the feed.
async fn check_archive(app: &App) -> Option<Dependency> {
    let asked = Instant::now();
    let found = app.history.archive()?.health().await;
    Some(Dependency { ok: found.ok, checked_in_ms: since_ms(asked), detail: found.detail })
}
