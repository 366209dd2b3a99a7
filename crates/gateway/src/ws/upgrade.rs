//! From an HTTP request to a socket: the handshake's answer, and the raw TCP stream behind it.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper_util::rt::TokioIo;
use squall_protocol::ErrorCode;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::deflate;
use super::reader::Reader;
use crate::app::App;
use crate::error::Refusal;
use crate::server::ConnectionSlot;

/// What a page offers beside its token.
const SUBPROTOCOL: &str = "squall";

/// A connection that has become a WebSocket.
pub(crate) struct Socket {
    pub(crate) reader: Reader,
    pub(crate) write: OwnedWriteHalf,
    /// permessage-deflate was agreed on.
    pub(crate) deflated: bool,
    /// Counts the connection for as long as it lives.
    pub(crate) slot: Option<ConnectionSlot>,
}

/// What one kind of connection allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Longer messages of the peer end the connection with 1009.
    pub(crate) max_message_bytes: usize,
    /// permessage-deflate is taken when it is offered.
    pub(crate) deflate: bool,
}

/// Answers the handshake, and runs `serve` on the socket once the answer is out.
///
/// # Errors
/// `InvalidRequest` when the request is no WebSocket handshake.
pub(crate) fn accept<F, Fut>(app: &App, mut request: Request, terms: Terms, serve: F) -> Result<Response, Refusal>
where
    F: FnOnce(Socket) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let key = check(request.method(), request.headers())?;
    let deflated = terms.deflate && deflate::is_offered(request.headers());
    let subprotocol = offers_subprotocol(request.headers());
    let slot = request.extensions_mut().remove::<ConnectionSlot>();
    let upgraded = hyper::upgrade::on(&mut request);
    let (stop, tracker) = (app.kill.clone(), app.tracker.clone());
    app.tracker.spawn(async move {
        let upgraded = match upgraded.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a client left during the handshake"),
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            return tracing::error!("a WebSocket that did not come over this server's TCP");
        };
        let (read, write) = parts.io.into_inner().into_split();
        let reader = Reader::new(read, parts.read_buf, terms.max_message_bytes, deflated);
        let serve = serve(Socket { reader, write, deflated, slot });
        // A task of its own: it lives long, and should hold nothing of the handshake.
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve => {}
            }
        });
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    if deflated {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(deflate::ACCEPTED));
    }
    if subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    Ok(response)
}

/// The words of a header that is a list, however many lines it has.
pub(crate) fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// A browser closes a connection whose answer names none of the subprotocols that it offered.
fn offers_subprotocol(headers: &HeaderMap) -> bool {
    words(headers, SEC_WEBSOCKET_PROTOCOL).any(|word| word == SUBPROTOCOL)
}

fn check(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let has = |name, word: &str| words(headers, name).any(|item| item.eq_ignore_ascii_case(word));
    let refused = |what: &str| Refusal::invalid(format!("this is a WebSocket: {what}"));
    if method != Method::GET {
        return Err(Refusal::new(ErrorCode::MethodNotAllowed, "this is a WebSocket: its handshake is a GET"));
    }
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return Err(refused("send 'Connection: Upgrade' and 'Upgrade: websocket'"));
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err(refused("send 'Sec-WebSocket-Version: 13'"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| refused("send a Sec-WebSocket-Key"))?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| refused("the Sec-WebSocket-Key is no key"))
}
