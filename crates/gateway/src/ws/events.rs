//! `/ws/events`: one subscriber of the feed.
//!
//! It holds a cursor and slices of shared chunks; nothing is copied for it. As long as the socket takes what there is,
//! one wake-up is one write. When it does not, what is not taken stays in the shared ring, and a subscriber that the
//! ring overtakes is closed with 1013, to come back from its last offset.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use squall_protocol::frame::close;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use super::reader::{Incoming, ReadError, Reader};
use super::upgrade::{Socket, Terms, accept};
use super::{NORMAL, PONG, frame};
use crate::app::App;
use crate::auth::Caller;
use crate::config::Scope;
use crate::error::Refusal;
use crate::feed::{Filter, Follower, Next};
use crate::http::events::Which;
use crate::http::extract::Params;
use crate::server::ConnectionSlot;

/// A subscriber says next to nothing.
const MAX_MESSAGE_BYTES: usize = 4_096;
/// How long a subscriber that is being closed may take to read what it is owed. Long, because those who are slow are those who
/// are closed, and all that it costs is a connection; a drain does not wait for it beyond its own deadline.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(30);
/// Slices in one write; as many as Linux takes.
const MAX_SLICES: usize = 1_024;

/// `GET /ws/events`
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(which): Params<Which>,
    request: Request,
) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    app.accepts_work()?;
    let filter = Filter::parse(caller.sees(), which.topics.as_deref(), which.types.as_deref())?;
    // Before the handshake is answered: what happens after the client knows that it is connected is not missed.
    let follower = app.hub.subscribe(which.cursor()?, filter).await?;
    let shared = Arc::clone(&app);
    let batch = which.batch;
    accept(&app, request, Terms { max_message_bytes: MAX_MESSAGE_BYTES, deflate: batch }, move |socket| {
        let mut subscriber = Box::new(Subscriber::new(socket, follower, batch));
        async move {
            let Some((code, reason)) = subscriber.run(&shared).await else { return };
            // Boxed, because few connections are being closed and many are not.
            Box::pin(subscriber.close(code, &reason)).await;
        }
    })
}

struct Subscriber {
    reader: Reader,
    sender: Sender,
    follower: Follower,
    /// Many events in one frame.
    batch: bool,
    deflated: bool,
    heard: bool,
    pinged: bool,
    _slot: Option<ConnectionSlot>,
}

/// What a subscriber is told, slice by slice.
struct Sender {
    write: OwnedWriteHalf,
    waiting: VecDeque<Bytes>,
}

/// What happened.
enum Happened {
    Came(Next),
    Said(Result<Incoming, ReadError>),
    Sent(io::Result<()>),
    Silence,
    Stop,
}

impl Subscriber {
    fn new(socket: Socket, follower: Follower, batch: bool) -> Self {
        let sender = Sender { write: socket.write, waiting: VecDeque::new() };
        let Socket { reader, deflated, slot, .. } = socket;
        Self { reader, sender, follower, batch, deflated, heard: false, pinged: false, _slot: slot }
    }

