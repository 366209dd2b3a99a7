//! `/ws/work`: publishing in a pipeline, and consuming with credit, over one connection.
//!
//! [`Work`] is one connection: whatever is queued goes out in one write, what comes in is borrowed from the buffer, and
//! publishes are answered in the order sent. When it is lost, [`Work::unanswered`] says which publishes have no known
//! outcome; nothing is sent again. [`Worker`] stands on it, and connects again by itself.

mod frames;
mod worker;

use std::ops::Range;

use serde::Serialize;
use squall_protocol::frame::{Extend, Nack, ServerFrame, Subscribe, Subscribed};
use squall_protocol::task::Published;
use squall_protocol::{Delivery, NewTask, TaskId, Text, Time, WireError};

pub use frames::{Light, LightDelivery};
pub use worker::{Event, Worker};

use crate::ws::{Message, Socket};
use crate::{Endpoint, Error, Lost, Options, Result};

/// Path of the WebSocket.
pub const PATH: &str = "/ws/work";

/// One connection. Moves only while one of its methods is awaited; all of them can be cancelled.
pub struct Work {
    socket: Socket,
    sent: u64,
    answered: u64,
    told: Option<WireError>,
}

/// What comes from the gateway.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// The subscription holds.
    Subscribed(Subscribed),
    /// A task.
    Deliver(Delivery<'a>),
    /// What became of the publish with this number.
    Outcome {
        /// As [`Work::publish`] gave it.
        sequence: u64,
        /// On disk, or refused.
        outcome: Result<Published, WireError>,
    },
    /// A lease was extended.
    Extended {
        /// The task.
        id: TaskId,
        /// When the lease now ends.
        lease_expires_at: Time,
    },
    /// A frame was wrong. If it was so wrong that the gateway closes, [`Lost::Told`] with the same error comes next.
    Error(WireError),
}

