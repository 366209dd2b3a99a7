//! Reading the feed: by offset, from the frames that were just written or from the segments, never on the committer's thread.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::RwLock;
use squall_protocol::{Epoch, FeedRecord, Gap, GapReason};
use tokio::sync::watch;

use super::events::{self, NameTable, Place};
use super::log::Written;
use super::log::catalog::{self, Catalog, Segment};
use super::log::frame::{self, Header};
use crate::FeedSlice;
use crate::core::records::Records;

/// Frames that are kept in memory for readers at the head of the feed.
const TAIL_BYTES: usize = 8 << 20;

/// Bytes that one read takes from a segment at most, unless one frame is larger.
const READ_BYTES: u64 = 1 << 20;

/// The feed as readers see it.
#[derive(Debug)]
pub struct Feed {
    epoch: Epoch,
    catalog: Arc<Catalog>,
    names: RwLock<Arc<NameTable>>,
    tail: RwLock<Tail>,
    /// The last committed offset, for those who wait for the next. Moves while the tail is locked, so that nobody sees an event
    /// there that is still in the future here, or the other way round.
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Tail {
    frames: VecDeque<Arc<Written>>,
    bytes: usize,
    /// The last committed offset.
    head: u64,
}

impl Feed {
    /// A feed over these segments, whose last event has this offset.
    #[must_use]
    pub fn new(epoch: Epoch, catalog: Arc<Catalog>, head: u64, names: NameTable) -> Self {
        let tail = Tail { head, ..Tail::default() };
        Self {
            epoch,
            catalog,
            names: RwLock::new(Arc::new(names)),
            tail: RwLock::new(tail),
            moved: watch::Sender::new(head),
        }
    }

    /// From now on numbers stand for these names.
    pub fn set_names(&self, names: NameTable) {
        *self.names.write() = Arc::new(names);
    }

    /// Shows readers what was committed.
    pub fn advance(&self, frames: impl IntoIterator<Item = Written>, head: u64) {
        let mut tail = self.tail.write();
        for written in frames {
            if written.header.events > 0 {
                tail.bytes += written.bytes.len();
                tail.frames.push_back(Arc::new(written));
            }
        }
        while tail.bytes > TAIL_BYTES
            && let Some(oldest) = tail.frames.pop_front()
        {
            tail.bytes -= oldest.bytes.len();
        }
        tail.head = head;
        self.moved.send_if_modified(|seen| std::mem::replace(seen, head) != head);
    }

    /// The last committed offset, and every change of it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// The last committed offset.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.tail.read().head
    }

