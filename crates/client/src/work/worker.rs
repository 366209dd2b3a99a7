//! A worker that stays: it connects again, subscribes again, and says so.

use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use squall_protocol::frame::{Nack, Subscribed};
use squall_protocol::{NewTask, TaskId};

use super::{Incoming, Work};
use crate::backoff::{Attempts, Backoff};
use crate::{Endpoints, Error, Options, Result};

/// A worker of some lanes that reconnects with [`Backoff`].
///
/// It keeps its credit by itself: each task that is settled makes room for another. A lease dies with its connection, so
/// what was delivered before a loss is forgotten: settling it answers false, and the gateway delivers it again.
pub struct Worker {
    endpoints: Endpoints,
    options: Options,
    backoff: Backoff,
    lanes: Vec<String>,
    credit: u32,
    work: Option<Work>,
    attempts: Attempts,
    started: Instant,
    wait: Option<Duration>,
    connects: u64,
    held: HashSet<TaskId>,
    owed_credit: u32,
}

/// What happens to a worker.
#[derive(Debug)]
pub enum Event<'a> {
    /// Subscribed. `reconnects` is 0 for the first time.
    Connected {
        /// As the gateway says.
        subscribed: Subscribed,
        /// How often it has been connected before.
        reconnects: u64,
    },
    /// The connection is gone, or could not be made. The next call waits, and tries again.
    Lost {
        /// Why.
        why: Error,
        /// After so long.
        retry_in: Duration,
        /// Publishes of that connection whose outcome is unknown.
        unanswered: Range<u64>,
    },
    /// A frame.
    Frame(Incoming<'a>),
}

impl Worker {
    /// A worker of these lanes with at most `credit` tasks at a time. Connects with the first [`Worker::next`]; of several gateways
    /// to one, and to the next when its connection is lost.
    #[must_use]
    pub fn new(
        endpoints: impl Into<Endpoints>,
        options: Options,
        backoff: Backoff,
        lanes: &[&str],
        credit: u32,
    ) -> Self {
        Self {
            endpoints: endpoints.into(),
            options,
            backoff,
            lanes: lanes.iter().map(|&lane| lane.to_owned()).collect(),
            credit,
            work: None,
            attempts: Attempts::default(),
            started: Instant::now(),
            wait: None,
            connects: 0,
            held: HashSet::new(),
            owed_credit: 0,
        }
    }

    /// What happens next. Can be cancelled at any time.
    ///
    /// # Errors
    /// Only what no further attempt can mend ([`Error::is_final`]): a token that may not work, a lane that does not exist.
    pub async fn next(&mut self) -> Result<Event<'_>> {
        if self.work.is_none() {
            if let Some(wait) = self.wait {
                tokio::time::sleep(wait).await;
                self.wait = None;
            }
            return match self.connect().await {
                Ok(subscribed) => {
                    let reconnects = self.connects;
                    self.connects += 1;
                    Ok(Event::Connected { subscribed, reconnects })
                }
                Err(why) => self.lost(why),
            };
        }
        self.grant();
        let waited = match &mut self.work {
            Some(work) => work.wait().await,
            None => Ok(()),
        };
        if let Err(why) = waited {
            return self.lost(why);
        }
        // A frame that cannot be read ends the connection just as well, but is not confused with a loss.
        match self.work.as_mut().map(Work::take) {
            Some(Ok(Some(incoming))) => {
                if let Incoming::Deliver(delivery) = &incoming {
                    self.held.insert(delivery.id);
                }
                Ok(Event::Frame(incoming))
            }
            Some(Err(why)) => Err(why),
            Some(Ok(None)) | None => Err(Error::Protocol("a message went missing".into())),
        }
    }

    /// The connection is given up on purpose, without a word: the gateway sees a worker that dropped.
    pub fn vanish(&mut self) {
        self.work = None;
        self.held.clear();
        self.owed_credit = 0;
    }

    /// Acknowledges. False when this connection does not hold the task.
    pub fn ack(&mut self, id: TaskId) -> bool {
        self.settle(id, |work| work.ack(id))
    }

    /// Gives a task back. False when this connection does not hold it.
    pub fn nack(&mut self, nack: &Nack<'_>) -> bool {
        self.settle(nack.id, |work| work.nack(nack))
    }

    /// Asks for more time. False when this connection does not hold the task.
    pub fn extend(&mut self, id: TaskId, for_ms: u64) -> bool {
        match &mut self.work {
            Some(work) if self.held.contains(&id) => {
                work.extend(id, for_ms);
                true
            }
            _ => false,
        }
    }

    /// Publishes over the same connection; `None` when there is none now.
    pub fn publish(&mut self, task: &NewTask<'_>) -> Option<u64> {
        self.work.as_mut().map(|work| work.publish(task))
    }

    /// Tasks that this connection holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Sends what was settled; [`Worker::next`] does so too.
    ///
    /// # Errors
    /// [`Error::Lost`]; the next [`Worker::next`] deals with it.
    pub async fn flush(&mut self) -> Result<()> {
        self.grant();
        match &mut self.work {
            Some(work) => work.flush().await,
            None => Ok(()),
        }
    }

    /// Sends what was settled, and closes in order.
    ///
    /// # Errors
    /// As [`Work::close`].
    pub async fn close(mut self) -> Result<()> {
        match self.work.take() {
            Some(work) => work.close().await,
            None => Ok(()),
        }
    }

    fn settle(&mut self, id: TaskId, queue: impl FnOnce(&mut Work)) -> bool {
        match &mut self.work {
            Some(work) if self.held.remove(&id) => {
                queue(work);
                self.owed_credit += 1;
                true
            }
            _ => false,
        }
    }

    fn grant(&mut self) {
        if let Some(work) = &mut self.work
            && self.owed_credit > 0
        {
            work.credit(std::mem::take(&mut self.owed_credit));
        }
    }

    async fn connect(&mut self) -> Result<Subscribed> {
        let mut work = Work::connect(self.endpoints.current(), &self.options).await?;
        work.subscribe(&self.lanes, self.credit);
        let subscribed = match tokio::time::timeout(self.options.request_timeout, work.next()).await {
            Err(_) => return Err(Error::Timeout { after: self.options.request_timeout }),
            Ok(Ok(Incoming::Subscribed(subscribed))) => Some(subscribed),
            Ok(Ok(Incoming::Error(_))) => None,
            Ok(Ok(other)) => return Err(Error::Protocol(format!("{other:?} before the subscription"))),
            Ok(Err(why)) => return Err(why),
        };
        let Some(subscribed) = subscribed else {
            // The close that follows brings the error with it.
            return match work.next().await {
                Err(why) => Err(why),
                Ok(other) => Err(Error::Protocol(format!("{other:?} after a subscription that was refused"))),
            };
        };
        self.attempts.connected(self.started.elapsed());
        self.work = Some(work);
        Ok(subscribed)
    }

    fn lost(&mut self, why: Error) -> Result<Event<'_>> {
        let unanswered = self.work.as_ref().map_or(0..0, Work::unanswered);
        self.vanish();
        self.endpoints.advance();
        let now = self.started.elapsed();
        let wait_ms = self.attempts.failed(&self.backoff, now, why.retry_after_ms(), fastrand::f64());
        let retry_in = Duration::from_millis(wait_ms);
        self.wait = Some(retry_in);
        if why.is_final() {
            return Err(why);
        }
        Ok(Event::Lost { why, retry_in, unanswered })
    }
}
