//! A ledger that never finds anything proves nothing. Here the storm meets a real gateway behind a shim that loses one
//! acknowledged task, doubles one delivery and swaps two tasks of one key. Each must be found and named, and the run must
//! end with 98.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod storm_kit;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use squall_report::record::FindingClass;
use squall_testkit::Setup;
use storm_kit::Storm;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What the shim did, by the storm's task numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Planted {
    lost: Option<u64>,
    doubled: Option<u64>,
    /// Published first, and put behind the other.
    swapped: Option<(u64, u64)>,
}

/// Which of the three it does.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    lose: bool,
    double: bool,
    swap: bool,
    /// Lets a subscriber have some events, and then nothing any more.
    hush: bool,
    /// Keeps one event from a subscriber.
    skip: bool,
}

/// Events that a subscriber gets before the feed falls silent.
const HEARD: usize = 10;

struct Shim {
    url: String,
    planted: Arc<Mutex<Planted>>,
}

impl Shim {
    async fn before(gateway: &str, wanted: Wanted) -> Self {
        let gateway = gateway.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let planted = Arc::new(Mutex::new(Planted::default()));
        let shared = planted.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = TcpStream::connect(&gateway).await.unwrap();
                let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
                tokio::spawn(relay(client, upstream, wanted, shared.clone()));
            }
        });
        Self { url, planted }
    }
}

/// Hands everything on. On `/ws/work` it looks into the frames; everything else goes through as it is.
async fn relay(client: TcpStream, upstream: TcpStream, wanted: Wanted, planted: Arc<Mutex<Planted>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_upstream, mut to_upstream) = upstream.into_split();
    let Some(head) = read_head(&mut from_client).await else { return };
    to_upstream.write_all(&head).await.unwrap();
    if (wanted.hush || wanted.skip) && head.starts_with(b"GET /ws/events") {
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_upstream).await });
        let Some(head) = read_head(&mut from_upstream).await else { return };
        to_client.write_all(&head).await.unwrap();
        let mut heard = 0;
        while let Some(frame) = Frame::read(&mut from_upstream).await {
            heard += 1;
            let handed_on = if wanted.hush { heard <= HEARD } else { heard != HEARD };
            if handed_on && to_client.write_all(&frame.bytes(false)).await.is_err() {
                return;
            }
        }
        return;
    }
    if !head.starts_with(b"GET /ws/work") {
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_upstream).await });
        let _ = tokio::io::copy(&mut from_upstream, &mut to_client).await;
        return;
    }
    let Some(head) = read_head(&mut from_upstream).await else { return };
    to_client.write_all(&head).await.unwrap();
    // Acks that the shim forges go the same way as the worker's own frames.
    let to_upstream = Arc::new(tokio::sync::Mutex::new(to_upstream));
    tokio::spawn(publishes(from_client, to_upstream.clone(), wanted, planted.clone()));
    deliveries(from_upstream, to_client, to_upstream, wanted, planted).await;
}

/// Everything up to the empty line.
async fn read_head(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    Some(head)
}

struct Frame {
    opcode: u8,
    payload: Vec<u8>,
}

const TEXT: u8 = 1;

