//! One WebSocket connection: a socket, what is on its way out, and what has come in.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::frame::{self, Opcode};
use crate::deadline::Deadline;
use crate::http::Connection;
use crate::{Endpoint, Error, Lost, Options, Result};

/// One read takes at least so many bytes.
const LEAST_READ_BYTES: usize = 4 << 10;
/// And at most so many, unless a message is longer.
const MOST_READ_BYTES: usize = 64 << 10;
/// What may come in while something goes out and nobody takes messages. More stays in the kernel, and in time holds the
/// other side back.
const READ_AHEAD_BYTES: usize = 4 << 20;
/// An output buffer that grew beyond this is given back once it is written.
const KEPT_OUTPUT_BYTES: usize = 64 << 10;

/// One WebSocket connection. Moves only while one of its methods is awaited; all of them can be cancelled.
pub struct Socket {
    stream: TcpStream,
    input: BytesMut,
    read_bytes: usize,
    /// The message that was handed out last lies here; it is let go with the next call.
    spent: usize,
    /// The message that is ready to be handed out.
    ready: Option<Ready>,
    /// A message that came in pieces.
    pieces: Vec<u8>,
    pieces_of: Option<Opcode>,
    output: Vec<u8>,
    written: usize,
    /// Writing failed: only what had come before is still read.
    mute: Option<io::Error>,
    closed: Option<(u16, String)>,
    options: Options,
    silence: Deadline,
    pinged: bool,
}

#[derive(Clone)]
struct Ready {
    text: bool,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Input(Range<usize>),
    Pieces,
}

