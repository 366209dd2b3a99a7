//! The embedded engine against the suite, and against what disks do: torn writes, flipped bits, no room.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use squall_protocol::{Epoch, GapReason, TaskId, Time};

use super::log::Position;
use super::log::frame::{self, Header};
use super::log::preparer::FIRST_BYTES;
use super::log::segment::{self, SEGMENT_HEADER};
use super::open;
use super::recovery::{Places, Recovered, recover};
use crate::config::{Durability, Lane, Options};
use crate::core::records::FRAME_HEADER;
use crate::core::state::{Limits, State};
use crate::core::{Core, Room, limits};
use crate::suite::{Backend, store_test_suite};
use crate::{Error, Holder, SettleVerb, Settlement, Store, TaskSpec};

struct Directory(tempfile::TempDir);

impl Default for Directory {
    fn default() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }
}

impl Backend for Directory {
    fn open(&self, options: Options) -> BoxFuture<'_, Arc<dyn Store>> {
        let store: Arc<dyn Store> = Arc::new(open(self.0.path(), options).expect("the store opens"));
        async move { store }.boxed()
    }
}

store_test_suite!(Directory);

mod interval {
    use super::*;

    #[derive(Default)]
    struct Relaxed(Directory);

    impl Backend for Relaxed {
        fn open(&self, mut options: Options) -> BoxFuture<'_, Arc<dyn Store>> {
            options.store.durability = Durability::Interval;
            options.store.interval_ms = 5;
            self.0.open(options)
        }
    }

    crate::suite::store_test_suite!(Relaxed:
        a_task_is_published_delivered_and_done, everything_survives_a_restart, the_feed_tells_everything_in_order,
    );
}

fn options() -> Options {
    Options {
        lanes: [("a".to_owned(), Lane::default())].into(),
        default_lane: Some("a".to_owned()),
        ..Options::default()
    }
}

fn spec(payload: &str) -> TaskSpec {
    TaskSpec { lane: None, kind: "test".into(), payload: payload.into(), ..TaskSpec::default() }
}

/// A log of small batches made by hand, so that every byte of it is known.
struct Bench {
    dir: tempfile::TempDir,
    places: Places,
    epoch: Epoch,
    limits: Limits,
    /// Where each batch lies in the only segment, and the ids that it published.
    batches: Vec<(usize, usize, TaskId)>,
    bytes: Vec<u8>,
}

impl Bench {
    /// `count` batches, each publishing one task; all but the last `unsynced` are known to be on disk.
    fn new(count: usize, unsynced: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::under(dir.path());
        places.create().unwrap();
        let epoch = Epoch::at(Time(7), 7);
        std::fs::write(dir.path().join("epoch"), epoch.to_string()).unwrap();
        let limits = limits(&options());
        let mut core = Core::new(State::new(limits), options(), Time(1_000), 3);
        let mut bytes = vec![0; SEGMENT_HEADER as usize];
        let mut batches = Vec::new();
        let mut position = Position { next_batch: 1, next_offset: 1 };
        for i in 0..count {
            core.begin(Time(1_000 + i as u64), Room::default());
            let id = core.publish(&"default".into(), spec(&format!("\"task {i}\""))).unwrap().id;
            let (journal, frames) = core.journal().finish();
            let mut frame = journal[frames[0].start..frames[0].end].to_vec();
            let events = frames[0].events;
            let padding = frame.len().next_multiple_of(8) - frame.len();
            frame.resize(frame.len() + padding, 0);
            let header = Header {
                len: frame.len(),
                batch: position.next_batch,
                first_offset: position.next_offset,
                events,
                time: Time(1_000 + i as u64),
                synced: (position.next_batch - 1).min(count as u64 - unsynced),
                padding: padding as u8,
            };
            frame::seal(&mut frame, &header, epoch);
            batches.push((bytes.len(), bytes.len() + frame.len(), id));
            bytes.extend(frame);
            core.journal().clear();
            position =
                Position { next_batch: position.next_batch + 1, next_offset: position.next_offset + u64::from(events) };
        }
        Self { dir, places, epoch, limits, batches, bytes }
    }

    /// Recovers a segment with these bytes, followed by zeros.
    fn recover(&self, bytes: &[u8]) -> Recovered {
        let mut whole = bytes.to_vec();
        whole.resize(64 << 10, 0);
        std::fs::write(segment::path(&self.places.log, 1), whole).unwrap();
        recover(&self.places, self.epoch, self.limits, FIRST_BYTES).unwrap()
    }

    fn known(&self, recovered: &Recovered) -> Vec<bool> {
        self.batches.iter().map(|(_, _, id)| recovered.state.find(*id).is_some()).collect()
    }

