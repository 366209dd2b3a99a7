//! What happens when a store is opened: the last snapshot, then every batch after it, then the end of the log made clean.
//!
//! A batch that cannot be read is one of two things. If a later frame says that it had been synced, it was answered for, and has been
//! damaged since: its bytes are set aside under `quarantine/`, it is named, and the feed has a gap there. Otherwise it is the torn end
//! of a write that was never answered: it and all after it are cut off, and set aside as well.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use squall_protocol::{Epoch, Time};

use super::log::Position;
use super::log::catalog::{Catalog, Contents, Segment};
use super::log::frame::{self, Header};
use super::log::segment::{self, SEGMENT_HEADER};
use super::snapshot;
use crate::core::records::Records;
use crate::core::state::{Limits, State};

/// What was found.
#[derive(Debug)]
pub struct Recovered {
    /// The state after the last whole batch.
    pub state: State,
    /// Where the log goes on.
    pub position: Position,
    /// The time of the last batch.
    pub time: Time,
    /// All segments with frames, and one for the next.
    pub catalog: Arc<Catalog>,
    /// The segment that is written to next.
    pub current: Arc<Segment>,
    /// A segment that is prepared, and has no frames.
    pub prepared: Option<Segment>,
    /// Damage, in words; each names what and where.
    pub damage: Vec<String>,
    /// Bytes that were cut off at the end.
    pub torn_bytes: u64,
    /// Batches replayed.
    pub batches: u64,
}

/// The directories of a store.
#[derive(Clone, Debug)]
pub struct Places {
    /// Segments.
    pub log: PathBuf,
    /// Snapshots.
    pub snapshots: PathBuf,
    /// What was set aside.
    pub quarantine: PathBuf,
}

impl Places {
    /// Those under `dir`.
    #[must_use]
    pub fn under(dir: &Path) -> Self {
        Self { log: dir.join("log"), snapshots: dir.join("snapshots"), quarantine: dir.join("quarantine") }
    }

    /// Makes them.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create(&self) -> io::Result<()> {
        for dir in [&self.log, &self.snapshots, &self.quarantine] {
            std::fs::create_dir_all(dir)?;
        }
        Ok(())
    }
}

/// What may be done to a store that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// It is ours: what is torn is cut off, what is damaged is set aside.
    Mend,
    /// It is only looked at.
    Look,
}

/// What was read.
struct Read {
    state: State,
    position: Position,
    time: Time,
    segments: BTreeMap<u64, Segment>,
    damage: Vec<String>,
    torn_bytes: u64,
    batches: u64,
}

struct Replay<'a> {
    access: Access,
    state: State,
    position: Position,
    time: Time,
    epoch: Epoch,
    places: &'a Places,
    damage: Vec<String>,
    torn_bytes: u64,
    batches: u64,
}

enum Step {
    Goes,
    /// Everything from this byte of the segment on is cut off, and all later segments.
    Cut(u64),
}

/// Reads a store.
///
/// # Errors
/// Those of the system, and `InvalidData` when batches are missing that no snapshot covers.
pub fn recover(places: &Places, epoch: Epoch, limits: Limits, first_bytes: u64) -> io::Result<Recovered> {
    let Read { state, position, time, segments, damage, torn_bytes, batches } =
        read(places, epoch, limits, Access::Mend)?;
    let catalog = Arc::new(Catalog::default());
    let mut blank = Vec::new();
    for segment in segments.into_values() {
        let used = segment.contents.lock().first_batch != 0;
        if used { catalog.push(Arc::new(segment)) } else { blank.push(segment) }
    }
    blank.retain(|segment| segment.size > SEGMENT_HEADER);
    let mut blank = blank.into_iter();
    let current = match catalog.all().last() {
        Some(last) => Arc::clone(last),
        None => {
            let first = match blank.next() {
                Some(first) => first,
                None => segment::create(&places.log, 1, first_bytes, epoch)?,
            };
            let first = Arc::new(first);
            catalog.push(Arc::clone(&first));
            first
        }
    };
    let prepared = blank.find(|segment| segment.number > current.number);
    Ok(Recovered { state, position, time, catalog, current, prepared, damage, torn_bytes, batches })
}

/// What [`look`] saw.
#[derive(Debug)]
pub struct Seen {
    /// The state after the last whole batch.
    pub state: State,
    /// Where the log would go on.
    pub position: Position,
    /// The time of the last batch.
    pub time: Time,
    /// All segments with frames.
    pub catalog: Catalog,
    /// Damage, in words.
    pub damage: Vec<String>,
    /// Bytes at the end that a start would cut off.
    pub torn_bytes: u64,
}

