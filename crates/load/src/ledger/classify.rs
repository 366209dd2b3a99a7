//! What the ledger means. Pure: books and the gateway's word go in, an account comes out.
//!
//! The classes are those of Jepsen's `total-queue` checker (lost, recovered, duplicated, unexpected), with two
//! differences that make it stricter: a task that was delivered, failed and never came back is lost as well, and order
//! within a key is checked. The gateway is asked only about tasks that the storm itself cannot tell, and its word may
//! explain (pending, dead letter), never excuse: what it says is done although no worker ever saw it, is lost.

use std::collections::BTreeMap;

use squall_protocol::{DeadReason, TaskId};

use super::{Attempt, Delivered, End, Ledger, Outcome};

/// An acknowledgement by a worker that the gateway may not have read, because the connection broke so soon after it. A
/// later loss explains nothing: by then a gateway that works has read it.
const ACK_IN_FLIGHT_US: u64 = 5_000_000;

/// What the gateway says of a task that the storm cannot tell by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It could not be asked.
    Unasked,
    /// Ready, delayed or leased.
    Pending,
    /// Among the dead letters.
    Dead(DeadReason),
    /// Acknowledged by a worker.
    Done,
    /// Withdrawn.
    Cancelled,
    /// It knows no such task.
    NotFound,
}

/// What can be wrong with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Lost,
    Pending,
    DuplicatedUnexplained,
    Reordered,
    Unexpected,
}

/// One task that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) class: Class,
    /// Its number; absent for what is not of this run.
    pub(crate) n: Option<u32>,
    /// Its id, as far as it is known.
    pub(crate) id: Option<TaskId>,
    pub(crate) key: u32,
    pub(crate) lane: Option<u8>,
    pub(crate) detail: String,
}

/// Findings that are kept of each class; more are counted.
const MOST_FINDINGS: usize = 20;

/// The result. Counts are tasks, except `deliveries` and `duplicated_*`, which are deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) attempted: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) not_sent: u64,
    pub(crate) unknown: u64,
    pub(crate) deliveries: u64,
    pub(crate) delivered: u64,
    pub(crate) done: u64,
    pub(crate) lost: u64,
    pub(crate) pending: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) recovered: u64,
    pub(crate) duplicated_explained: u64,
    pub(crate) duplicated_unexplained: u64,
    pub(crate) reordered: u64,
    pub(crate) unexpected: u64,
    pub(crate) findings: Vec<Finding>,
}

