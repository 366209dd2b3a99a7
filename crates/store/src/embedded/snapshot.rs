//! Snapshots: the whole state at one batch, so that recovery replays only what came after, and older segments may go.
//!
//! A snapshot is written beside the others under a temporary name, synced, renamed; the last two are kept, so that a damaged one costs
//! time and not tasks. A background thread makes one when enough log has been closed, from the one before and the very same
//! [`State::apply`] as the live engine, so that the committer never stops for it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use squall_protocol::{Epoch, Time};

use super::log::Position;
use super::log::segment::sync_dir;
use crate::core::image::Entry;
use crate::core::records::FORMAT;
use crate::core::state::{Limits, State};

const MAGIC: [u8; 8] = *b"SQUALSNP";
const HEADER: usize = 64;
const BLOCK: usize = 256 << 10;
const MAX_BLOCK: usize = 256 << 20;
const KEEP: usize = 2;

/// A state, and where the log goes on after it.
#[derive(Debug)]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// The next batch and offset.
    pub position: Position,
    /// Its time.
    pub time: Time,
}

fn path(dir: &Path, next_batch: u64) -> PathBuf {
    dir.join(format!("{next_batch:020}.snapshot"))
}

/// The snapshots in a directory, youngest first, by the batch that comes after each.
///
/// # Errors
/// Those of listing.
pub fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut batches: Vec<u64> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "snapshot")
            && let Some(batch) = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok())
        {
            batches.push(batch);
        }
    }
    batches.sort_unstable_by(|a, b| b.cmp(a));
    Ok(batches)
}

/// Writes a snapshot, and removes all but the last two. Answers its size in bytes. Asks `give_up` again and again.
///
/// # Errors
/// Those of writing, and `TimedOut` when it was given up. Nothing has changed then.
pub fn write(
    dir: &Path,
    epoch: Epoch,
    state: &State,
    position: Position,
    time: Time,
    give_up: impl Fn() -> bool,
) -> io::Result<u64> {
    let temporary = dir.join("snapshot.tmp");
    let written = write_file(&temporary, epoch, state, position, time, give_up);
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(error) => {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
    };
    std::fs::rename(&temporary, path(dir, position.next_batch))?;
    sync_dir(dir)?;
    for old in list(dir)?.into_iter().skip(KEEP) {
        std::fs::remove_file(path(dir, old))?;
    }
    Ok(bytes)
}

fn write_file(
    path: &Path,
    epoch: Epoch,
    state: &State,
    position: Position,
    time: Time,
    give_up: impl Fn() -> bool,
) -> io::Result<u64> {
    let go_on = || {
        let given_up = || io::Error::new(io::ErrorKind::TimedOut, "there was no time for it");
        if give_up() { Err(given_up()) } else { Ok(()) }
    };
    go_on()?;
    let mut file = BufWriter::with_capacity(BLOCK, File::create(path)?);
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8] = FORMAT;
    header[16..32].copy_from_slice(epoch.0.as_bytes());
    header[32..40].copy_from_slice(&position.next_batch.to_le_bytes());
    header[40..48].copy_from_slice(&position.next_offset.to_le_bytes());
    header[48..56].copy_from_slice(&time.0.to_le_bytes());
    let crc = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    file.write_all(&header)?;
    let mut total = HEADER as u64;
    let mut entries: u64 = 0;
    let mut block = Vec::with_capacity(BLOCK * 2);
    state.entries(|entry| {
        block = postcard::to_extend(entry, std::mem::take(&mut block)).map_err(io::Error::other)?;
        entries += 1;
        if block.len() >= BLOCK {
            go_on()?;
            total += write_block(&mut file, &block)?;
            block.clear();
        }
        Ok::<(), io::Error>(())
    })?;
    if !block.is_empty() {
        total += write_block(&mut file, &block)?;
    }
    go_on()?;
    // An empty block, then how many entries there were: a file that ends early is noticed.
    total += write_block(&mut file, &[])?;
    file.write_all(&entries.to_le_bytes())?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(total + 8)
}

fn write_block(file: &mut impl Write, block: &[u8]) -> io::Result<u64> {
    file.write_all(&(block.len() as u32).to_le_bytes())?;
    file.write_all(&crc32fast::hash(block).to_le_bytes())?;
    file.write_all(block)?;
    Ok(block.len() as u64 + 8)
}

/// The youngest snapshot that is whole; those that are not are named in `damaged`.
///
/// # Errors
/// Those of listing.
pub fn read_latest(
    dir: &Path,
    epoch: Epoch,
    limits: Limits,
    damaged: &mut Vec<String>,
) -> io::Result<Option<Snapshot>> {
    for batch in list(dir)? {
        let path = path(dir, batch);
        match read(&path, epoch, limits) {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a snapshot is damaged; trying the one before");
                damaged.push(format!("{}: {error}", path.display()));
            }
        }
    }
    Ok(None)
}

/// Where the log goes on after the oldest snapshot that is kept: segments from there on are needed. `None`: no snapshot.
///
/// # Errors
/// Those of listing.
pub fn oldest_kept(dir: &Path) -> io::Result<Option<u64>> {
    Ok(list(dir)?.into_iter().take(KEEP).next_back())
}

fn read(path: &Path, epoch: Epoch, limits: Limits) -> io::Result<Snapshot> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut file = BufReader::with_capacity(BLOCK, File::open(path)?);
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    if header[..8] != MAGIC || header[60..] != crc32fast::hash(&header[..60]).to_le_bytes() {
        return Err(bad("its header is damaged"));
    }
    if header[8] != FORMAT {
        return Err(bad("it was written by another version"));
    }
    if header[16..32] != *epoch.0.as_bytes() {
        return Err(bad("it belongs to another store"));
    }
    let mut state = State::new(limits);
    let mut block = Vec::new();
    let mut entries: u64 = 0;
    loop {
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if len == 0 {
            break;
        }
        if len > MAX_BLOCK {
            return Err(bad("a block's length makes no sense"));
        }
        block.resize(len, 0);
        file.read_exact(&mut block)?;
        if head[4..] != crc32fast::hash(&block).to_le_bytes() {
            return Err(bad("a block is damaged"));
        }
        let mut rest: &[u8] = &block;
        while !rest.is_empty() {
            let (entry, after) = postcard::take_from_bytes::<Entry<'_>>(rest).map_err(io::Error::other)?;
            state.load(entry);
            rest = after;
            entries += 1;
        }
    }
    let mut count = [0; 8];
    file.read_exact(&mut count)?;
    if u64::from_le_bytes(count) != entries {
        return Err(bad("entries are missing"));
    }
    Ok(Snapshot { state, position: Position { next_batch: word(32), next_offset: word(40) }, time: Time(word(48)) })
}
