//! Toxiproxy's toxics, with its semantics.

use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::*;

#[tokio::test]
async fn latency_delays_one_way_and_can_be_changed_on_a_live_connection() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    round_trip(&mut client, &mut server).await;
    kit.add(Downstream, "latency", json!({"latency": 100}));
    let took = round_trip(&mut client, &mut server).await;
    assert!((ms(100)..ms(5_000)).contains(&took), "{took:?}");
    kit.add(Upstream, "latency", json!({"latency": 50}));
    let took = round_trip(&mut client, &mut server).await;
    assert!((ms(150)..ms(5_000)).contains(&took), "{took:?}");
    // What waits already is let go by the change.
    kit.update("latency_downstream", json!({"latency": 60_000}));
    send(&mut server, b"late").await;
    expect_silence(&mut client, ms(50)).await;
    kit.update("latency_downstream", json!({"latency": 1}));
    expect(&mut client, b"late").await;
    kit.remove("latency_downstream");
    kit.remove("latency_upstream");
    assert!(fastest(&mut client, &mut server, ms(50)).await < ms(50));
}

#[tokio::test]
async fn latency_is_exact_to_a_fraction_of_a_millisecond() {
    let kit = Kit::new().await;
    kit.add(Downstream, "latency", json!({"latency": 5}));
    let (mut client, mut server) = kit.connect().await;
    // A timer with steps of a millisecond cannot do this, even on a quiet machine. The fastest is what the timer can do.
    let sharp = std::time::Duration::from_micros(5_900);
    let took = fastest(&mut client, &mut server, sharp).await;
    assert!((ms(5)..sharp).contains(&took), "{took:?}");
}

#[tokio::test]
async fn latency_leaves_the_rate_alone() {
    let kit = Kit::new().await;
    kit.add(Upstream, "latency", json!({"latency": 100}));
    let (mut client, mut server) = kit.connect().await;
    let bytes = pattern(8 << 20);
    let start = Instant::now();
    let (sent, _) = (bytes.clone(), ());
    let writing = tokio::spawn(async move { client.write_all(&sent).await.map(|()| client) });
    expect(&mut server, &bytes).await;
    let took = start.elapsed();
    // Serially, a chunk after the other, it would take 25 s.
    assert!((ms(100)..ms(12_000)).contains(&took), "{took:?}");
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn bandwidth_is_kept_at_small_and_large_rates() {
    for (rate, len) in [(100, 50_000), (50_000, 25_000_000)] {
        let kit = Kit::new().await;
        kit.add(Downstream, "bandwidth", json!({"rate": rate}));
        let (mut client, mut server) = kit.connect().await;
        let bytes = pattern(len);
        let start = Instant::now();
        let sent = bytes.clone();
        let writing = tokio::spawn(async move { server.write_all(&sent).await.map(|()| server) });
        expect(&mut client, &bytes).await;
        let took = start.elapsed();
        assert!((ms(485)..ms(5_000)).contains(&took), "{took:?} at {rate} KB/s for half a second of data");
        writing.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_close_can_be_slow() {
    let kit = Kit::new().await;
    kit.add(Upstream, "slow_close", json!({"delay": 150}));
    let (mut client, mut server) = kit.connect().await;
    send(&mut client, b"last words").await;
    client.shutdown().await.unwrap();
    expect(&mut server, b"last words").await;
    let (end, took) = rest(&mut server).await;
    assert_eq!(end.unwrap(), b"");
    assert!((ms(100)..ms(5_000)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_timeout_loses_everything_and_closes_after_silence() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    kit.add(Upstream, "timeout", json!({"timeout": 150}));
    let start = Instant::now();
    for _ in 0..5 {
        send(&mut client, b"lost").await;
        tokio::time::sleep(ms(50)).await;
    }
    let (got, _) = rest(&mut server).await;
    assert_eq!(got.unwrap(), b"");
    assert!(start.elapsed() >= ms(340), "every byte begins the silence anew: {:?}", start.elapsed());
    expect_end(&mut client).await;
}

#[tokio::test]
async fn a_timeout_of_zero_stays_open_until_it_is_removed() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    kit.add(Downstream, "timeout", json!({}));
    send(&mut server, b"lost").await;
    expect_silence(&mut client, ms(200)).await;
    kit.remove("timeout_downstream");
    expect_end(&mut client).await;
    expect_end(&mut server).await;
}

#[tokio::test]
async fn slices_arrive_whole_and_in_order() {
    let kit = Kit::new().await;
    kit.add(Upstream, "slicer", json!({"average_size": 100, "size_variation": 20, "delay": 1_000}));
    let (mut client, mut server) = kit.connect().await;
    let bytes = pattern(10_000);
    send(&mut client, &bytes).await;
    client.shutdown().await.unwrap();
    let start = Instant::now();
    let (mut got, mut reads, mut buffer) = (Vec::new(), 0, [0; 4_096]);
    while let len @ 1.. = server.read(&mut buffer).await.unwrap() {
        got.extend_from_slice(&buffer[..len]);
        reads += 1;
    }
    assert!(got == bytes);
    assert!(reads > 20, "only {reads} reads for 100 slices and more");
    assert!(start.elapsed() >= ms(80), "{:?}", start.elapsed());
}

#[tokio::test]
async fn data_is_limited_to_the_byte() {
    let kit = Kit::new().await;
    kit.add(Downstream, "limit_data", json!({"bytes": 100_001}));
    let (mut client, mut server) = kit.connect().await;
    let bytes = pattern(200_000);
    send(&mut client, b"a request that nobody reads").await;
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        let _ = server.write_all(&sent).await;
    });
    assert!(rest(&mut client).await.0.unwrap() == bytes[..100_001]);
    writing.await.unwrap();
}

#[tokio::test]
async fn toxicity_is_drawn_once_for_each_connection() {
    let kit = Kit::new().await;
    let mut spec = toxic(Downstream, "latency", json!({"latency": 60_000}));
    spec.toxicity = 0.5;
    kit.faults.add_toxic("p", spec).unwrap();
    let (mut struck, mut spared) = (0, 0);
    for _ in 0..40 {
        let (mut client, mut server) = kit.connect().await;
        send(&mut server, b"!").await;
        let mut byte = [0];
        match tokio::time::timeout(ms(30), client.read_exact(&mut byte)).await {
            Ok(read) => spared += read.unwrap(),
            Err(_) => struck += 1,
        }
    }
    assert_eq!(struck + spared, 40);
    assert!((6..=34).contains(&struck), "{struck} of 40 at a half");
}
