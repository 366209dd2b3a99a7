//! What a peer sends, message by message: the reading side of a connection. It never writes; answering pings and closes
//! is the connection's business, which puts everything it has to say into one write.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::decode::Decoder;
pub(crate) use super::decode::{Incoming, ReadError};

/// Bytes in one read: 170 tasks of 256 bytes. All connections of a thread read into the same buffer, and what is no whole
/// message yet is copied out of it, so that a connection on which nothing happens holds no buffer.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// The reading side of a connection.
pub(crate) struct Reader {
    half: OwnedReadHalf,
    decoder: Decoder,
    /// Something came that was no message: what follows cannot be told apart any more.
    broken: bool,
}

impl Reader {
    /// `already_read` came with the handshake. `deflated`: permessage-deflate was agreed on.
    pub(crate) fn new(half: OwnedReadHalf, already_read: Bytes, max_message_bytes: usize, deflated: bool) -> Self {
        Self { half, decoder: Decoder::new(already_read, max_message_bytes, deflated), broken: false }
    }

    /// The next message.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, ReadError>> {
        loop {
            match self.decoder.next() {
                Ok(Some(incoming)) => return Poll::Ready(Ok(incoming)),
                Ok(None) => {}
                Err(error) => {
                    self.broken = true;
                    return Poll::Ready(Err(error));
                }
            }
            let decoder = &mut self.decoder;
            if !ready!(poll_read(&mut self.half, cx, |bytes| decoder.feed(bytes))) {
                return Poll::Ready(Err(ReadError::Gone));
            }
        }
    }

    /// Whether the peer's close can no longer be recognised.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Throws away what still comes, until the peer has said its close or has gone. A connection that is dropped over unread
    /// bytes is reset, and a reset may take our own close with it.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.broken {
            match ready!(self.poll_next(cx)) {
                Ok(Incoming::Close) | Err(ReadError::Gone) => return Poll::Ready(()),
                Ok(_) | Err(_) => {}
            }
        }
        while ready!(poll_read(&mut self.half, cx, |_| {})) {}
        Poll::Ready(())
    }
}

/// Reads once. False when the peer has gone.
fn poll_read(half: &mut OwnedReadHalf, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<bool> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut read = ReadBuf::new(scratch);
        match ready!(Pin::new(half).poll_read(cx, &mut read)) {
            Ok(()) if !read.filled().is_empty() => {
                take(read.filled());
                Poll::Ready(true)
            }
            _ => Poll::Ready(false),
        }
    })
}
