//! What Toxiproxy has not.

use std::time::Instant;

use serde_json::json;
use squall_faultproxy::{Options, Schedule, Seed, ToxicUpdate};
use squall_testkit::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::*;

#[tokio::test]
async fn corrupt_changes_bytes_and_keeps_their_number() {
    let kit = Kit::new().await;
    kit.add(Upstream, "corrupt", json!({"rate": 0.01}));
    let (mut client, mut server) = kit.connect().await;
    let bytes = pattern(200_000);
    let sent = bytes.clone();
    let writing = tokio::spawn(async move { client.write_all(&sent).await.and(client.shutdown().await) });
    let got = rest(&mut server).await.0.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(got.len(), bytes.len());
    let hit = got.iter().zip(&bytes).filter(|(got, sent)| got != sent).count();
    assert!((1_600..2_400).contains(&hit), "{hit}");
    assert_eq!(kit.faults.figures()[0].toxics[0].3.acts, hit as u64);
}

#[tokio::test]
async fn connections_die_at_random() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    kit.add(Downstream, "drop_connection", json!({"probability": 1}));
    expect_end(&mut client).await;
    expect_end(&mut server).await;
    kit.update("drop_connection_downstream", json!({"probability": 0}));
    let (mut client, mut server) = kit.connect().await;
    round_trip(&mut client, &mut server).await;
    kit.update("drop_connection_downstream", json!({"probability": 0.9999, "reset": true}));
    expect_reset(&mut client).await;
    expect_reset(&mut server).await;
}

#[tokio::test]
async fn a_stall_fills_the_senders_buffers_and_loses_nothing() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    round_trip(&mut client, &mut server).await;
    kit.add(Upstream, "stall", json!({}));
    let bytes = pattern(32 << 20);
    let mut sent = 0;
    // Until the system takes no more.
    while let Ok(wrote) = tokio::time::timeout(ms(300), client.write(&bytes[sent..])).await {
        sent += wrote.unwrap();
        assert!(sent < bytes.len(), "somebody reads");
    }
    expect_silence(&mut server, ms(50)).await;
    // The other way is open.
    send(&mut server, b"still here").await;
    expect(&mut client, b"still here").await;
    kit.remove("stall_upstream");
    let writing = tokio::spawn(async move {
        client.write_all(&bytes[sent..]).await.unwrap();
        client.shutdown().await.unwrap();
        bytes
    });
    let got = rest(&mut server).await.0.unwrap();
    assert!(got == writing.await.unwrap());
}

#[tokio::test]
async fn half_open_accepts_and_never_answers() {
    let kit = Kit::new().await;
    let (mut before, mut server) = kit.connect().await;
    kit.add(Downstream, "half_open", json!({}));
    let mut client = TcpStream::connect(kit.listen).await.unwrap();
    send(&mut client, b"anybody there?").await;
    expect_silence(&mut client, ms(200)).await;
    assert!(tokio::time::timeout(ms(50), kit.upstream.accept()).await.is_err(), "no upstream hears of it");
    // A connection that was open hears nothing more, not even that the server closes.
    send(&mut server, b"lost").await;
    server.shutdown().await.unwrap();
    expect_silence(&mut before, ms(100)).await;
    kit.remove("half_open_downstream");
    expect_end(&mut client).await;
    expect_end(&mut before).await;
    let (mut client, mut server) = kit.connect().await;
    round_trip(&mut client, &mut server).await;
}