/// A whole message, borrowed from the socket's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl Socket {
    /// Connects and shakes hands. `target` is path and query.
    ///
    /// # Errors
    /// [`Error::Connect`]; [`Error::Refused`] when the gateway does not grant the upgrade.
    pub async fn connect(endpoint: &Endpoint, target: &str, options: &Options) -> Result<Self> {
        let connection = Connection::open(endpoint, options).await?;
        let key = generate_key();
        let request = upgrade_request(endpoint, target, &key)?;
        let (headers, stream, read) = connection.upgrade(request, options).await?;
        let accepted = headers.get(header::SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
        if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(Error::Protocol("the upgrade was granted with a wrong Sec-WebSocket-Accept".into()));
        }
        let mut silence = Deadline::new();
        silence.set(options.keepalive);
        Ok(Self {
            stream,
            input: BytesMut::from(read.as_ref()),
            read_bytes: LEAST_READ_BYTES,
            spent: 0,
            ready: None,
            pieces: Vec::new(),
            pieces_of: None,
            output: Vec::new(),
            written: 0,
            mute: None,
            closed: None,
            options: options.clone(),
            silence,
            pinged: false,
        })
    }

    /// Queues a text message that `write` appends to the buffer. Nothing is sent before [`Socket::flush`] or
    /// [`Socket::next`].
    pub fn queue(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.queue_frame(Opcode::Text, write);
    }

    /// Queues a frame of any kind.
    pub fn queue_frame(&mut self, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) {
        let at = frame::begin(&mut self.output);
        write(&mut self.output);
        frame::finish(&mut self.output, at, opcode);
    }

    /// Queues bytes as they are, frames or not. For tests of what a gateway does with them.
    pub fn queue_raw(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Queues a close frame. The other side answers it, and [`Socket::next`] then says [`Lost::Closed`].
    pub fn queue_close(&mut self, code: u16, reason: &str) {
        self.queue_frame(Opcode::Close, |out| {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(&reason.as_bytes()[..reason.len().min(123)]);
        });
    }

    /// Bytes that are queued and not yet handed to the kernel.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes all that is queued, in as few writes as the kernel takes. Reads meanwhile, so that two sides that both write
    /// do not wait for each other.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn flush(&mut self) -> Result<()> {
        poll_fn(|cx| {
            if self.mute.is_some() {
                // The reason, if the other side gave one, is among what it sent: next() will come upon it.
                return Poll::Ready(Ok(()));
            }
            if self.poll_write(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            while self.input.len() < READ_AHEAD_BYTES {
                ready!(self.poll_read(cx))?;
            }
            Poll::Pending
        })
        .await
    }

    /// The next message that has arrived already; `None` when there is none. Does not wait, and does not touch the socket.
    ///
    /// # Errors
    /// [`Error::Lost`] when the other side closed, [`Error::Protocol`].
    pub fn take(&mut self) -> Result<Option<Message<'_>>> {
        if !self.find()? {
            return Ok(None);
        }
        self.hand_out().map(Some)
    }

    /// The bytes of the message that [`Socket::take`] would hand out, without taking it.
    ///
    /// # Errors
    /// As [`Socket::take`].
    pub fn peek(&mut self) -> Result<Option<&[u8]>> {
        if !self.find()? {
            return Ok(None);
        }
        Ok(self.ready.as_ref().map(|ready| match &ready.place {
            Place::Input(range) => &self.input[range.clone()],
            Place::Pieces => self.pieces.as_slice(),
        }))
    }

    /// Waits for the next message; writes meanwhile what is queued.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Protocol`].
    pub async fn next(&mut self) -> Result<Message<'_>> {
        self.wait().await?;
        self.hand_out()
    }

    /// Waits until [`Socket::take`] has a message; writes meanwhile what is queued.
    ///
    /// # Errors
    /// As [`Socket::next`].
    pub async fn wait(&mut self) -> Result<()> {
        while !self.find()? {
            poll_fn(|cx| {
                // Pending or not: writing goes on with the next turn, and its failure shows in what is read.
                let _ = self.poll_write(cx);
                if let Poll::Ready(read) = self.poll_read(cx) {
                    self.pinged = false;
                    return Poll::Ready(read);
                }
                ready!(self.silence.poll(cx));
                if self.pinged {
                    return Poll::Ready(Err(Error::lost(Lost::Silent(self.options.keepalive * 2))));
                }
                self.pinged = true;
                self.silence.set(self.options.keepalive);
                self.queue_frame(Opcode::Ping, |_| {});
                Poll::Ready(Ok(()))
            })
            .await?;
            self.silence.set(self.options.keepalive);
        }
        Ok(())
    }

    fn hand_out(&mut self) -> Result<Message<'_>> {
        let Some(Ready { text, place }) = self.ready.take() else {
            return Err(Error::Protocol("no message is ready".into()));
        };
        let bytes = match place {
            Place::Input(range) => {
                self.spent = range.end;
                &self.input[range]
            }
            Place::Pieces => &self.pieces,
        };
        if !text {
            return Ok(Message::Binary(bytes));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Message::Text(text)),
            Err(why) => Err(Error::Protocol(format!("a text message that is no text: {why}"))),
        }
    }

    /// Looks for a whole message in what has come in, answering control frames on the way.
    fn find(&mut self) -> Result<bool> {
        if self.ready.is_some() {
            return Ok(true);
        }
        self.input.advance(std::mem::take(&mut self.spent));
        if self.pieces_of.is_none() && !self.pieces.is_empty() {
            self.pieces = Vec::new();
        }
        loop {
            if let Some((code, reason)) = self.closed.clone() {
                return Err(Error::lost(Lost::Closed { code, reason }));
            }
            let Some(head) = frame::read_head(&self.input).map_err(|why| Error::Protocol(why.into()))? else {
                return Ok(false);
            };
            let body_bytes = usize::try_from(head.body_bytes).unwrap_or(usize::MAX);
            if body_bytes > self.options.max_message_bytes.saturating_sub(self.pieces.len()) {
                let most = self.options.max_message_bytes;
                return Err(Error::Protocol(format!("a message of more than {most} bytes")));
            }
            let end = head.head_bytes + body_bytes;
            if self.input.len() < end {
                // Room for the rest of it, so that a long message is not read in small steps.
                self.input.reserve(end - self.input.len());
                return Ok(false);
            }
            let body = head.head_bytes..end;
            match head.opcode {
                Opcode::Text | Opcode::Binary if self.pieces_of.is_some() => {
                    return Err(Error::Protocol("a message inside another".into()));
                }
                Opcode::Text | Opcode::Binary if head.last => {
                    self.ready = Some(Ready { text: head.opcode == Opcode::Text, place: Place::Input(body) });
                    return Ok(true);
                }
                Opcode::Text | Opcode::Binary => {
                    self.pieces.extend_from_slice(&self.input[body]);
                    self.pieces_of = Some(head.opcode);
                }
                Opcode::Continuation => {
                    let Some(kind) = self.pieces_of else {
                        return Err(Error::Protocol("a continuation of nothing".into()));
                    };
                    self.pieces.extend_from_slice(&self.input[body]);
                    if head.last {
                        self.pieces_of = None;
                        self.spent = end;
                        self.ready = Some(Ready { text: kind == Opcode::Text, place: Place::Pieces });
                        return Ok(true);
                    }
                }
                Opcode::Ping => {
                    let body = self.input[body].to_vec();
                    self.queue_frame(Opcode::Pong, |out| out.extend_from_slice(&body));
                }
                Opcode::Pong => {}
                Opcode::Close => {
                    let body = &self.input[body];
                    let code = body.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code));
                    let reason = String::from_utf8_lossy(body.get(2..).unwrap_or_default()).into_owned();
                    self.closed = Some((code, reason));
                }
            }
            self.input.advance(end);
        }
    }

    /// Ready when nothing is left to write, or nothing can be written any more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.written < self.output.len() && self.mute.is_none() {
            ready!(self.stream.poll_write_ready(cx)).unwrap_or_else(|why| self.mute = Some(why));
            match self.stream.try_write(&self.output[self.written..]) {
                Ok(written) => self.written += written,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) => self.mute = Some(why),
            }
        }
        self.written = 0;
        self.output.clear();
        if self.output.capacity() > KEPT_OUTPUT_BYTES {
            self.output = Vec::new();
        }
        Poll::Ready(())
    }

    /// Reads once.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            if self.input.is_empty() && self.input.capacity() > 0 {
                // Most connections wait for hours: what waits must not hold a buffer. A busy one gets here seldom, because
                // what it reads next is there already.
                if !self.is_readable(cx) {
                    self.input = BytesMut::new();
                }
            }
            ready!(self.stream.poll_read_ready(cx))?;
            if self.input.capacity() - self.input.len() < self.read_bytes / 2 {
                self.input.reserve(self.read_bytes);
            }
            let room = self.input.capacity() - self.input.len();
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => {
                    let why = self.mute.take().map_or(Lost::Eof, Lost::Io);
                    return Poll::Ready(Err(Error::lost(why)));
                }
                Ok(read) => {
                    if read == room {
                        self.read_bytes = (self.read_bytes * 2).min(MOST_READ_BYTES);
                    } else if read < self.read_bytes / 4 {
                        self.read_bytes = (self.read_bytes / 2).max(LEAST_READ_BYTES);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) => return Poll::Ready(Err(why.into())),
            }
        }
    }

    fn is_readable(&self, cx: &mut Context<'_>) -> bool {
        self.stream.poll_read_ready(cx).is_ready()
    }
}

fn upgrade_request(endpoint: &Endpoint, target: &str, key: &str) -> Result<Request<Full<bytes::Bytes>>> {
    let bad = |why: String| Error::Protocol(format!("{target:?} cannot be asked for: {why}"));
    let mut request = Request::new(Full::default());
    *request.uri_mut() = Uri::try_from(target).map_err(|why| bad(why.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, endpoint.host_header());
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_str(key).map_err(|why| bad(why.to_string()))?);
    if let Some(token) = endpoint.authorization() {
        headers.insert(header::AUTHORIZATION, token);
    }
    Ok(request)
}
