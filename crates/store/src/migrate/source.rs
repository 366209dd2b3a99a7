//! The side that is left: a stopped embedded store, read and made ready as a start would, in memory alone.

use std::path::Path;
use std::sync::Arc;

use squall_protocol::{Epoch, FeedRecord, SessionState, Time};

use super::{Counts, FeedCounts, LaneCounts};
use crate::config::Options;
use crate::core::records::{FRAME_HEADER, Records};
use crate::core::state::Phase;
use crate::core::{Core, Stage, limits};
use crate::embedded::OpenError;
use crate::embedded::events::{self, NameTable, Place};
use crate::embedded::feed::Feed;
use crate::embedded::recovery::Seen;
use crate::embedded::stopped::{Stopped, stopped};

/// Events read at a time.
const PAGE: usize = 4_096;

/// What was read, and nobody else may open meanwhile.
pub(super) struct Source {
    pub(super) stopped: Stopped,
    seen: Seen,
    /// What a start would tell of damage.
    pub(super) found: Vec<String>,
}

impl Source {
    pub(super) fn open(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        let stopped = stopped(dir)?;
        let mut seen = stopped.look(limits(options))?;
        let mut found = std::mem::take(&mut seen.damage);
        if seen.torn_bytes > 0 {
            found.push(format!(
                "{} bytes at the end of the log were never answered for, and stay behind",
                seen.torn_bytes
            ));
        }
        if seen.state.orphans > 0 {
            found.push(format!("{} records are about something that is not there", seen.state.orphans));
        }
        Ok(Self { stopped, seen, found })
    }

    /// What a start at `now` makes of it: leases of connections return, lanes of the configuration are there.
    pub(super) fn start(self, options: &Options, now: Time) -> Started {
        let Self { stopped, seen, .. } = self;
        let head = seen.position.next_offset - 1;
        let now = now.max(seen.time);
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let mut core = Core::new(seen.state, options.clone(), now, seed);
        let names =
            NameTable { lanes: core.state().lanes.all().to_vec(), tenants: core.state().tenants.all().to_vec() };
        let mut last = Vec::new();
        let (bytes, frames) = core.journal().finish();
        for frame in frames {
            for (record, label) in Records::new(&bytes[frame.start + FRAME_HEADER..frame.end]).flatten() {
                if record.is_event() {
                    let offset = head + 1 + last.len() as u64;
                    let place = Place { epoch: stopped.epoch, offset, time: now };
                    last.extend(events::render(&record, label.as_ref(), &names, place));
                }
            }
        }
        core.journal().clear();
        let feed = Arc::new(Feed::new(stopped.epoch, Arc::new(seen.catalog), head, names));
        Started { stopped, core, feed, last }
    }
}

/// A store that would go on from here.
pub(super) struct Started {
    pub(super) stopped: Stopped,
    pub(super) core: Core,
    feed: Arc<Feed>,
    /// Events that the start itself made, after all others.
    last: Vec<FeedRecord>,
}

impl Started {
    pub(super) fn epoch(&self) -> Epoch {
        self.stopped.epoch
    }

    /// The last event's offset.
    pub(super) fn head(&self) -> u64 {
        self.feed.head() + self.last.len() as u64
    }

    /// How many leases of connections ended with the start.
    pub(super) fn returned(&self) -> usize {
        self.last.iter().filter(|event| event.event_type != "dead_letter_dropped").count()
    }

    /// All events, in order.
    pub(super) fn events(&self) -> Events<'_> {
        Events { started: self, after: 0, ended: false }
    }

    /// What there is at `now`.
    pub(super) async fn count(&self, now: Time) -> std::io::Result<Counts> {
        let mut counts = count_state(&self.core, now);
        let mut events = self.events();
        let mut feed = FeedCounts { next: self.head() + 1, ..FeedCounts::default() };
        while let Some(page) = events.next().await? {
            feed.events += page.len() as u64;
            if feed.first == 0 {
                feed.first = page.first().map_or(0, |event| event.offset);
            }
            feed.last = page.last().map_or(feed.last, |event| event.offset);
        }
        counts.feed = feed;
        Ok(counts)
    }

    /// How many idempotency keys hold at `now`.
    pub(super) fn keys_at(&self, now: Time) -> u64 {
        keys_at(&self.core, now)
    }
}

fn keys_at(core: &Core, now: Time) -> u64 {
    core.state().idempotency_keys().filter(|(.., until)| *until > now).count() as u64
}

/// What there is besides the feed.
pub(super) fn count_state(core: &Core, now: Time) -> Counts {
    let state = core.state();
    let mut counts = Counts { idempotency_keys: keys_at(core, now), ..Counts::default() };
    for (slot, task) in state.tasks() {
        if matches!(task.phase, Phase::Done { .. } | Phase::Cancelled { .. }) {
            counts.finished += 1;
            continue;
        }
        let lane: &mut LaneCounts = counts.lanes.entry(task.body.lane.to_string()).or_default();
        match (task.phase, core.stage(slot)) {
            (Phase::Dead { .. }, _) => lane.dead += 1,
            (Phase::Leased { .. }, _) => lane.leased += 1,
            (_, Stage::Delayed) => lane.delayed += 1,
            _ => lane.ready[task.body.priority as usize] += 1,
        }
    }
    for (_, held) in state.sessions_before(u64::MAX) {
        if held.state == SessionState::Active {
            counts.sessions_active += 1;
        } else {
            counts.sessions_ended += 1;
        }
    }
    counts
}

/// Reads events, page by page, beside the runtime's threads.
pub(super) struct Events<'a> {
    started: &'a Started,
    after: u64,
    ended: bool,
}

impl Events<'_> {
    /// The next ones; an empty page is not the end.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Vec<FeedRecord>>> {
        if self.ended {
            return Ok(None);
        }
        let (feed, after) = (Arc::clone(&self.started.feed), self.after);
        if after >= feed.head() {
            self.ended = true;
            return Ok(Some(self.started.last.clone()));
        }
        let read = tokio::task::spawn_blocking(move || feed.read(after, PAGE));
        let slice = read.await.map_err(std::io::Error::other)??;
        let told = slice.gap.map_or(0, |gap| gap.to);
        let next = slice.records.last().map_or(told, |event| event.offset.max(told)).max(after);
        // Nothing more can be read of what is there: the rest is a gap.
        self.after = if next == after { self.started.feed.head() } else { next };
        Ok(Some(slice.records))
    }
}
