//! Publishing, as `tasks` and `sessions` do it: which task comes next, what goes into the ledger before and after, and what
//! is measured.

use serde::Serialize;
use squall_client::Error;
use squall_protocol::{Priority, SessionId, TaskId, WireError};

use super::Place;
use crate::ledger::Label;
use crate::metrics::ErrorKind;
use crate::scenario::{ScenarioError, Section};

/// What the published tasks are like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mix {
    /// Chosen from at random.
    pub lanes: Vec<String>,
    /// Chosen from at random.
    pub kinds: Vec<String>,
    /// Chosen from at random.
    pub priorities: Vec<Priority>,
    /// Size of the payload.
    pub payload_bytes: u64,
    /// Share of the tasks that carry an ordering key.
    pub keyed: f64,
    /// Ordering keys of each VU; a key belongs to one lane.
    pub keys: u64,
}

impl Mix {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let texts = |section: &mut Section<'_>, key, fallback: &[&str]| {
            let fallback = || fallback.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let Some(found) = section.texts(key)? else { return Ok(fallback()) };
            match found.iter().find(|text| text.value.is_empty() || text.value.len() > 128) {
                Some(bad) => Err(section.error_at(bad.at, format!("`{key}` must have 1 to 128 bytes each"))),
                None if found.is_empty() => Err(section.error_at(section.place(key), format!("`{key}` is empty"))),
                None => Ok(found.into_iter().map(|text| text.value).collect()),
            }
        };
        let lanes = texts(section, "lanes", &["gpt4", "claude_web", "crude"])?;
        if lanes.len() > 64 {
            return Err(section.error_at(section.place("lanes"), "`lanes` may name at most 64"));
        }
        let kinds = texts(section, "kinds", &["build", "test", "health"])?;
        let priorities = match section.texts("priorities")? {
            None => Priority::ALL.to_vec(),
            Some(words) if words.is_empty() => {
                return Err(section.error_at(section.place("priorities"), "`priorities` is empty"));
            }
            Some(words) => {
                let choices = Priority::ALL.map(|priority| (priority.as_str(), priority));
                words.iter().map(|word| section.choice("priority", word, &choices)).collect::<Result<_, _>>()?
            }
        };
        Ok(Self {
            lanes,
            kinds,
            priorities,
            payload_bytes: section.whole("payload_bytes", 0, 1 << 20)?.unwrap_or(256),
            keyed: section.share("keyed")?.unwrap_or(0.0),
            keys: section.whole("keys", 1, 10_000)?.unwrap_or(4),
        })
    }
}

/// A task that was taken down in the ledger and is about to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft {
    /// Its number in the ledger.
    pub(super) n: u32,
    lane: u8,
    priority: Priority,
}

/// Makes tasks and follows them to their answer.
pub(super) struct Publisher {
    place: Place,
    mix: Mix,
    /// Index of each of the mix's lanes among the run's lanes.
    lanes: Vec<u8>,
    /// Number of this VU's first key in the run.
    first_key: u32,
}

impl Publisher {
    pub(super) fn new(mix: Mix, place: Place) -> Self {
        let lanes = mix.lanes.iter().map(|lane| place.core.lane_index(lane)).collect();
        let first_key = place.core.take_keys(mix.keys as u32);
        Self { place, mix, lanes, first_key }
    }

    /// Takes the next task down in the ledger and appends it as JSON. `None` when the ledger is full.
    pub(super) fn draft(&self, intended_us: u64, session: Option<&SessionId>, out: &mut Vec<u8>) -> Option<Draft> {
        use std::io::Write;
        let core = &self.place.core;
        let (lane, kind, priority, key) = {
            let mut rng = core.rng.borrow_mut();
            let key = (rng.f64() < self.mix.keyed).then(|| rng.u64(..self.mix.keys) as u32);
            // A key stays with one lane, because order is promised within a lane.
            let lane = key.map_or_else(|| rng.usize(..self.lanes.len()), |key| key as usize % self.lanes.len());
            let kind = rng.usize(..self.mix.kinds.len());
            (lane, kind, self.mix.priorities[rng.usize(..self.mix.priorities.len())], key)
        };
        let key_number = key.map_or(0, |key| self.first_key + key);
        let n = core.book.borrow_mut().attempt(self.lanes[lane], key_number)?;
        let draft = Draft { n, lane: self.lanes[lane], priority };
        core.count(core.ids.tasks_published[usize::from(draft.lane)][priority as usize], 1);

        // By hand, because this is the storm's inner loop. Lanes and kinds are escaped by `quoted`; the rest needs none.
        // Writing to a Vec does not fail.
        out.extend_from_slice(b"{\"lane\":");
        quoted(&self.mix.lanes[lane], out);
        out.extend_from_slice(b",\"kind\":");
        quoted(&self.mix.kinds[kind], out);
        let _ = write!(out, ",\"priority\":\"{}\"", priority.as_str());
        if key.is_some() {
            let _ = write!(out, ",\"key\":\"{}\"", key_name(&core.run.id, key_number));
        }
        if let Some(session) = session {
            let _ = write!(out, ",\"session\":\"{session}\"");
        }
        out.extend_from_slice(b",\"payload\":");
        Label { run: &core.run.id, n, t: intended_us }.write(self.mix.payload_bytes as usize, out);
        out.push(b'}');
        Some(draft)
    }

    /// The gateway said that it is on disk.
    pub(super) fn acknowledged(&self, draft: Draft, id: TaskId, intended_us: u64, sent_us: u64) {
        let core = &self.place.core;
        core.book.borrow_mut().acknowledged(draft.n, id);
        let (lane, priority) = (usize::from(draft.lane), draft.priority as usize);
        core.count(core.ids.tasks_acknowledged[lane][priority], 1);
        core.since(core.ids.publish_latency[lane][priority], intended_us);
        core.worked(sent_us);
    }

    /// The gateway refused this one.
    pub(super) fn refused(&self, draft: Draft, error: &WireError) {
        let refused = Error::Refused { status: 0, error: error.clone() };
        self.failed(draft, &refused);
        self.place.core.error(ErrorKind::of(&refused));
    }

    /// The request or connection failed as a whole. The error itself is counted by the caller, once.
    pub(super) fn failed(&self, draft: Draft, error: &Error) {
        let core = &self.place.core;
        let (lane, priority) = (usize::from(draft.lane), draft.priority as usize);
        if matches!(error, Error::Connect { .. }) {
            core.book.borrow_mut().not_sent(draft.n);
            core.count(core.ids.tasks_refused[lane][priority], 1);
        } else if error.outcome_unknown() {
            // In the ledger it is unknown already.
            core.count(core.ids.tasks_unknown[lane][priority], 1);
        } else {
            core.book.borrow_mut().refused(draft.n);
            core.count(core.ids.tasks_refused[lane][priority], 1);
        }
    }
}

/// What a key is called on the wire, and in findings.
pub(crate) fn key_name(run: &str, key: u32) -> String {
    format!("{run}-{key}")
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    // A string always becomes JSON, and writing to a Vec does not fail.
    let _ = serde_json::to_writer(out, text);
}
