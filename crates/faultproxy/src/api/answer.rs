//! What the API answers. The one place where an error becomes a status.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::Error;
use crate::spec::ProxyView;

/// An answer, whole.
pub(super) type Answer = Response<Full<Bytes>>;

/// The status of an error. Listening is not the caller's fault, says Toxiproxy.
pub(super) const fn status(error: &Error) -> StatusCode {
    match error {
        Error::BadBody(_) | Error::MissingField(_) | Error::InvalidStream | Error::InvalidToxicType => {
            StatusCode::BAD_REQUEST
        }
        Error::ProxyNotFound | Error::ToxicNotFound => StatusCode::NOT_FOUND,
        Error::ProxyExists | Error::ToxicExists => StatusCode::CONFLICT,
        Error::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Error::Listen(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Error::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn error_body(error: &Error) -> Value {
    json!({"error": error.to_string(), "status": status(error).as_u16()})
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    with_type(status, "application/json", body)
}

pub(super) fn text(status: StatusCode, text: String) -> Answer {
    with_type(status, "text/plain; charset=utf-8", text.into_bytes())
}

/// Toxiproxy sends its JSON as text, and some clients know.
pub(super) fn error(error: &Error) -> Answer {
    let mut answer = text(status(error), format!("{}\n", error_body(error)));
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// Of a list of proxies: those before the one that failed are there.
pub(super) fn populate_error(error: &Error, done: &[ProxyView]) -> Answer {
    let mut body = error_body(error);
    body["proxies"] = if done.is_empty() { Value::Null } else { json!(done) };
    json(status(error), &body)
}

pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

pub(super) fn with_type(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
