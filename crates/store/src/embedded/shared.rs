//! What the committer, its helpers and the callers share.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use squall_protocol::Epoch;

use super::commands::Queue;
use super::feed::Feed;
use super::log::catalog::Catalog;
use super::recovery::Places;
use crate::config::Options;
use crate::metrics::Metrics;

/// See the module.
pub struct Shared {
    /// How the store is set.
    pub options: Options,
    /// Its directories.
    pub places: Places,
    /// Which life of it this is.
    pub epoch: Epoch,
    /// What waits.
    pub queue: Queue,
    /// The feed.
    pub feed: Feed,
    /// The segments.
    pub catalog: Arc<Catalog>,
    /// What is counted.
    pub metrics: Metrics,
    /// What recovery found, in words.
    pub found: Vec<String>,
    poison: OnceLock<String>,
    full: Mutex<Option<String>>,
    is_full: AtomicBool,
    snapshot_bytes: AtomicU64,
    stopping: Mutex<bool>,
    stopped: Condvar,
}

impl Shared {
    /// Everything that is shared, at the start.
    #[must_use]
    pub fn new(
        options: Options,
        places: Places,
        epoch: Epoch,
        feed: Feed,
        catalog: Arc<Catalog>,
        found: Vec<String>,
    ) -> Self {
        Self {
            options,
            places,
            epoch,
            queue: Queue::default(),
            feed,
            catalog,
            metrics: Metrics::default(),
            found,
            poison: OnceLock::new(),
            full: Mutex::new(None),
            is_full: AtomicBool::new(false),
            snapshot_bytes: AtomicU64::new(0),
            stopping: Mutex::new(false),
            stopped: Condvar::new(),
        }
    }

    /// Why nothing is accepted any more, if that is so.
    #[must_use]
    pub fn poison(&self) -> Option<String> {
        self.poison.get().cloned()
    }

    /// Accepts nothing any more; the first reason holds.
    pub fn poison_with(&self, why: &str) {
        if self.poison.set(why.to_owned()).is_ok() {
            tracing::error!("{why}; nothing more is accepted, because nobody knows what is on disk");
        }
    }

    /// Why publishes are refused for the disk, if they are.
    #[must_use]
    pub fn full(&self) -> Option<String> {
        self.full.lock().clone()
    }

    /// Whether they are.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Notes whether the disk has room.
    pub fn set_full(&self, why: Option<String>) {
        if why.is_some() || self.is_full() {
            self.is_full.store(why.is_some(), Ordering::Relaxed);
            *self.full.lock() = why;
        }
    }

    /// Bytes of the last snapshot.
    #[must_use]
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes.load(Ordering::Relaxed)
    }

    /// Notes the size of a snapshot.
    pub fn set_snapshot_bytes(&self, bytes: u64) {
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Tells helper threads to end.
    pub fn stop_helpers(&self) {
        *self.stopping.lock() = true;
        self.stopped.notify_all();
    }

    /// Sleeps; true when the helper is to end.
    #[must_use]
    pub fn rest(&self, time: std::time::Duration) -> bool {
        let mut stopping = self.stopping.lock();
        if !*stopping {
            self.stopped.wait_for(&mut stopping, time);
        }
        *stopping
    }

    /// Whether helpers are to end.
    #[must_use]
    pub fn stopping(&self) -> bool {
        *self.stopping.lock()
    }
}
