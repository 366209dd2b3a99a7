//! One keep-alive HTTP/1.1 connection: raw requests for those who count every microsecond, typed calls for all others.
//!
//! The connection is driven by the very task that awaits the answer: no spawned task, no pool, no timer per request.
//! It is opened by the first request, and again by the next one after it was lost. A request is sent again by itself only
//! when not one byte of it had left; in all other cases the caller hears [`Error::Lost`] and decides.
//!
//! Of several gateways it uses one, and leaves it for the next when it cannot be reached, does not answer, or answers 503.

mod calls;
mod connection;
mod query;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use squall_protocol::ErrorBody;

pub use calls::{Batch, EventsPage, Lease};
pub(crate) use connection::{Connection, Unsent};
pub(crate) use query::Query;

use crate::deadline::Deadline;
use crate::{Endpoint, Endpoints, Error, Options, Result};

/// `application/json`.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// One JSON value per line.
pub const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// A client with one connection. One request at a time: it takes `&mut self`.
pub struct Http {
    endpoints: Endpoints,
    options: Options,
    connection: Option<Connection>,
    deadline: Deadline,
    connects: u64,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Http {
    /// A client of this gateway, or of one of several. Connects with the first request.
    #[must_use]
    pub fn new(endpoints: impl Into<Endpoints>, options: Options) -> Self {
        let endpoints = endpoints.into();
        Self { endpoints, options, connection: None, deadline: Deadline::new(), connects: 0 }
    }

    /// Where it goes now.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.endpoints.current()
    }

    /// Back to the gateway that it began with, from the next request on.
    pub fn go_home(&mut self) {
        if self.endpoints.go_home() {
            self.connection = None;
        }
    }

    /// Connections opened so far.
    #[must_use]
    pub fn connects(&self) -> u64 {
        self.connects
    }

    /// Opens the connection now, so that the first request does not pay for it.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect(&mut self) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(self.open().await?);
        }
        Ok(())
    }

    /// Closes the connection; the next request opens another.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Sends one request and reads the whole answer. `target` is path and query. Every status is an answer, not an error.
    ///
    /// `Host` and `Authorization` are added; a body's `Content-Type` is the caller's to give.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Timeout`], [`Error::Lost`] or [`Error::Protocol`], never `Refused`.
    pub async fn request(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Response> {
        let uri = Uri::try_from(target).map_err(|why| Error::Protocol(format!("{target:?} is not a path: {why}")))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().extend(headers.iter().cloned());
        self.send(request, Duration::ZERO).await
    }

    /// As [`Http::request`], with a ready-made request; the time-out grows by `longer`.
    ///
    /// # Errors
    /// As [`Http::request`].
    pub async fn send(&mut self, request: Request<Full<Bytes>>, longer: Duration) -> Result<Response> {
        let answered = self.exchange(request, longer).await;
        let gone = match &answered {
            // It drains, is overloaded, or has no store: all of that another one may be spared.
            Ok(answer) => answer.status == StatusCode::SERVICE_UNAVAILABLE,
            Err(Error::Timeout { .. } | Error::Lost { .. }) => true,
            // Who cannot be reached was left already.
            Err(_) => false,
        };
        if gone && self.endpoints.all().len() > 1 {
            self.connection = None;
            self.endpoints.advance();
        }
        answered
    }

    async fn exchange(&mut self, mut request: Request<Full<Bytes>>, longer: Duration) -> Result<Response> {
        let after = self.options.request_timeout + longer;
        // Taken out while in use: a caller that drops this future half-way must not leave half an exchange behind.
        if let Some(mut kept) = self.connection.take() {
            self.address(&mut request);
            self.deadline.set(after);
            match kept.exchange(request, &mut self.deadline, after, self.options.max_message_bytes).await {
                Ok(response) => {
                    self.connection = kept.reusable();
                    return Ok(response);
                }
                Err(Unsent::Failed(error)) => return Err(error),
                // It had been closed while idle, and nothing was written: a new one may try.
                Err(Unsent::Unsent(unsent)) => request = *unsent,
            }
        }
        let mut fresh = self.open().await?;
        self.address(&mut request);
        self.deadline.set(after);
        match fresh.exchange(request, &mut self.deadline, after, self.options.max_message_bytes).await {
            Ok(response) => {
                self.connection = fresh.reusable();
                Ok(response)
            }
            Err(Unsent::Failed(error)) => Err(error),
            Err(Unsent::Unsent(_)) => Err(self.refused_connection("closed as soon as it was opened")),
        }
    }

    /// Adds what says to whom it goes, and from whom it comes.
    fn address(&self, request: &mut Request<Full<Bytes>>) {
        let endpoint = self.endpoints.current();
        let headers = request.headers_mut();
        headers.insert(header::HOST, endpoint.host_header());
        if let Some(token) = endpoint.authorization() {
            headers.insert(header::AUTHORIZATION, token);
        }
    }

    /// Opens a connection to the gateway in use, or else to the first of the others that takes it: nothing was sent yet.
    async fn open(&mut self) -> Result<Connection> {
        let mut left = self.endpoints.all().len();
        loop {
            self.connects += 1;
            left -= 1;
            match Connection::open(self.endpoints.current(), &self.options).await {
                Err(Error::Connect { .. }) if left > 0 => self.endpoints.advance(),
                opened => return opened,
            }
        }
    }

    fn refused_connection(&self, why: &str) -> Error {
        Error::Connect {
            to: self.endpoints.current().to_string(),
            why: std::io::Error::new(std::io::ErrorKind::ConnectionAborted, why.to_owned()),
        }
    }
}

impl Response {
    /// The answer itself, or [`Error::Refused`] when the status is not a success.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Protocol`] when the refusal is not one of a gateway.
    pub fn accepted(self) -> Result<Self> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal()) }
    }

    /// The body as a value.
    ///
    /// # Errors
    /// As [`Response::accepted`], and [`Error::Protocol`] when the body is something else.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        parse(&self.accepted()?.body)
    }

    /// What the gateway said instead of doing it.
    #[must_use]
    pub fn refusal(&self) -> Error {
        match serde_json::from_slice::<ErrorBody>(&self.body) {
            Ok(body) => Error::Refused { status: self.status.as_u16(), error: body.error },
            Err(_) => Error::Protocol(format!("{} with the body {:?}", self.status, excerpt(&self.body))),
        }
    }
}

/// A value that may borrow from the body.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|why| Error::Protocol(format!("{why} in {:?}", excerpt(body))))
}

/// The beginning of a text, for messages.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    if body.len() > 200 {
        text.push('…');
    }
    text
}
