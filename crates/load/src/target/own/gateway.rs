//! The life of one own gateway. One task owns it; faults come in as acts, and what becomes of it goes out.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use squall_report::record::Struck;
use tokio::process::Child;
use tokio::sync::mpsc;

use super::recipe::Recipe;
use crate::engine::Clock;
use crate::faults::{GatewayFault, ProcessFault};

/// How long it may take to stop by itself.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How long a process that was killed may take to be gone.
const REAPED_WITHIN: Duration = Duration::from_secs(2);

/// What is to be done to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// The fault with this index begins.
    Begin(usize, GatewayFault),
    /// It is taken back.
    End(usize, GatewayFault),
    /// SIGTERM, and wait; the last act.
    Stop,
}

/// What became of a fault, at this time of the run's clock.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It has begun; `down` is the index of a gateway that is gone now.
    Begun { fault: usize, at_us: u64, down: Option<usize> },
    /// It has been taken back: whoever was struck runs and is ready.
    Ended {
        fault: usize,
        at_us: u64,
        /// The index of a gateway that was gone, and its process now.
        back: Option<(usize, u32)>,
        /// What was not as it should be with the end of the process before it.
        blemish: Option<String>,
        /// What a fault in proxies has struck.
        struck: Option<Struck>,
    },
    /// It died, and nobody had asked for it; or a fault cannot be done, or taken back.
    Broken(String),
}

/// The gateway with its process and its directory.
pub(super) struct OwnGateway {
    child: Child,
    recipe: Recipe,
    /// `http://127.0.0.1:12345`.
    pub(super) url: String,
}

impl OwnGateway {
    /// Starts it on a free port, and waits until it listens.
    pub(super) async fn start(recipe: Recipe) -> Result<Self, String> {
        let (child, url) = recipe.start("127.0.0.1:0").await?;
        Ok(Self { child, recipe, url })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Owns it until the last act; or until the acts end, which kills it.
    /// `gateway` is its index among all.
    pub(super) async fn live(
        mut self,
        gateway: usize,
        clock: Clock,
        mut acts: mpsc::Receiver<Act>,
        heard: mpsc::Sender<Heard>,
    ) {
        // After a fault that took it down the process is gone, and that is as it should be.
        let mut down = false;
        loop {
            let act = tokio::select! {
                act = acts.recv() => act,
                status = self.child.wait(), if !down => {
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    let told = format!("{} died by itself ({status}); {}", self.recipe.name, self.recipe.last_words());
                    let _ = heard.send(Heard::Broken(told)).await;
                    down = true;
                    continue;
                }
            };
            let done = match act {
                None => return,
                Some(Act::Stop) => {
                    if !down {
                        self.signal(Signal::SIGTERM);
                        // A frozen process hears nothing.
                        self.signal(Signal::SIGCONT);
                        self.gone().await;
                    }
                    return;
                }
                Some(Act::Begin(fault, what)) => {
                    let at_us = clock.now_us();
                    down = what.takes_down();
                    let begun = Heard::Begun { fault, at_us, down: down.then_some(gateway) };
                    let told = match self.begin(what).await {
                        Ok(()) => begun,
                        Err(error) => Heard::Broken(error),
                    };
                    heard.send(told).await
                }
                Some(Act::End(fault, what)) => {
                    let told = match self.end(what).await {
                        Ok(blemish) => {
                            let back = down.then(|| (gateway, self.child.id().unwrap_or_default()));
                            down = false;
                            Heard::Ended { fault, at_us: clock.now_us(), back, blemish, struck: None }
                        }
                        Err(error) => Heard::Broken(error),
                    };
                    heard.send(told).await
                }
            };
            if done.is_err() {
                // Nobody listens any more: the run is over, and the child is killed with this value.
                return;
            }
        }
    }

    async fn begin(&mut self, what: GatewayFault) -> Result<(), String> {
        match what {
            GatewayFault::Process(ProcessFault::Kill) => {
                self.signal(Signal::SIGKILL);
                // Reaped, so that its port and files are free.
                let _ = self.child.wait().await;
            }
            GatewayFault::Process(ProcessFault::Stop) => self.signal(Signal::SIGSTOP),
            GatewayFault::Process(ProcessFault::Restart | ProcessFault::Drain) => self.signal(Signal::SIGTERM),
            GatewayFault::FillDisk(leave_bytes) => self.recipe.fill_disk(self.pid(), Some(leave_bytes)).await?,
            GatewayFault::Clock(shift_ms) => self.recipe.shift_clock(shift_ms)?,
        }
        Ok(())
    }

    /// Answers what was not as it should be.
    async fn end(&mut self, what: GatewayFault) -> Result<Option<String>, String> {
        let fault = match what {
            GatewayFault::Process(ProcessFault::Stop) => {
                self.signal(Signal::SIGCONT);
                return Ok(None);
            }
            GatewayFault::FillDisk(_) => return self.recipe.fill_disk(self.pid(), None).await.map(|()| None),
            GatewayFault::Clock(_) => return self.recipe.shift_clock(0).map(|()| None),
            GatewayFault::Process(fault) => fault,
        };
        // It was told to stop when the fault began, and only waited for now: a second SIGTERM would be an order to give up
        // draining.
        let status = self.gone().await;
        let blemish = (fault != ProcessFault::Kill && !status.contains("status: 0"))
            .then(|| format!("after SIGTERM {} did not stop cleanly ({status})", self.recipe.name));
        let address = self.url.trim_start_matches("http://").to_owned();
        (self.child, _) = self.recipe.start(&address).await.map_err(|error| format!("restart failed: {error}"))?;
        Ok(blemish)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id() {
            // It is our own child and not yet reaped, so this is the process that we mean.
            let _ = kill(Pid::from_raw(pid as i32), signal);
        }
    }

    /// Waits for the end of a process that was told to stop, and kills it if it does not. Answers how it ended.
    async fn gone(&mut self) -> String {
        match tokio::time::timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(status) => status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            Err(_) => {
                tracing::warn!("{} did not stop within {STOP_WITHIN:?}, and is killed", self.recipe.name);
                let _ = self.child.kill().await;
                format!("killed after {STOP_WITHIN:?}")
            }
        }
    }
}

impl Drop for OwnGateway {
    /// When the run is given up at once, nothing is left running and nothing is left lying around.
    fn drop(&mut self) {
        // Nothing to kill after an orderly end.
        let _ = self.child.start_kill();
        let begun = Instant::now();
        // Killed is not yet gone, and what is not gone may still write into the directory that goes next.
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < REAPED_WITHIN {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
