//! One HTTP connection against servers that answer well, badly, late or not at all.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use squall_client::{Endpoint, Endpoints, Error, Http, Options};
use squall_protocol::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A server that hands each connection to the script, one after the other; answers how many requests it has read.
async fn serve<F, S>(script: F) -> Endpoint
where
    F: Fn(usize, Peer) -> S + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for nth in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            script(nth, Peer { stream }).await;
        }
    });
    Endpoint::parse(&address.to_string()).unwrap()
}

struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Reads one request, head and body; `None` at the end of the connection.
    async fn request(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).await.ok().filter(|&read| read > 0)?;
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
    }

    async fn answer(&mut self, status: &str, body: &str) {
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

fn options() -> Options {
    Options { request_timeout: Duration::from_secs(10), max_message_bytes: 100_000, ..Options::default() }
}

async fn post(http: &mut Http, body: &'static str) -> Result<String, Error> {
    let answer = http.request(Method::POST, "/x", &[], Bytes::from_static(body.as_bytes())).await?;
    Ok(String::from_utf8(answer.accepted()?.body.to_vec()).unwrap())
}

#[tokio::test]
async fn requests_share_a_connection_and_carry_host_and_token() {
    let endpoint = serve(|_, mut peer| async move {
        while let Some(request) = peer.request().await {
            assert!(request.contains("authorization: Bearer s3cret\r\n"), "{request}");
            assert!(request.contains("host: 127.0.0.1:"), "{request}");
            let body = request.split_once("\r\n\r\n").unwrap().1;
            peer.answer("200 OK", body).await;
        }
    })
    .await;
    let mut http = Http::new(endpoint.with_token("s3cret").unwrap(), options());
    for body in ["one", "two", "three"] {
        assert_eq!(post(&mut http, body).await.unwrap(), body);
    }
    assert_eq!(http.connects(), 1);
}

#[tokio::test]
async fn an_answer_in_pieces_is_put_together() {
    let endpoint = serve(|_, mut peer| async move {
        peer.request().await;
        peer.stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
        tokio::task::yield_now().await;
        peer.stream.write_all(b"2\r\nde\r\n0\r\n\r\n").await.unwrap();
        peer.request().await;
    })
    .await;
    let mut http = Http::new(endpoint, options());
    assert_eq!(post(&mut http, "").await.unwrap(), "abcde");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    let endpoint = serve(|_, mut peer| async move {
        peer.request().await;
        peer.answer("200 OK", "fine").await;
    })
    .await;
    let mut http = Http::new(endpoint, options());
    for connects in 1..=3 {
        assert_eq!(post(&mut http, "x").await.unwrap(), "fine");
        assert_eq!(http.connects(), connects);
        // The end of the connection is on the loopback already; the runtime must look at the socket once to see it.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_request_that_was_read_and_not_answered_is_unknown_and_not_sent_again() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = serve(move |_, mut peer| {
        let seen = seen.clone();
        async move {
            let request = peer.request().await.unwrap();
            seen.send(request).unwrap();
        }
    })
    .await;
    let mut http = Http::new(endpoint, options());
    let error = post(&mut http, "once").await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    assert!(error.outcome_unknown());
    assert!(requests.recv().await.unwrap().ends_with("once"));
    assert!(requests.try_recv().is_err(), "it was sent again");
    assert_eq!(http.connects(), 1);
}

/// A server that answers the first connection's request only when it is told to, and says when it has; others at once.
async fn serve_late() -> (Endpoint, Arc<Notify>, Arc<Notify>) {
    let (go, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, say) = (Arc::clone(&go), Arc::clone(&gone));
    let endpoint = serve(move |nth, mut peer| {
        let (told, say) = (Arc::clone(&told), Arc::clone(&say));
        async move {
            peer.request().await;
            if nth > 0 {
                return peer.answer("200 OK", "mine").await;
            }
            tokio::spawn(async move {
                told.notified().await;
                // The client may have closed the connection, which is as good.
                let _ = peer.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").await;
                say.notify_one();
                std::future::pending::<()>().await;
            });
        }
    })
    .await;
    (endpoint, go, gone)
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_not_taken_for_the_next_one() {
    let (endpoint, go, gone) = serve_late().await;
    let mut http = Http::new(endpoint, Options { request_timeout: Duration::from_secs(1), ..options() });
    let error = post(&mut http, "first").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }) && error.outcome_unknown(), "{error:?}");
    go.notify_one();
    gone.notified().await;
    assert_eq!(post(&mut http, "second").await.unwrap(), "mine");
}

