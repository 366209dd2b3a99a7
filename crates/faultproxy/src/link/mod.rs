//! One connection through a proxy: one task for both directions, no channel, no buffer of its own as long as everything
//! gets through. Decisions are in `chain` and `toxics`; this is their shell of sockets and a timer.

mod direction;
mod pipe;
mod timer;

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::chain::{Cut, Ending, Wanted};
use crate::proxy::{Accepted, Shared};
use crate::spec::Direction;
use crate::toxics::{Attributes, Begin, ORPHAN};
use direction::{Half, Progress};
use timer::Timer;

/// How the proxy reaches a connection that may be waiting for something else.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    waker: AtomicWaker,
    ending: AtomicU8,
}

const CLOSE: u8 = 1;
const RESET: u8 = 2;

impl Signal {
    /// The connection is to end.
    pub(crate) fn end(&self, ending: Ending) {
        self.ending.store(if ending == Ending::Reset { RESET } else { CLOSE }, Ordering::Release);
        self.waker.wake();
    }

    /// Toxics were changed.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    fn poll_ending(&self, cx: &Context<'_>) -> Option<Ending> {
        // In this order: what is said after the waker is there wakes.
        self.waker.register(cx.waker());
        match self.ending.load(Ordering::Acquire) {
            CLOSE => Some(Ending::Close),
            RESET => Some(Ending::Reset),
            _ => None,
        }
    }

    async fn ended(&self) -> Ending {
        std::future::poll_fn(|cx| self.poll_ending(cx).map_or(Poll::Pending, Poll::Ready)).await
    }
}

/// Connects and carries until an end.
pub(crate) async fn carry(shared: &Shared, signal: &Signal, client: TcpStream, upstream: &str, accepted: Accepted) {
    if let Some(client) = hold(shared, signal, client, accepted.number).await
        && let Some(server) = connect(shared, signal, upstream).await
    {
        let mut link = Link::new(shared, signal, client, server, accepted);
        let ending = std::future::poll_fn(|cx| link.poll(cx)).await;
        if ending == Ending::Reset {
            shared.counters.resets.fetch_add(1, Ordering::Relaxed);
        }
        finish(ending, &link.client);
        finish(ending, &link.server);
    }
}

async fn connect(shared: &Shared, signal: &Signal, upstream: &str) -> Option<TcpStream> {
    let dialled = tokio::select! {
        _ = signal.ended() => return None,
        dialled = tokio::time::timeout(shared.connect_timeout, TcpStream::connect(upstream)) => dialled,
    };
    let connected = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).and_then(|server| {
        server.set_nodelay(true)?;
        Ok(server)
    });
    match connected {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::warn!(proxy = shared.name, upstream, %error, "cannot reach the upstream");
            shared.counters.unreachable.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// Keeps a connection that `half_open` strikes from reaching the upstream. It is given back if there is no such toxic.
async fn hold(shared: &Shared, signal: &Signal, mut client: TcpStream, number: u64) -> Option<TcpStream> {
    let struck =
        || shared.plan.load().strikes(shared, number).any(|toxic| matches!(toxic.attributes, Attributes::HalfOpen(_)));
    if !struck() {
        return Some(client);
    }
    for toxic in
        shared.plan.load().strikes(shared, number).filter(|toxic| matches!(toxic.attributes, Attributes::HalfOpen(_)))
    {
        toxic.counters.connection();
    }
    let mut nowhere = [0; 4_096];
    let mut closed = false;
    let gone = std::future::poll_fn(|cx| {
        loop {
            if let Some(ending) = signal.poll_ending(cx) {
                return Poll::Ready(ending);
            }
            // What it sent is gone, so it cannot go on.
            if !struck() {
                return Poll::Ready(Ending::Close);
            }
            if closed {
                return Poll::Pending;
            }
            let mut buffer = ReadBuf::new(&mut nowhere);
            match Pin::new(&mut client).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Ending::Close),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    closed = true;
                    // To be polled once more, by the timeout below.
                    return Poll::Ready(Ending::Close);
                }
                Poll::Ready(Ok(())) => {
                    shared.counters.flows[Direction::Upstream as usize].received(buffer.filled().len())
                }
            }
        }
    })
    .await;
    if closed {
        let changed = std::future::poll_fn(|cx| match signal.poll_ending(cx) {
            Some(_) => Poll::Ready(()),
            None if struck() => Poll::Pending,
            None => Poll::Ready(()),
        });
        let _ = tokio::time::timeout(ORPHAN, changed).await;
    }
    finish(gone, &client);
    None
}