/// Reads a store as [`recover`] does, and leaves every byte of it as it is.
///
/// # Errors
/// As [`recover`].
pub fn look(places: &Places, epoch: Epoch, limits: Limits) -> io::Result<Seen> {
    let Read { state, position, time, segments, damage, torn_bytes, .. } = read(places, epoch, limits, Access::Look)?;
    let catalog = Catalog::default();
    for segment in segments.into_values() {
        let used = segment.contents.lock().first_batch != 0;
        if used {
            catalog.push(Arc::new(segment));
        }
    }
    Ok(Seen { state, position, time, catalog, damage, torn_bytes })
}

fn read(places: &Places, epoch: Epoch, limits: Limits, access: Access) -> io::Result<Read> {
    let mut damage = Vec::new();
    let snapshot = snapshot::read_latest(&places.snapshots, epoch, limits, &mut damage)?;
    let (state, position, time) = match snapshot {
        Some(snapshot) => (snapshot.state, snapshot.position, snapshot.time),
        None => (State::new(limits), Position { next_batch: 1, next_offset: 1 }, Time(0)),
    };
    let mut replay = Replay { access, state, position, time, epoch, places, damage, torn_bytes: 0, batches: 0 };

    let mut segments = BTreeMap::new();
    for number in segment::list(&places.log)? {
        segments.insert(number, segment::open(&places.log, number, epoch, access == Access::Mend)?);
    }
    let mut firsts: Vec<(u64, u64)> = Vec::new();
    for (&number, segment) in &segments {
        if segment.note_first(epoch)? {
            firsts.push((number, segment.contents.lock().first_batch));
        }
    }
    note_ages(&segments);
    // The last segment whose first batch is not after the snapshot holds its end; nothing before it has to be read.
    let start = firsts
        .iter()
        .rev()
        .find(|(_, first)| *first <= position.next_batch)
        .or(firsts.first())
        .map(|&(number, _)| number);
    if let Some(&(number, first)) = firsts.first()
        && first > position.next_batch
    {
        let what = format!(
            "the log in {} begins with batch {first} (segment {number}), but the last whole snapshot ends before batch {}",
            places.log.display(),
            position.next_batch
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut cut = false;
    let numbers: Vec<u64> = segments.keys().copied().collect();
    for (at, &number) in numbers.iter().enumerate() {
        if start.is_none_or(|start| number < start) {
            continue;
        }
        if cut {
            discard(&mut replay, &segments[&number], SEGMENT_HEADER)?;
            continue;
        }
        let later: Vec<&Segment> = numbers[at + 1..].iter().filter_map(|number| segments.get(number)).collect();
        if let Step::Cut(from) = replay.segment(&segments[&number], &later)? {
            discard(&mut replay, &segments[&number], from)?;
            cut = true;
        }
    }
    let Replay { state, position, time, damage, torn_bytes, batches, .. } = replay;
    Ok(Read { state, position, time, segments, damage, torn_bytes, batches })
}

/// What is known of segments that are not read through: they end where the next one begins.
fn note_ages(segments: &BTreeMap<u64, Segment>) {
    let mut next: Option<(u64, Time)> = None;
    for segment in segments.values().rev() {
        let mut contents = segment.contents.lock();
        if contents.first_batch == 0 {
            continue;
        }
        let first = (contents.first_batch, contents.last_time);
        if let Some((batch, time)) = next {
            contents.last_batch = batch.saturating_sub(1);
            contents.last_time = time;
        }
        next = Some(first);
    }
}

fn discard(replay: &mut Replay<'_>, segment: &Segment, from: u64) -> io::Result<()> {
    let bytes = segment.read_all()?;
    let rest = &bytes[from as usize..];
    let used = rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if used > 0 {
        replay.torn_bytes += used as u64;
    }
    if used > 0 && replay.access == Access::Mend {
        set_aside(replay.places, &format!("torn-segment-{:012}-at-{from}", segment.number), &rest[..used])?;
        segment::blank(segment, from, from + used as u64)?;
    }
    let mut contents = segment.contents.lock();
    if from == SEGMENT_HEADER {
        *contents = Contents::empty();
    } else {
        contents.end = from;
    }
    Ok(())
}

fn set_aside(places: &Places, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = places.quarantine.join(format!("{name}.bin"));
    std::fs::write(&path, bytes)?;
    std::fs::File::open(&path)?.sync_all()?;
    segment::sync_dir(&places.quarantine)
}

impl Replay<'_> {
    /// Replays one segment.
    fn segment(&mut self, segment: &Segment, later: &[&Segment]) -> io::Result<Step> {
        *segment.contents.lock() = Contents::empty();
        let bytes = segment.read_all()?;
        let mut at = SEGMENT_HEADER as usize;
        loop {
            if at >= bytes.len() {
                return Ok(Step::Goes);
            }
            match frame::read(&bytes[at..], self.epoch) {
                Ok(header) => {
                    self.frame(segment, at, &header, &bytes[at..at + header.len]);
                    at += header.len;
                }
                Err(frame::NotAFrame::Format(version)) => {
                    let what = format!(
                        "{}: batch in format {version}; this version reads {}",
                        segment.path.display(),
                        crate::core::records::FORMAT
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                Err(_) if frame::is_blank(&bytes[at..]) => {
                    // The end of what was written here; when the next segment goes on with the next batch, all is well.
                    return Ok(if self.is_next_in(later) || self.answered_later(&bytes, at, later)? {
                        Step::Goes
                    } else {
                        Step::Cut(at as u64)
                    });
                }
                Err(_) => match self.damaged(segment, &bytes, at, later)? {
                    Some(next) => at = next,
                    None => return Ok(Step::Cut(at as u64)),
                },
            }
        }
    }

    fn frame(&mut self, segment: &Segment, at: usize, header: &Header, bytes: &[u8]) {
        segment.note(at as u64, header);
        if header.batch < self.position.next_batch {
            return;
        }
        if header.batch > self.position.next_batch {
            let what = format!(
                "{}: batches {} to {} are missing, events {} to {}",
                segment.path.display(),
                self.position.next_batch,
                header.batch - 1,
                self.position.next_offset,
                header.first_offset - 1
            );
            tracing::error!("{what}");
            self.damage.push(what);
        }
        for read in Records::new(header.body(bytes)) {
            match read {
                Ok((record, _)) => {
                    self.state.apply(&record, header.time);
                }
                Err(error) => {
                    let what = format!("{}: batch {}: {error}", segment.path.display(), header.batch);
                    tracing::error!("{what}");
                    self.damage.push(what);
                    break;
                }
            }
        }
        self.batches += 1;
        self.time = self.time.max(header.time);
        self.position =
            Position { next_batch: header.batch + 1, next_offset: header.first_offset + u64::from(header.events) };
    }

    /// A frame that cannot be read: where the next whole one lies, when the damaged one had been answered for.
    fn damaged(&mut self, segment: &Segment, bytes: &[u8], at: usize, later: &[&Segment]) -> io::Result<Option<usize>> {
        if !self.answered_later(bytes, at, later)? {
            return Ok(None);
        }
        let next = frame::find_next(bytes, at, self.epoch).map(|(next, _)| next);
        let end = next.unwrap_or(bytes.len());
        let used = bytes[at..end].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let name = format!("damaged-segment-{:012}-at-{at}", segment.number);
        let mut what =
            format!("{}: batch {} at byte {at} is damaged", segment.path.display(), self.position.next_batch);
        if self.access == Access::Mend {
            set_aside(self.places, &name, &bytes[at..at + used])?;
            what.push_str(&format!("; {used} bytes were set aside as quarantine/{name}.bin"));
        }
        tracing::error!("{what}");
        self.damage.push(what);
        Ok(Some(end))
    }

    /// Whether a whole frame after this place says that the batch expected here was on disk.
    fn answered_later(&self, bytes: &[u8], at: usize, later: &[&Segment]) -> io::Result<bool> {
        let expected = self.position.next_batch;
        let says = |bytes: &[u8], mut at: usize| {
            while let Some((found, header)) = frame::find_next(bytes, at, self.epoch) {
                if header.batch > expected && header.synced >= expected {
                    return true;
                }
                at = found + header.len;
            }
            false
        };
        if says(bytes, at) {
            return Ok(true);
        }
        for segment in later {
            if says(&segment.read_all()?, SEGMENT_HEADER as usize) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_next_in(&self, later: &[&Segment]) -> bool {
        let Some(next) = later.first() else { return true };
        let contents = next.contents.lock();
        contents.first_batch == 0 || contents.first_batch == self.position.next_batch
    }
}
