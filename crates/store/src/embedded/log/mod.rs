//! The log: segments of frames, each frame one batch of records. [`Log`] is the committer's end of it.

pub mod catalog;
pub mod frame;
pub mod preparer;
pub mod segment;

use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use squall_protocol::{Epoch, Time};

use self::catalog::{Catalog, Segment};
use self::frame::Header;
use self::preparer::Preparer;
use crate::core::Room;
use crate::core::records::{FRAME_SOFT_BYTES, Journal};

/// Kept free for acks, leases and timers when publishes are refused for a full disk.
pub const RESERVE_BYTES: u64 = 1 << 20;

/// What may be lost at the end of a segment because the next frame does not fit.
const SLACK_BYTES: u64 = FRAME_SOFT_BYTES as u64 + (256 << 10);

/// What the log and those who sync it share.
#[derive(Debug, Default)]
pub struct Dirty {
    /// Segments with writes that are not synced, and the last batch written.
    pub files: Mutex<(Vec<Arc<Segment>>, u64)>,
    /// The last batch that is on disk.
    pub synced: AtomicU64,
}

impl Dirty {
    /// Syncs what was written until now.
    ///
    /// # Errors
    /// Those of the system; after one of them nobody knows what is on disk.
    pub fn sync(&self) -> io::Result<()> {
        let (files, batch) = {
            let mut files = self.files.lock();
            (std::mem::take(&mut files.0), files.1)
        };
        for segment in files {
            segment.file.sync_data()?;
        }
        self.synced.fetch_max(batch, Ordering::Release);
        Ok(())
    }
}

/// A frame that was just written, as readers want it.
#[derive(Debug)]
pub struct Written {
    /// What its header says.
    pub header: Header,
    /// All of it.
    pub bytes: Box<[u8]>,
}

/// The committer's end of the log.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    epoch: Epoch,
    catalog: Arc<Catalog>,
    current: Arc<Segment>,
    end: u64,
    preparer: Preparer,
    next_batch: u64,
    next_offset: u64,
    dirty: Arc<Dirty>,
}

/// Where the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next batch's number.
    pub next_batch: u64,
    /// The next event's offset.
    pub next_offset: u64,
}

impl Log {
    /// Goes on in `current`, the last segment of the catalog.
    #[must_use]
    pub fn new(
        dir: PathBuf,
        epoch: Epoch,
        catalog: Arc<Catalog>,
        current: Arc<Segment>,
        preparer: Preparer,
        position: Position,
    ) -> Self {
        let dirty = Arc::new(Dirty::default());
        dirty.synced.store(position.next_batch - 1, Ordering::Release);
        let end = current.contents.lock().end;
        let Position { next_batch, next_offset } = position;
        Self { dir, epoch, catalog, current, end, preparer, next_batch, next_offset, dirty }
    }

    /// For a thread that syncs beside the committer.
    #[must_use]
    pub fn dirty(&self) -> Arc<Dirty> {
        Arc::clone(&self.dirty)
    }

    /// Where it goes on.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { next_batch: self.next_batch, next_offset: self.next_offset }
    }

    /// The last event's offset.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.next_offset - 1
    }

    /// Space that is secured. Waits for the preparer when little is left, but not for a disk that is full.
    #[must_use]
    pub fn room(&self) -> Room {
        let left = |end: u64| (self.current.size - end).saturating_sub(SLACK_BYTES);
        if left(self.end) < RESERVE_BYTES + (2 << 20) {
            self.preparer.wait();
        }
        self.preparer.used(self.end, self.current.size);
        let ready = self.preparer.ready_bytes();
        let all = left(self.end) + ready.saturating_sub(SLACK_BYTES);
        Room { publish: all.saturating_sub(RESERVE_BYTES) as usize, other: all as usize }
    }

    /// The same, once the next segment is there too, or could not be made.
    #[must_use]
    pub fn room_with_next(&self) -> Room {
        self.preparer.wait();
        self.room()
    }

    /// Why there is no room, if there is none.
    #[must_use]
    pub fn full(&self) -> Option<String> {
        self.preparer.failure()
    }

    /// Writes all frames of the journal; they are on disk after the next [`Dirty::sync`]. `copy` gets each frame.
    ///
    /// # Errors
    /// Those of writing; the log must not be used any more then.
    pub fn append(&mut self, journal: &mut Journal, time: Time, mut copy: impl FnMut(Written)) -> io::Result<()> {
        let (bytes, frames) = journal.finish();
        for span in frames {
            let frame = &mut bytes[span.start..span.end];
            let padding = frame.len().next_multiple_of(8) - frame.len();
            let header = Header {
                len: frame.len() + padding,
                batch: self.next_batch,
                first_offset: self.next_offset,
                events: span.events,
                time,
                synced: self.dirty.synced.load(Ordering::Acquire),
                padding: padding as u8,
            };
            // One copy serves the disk and the readers of the feed's tail.
            let mut owned = Vec::with_capacity(header.len);
            owned.extend_from_slice(frame);
            owned.resize(header.len, 0);
            frame::seal(&mut owned, &header, self.epoch);
            if self.end + header.len as u64 > self.current.size {
                self.roll(header.len as u64)?;
            }
            self.current.file.write_all_at(&owned, self.end)?;
            self.current.note(self.end, &header);
            self.end += header.len as u64;
            self.next_batch += 1;
            self.next_offset += u64::from(span.events);
            self.mark_dirty(header.batch);
            copy(Written { header, bytes: owned.into_boxed_slice() });
        }
        Ok(())
    }

    fn mark_dirty(&self, batch: u64) {
        let mut files = self.dirty.files.lock();
        if files.0.last().is_none_or(|last| last.number != self.current.number) {
            files.0.push(Arc::clone(&self.current));
        }
        files.1 = batch;
    }

    fn roll(&mut self, need: u64) -> io::Result<()> {
        let mut next = self.preparer.take()?;
        if segment::SEGMENT_HEADER + need > next.size {
            // One decision larger than a whole segment: rare enough to wait for.
            let size = (segment::SEGMENT_HEADER + need).next_multiple_of(1 << 20);
            next = segment::create(&self.dir, next.number, size, self.epoch)?;
        }
        self.current = Arc::new(next);
        self.end = segment::SEGMENT_HEADER;
        self.catalog.push(Arc::clone(&self.current));
        Ok(())
    }
}