/// Both ends of a connection, and what is between them.
struct Link<'a> {
    shared: &'a Shared,
    signal: &'a Signal,
    accepted: Accepted,
    epoch: u64,
    client: TcpStream,
    server: TcpStream,
    /// Upstream, downstream.
    halves: [Half; 2],
    timer: Timer,
}

impl<'a> Link<'a> {
    fn new(shared: &'a Shared, signal: &'a Signal, client: TcpStream, server: TcpStream, accepted: Accepted) -> Self {
        let mut link = Self {
            shared,
            signal,
            accepted,
            epoch: 0,
            client,
            server,
            halves: [Half::default(), Half::default()],
            timer: Timer::default(),
        };
        link.replan();
        link
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        if let Some(ending) = self.signal.poll_ending(cx) {
            return Poll::Ready(ending);
        }
        if self.shared.epoch() != self.epoch {
            self.replan();
        }
        loop {
            let mut wake = None;
            for direction in Direction::ALL {
                let half = &mut self.halves[direction as usize];
                let (from, to) = match direction {
                    Direction::Upstream => (&mut self.client, &mut self.server),
                    Direction::Downstream => (&mut self.server, &mut self.client),
                };
                match half.poll(cx, from, to, &self.shared.counters.flows[direction as usize]) {
                    Progress::Waits(None) => {}
                    Progress::Waits(Some(at)) => wake = Some(wake.map_or(at, |wake: Instant| wake.min(at))),
                    Progress::Ends(ending) => return Poll::Ready(ending),
                }
                if half.has_toxics() {
                    match half.chain.cut(Instant::now()) {
                        Cut::No => {}
                        Cut::At(at) => wake = Some(wake.map_or(at, |wake| wake.min(at))),
                        Cut::Now(ending) => return Poll::Ready(ending),
                    }
                }
            }
            if self.halves.iter().all(Half::is_over) {
                return Poll::Ready(Ending::Close);
            }
            let Some(at) = wake else { return Poll::Pending };
            if self.timer.poll(cx, at).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Takes over the toxics that there are now. Those that stay keep what they have.
    fn replan(&mut self) {
        let plan = self.shared.plan.load_full();
        self.epoch = plan.epoch;
        let now = Instant::now();
        for direction in Direction::ALL {
            let planned = &plan.toxics[direction as usize];
            let draw = |toxic: &str| self.shared.seed.of(&self.shared.name, toxic, direction, self.accepted.number);
            let struck: Vec<_> = planned.iter().filter(|toxic| draw(&toxic.name).strikes(toxic.toxicity)).collect();
            let wanted: Vec<_> = struck
                .iter()
                .map(|toxic| Wanted {
                    id: toxic.id,
                    revision: toxic.revision,
                    attributes: &toxic.attributes,
                    counters: &toxic.counters,
                })
                .collect();
            let half = &mut self.halves[direction as usize];
            half.change(&wanted, now, |wanted| {
                let toxic = struck.iter().find(|toxic| toxic.id == wanted.id);
                let name = toxic.map_or("", |toxic| toxic.name.as_str());
                let was_open = toxic.is_some_and(|toxic| toxic.since > self.accepted.epoch);
                let counters = Arc::clone(wanted.counters);
                wanted.attributes.begin(Begin { now, rng: draw(name).rng(), was_open, counters })
            });
        }
    }
}

/// What a peer may have sent that nobody will read, bytes, before its connection is closed over it all the same.
const MOST_UNREAD: usize = 4 << 20;

/// Ends a connection in this way. What is unread is thrown away first: to close over it would be a reset.
fn finish(ending: Ending, socket: &TcpStream) {
    // A socket that is gone already needs no more.
    match ending {
        Ending::Reset => drop(socket.set_zero_linger()),
        Ending::Close => {
            let _ = SockRef::from(socket).shutdown(Shutdown::Write);
            let (mut nowhere, mut read) = ([0; 16 << 10], 0);
            while let Ok(len @ 1..) = socket.try_read(&mut nowhere) {
                read += len;
                if read > MOST_UNREAD {
                    break;
                }
            }
        }
    }
}
