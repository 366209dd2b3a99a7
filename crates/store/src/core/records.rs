//! What a decision leaves behind: the records of the log, in the form in which they are stored.
//!
//! A record is everything that [`super::State::apply`] needs, so that replay needs no configuration, clock or randomness. A label
//! beside it repeats what a reader of the feed wants to see and the state does not need again. Fields are only ever
//! added as new variants at the end: the position of a variant is its tag on disk ([`FORMAT`] is the whole's version).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use squall_protocol::{DeadReason, Priority, RetryOverride, SessionState, Time};
use uuid::Uuid;

use crate::TaskBody;

/// Version of everything in this module, written into each frame. A reader refuses one that it does not know.
pub const FORMAT: u8 = 2;

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Space {
    /// A lane.
    Lane,
    /// A tenant.
    Tenant,
}

/// One change. Its time is that of the batch that carries it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Record<'a> {
    /// From now on this number stands for this name.
    Named {
        /// Of what.
        space: Space,
        /// The next free one.
        number: u32,
        /// The name.
        name: &'a str,
    },
    /// A task was accepted.
    #[serde(borrow)]
    Published(Published<'a>),
    /// A worker got a task; one more attempt.
    Leased {
        /// The task.
        id: Uuid,
        /// Proof of the lease.
        receipt: u64,
        /// When it ends, milliseconds since the epoch.
        expires_at: u64,
        /// Held by whoever has the receipt; otherwise by a connection, which does not outlive the process.
        by_receipt: bool,
        /// The lane's rate limiter after this delivery, nanoseconds; absent when the lane has no rate.
        tat_ns: Option<u64>,
    },
    /// A worker finished a task.
    Done {
        /// The task.
        id: Uuid,
    },
    /// A lease was prolonged.
    Extended {
        /// The task.
        id: Uuid,
        /// The new end.
        expires_at: u64,
    },
    /// An attempt failed, and there will be another.
    Retried {
        /// The task.
        id: Uuid,
        /// When at the earliest.
        due_at: u64,
        /// Why it failed.
        reason: &'a str,
    },
    /// A lease was given back; the attempt does not count.
    Released {
        /// The task.
        id: Uuid,
        /// When it may be leased again.
        due_at: u64,
    },
    /// A task was withdrawn.
    Cancelled {
        /// The task.
        id: Uuid,
        /// Why.
        reason: &'a str,
    },
    /// A task was given up.
    Dead {
        /// The task.
        id: Uuid,
        /// Why.
        reason: StoredReason,
        /// The same in words.
        detail: &'a str,
        /// A lease failed just now, and goes into the list of failures.
        failed: bool,
    },
    /// A dead letter went back to its lane.
    Replayed {
        /// The task.
        id: Uuid,
        /// Who said so.
        by: &'a str,
        /// When it may be leased.
        due_at: u64,
    },
    /// A dead letter was deleted.
    Purged {
        /// The task.
        id: Uuid,
    },
    /// A dead letter was deleted because its lane keeps no more.
    Dropped {
        /// The task.
        id: Uuid,
    },
    /// A session began.
    SessionCreated {
        /// Its id.
        id: &'a str,
        /// Whose.
        tenant: u32,
        /// JSON text of an object.
        metadata: &'a str,
        /// How long it may be idle.
        idle_timeout_ms: u64,
    },
    /// Its metadata changed.
    SessionUpdated {
        /// Its id.
        id: &'a str,
        /// Whose.
        tenant: u32,
        /// JSON text of the whole object, after the merge.
        metadata: &'a str,
    },
    /// It showed a sign of life.
    SessionTouched {
        /// Its id.
        id: &'a str,
    },
    /// It ended.
    SessionEnded {
        /// Its id.
        id: &'a str,
        /// Whose.
        tenant: u32,
        /// How.
        state: StoredSessionState,
        /// Why.
        reason: Option<&'a str>,
    },
    /// A lane delivers nothing.
    LanePaused {
        /// Which.
        lane: u32,
        /// Until then; absent: until it is resumed.
        until: Option<u64>,
        /// Who or what said so.
        reason: &'a str,
    },
    /// A lane delivers again.
    LaneResumed {
        /// Which.
        lane: u32,
        /// Who or what said so.
        reason: &'a str,
    },
    /// What somebody else had to tell: changes nothing here, and is an event.
    Announced {
        /// What happened.
        event_type: &'a str,
        /// To what.
        entity_id: &'a str,
        /// JSON text of an object.
        data: &'a str,
    },
}

