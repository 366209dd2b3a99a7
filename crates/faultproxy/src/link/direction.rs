//! One direction of a connection. Without toxics, bytes are read into a buffer that all connections of a thread share,
//! and written at once; only what the receiver does not take is kept. A stream that fills that buffer again and again
//! goes through a pipe in the kernel instead. With toxics, bytes go through the chain.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pipe::Pipe;
use crate::chain::{Chain, Ending, Item, Next, Wanted};
use crate::metrics::Flow;
use crate::toxics::Stage;

/// What is read at once without toxics: large enough that the system calls do not matter, small enough for the
/// processor's cache.
const SHARED: usize = 64 << 10;
/// What is read at once with toxics, as Toxiproxy does: delays and draws are of such chunks.
const CHUNK: usize = 32 << 10;
/// So many full buffers in a row are a bulk transfer.
const BULK: u32 = 4;
/// So many small reads in a row are none any more.
const TRICKLE: u32 = 64;
const SMALL: usize = 4 << 10;
/// Reads after which others get their turn.
const TURN: u32 = 32;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SHARED].into_boxed_slice());
}

/// What became of a direction.
pub(super) enum Progress {
    /// It waits for a socket, or for this time at the latest.
    Waits(Option<Instant>),
    /// Both directions end.
    Ends(Ending),
}

/// One direction.
#[derive(Default)]
pub(super) struct Half {
    pub(super) chain: Chain,
    /// What is through, and waits for the receiver.
    out: VecDeque<Bytes>,
    pipe: Option<Pipe>,
    /// Full reads in a row; through a pipe, small ones.
    in_a_row: u32,
    /// The system would not splice.
    copies_only: bool,
    /// The sender is done.
    ended: bool,
    /// The receiver knows.
    over: bool,
    /// A toxic is gone that threw bytes away.
    broken: bool,
}

