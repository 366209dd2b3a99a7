//! What waits for the committer: a bounded queue that many fill and one empties whole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use squall_protocol::task::Published;
use squall_protocol::{ConnectionId, NackMode};
use tokio::sync::{mpsc, oneshot};

use super::shared::Shared;
use crate::core::Core;
use crate::{Delivery, Error, Holder, Result, SettleVerb, Settled, Settlement, StoreStats, TaskSpec, WorkerSpec};

/// Gives an answer after the commit, or an error instead of it.
pub type Answer = Box<dyn FnOnce(Option<&Error>) + Send>;

/// A verb that is not worth a variant: decides, and says how to answer; or is told why it cannot be decided.
pub type Verb = Box<dyn FnOnce(Result<&mut Core, &Error>) -> Answer + Send>;

/// What a verb usually writes at most; one about very many tasks may want more, and says itself when it does not fit.
const VERB_BYTES: usize = 2 << 20;

/// Bytes of log that publishing a task takes at most.
#[must_use]
pub fn publish_bytes(task: &TaskSpec) -> usize {
    crate::core::publish_bytes(task)
}

/// One command.
pub enum Command {
    /// Publish tasks.
    Publish {
        /// Whose.
        tenant: Arc<str>,
        /// What; those that an earlier commit took are gone.
        tasks: VecDeque<TaskSpec>,
        /// What became of those.
        results: Vec<Result<Published>>,
        /// One for each.
        reply: oneshot::Sender<Vec<Result<Published>>>,
    },
    /// Settle leases.
    Settle {
        /// Only tasks of this tenant.
        tenant: Option<Box<str>>,
        /// Who says so.
        holder: Holder,
        /// What.
        settlements: Vec<Settlement>,
        /// One for each.
        reply: oneshot::Sender<Vec<Result<Settled>>>,
    },
    /// Register a worker.
    OpenWorker {
        /// Which.
        spec: WorkerSpec,
        /// Where its deliveries go.
        deliveries: mpsc::UnboundedSender<Vec<Delivery>>,
        /// When it is registered.
        reply: oneshot::Sender<Result<()>>,
    },
    /// More credit.
    Grant {
        /// For whom.
        worker: ConnectionId,
        /// How much.
        more: u32,
    },
    /// A worker is gone.
    CloseWorker {
        /// Which.
        worker: ConnectionId,
        /// Its leases do not count as attempts.
        release: bool,
    },
    /// Pull tasks.
    Pull {
        /// Only of this tenant.
        tenant: Option<Box<str>>,
        /// Of this lane.
        lane: Box<str>,
        /// At most so many.
        credit: u32,
        /// For so long.
        wait_ms: u64,
        /// What was leased.
        reply: oneshot::Sender<Result<Pulled>>,
    },
    /// Anything else.
    Verb(Verb),
    /// Figures.
    Stats {
        /// All of them.
        reply: oneshot::Sender<Result<StoreStats>>,
    },
    /// The last one.
    Close {
        /// A snapshot that is not done by then is left out; absent: it takes its time.
        snapshot_until: Option<Instant>,
        /// When all is on disk.
        reply: oneshot::Sender<Result<()>>,
    },
}

/// What a pull leased, on its way to whoever asked. When nobody takes it (they left, or stopped waiting while it was under way),
/// the leases are given back uncounted, and not kept from others until they expire.
pub struct Pulled {
    deliveries: Vec<Delivery>,
    shared: Arc<Shared>,
}

impl Pulled {
    /// What was leased, to be handed out.
    #[must_use]
    pub fn new(deliveries: Vec<Delivery>, shared: Arc<Shared>) -> Self {
        Self { deliveries, shared }
    }

    /// Takes all of it.
    #[must_use]
    pub fn take(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }
}

impl Drop for Pulled {
    fn drop(&mut self) {
        if !self.deliveries.is_empty() {
            // What frees something is never refused; a store that is closed keeps the leases until they expire.
            let _ = self.shared.queue.push(give_back(&self.deliveries), usize::MAX);
        }
    }
}

fn give_back(deliveries: &[Delivery]) -> Command {
    let release = |delivery: &Delivery| Settlement {
        id: delivery.task.id,
        receipt: Some(delivery.receipt),
        verb: SettleVerb::Nack {
            mode: NackMode::Release,
            delay_ms: None,
            reason: Some("nobody was there to take it".into()),
            pause_lane_ms: None,
        },
    };
    let (reply, _) = oneshot::channel();
    Command::Settle {
        tenant: None,
        holder: Holder::Receipts,
        settlements: deliveries.iter().map(release).collect(),
        reply,
    }
}

/// The queue.
#[derive(Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: Vec<Command>,
    /// Somebody waits for the answer to one of them, or for what it sets free.
    urgent: bool,
    committer: Committer,
    closed: bool,
}

/// What the committer does, as far as those who fill the queue must know.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Committer {
    /// Works, and will look by itself.
    #[default]
    Awake,
    /// Waits for anything.
    Asleep,
    /// Has something, and waits for company.
    Lingers,
}

/// Why a command was not queued; it comes back.
pub enum Refused {
    /// Too many wait.
    Full(Command),
    /// The store is closed.
    Closed(Command),
}