#[tokio::test]
async fn a_call_that_was_given_up_half_way_leaves_nothing_behind() {
    let (endpoint, go, gone) = serve_late().await;
    let mut http = Http::new(endpoint, options());
    tokio::time::timeout(Duration::from_millis(100), post(&mut http, "dropped")).await.unwrap_err();
    go.notify_one();
    gone.notified().await;
    assert_eq!(post(&mut http, "second").await.unwrap(), "mine");
}

#[tokio::test]
async fn refusals_are_told_with_their_code_and_strangers_by_their_words() {
    let endpoint = serve(|_, mut peer| async move {
        peer.request().await;
        let body = r#"{"error":{"code":"SessionLimit","message":"all taken","retry_after_ms":70}}"#;
        peer.answer("429 Too Many Requests", body).await;
        peer.request().await;
        peer.answer("502 Bad Gateway", "<html>").await;
    })
    .await;
    let mut http = Http::new(endpoint, options());
    let error = post(&mut http, "x").await.unwrap_err();
    assert_eq!((error.code(), error.retry_after_ms()), (Some(ErrorCode::SessionLimit), Some(70)));
    assert!(matches!(error, Error::Refused { status: 429, .. }) && !error.outcome_unknown());
    let error = post(&mut http, "x").await.unwrap_err();
    assert!(matches!(&error, Error::Protocol(text) if text.contains("502") && text.contains("<html>")), "{error:?}");
    assert!(error.outcome_unknown());
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_not_swallowed() {
    let endpoint = serve(|_, mut peer| async move {
        peer.request().await;
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n{}", "x".repeat(100_001));
        let _ = peer.stream.write_all(text.as_bytes()).await;
    })
    .await;
    let error = post(&mut Http::new(endpoint, options()), "x").await.unwrap_err();
    assert!(matches!(&error, Error::Protocol(text) if text.contains("100000 bytes")), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_said_at_once_and_nothing_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    drop(listener);
    let error = post(&mut Http::new(endpoint, options()), "x").await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && !error.outcome_unknown(), "{error:?}");
}

/// Nobody listens there: the port was free a moment ago.
fn nobody() -> Endpoint {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Endpoint::parse(&format!("http://127.0.0.1:{port}")).unwrap()
}

#[tokio::test]
async fn of_several_gateways_the_next_is_used_when_one_is_gone() {
    let draining = serve(|_, mut peer| async move {
        peer.request().await.unwrap();
        peer.answer("503 Service Unavailable", r#"{"error":{"code":"Draining","message":"stopping"}}"#).await;
    })
    .await;
    let breaking = serve(|_, mut peer| async move {
        peer.request().await.unwrap();
    })
    .await;
    let well = serve(|_, mut peer| async move {
        while peer.request().await.is_some() {
            peer.answer("200 OK", "well").await;
        }
    })
    .await;
    let all = [nobody(), draining.clone(), breaking, well.clone()];
    let mut http = Http::new(Endpoints::new(all).unwrap(), options());
    // The first was never reached, so the request went on by itself; what another has heard is the caller's to decide.
    assert_eq!(post(&mut http, "x").await.unwrap_err().code(), Some(ErrorCode::Draining));
    assert!(matches!(post(&mut http, "x").await, Err(Error::Lost { .. })));
    for _ in 0..2 {
        assert_eq!(post(&mut http, "x").await.unwrap(), "well");
        assert_eq!(http.endpoint().port(), well.port());
    }
    assert_eq!(http.connects(), 4);
    http.go_home();
    assert_eq!(post(&mut http, "x").await.unwrap_err().code(), Some(ErrorCode::Draining), "home is gone: the next one");
    let mut lost = Http::new(Endpoints::new([nobody(), nobody()]).unwrap(), options());
    assert!(matches!(post(&mut lost, "x").await, Err(Error::Connect { .. })));
}
