//! Carries schedules out: one thread with a single-threaded runtime per core, VUs that never leave their core, statistics
//! and ledger in the core's own arrays. Cores hear from the conductor once a second (for their statistics), and talk to it
//! only then, when a fault is first felt or first over, and when they are done.

mod arrivals;
mod clock;
mod comparison;
mod core;
mod followers;
mod iterations;
mod pacer;
#[cfg(test)]
pub(crate) mod testing;
mod vus;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

pub(crate) use clock::Clock;
pub(crate) use comparison::Comparison;
pub(crate) use core::Core;
pub(crate) use followers::{Follower, Followers};
use squall_client::{Endpoints, Options};
use squall_protocol::SessionReport;
use squall_report::statistics::{Shard, Tally};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::executors::Schedule;
use crate::ledger::Book;
use crate::metrics::Ids;
use crate::scenario::Load;
use crate::workloads::Place;

/// What all cores share, read-only but for a few flags that change when a fault does.
#[derive(Debug)]
pub(crate) struct Run {
    /// Eight hexadecimal digits that mark this run's tasks.
    pub(crate) id: String,
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
    /// The target, one gateway or several that act as one, as it is asked about itself: no fault lies in between.
    pub(crate) gateways: Endpoints,
    /// The target as VUs reach it.
    pub(crate) ways: Ways,
    /// The target is the storm's own, so that there can be no tasks of others.
    pub(crate) own: bool,
    pub(crate) options: Options,
    /// All lanes that tasks may come over; the last one stands for those that the scenario does not name.
    pub(crate) lanes: Vec<String>,
    pub(crate) loads: Vec<Load>,
    /// Producers come to an end.
    pub(crate) stop_load: CancellationToken,
    /// Everybody comes to an end.
    pub(crate) stop_all: CancellationToken,
    /// Index of the last fault that began; `u64::MAX` before the first. Written after `fault_ended_us` was reset.
    pub(crate) fault: AtomicU64,
    /// When it was taken back, microseconds of the run's clock; `u64::MAX` as long as it was not.
    pub(crate) fault_ended_us: AtomicU64,
    /// The feed's last offset before the load.
    pub(crate) feed_begun: u64,
    /// How far the subscribers are.
    pub(crate) followers: Followers,
    /// Whether they are all told the same.
    pub(crate) comparison: Comparison,
    /// How often a gateway was back after a fault.
    pub(crate) came_back: watch::Sender<u64>,
    /// From the begin of a fault until its effects should be over. Dropped iterations are then the target's doing.
    pub(crate) disturbed: AtomicBool,
}

/// The target as VUs reach it, which may be through fault proxies.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    pub(crate) clients: Endpoints,
    pub(crate) workers: Endpoints,
    pub(crate) subscribers: Endpoints,
}

impl From<Endpoints> for Ways {
    /// As it is, for everybody.
    fn from(gateways: Endpoints) -> Self {
        Self { clients: gateways.clone(), workers: gateways.clone(), subscribers: gateways }
    }
}

/// From a core to the conductor.
#[derive(Debug)]
pub(crate) enum FromCore {
    /// What was recorded since the last time.
    Tally { core: usize, tally: Box<Tally> },
    /// The first error after the fault with this index began.
    Felt { fault: u64, at_us: u64 },
    /// The first thing that worked, begun after the fault with this index was taken back.
    Worked { fault: u64, at_us: u64 },
    /// A session is over; the gateway's report on it.
    SessionOver(Box<SessionReport>),
    /// All producers of this core are done.
    LoadDone { core: usize },
}

/// To a core.
#[derive(Debug)]
pub(crate) enum ToCore {
    /// Hand over what was recorded, and go on with this.
    Take(Box<Tally>),
}

/// What a core leaves.
#[derive(Debug)]
pub(crate) struct Leaves {
    pub(crate) book: Book,
    pub(crate) tally: Tally,
    /// Dropped iterations while no fault disturbed.
    pub(crate) dropped_undisturbed: u64,
    /// Iterations that should have started while no fault disturbed, in the open model.
    pub(crate) due_undisturbed: u64,
    /// Sessions that came to an end, by state.
    pub(crate) sessions: BTreeMap<&'static str, u64>,
    /// Why this core's figures are not to be trusted, if they are not.
    pub(crate) broken: Option<String>,
}

/// A defect of the storm; the panic's own message went to standard error.
pub(crate) const PANICKED: &str = "a core of the storm has broken; its panic message says how";

/// A running core.
pub(crate) struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<ToCore>,
    thread: std::thread::JoinHandle<Leaves>,
}

