//! What waits for the driver, and how it is answered.

use squall_protocol::{ConnectionId, TaskId, Time};
use tokio::sync::{mpsc, oneshot};

use super::local::{Local, Pulled};
use crate::{Delivery, Error, Result, WorkerSpec};

/// A reply to a command, and when it was decided.
pub(super) struct Reply<'a> {
    /// As the library gave it.
    pub value: &'a rmpv::Value,
    /// The time of the batch.
    pub now: Time,
    /// Who is connected here.
    pub local: &'a Local,
}

/// Gives an answer.
pub(super) type Respond = Box<dyn FnOnce(Result<Reply<'_>>) + Send>;

/// A command that goes to Redis as it is.
pub(super) struct Ask {
    /// As `wire::command` wrote it.
    pub bytes: Vec<u8>,
    /// It adds, and is refused when Redis has no memory left.
    pub adds: bool,
    /// Leases of one of our workers that it ends.
    pub settles: Option<(ConnectionId, Vec<TaskId>)>,
    pub respond: Respond,
}

/// One command.
pub(super) enum Command {
    Ask(Ask),
    OpenWorker {
        spec: WorkerSpec,
        deliveries: mpsc::UnboundedSender<Vec<Delivery>>,
        reply: oneshot::Sender<Result<()>>,
    },
    Grant {
        worker: ConnectionId,
        more: u32,
    },
    CloseWorker {
        worker: ConnectionId,
        release: bool,
    },
    Pull {
        tenant: Option<Box<str>>,
        lane: Box<str>,
        credit: u32,
        wait_ms: u64,
        reply: oneshot::Sender<Result<Pulled>>,
    },
    /// What a pull leased and nobody took.
    GiveBack(Vec<Delivery>),
    /// Something happened elsewhere: the feed's end, and lanes that have something for us.
    Woken {
        head: u64,
        lanes: Vec<String>,
    },
    Close {
        reply: oneshot::Sender<Result<()>>,
    },
}

impl Command {
    /// Answers with an error, without doing anything.
    pub(super) fn refuse(self, error: &Error) {
        match self {
            Self::Ask(ask) => (ask.respond)(Err(error.clone())),
            Self::OpenWorker { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Pull { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Close { reply } => drop(reply.send(Ok(()))),
            Self::Grant { .. } | Self::CloseWorker { .. } | Self::GiveBack(_) | Self::Woken { .. } => {}
        }
    }
}