impl Frame {
    async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let (first, second) = (from.read_u8().await.ok()?, from.read_u8().await.ok()?);
        assert_eq!(first & 0x80, 0x80, "neither side sends fragments");
        let length = match second & 0x7f {
            126 => u64::from(from.read_u16().await.ok()?),
            127 => from.read_u64().await.ok()?,
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            from.read_exact(&mut mask).await.ok()?;
        }
        let mut payload = vec![0; length as usize];
        from.read_exact(&mut payload).await.ok()?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Some(Self { opcode: first & 0x0f, payload })
    }

    fn text(payload: String) -> Self {
        Self { opcode: TEXT, payload: payload.into_bytes() }
    }

    /// As the side that masks sends it, with a mask of zeros, or as the other.
    fn bytes(&self, masked: bool) -> Vec<u8> {
        let flag = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | self.opcode];
        match self.payload.len() {
            short @ 0..126 => bytes.push(flag | short as u8),
            middle @ 126..65_536 => {
                bytes.push(flag | 126);
                bytes.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                bytes.push(flag | 127);
                bytes.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        if masked {
            bytes.extend_from_slice(&[0; 4]);
        }
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// What stands under its one key.
    fn inside(&self, key: &str) -> Option<Value> {
        let value: Value = serde_json::from_slice(&self.payload).ok()?;
        value.get(key).cloned()
    }
}

/// From producers to the gateway: swaps the first two tasks that carry the same key.
async fn publishes(
    mut from: OwnedReadHalf,
    to: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    wanted: Wanted,
    planted: Arc<Mutex<Planted>>,
) {
    let mut held: Option<(Frame, Value)> = None;
    while let Some(frame) = Frame::read(&mut from).await {
        let mut out = Vec::new();
        let publish = frame.inside("publish").filter(|task| task["key"].is_string());
        let done = planted.lock().unwrap().swapped.is_some();
        match (publish, held.take()) {
            (Some(task), None) if wanted.swap && !done => held = Some((frame, task)),
            (Some(task), Some((first, first_task))) => {
                assert_eq!(task["key"], first_task["key"], "the scenario has one key only");
                let number = |task: &Value| task["payload"]["n"].as_u64().unwrap();
                planted.lock().unwrap().swapped = Some((number(&first_task), number(&task)));
                out = [frame.bytes(true), first.bytes(true)].concat();
            }
            (_, first) => {
                out.extend(first.map(|(first, _)| first.bytes(true)).unwrap_or_default());
                out.extend(frame.bytes(true));
            }
        }
        if to.lock().await.write_all(&out).await.is_err() {
            return;
        }
    }
    let _ = to.lock().await.shutdown().await;
}

/// From the gateway to workers: takes one task away and acknowledges it in the worker's name, and hands one over twice.
async fn deliveries(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    back: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    wanted: Wanted,
    planted: Arc<Mutex<Planted>>,
) {
    while let Some(frame) = Frame::read(&mut from).await {
        let mut out = frame.bytes(false);
        if let Some(task) = frame.inside("deliver").filter(|task| task["key"].is_null()) {
            let number = task["payload"]["n"].as_u64();
            let mut forged = None;
            {
                let mut planted = planted.lock().unwrap();
                if wanted.lose && planted.lost.is_none() {
                    planted.lost = number;
                    out.clear();
                    forged = Some(Frame::text(format!(r#"{{"ack":{}}}"#, task["id"])));
                } else if wanted.double && planted.doubled.is_none() {
                    planted.doubled = number;
                    out.extend(frame.bytes(false));
                }
            }
            if let Some(forged) = forged {
                let credit = Frame::text(r#"{"credit":1}"#.to_owned());
                back.lock().await.write_all(&[forged.bytes(true), credit.bytes(true)].concat()).await.unwrap();
            }
        }
        if to.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// Some tasks without a key, and some that all have the same one.
const SCENARIO: &str = r#"
name = "planted"
settle = "15s"

[[load]]
name = "plain"
workload = "tasks"
executor = "constant-arrival-rate"
rate = 100
duration = "2s"
pre_allocated_vus = 200
lanes = ["work"]

[[load]]
name = "keyed"
workload = "tasks"
transport = "ws"
batch = 4
executor = "per-vu-iterations"
iterations = 20
lanes = ["work"]
keyed = 1.0
keys = 1

[[load]]
workload = "workers"
executor = "constant-vus"
vus = 2
duration = "2s"
lanes = ["work"]
work_ms = [2, 4]

# How late a busy machine makes the storm is not what is tested here.
[generator]
max_lateness_p99_ms = 60000
max_dropped = 1
"#;

async fn run(wanted: Wanted) -> (Planted, storm_kit::Outcome) {
    run_scenario(SCENARIO, wanted).await
}

async fn run_scenario(scenario: &str, wanted: Wanted) -> (Planted, storm_kit::Outcome) {
    let setup = Setup::new(env!("CARGO_BIN_EXE_squall")).config("[lanes.work]\nconcurrency = 100\n");
    let gateway = setup.start().await.unwrap();
    let shim = Shim::before(gateway.url(), wanted).await;
    let storm = Storm::new(scenario).args(&["--target", &shim.url]);
    let outcome = tokio::time::timeout(Duration::from_secs(60), storm.run()).await.expect("the run ends");
    let planted = *shim.planted.lock().unwrap();
    (planted, outcome)
}

#[tokio::test]
async fn what_the_shim_does_is_found_and_named() {
    let (planted, outcome) = run(Wanted { lose: true, double: true, swap: true, ..Wanted::default() }).await;
    let (lost, doubled) = (planted.lost.unwrap(), planted.doubled.unwrap());
    let (first, second) = planted.swapped.unwrap();
    assert_eq!(outcome.code, Some(98), "{}", outcome.said());
    let record = outcome.record();
    let ledger = record.ledger.unwrap();
    assert_eq!((ledger.lost, ledger.pending, ledger.unexpected), (1, 0, 0), "{ledger:?}");
    assert_eq!((ledger.duplicated.unexplained, ledger.duplicated.explained), (1, 0), "{ledger:?}");
    assert_eq!(ledger.reordered, 1, "{ledger:?}");
    let of = |class: FindingClass| ledger.findings.iter().find(|it| it.class == class).unwrap();
    assert!(of(FindingClass::Lost).task.ends_with(&format!("(#{lost})")), "{lost}: {ledger:?}");
    assert!(of(FindingClass::Duplicated).task.ends_with(&format!("(#{doubled})")), "{doubled}: {ledger:?}");
    let reordered = of(FindingClass::Reordered);
    assert!(reordered.task.ends_with(&format!("(#{second})")), "{second}: {ledger:?}");
    assert!(reordered.detail.contains(&format!("before task {first},")), "{first}: {reordered:?}");
    // A person finds it as well: on the terminal, and in the summary.
    let summary = std::fs::read_to_string(outcome.run_dir().join("summary.md")).unwrap();
    for text in [&outcome.stdout, &summary] {
        assert!(text.contains(&format!("#{lost})")), "the lost task is not named in: {text}");
    }
}

#[tokio::test]
async fn a_shim_that_does_nothing_changes_nothing() {
    let (planted, outcome) = run(Wanted::default()).await;
    assert_eq!(planted, Planted::default());
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    let ledger = outcome.record().ledger.unwrap();
    assert_eq!((ledger.lost, ledger.reordered, ledger.duplicated.total()), (0, 0, 0), "{ledger:?}");
    assert!(ledger.acknowledged >= 250, "{ledger:?}");
}

#[tokio::test]
async fn a_feed_that_falls_silent_is_found() {
    let subscribers = "[[load]]\nworkload = \"subscribers\"\nexecutor = \"constant-vus\"\nduration = \"2s\"\n";
    let promise = "[thresholds]\nfeed_gaps = \"count==0\"\nfeed_shortfall = \"count==0\"\n";
    let scenario = format!("{}{subscribers}{promise}", SCENARIO.replace("settle = \"15s\"", "settle = \"5s\""));
    for (hush, code) in [(true, 99), (false, 0)] {
        let (_, outcome) = run_scenario(&scenario, Wanted { hush, ..Wanted::default() }).await;
        assert_eq!(outcome.code, Some(code), "{}", outcome.said());
        let record = outcome.record();
        let missing = record.thresholds.iter().find(|it| it.selector == "feed_shortfall").unwrap().measured.unwrap();
        assert_eq!(missing > 0.0, hush, "{:?}", record.thresholds);
        let noted = record.notes.iter().any(|note| note.contains("never got to the end of the feed"));
        assert_eq!(noted, hush, "{:?}", record.notes);
    }
}

#[tokio::test]
async fn an_event_that_is_skipped_without_a_word_is_found_and_named() {
    let subscribers = "[[load]]\nworkload = \"subscribers\"\nexecutor = \"constant-vus\"\nduration = \"2s\"\n";
    let scenario = format!("{SCENARIO}{subscribers}");
    let (_, outcome) = run_scenario(&scenario, Wanted { skip: true, ..Wanted::default() }).await;
    assert_eq!(outcome.code, Some(98), "{}", outcome.said());
    let feed = outcome.record().feed.unwrap();
    assert_eq!((feed.gaps, feed.repeats, feed.conflicts, feed.findings.len()), (1, 0, 0, 1), "{feed:?}");
    let finding = &feed.findings[0];
    let (got, after) = (finding.offset, finding.offset - 2);
    assert_eq!(finding.detail, format!("subscriber 1 got {got} after {after}"));
}

#[tokio::test]
async fn duplicates_alone_are_counted_and_allowed() {
    let (planted, outcome) = run(Wanted { double: true, ..Wanted::default() }).await;
    assert!(planted.doubled.is_some());
    assert_eq!(outcome.code, Some(0), "{}", outcome.said());
    assert_eq!(outcome.record().ledger.unwrap().duplicated.unexplained, 1);
}
