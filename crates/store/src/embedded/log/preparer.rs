//! One segment ahead: a thread makes the next one while the current one fills, so that a commit never waits for zeros being written, and
//! knows before it accepts anything that there is room. On a full disk it tries a small one, and again every second.
//!
//! It goes no faster than it must: twice as fast as the current segment fills. Zeros on their way to the disk are in the way of
//! commits, and all at once they would be in the way of every commit for as long as they take.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use squall_protocol::Epoch;

use super::catalog::Segment;
use super::segment;

/// The first segment; each is four times as large as the one before, up to the configured size.
pub const FIRST_BYTES: u64 = 4 << 20;

const RETRY: Duration = Duration::from_secs(1);

/// As fast as the disk can.
const HURRY: u64 = 1_000;

/// The thread, and what it has ready.
#[derive(Debug)]
pub struct Preparer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Debug)]
struct Slot {
    ready: Option<Segment>,
    next: u64,
    size: u64,
    failed: Option<String>,
    stop: bool,
    /// How much of the current segment is used, in thousandths. 1,000 while somebody waits.
    used: u64,
}

impl Preparer {
    /// Begins to prepare segment `next`, of `size` bytes, unless `ready` is one already.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        dir: PathBuf,
        epoch: Epoch,
        next: u64,
        size: u64,
        max: u64,
        ready: Option<Segment>,
    ) -> io::Result<Self> {
        // The first one is made at once: a start has no commits to be in the way of.
        let slot = Slot { ready, next, size, failed: None, stop: false, used: HURRY };
        let shared = Arc::new(Shared { slot: Mutex::new(slot), changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let run = move || prepare(&theirs, &dir, epoch, max.max(FIRST_BYTES));
        let thread = std::thread::Builder::new().name("squall-segments".to_owned()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Bytes that are ready, without waiting.
    #[must_use]
    pub fn ready_bytes(&self) -> u64 {
        self.shared.slot.lock().ready.as_ref().map_or(0, |ready| ready.size)
    }

    /// Why there is nothing ready, if that is because it failed.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let slot = self.shared.slot.lock();
        if slot.ready.is_some() { None } else { slot.failed.clone() }
    }

    /// Says how much of the current segment is used; the next one is made so fast that it is ready when half is.
    pub fn used(&self, bytes: u64, of: u64) {
        let mut slot = self.shared.slot.lock();
        let used = (bytes * 1_000 / of.max(1)).min(1_000);
        if slot.ready.is_none() && used > slot.used {
            slot.used = used;
            self.shared.changed.notify_all();
        }
    }

    /// Waits until a segment is ready, or could not be made.
    pub fn wait(&self) {
        let mut slot = self.shared.slot.lock();
        if slot.ready.is_none() {
            slot.used = HURRY;
            self.shared.changed.notify_all();
        }
        while slot.ready.is_none() && slot.failed.is_none() && !slot.stop {
            self.shared.changed.wait(&mut slot);
        }
    }

    /// Takes the segment that is ready, and begins with the next.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&self) -> io::Result<Segment> {
        self.wait();
        let mut slot = self.shared.slot.lock();
        let Some(ready) = slot.ready.take() else {
            let why = slot.failed.clone().unwrap_or_else(|| "no segment is ready".to_owned());
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        };
        slot.next = ready.number + 1;
        slot.size = slot.size.max(ready.size);
        slot.used = 0;
        self.shared.changed.notify_all();
        Ok(ready)
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.shared.slot.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn prepare(shared: &Shared, dir: &std::path::Path, epoch: Epoch, max: u64) {
    let mut slot = shared.slot.lock();
    loop {
        while slot.ready.is_some() && !slot.stop {
            shared.changed.wait(&mut slot);
        }
        if slot.stop {
            return;
        }
        let (number, size) = (slot.next, slot.size.min(max));
        drop(slot);
        let pace = |filled: u64| {
            let mut slot = shared.slot.lock();
            // A segment that goes unused costs nothing by being unfinished.
            while filled * 1_000 > slot.used * 2 * size && slot.used < HURRY && !slot.stop {
                shared.changed.wait(&mut slot);
            }
        };
        let made = segment::create_paced(dir, number, size, epoch, pace).or_else(|error| {
            if size <= FIRST_BYTES {
                return Err(error);
            }
            segment::create(dir, number, FIRST_BYTES, epoch)
        });
        slot = shared.slot.lock();
        match made {
            Ok(segment) => {
                if slot.failed.take().is_some() {
                    tracing::info!(bytes = segment.size, "there is room for the log again");
                }
                slot.size = (size * 4).min(max);
                slot.ready = Some(segment);
                shared.changed.notify_all();
            }
            Err(error) => {
                let why = error.to_string();
                if slot.failed.as_ref() != Some(&why) {
                    tracing::error!(bytes = size, error = %why, "no room for the next log segment");
                }
                slot.failed = Some(why);
                shared.changed.notify_all();
                shared.changed.wait_for(&mut slot, RETRY);
            }
        }
    }
}