    fn quarantined(&self) -> Vec<Vec<u8>> {
        let files = std::fs::read_dir(&self.places.quarantine).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

#[test]
fn a_log_torn_at_any_byte_loses_only_what_was_never_answered() {
    let bench = Bench::new(4, 1);
    let (start, end, _) = bench.batches[3];
    // A frame whose last bytes are zeros is whole without them.
    let end = start + bench.bytes[start..end].iter().rposition(|&byte| byte != 0).unwrap();
    for cut in start..=end {
        let recovered = bench.recover(&bench.bytes[..cut]);
        assert_eq!(bench.known(&recovered), [true, true, true, false], "torn at byte {}", cut - start);
        assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
        assert_eq!(recovered.position.next_batch, 4);
        assert_eq!(recovered.current.contents.lock().end, start as u64);
        assert_eq!(recovered.torn_bytes > 0, cut > start);
        // What was cut is zero again, so that nothing of it can be taken for the next batch.
        let left = std::fs::read(segment::path(&bench.places.log, 1)).unwrap();
        assert!(frame::is_blank(&left[start..]));
    }
    assert!(bench.quarantined().iter().any(|set_aside| bench.bytes[start..].starts_with(set_aside)));
}

#[test]
fn a_flipped_bit_in_the_middle_is_set_aside_and_named() {
    let bench = Bench::new(6, 1);
    let (start, end, _) = bench.batches[2];
    for at in start..end {
        let mut bytes = bench.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let recovered = bench.recover(&bytes);
        assert_eq!(bench.known(&recovered), [true, true, false, true, true, true], "byte {}", at - start);
        assert!(recovered.damage.iter().any(|what| what.contains("batch 3")), "{:?}", recovered.damage);
        assert_eq!((recovered.position.next_batch, recovered.torn_bytes), (7, 0));
        std::fs::remove_dir_all(&bench.places.quarantine).unwrap();
        std::fs::create_dir_all(&bench.places.quarantine).unwrap();
    }
}

#[test]
fn a_hole_before_an_unanswered_frame_ends_the_log() {
    // Two batches were written and not synced; the disk kept the second of them only.
    let bench = Bench::new(5, 2);
    let mut bytes = bench.bytes.clone();
    let (start, end, _) = bench.batches[3];
    bytes[start..end].fill(0);
    let recovered = bench.recover(&bytes);
    assert_eq!(bench.known(&recovered), [true, true, true, false, false]);
    assert_eq!(recovered.position.next_batch, 4);
    assert!(recovered.damage.is_empty());
    assert!(recovered.torn_bytes > 0);
}

#[test]
fn frames_of_another_life_are_not_read() {
    let bench = Bench::new(2, 1);
    let other = Bench { epoch: Epoch::at(Time(8), 8), ..Bench::new(2, 1) };
    let recovered = other.recover(&bench.bytes);
    assert_eq!(bench.known(&recovered), [false, false]);
    assert_eq!(recovered.position.next_batch, 1);
}

#[tokio::test]
async fn the_feed_has_a_gap_where_a_batch_was_damaged() {
    let bench = Bench::new(6, 1);
    let mut bytes = bench.bytes.clone();
    let (start, ..) = bench.batches[2];
    bytes[start + FRAME_HEADER + 3] ^= 0x40;
    bytes.resize(64 << 10, 0);
    std::fs::write(segment::path(&bench.places.log, 1), bytes).unwrap();
    let store = open(bench.dir.path(), options()).unwrap();
    let health = store.health();
    assert!(health.detail.contains("batch 3") && health.detail.contains("quarantine"), "{}", health.detail);
    let first = store.read_feed(0, 100).await.unwrap();
    assert_eq!(offsets(&first), [1, 2]);
    assert!(first.gap.is_none());
    let rest = store.read_feed(2, 100).await.unwrap();
    let gap = rest.gap.expect("an event is missing");
    assert_eq!((gap.from, gap.to, gap.reason), (3, 3, GapReason::Corrupt));
    assert_eq!(offsets(&rest), [4, 5, 6]);
    let id = bench.batches[2].2;
    assert!(matches!(store.task(None, id).await, Err(Error::NotFound { .. })), "never served");
    assert_eq!(store.lane("a").await.unwrap().ready.normal, 5);
}

fn offsets(slice: &crate::FeedSlice) -> Vec<u64> {
    slice.records.iter().map(|record| record.offset).collect()
}

async fn publish(store: &dyn Store, payload: &str) -> crate::Result<TaskId> {
    store.publish(&"default".into(), vec![spec(payload)]).await.remove(0).map(|published| published.id)
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options()).unwrap();
    let error = open(dir.path(), options()).err().expect("it is taken");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    store.close().await.unwrap();
    open(dir.path(), options()).expect("free again");
}

/// Copies what is on disk while the store runs: what a kill would leave.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else if entry.path().extension().is_none_or(|extension| extension != "tmp") {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_that_is_killed_has_all_that_it_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options()).unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        for i in 0..20 {
            acknowledged.push(publish(&store, &format!("\"{round} {i}\"")).await.unwrap());
        }
        let leased = store.lease(None, "a", 5, 0).await.unwrap();
        let acks = leased.iter().map(|delivery| Settlement {
            id: delivery.task.id,
            receipt: Some(delivery.receipt),
            verb: SettleVerb::Ack,
        });
        assert!(store.settle(None, Holder::Receipts, acks.collect()).await.iter().all(Result::is_ok));
        let killed = tempfile::tempdir().unwrap();
        copy(dir.path(), killed.path());
        let back = open(killed.path(), options()).unwrap();
        for id in &acknowledged {
            let (there, here) = (back.task(None, *id).await.unwrap(), store.task(None, *id).await.unwrap());
            assert_eq!((there.state, there.attempts), (here.state, here.attempts));
        }
        let (here, there) = (store.lane("a").await.unwrap(), back.lane("a").await.unwrap());
        assert_eq!((here.ready, here.leased), (there.ready, there.leased));
    }
}