impl Account {
    fn find(&mut self, finding: Finding) {
        let same = self.findings.iter().filter(|other| other.class == finding.class).count();
        if same < MOST_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// Acknowledged tasks that no worker has finished: only the gateway can say where they are.
pub(crate) fn open_tasks(ledger: &Ledger) -> Vec<(u32, TaskId)> {
    let open = |(n, attempt, deliveries): (u32, &Attempt, &[Delivered])| {
        let open = attempt.outcome == Outcome::Acknowledged && !finished(deliveries);
        open.then_some((n, attempt.id))
    };
    ledger.tasks().filter_map(open).collect()
}

fn finished(deliveries: &[Delivered]) -> bool {
    deliveries.iter().any(|delivery| delivery.end == End::Acked)
}

/// Accounts for every task. `fate` is asked for [`open_tasks`] only.
pub(crate) fn classify(ledger: &Ledger, fate: impl Fn(u32) -> Fate) -> Account {
    let mut account = Account { deliveries: ledger.deliveries.len() as u64, ..Account::default() };
    let mut keyed: Vec<(u32, u32)> = Vec::new();
    for (n, attempt, deliveries) in ledger.tasks() {
        account.attempted += 1;
        let finding = |class, detail: String| Finding {
            class,
            n: Some(n),
            id: (attempt.outcome == Outcome::Acknowledged).then_some(attempt.id),
            key: attempt.key,
            lane: Some(attempt.lane),
            detail,
        };
        match attempt.outcome {
            Outcome::Acknowledged => account.acknowledged += 1,
            Outcome::Refused => account.refused += 1,
            Outcome::NotSent => account.not_sent += 1,
            Outcome::Unknown => account.unknown += 1,
        }
        account.delivered += u64::from(!deliveries.is_empty());
        if attempt.outcome == Outcome::Unknown && !deliveries.is_empty() {
            account.recovered += 1;
        }
        if matches!(attempt.outcome, Outcome::Refused | Outcome::NotSent) && !deliveries.is_empty() {
            account.unexpected += 1;
            let what = if attempt.outcome == Outcome::Refused { "refused" } else { "never sent" };
            account.find(finding(Class::Unexpected, format!("{what}, and delivered all the same")));
        }
        for pair in deliveries.windows(2) {
            match explain(ledger, &pair[0], &pair[1]) {
                Ok(()) => account.duplicated_explained += 1,
                Err(why) => {
                    account.duplicated_unexplained += 1;
                    account.find(finding(Class::DuplicatedUnexplained, why));
                }
            }
        }
        if finished(deliveries) {
            account.done += 1;
        }
        if attempt.outcome != Outcome::Acknowledged {
            continue;
        }
        if attempt.key != 0 && !deliveries.is_empty() {
            keyed.push((attempt.key, n));
        }
        if !finished(deliveries) {
            let seen = match deliveries {
                [] => "acknowledged, and no worker ever saw it".to_owned(),
                [.., last] => format!("delivered {} times, at last {}", deliveries.len(), ended(last.end)),
            };
            match judge(fate(n), deliveries) {
                Verdict::Done => account.done += 1,
                Verdict::Dead => account.dead_lettered += 1,
                Verdict::Pending(says) => {
                    account.pending += 1;
                    account.find(finding(Class::Pending, format!("{seen}; {says}")));
                }
                Verdict::Lost(says) => {
                    account.lost += 1;
                    account.find(finding(Class::Lost, format!("{seen}; {says}")));
                }
            }
        }
    }
    check_order(ledger, keyed, &mut account);
    check_unattempted(ledger, &mut account);
    account
}

enum Verdict {
    Done,
    Dead,
    Pending(&'static str),
    Lost(&'static str),
}

/// The gateway's word about an acknowledged task that none of our workers finished.
fn judge(fate: Fate, deliveries: &[Delivered]) -> Verdict {
    match fate {
        Fate::Unasked => Verdict::Pending("the gateway could not be asked"),
        Fate::Pending => Verdict::Pending("it still waits at the gateway"),
        Fate::Done if deliveries.is_empty() => Verdict::Lost("the gateway says that it is done"),
        Fate::Done => Verdict::Done,
        // These two say that attempts were made; without one the gateway has given it up for nothing.
        Fate::Dead(DeadReason::RetriesExhausted | DeadReason::Fatal) if deliveries.is_empty() => {
            Verdict::Lost("the gateway says that all attempts failed")
        }
        Fate::Dead(_) => Verdict::Dead,
        Fate::Cancelled => Verdict::Lost("the gateway says that it was withdrawn"),
        Fate::NotFound => Verdict::Lost("the gateway knows nothing of it"),
    }
}

const fn ended(end: End) -> &'static str {
    match end {
        End::Open => "still in hand",
        End::Acked => "acknowledged",
        End::Nacked(_) => "refused by the worker",
        End::Vanished => "dropped by a worker that vanished",
        End::Lost => "in hand when the connection broke",
        End::NotHeld => "taken away from the worker",
    }
}

/// Whether `before` gives a reason for `again`, the next delivery of the same task.
fn explain(ledger: &Ledger, before: &Delivered, again: &Delivered) -> Result<(), String> {
    let lease_over_us = before.at_us + u64::from(before.lease_ms) * 1000;
    if again.at_us >= lease_over_us {
        return Ok(());
    }
    let gap_ms = again.at_us.saturating_sub(before.at_us) / 1000;
    if before.end == End::Open || before.ended_us > again.at_us {
        return Err(format!("delivered again after {gap_ms} ms, while a worker had it"));
    }
    match before.end {
        End::Acked => {
            let lost_us = ledger.lost_at_us.get(before.connection as usize).copied().flatten();
            match lost_us {
                Some(lost) if lost <= before.ended_us + ACK_IN_FLIGHT_US => Ok(()),
                _ => Err(format!("delivered again after {gap_ms} ms, although a worker had acknowledged it")),
            }
        }
        _ => Ok(()),
    }
}

/// Tasks of one key must be delivered in the order of publishing, and one only after the one before it is finished.
fn check_order(ledger: &Ledger, mut keyed: Vec<(u32, u32)>, account: &mut Account) {
    keyed.sort_unstable();
    let times: BTreeMap<u32, Times> = {
        let wanted: std::collections::HashSet<u32> = keyed.iter().map(|(_, n)| *n).collect();
        let of =
            |(n, _, deliveries): (u32, &Attempt, &[Delivered])| wanted.contains(&n).then(|| (n, Times::of(deliveries)));
        ledger.tasks().filter_map(of).collect()
    };
    for group in keyed.chunk_by(|a, b| a.0 == b.0) {
        // The earlier task that was first delivered last, and the one that was finished last.
        let (mut first, mut finished) = (None::<(u64, u32)>, None::<(u64, u32)>);
        for (key, n) in group {
            let own = times[n];
            let broken = if let Some((_, other)) = first.filter(|(at, _)| own.first_us < *at) {
                Some((other, "before"))
            } else if let Some((_, other)) = finished.filter(|(at, _)| own.first_us < *at) {
                Some((other, "while a worker still had"))
            } else {
                None
            };
            if let Some((other, how)) = broken {
                account.reordered += 1;
                let attempt = ledger.attempt(*n);
                account.find(Finding {
                    class: Class::Reordered,
                    n: Some(*n),
                    id: attempt.map(|attempt| attempt.id),
                    key: *key,
                    lane: attempt.map(|attempt| attempt.lane),
                    detail: format!("delivered {how} task {other}, which was published earlier with the same key"),
                });
            }
            first = first.max(Some((own.first_us, *n)));
            finished = finished.max(own.finished_us.map(|at| (at, *n)));
        }
    }
}

#[derive(Clone, Copy)]
struct Times {
    first_us: u64,
    /// When it was out of its last worker's hands. Absent when that cannot be told: a lease that was overrun.
    finished_us: Option<u64>,
}

impl Times {
    fn of(deliveries: &[Delivered]) -> Self {
        let overrun = |delivery: &Delivered| {
            matches!(delivery.end, End::NotHeld | End::Open)
                || delivery.ended_us >= delivery.at_us + u64::from(delivery.lease_ms) * 1000
        };
        let acked =
            deliveries.iter().filter(|delivery| delivery.end == End::Acked).map(|delivery| delivery.ended_us).min();
        let finished_us = if deliveries.iter().any(overrun) {
            None
        } else {
            acked.or_else(|| deliveries.iter().map(|delivery| delivery.ended_us).max())
        };
        Self { first_us: deliveries.iter().map(|delivery| delivery.at_us).min().unwrap_or(u64::MAX), finished_us }
    }
}

/// Deliveries of numbers that nobody handed out, and of what is not of this run.
fn check_unattempted(ledger: &Ledger, account: &mut Account) {
    account.unexpected += ledger.strays_in_all;
    for stray in &ledger.strays {
        let detail = stray.why.clone();
        account.find(Finding { class: Class::Unexpected, n: None, id: Some(stray.id), key: 0, lane: None, detail });
    }
    for group in ledger.deliveries.chunk_by(|a, b| a.n == b.n) {
        if ledger.attempt(group[0].n).is_none() {
            account.unexpected += 1;
            account.find(Finding {
                class: Class::Unexpected,
                n: Some(group[0].n),
                id: None,
                key: 0,
                lane: None,
                detail: "this run never published a task of that number".to_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use squall_protocol::NackMode;

    use super::*;
    use crate::ledger::Book;

    const LEASE_MS: u32 = 30_000;

    fn id(n: u32) -> TaskId {
        TaskId(uuid::Uuid::from_u128(u128::from(n) + 1))
    }

    /// A book in which everything is well: `count` tasks with the key `key`, each delivered and acknowledged in turn.
    fn fine(count: u32, key: u32) -> Book {
        let mut book = Book::new(0, 1);
        let connection = book.connected();
        for _ in 0..count {
            let n = publish(&mut book, key);
            handle(&mut book, n, connection, u64::from(n) * 100, End::Acked);
        }
        book
    }

    fn publish(book: &mut Book, key: u32) -> u32 {
        let n = book.attempt(0, key).unwrap();
        book.acknowledged(n, id(n));
        n
    }

    fn handle(book: &mut Book, n: u32, connection: u32, at_us: u64, end: End) {
        let delivery = book.delivered(n, connection, LEASE_MS, at_us);
        book.ended(delivery, end, at_us + 50);
    }

    fn account(book: Book, fate: Fate) -> Account {
        classify(&Ledger::merge(vec![book]), |_| fate)
    }

    fn found(account: &Account) -> Vec<(Class, Option<u32>, &str)> {
        account.findings.iter().map(|it| (it.class, it.n, it.detail.as_str())).collect()
    }

    #[test]
    fn nothing_is_wrong() {
        let account = account(fine(5, 1), Fate::NotFound);
        assert_eq!((account.acknowledged, account.delivered, account.done, account.deliveries), (5, 5, 5, 5));
        assert_eq!(found(&account), []);
    }

    #[test]
    fn what_no_worker_saw_is_lost_unless_it_waits_or_is_dead() {
        for (fate, expected) in [
            (Fate::Done, (1, 0, 0)),
            (Fate::NotFound, (1, 0, 0)),
            (Fate::Cancelled, (1, 0, 0)),
            (Fate::Dead(DeadReason::RetriesExhausted), (1, 0, 0)),
            (Fate::Dead(DeadReason::Fatal), (1, 0, 0)),
            (Fate::Dead(DeadReason::DeadlineExceeded), (0, 0, 1)),
            (Fate::Pending, (0, 1, 0)),
            (Fate::Unasked, (0, 1, 0)),
        ] {
            let mut book = fine(3, 0);
            publish(&mut book, 0);
            let account = account(book, fate);
            assert_eq!((account.lost, account.pending, account.dead_lettered), expected, "{fate:?}");
        }
        let mut book = fine(3, 0);
        let n = publish(&mut book, 0);
        let account = account(book, Fate::Done);
        let detail = "acknowledged, and no worker ever saw it; the gateway says that it is done";
        assert_eq!(found(&account), [(Class::Lost, Some(n), detail)]);
        assert_eq!(account.findings[0].id, Some(id(n)));
    }

    #[test]
    fn a_retry_that_never_comes_is_lost() {
        let mut book = fine(1, 0);
        let n = publish(&mut book, 0);
        handle(&mut book, n, 0, 1_000, End::Nacked(NackMode::Fail));
        let account = account(book, Fate::NotFound);
        let detail = "delivered 1 times, at last refused by the worker; the gateway knows nothing of it";
        assert_eq!(found(&account), [(Class::Lost, Some(n), detail)]);
    }

    #[test]
    fn a_dead_letter_is_not_a_loss() {
        let mut book = fine(1, 0);
        let n = publish(&mut book, 0);
        for attempt in 0..4 {
            handle(&mut book, n, 0, 1_000 * (attempt + 1), End::Nacked(NackMode::Fail));
        }
        let account = account(book, Fate::Dead(DeadReason::RetriesExhausted));
        assert_eq!((account.lost, account.dead_lettered, account.duplicated_explained), (0, 1, 3));
    }

    #[test]
    fn redeliveries_are_explained_by_what_happened_before_and_by_nothing_else() {
        for (end, lost_us, again_us, explained) in [
            (End::Nacked(NackMode::Fail), None, 2_000, true),
            (End::Nacked(NackMode::Release), None, 2_000, true),
            (End::Vanished, Some(1_050), 2_000, true),
            (End::Lost, Some(1_050), 2_000, true),
            (End::NotHeld, None, 2_000, true),
            (End::Acked, None, 2_000, false),
            (End::Acked, Some(1_100), 2_000, true),
            (End::Acked, Some(1_100 + ACK_IN_FLIGHT_US), 20_000_000, false),
            (End::Nacked(NackMode::Fail), None, 1_020, false),
            (End::Acked, None, 31_000_000, true),
        ] {
            let mut book = Book::new(0, 1);
            let connection = book.connected();
            let n = publish(&mut book, 0);
            handle(&mut book, n, connection, 1_000, end);
            if let Some(lost_us) = lost_us {
                book.disconnected(connection, lost_us);
            }
            let other = book.connected();
            handle(&mut book, n, other, again_us, End::Acked);
            let account = account(book, Fate::NotFound);
            let expected = if explained { (1, 0) } else { (0, 1) };
            let counts = (account.duplicated_explained, account.duplicated_unexplained);
            assert_eq!(counts, expected, "{end:?} {lost_us:?} {again_us}");
            assert_eq!(account.lost, 0);
        }
    }

    #[test]
    fn an_unknown_publish_that_arrives_is_recovered_and_one_that_does_not_is_no_loss() {
        let mut book = fine(1, 0);
        let recovered = book.attempt(0, 0).unwrap();
        book.attempt(0, 0).unwrap();
        handle(&mut book, recovered, 0, 500, End::Acked);
        let account = account(book, Fate::NotFound);
        assert_eq!((account.unknown, account.recovered, account.lost), (2, 1, 0));
    }

    #[test]
    fn what_was_refused_or_never_published_is_unexpected() {
        let mut book = fine(1, 0);
        let refused = book.attempt(0, 0).unwrap();
        book.refused(refused);
        handle(&mut book, refused, 0, 500, End::Acked);
        handle(&mut book, 77, 0, 600, End::Acked);
        book.stray(id(9), "of another run".to_owned());
        let account = account(book, Fate::NotFound);
        assert_eq!(account.unexpected, 3);
        let expected = [
            (Class::Unexpected, Some(refused), "refused, and delivered all the same"),
            (Class::Unexpected, None, "of another run"),
            (Class::Unexpected, Some(77), "this run never published a task of that number"),
        ];
        assert_eq!(found(&account), expected);
    }

    #[test]
    fn order_within_a_key() {
        let deliver = |times: [u64; 3], keys: [u32; 3]| {
            let mut book = Book::new(0, 1);
            let connection = book.connected();
            for (at_us, key) in times.into_iter().zip(keys) {
                let n = publish(&mut book, key);
                handle(&mut book, n, connection, at_us, End::Acked);
            }
            account(book, Fate::NotFound)
        };
        assert_eq!(deliver([100, 200, 300], [1, 1, 1]).reordered, 0);
        assert_eq!(deliver([300, 200, 100], [1, 2, 3]).reordered, 0, "different keys");
        assert_eq!(deliver([300, 200, 100], [0, 0, 0]).reordered, 0, "no key");
        let swapped = deliver([100, 300, 200], [1, 1, 1]);
        let detail = "delivered before task 1, which was published earlier with the same key";
        assert_eq!(found(&swapped), [(Class::Reordered, Some(2), detail)]);
        let overlapping = deliver([100, 120, 300], [1, 1, 1]);
        let detail = "delivered while a worker still had task 0, which was published earlier with the same key";
        assert_eq!(found(&overlapping), [(Class::Reordered, Some(1), detail)]);
    }

    #[test]
    fn order_holds_over_a_retry() {
        let mut book = Book::new(0, 1);
        let connection = book.connected();
        let (a, b) = (publish(&mut book, 1), publish(&mut book, 1));
        handle(&mut book, a, connection, 100, End::Nacked(NackMode::Fail));
        handle(&mut book, b, connection, 200, End::Acked);
        handle(&mut book, a, connection, 300, End::Acked);
        let account = account(book, Fate::NotFound);
        assert_eq!(account.reordered, 1, "the second went ahead while the first waited for its retry");
    }

    /// What a simulated queue does with each task.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Does {
        Delivers,
        Retries,
        Loses,
        Doubles,
        Keeps,
    }

    proptest! {
        #[test]
        fn every_planted_fault_is_counted(
            plan in prop::collection::vec(
                prop_oneof![4 => Just(Does::Delivers), 1 => Just(Does::Retries), 1 => Just(Does::Loses), 1 => Just(Does::Doubles), 1 => Just(Does::Keeps)],
                0..80,
            ),
            cores in 1_usize..5,
        ) {
            let mut books: Vec<_> = (0..cores).map(|core| Book::new(core, cores)).collect();
            let connections: Vec<_> = books.iter_mut().map(Book::connected).collect();
            let mut kept = std::collections::HashSet::new();
            for (index, does) in plan.iter().enumerate() {
                let book = &mut books[index % cores];
                let n = book.attempt(0, 0).unwrap();
                book.acknowledged(n, id(n));
                // Whoever publishes, another core's worker gets it.
                let worker = (index + 1) % cores;
                let at_us = index as u64 * 1_000;
                let mut deliver = |at_us, end| handle(&mut books[worker], n, connections[worker], at_us, end);
                match does {
                    Does::Delivers => deliver(at_us, End::Acked),
                    Does::Retries => {
                        deliver(at_us, End::Nacked(NackMode::Fail));
                        deliver(at_us + 500, End::Acked);
                    }
                    Does::Doubles => {
                        deliver(at_us, End::Acked);
                        deliver(at_us + 500, End::Acked);
                    }
                    Does::Loses => {}
                    Does::Keeps => drop(kept.insert(n)),
                }
            }
            let ledger = Ledger::merge(books);
            let account = classify(&ledger, |n| if kept.contains(&n) { Fate::Pending } else { Fate::NotFound });
            let count = |wanted| plan.iter().filter(|does| **does == wanted).count() as u64;
            prop_assert_eq!(account.acknowledged, plan.len() as u64);
            prop_assert_eq!(account.lost, count(Does::Loses));
            prop_assert_eq!(account.pending, count(Does::Keeps));
            prop_assert_eq!(account.duplicated_explained, count(Does::Retries));
            prop_assert_eq!(account.duplicated_unexplained, count(Does::Doubles));
            prop_assert_eq!(account.done + account.lost + account.pending + account.dead_lettered, account.acknowledged);
            prop_assert_eq!(open_tasks(&ledger).len() as u64, count(Does::Loses) + count(Does::Keeps));
        }
    }
}
