//! What Toxiproxy 2.12 and noxious 1.0.4 get wrong, each once.

use std::time::{Duration, Instant};

use serde_json::json;
use squall_faultproxy::{ProxySpec, ProxyUpdate};
use squall_testkit::{eventually, within};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::kit::*;

/// Toxiproxy closes both directions when one ends, and loses the answer.
#[tokio::test]
async fn a_half_close_does_not_lose_the_answer() {
    for toxics in
        [vec![], vec![toxic(Upstream, "latency", json!({"latency": 5})), toxic(Downstream, "noop", json!({}))]]
    {
        let kit = Kit::with(Default::default(), toxics).await;
        let (mut client, mut server) = kit.connect().await;
        send(&mut client, b"all of it").await;
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut server).await.0.unwrap(), b"all of it");
        let answer = pattern(3 << 20);
        let sent = answer.clone();
        let writing = tokio::spawn(async move { server.write_all(&sent).await.and(server.shutdown().await) });
        assert!(rest(&mut client).await.0.unwrap() == answer);
        writing.await.unwrap().unwrap();
    }
}

/// Toxiproxy sends open connections a FIN, and idle ones nothing.
#[tokio::test]
async fn reset_peer_resets_open_and_idle_connections_on_both_sides() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    kit.add(Downstream, "reset_peer", json!({"timeout": 50}));
    expect_reset(&mut client).await;
    expect_reset(&mut server).await;
    // One that is opened later is reset with its first data.
    let (mut client, mut server) = kit.connect().await;
    expect_silence(&mut client, ms(150)).await;
    send(&mut server, b"!").await;
    expect_reset(&mut client).await;
    assert_eq!(kit.faults.figures()[0].resets, 2);
}

/// Toxiproxy sets SO_LINGER even when the toxic spares the connection.
#[tokio::test]
async fn a_reset_peer_that_spares_a_connection_does_not_touch_it() {
    let kit = Kit::new().await;
    let mut spec = toxic(Downstream, "reset_peer", json!({}));
    spec.toxicity = 0.0;
    kit.faults.add_toxic("p", spec).unwrap();
    let (mut client, mut server) = kit.connect().await;
    round_trip(&mut client, &mut server).await;
    client.shutdown().await.unwrap();
    expect_end(&mut server).await;
    server.shutdown().await.unwrap();
    expect_end(&mut client).await;
}

/// Toxiproxy dies of this.
#[tokio::test]
async fn a_slicer_without_attributes_passes_everything() {
    let kit = Kit::new().await;
    kit.add(Upstream, "slicer", json!({}));
    let (mut client, mut server) = kit.connect().await;
    let bytes = pattern(100_000);
    send(&mut client, &bytes).await;
    expect(&mut server, &bytes).await;
}

/// A listener whose queue is full, so that connecting to it hangs.
async fn black_hole() -> (socket2::Socket, String, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(1).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(ms(200), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
    }
    (socket, address.to_string(), queued)
}

/// In Toxiproxy the call blocks for 25 s, and so do all new clients of the proxy.
#[tokio::test]
async fn a_dial_that_hangs_holds_up_nobody() {
    let (_socket, address, _queued) = black_hole().await;
    let kit = Kit::new().await;
    let listen = kit.faults.create(ProxySpec::new("slow", address)).await.unwrap().listen;
    let mut waiting = [TcpStream::connect(&listen).await.unwrap(), TcpStream::connect(&listen).await.unwrap()];
    eventually("both are accepted", LONG, async || {
        let figures = kit.faults.figures();
        (figures.iter().find(|proxy| proxy.name == "slow")?.open == 2).then_some(())
    })
    .await;
    let start = Instant::now();
    kit.faults.update("slow", ProxyUpdate { enabled: Some(false), ..Default::default() }).await.unwrap();
    kit.faults.delete("slow").await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for client in &mut waiting {
        expect_end(client).await;
    }
}

/// Toxiproxy rolls the dice again on live connections whenever a neighbour comes or goes.
#[tokio::test]
async fn toxicity_is_not_drawn_again() {
    let kit = Kit::new().await;
    let mut spec = toxic(Downstream, "latency", json!({"latency": 60_000}));
    spec.toxicity = 0.5;
    kit.faults.add_toxic("p", spec).unwrap();
    // One that is spared.
    let (mut client, mut server) = loop {
        let (mut client, mut server) = kit.connect().await;
        send(&mut server, b"!").await;
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read_exact(&mut client, &mut byte);
        if tokio::time::timeout(ms(100), read).await.is_ok() {
            break (client, server);
        }
    };
    for _ in 0..20 {
        kit.add(Downstream, "noop", json!({}));
        round_trip(&mut client, &mut server).await;
        kit.remove("noop_downstream");
        round_trip(&mut client, &mut server).await;
    }
}

/// Toxiproxy counts when a connection ends.
#[tokio::test]
async fn bytes_are_counted_while_they_flow() {
    let kit = Kit::new().await;
    kit.add(Upstream, "latency", json!({"latency": 1}));
    let (mut client, mut server) = kit.connect().await;
    send(&mut client, b"12345").await;
    expect(&mut server, b"12345").await;
    eventually("the figures", LONG, async || {
        let figures = kit.faults.figures().remove(0);
        let toxic = figures.toxics[0].3;
        (figures.flows[0] == (5, 5) && figures.open == 1 && (toxic.connections, toxic.bytes) == (1, 5)).then_some(())
    })
    .await;
}

/// 11 times too slow with Toxiproxy, whose pauses are a timer's steps.
#[tokio::test]
async fn pauses_of_microseconds_are_such() {
    let kit = Kit::new().await;
    kit.add(Downstream, "slicer", json!({"average_size": 64, "size_variation": 0, "delay": 100}));
    let (mut client, mut server) = kit.connect().await;
    let bytes = pattern(64 << 10);
    // 1,024 slices: 0.10 s, when the machine lets us.
    let mut took = LONG;
    for _ in 0..20 {
        let start = Instant::now();
        send(&mut server, &bytes).await;
        expect(&mut client, &bytes).await;
        took = took.min(start.elapsed());
        if took < ms(600) {
            break;
        }
    }
    assert!((ms(100)..ms(600)).contains(&took), "{took:?}");
}

/// noxious panics at low rates, and 20 messages take the latency 20 times.
#[tokio::test]
async fn a_trickle_and_a_train_of_messages() {
    let kit = Kit::new().await;
    kit.add(Upstream, "bandwidth", json!({"rate": 1}));
    let (mut client, mut server) = kit.connect().await;
    send(&mut client, &pattern(300)).await;
    let start = Instant::now();
    expect(&mut server, &pattern(300)).await;
    assert!((ms(250)..ms(5_000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    kit.remove("bandwidth_upstream");
    kit.add(Upstream, "latency", json!({"latency": 400}));
    let start = Instant::now();
    for n in 0..20 {
        send(&mut client, &[n]).await;
        tokio::time::sleep(ms(1)).await;
    }
    within("the train", LONG, expect(&mut server, &(0..20).collect::<Vec<u8>>())).await;
    // One after the other they would take 8 s.
    assert!(start.elapsed() < ms(5_000), "{:?}", start.elapsed());
}
