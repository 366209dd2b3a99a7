//! What happened to tasks since the shell last looked: plain numbers, cheap to count, made into metrics by the shell.

use squall_protocol::DeadReason;

/// What can happen to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted.
    Published,
    /// Not accepted.
    Refused,
    /// Leased.
    Delivered,
    /// Acknowledged.
    Done,
    /// Failed by a nack or a worker that is gone.
    Retried,
    /// Its lease ended.
    Expired,
    /// Given back uncounted.
    Released,
    /// Given up.
    Dead,
    /// Withdrawn.
    Cancelled,
    /// Sent back from the dead letters.
    Replayed,
}

impl Outcome {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Published,
        Self::Refused,
        Self::Delivered,
        Self::Done,
        Self::Retried,
        Self::Expired,
        Self::Released,
        Self::Dead,
        Self::Cancelled,
        Self::Replayed,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Refused => "refused",
            Self::Delivered => "delivered",
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Replayed => "replayed",
        }
    }
}

/// The reasons of dead letters, in the order of their numbers.
pub const REASONS: [DeadReason; 6] = DeadReason::ALL;

/// Counts of one lane: by priority and outcome, and dead letters by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// `[priority][outcome]`.
    pub tasks: [[u64; Outcome::ALL.len()]; 3],
    /// By [`REASONS`].
    pub dead: [u64; REASONS.len()],
}

impl LaneCounts {
    /// Adds what happened since.
    pub fn add(&mut self, since: &Self) {
        for (mine, theirs) in self.tasks.as_flattened_mut().iter_mut().zip(since.tasks.as_flattened()) {
            *mine += theirs;
        }
        for (mine, theirs) in self.dead.iter_mut().zip(&since.dead) {
            *mine += theirs;
        }
    }
}

/// Counts since the last [`Counts::drain`].
#[derive(Clone, Debug, Default)]
pub struct Counts {
    lanes: Vec<LaneCounts>,
    changed: Vec<bool>,
    /// Publishes refused before a lane was known.
    pub refused_without_lane: u64,
    /// Sessions refused for the limit.
    pub sessions_refused: u64,
    /// Sessions that ended: completed, failed, timed out.
    pub sessions_ended: [u64; 3],
    /// Dead letters dropped because their lane keeps no more.
    pub dropped: u64,
    /// Idempotency keys forgotten before their window was over, because no more are kept.
    pub keys_evicted: u64,
}

impl Counts {
    pub(super) fn size(&mut self, lanes: usize) {
        self.lanes.resize(lanes, LaneCounts::default());
        self.changed.resize(lanes, false);
    }

    pub(super) fn add(&mut self, lane: u32, level: u8, outcome: Outcome) {
        let lane = lane as usize;
        self.lanes[lane].tasks[level as usize][outcome as usize] += 1;
        self.changed[lane] = true;
    }

    pub(super) fn died(&mut self, lane: u32, reason: DeadReason) {
        if let Some(at) = REASONS.iter().position(|&other| other == reason) {
            self.lanes[lane as usize].dead[at] += 1;
        }
    }

    /// Shows the lanes that changed, and begins again from zero.
    pub fn drain(&mut self, mut each: impl FnMut(u32, &LaneCounts)) {
        for lane in 0..self.lanes.len() {
            if std::mem::take(&mut self.changed[lane]) {
                each(lane as u32, &std::mem::take(&mut self.lanes[lane]));
            }
        }
    }
}
