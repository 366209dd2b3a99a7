//! One subscriber's way along the feed: from the store as long as it is far behind, then from the ring, without a gap or
//! a repeat where they join.

use std::sync::Arc;

use squall_protocol::{Gap, GapReason};
use squall_store::{FeedSlice, Reply};
use tokio::sync::watch;

use super::chunk::Chunk;
use super::filter::Filter;
use super::hub::{Hub, READ_LIMIT};
use super::ring::Taken;
#[cfg(debug_assertions)]
use crate::weakness::{Weakness, planted};

/// Bytes that a subscriber takes at a time, so that one that is behind does not hold much memory by itself.
const TAKE_BYTES: usize = 256 << 10;

/// One subscriber.
pub(crate) struct Follower {
    hub: Arc<Hub>,
    pub(crate) filter: Filter,
    cursor: u64,
    /// Told before anything else.
    gap: Option<Gap>,
    /// Reads from the ring; from then on, falling out of it is falling behind.
    live: bool,
    moved: watch::Receiver<u64>,
    reading: Option<Reply<squall_store::Result<FeedSlice>>>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// These chunks; of the first, the entries from this index on.
    Chunks(Vec<Arc<Chunk>>, usize),
    /// It fell behind by more than the buffer holds.
    Overran,
    /// The store cannot be read.
    Failed(squall_store::Error),
}

impl Follower {
    pub(super) fn new(
        hub: Arc<Hub>,
        filter: Filter,
        cursor: u64,
        gap: Option<Gap>,
        moved: watch::Receiver<u64>,
    ) -> Self {
        Self { hub, filter, cursor, gap, live: false, moved, reading: None }
    }

    /// The last offset that it was given.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Waits for what comes next. May be dropped and called again: nothing is lost.
    pub(crate) async fn next(&mut self) -> Next {
        if let Some(gap) = self.gap.take() {
            return Next::Chunks(vec![Arc::new(Chunk::encode(Some(gap), &[], self.cursor))], 0);
        }
        loop {
            // Before looking, so that a move between looking and waiting is not missed.
            self.moved.borrow_and_update();
            match self.hub.take(self.cursor, TAKE_BYTES) {
                Taken::Chunks(chunks, from) => {
                    self.live = true;
                    self.cursor = chunks.last().map_or(self.cursor, |chunk| chunk.last);
                    return Next::Chunks(chunks, from);
                }
                Taken::Nothing => {
                    self.live = true;
                    if self.moved.changed().await.is_err() {
                        return Next::Failed(squall_store::Error::Closed);
                    }
                }
                Taken::Before if self.live => return self.overrun(),
                Taken::Before => {
                    let (hub, cursor) = (&self.hub, self.cursor);
                    let slice = self.reading.get_or_insert_with(|| hub.store.read_feed(cursor, READ_LIMIT)).await;
                    self.reading = None;
                    let slice = match slice {
                        Ok(slice) => slice,
                        Err(error) => return Next::Failed(error),
                    };
                    // A store says what is missing. One that gives nothing of what there is has lost it, and nobody passes over that in
                    // silence.
                    let nothing = slice.records.is_empty() && slice.head > cursor;
                    let lost = Gap { from: cursor + 1, to: slice.head, reason: GapReason::Corrupt };
                    let gap = slice.gap.or(nothing.then_some(lost));
                    if slice.records.is_empty() && gap.is_none() {
                        continue;
                    }
                    let after = gap.map_or(self.cursor, |gap| gap.to.max(self.cursor));
                    let chunk = Chunk::encode(gap, &slice.records, after);
                    self.cursor = chunk.last;
                    return Next::Chunks(vec![Arc::new(chunk)], 0);
                }
            }
        }
    }

    /// Waits until it has fallen behind; for those who are busy sending what they took.
    pub(crate) async fn overrun_while_sending(&mut self) -> Next {
        loop {
            self.moved.borrow_and_update();
            #[cfg(debug_assertions)]
            if planted(Weakness::Skip) {
                self.cursor = self.cursor.max(*self.moved.borrow());
            }
            if self.live && self.hub.overran(self.cursor) {
                return self.overrun();
            }
            if self.moved.changed().await.is_err() {
                return Next::Failed(squall_store::Error::Closed);
            }
        }
    }

    fn overrun(&self) -> Next {
        self.hub.count_dropped();
        Next::Overran
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hub.unsubscribe();
    }
}
