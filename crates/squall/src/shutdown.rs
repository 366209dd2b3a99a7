//! Signals: the first asks everything to end in order, the second ends the process.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::unistd::{Pid, getppid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT. The second ends the process at once, with `128 + signal` as
/// shells have it; what is on disk is then as after a crash, which is to say complete.
///
/// Must be called inside a runtime.
pub(crate) fn on_signal() -> std::io::Result<CancellationToken> {
    let (stop, second) = on_signals()?;
    tokio::spawn(async move {
        if let Ok(code) = second.await {
            std::process::exit(code.into());
        }
    });
    Ok(stop)
}

/// As [`on_signal`], for those who have something to put away first: the second signal is told, with the exit code that
/// belongs to it.
///
/// Must be called inside a runtime.
pub(crate) fn on_signals() -> std::io::Result<(CancellationToken, oneshot::Receiver<u8>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (token, (tell, second)) = (CancellationToken::new(), oneshot::channel());
    let stop = token.clone();
    tokio::spawn(async move {
        let first = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = first.0, "stopping; a second signal stops at once");
        stop.cancel();
        let second = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = second.0, "stopped at once");
        // Nobody listens only when the end is near anyway.
        let _ = tell.send(128 + second.1 as u8);
    });
    Ok((token, second))
}

/// When everything is to be over.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    timeout: Duration,
    at: Arc<OnceLock<Instant>>,
}

impl Deadline {
    /// So long after the signal.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, at: Arc::default() }
    }

    /// Begins when `stop` is cancelled.
    ///
    /// Must be called inside a runtime.
    pub(crate) fn begins_with(&self, stop: CancellationToken) {
        let deadline = self.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            deadline.left();
        });
    }

    /// How much time is left. Whoever ends without a signal begins it by asking.
    pub(crate) fn left(&self) -> Duration {
        let at = self.at.get_or_init(|| Instant::now() + self.timeout);
        at.saturating_duration_since(Instant::now())
    }
}

/// Says to a gateway whose child it is; it then stops when that process is gone, so that a storm that was killed leaves
/// nothing running.
const PARENT: &str = "SQUALL_DIE_WITH_PARENT";

/// How often a child looks for its parent.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Cancels `stop` when the process that started this one, and said so, is gone.
///
/// The kernel's own notice (PDEATHSIG) is about the thread that started a child, and threads of a runtime come and go.
pub(crate) fn with_parent(stop: &CancellationToken) {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok()).map(Pid::from_raw) else { return };
    let stop = stop.clone();
    tokio::spawn(async move {
        while getppid() == parent {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tracing::info!(parent = parent.as_raw(), "stopping: the process that started this one is gone");
        stop.cancel();
    });
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
        _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
    }
}