impl Queue {
    /// Queues a command, unless `bound` of them wait.
    ///
    /// # Errors
    /// The command comes back when it was not queued.
    pub fn push(&self, command: Command, bound: usize) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Refused::Closed(command));
        }
        if inner.waiting.len() >= bound {
            return Err(Refused::Full(command));
        }
        let urgent = !command.can_wait();
        inner.waiting.push(command);
        inner.urgent |= urgent;
        // Waking costs a system call; a committer that is awake looks by itself.
        let wake = match inner.committer {
            Committer::Awake => false,
            Committer::Asleep => true,
            Committer::Lingers => urgent,
        };
        if wake {
            inner.committer = Committer::Awake;
            drop(inner);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Swaps all that waits for the empty `into`; waits up to `timeout` for something (`None`: without end). When nobody
    /// waits for any of it, it waits up to `linger` more for a command that has to be committed anyway.
    pub fn take(&self, into: &mut Vec<Command>, timeout: Option<Duration>, linger: Option<Duration>) {
        let mut inner = self.inner.lock();
        if inner.waiting.is_empty() && timeout != Some(Duration::ZERO) {
            inner.committer = Committer::Asleep;
            match timeout {
                Some(timeout) => {
                    self.arrived.wait_for(&mut inner, timeout);
                }
                None => self.arrived.wait(&mut inner),
            }
        }
        if let Some(linger) = linger
            && !inner.waiting.is_empty()
        {
            let until = Instant::now() + linger;
            while !inner.urgent && !inner.closed {
                inner.committer = Committer::Lingers;
                if self.arrived.wait_until(&mut inner, until).timed_out() {
                    break;
                }
            }
        }
        inner.committer = Committer::Awake;
        inner.urgent = false;
        std::mem::swap(&mut inner.waiting, into);
    }

    /// Takes no more commands; answers what still waits.
    pub fn close(&self) -> Vec<Command> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        std::mem::take(&mut inner.waiting)
    }
}

impl Command {
    /// Whether nobody notices when it is committed a moment later, as long as no task waits for what it sets free: a worker's
    /// acks are not answered, and credit changes nothing by itself.
    fn can_wait(&self) -> bool {
        match self {
            Self::Settle { holder: Holder::Worker(_), settlements, .. } => {
                settlements.iter().all(|settlement| matches!(settlement.verb, SettleVerb::Ack))
            }
            Self::Grant { .. } => true,
            _ => false,
        }
    }

    /// Bytes of log that it may take, as far as that can be said beforehand: of a batch its first task, because it can be cut after
    /// any.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Publish { tasks, .. } => tasks.front().map_or(0, publish_bytes),
            Self::Verb(_) => VERB_BYTES,
            // From the reserve, which no publish touches.
            _ => 0,
        }
    }

    /// Whether it gives leases back, and nobody waits for its answer.
    #[must_use]
    pub fn gives_back(&self) -> bool {
        matches!(self, Self::CloseWorker { .. }) || matches!(self, Self::Settle { reply, .. } if reply.is_closed())
    }

    /// Answers with an error, without doing anything.
    pub fn refuse(self, error: &Error) {
        match self {
            Self::Publish { tasks, mut results, reply, .. } => {
                results.resize(results.len() + tasks.len(), Err(error.clone()));
                drop(reply.send(results));
            }
            Self::Settle { settlements, reply, .. } => drop(reply.send(vec![Err(error.clone()); settlements.len()])),
            Self::OpenWorker { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Pull { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Stats { reply } => drop(reply.send(Err(error.clone()))),
            // Closing a store that is closed, or broken, is no error: there is nothing left to do.
            Self::Close { reply, .. } => drop(reply.send(Ok(()))),
            Self::Verb(verb) => verb(Err(error))(Some(error)),
            Self::Grant { .. } | Self::CloseWorker { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use squall_protocol::TaskId;
    use uuid::Uuid;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    fn settle(holder: Holder, verb: SettleVerb) -> Command {
        let settlements = vec![Settlement { id: TaskId(Uuid::nil()), receipt: None, verb }];
        Command::Settle { tenant: None, holder, settlements, reply: oneshot::channel().0 }
    }

    fn ack() -> Command {
        settle(Holder::Worker(ConnectionId(Uuid::nil())), SettleVerb::Ack)
    }

    fn publish() -> Command {
        Command::Publish {
            tenant: "t".into(),
            tasks: VecDeque::new(),
            results: Vec::new(),
            reply: oneshot::channel().0,
        }
    }

    fn push(queue: &Queue, command: Command) {
        assert!(queue.push(command, 100).is_ok());
    }

    #[test]
    fn only_what_nobody_waits_for_can_wait() {
        let worker = Holder::Worker(ConnectionId(Uuid::nil()));
        let cases = [
            (ack(), true),
            (Command::Grant { worker: ConnectionId(Uuid::nil()), more: 1 }, true),
            // Over HTTP every settlement is answered; and an extended lease is told to the worker.
            (settle(Holder::Receipts, SettleVerb::Ack), false),
            (settle(worker, SettleVerb::Extend { for_ms: 1 }), false),
            (publish(), false),
            (Command::CloseWorker { worker: ConnectionId(Uuid::nil()), release: true }, false),
        ];
        for (i, (command, can_wait)) in cases.iter().enumerate() {
            assert_eq!(command.can_wait(), *can_wait, "case {i}");
        }
    }

    #[test]
    fn acks_go_with_the_next_publish() {
        let queue = Arc::new(Queue::default());
        push(&queue, ack());
        let taker = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let mut taken = Vec::new();
                queue.take(&mut taken, None, LONG);
                taken.len()
            }
        });
        while queue.inner.lock().committer != Committer::Lingers {
            std::thread::yield_now();
        }
        push(&queue, ack());
        push(&queue, publish());
        assert_eq!(taker.join().unwrap(), 3);
    }

    #[test]
    fn acks_do_not_wait_for_ever_nor_when_something_waits_for_them() {
        let queue = Queue::default();
        let mut taken = Vec::new();
        push(&queue, ack());
        queue.take(&mut taken, None, Some(Duration::from_millis(1)));
        assert_eq!(std::mem::take(&mut taken).len(), 1);
        push(&queue, ack());
        queue.take(&mut taken, None, None);
        assert_eq!(taken.len(), 1);
    }
}