impl Half {
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn has_toxics(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Other toxics from now on. What was through already stays so.
    pub(super) fn change(
        &mut self,
        wanted: &[Wanted<'_>],
        now: Instant,
        begin: impl FnMut(&Wanted<'_>) -> Box<dyn Stage>,
    ) {
        let released = self.chain.change(wanted, now, begin);
        self.broken |= released.broken;
        for item in released.items {
            match item {
                Item::Data(bytes, _) => self.out.push_back(bytes),
                Item::End => {}
                Item::Close => self.broken = true,
            }
        }
        self.in_a_row = 0;
    }

    /// Moves what can be moved. `flow` counts.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        flow: &Flow,
    ) -> Progress {
        if self.over {
            return Progress::Waits(None);
        }
        for _ in 0..TURN {
            let step =
                if self.chain.is_empty() { self.pass(cx, from, to, flow) } else { self.treat(cx, from, to, flow) };
            if let Err(progress) = step {
                return progress;
            }
        }
        cx.waker().wake_by_ref();
        Progress::Waits(None)
    }

    /// What is through goes first.
    fn flush(&mut self, cx: &mut Context<'_>, to: &mut TcpStream, flow: &Flow) -> Result<(), Progress> {
        // The pipe is filled only when nothing else waits, so what is in it is older.
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| !pipe.is_empty()) {
            flow.sent(ready(pipe.poll_drain(cx, to))?);
        }
        while let Some(bytes) = self.out.front_mut() {
            let len = ready(Pin::new(&mut *to).poll_write(cx, bytes))?;
            flow.sent(len);
            bytes.advance(len);
            if bytes.is_empty() {
                self.out.pop_front();
            }
        }
        if self.broken { Err(Progress::Ends(Ending::Close)) } else { Ok(()) }
    }

    /// The receiver is told that no more comes.
    fn end(&mut self, cx: &mut Context<'_>, to: &mut TcpStream) -> Progress {
        if let Err(stopped) = ready(Pin::new(to).poll_shutdown(cx)) {
            return stopped;
        }
        (self.over, self.pipe) = (true, None);
        Progress::Waits(None)
    }

    /// One step without toxics.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        flow: &Flow,
    ) -> Result<(), Progress> {
        self.flush(cx, to, flow)?;
        if self.ended {
            return Err(self.end(cx, to));
        }
        if self.pipe.is_some() {
            return self.splice(cx, from, flow);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready(Pin::new(from).poll_read(cx, &mut buffer))?;
            let mut bytes = buffer.filled();
            flow.received(bytes.len());
            self.ended = bytes.is_empty();
            self.in_a_row = if bytes.len() == SHARED { self.in_a_row + 1 } else { 0 };
            while !bytes.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, bytes) {
                    Poll::Ready(Ok(len)) => {
                        flow.sent(len);
                        bytes = &bytes[len..];
                    }
                    Poll::Ready(Err(error)) => return Err(Progress::Ends(ending(&error))),
                    Poll::Pending => {
                        self.out.push_back(Bytes::copy_from_slice(bytes));
                        break;
                    }
                }
            }
            Ok(())
        })?;
        if self.in_a_row >= BULK && !self.copies_only {
            self.in_a_row = 0;
            self.pipe = Pipe::new().ok();
            self.copies_only = self.pipe.is_none();
        }
        Ok(())
    }

    /// One step of a bulk transfer. The pipe is empty here.
    fn splice(&mut self, cx: &mut Context<'_>, from: &TcpStream, flow: &Flow) -> Result<(), Progress> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        match pipe.poll_fill(cx, from) {
            Poll::Pending => return Err(Progress::Waits(None)),
            Poll::Ready(Ok(len)) => {
                flow.received(len);
                self.ended = len == 0;
                self.in_a_row = if len < SMALL { self.in_a_row + 1 } else { 0 };
                if self.in_a_row < TRICKLE {
                    return Ok(());
                }
                // What is in it now is drained first; `flush` does not mind that there is no next time.
                if !pipe.is_empty() {
                    return Ok(());
                }
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => self.copies_only = true,
            Poll::Ready(Err(error)) => return Err(Progress::Ends(ending(&error))),
        }
        (self.pipe, self.in_a_row) = (None, 0);
        Ok(())
    }

    /// One step with toxics.
    fn treat(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        flow: &Flow,
    ) -> Result<(), Progress> {
        // A receiver that takes nothing does not keep toxics from their clocks, but from giving more.
        let wake = match self.flush(cx, to, flow) {
            Ok(()) => {
                self.pipe = None;
                match self.chain.pull(Instant::now()) {
                    Next::Item(Item::Data(bytes, _)) => {
                        self.out.push_back(bytes);
                        return Ok(());
                    }
                    Next::Item(Item::End) => return Err(self.end(cx, to)),
                    Next::Item(Item::Close) => return Err(Progress::Ends(Ending::Close)),
                    Next::At(at) => Some(at),
                    Next::Idle => None,
                }
            }
            Err(Progress::Waits(_)) => None,
            Err(ends) => return Err(ends),
        };
        if self.ended || !self.chain.takes() {
            return Err(Progress::Waits(wake));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(&mut buffer[..CHUNK]);
            match Pin::new(from).poll_read(cx, &mut buffer) {
                Poll::Pending => return Err(Progress::Waits(wake)),
                Poll::Ready(Err(error)) => return Err(Progress::Ends(ending(&error))),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = buffer.filled();
            flow.received(bytes.len());
            self.ended = bytes.is_empty();
            self.chain.push(match bytes {
                [] => Item::End,
                bytes => Item::Data(Bytes::copy_from_slice(bytes), Instant::now()),
            });
            Ok(())
        })
    }
}

/// A poll as what stops a direction: not ready, or broken.
fn ready<T>(poll: Poll<io::Result<T>>) -> Result<T, Progress> {
    match poll {
        Poll::Ready(Ok(value)) => Ok(value),
        Poll::Ready(Err(error)) => Err(Progress::Ends(ending(&error))),
        Poll::Pending => Err(Progress::Waits(None)),
    }
}

/// What one side met, the other is to meet: a reset is passed on, as without a proxy.
fn ending(error: &io::Error) -> Ending {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ending::Reset,
        _ => Ending::Close,
    }
}
