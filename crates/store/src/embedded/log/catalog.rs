//! Which segments there are and what lies where in them: shared by the committer, which writes, and all that read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use squall_protocol::{Epoch, Time};

use super::frame;
use super::segment::SEGMENT_HEADER;
use crate::core::records::FRAME_HEADER;

/// One entry of the sparse index for so many bytes.
const INDEX_STEP: u64 = 64 << 10;

/// A segment that has frames, or will get the next one.
#[derive(Debug)]
pub struct Segment {
    /// Segments count up from 1.
    pub number: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// For reading and writing by position.
    pub file: File,
    /// Its length.
    pub size: u64,
    /// What is known of its contents.
    pub contents: Mutex<Contents>,
}

/// What is known of a segment's contents.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// First batch; 0: none yet.
    pub first_batch: u64,
    /// Last batch.
    pub last_batch: u64,
    /// First event's offset; 0: none yet.
    pub first_offset: u64,
    /// Where the next frame goes.
    pub end: u64,
    /// When the last batch was written.
    pub last_time: Time,
    /// Sparse: the first offset of a frame, and where that frame lies.
    index: Vec<(u64, u64)>,
    /// Whether the index reaches up to `end`.
    indexed: bool,
}

impl Contents {
    /// Nothing: the first frame goes right behind the header.
    #[must_use]
    pub fn empty() -> Self {
        Self { end: SEGMENT_HEADER, ..Self::default() }
    }
}

impl Segment {
    /// Notes a frame at `at`.
    pub fn note(&self, at: u64, header: &frame::Header) {
        let mut contents = self.contents.lock();
        if contents.first_batch == 0 {
            contents.first_batch = header.batch;
            contents.first_offset = header.first_offset;
            contents.indexed = true;
        }
        contents.last_batch = header.batch;
        contents.last_time = header.time;
        contents.end = at + header.len as u64;
        if contents.index.last().is_none_or(|&(_, last)| at - last >= INDEX_STEP) {
            contents.index.push((header.first_offset, at));
        }
    }

    /// Notes what the first frame says, for a segment that nobody has read through. False when it has none.
    ///
    /// # Errors
    /// Those of reading.
    pub fn note_first(&self, epoch: Epoch) -> io::Result<bool> {
        if self.size < SEGMENT_HEADER + FRAME_HEADER as u64 {
            return Ok(false);
        }
        let mut head = vec![0; FRAME_HEADER];
        self.file.read_exact_at(&mut head, SEGMENT_HEADER)?;
        let first = match frame::peek(&head) {
            Ok(header) => Some(header),
            Err(_) => {
                let bytes = self.read_all()?;
                frame::find_next(&bytes, SEGMENT_HEADER as usize, epoch).map(|(_, header)| header)
            }
        };
        let Some(first) = first else { return Ok(false) };
        let mut contents = self.contents.lock();
        contents.first_batch = first.batch;
        contents.first_offset = first.first_offset;
        contents.last_batch = first.batch;
        contents.last_time = first.time;
        contents.end = self.size;
        Ok(true)
    }

    /// All its bytes.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// A place at or before the frame that holds `offset`.
    ///
    /// # Errors
    /// Those of reading: an index that was not kept is made now.
    pub fn place_of(&self, offset: u64, epoch: Epoch) -> io::Result<u64> {
        let mut contents = self.contents.lock();
        if !contents.indexed {
            let bytes = self.read_all()?;
            let mut at = SEGMENT_HEADER as usize;
            let mut index: Vec<(u64, u64)> = Vec::new();
            let mut end = at;
            while let Some((found, header)) = frame::find_next(&bytes, at, epoch) {
                if index.last().is_none_or(|&(_, last)| found as u64 - last >= INDEX_STEP) {
                    index.push((header.first_offset, found as u64));
                }
                at = found + header.len;
                end = at;
            }
            contents.index = index;
            contents.end = end as u64;
            contents.indexed = true;
        }
        let after = contents.index.partition_point(|&(first, _)| first <= offset);
        Ok(after.checked_sub(1).map_or(SEGMENT_HEADER, |at| contents.index[at].1))
    }
}

/// All segments, oldest first.
#[derive(Debug, Default)]
pub struct Catalog {
    segments: RwLock<Vec<Arc<Segment>>>,
}

impl Catalog {
    /// Adds the youngest.
    pub fn push(&self, segment: Arc<Segment>) {
        self.segments.write().push(segment);
    }

    /// All, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().clone()
    }

    /// All but the one that is written to.
    #[must_use]
    pub fn closed(&self) -> Vec<Arc<Segment>> {
        let all = self.segments.read();
        all[..all.len().saturating_sub(1)].to_vec()
    }

    /// Takes one off; readers that have it may go on.
    pub fn remove(&self, number: u64) {
        self.segments.write().retain(|segment| segment.number != number);
    }

    /// The oldest offset that is kept; 0: none.
    #[must_use]
    pub fn oldest_offset(&self) -> u64 {
        oldest_offset(&self.segments.read())
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.read().iter().map(|segment| segment.size).sum()
    }
}

/// The oldest offset in these; 0: none.
#[must_use]
pub fn oldest_offset(segments: &[Arc<Segment>]) -> u64 {
    segments.iter().map(|segment| segment.contents.lock().first_offset).find(|&first| first != 0).unwrap_or(0)
}

/// The one of these that holds an offset, if it is not older than all, and the one after.
#[must_use]
pub fn find(segments: &[Arc<Segment>], offset: u64) -> Option<(&Segment, Option<&Segment>)> {
    let holds = |segment: &Arc<Segment>| {
        let first = segment.contents.lock().first_offset;
        first != 0 && first <= offset
    };
    let at = segments.iter().rposition(holds)?;
    Some((&segments[at], segments.get(at + 1).map(|next| &**next)))
}
