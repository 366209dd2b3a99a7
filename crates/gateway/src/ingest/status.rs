//! How a source goes: what it is doing, and what was counted. Health and metrics look at it whenever they like.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use squall_protocol::stats::IngestStats;
use squall_store::ingest::Kind;

/// See the module.
#[derive(Debug)]
pub(crate) struct Status {
    pub(super) kind: Kind,
    pub(super) name: String,
    plain: Mutex<Plain>,
}

#[derive(Debug)]
struct Plain {
    doing: Doing,
    items: BTreeMap<&'static str, u64>,
    retries: BTreeMap<&'static str, u64>,
}

/// What a source is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nobody has looked at it yet.
    Starts,
    /// It is read.
    Read,
    /// Another gateway reads it.
    ReadElsewhere,
    /// What was read cannot be stored now, and stays where it is.
    Waits {
        /// Whether that is a matter of course: a full lane is, a store that does not work is not.
        well: bool,
        why: String,
    },
    /// Its Redis is away, or refuses.
    Away(String),
    /// The gateway drains.
    Stopped,
}

impl Status {
    pub(super) fn new(kind: Kind, name: &str) -> Self {
        let plain = Plain { doing: Doing::Starts, items: BTreeMap::new(), retries: BTreeMap::new() };
        Self { kind, name: name.to_owned(), plain: Mutex::new(plain) }
    }

    /// Notes what it does now, and logs when that is another thing than before.
    pub(super) fn note(&self, doing: Doing) {
        let mut plain = self.plain.lock();
        let (kind, source) = (self.kind.as_str(), self.name.as_str());
        match (&plain.doing, &doing) {
            (before, now) if before == now => {}
            (Doing::Away(_), Doing::Away(_)) | (Doing::Waits { .. }, Doing::Waits { .. }) => {}
            (_, Doing::Away(why)) => tracing::warn!(kind, source, "cannot be read: {why}"),
            (_, Doing::Waits { why, .. }) => tracing::warn!(kind, source, "waits, because {why}"),
            (Doing::Away(_) | Doing::Waits { .. }, _) => tracing::info!(kind, source, "goes on"),
            (_, Doing::ReadElsewhere) => tracing::info!(kind, source, "is read by another gateway"),
            (_, Doing::Read) => tracing::info!(kind, source, "is read"),
            (_, Doing::Starts | Doing::Stopped) => {}
        }
        plain.doing = doing;
    }

    /// An item left its source.
    pub(super) fn left(&self, outcome: &'static str) {
        *self.plain.lock().items.entry(outcome).or_default() += 1;
    }

    /// It has to be tried again.
    pub(super) fn retried(&self, reason: &'static str) {
        *self.plain.lock().retries.entry(reason).or_default() += 1;
    }

    /// Whether nothing is wrong.
    pub(super) fn is_well(&self) -> bool {
        !matches!(self.plain.lock().doing, Doing::Away(_) | Doing::Waits { well: false, .. })
    }

    /// In words, with its name.
    pub(super) fn told(&self) -> String {
        match &self.plain.lock().doing {
            // It names the source.
            Doing::Away(why) => why.clone(),
            doing => format!("{} {:?}: {}", self.kind.as_str(), self.name, words(doing)),
        }
    }

    /// The figures.
    pub(crate) fn stats(&self) -> IngestStats {
        let plain = self.plain.lock();
        let owned = |counts: &BTreeMap<&'static str, u64>| counts.iter().map(|(w, n)| ((*w).to_owned(), *n)).collect();
        IngestStats {
            source: self.name.clone(),
            up: !matches!(plain.doing, Doing::Starts | Doing::Away(_) | Doing::Stopped),
            state: words(&plain.doing),
            items: owned(&plain.items),
            retries: owned(&plain.retries),
        }
    }
}

fn words(doing: &Doing) -> String {
    match doing {
        Doing::Starts => "not read yet".to_owned(),
        Doing::Read => "read".to_owned(),
        Doing::ReadElsewhere => "read by another gateway".to_owned(),
        Doing::Waits { why, .. } => format!("waits, because {why}"),
        Doing::Away(why) => why.clone(),
        Doing::Stopped => "not read any more: the gateway drains".to_owned(),
    }
}