impl Work {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Refused`].
    pub async fn connect(endpoint: &Endpoint, options: &Options) -> Result<Self> {
        let socket = Socket::connect(endpoint, PATH, options).await?;
        Ok(Self { socket, sent: 0, answered: 0, told: None })
    }

    /// Queues a publish. Answers its number on this connection, from 0, which comes back with its outcome.
    pub fn publish(&mut self, task: &NewTask<'_>) -> u64 {
        self.queue_json("publish", task);
        self.numbered()
    }

    /// As [`Work::publish`], with a task that is JSON text already.
    pub fn publish_json(&mut self, task: &str) -> u64 {
        self.socket.queue(|out| {
            out.extend_from_slice(b"{\"publish\":");
            out.extend_from_slice(task.as_bytes());
            out.push(b'}');
        });
        self.numbered()
    }

    fn numbered(&mut self) -> u64 {
        self.sent += 1;
        self.sent - 1
    }

    /// Queues the subscription: once per connection.
    pub fn subscribe(&mut self, lanes: &[impl AsRef<str>], credit: u32) {
        let lanes = lanes.iter().map(|lane| Text::from(lane.as_ref())).collect();
        self.queue_json("subscribe", &Subscribe { lanes, credit });
    }

    /// Queues credit for so many more tasks.
    pub fn credit(&mut self, more: u32) {
        self.queue_json("credit", &more);
    }

    /// Queues an ack.
    pub fn ack(&mut self, id: TaskId) {
        self.socket.queue(|out| {
            let start = out.len();
            out.extend_from_slice(b"{\"ack\":\"000000000000000000000000000000000000\"}");
            id.0.hyphenated().encode_lower(&mut out[start + 8..start + 44]);
        });
    }

    /// Queues a nack.
    pub fn nack(&mut self, nack: &Nack<'_>) {
        self.queue_json("nack", nack);
    }

    /// Queues an extension of a lease, to `for_ms` from when the gateway reads it.
    pub fn extend(&mut self, id: TaskId, for_ms: u64) {
        self.queue_json("extend", &Extend { id, for_ms });
    }

    /// Queues any text as a frame, right or wrong.
    pub fn queue_text(&mut self, text: &str) {
        self.socket.queue(|out| out.extend_from_slice(text.as_bytes()));
    }

    /// Writes what is queued, in one write if the kernel takes it.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn flush(&mut self) -> Result<()> {
        let flushed = self.socket.flush().await;
        flushed.map_err(|why| self.explained(why))
    }

    /// Writes what is queued, and waits until [`Work::take`] or [`Work::take_light`] has something.
    ///
    /// # Errors
    /// [`Error::Lost`] when the connection is gone; [`Work::unanswered`] then says what is unknown. [`Error::Protocol`].
    pub async fn wait(&mut self) -> Result<()> {
        let waited = self.socket.wait().await;
        waited.map_err(|why| self.explained(why))
    }

    /// Writes what is queued, and waits for the next frame.
    ///
    /// # Errors
    /// As [`Work::wait`].
    pub async fn next(&mut self) -> Result<Incoming<'_>> {
        self.wait().await?;
        match self.take()? {
            Some(incoming) => Ok(incoming),
            None => Err(Error::Protocol("a message went missing".into())),
        }
    }

    /// The next frame if it has arrived already. Does not wait, and does not touch the socket.
    ///
    /// # Errors
    /// As [`Work::wait`].
    pub fn take(&mut self) -> Result<Option<Incoming<'_>>> {
        let Self { socket, sent, answered, told } = self;
        let Some(text) = text(socket, told)? else { return Ok(None) };
        let frame = serde_json::from_str(text).map_err(|why| Error::Protocol(format!("{why} in {text:?}")))?;
        Ok(Some(match frame {
            ServerFrame::Subscribed(subscribed) => Incoming::Subscribed(subscribed),
            ServerFrame::Deliver(delivery) => Incoming::Deliver(delivery),
            ServerFrame::Published(published) => {
                Incoming::Outcome { sequence: next_answer(answered, *sent)?, outcome: Ok(published) }
            }
            ServerFrame::Refused(error) => {
                Incoming::Outcome { sequence: next_answer(answered, *sent)?, outcome: Err(error) }
            }
            ServerFrame::Extended { id, lease_expires_at } => Incoming::Extended { id, lease_expires_at },
            ServerFrame::Error(error) => {
                *told = Some(error.clone());
                Incoming::Error(error)
            }
        }))
    }

    /// As [`Work::take`], but reads only what a load generator looks at: about a third of the cost.
    ///
    /// # Errors
    /// As [`Work::wait`].
    pub fn take_light(&mut self) -> Result<Option<Light<'_>>> {
        let Self { socket, sent, answered, told } = self;
        let Some(text) = text(socket, told)? else { return Ok(None) };
        let light = frames::light(text, || next_answer(answered, *sent))?;
        if let Light::Error(error) = &light {
            *told = Some(error.clone());
        }
        Ok(Some(light))
    }

    /// The publishes that were queued and have no outcome yet. After a loss they stay unknown for good.
    #[must_use]
    pub fn unanswered(&self) -> Range<u64> {
        self.answered..self.sent
    }

    /// Bytes that are queued and not yet handed to the kernel.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.socket.queued_bytes()
    }

    /// Says goodbye, and waits until the gateway has said it too: what was sent before has then been read.
    ///
    /// # Errors
    /// [`Error::Protocol`]; that the connection is gone is not an error here.
    pub async fn close(mut self) -> Result<()> {
        self.socket.queue_close(1000, "");
        loop {
            match self.socket.next().await {
                Ok(_) => {}
                Err(Error::Lost { .. }) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }

    /// The connection below, for those who want to send what they should not.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn queue_json(&mut self, name: &str, value: &impl Serialize) {
        self.socket.queue(|out| {
            out.extend_from_slice(b"{\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            let start = out.len();
            if serde_json::to_writer(&mut *out, value).is_err() {
                // Only a map with keys that are no strings gets here, and no frame has one; the gateway will refuse it.
                out.truncate(start);
                out.extend_from_slice(b"null");
            }
            out.push(b'}');
        });
    }

    fn explained(&mut self, why: Error) -> Error {
        explained(&mut self.told, why)
    }
}

/// A close is told by its code; the error frame before it says more.
fn explained(told: &mut Option<WireError>, why: Error) -> Error {
    match why {
        Error::Lost { why: Lost::Closed { code, reason } } => match told.take() {
            Some(error) => Error::lost(Lost::Told { code, error }),
            None => Error::lost(Lost::Closed { code, reason }),
        },
        other => other,
    }
}

fn text<'a>(socket: &'a mut Socket, told: &mut Option<WireError>) -> Result<Option<&'a str>> {
    match socket.take() {
        Ok(None) => Ok(None),
        Ok(Some(Message::Text(text))) => Ok(Some(text)),
        Ok(Some(Message::Binary(_))) => Err(Error::Protocol("a binary message on /ws/work".into())),
        Err(why) => Err(explained(told, why)),
    }
}

fn next_answer(answered: &mut u64, sent: u64) -> Result<u64> {
    if *answered == sent {
        return Err(Error::Protocol("an answer to a publish that was never sent".into()));
    }
    *answered += 1;
    Ok(*answered - 1)
}