#[tokio::test]
async fn segments_roll_fold_into_snapshots_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.store.segment_bytes = FIRST_BYTES;
    options.feed.retention_bytes = 2 * FIRST_BYTES;
    options.store.finished_tasks = 10;
    let store = open(dir.path(), options.clone()).unwrap();
    let payload = format!("\"{}\"", "x".repeat(100_000));
    let keep = publish(&store, "\"keep\"").await.unwrap();
    let held = store.lease(None, "a", 1, 0).await.unwrap().remove(0);
    let mut last = keep;
    for _ in 0..300 {
        last = publish(&store, &payload).await.unwrap();
        let leased = store.lease(None, "a", 1, 0).await.unwrap().remove(0);
        let ack = Settlement { id: leased.task.id, receipt: Some(leased.receipt), verb: SettleVerb::Ack };
        store.settle(None, Holder::Receipts, vec![ack]).await.remove(0).unwrap();
    }
    // Thirty megabytes went through a log that keeps eight. Whoever reads while segments go gets what is there, or is told.
    let started = std::time::Instant::now();
    while store.stats().await.unwrap().feed_oldest <= 1 {
        assert!(started.elapsed().as_secs() < 20, "old segments do not go");
        let slice = store.read_feed(0, 1).await.unwrap();
        assert!(!slice.records.is_empty() || slice.gap.is_some(), "nothing, and not a word of it: {slice:?}");
    }
    let slice = store.read_feed(0, 5).await.unwrap();
    let gap = slice.gap.expect("the beginning is gone");
    assert_eq!((gap.from, gap.to, gap.reason), (1, slice.records[0].offset - 1, GapReason::Retention));

    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    // A snapshot that is damaged costs time: the one before, or the log, has all of it too.
    let snapshots: Vec<_> =
        std::fs::read_dir(killed.path().join("snapshots")).unwrap().map(|file| file.unwrap().path()).collect();
    if let [_, _] = &snapshots[..] {
        let newest = snapshots.iter().max().unwrap();
        let mut bytes = std::fs::read(newest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(newest, bytes).unwrap();
    }
    let back = open(killed.path(), options).unwrap();
    let view = back.task(None, keep).await.unwrap();
    assert_eq!((view.state, view.payload.unwrap().get()), (squall_protocol::TaskState::Leased, "\"keep\""));
    assert_eq!(back.task(None, last).await.unwrap().state, squall_protocol::TaskState::Done);
    let ack = Settlement { id: keep, receipt: Some(held.receipt), verb: SettleVerb::Ack };
    back.settle(None, Holder::Receipts, vec![ack]).await.remove(0).unwrap();
}

#[tokio::test]
async fn a_store_that_has_no_time_closes_without_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(dir.path().join("snapshots")).unwrap().count();
    let store = open(dir.path(), options()).unwrap();
    let id = publish(&store, "1").await.unwrap();
    store.close_within(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(files(), 0, "neither a snapshot nor half of one");
    drop(store);
    let store = open(dir.path(), options()).unwrap();
    assert_eq!(store.task(None, id).await.unwrap().state, squall_protocol::TaskState::Ready);
    store.close().await.unwrap();
    assert_eq!(files(), 1);
}