impl Handle {
    /// Its thread has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end, without blocking the runtime.
    pub(crate) async fn join(self) -> Option<Leaves> {
        drop(self.commands);
        tokio::task::spawn_blocking(move || self.thread.join().ok()).await.ok().flatten()
    }
}

/// Starts `cores` cores. They wait for the clock's zero before the first iteration.
pub(crate) fn start(
    run: &Arc<Run>,
    ids: &Arc<Ids>,
    shards: Vec<(Shard, Tally)>,
    events: &mpsc::Sender<FromCore>,
) -> Result<Vec<Handle>> {
    let cores = shards.len();
    let spawn = |(index, (shard, spare)): (usize, (Shard, Tally))| {
        let (commands, from_conductor) = mpsc::unbounded_channel();
        let (run, ids, events) = (run.clone(), ids.clone(), events.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::System { what: "starting a runtime", source })?;
        let thread = std::thread::Builder::new().name(format!("storm-{index}")).spawn(move || {
            let core = Rc::new(Core::new(index, cores, run, ids, shard, events));
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, life_of_a_core(core.clone(), from_conductor));
            // What was aborted still holds the core; with the set it goes.
            drop(local);
            core.leave(spare)
        });
        let thread = thread.map_err(|source| Error::System { what: "starting a thread", source })?;
        Ok(Handle { commands, thread })
    };
    shards.into_iter().enumerate().map(spawn).collect()
}

async fn life_of_a_core(core: Rc<Core>, mut commands: mpsc::UnboundedReceiver<ToCore>) {
    let listener = tokio::task::spawn_local({
        let core = core.clone();
        async move {
            while let Some(ToCore::Take(spare)) = commands.recv().await {
                core.hand_over(spare).await;
            }
        }
    });
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    for load in 0..core.run.loads.len() {
        let driver = tokio::task::spawn_local(drive(core.clone(), load));
        let kind = if core.run.loads[load].workload.is_consumer() { &mut consumers } else { &mut producers };
        kind.push(driver);
    }
    for producer in producers {
        if producer.await.is_err() {
            core.broken(PANICKED.to_owned());
        }
    }
    core.load_done().await;
    for consumer in consumers {
        if consumer.await.is_err() {
            core.broken(PANICKED.to_owned());
        }
    }
    core.run.stop_all.cancelled().await;
    listener.abort();
}

/// Carries out one load on one core.
async fn drive(core: Rc<Core>, load: usize) {
    let config = core.run.loads[load].clone();
    let stop = if config.workload.is_consumer() { core.run.stop_all.clone() } else { core.run.stop_load.clone() };
    let start_us = config.start_time.as_micros() as u64;
    let wait = core.instant(start_us);
    tokio::select! {
        () = sleep_until(wait) => {}
        () = stop.cancelled() => return,
    }
    let part = Part { core, load, start_us, stop, config };
    match part.config.executor.schedule() {
        Schedule::Vus(vus) => vus::drive(part, &vus).await,
        Schedule::Arrivals { arrivals, pre_allocated_vus, max_vus } => {
            arrivals::drive(part, &arrivals, pre_allocated_vus, max_vus).await;
        }
        Schedule::Iterations { vus, iterations, max } => iterations::drive(part, vus, iterations, max).await,
    }
}

/// Coarse: for what need not be on time to the millisecond.
async fn sleep_until(at: tokio::time::Instant) {
    tokio::time::sleep(at.saturating_duration_since(tokio::time::Instant::now())).await;
}

/// One load on one core, as its driver sees it.
struct Part {
    core: Rc<Core>,
    load: usize,
    start_us: u64,
    /// When it is to end early.
    stop: CancellationToken,
    config: Load,
}

impl Part {
    /// The place of this core's VU with the local number `index`.
    fn place(&self, index: u64, open: bool) -> Place {
        let core = self.core.clone();
        let number = index * core.cores as u64 + core.index as u64;
        Place { core, load: self.load, number, open, stop: CancellationToken::new() }
    }

    /// Waits for VUs that were told to stop; those that do not come to an end in time are dropped.
    async fn gracefully(&self, vus: Vec<tokio::task::JoinHandle<()>>) {
        let deadline = tokio::time::Instant::now() + self.config.graceful_stop.max(Duration::from_millis(10));
        for mut vu in vus {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if tokio::time::timeout(left, &mut vu).await.is_err() {
                vu.abort();
                // Its memory and sockets are freed before anything is counted.
                let _ = vu.await;
            }
        }
    }
}
