//! From a request to values, with errors that say what was wrong and where.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_protocol::{ErrorBody, ErrorCode};

use crate::app::App;
use crate::auth::Caller;
use crate::error::Refusal;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let retry_after_ms = self.error.retry_after_ms;
        let code = self.error.code;
        let mut response = json(&ErrorBody { error: self.error });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Some(ms) = retry_after_ms {
            // The header counts whole seconds; too early would be refused again.
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if code == ErrorCode::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A value as the body of a 200.
pub(crate) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => json_bytes(text),
        Err(error) => {
            tracing::error!(%error, "an answer could not be serialized");
            http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// JSON text as the body of a 200.
pub(crate) fn json_bytes(text: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        app.tokens.caller(&parts.headers)
    }
}

/// The whole body, up to the configured size and within the configured time.
pub(crate) struct RawBody(pub(crate) Bytes);

impl FromRequest<Arc<App>> for RawBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let limit = app.config.server.max_body_bytes;
        let too_large = || Refusal::new(ErrorCode::TooLarge, format!("the body is over {limit} bytes"));
        let declared = axum::body::HttpBody::size_hint(request.body()).lower();
        if declared > limit as u64 {
            return Err(too_large());
        }
        let timeout_ms = app.config.server.body_timeout_ms;
        let collected =
            tokio::time::timeout(Duration::from_millis(timeout_ms), Limited::new(request.into_body(), limit).collect());
        match collected.await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(Refusal::invalid(format!("the body broke off: {error}"))),
            Err(_) => Err(Refusal::new(ErrorCode::Timeout, format!("the body took longer than {timeout_ms} ms"))),
        }
    }
}

/// The body as JSON; an empty body is `{}`.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let RawBody(body) = RawBody::from_request(request, app).await?;
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        parse("the body", text).map(Self)
    }
}

/// JSON as a value.
///
/// # Errors
/// `InvalidJson` or `InvalidRequest`, saying which and where.
pub(crate) fn parse<'a, T: Deserialize<'a>>(what: &str, text: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(text).map_err(|error| Refusal::json(what, text, &error))
}

/// The query; unknown names are refused.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(value)| Self(value)).map_err(|error| Refusal::invalid(error.body_text()))
    }
}

/// One id or name in the path.
pub(crate) struct Id<T>(pub(crate) T);

impl<T> FromRequestParts<Arc<App>> for Id<T>
where
    T: std::str::FromStr + Send,
    T::Err: std::fmt::Display,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|error| Refusal::invalid(format!("the path: {}", error.body_text())))?;
        text.parse().map(Self).map_err(|error| Refusal::invalid(format!("the id {text:?} in the path: {error}")))
    }
}

/// A header's text, if it is there.
///
/// # Errors
/// `InvalidRequest` when it is no visible ASCII.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| Refusal::invalid(format!("the header {name} holds more than visible ASCII")))
}

/// The size of a page: 1 to 1,000, 100 when it is not said.
///
/// # Errors
/// `InvalidRequest` when it is out of bounds.
pub(crate) fn page_limit(limit: Option<u64>) -> Result<usize, Refusal> {
    crate::check::bound("limit", limit, 1, 1_000)?;
    Ok(usize::try_from(limit.unwrap_or(100)).unwrap_or(100))
}
