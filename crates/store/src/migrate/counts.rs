//! What a store holds, in numbers that mean the same on both sides of a move.

use std::collections::BTreeMap;

use squall_protocol::Priority;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By lane; those that hold nothing are left out.
    pub lanes: BTreeMap<String, LaneCounts>,
    /// Finished tasks that are remembered.
    pub finished: u64,
    /// Active sessions.
    pub sessions_active: u64,
    /// Ended sessions that are remembered.
    pub sessions_ended: u64,
    /// Idempotency keys that hold.
    pub idempotency_keys: u64,
    /// The feed.
    pub feed: FeedCounts,
}

/// One lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Ready tasks by priority: high, normal, low. Those behind their key are among them.
    pub ready: [u64; 3],
    /// Tasks whose time has not come.
    pub delayed: u64,
    /// Leased tasks.
    pub leased: u64,
    /// Dead letters.
    pub dead: u64,
}

/// The feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCounts {
    /// Events that can be read.
    pub events: u64,
    /// The first one's offset; 0: there is none.
    pub first: u64,
    /// The last one's.
    pub last: u64,
    /// The offset that the next event gets.
    pub next: u64,
}

/// One line of the comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was counted.
    pub what: String,
    /// In the data directory.
    pub before: u64,
    /// In Redis; `None`: it was not counted.
    pub after: Option<u64>,
}

impl Counts {
    fn numbers(&self) -> BTreeMap<(usize, String), u64> {
        let mut numbers = BTreeMap::new();
        for (name, lane) in &self.lanes {
            for (level, priority) in Priority::ALL.into_iter().enumerate() {
                numbers.insert((0, format!("lane {name}: ready, {}", priority.as_str())), lane.ready[level]);
            }
            numbers.insert((0, format!("lane {name}: delayed")), lane.delayed);
            numbers.insert((0, format!("lane {name}: leased")), lane.leased);
            numbers.insert((0, format!("lane {name}: dead letters")), lane.dead);
        }
        let rest = [
            ("finished tasks", self.finished),
            ("sessions, active", self.sessions_active),
            ("sessions, ended", self.sessions_ended),
            ("idempotency keys", self.idempotency_keys),
            ("feed: events", self.feed.events),
            ("feed: first offset", self.feed.first),
            ("feed: last offset", self.feed.last),
            ("feed: next offset", self.feed.next),
        ];
        for (at, (what, number)) in rest.into_iter().enumerate() {
            numbers.insert((1 + at, what.to_owned()), number);
        }
        numbers
    }

    /// Line by line beside what was counted after the move. Lines that are zero on both sides are left out for lanes.
    #[must_use]
    pub fn beside(&self, after: Option<&Self>) -> Vec<Row> {
        let (before, after) = (self.numbers(), after.map(Self::numbers));
        let mut keys: Vec<&(usize, String)> = before.keys().chain(after.iter().flat_map(BTreeMap::keys)).collect();
        keys.sort_unstable();
        keys.dedup();
        let row = |key: &(usize, String)| Row {
            what: key.1.clone(),
            before: before.get(key).copied().unwrap_or(0),
            after: after.as_ref().map(|after| after.get(key).copied().unwrap_or(0)),
        };
        let all = keys.into_iter().map(|key| (key.0, row(key)));
        all.filter(|(group, row)| *group > 0 || row.before > 0 || row.after.unwrap_or(0) > 0)
            .map(|(_, row)| row)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_whatever_is_on_either_side() {
        let lane = LaneCounts { ready: [0, 2, 0], ..LaneCounts::default() };
        let before = Counts { lanes: [("a".to_owned(), lane)].into(), finished: 3, ..Counts::default() };
        let after = Counts { finished: 2, ..Counts::default() };
        let rows = before.beside(Some(&after));
        let row = |what: &str| rows.iter().find(|row| row.what == what).map(|row| (row.before, row.after));
        assert_eq!(row("lane a: ready, normal"), Some((2, Some(0))));
        assert_eq!(row("finished tasks"), Some((3, Some(2))));
        assert_eq!(row("lane a: ready, high"), None, "nothing to tell");
        assert_eq!(before.beside(None)[0].after, None);
    }
}