#[tokio::test]
async fn a_schedule_turns_a_toxic_on_and_off() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    let mut spec = toxic(Downstream, "latency", json!({"latency": 300}));
    spec.schedule = Some(Schedule::parse("every 1s for 500ms").unwrap());
    let start = Instant::now();
    kit.faults.add_toxic("p", spec).unwrap();
    let (mut slow, mut fast, mut changes, mut was) = (0, 0, 0, true);
    while start.elapsed() < ms(3_300) {
        let is = round_trip(&mut client, &mut server).await >= ms(300);
        changes += u32::from(is != was);
        was = is;
        if is { slow += 1 } else { fast += 1 }
    }
    assert!(slow >= 2 && fast >= 2 && (2..=7).contains(&changes), "{slow} slow, {fast} fast, {changes} changes");
    // Without a schedule it is on.
    kit.faults
        .update_toxic("p", "latency_downstream", ToxicUpdate { schedule: Some(None), ..Default::default() })
        .unwrap();
    assert!(round_trip(&mut client, &mut server).await >= ms(300));
    // One that is over leaves the toxic there, off.
    let once = ToxicUpdate { schedule: Some(Some(Schedule::parse("for 50ms").unwrap())), ..Default::default() };
    kit.faults.update_toxic("p", "latency_downstream", once).unwrap();
    eventually("it is off", LONG, async || {
        (!kit.faults.toxic("p", "latency_downstream").unwrap().active).then_some(())
    })
    .await;
    assert!(fastest(&mut client, &mut server, ms(300)).await < ms(300));
}

/// Which of 24 connections are struck, and how their bytes are hit.
async fn run(seed: u64) -> (Vec<bool>, Vec<u8>) {
    let mut half = toxic(Downstream, "limit_data", json!({"bytes": 0}));
    half.toxicity = 0.5;
    let toxics = vec![half, toxic(Upstream, "corrupt", json!({"rate": 0.1}))];
    let kit = Kit::with(Options { seed: Seed(seed), ..Default::default() }, toxics).await;
    let (mut struck, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..24 {
        let (mut client, mut server) = kit.connect().await;
        send(&mut client, &[0; 100]).await;
        let mut got = [0; 100];
        server.read_exact(&mut got).await.unwrap();
        bytes.extend(got);
        send(&mut server, b"!").await;
        let mut byte = [0];
        struck.push(client.read(&mut byte).await.unwrap() == 0);
    }
    (struck, bytes)
}

#[tokio::test]
async fn a_seed_makes_a_run_repeatable() {
    let (first, again, other) = (run(7).await, run(7).await, run(8).await);
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
    assert_ne!(first.1, other.1);
}

#[tokio::test]
async fn a_distribution_is_seen_from_outside() {
    let kit = Kit::new().await;
    let spread = json!({"latency": 10, "distribution": "histogram", "histogram": [[1, 0], [2, 1], [40, 0], [42, 1]]});
    kit.add(Downstream, "latency", spread);
    let (mut client, mut server) = kit.connect().await;
    let (mut short, mut long) = (0, 0);
    for _ in 0..40 {
        match round_trip(&mut client, &mut server).await {
            took if took >= ms(50) => long += 1,
            took => {
                assert!(took >= ms(11), "{took:?}");
                short += 1;
            }
        }
    }
    assert!(short >= 8 && long >= 8, "{short} short, {long} long");
}

/// Toxics that lose nothing come and go while megabytes flow, through copies and through the kernel's pipe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn toxics_come_and_go_and_every_byte_arrives() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    let bytes = pattern(192 << 20);
    let sent = bytes.clone();
    let writing = tokio::spawn(async move { client.write_all(&sent).await.and(client.shutdown().await) });
    let reading = tokio::spawn(async move { rest(&mut server).await.0.unwrap() });
    let changes = [
        ("latency", json!({"latency": 3, "jitter": 2})),
        ("slicer", json!({"average_size": 9_000, "size_variation": 500})),
        ("stall", json!({})),
        ("bandwidth", json!({"rate": 500_000})),
        ("noop", json!({})),
    ];
    for (kind, attributes) in changes.iter().cycle().take(25) {
        if reading.is_finished() {
            break;
        }
        kit.add(Upstream, kind, attributes.clone());
        tokio::time::sleep(ms(4)).await;
        kit.remove(&format!("{kind}_upstream"));
        tokio::time::sleep(ms(4)).await;
    }
    assert!(reading.await.unwrap() == bytes);
    writing.await.unwrap().unwrap();
    assert!(kit.faults.figures()[0].connections == 1);
}
