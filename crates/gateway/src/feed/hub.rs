//! One reader of the store's feed for all subscribers: it wakes when the feed moves, reads once, encodes once, and tells
//! everybody. As long as there is no subscriber it does nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use squall_protocol::{Cursor, ErrorCode, Gap, GapReason};
use squall_store::Store;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::chunk::Chunk;
use super::filter::Filter;
use super::follower::Follower;
use super::ring::{Ring, Taken};
use crate::error::Refusal;
#[cfg(debug_assertions)]
use crate::weakness::{Weakness, planted};

/// Events that are read from the store at a time.
pub(crate) const READ_LIMIT: usize = 1_024;

/// The feed of this gateway.
pub(crate) struct Hub {
    pub(crate) store: Arc<dyn Store>,
    shared: RwLock<Shared>,
    /// The last offset in the ring.
    moved: watch::Sender<u64>,
    /// The first subscriber came.
    awake: Notify,
    max_subscribers: usize,
    dropped: AtomicU64,
}

struct Shared {
    ring: Ring,
    subscribers: usize,
    /// Counts the times that the ring was restarted, so that a read that began before is thrown away.
    life: u64,
}

impl Hub {
    pub(crate) fn new(store: Arc<dyn Store>, config: &crate::config::Feed) -> Arc<Self> {
        Arc::new(Self {
            store,
            shared: RwLock::new(Shared {
                ring: Ring::new(config.buffer_events, config.buffer_bytes),
                subscribers: 0,
                life: 0,
            }),
            moved: watch::channel(0).0,
            awake: Notify::new(),
            max_subscribers: config.max_subscribers,
            dropped: AtomicU64::new(0),
        })
    }

    /// Connected subscribers.
    pub(crate) fn subscribers(&self) -> usize {
        self.shared.read().subscribers
    }

    /// Subscribers that fell behind, since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Subscribes: everything after the cursor, or without one everything from now on.
    ///
    /// # Errors
    /// `TooManyConnections` when there are as many subscribers as may be; those of [`place`].
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        after: Option<Cursor>,
        filter: Filter,
    ) -> Result<Follower, Refusal> {
        #[cfg(debug_assertions)]
        let after = after.filter(|_| !planted(Weakness::Skip));
        let placed = match after {
            None => None,
            Some(after) => Some(place(&*self.store, after).await?),
        };
        let moved = self.moved.subscribe();
        let head = *self.store.feed_head().borrow();
        {
            let mut shared = self.shared.write();
            if shared.subscribers >= self.max_subscribers {
                let message = format!("{} subscribers are connected, which is all that may be", self.max_subscribers);
                return Err(Refusal::new(ErrorCode::TooManyConnections, message).retry_after_ms(1_000));
            }
            shared.subscribers += 1;
            if shared.subscribers == 1 {
                shared.life += 1;
                shared.ring.restart(head);
                self.awake.notify_one();
            }
        }
        let (cursor, gap) = placed.unwrap_or((head, None));
        Ok(Follower::new(Arc::clone(self), filter, cursor, gap, moved))
    }

    pub(super) fn unsubscribe(&self) {
        let mut shared = self.shared.write();
        shared.subscribers -= 1;
        if shared.subscribers == 0 {
            shared.ring.restart(0);
        }
    }

    pub(super) fn take(&self, cursor: u64, max_bytes: usize) -> Taken {
        self.shared.read().ring.take(cursor, max_bytes)
    }

    pub(super) fn overran(&self, cursor: u64) -> bool {
        self.shared.read().ring.overran(cursor)
    }

    /// Follows the store's feed until it is told to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut head = self.store.feed_head();
        loop {
            let (life, after) = {
                let shared = self.shared.read();
                (shared.life, (shared.subscribers > 0).then(|| shared.ring.last()))
            };
            let Some(after) = after else {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.awake.notified() => continue,
                }
            };
            if *head.borrow_and_update() <= after {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.awake.notified() => continue,
                    changed = head.changed() => match changed {
                        Ok(()) => continue,
                        // The store has gone; subscribers are told by the shutdown.
                        Err(_) => return,
                    },
                }
            }
            match self.store.read_feed(after, READ_LIMIT).await {
                Ok(slice) => {
                    if slice.records.is_empty() && slice.gap.is_none() {
                        // The head moved before what it stands for can be read; try again in a moment.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    let chunk =
                        Chunk::encode(slice.gap, &slice.records, slice.gap.map_or(after, |gap| gap.to.max(after)));
                    let last = chunk.last;
                    {
                        let mut shared = self.shared.write();
                        if shared.life != life || shared.subscribers == 0 {
                            continue;
                        }
                        shared.ring.push(chunk);
                    }
                    self.moved.send_replace(last);
                }
                Err(squall_store::Error::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the feed cannot be read just now");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Where a subscriber begins, and what it must be told first. The store says itself what retention took.
///
/// # Errors
/// Those of the store, when the place is beyond what this gateway has heard of: another one may know more.
pub(crate) async fn place(store: &dyn Store, after: Cursor) -> Result<(u64, Option<Gap>), Refusal> {
    if after.epoch.is_some_and(|theirs| theirs != store.epoch()) {
        // Another store: what was missed there cannot be known, and nothing of this one was seen.
        let missed = Gap { from: after.offset.saturating_add(1), to: after.offset, reason: GapReason::Epoch };
        return Ok((0, Some(missed)));
    }
    let mut head = *store.feed_head().borrow();
    if after.offset > head {
        head = store.read_feed(after.offset, 1).await?.head;
    }
    if after.offset > head {
        return Ok((head, Some(Gap { from: head + 1, to: after.offset, reason: GapReason::Ahead })));
    }
    Ok((after.offset, None))
}
