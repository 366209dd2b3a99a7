//! Work, worker and subscriber against a WebSocket server of another make, which does what the test says.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use squall_client::events::{Filter, Item, Start};
use squall_client::work::{Event, Incoming};
use squall_client::ws::{Message as Taken, Socket};
use squall_client::{Backoff, Endpoint, Endpoints, Error, Lost, Options, Subscriber, Work, Worker};
use squall_protocol::{Epoch, ErrorCode, Gap, GapReason, NewTask, TaskId, Time};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};

type Server = WebSocketStream<TcpStream>;

/// A server whose n-th connection, with the target that it asked for, goes to the script.
async fn serve<F, S>(script: F) -> Endpoint
where
    F: Fn(usize, String, Server) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for nth in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let mut target = String::new();
            #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
            let note = |request: &Request, response: Response| {
                target = request.uri().to_string();
                Ok(response)
            };
            let socket = tokio_tungstenite::accept_hdr_async(stream, note).await.unwrap();
            tokio::spawn(script(nth, target, socket));
        }
    });
    Endpoint::parse(&address.to_string()).unwrap()
}

fn options() -> Options {
    Options { max_message_bytes: 1 << 20, keepalive: Duration::from_secs(60), ..Options::default() }
}

fn backoff() -> Backoff {
    Backoff { first_ms: 2, longest_ms: 20, ..Backoff::default() }
}

fn id(n: u64) -> TaskId {
    TaskId::at(Time(1_000 + n), u128::from(n))
}

fn piece(data: Data, last: bool, body: &str) -> Message {
    Message::Frame(Frame::message(body.to_owned(), OpCode::Data(data), last))
}

async fn text(server: &mut Server) -> String {
    server.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

async fn close(server: &mut Server, code: u16, reason: &'static str) {
    let frame = CloseFrame { code: code.into(), reason: reason.into() };
    server.send(Message::Close(Some(frame))).await.unwrap();
    while server.next().await.is_some_and(|message| message.is_ok()) {}
}

fn task<'a>() -> NewTask<'a> {
    serde_json::from_str(r#"{"kind":"build","payload":[1]}"#).unwrap()
}

fn deliver(id: TaskId) -> Message {
    let text = format!(
        r#"{{"deliver":{{"id":"{id}","receipt":"0000000000000001","lane":"l","kind":"k","priority":"low","attempt":1,"created_at":"2026-11-21T06:40:00.123Z","lease_expires_at":"2026-11-21T06:41:00Z","payload":{{"n":1}}}}}}"#
    );
    text.into()
}

#[tokio::test]
async fn messages_come_whole_whatever_their_pieces_and_pings_are_answered() {
    let endpoint = serve(|_, _, mut server| async move {
        server.send(piece(Data::Text, false, "one ")).await.unwrap();
        server.send(Message::Ping("are you there".into())).await.unwrap();
        server.send(piece(Data::Continue, false, "two ")).await.unwrap();
        server.send(piece(Data::Continue, true, "three")).await.unwrap();
        server.send("short".into()).await.unwrap();
        server.send("x".repeat(300_000).into()).await.unwrap();
        server.send(Message::Binary(vec![1, 2].into())).await.unwrap();
        let pong = server.next().await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong("are you there".into()));
        close(&mut server, 1013, "later").await;
    })
    .await;
    let mut socket = Socket::connect(&endpoint, "/", &options()).await.unwrap();
    assert_eq!(socket.next().await.unwrap(), Taken::Text("one two three"));
    assert_eq!(socket.next().await.unwrap(), Taken::Text("short"));
    assert!(matches!(socket.next().await.unwrap(), Taken::Text(text) if text.len() == 300_000));
    assert_eq!(socket.next().await.unwrap(), Taken::Binary(&[1, 2]));
    for _ in 0..2 {
        let error = socket.next().await.unwrap_err();
        assert!(matches!(&error, Error::Lost { why: Lost::Closed { code: 1013, reason } } if reason == "later"));
    }
}

#[tokio::test]
async fn two_sides_that_both_write_do_not_wait_for_each_other() {
    const EACH: usize = 3_000_000;
    let endpoint = serve(|_, _, mut server| async move {
        // Echoes: reads nothing new before the old is written.
        while let Some(Ok(message)) = server.next().await {
            server.send(message).await.unwrap();
        }
    })
    .await;
    let mut socket = Socket::connect(&endpoint, "/", &options()).await.unwrap();
    let body = "y".repeat(1_000);
    for _ in 0..EACH / 1_000 {
        socket.queue(|out| out.extend_from_slice(body.as_bytes()));
    }
    tokio::time::timeout(Duration::from_secs(20), socket.flush()).await.unwrap().unwrap();
    for nth in 0..EACH / 1_000 {
        assert_eq!(socket.next().await.unwrap(), Taken::Text(&body), "{nth}");
    }
    assert_eq!(socket.take().unwrap(), None);
}

#[tokio::test]
async fn a_message_over_the_bound_is_refused_before_it_is_read() {
    let endpoint = serve(|_, _, mut server| async move {
        let _ = server.send("z".repeat((1 << 20) + 1).into()).await;
    })
    .await;
    let error = Socket::connect(&endpoint, "/", &options()).await.unwrap().next().await.err().unwrap();
    assert!(matches!(&error, Error::Protocol(text) if text.contains("1048576")), "{error:?}");
}

#[tokio::test]
async fn a_server_that_hangs_is_noticed() {
    let endpoint = serve(|_, _, server| async move {
        // Held open, never read: no pong comes.
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(server);
    })
    .await;
    let hasty = Options { keepalive: Duration::from_millis(200), ..options() };
    let mut socket = Socket::connect(&endpoint, "/", &hasty).await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap().err().unwrap();
    assert!(matches!(error, Error::Lost { why: Lost::Silent(_) }), "{error:?}");
}

#[tokio::test]
async fn an_upgrade_that_is_not_granted_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
        let refuse = |_: &Request, _: Response| {
            let body = r#"{"error":{"code":"Unauthorized","message":"no token"}}"#.to_owned();
            let mut response = ErrorResponse::new(Some(body.clone()));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response.headers_mut().insert("content-length", body.len().into());
            Err(response)
        };
        assert!(tokio_tungstenite::accept_hdr_async(stream, refuse).await.is_err());
    });
    let error = Work::connect(&endpoint, &options()).await.err().unwrap();
    assert_eq!(error.code(), Some(ErrorCode::Unauthorized));
    assert!(error.is_final() && !error.outcome_unknown());
}