#[tokio::test]
async fn a_batch_larger_than_the_room_that_is_ready_waits_for_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options()).unwrap();
    let payload = format!("\"{}\"", "x".repeat(1 << 20));
    // More than the first two segments together, in one command.
    let answers = store.publish(&"default".into(), (0..30).map(|_| spec(&payload)).collect()).await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(refused.is_empty(), "the disk has room: {refused:?}");
    assert_eq!((answers.len(), store.lane("a").await.unwrap().ready.normal), (30, 30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_an_event_that_is_still_in_the_future() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    // Nothing to wait for, so that there are as many commits as can be.
    options.store.durability = Durability::Interval;
    let store = Arc::new(open(dir.path(), options).unwrap());
    let head = store.feed_head();
    let reader = std::thread::spawn({
        let store = Arc::clone(&store);
        move || {
            let mut seen = 0;
            while seen < 5_000 {
                seen = store.shared.feed.head();
                let known = *head.borrow();
                assert!(known >= seen, "a reader that has seen {seen} would be told that it is ahead of {known}");
            }
        }
    });
    for n in 0..5_000 {
        publish(&*store, &n.to_string()).await.unwrap();
    }
    reader.join().unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_publishes_and_nothing_else() {
    let Some(disk) = squall_testkit::SmallDisk::new(14 << 20).unwrap().filter(|disk| disk.wrapper().is_empty()) else {
        eprintln!("NOT RUN: this machine lets nobody mount a small disk");
        return;
    };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let mut options = options();
    options.store.segment_bytes = FIRST_BYTES;
    let store = open(disk.path(), options.clone()).unwrap();
    let payload = format!("\"{}\"", "x".repeat(50_000));
    let mut accepted = Vec::new();
    let refused = loop {
        match publish(&store, &payload).await {
            Ok(id) => accepted.push(id),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1_000, "the disk is never full");
    };
    assert!(matches!(&refused, Error::Full(_)), "{refused}");
    assert!(accepted.len() > 20);
    let health = store.health();
    assert!(!health.ok && health.lost == ["publish"] && health.detail.contains("no room"), "{health:?}");
    // Acks, leases, reads go on from the reserve.
    let half = accepted.len() / 2;
    for _ in 0..half {
        let leased = store.lease(None, "a", 1, 1_000).await.unwrap().remove(0);
        let ack = Settlement { id: leased.task.id, receipt: Some(leased.receipt), verb: SettleVerb::Ack };
        store.settle(None, Holder::Receipts, vec![ack]).await.remove(0).unwrap();
    }
    // With room again it goes on by itself.
    std::fs::remove_file(&ballast).unwrap();
    let started = std::time::Instant::now();
    loop {
        match publish(&store, "1").await {
            Ok(id) => break accepted.push(id),
            Err(Error::Full(_)) if started.elapsed().as_secs() < 20 => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    store.close().await.unwrap();
    let store = open(disk.path(), options).unwrap();
    assert!(store.health().ok);
    for (i, id) in accepted.iter().enumerate() {
        let state = store.task(None, *id).await.unwrap().state;
        let expected = if i < half { squall_protocol::TaskState::Done } else { squall_protocol::TaskState::Ready };
        assert_eq!(state, expected, "task {i} of {}", accepted.len());
    }
}

/// Runs one test of this binary in a process of its own that ignores `SIGXFSZ`, so that a write over the limit is an error.
fn in_a_process_of_its_own(test: &str) {
    let binary = std::env::current_exe().unwrap();
    let script = format!("trap '' XFSZ; exec '{}' --exact '{test}' --nocapture", binary.display());
    let output = std::process::Command::new("sh").args(["-c", &script]).env("SQUALL_TEST_ALONE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "no such test: {test}");
}

#[tokio::test]
async fn a_write_that_fails_ends_all_acceptance_and_says_why() {
    if std::env::var_os("SQUALL_TEST_ALONE").is_none() {
        in_a_process_of_its_own("embedded::tests::a_write_that_fails_ends_all_acceptance_and_says_why");
        return;
    }
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options()).unwrap();
    let kept = publish(&store, "1").await.unwrap();
    let pull = store.lease(None, "a", 2, 0).await.unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 16, hard).unwrap();
    let refused = publish(&store, "2").await;
    assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("File too large")), "{refused:?}");
    let ack = Settlement { id: kept, receipt: Some(pull[0].receipt), verb: SettleVerb::Ack };
    let refused = store.settle(None, Holder::Receipts, vec![ack]).await.remove(0);
    assert!(matches!(refused, Err(Error::Unavailable(_))), "nothing is accepted any more: {refused:?}");
    let health = store.health();
    assert!(!health.ok && health.detail.contains("writing the log failed"), "{health:?}");
    assert!(store.stats().await.is_ok(), "figures are wanted most when something is wrong");
    assert!(store.read_feed(0, 10).await.is_ok(), "what was committed can still be read");
    assert!(store.close().await.is_err());
    assert!(
        std::fs::read_dir(dir.path().join("snapshots")).unwrap().next().is_none(),
        "no snapshot of what nobody knows"
    );
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    let store = open(dir.path(), options()).unwrap();
    assert_eq!(store.task(None, kept).await.unwrap().attempts, 1);
}
