//! The storm drives several gateways on one Redis: one is killed and one drained, Redis itself goes away and comes back, one
//! gateway tells another feed than the others.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod storm_kit;

use std::io::{Read, Write};
use std::net::TcpStream as Blocking;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use squall_report::Verdict;
use squall_report::record::{FeedFindingClass, Ledger};
use squall_testkit::Redis;
use storm_kit::{Outcome, Running, Storm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The built-in one, on a machine that may be busy with other tests.
fn several() -> String {
    let patient = "[generator]\nmax_lateness_p99_ms = 60000\nmax_dropped = 1\n";
    // What a gateway held that was killed comes back when its lease ends.
    include_str!("../../../scenarios/several.toml").replace("retry = {", "lease_ms = 1500\nretry = {") + patient
}

/// Publishers, workers and subscribers, without a fault.
fn calm(duration: &str) -> String {
    format!(
        r#"name = "test"
        settle = "30s"
        [[load]]
        workload = "tasks"
        executor = "constant-arrival-rate"
        rate = 100
        duration = "{duration}"
        pre_allocated_vus = 20
        max_vus = 200
        lanes = ["work"]
        keyed = 0.3
        [[load]]
        workload = "workers"
        executor = "constant-vus"
        vus = 4
        duration = "{duration}"
        lanes = ["work"]
        [[load]]
        workload = "subscribers"
        executor = "constant-vus"
        vus = 4
        duration = "{duration}"
        [target.lanes.work]
        lease_ms = 3000
        retry = {{ max = 20, delay_ms = 50 }}
        [generator]
        max_lateness_p99_ms = 60000
        max_dropped = 1
        [thresholds]
        feed_shortfall = "count==0"
        "#
    )
}

/// How many keys there are.
fn keys(redis: &Redis) -> u64 {
    let mut stream = Blocking::connect(("127.0.0.1", redis.port())).unwrap();
    stream.write_all(b"DBSIZE\r\n").unwrap();
    let mut answer = [0; 32];
    let read = stream.read(&mut answer).unwrap();
    std::str::from_utf8(&answer[..read]).unwrap().trim_matches([':', '\r', '\n']).parse().unwrap()
}

fn nothing_is_lost(outcome: &Outcome) -> Ledger {
    let ledger = outcome.record().ledger.unwrap();
    assert!(ledger.settled && ledger.acknowledged > 100, "{ledger:?}\n{}", outcome.said());
    let bad = (ledger.lost, ledger.pending, ledger.unexpected, ledger.reordered, ledger.duplicated.unexplained);
    assert_eq!(bad, (0, 0, 0, 0, 0), "{ledger:?}");
    ledger
}

#[tokio::test]
async fn one_is_killed_and_one_is_drained_and_nothing_is_lost_and_no_offset_missing_or_doubled() {
    let redis = Redis::start("everysec");
    let outcome = Storm::new(&several()).args(&["--store", &redis.url(), "--duration", "7s"]).run().await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    let ledger = nothing_is_lost(&outcome);
    assert!(ledger.duplicated.explained > 0, "what the killed one's workers had came again: {ledger:?}");
    let record = outcome.record();
    let feed = record.feed.clone().unwrap();
    assert!(feed.events > 4 * ledger.acknowledged, "six subscribers follow: {feed:?}");
    assert_eq!((feed.gaps, feed.repeats, feed.conflicts, feed.shortfall), (0, 0, 0, Some(0)), "{feed:?}");
    assert_eq!((feed.not_compared, feed.findings.len()), (0, 0), "{feed:?}");
    let restarts: Vec<u32> = record.target.gateways.iter().map(|gateway| gateway.restarts).collect();
    assert_eq!((restarts.as_slice(), record.target.restarts), (&[0, 1, 1][..], 2));
    let details: Vec<&str> = record.faults.iter().map(|fault| fault.detail.as_str()).collect();
    assert_eq!(
        details,
        ["SIGKILL of gateway 2, started again after 2s", "SIGTERM of gateway 3, started again after 2s"]
    );
    assert!(record.faults.iter().all(|fault| fault.recovered_ms.is_some()), "{:?}", record.faults);
    assert!(!record.notes.iter().any(|note| note.contains("did not stop cleanly")), "{:?}", record.notes);
    assert_eq!(record.resources.gateways.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    for number in 1..=3 {
        assert!(outcome.run_dir().join(format!("target-{number}.log")).exists());
    }
    // What the setting allows is said, whether it happened or not.
    let summary = std::fs::read_to_string(outcome.run_dir().join("summary.md")).unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [&outcome.stdout, &summary] {
        let text = words(text);
        for needle in ["3 gateways of its own", "Redis with appendfsync everysec: up to a second of acknowledged work"]
        {
            assert!(text.contains(needle), "{needle}: {text}");
        }
    }
    assert_eq!(keys(&redis), 0, "the run leaves no key behind");
    assert_eq!(outcome.left_behind(), Vec::<std::path::PathBuf>::new());
}

async fn seconds(running: &Running, seconds: usize) {
    squall_testkit::within("some seconds of the run", Duration::from_secs(60), async {
        while running.seconds() < seconds {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_killed_under_load_and_comes_back_has_lost_nothing() {
    let mut redis = Redis::start("always");
    let running = Storm::new(&calm("6s")).args(&["--gateways", "3", "--store", &redis.url()]).start();
    seconds(&running, 2).await;
    redis.kill();
    seconds(&running, 3).await;
    redis.restart();
    let outcome = running.finish().await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    nothing_is_lost(&outcome);
    let record = outcome.record();
    assert!(record.errors.contains_key("StoreUnavailable"), "the storm felt it: {:?}", record.errors);
    let target = &record.target;
    assert_eq!((target.gateways.len(), target.may_lose.as_deref()), (3, None), "{target:?}");
    assert!(target.durability.as_ref().unwrap().starts_with("appendfsync always"), "{target:?}");
    let feed = record.feed.unwrap();
    assert_eq!((feed.gaps, feed.repeats, feed.conflicts, feed.shortfall), (0, 0, 0, Some(0)), "{feed:?}");
    assert_eq!(keys(&redis), 0);
}

#[tokio::test]
async fn keys_stay_when_they_are_asked_to_and_go_also_after_a_second_ctrl_c() {
    let redis = Redis::start("no");
    let url = format!("redis://default:@127.0.0.1:{}/", redis.port());
    let outcome = Storm::new(&calm("1s")).args(&["--store", &redis.url(), "--keep-data"]).run().await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    let (record, kept) = (outcome.record(), keys(&redis));
    let prefix = record.target.key_prefix.unwrap();
    assert!(kept > 0 && prefix.starts_with("{squall-storm-"), "{prefix}: {kept}");
    assert!(record.notes.iter().any(|note| note.contains(&prefix)), "{:?}", record.notes);

    let mut running = Storm::new(&calm("60s")).args(&["--gateways", "2", "--store", &url]).start();
    seconds(&running, 1).await;
    assert!(keys(&redis) > kept);
    squall_testkit::within("the end of the storm", Duration::from_secs(30), async {
        while running.child.try_wait().unwrap().is_none() {
            running.interrupt();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let text = std::fs::read_to_string(running.run_dir().unwrap().join("run.json")).unwrap();
    assert!(text.contains("redis://…@127.0.0.1") && !text.contains("default:@"), "{text}");
    let outcome = running.finish().await;
    assert_eq!(outcome.code, Some(130), "{}", outcome.said());
    assert_eq!(keys(&redis), kept, "only its own are gone: {}", outcome.said());
}

/// Which reading of the feed is forged: one in the midst of the run, when all subscribers have long been there.
const FORGED: usize = 60;

/// Hands everything on between gateways and Redis. Once it changes one letter of what one gateway reads of the feed: a gateway that
/// tells its subscribers something else than the others. Answers how often the feed was read.
async fn forger(redis: &Redis) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, port) = (format!("redis://{}/", listener.local_addr().unwrap()), redis.port());
    let reads = Arc::new(AtomicUsize::new(0));
    let shared = reads.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
            tokio::spawn(relay(client, upstream, shared.clone()));
        }
    });
    (url, reads)
}

async fn relay(client: TcpStream, upstream: TcpStream, reads: Arc<AtomicUsize>) {
    const TOLD: &[u8] = b"task_published";
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_upstream, mut to_upstream) = upstream.into_split();
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_upstream).await;
        let _ = to_upstream.shutdown().await;
    });
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from_upstream.read(&mut bytes).await {
        let told = bytes[..read].windows(TOLD.len()).position(|window| window == TOLD);
        if let Some(at) = told
            && reads.fetch_add(1, Ordering::Relaxed) + 1 == FORGED
        {
            bytes[at + TOLD.len() - 1] = b'h';
        }
        if to_client.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_gateway_that_tells_another_feed_than_the_others_is_found() {
    let redis = Redis::start("no");
    let (url, reads) = forger(&redis).await;
    let outcome = Storm::new(&calm("2s")).args(&["--gateways", "2", "--store", &url]).run().await;
    assert!(reads.load(Ordering::Relaxed) >= FORGED);
    assert_eq!(outcome.code, Some(98), "{}", outcome.said());
    nothing_is_lost(&outcome);
    let record = outcome.record();
    assert_eq!(record.verdict, Some(Verdict::Loss));
    let feed = record.feed.unwrap();
    assert!(feed.conflicts > 0 && (feed.gaps, feed.repeats) == (0, 0), "{feed:?}");
    let finding = &feed.findings[0];
    assert_eq!(finding.class, FeedFindingClass::Conflict, "{feed:?}");
    assert!(feed.findings.iter().all(|it| it.offset == finding.offset), "one event was forged: {feed:?}");
    assert!(outcome.stdout.contains("not the same for all subscribers"), "{}", outcome.stdout);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason() {
    let fault = |gateway: u32| {
        let fault = format!("[[fault]]\nkind = \"kill\"\nat = \"500ms\"\ngateway = {gateway}\n");
        calm("1s").replace("[target.lanes", &format!("{fault}[target.lanes"))
    };
    let store = ["--store", "redis://127.0.0.1:1/"];
    for (scenario, args, needle) in [
        (calm("1s"), &["--gateways", "3"][..], "3 gateways need a store that they share"),
        (calm("1s"), &["--gateways", "0"], "--gateways must be from 1 to 16, not 0"),
        (calm("1s"), &["--gateways", "2", "--target", "http://127.0.0.1:1"], "cannot be used with"),
        (calm("1s"), &["--store", "127.0.0.1:6379"], "--store must be redis://HOST:PORT"),
        (
            calm("1s"),
            &["--store", store[1], "--set", "store.key_prefix=mine"],
            "store.key_prefix is chosen by the storm",
        ),
        (fault(2), &store, "test.toml:26: the fault at 500ms is done to gateway 2, and `gateways` is 1"),
        (
            format!("gateways = 3\n{}", fault(3)),
            &["--gateways", "2", "--store", store[1]],
            "test.toml:27: the fault at 500ms is done to gateway 3, and `gateways` is 2",
        ),
    ] {
        let outcome = Storm::new(&scenario).args(args).run().await;
        assert_eq!(outcome.code, Some(2), "{args:?}: {}", outcome.said());
        assert!(outcome.stderr.contains(needle), "{needle}: {}", outcome.said());
    }
    // A Redis that is not there is no mistake of the command line.
    let outcome = Storm::new(&calm("1s")).args(&store).run().await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.said());
    assert!(outcome.stderr.contains("cannot use the Redis at redis://127.0.0.1:1/"), "{}", outcome.said());
}
