//! Threads beside the committer: one that syncs by the clock (`durability = "interval"`), one that folds closed segments into
//! snapshots and removes what is neither needed for recovery nor kept for the feed.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::log::catalog::Segment;
use super::log::segment::SEGMENT_HEADER;
use super::log::{Dirty, Position, frame, segment};
use super::shared::Shared;
use super::snapshot::{self, Snapshot};
use crate::core::limits;
use crate::core::records::Records;
use crate::core::state::State;

const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// A snapshot is worth it when so many full segments have been closed since the last.
const FOLD_SEGMENTS: u64 = 16;

/// Syncs every `interval_ms`. A sync that fails poisons the store.
///
/// # Errors
/// When no thread can be started.
pub fn start_syncer(shared: Arc<Shared>, dirty: Arc<Dirty>) -> io::Result<JoinHandle<()>> {
    let interval = Duration::from_millis(shared.options.store.interval_ms.max(1));
    let run = move || {
        while !shared.rest(interval) {
            if let Err(error) = dirty.sync() {
                shared.poison_with(&format!("syncing the log failed: {error}"));
                return;
            }
        }
    };
    std::thread::Builder::new().name("squall-sync".to_owned()).spawn(run)
}

/// Folds and removes.
///
/// # Errors
/// When no thread can be started.
pub fn start_housekeeper(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let run = move || {
        while !shared.rest(HOUSEKEEPING) {
            if let Err(error) = keep_house(&shared) {
                tracing::warn!(%error, "could not make a snapshot or remove old segments; trying again");
                if shared.rest(HOUSEKEEPING * 10) {
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("squall-housekeeper".to_owned()).spawn(run)
}

fn keep_house(shared: &Shared) -> io::Result<()> {
    let covered = snapshot::oldest_kept(&shared.places.snapshots)?.unwrap_or(1);
    let newest = snapshot::list(&shared.places.snapshots)?.first().copied().unwrap_or(1);
    let closed = shared.catalog.closed();
    let fresh: u64 =
        closed.iter().filter(|segment| segment.contents.lock().last_batch >= newest).map(|segment| segment.size).sum();
    let worth_it = (FOLD_SEGMENTS * shared.options.store.segment_bytes).max(shared.snapshot_bytes());
    let in_the_way = over_retention(shared, &closed).any(|segment| segment.contents.lock().last_batch >= covered);
    // What is in the way goes only when both snapshots that are kept lie after it: one more is enough, twice.
    if fresh >= worth_it || (in_the_way && fresh > 0) {
        fold(shared, &closed)?;
    }
    let covered = snapshot::oldest_kept(&shared.places.snapshots)?.unwrap_or(1);
    let gone: Vec<Arc<Segment>> = over_retention(shared, &closed)
        .take_while(|segment| segment.contents.lock().last_batch < covered)
        .cloned()
        .collect();
    for segment in gone {
        shared.catalog.remove(segment.number);
        std::fs::remove_file(&segment.path)?;
        tracing::info!(segment = segment.number, "removed a segment that is older than the feed is kept");
    }
    segment::sync_dir(&shared.places.log)
}

/// Closed segments that the feed need not keep, oldest first.
fn over_retention<'a>(shared: &Shared, closed: &'a [Arc<Segment>]) -> impl Iterator<Item = &'a Arc<Segment>> {
    let now = crate::now();
    let feed = shared.options.feed.clone();
    let mut bytes = shared.catalog.bytes();
    closed.iter().take_while(move |segment| {
        let old = now.since_ms(segment.contents.lock().last_time) > feed.retention_ms;
        let big = bytes > feed.retention_bytes;
        bytes -= segment.size.min(bytes);
        old || big
    })
}

/// Makes the next snapshot from the last one and the segments closed since.
fn fold(shared: &Shared, closed: &[Arc<Segment>]) -> io::Result<()> {
    let started = std::time::Instant::now();
    let limits = limits(&shared.options);
    let last = snapshot::read_latest(&shared.places.snapshots, shared.epoch, limits, &mut Vec::new())?;
    let mut next = last.unwrap_or_else(|| Snapshot {
        state: State::new(limits),
        position: Position { next_batch: 1, next_offset: 1 },
        time: squall_protocol::Time(0),
    });
    for segment in closed {
        if shared.stopping() {
            return Ok(());
        }
        if segment.contents.lock().last_batch < next.position.next_batch {
            continue;
        }
        let bytes = segment.read_all()?;
        let mut at = SEGMENT_HEADER as usize;
        // Recovery has named damaged batches; here they are passed over, as there.
        while let Some((found, header)) = frame::find_next(&bytes, at, shared.epoch) {
            at = found + header.len;
            if header.batch < next.position.next_batch {
                continue;
            }
            for (record, _) in Records::new(header.body(&bytes[found..at])).flatten() {
                next.state.apply(&record, header.time);
            }
            let next_offset = header.first_offset + u64::from(header.events);
            next.position = Position { next_batch: header.batch + 1, next_offset };
            next.time = header.time;
        }
    }
    let (dir, stopping) = (&shared.places.snapshots, || shared.stopping());
    let bytes = match snapshot::write(dir, shared.epoch, &next.state, next.position, next.time, stopping) {
        Err(_) if shared.stopping() => return Ok(()),
        written => written?,
    };
    shared.set_snapshot_bytes(bytes);
    tracing::info!(
        bytes,
        next_batch = next.position.next_batch,
        took_ms = started.elapsed().as_millis() as u64,
        "snapshot"
    );
    Ok(())
}