    /// Serves it, and says with which close it ends; with none when the peer has gone.
    async fn run(&mut self, app: &App) -> Option<(u16, Cow<'static, str>)> {
        let ends = |code, reason: &'static str| Some((code, Cow::Borrowed(reason)));
        let keepalive = Duration::from_millis(app.config.server.keepalive_ms);
        let timer = tokio::time::sleep(keepalive);
        tokio::pin!(timer);
        loop {
            let sending = !self.sender.waiting.is_empty();
            let happened = {
                let Self { reader, sender, follower, .. } = &mut *self;
                let next =
                    async { if sending { follower.overrun_while_sending().await } else { follower.next().await } };
                tokio::select! {
                    next = next => Happened::Came(next),
                    said = poll_fn(|cx| reader.poll_next(cx)) => Happened::Said(said),
                    sent = sender.send(), if sending => Happened::Sent(sent),
                    () = &mut timer => Happened::Silence,
                    () = app.stopping.cancelled() => Happened::Stop,
                }
            };
            match happened {
                Happened::Came(Next::Chunks(chunks, from)) => {
                    for (i, chunk) in chunks.iter().enumerate() {
                        let from = if i == 0 { from } else { 0 };
                        let (filter, waiting) = (&self.follower.filter, &mut self.sender.waiting);
                        if self.batch {
                            chunk.batch(from, filter, self.deflated, waiting);
                        } else {
                            chunk.frames(from, filter, waiting);
                        }
                    }
                    if self.sender.try_send().is_err() {
                        return None;
                    }
                }
                Happened::Came(Next::Overran) => {
                    let last = self.follower.cursor();
                    tracing::debug!(last, "a subscriber fell behind and is closed");
                    return ends(close::TRY_AGAIN_LATER, "too far behind: come back from your last offset");
                }
                Happened::Came(Next::Failed(error)) => {
                    tracing::warn!(%error, "a subscriber is closed: the feed cannot be read");
                    return ends(close::TRY_AGAIN_LATER, "the feed cannot be read just now");
                }
                Happened::Said(Ok(incoming)) => {
                    self.heard = true;
                    match incoming {
                        Incoming::Text(text) if text.as_str() == "ping" => {
                            self.sender.say(|out| frame::text(out, PONG));
                        }
                        Incoming::Ping(data) => self.sender.say(|out| frame::pong(out, &data)),
                        Incoming::Pong => {}
                        Incoming::Close => return ends(NORMAL, ""),
                        Incoming::Text(_) | Incoming::Binary => {
                            let reason = "a subscriber says 'ping' or nothing";
                            return ends(close::UNKNOWN_FRAME, reason);
                        }
                    }
                }
                Happened::Said(Err(ReadError::Gone)) | Happened::Sent(Err(_)) => return None,
                Happened::Said(Err(ReadError::TooLarge(_))) => {
                    return ends(close::TOO_LARGE, "a subscriber says 'ping' or nothing");
                }
                Happened::Said(Err(ReadError::NotUtf8)) => {
                    return ends(close::BAD_PAYLOAD, "a text frame that is not UTF-8");
                }
                Happened::Said(Err(ReadError::Protocol(words))) => return Some((close::POLICY, words.into())),
                Happened::Sent(Ok(())) => {}
                Happened::Silence => {
                    if self.pinged && !self.heard {
                        return None;
                    }
                    self.pinged = !self.heard;
                    if self.pinged {
                        self.sender.say(frame::ping);
                    }
                    self.heard = false;
                    timer.as_mut().reset(Instant::now() + keepalive);
                }
                Happened::Stop => return ends(close::DRAINING, "the gateway drains"),
            }
        }
    }

    /// Sends what is waiting and a close, and waits for the peer's, for a while.
    async fn close(&mut self, code: u16, reason: &str) {
        self.sender.say(|out| frame::close(out, code, reason));
        // The peer's close would not be recognised; our end tells it that nothing more comes.
        let broken = self.reader.is_broken();
        let goodbye = async {
            let Self { reader, sender, .. } = self;
            let sent = async {
                while !sender.waiting.is_empty() {
                    sender.send().await?;
                }
                if broken { sender.write.shutdown().await } else { Ok(()) }
            };
            // The peer's close may have come before, and may never come: its end is an answer too.
            let _ = tokio::join!(sent, poll_fn(|cx| reader.poll_end(cx)));
        };
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await;
    }
}

impl Sender {
    fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.waiting.push_back(out.into());
    }

    /// Sends as much as the socket takes now.
    fn try_send(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let sent = {
                let slices: SmallVec<[IoSlice<'_>; 16]> =
                    self.waiting.iter().take(MAX_SLICES).map(|bytes| IoSlice::new(bytes)).collect();
                self.write.as_ref().try_write_vectored(&slices)
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the socket takes something, and sends it. May be dropped and called again.
    async fn send(&mut self) -> io::Result<()> {
        self.write.as_ref().writable().await?;
        self.try_send()
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(front) = self.waiting.front_mut() {
            if sent < front.len() {
                front.advance(sent);
                return;
            }
            sent -= front.len();
            self.waiting.pop_front();
        }
    }
}
