//! The API over HTTP, as a client meets it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use squall_faultproxy::{FaultProxy, Options, serve};
use squall_testkit::exposition::Samples;
use squall_testkit::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::kit::*;

async fn start(faults: FaultProxy) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(serve(listener, faults, stop.clone()));
    (address, stop, serving)
}

/// Status line and headers in small letters, and the body.
pub(crate) async fn ask(api: SocketAddr, request: &str, headers: &str, body: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(api).await.unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // One that is told early that this is too much may be reset over the rest.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    within("an answer", LONG, stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn answers_carry_what_clients_look_for() {
    let kit = Kit::new().await;
    let (api, stop, serving) = start(kit.faults.clone()).await;
    // curl sends no content type of its own choice, and nobody minds.
    let (head, body) =
        ask(api, "POST /proxies/p/toxics", "", br#"{"type":"latency","attributes":{"latency":50}}"#).await;
    assert!(head.starts_with("http/1.1 200") && head.contains("x-toxiproxy-request-id: "), "{head}");
    assert!(body.contains("\"latency_downstream\""), "{body}");
    let (mut client, mut server) = kit.connect().await;
    assert!(round_trip(&mut client, &mut server).await >= ms(50));
    let (head, body) = ask(api, "POST /proxies/p/toxics", "", br#"{"type":"latency"}"#).await;
    assert!(head.starts_with("http/1.1 409") && head.contains("content-type: text/plain; charset=utf-8"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff") && body.ends_with("}\n"), "{head}");
    for request in ["GET /nothing", "PUT /proxies"] {
        let (head, _) = ask(api, request, "", b"").await;
        assert!(!head.contains("x-toxiproxy-request-id"), "no route, no id: {head}");
    }
    for headers in ["user-agent: Mozilla/5.0\r\n", "origin: http://evil.example\r\n"] {
        let (head, body) = ask(api, "POST /reset", headers, b"").await;
        assert!(head.starts_with("http/1.1 403") && body == "User agent not allowed\n", "{head}");
    }
    let (head, _) = ask(api, "POST /reset", "", b"").await;
    assert!(head.starts_with("http/1.1 204"), "{head}");
    assert!(fastest(&mut client, &mut server, ms(50)).await < ms(50));
    stop.cancel();
    within("the end", LONG, serving).await.unwrap();
    assert!(TcpStream::connect(api).await.is_err());
    round_trip(&mut client, &mut server).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let options = Options { max_body_bytes: 1_000, ..Default::default() };
    let (api, ..) = start(FaultProxy::new(options, &CancellationToken::new())).await;
    let (head, body) = ask(api, "POST /proxies", "", &[b' '; 1_001]).await;
    assert!(head.starts_with("http/1.1 413") && body.contains("larger than 1000 bytes"), "{head} {body}");
    let (head, _) = ask(api, "POST /proxies", "", &[b' '; 1_000]).await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
}

#[tokio::test]
async fn connections_to_the_api_are_bounded() {
    let options = Options { max_api_connections: 1, ..Default::default() };
    let (api, ..) = start(FaultProxy::new(options, &CancellationToken::new())).await;
    let idle = TcpStream::connect(api).await.unwrap();
    tokio::time::sleep(ms(50)).await;
    let second = tokio::spawn(async move { ask(api, "GET /version", "", b"").await });
    tokio::time::sleep(ms(100)).await;
    assert!(!second.is_finished(), "it waits for its turn");
    drop(idle);
    assert!(within("its turn", LONG, second).await.unwrap().0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn metrics_are_there_while_connections_live() {
    let kit = Kit::new().await;
    let (api, ..) = start(kit.faults.clone()).await;
    kit.add(Upstream, "slicer", json!({"average_size": 10}));
    let (mut client, mut server) = kit.connect().await;
    send(&mut client, &pattern(1_000)).await;
    expect(&mut server, &pattern(1_000)).await;
    squall_testkit::eventually("the figures", Duration::from_secs(5), async || {
        let samples = Samples::parse(&ask(api, "GET /metrics", "", b"").await.1).unwrap();
        let up = [("direction", "upstream"), ("proxy", "p")];
        let listen = kit.listen.to_string();
        let of = [("proxy", "p"), ("toxic", "slicer_upstream"), ("type", "slicer"), ("stream", "upstream")];
        let all = samples.sum("toxiproxy_proxy_received_bytes_total", &up) == 1_000.0
            && samples.sum("toxiproxy_proxy_sent_bytes_total", &[("listener", &listen), ("direction", "upstream")])
                == 1_000.0
            && samples.sum("squall_proxy_open_connections", &[("proxy", "p")]) == 1.0
            && samples.sum("squall_proxy_connections_total", &[]) == 1.0
            && samples.sum("squall_toxic_bytes_total", &of) == 1_000.0
            && samples.sum("squall_toxic_acts_total", &of) >= 100.0
            && samples.sum("squall_toxic_connections_total", &of) == 1.0;
        all.then_some(())
    })
    .await;
}
