//! Waits for an exact time. tokio's timer has steps of a millisecond and rounds up, so that a latency of 1 ms would be
//! one of 2; a timerfd has none. A link that needs no timer has none: it is made with the first wait.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

/// The timer of one link.
#[derive(Default)]
pub(super) struct Timer {
    kind: Kind,
    armed: Option<Instant>,
}

#[derive(Default)]
enum Kind {
    #[default]
    None,
    Exact(AsyncFd<Descriptor>),
    /// There was no file descriptor left.
    Coarse(Pin<Box<Sleep>>),
}

struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    /// Ready when it is `at`; otherwise the task is woken then. One wait at a time: another `at` replaces it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Poll::Ready(());
        }
        if self.armed != Some(at) {
            self.arm(left);
            self.armed = Some(at);
        }
        match &mut self.kind {
            Kind::Exact(descriptor) => loop {
                // The runtime ends; so does the link.
                let Ok(mut guard) = ready!(descriptor.poll_read_ready(cx)) else { return Poll::Pending };
                if guard.try_io(|descriptor| descriptor.get_ref().0.wait().map_err(io::Error::from)).is_ok() {
                    self.armed = None;
                    return Poll::Ready(());
                }
            },
            Kind::Coarse(sleep) => {
                ready!(sleep.as_mut().poll(cx));
                self.armed = None;
                Poll::Ready(())
            }
            Kind::None => Poll::Ready(()),
        }
    }

    fn arm(&mut self, left: Duration) {
        if matches!(self.kind, Kind::None)
            && let Ok(descriptor) = exact()
        {
            self.kind = Kind::Exact(descriptor);
        }
        if let Kind::Exact(descriptor) = &self.kind {
            let once = Expiration::OneShot(TimeSpec::from(left));
            if descriptor.get_ref().0.set(once, TimerSetTimeFlags::empty()).is_ok() {
                return;
            }
        }
        self.kind = Kind::Coarse(Box::pin(tokio::time::sleep(left)));
    }
}

fn exact() -> io::Result<AsyncFd<Descriptor>> {
    let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
    #[expect(deprecated, reason = "its successor is unsafe; the descriptor is owned here and never given away")]
    AsyncFd::new(Descriptor(timer))
}
