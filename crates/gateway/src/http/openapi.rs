//! `/openapi.json`: what the routes say of themselves.

use std::sync::LazyLock;

use axum::response::Response;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi, SecurityRequirement};
use utoipa::{Modify, OpenApi as _};

use super::extract::json_bytes;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Squall",
        description = "Event-driven sessions, prioritised task lanes and a durable live feed. Beside what is described here there \
                       are two WebSockets: /ws/work for workers and pipelined producers, /ws/events for subscribers.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
}

/// The document without its paths; the router adds them.
pub(super) fn document() -> OpenApi {
    Document::openapi()
}

/// The document as text, made once.
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (_, mut document) = super::routes().split_for_parts();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        operations.into_iter().flatten().for_each(name);
    }
    let mut text = document.to_pretty_json().unwrap_or_default().into_bytes();
    text.push(b'\n');
    text
});

/// Functions of different areas have the same name; operations must not: `get` of `sessions` becomes `sessions_get`.
fn name(operation: &mut Operation) {
    let area = operation.tags.as_ref().and_then(|tags| tags.first()).map_or("", String::as_str).replace(' ', "_");
    operation.operation_id = operation.operation_id.take().map(|name| format!("{area}_{name}"));
}

/// The text of `/openapi.json`.
#[must_use]
pub(crate) fn text() -> &'static [u8] {
    &TEXT
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "openapi", responses((status = 200, description = "OpenAPI 3.1", body = Object)),
    security(()))]
pub(super) async fn get() -> Response {
    json_bytes(text().to_vec())
}
