//! One batch in the log: a header and the records, under one checksum that is seeded with the store's epoch, so that a frame of
//! another store, or of an earlier life of this file, is never taken for one of ours.

use squall_protocol::{Epoch, Time};

use crate::core::records::{FORMAT, FRAME_HEADER};

const MAGIC: [u8; 4] = *b"SQF1";

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the frame, header and padding included; a multiple of 8.
    pub len: usize,
    /// Batches count up from 1 without a gap.
    pub batch: u64,
    /// Offset of the first event in it, or that the next event will have.
    pub first_offset: u64,
    /// Events in it.
    pub events: u32,
    /// The batch's time.
    pub time: Time,
    /// The last batch that was known to be on disk when this one was written.
    pub synced: u64,
    /// Bytes of zeros after the records.
    pub padding: u8,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAFrame {
    /// Not even the beginning of one.
    NoMagic,
    /// Longer than what is left.
    Short,
    /// The checksum is wrong.
    Checksum,
    /// Written by a version that this one does not know.
    Format(u8),
}

impl Header {
    /// Where the records lie in a frame.
    #[must_use]
    pub fn body<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[FRAME_HEADER..self.len - usize::from(self.padding)]
    }

    /// The last event's offset, or the one before the first if there is none.
    #[must_use]
    pub fn last_offset(&self) -> u64 {
        self.first_offset + u64::from(self.events) - 1
    }
}

/// Fills in the header at the front of `frame`, whose length must be a multiple of 8.
pub fn seal(frame: &mut [u8], header: &Header, epoch: Epoch) {
    let len = frame.len() as u32;
    frame[0..4].copy_from_slice(&MAGIC);
    frame[4] = FORMAT;
    frame[5] = header.padding;
    frame[6..8].fill(0);
    frame[8..12].copy_from_slice(&len.to_le_bytes());
    frame[16..24].copy_from_slice(&header.batch.to_le_bytes());
    frame[24..32].copy_from_slice(&header.first_offset.to_le_bytes());
    frame[32..36].copy_from_slice(&header.events.to_le_bytes());
    frame[36..40].fill(0);
    frame[40..48].copy_from_slice(&header.time.0.to_le_bytes());
    frame[48..56].copy_from_slice(&header.synced.to_le_bytes());
    let crc = checksum(frame, epoch);
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(frame: &[u8], epoch: Epoch) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(epoch.0.as_bytes());
    hasher.update(&frame[..12]);
    hasher.update(&frame[16..]);
    hasher.finalize()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// Reads a header without looking at the checksum: enough to know how long the frame says it is.
///
/// # Errors
/// When it is no header.
pub fn peek(bytes: &[u8]) -> Result<Header, NotAFrame> {
    if bytes.len() < FRAME_HEADER || bytes[..4] != MAGIC {
        return Err(NotAFrame::NoMagic);
    }
    let len = u32_at(bytes, 8) as usize;
    let header = Header {
        len,
        batch: u64_at(bytes, 16),
        first_offset: u64_at(bytes, 24),
        events: u32_at(bytes, 32),
        time: Time(u64_at(bytes, 40)),
        synced: u64_at(bytes, 48),
        padding: bytes[5],
    };
    if len < FRAME_HEADER + usize::from(header.padding) || !len.is_multiple_of(8) || header.first_offset == 0 {
        return Err(NotAFrame::NoMagic);
    }
    Ok(header)
}

/// Reads the frame at the front of `bytes`, and checks all of it.
///
/// # Errors
/// When it is not one, or not whole.
pub fn read(bytes: &[u8], epoch: Epoch) -> Result<Header, NotAFrame> {
    let header = peek(bytes)?;
    let Some(frame) = bytes.get(..header.len) else { return Err(NotAFrame::Short) };
    if checksum(frame, epoch) != u32_at(bytes, 12) {
        return Err(NotAFrame::Checksum);
    }
    if bytes[4] != FORMAT {
        return Err(NotAFrame::Format(bytes[4]));
    }
    Ok(header)
}

/// The next whole frame at or after `from`, which is a multiple of 8: where it begins, and what its header says.
#[must_use]
pub fn find_next(bytes: &[u8], from: usize, epoch: Epoch) -> Option<(usize, Header)> {
    let mut at = from.next_multiple_of(8);
    while at + FRAME_HEADER <= bytes.len() {
        if bytes[at..at + 4] == MAGIC
            && let Ok(header) = read(&bytes[at..], epoch)
        {
            return Some((at, header));
        }
        at += 8;
    }
    None
}

/// Whether there is nothing but zeros.
#[must_use]
pub fn is_blank(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| word.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch() -> Epoch {
        Epoch::at(Time(1), 2)
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_HEADER];
        bytes.extend_from_slice(body);
        let padding = bytes.len().next_multiple_of(8) - bytes.len();
        bytes.resize(bytes.len() + padding, 0);
        let header = Header {
            len: bytes.len(),
            batch: 3,
            first_offset: 10,
            events: 2,
            time: Time(99),
            synced: 2,
            padding: padding as u8,
        };
        seal(&mut bytes, &header, epoch());
        bytes
    }

    #[test]
    fn a_frame_reads_as_written() {
        let bytes = frame(b"hello");
        let header = read(&bytes, epoch()).unwrap();
        assert_eq!((header.batch, header.first_offset, header.events, header.synced), (3, 10, 2, 2));
        assert_eq!((header.last_offset(), header.time), (11, Time(99)));
        assert_eq!(header.body(&bytes), b"hello");
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let good = frame(b"some records, more or less");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad, epoch()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_of_another_store_is_not_ours() {
        assert_eq!(read(&frame(b"x"), Epoch::at(Time(1), 3)), Err(NotAFrame::Checksum));
    }

    #[test]
    fn the_next_frame_is_found_behind_rubbish() {
        let mut bytes = vec![7; 64];
        bytes.extend(frame(b"x"));
        assert_eq!(find_next(&bytes, 0, epoch()).map(|(at, header)| (at, header.batch)), Some((64, 3)));
        assert_eq!(find_next(&bytes, 72, epoch()), None);
    }
}