/// A published task as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Published<'a> {
    /// The task.
    pub id: Uuid,
    /// Whose.
    pub tenant: u32,
    /// Where.
    pub lane: u32,
    /// The kind.
    pub kind: &'a str,
    /// 0 high, 1 normal, 2 low.
    pub priority: u8,
    /// JSON text.
    pub payload: &'a str,
    /// The session.
    pub session: Option<&'a str>,
    /// The ordering key.
    pub key: Option<&'a str>,
    /// Not before.
    pub due_at: u64,
    /// No longer worth it after.
    pub deadline_at: Option<u64>,
    /// What it says differently from the lane's policy.
    pub retry: Option<StoredRetry>,
    /// The idempotency key, and until when it holds.
    pub idempotency: Option<(&'a str, u64)>,
    /// The same as one shared value, when the caller has it at hand: saves a copy on the live path, is built on replay.
    #[serde(skip)]
    pub body: Option<Arc<TaskBody>>,
}

/// [`RetryOverride`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRetry {
    max: Option<u32>,
    delay_ms: Option<u64>,
    backoff: Option<f64>,
    max_delay_ms: Option<u64>,
    jitter: Option<f64>,
}

impl From<RetryOverride> for StoredRetry {
    fn from(retry: RetryOverride) -> Self {
        let RetryOverride { max, delay_ms, backoff, max_delay_ms, jitter } = retry;
        Self { max, delay_ms, backoff, max_delay_ms, jitter }
    }
}

impl From<StoredRetry> for RetryOverride {
    fn from(retry: StoredRetry) -> Self {
        let StoredRetry { max, delay_ms, backoff, max_delay_ms, jitter } = retry;
        Self { max, delay_ms, backoff, max_delay_ms, jitter }
    }
}

/// [`DeadReason`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredReason {
    /// Every attempt failed.
    RetriesExhausted,
    /// A worker said so.
    Fatal,
    /// Too late.
    DeadlineExceeded,
    /// Its session ended.
    SessionEnded,
    /// It could not be understood.
    Unparsable,
    /// It was understood, and refused for good.
    Refused,
}

impl From<DeadReason> for StoredReason {
    fn from(reason: DeadReason) -> Self {
        match reason {
            DeadReason::RetriesExhausted => Self::RetriesExhausted,
            DeadReason::Fatal => Self::Fatal,
            DeadReason::DeadlineExceeded => Self::DeadlineExceeded,
            DeadReason::SessionEnded => Self::SessionEnded,
            DeadReason::Unparsable => Self::Unparsable,
            DeadReason::Refused => Self::Refused,
        }
    }
}

impl From<StoredReason> for DeadReason {
    fn from(reason: StoredReason) -> Self {
        match reason {
            StoredReason::RetriesExhausted => Self::RetriesExhausted,
            StoredReason::Fatal => Self::Fatal,
            StoredReason::DeadlineExceeded => Self::DeadlineExceeded,
            StoredReason::SessionEnded => Self::SessionEnded,
            StoredReason::Unparsable => Self::Unparsable,
            StoredReason::Refused => Self::Refused,
        }
    }
}

/// [`SessionState`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredSessionState {
    /// Holds a slot.
    Active,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Was idle for too long.
    TimedOut,
}

impl From<SessionState> for StoredSessionState {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Active => Self::Active,
            SessionState::Completed => Self::Completed,
            SessionState::Failed => Self::Failed,
            SessionState::TimedOut => Self::TimedOut,
        }
    }
}

impl From<StoredSessionState> for SessionState {
    fn from(state: StoredSessionState) -> Self {
        match state {
            StoredSessionState::Active => Self::Active,
            StoredSessionState::Completed => Self::Completed,
            StoredSessionState::Failed => Self::Failed,
            StoredSessionState::TimedOut => Self::TimedOut,
        }
    }
}

/// The number that stands for a priority on disk.
#[must_use]
pub const fn level_of(priority: Priority) -> u8 {
    priority as u8
}

/// The priority that a stored number stands for; one that no version ever wrote counts as normal.
#[must_use]
pub const fn priority_of(level: u8) -> Priority {
    match level {
        0 => Priority::High,
        2 => Priority::Low,
        _ => Priority::Normal,
    }
}