#[tokio::test]
async fn publishes_are_answered_in_order_and_what_a_loss_leaves_open_is_known_to_be_unknown() {
    let endpoint = serve(|_, target, mut server| async move {
        assert_eq!(target, "/ws/work");
        for n in 0..4 {
            let frame = text(&mut server).await;
            assert_eq!(frame, r#"{"publish":{"kind":"build","payload":[1]}}"#);
            if n == 1 {
                let refused = r#"{"refused":{"code":"LaneFull","message":"full"}}"#;
                server.send(refused.into()).await.unwrap();
            } else if n < 3 {
                server.send(format!(r#"{{"published":{{"id":"{}"}}}}"#, id(n)).into()).await.unwrap();
            }
        }
    })
    .await;
    let mut work = Work::connect(&endpoint, &options()).await.unwrap();
    for n in 0..4 {
        assert_eq!(work.publish(&task()), n);
    }
    for n in 0..3 {
        match work.next().await.unwrap() {
            Incoming::Outcome { sequence, outcome: Ok(published) } => assert_eq!((sequence, published.id), (n, id(n))),
            Incoming::Outcome { sequence, outcome: Err(error) } => {
                assert_eq!((sequence, error.code), (1, ErrorCode::LaneFull));
            }
            other => panic!("{other:?}"),
        }
    }
    let error = work.next().await.err().unwrap();
    assert!(error.outcome_unknown(), "{error:?}");
    assert_eq!(work.unanswered(), 3..4);
}

#[tokio::test]
async fn an_error_frame_explains_the_close_after_it() {
    let endpoint = serve(|_, _, mut server| async move {
        text(&mut server).await;
        server.send(r#"{"error":{"code":"UnknownFrame","message":"what is `hop`?"}}"#.into()).await.unwrap();
        close(&mut server, 1003, "").await;
    })
    .await;
    let mut work = Work::connect(&endpoint, &options()).await.unwrap();
    work.queue_text(r#"{"hop":1}"#);
    assert!(matches!(work.next().await.unwrap(), Incoming::Error(error) if error.code == ErrorCode::UnknownFrame));
    let error = work.next().await.err().unwrap();
    assert_eq!((error.code(), error.close_code()), (Some(ErrorCode::UnknownFrame), Some(1003)));
    assert!(error.is_final());
}

#[tokio::test]
async fn a_worker_comes_back_subscribes_again_and_forgets_what_it_held() {
    let connection = squall_protocol::ConnectionId::at(Time(1), 1);
    let endpoint = serve(move |nth, _, mut server| async move {
        assert_eq!(text(&mut server).await, r#"{"subscribe":{"lanes":["a","b"],"credit":3}}"#);
        let subscribed = format!(r#"{{"subscribed":{{"connection":"{connection}","credit":3}}}}"#);
        server.send(subscribed.into()).await.unwrap();
        server.send(deliver(id(nth as u64))).await.unwrap();
        if nth > 0 {
            assert_eq!(text(&mut server).await, format!(r#"{{"ack":"{}"}}"#, id(1)));
            assert_eq!(text(&mut server).await, r#"{"credit":1}"#);
            close(&mut server, 1008, "enough").await;
        }
        // The first one drops with the delivery unsettled.
    })
    .await;
    let mut worker = Worker::new(endpoint, options(), backoff(), &["a", "b"], 3);
    for reconnects in 0..2 {
        let event = worker.next().await.unwrap();
        assert!(matches!(event, Event::Connected { reconnects: n, .. } if n == reconnects), "{event:?}");
        match worker.next().await.unwrap() {
            Event::Frame(Incoming::Deliver(delivery)) => assert_eq!(delivery.id, id(reconnects)),
            other => panic!("{other:?}"),
        }
        if reconnects == 0 {
            assert_eq!(worker.held(), 1);
            let event = worker.next().await.unwrap();
            assert!(matches!(event, Event::Lost { .. }), "{event:?}");
            assert!(!worker.ack(id(0)), "its lease died with its connection");
        }
    }
    assert!(worker.ack(id(1)));
    assert!(!worker.ack(id(1)), "once is enough");
    let error = worker.next().await.err().unwrap();
    assert_eq!(error.close_code(), Some(1008), "no further attempt can mend this");
}

#[tokio::test]
async fn a_subscriber_resumes_after_the_last_event_it_has_seen() {
    let epoch = Epoch::at(Time(5), 5);
    let record = move |offset: u64| {
        format!(
            r#"{{"epoch":"{epoch}","offset":{offset},"event_id":"00000000-0000-0000-0000-000000000000","time":"2026-11-21T06:40:00Z","topic":"tasks","event_type":"task_done","entity_type":"task","entity_id":"x","data":{{}}}}"#
        )
    };
    let endpoint = serve(move |nth, target, mut server| async move {
        match nth {
            0 => {
                assert_eq!(target, "/ws/events?after=0&topics=tasks");
                for offset in 1..=3 {
                    server.send(record(offset).into()).await.unwrap();
                }
            }
            1 => {
                assert_eq!(target, format!("/ws/events?after={epoch}:3&topics=tasks"));
                server.send(r#"{"gap":{"from":4,"to":9,"reason":"retention"}}"#.into()).await.unwrap();
            }
            _ => {
                assert_eq!(target, format!("/ws/events?after={epoch}:9&topics=tasks"));
                server.send(record(10).into()).await.unwrap();
                close(&mut server, 1013, "slow").await;
            }
        }
    })
    .await;
    let filter = Filter { topics: vec![squall_protocol::Topic::Tasks], ..Filter::default() };
    let mut subscriber = Subscriber::new(endpoint, options(), backoff(), Start::Beginning, filter);
    let (mut seen, mut resumed, mut gaps, mut losses) = (Vec::new(), Vec::new(), Vec::new(), 0);
    while losses < 3 {
        match subscriber.next().await.unwrap() {
            Item::Connected { resumed_from } => resumed.push(resumed_from.unwrap().offset),
            Item::Event(record) => seen.push(record.offset),
            Item::Gap(gap) => gaps.push(gap),
            Item::Lost { .. } => losses += 1,
        }
    }
    assert_eq!(seen, [1, 2, 3, 10]);
    assert_eq!(resumed, [0, 3, 9]);
    assert_eq!(gaps, [Gap { from: 4, to: 9, reason: GapReason::Retention }]);
}

#[tokio::test]
async fn of_several_gateways_a_subscriber_and_a_worker_go_on_at_the_next() {
    let epoch = Epoch::at(Time(7), 1);
    let record = move |offset: u64| {
        format!(
            r#"{{"epoch":"{epoch}","offset":{offset},"event_id":"{epoch}","time":"2026-11-21T06:40:00.123Z","topic":"tasks","event_type":"x","entity_type":"task","entity_id":"1","data":{{}}}}"#
        )
    };
    let first = serve(move |_, target, mut server| async move {
        if target.starts_with("/ws/work") {
            text(&mut server).await;
        } else {
            server.send(record(1).into()).await.unwrap();
        }
        close(&mut server, 1001, "draining").await;
    })
    .await;
    let second = serve(move |_, target, mut server| async move {
        if target.starts_with("/ws/work") {
            text(&mut server).await;
            let connection = squall_protocol::ConnectionId::at(Time(1), 1);
            let subscribed = format!(r#"{{"subscribed":{{"connection":"{connection}","credit":5}}}}"#);
            server.send(subscribed.into()).await.unwrap();
        } else {
            assert_eq!(target, format!("/ws/events?after={epoch}:1"));
            server.send(record(2).into()).await.unwrap();
        }
        while server.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
    let both = Endpoints::new([first, second]).unwrap();
    let (start, filter) = (Start::Beginning, Filter::default());
    let mut subscriber = Subscriber::new(both.clone(), options(), backoff(), start, filter);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let Item::Event(record) = subscriber.next().await.unwrap() {
            seen.push((record.offset, subscriber.endpoints().index()));
        }
    }
    assert_eq!(seen, [(1, 0), (2, 1)]);
    subscriber.go_home();
    assert_eq!(subscriber.endpoints().index(), 0);
    let mut worker = Worker::new(both, options(), backoff(), &["l"], 5);
    assert!(matches!(worker.next().await.unwrap(), Event::Lost { .. }));
    assert!(matches!(worker.next().await.unwrap(), Event::Connected { .. }));
}