    /// The oldest offset that can be read; 0: none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        let oldest = self.catalog.oldest_offset();
        if oldest > self.head() { 0 } else { oldest }
    }

    /// Events after `after`, if they are all in memory; cheap enough for any thread.
    #[must_use]
    pub fn read_tail(&self, after: u64, limit: usize) -> Option<FeedSlice> {
        let (frames, head) = {
            let tail = self.tail.read();
            if after == tail.head {
                return Some(FeedSlice { gap: None, records: Vec::new(), head: tail.head });
            }
            let first = tail.frames.front()?.header.first_offset;
            if after > tail.head || after + 1 < first {
                return None;
            }
            let begin = tail.frames.partition_point(|frame| frame.header.last_offset() <= after);
            let last = after.saturating_add(limit as u64);
            let frames: Vec<Arc<Written>> =
                tail.frames.range(begin..).take_while(|frame| frame.header.first_offset <= last).cloned().collect();
            (frames, tail.head)
        };
        let mut slice = FeedSlice { gap: None, records: Vec::with_capacity(limit.min((head - after) as usize)), head };
        let names = Arc::clone(&self.names.read());
        for frame in frames {
            let body = frame.header.body(&frame.bytes);
            if !self.take(&mut slice, &frame.header, body, after + 1, limit, &names) {
                break;
            }
        }
        Some(slice)
    }

    /// Events after `after`, from wherever they are. Reads files.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&self, after: u64, limit: usize) -> io::Result<FeedSlice> {
        let limit = limit.max(1);
        if let Some(slice) = self.read_tail(after, limit) {
            return Ok(slice);
        }
        let head = self.head();
        let mut slice = FeedSlice { gap: None, records: Vec::new(), head };
        if after > head {
            slice.gap = Some(Gap { from: head + 1, to: after, reason: GapReason::Ahead });
            return Ok(slice);
        }
        let mut want = after + 1;
        // All from one look: what housekeeping takes away meanwhile can still be read, or is missing from the beginning.
        let segments = self.catalog.all();
        let oldest = catalog::oldest_offset(&segments);
        if oldest == 0 || want < oldest {
            let to = if oldest == 0 { head } else { oldest.min(head + 1) - 1 };
            slice.gap = Some(Gap { from: want, to, reason: GapReason::Retention });
            want = to + 1;
        }
        let names = Arc::clone(&self.names.read());
        while want <= head && slice.records.len() < limit {
            let Some((segment, next)) = catalog::find(&segments, want) else { break };
            let before = slice.records.len();
            let lost_to = self.read_segment(segment, want, limit, &mut slice, &names)?;
            let seen = slice.records.last().map_or(want - 1, |record| record.offset);
            if slice.records.len() > before {
                want = seen + 1;
                if lost_to.is_none() && slice.records.len() < limit {
                    continue;
                }
                break;
            }
            // Nothing at all from here to the next frame that is whole, or to the end of the segment: that was damaged.
            let next_first = next.map(|next| next.contents.lock().first_offset).filter(|&first| first > 0);
            let to = lost_to.unwrap_or_else(|| next_first.map_or(head, |first| first - 1)).min(head);
            if to < want || !slice.records.is_empty() {
                break;
            }
            if let Some(gap) = slice.gap {
                // Two things are missing one after the other: the second is told with the next read.
                slice.gap = Some(gap);
                break;
            }
            slice.gap = Some(Gap { from: want, to, reason: GapReason::Corrupt });
            want = to + 1;
        }
        if slice.records.is_empty() && slice.gap.is_none() && want <= head {
            // What cannot be found is missing, whatever the cause: a reader that is told nothing would take it for read.
            slice.gap = Some(Gap { from: want, to: head, reason: GapReason::Corrupt });
        }
        Ok(slice)
    }

    /// Adds events of one segment. Answers the last offset that is missing before the next whole frame, if it met a damaged one.
    fn read_segment(
        &self,
        segment: &Segment,
        want: u64,
        limit: usize,
        slice: &mut FeedSlice,
        names: &NameTable,
    ) -> io::Result<Option<u64>> {
        let mut at = segment.place_of(want, self.epoch)?;
        let end = segment.contents.lock().end;
        let mut chunk = Vec::new();
        let mut expected: Option<u64> = None;
        while at < end && slice.records.len() < limit {
            let mut size = READ_BYTES.min(end - at);
            read_chunk(segment, at, size, &mut chunk)?;
            if let Ok(header) = frame::peek(&chunk)
                && header.len as u64 > size
                && header.len as u64 <= end - at
            {
                size = header.len as u64;
                read_chunk(segment, at, size, &mut chunk)?;
            }
            let mut inside = 0;
            while inside < chunk.len() {
                let (found, header) = match frame::read(&chunk[inside..], self.epoch) {
                    Ok(header) => (inside, header),
                    Err(frame::NotAFrame::Short) if inside > 0 => break,
                    Err(_) => {
                        // Damaged: look for the next whole one in all that is left of the segment.
                        read_chunk(segment, at + inside as u64, end - at - inside as u64, &mut chunk)?;
                        at += inside as u64;
                        match frame::find_next(&chunk, 0, self.epoch) {
                            Some(found) => found,
                            None => return Ok(None),
                        }
                    }
                };
                let missing = expected.map_or(want < header.first_offset, |next| next.max(want) < header.first_offset);
                if missing {
                    return Ok(Some(header.first_offset - 1));
                }
                let frame = &chunk[found..found + header.len];
                if header.events > 0
                    && header.last_offset() >= want
                    && !self.take(slice, &header, header.body(frame), want, limit, names)
                {
                    return Ok(None);
                }
                expected = Some(header.first_offset + u64::from(header.events));
                inside = found + header.len;
            }
            if inside == 0 {
                break;
            }
            at += inside as u64;
        }
        Ok(None)
    }

    /// Adds the events of one frame from `from` on; false when the slice is full.
    fn take(
        &self,
        slice: &mut FeedSlice,
        header: &Header,
        body: &[u8],
        from: u64,
        limit: usize,
        names: &NameTable,
    ) -> bool {
        let mut offset = header.first_offset;
        for read in Records::new(body) {
            let Ok((record, label)) = read else { break };
            if !record.is_event() {
                continue;
            }
            if offset >= from {
                if slice.records.len() >= limit || offset > slice.head {
                    return false;
                }
                let place = Place { epoch: self.epoch, offset, time: header.time };
                let event: Option<FeedRecord> = events::render(&record, label.as_ref(), names, place);
                slice.records.extend(event);
            }
            offset += 1;
        }
        slice.records.len() < limit
    }
}

fn read_chunk(segment: &Segment, at: u64, size: u64, chunk: &mut Vec<u8>) -> io::Result<()> {
    chunk.clear();
    chunk.resize(size as usize, 0);
    segment.file.read_exact_at(chunk, at)
}
