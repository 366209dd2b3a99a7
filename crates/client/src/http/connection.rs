//! One HTTP/1.1 connection whose driver is polled together with the request that is under way.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Response;
use crate::deadline::Deadline;
use crate::{Endpoint, Error, Lost, Options, Result};

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// One connection.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Box<Driver>,
    over: bool,
}

/// Why an exchange failed: the difference decides whether it may be tried again.
pub(crate) enum Unsent {
    /// Not one byte had left.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Something had, or may have.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Unsent {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint, options: &Options) -> Result<Self> {
        let failed = |why| Error::Connect { to: endpoint.to_string(), why };
        let connect = TcpStream::connect((endpoint.host(), endpoint.port()));
        let stream = match tokio::time::timeout(options.connect_timeout, connect).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => return Err(failed(std::io::ErrorKind::TimedOut.into())),
        };
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::from)?;
        Ok(Self { sender, driver: Box::new(driver), over: false })
    }

    /// The connection, if the next request may go over it.
    pub(crate) fn reusable(self) -> Option<Self> {
        (!self.over && !self.sender.is_closed()).then_some(self)
    }

    /// One request and its whole answer.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        deadline: &mut Deadline,
        after: Duration,
        max_bytes: usize,
    ) -> Result<Response, Unsent> {
        let answer = self.head(request, deadline, after).await?;
        let (head, body) = answer.into_parts();
        let body = self.body(body, deadline, after, max_bytes).await?;
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    /// Sends a request and waits for the head of its answer.
    async fn head(
        &mut self,
        request: Request<Full<Bytes>>,
        deadline: &mut Deadline,
        after: Duration,
    ) -> Result<http::Response<Incoming>, Unsent> {
        let Self { sender, driver, over } = self;
        let ready = poll_fn(|cx| {
            if let Poll::Ready(_closed) = drive(driver, over, cx) {
                return Poll::Ready(false);
            }
            sender.poll_ready(cx).map(|ready| ready.is_ok())
        });
        if !ready.await {
            return Err(Unsent::Unsent(Box::new(request)));
        }
        let mut sent = pin!(sender.try_send_request(request));
        poll_fn(|cx| {
            // The driver first: it writes the request and reads the answer, which is then there to be taken.
            let driven = drive(driver, over, cx);
            if let Poll::Ready(answer) = sent.as_mut().poll(cx) {
                return Poll::Ready(answer.map_err(|mut failed| match failed.take_message() {
                    Some(unsent) => Unsent::Unsent(Box::new(unsent)),
                    None => Unsent::Failed(failed.into_error().into()),
                }));
            }
            if let Poll::Ready(ended) = driven {
                return Poll::Ready(Err(ended.map_or_else(Error::from, |()| Error::lost(Lost::Eof)).into()));
            }
            ready!(deadline.poll(cx));
            Poll::Ready(Err(Error::Timeout { after }.into()))
        })
        .await
    }

    async fn body(
        &mut self,
        mut body: Incoming,
        deadline: &mut Deadline,
        after: Duration,
        max_bytes: usize,
    ) -> Result<Bytes> {
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        while !body.is_end_stream() {
            let frame = poll_fn(|cx| {
                let driven = drive(&mut self.driver, &mut self.over, cx);
                if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
                    return Poll::Ready(frame.transpose().map_err(Error::from));
                }
                if driven.is_ready() {
                    return Poll::Ready(Err(Error::lost(Lost::Eof)));
                }
                ready!(deadline.poll(cx));
                Poll::Ready(Err(Error::Timeout { after }))
            });
            let Some(frame) = frame.await? else { break };
            let Ok(data) = frame.into_data() else { continue };
            if first.as_ref().map_or(0, Bytes::len) + rest.len() + data.len() > max_bytes {
                self.over = true;
                return Err(Error::Protocol(format!("an answer of more than {max_bytes} bytes")));
            }
            // Nearly every answer is one piece, and is handed on without a copy.
            match first {
                None => first = Some(data),
                Some(_) => rest.extend_from_slice(&data),
            }
        }
        Ok(match first {
            None => Bytes::new(),
            Some(first) if rest.is_empty() => first,
            Some(first) => [first.as_ref(), rest.as_ref()].concat().into(),
        })
    }

    /// Sends an upgrade request. When it is granted, hands out the socket and what was read past the answer.
    pub(crate) async fn upgrade(
        mut self,
        request: Request<Full<Bytes>>,
        options: &Options,
    ) -> Result<(http::HeaderMap, TcpStream, Bytes)> {
        let mut deadline = Deadline::new();
        let after = options.connect_timeout;
        deadline.set(after);
        let answer = match self.head(request, &mut deadline, after).await {
            Ok(answer) => answer,
            Err(Unsent::Failed(error)) => return Err(error),
            Err(Unsent::Unsent(_)) => return Err(Error::lost(Lost::Eof)),
        };
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (head, body) = answer.into_parts();
            let body = self.body(body, &mut deadline, after, options.max_message_bytes).await?;
            return Err(Response { status: head.status, headers: head.headers, body }.refusal());
        }
        if !self.over {
            poll_fn(|cx| self.driver.poll_without_shutdown(cx)).await?;
        }
        let parts = self.driver.into_parts();
        Ok((answer.into_parts().0.headers, parts.io.into_inner(), parts.read_buf))
    }
}

/// Moves the connection on. Ready when it is over; it is not polled again then.
fn drive(driver: &mut Driver, over: &mut bool, cx: &mut std::task::Context<'_>) -> Poll<Result<(), hyper::Error>> {
    if *over {
        return Poll::Ready(Ok(()));
    }
    let driven = driver.poll_without_shutdown(cx);
    *over = driven.is_ready();
    driven
}

impl From<hyper::Error> for Error {
    fn from(why: hyper::Error) -> Self {
        if why.is_parse() { Self::Protocol(why.to_string()) } else { Self::lost(why) }
    }
}
