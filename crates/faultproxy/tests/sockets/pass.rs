//! Without toxics: as if there were no proxy.

use squall_faultproxy::{Options, ProxySpec, ProxyUpdate};
use squall_testkit::eventually;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::kit::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_arrives_both_ways_at_once() {
    let kit = Kit::new().await;
    let (client, server) = kit.connect().await;
    // Enough to go through the kernel's pipe, and not a multiple of anything.
    let bytes = pattern((24 << 20) + 4_711);
    let (mut client_reads, mut client_writes) = client.into_split();
    let (mut server_reads, mut server_writes) = server.into_split();
    let there = {
        let bytes = bytes.clone();
        tokio::spawn(async move { client_writes.write_all(&bytes).await.and(client_writes.shutdown().await) })
    };
    let back = {
        let bytes = bytes.clone();
        tokio::spawn(async move { server_writes.write_all(&bytes).await.and(server_writes.shutdown().await) })
    };
    let read = async |half: &mut tokio::net::tcp::OwnedReadHalf| {
        let mut got = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(half, &mut got).await.unwrap();
        got
    };
    let (up, down) = tokio::join!(read(&mut server_reads), read(&mut client_reads));
    assert!(up == bytes && down == bytes);
    there.await.unwrap().unwrap();
    back.await.unwrap().unwrap();
    let figures = kit.faults.figures().remove(0);
    let len = bytes.len() as u64;
    assert_eq!(figures.flows, [(len, len), (len, len)]);
    eventually("the connection is forgotten", LONG, async || (kit.faults.figures()[0].open == 0).then_some(())).await;
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    round_trip(&mut client, &mut server).await;
    client.set_zero_linger().unwrap();
    drop(client);
    expect_reset(&mut server).await;
    let (mut client, mut server) = kit.connect().await;
    round_trip(&mut client, &mut server).await;
    server.set_zero_linger().unwrap();
    drop(server);
    expect_reset(&mut client).await;
}

#[tokio::test]
async fn an_upstream_that_is_not_there_closes_the_connection() {
    let kit = Kit::new().await;
    let nobody = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    kit.faults.create(ProxySpec::new("dead", nobody.to_string())).await.unwrap();
    let listen = kit.faults.get("dead").unwrap().listen;
    expect_end(&mut TcpStream::connect(listen).await.unwrap()).await;
    let figures = kit.faults.figures();
    assert_eq!(figures.iter().find(|proxy| proxy.name == "dead").unwrap().unreachable, 1);
}

#[tokio::test]
async fn one_connection_too_many_is_reset() {
    let kit = Kit::with(Options { max_connections: 2, ..Default::default() }, Vec::new()).await;
    let (first, _first) = kit.connect().await;
    let (mut second, mut second_server) = kit.connect().await;
    expect_reset(&mut TcpStream::connect(kit.listen).await.unwrap()).await;
    assert_eq!(kit.faults.figures()[0].refused, 1);
    round_trip(&mut second, &mut second_server).await;
    drop((first, _first));
    eventually("there is room again", LONG, async || (kit.faults.figures()[0].open == 1).then_some(())).await;
    kit.connect().await;
}

#[tokio::test]
async fn a_disabled_proxy_is_down_and_comes_back_on_its_port() {
    let kit = Kit::new().await;
    let (mut client, mut server) = kit.connect().await;
    // Unread bytes must not turn the end into a reset.
    send(&mut client, b"unread").await;
    expect(&mut server, b"unread").await;
    let enabled = |enabled| ProxyUpdate { enabled: Some(enabled), ..Default::default() };
    kit.faults.update("p", enabled(false)).await.unwrap();
    expect_end(&mut client).await;
    expect_end(&mut server).await;
    assert!(TcpStream::connect(kit.listen).await.is_err(), "nobody listens");
    let view = kit.faults.update("p", enabled(true)).await.unwrap();
    assert_eq!(view.listen, kit.listen.to_string());
    let (mut client, mut server) = kit.connect().await;
    round_trip(&mut client, &mut server).await;
}

#[tokio::test]
async fn all_ends_with_the_token_and_stop_waits_for_it() {
    let kit = Kit::new().await;
    let (mut client, _server) = kit.connect().await;
    kit.stop.cancel();
    expect_end(&mut client).await;
    squall_testkit::within("the end of everything", LONG, kit.faults.stop()).await;
    assert!(TcpStream::connect(kit.listen).await.is_err());
    assert!(kit.faults.create(ProxySpec::new("late", "127.0.0.1:1")).await.is_err());
}