/// What a reader of the feed wants to see of the task that a record is about.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Label<'a> {
    /// Whose.
    pub tenant: u32,
    /// Where.
    pub lane: u32,
    /// The kind.
    pub kind: &'a str,
    /// 0 high, 1 normal, 2 low.
    pub priority: u8,
    /// The attempt that this is about; 0 before the first.
    pub attempt: u32,
    /// The session.
    pub session: Option<&'a str>,
    /// The ordering key.
    pub key: Option<&'a str>,
    /// The connection that got the task.
    pub worker: Option<Uuid>,
}

impl Record<'_> {
    /// Whether a label follows in the log.
    #[must_use]
    pub const fn has_label(&self) -> bool {
        matches!(
            self,
            Self::Leased { .. }
                | Self::Done { .. }
                | Self::Retried { .. }
                | Self::Released { .. }
                | Self::Cancelled { .. }
                | Self::Dead { .. }
                | Self::Replayed { .. }
                | Self::Purged { .. }
                | Self::Dropped { .. }
        )
    }

    /// Whether it is an event of the feed, and so has an offset.
    #[must_use]
    pub const fn is_event(&self) -> bool {
        !matches!(self, Self::Named { .. } | Self::Extended { .. } | Self::SessionTouched { .. })
    }
}

/// Bytes at the front of each frame that [`Journal`] leaves to the log.
pub const FRAME_HEADER: usize = 56;

/// A frame is closed at the end of the decision that takes it past this size.
pub const FRAME_SOFT_BYTES: usize = 1 << 20;

/// Where one frame lies in [`Journal::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSpan {
    /// Its header's first byte.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// Events in it.
    pub events: u32,
}

/// The records of one commit, encoded back to back as they are decided; room for a header before each frame.
#[derive(Debug, Default)]
pub struct Journal {
    /// Headers (not filled in) and records.
    pub bytes: Vec<u8>,
    frames: Vec<FrameSpan>,
    start: usize,
    events: u32,
}

impl Journal {
    /// Appends a record, and its label if it has one.
    pub fn push(&mut self, record: &Record<'_>, label: Option<&Label<'_>>) {
        debug_assert_eq!(record.has_label(), label.is_some());
        if self.bytes.len() == self.start {
            self.bytes.resize(self.start + FRAME_HEADER, 0);
        }
        let bytes = std::mem::take(&mut self.bytes);
        // Writing to a Vec cannot fail, and no record holds a type that postcard cannot write.
        let bytes = postcard::to_extend(record, bytes).unwrap_or_default();
        self.bytes = match label {
            Some(label) => postcard::to_extend(label, bytes).unwrap_or_default(),
            None => bytes,
        };
        self.events += u32::from(record.is_event());
    }

    /// Says that a decision is complete: a frame may end here.
    pub fn boundary(&mut self) {
        if self.bytes.len() - self.start >= FRAME_SOFT_BYTES {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if self.bytes.len() > self.start {
            self.frames.push(FrameSpan { start: self.start, end: self.bytes.len(), events: self.events });
            self.start = self.bytes.len();
            self.events = 0;
        }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was decided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Closes the last frame and shows all of them.
    pub fn finish(&mut self) -> (&mut [u8], &[FrameSpan]) {
        self.seal();
        (&mut self.bytes, &self.frames)
    }

    /// Begins the next commit; keeps the memory unless one huge commit made it grow.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(4 * FRAME_SOFT_BYTES);
        self.frames.clear();
        self.start = 0;
        self.events = 0;
    }
}

/// Reads the records of a frame's body, each with its label.
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// `body` without the header.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Record<'a>, Option<Label<'a>>), postcard::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = postcard::take_from_bytes::<Record<'a>>(self.rest).and_then(|(record, rest)| {
            if record.has_label() {
                let (label, rest) = postcard::take_from_bytes::<Label<'a>>(rest)?;
                Ok((record, Some(label), rest))
            } else {
                Ok((record, None, rest))
            }
        });
        Some(match read {
            Ok((record, label, rest)) => {
                self.rest = rest;
                Ok((record, label))
            }
            Err(error) => {
                self.rest = &[];
                Err(error)
            }
        })
    }
}

/// The time that a stored number stands for.
#[must_use]
pub const fn time(ms: u64) -> Time {
    Time(ms)
}
