//! Whether every subscriber is told the same event at the same offset, whichever gateway it follows. All cores write into one
//! table without locks; what is remembered of an event is a hash.
//!
//! Bounded: the table holds the last [`SLOTS`] offsets. A subscriber that is further behind the others than that finds its
//! offset's place taken, and its event is counted as not compared.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use squall_report::record::{FeedFinding, FeedFindingClass};

/// Offsets that are remembered: 2 MB.
const SLOTS: u64 = 1 << 18;
/// Bits of a slot that hold the hash; those above say which lap of the table it belongs to, and 0 is none.
const HASH_BITS: u32 = 40;
/// Findings of each class that are kept; more are counted.
const MOST_FINDINGS: usize = 20;

/// All subscribers together.
#[derive(Debug)]
pub(crate) struct Comparison {
    slots: Box<[AtomicU64]>,
    hasher: hashbrown::DefaultHashBuilder,
    not_compared: AtomicU64,
    /// The feed began anew under the same offsets, and said so.
    over: AtomicBool,
    findings: Mutex<Findings>,
}

/// What was found, as far as it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) listed: Vec<FeedFinding>,
    pub(crate) omitted: u64,
}

impl Default for Comparison {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: hashbrown::DefaultHashBuilder::default(),
            not_compared: AtomicU64::new(0),
            over: AtomicBool::new(false),
            findings: Mutex::default(),
        }
    }
}

impl Comparison {
    /// A subscriber was told this at this offset. False when somebody was told something else there.
    pub(crate) fn agrees(&self, offset: u64, text: &str) -> bool {
        if self.over.load(Ordering::Relaxed) {
            return true;
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text.as_bytes());
        let lap = offset / SLOTS + 1;
        let own = lap << HASH_BITS | hasher.finish() >> (u64::BITS - HASH_BITS);
        let slot = &self.slots[(offset % SLOTS) as usize];
        let mut held = slot.load(Ordering::Relaxed);
        loop {
            if held == own {
                return true;
            }
            match (held >> HASH_BITS).cmp(&lap) {
                std::cmp::Ordering::Equal => return false,
                std::cmp::Ordering::Greater => {
                    self.not_compared.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                std::cmp::Ordering::Less => {}
            }
            match slot.compare_exchange_weak(held, own, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => held = now,
            }
        }
    }

    /// From now on an offset may mean another event than before; whether that is a fault is for others to say.
    pub(crate) fn give_up(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Keeps a finding, if there is room.
    pub(crate) fn found(&self, class: FeedFindingClass, offset: u64, detail: impl FnOnce() -> String) {
        let mut findings = self.findings.lock();
        if findings.listed.iter().filter(|it| it.class == class).count() < MOST_FINDINGS {
            findings.listed.push(FeedFinding { class, offset, detail: detail() });
        } else {
            findings.omitted += 1;
        }
    }

    /// The findings in the order of the feed.
    pub(crate) fn findings(&self) -> Findings {
        let mut findings = self.findings.lock().clone();
        findings.listed.sort_by_key(|it| (it.offset, it.class));
        findings
    }

    pub(crate) fn not_compared(&self) -> u64 {
        self.not_compared.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_event_for_everybody_and_not_another_one() {
        let comparison = Comparison::default();
        assert!(comparison.agrees(7, "seven") && comparison.agrees(8, "eight"), "nobody was there before");
        assert!(comparison.agrees(7, "seven"));
        assert!(!comparison.agrees(7, "eight"));
        assert!(comparison.agrees(7, "seven"), "the first one stays");
        // The table is full once, and the place is taken by a later offset.
        assert!(comparison.agrees(7 + SLOTS, "later"));
        assert_eq!(comparison.not_compared(), 0);
        assert!(comparison.agrees(7, "anything"), "too far behind to be compared");
        assert_eq!(comparison.not_compared(), 1);
        assert!(!comparison.agrees(7 + SLOTS, "other"));
        comparison.give_up();
        assert!(comparison.agrees(7 + SLOTS, "other"));
    }

    #[test]
    fn findings_are_bounded_by_class_and_in_order() {
        let comparison = Comparison::default();
        for offset in (0..30).rev() {
            comparison.found(FeedFindingClass::Gap, offset, || format!("at {offset}"));
        }
        comparison.found(FeedFindingClass::Repeat, 3, || "again".to_owned());
        let findings = comparison.findings();
        assert_eq!((findings.listed.len(), findings.omitted), (MOST_FINDINGS + 1, 10));
        assert!(findings.listed.is_sorted_by_key(|it| it.offset));
        assert!(findings.listed.iter().any(|it| it.class == FeedFindingClass::Repeat));
    }
}
