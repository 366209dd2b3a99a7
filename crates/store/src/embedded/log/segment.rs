//! The file of a segment: a header that says whose it is, then frames, then zeros up to its full length. It has its full length and is
//! written with zeros before the first frame comes, so that a commit never changes metadata: its `fdatasync` is one write.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use squall_protocol::Epoch;

use super::catalog::{Contents, Segment};
use crate::core::records::FORMAT;

/// Bytes before the first frame.
pub const SEGMENT_HEADER: u64 = 4_096;

const MAGIC: [u8; 8] = *b"SQUALSEG";
const EXTENSION: &str = "seg";
const ZEROS: usize = 1 << 20;

/// The name of a segment.
#[must_use]
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.{EXTENSION}"))
}

/// The numbers of the segments in a directory, in order.
///
/// # Errors
/// Those of listing.
pub fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a segment of `size` bytes, on disk and under its name when this returns. Leaves nothing behind when it fails.
///
/// # Errors
/// Those of writing; a full disk above all.
pub fn create(dir: &Path, number: u64, size: u64, epoch: Epoch) -> io::Result<Segment> {
    create_paced(dir, number, size, epoch, |_| {})
}

/// As [`create`]; calls `pace` with the bytes that are on disk after each part, and goes on when it returns.
///
/// # Errors
/// As [`create`].
pub fn create_paced(dir: &Path, number: u64, size: u64, epoch: Epoch, pace: impl FnMut(u64)) -> io::Result<Segment> {
    let temporary = dir.join(format!("{number:012}.tmp"));
    let made = fill(&temporary, size, epoch, pace).and_then(|file| {
        let path = path(dir, number);
        std::fs::rename(&temporary, &path)?;
        sync_dir(dir)?;
        Ok(Segment { number, path, file, size, contents: Mutex::new(Contents::empty()) })
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    made
}

fn fill(path: &Path, size: u64, epoch: Epoch, mut pace: impl FnMut(u64)) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut header = vec![0; SEGMENT_HEADER as usize];
    header[..8].copy_from_slice(&MAGIC);
    header[8] = FORMAT;
    header[16..32].copy_from_slice(epoch.0.as_bytes());
    file.write_all(&header)?;
    let zeros = vec![0; ZEROS];
    let mut left = size - SEGMENT_HEADER;
    while left > 0 {
        let part = left.min(ZEROS as u64) as usize;
        file.write_all(&zeros[..part])?;
        left -= part as u64;
        // Bit by bit: a commit that meets all of a large segment on its way to the disk would wait for all of it.
        file.sync_data()?;
        pace(size - left);
    }
    file.sync_all()?;
    Ok(file)
}

/// Opens a segment that is there, for reading, or for writing too.
///
/// # Errors
/// Those of opening, and `InvalidData` when it is another store's.
pub fn open(dir: &Path, number: u64, epoch: Epoch, write: bool) -> io::Result<Segment> {
    let path = path(dir, number);
    let file = OpenOptions::new().read(true).write(write).open(&path)?;
    let size = file.metadata()?.len();
    let mut header = [0; 32];
    let whole = file.read_exact_at(&mut header, 0).is_ok();
    // A damaged header is no reason to give the frames up: each says for itself whose it is.
    if whole && header[..8] == MAGIC && header[16..32] != *epoch.0.as_bytes() {
        let what = format!("{} belongs to another store (epoch {})", path.display(), epoch_of(&header));
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(Segment { number, path, file, size, contents: Mutex::new(Contents::empty()) })
}

fn epoch_of(header: &[u8; 32]) -> uuid::Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&header[16..]);
    uuid::Uuid::from_bytes(bytes)
}

/// Writes zeros over a part of a segment, and syncs.
///
/// # Errors
/// Those of writing.
pub fn blank(segment: &Segment, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    let mut at = from;
    while at < to {
        let part = (to - at).min(ZEROS as u64);
        segment.file.write_all_at(&zeros[..part as usize], at)?;
        at += part;
    }
    segment.file.sync_data()
}

/// Makes names in a directory durable.
///
/// # Errors
/// Those of the system.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
