//! Bytes on a socket of the API that are no HTTP, or almost: whatever it is sent, it goes on serving, and the proxies pass what they are
//! given.

use std::net::SocketAddr;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use squall_faultproxy::{FaultProxy, Options, ProxySpec, serve};
use squall_testkit::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::api::ask;
use crate::kit::*;

/// A name that no change to the requests below makes of theirs.
const BYSTANDER: &str = "whom nobody names";
const MAX_BODY_BYTES: usize = 4 << 10;
/// The thread of the server, to know its panics from ours.
const SERVER: &str = "server";

/// What one connection sends.
#[derive(Clone, Debug)]
struct Conversation {
    pieces: Vec<Vec<u8>>,
    end: End,
}

#[derive(Clone, Debug)]
enum End {
    /// It sends no more, and reads what there is.
    Finish,
    /// It is gone at once, whatever was about to be answered.
    Leave,
    /// It stays until another one does.
    Stay,
}

/// Something done to bytes, at places that are parts of their length.
#[derive(Clone, Debug)]
enum Change {
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize, usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let span = |at: &Index, length: usize| {
            let at = at.index(bytes.len() + 1);
            at..(at + length).min(bytes.len())
        };
        match self {
            Self::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Remove(at, length) => drop(bytes.drain(span(at, *length))),
            Self::Insert(at, put) => drop(bytes.splice(span(at, 0), put.iter().copied())),
            Self::Repeat(at, length, times) => {
                let span = span(at, *length);
                let again = bytes[span.clone()].repeat(*times);
                drop(bytes.splice(span, again));
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 1..8),
        select(vec![
            "\r\n",
            "\r\n\r\n",
            "\n",
            "\r",
            "\0",
            " ",
            ":",
            "/",
            "%",
            "{",
            "\"",
            "0\r\n\r\n",
            "-1",
            "ffffffffffffffff"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop_oneof![
        1 => any::<Index>().prop_map(Change::Cut),
        2 => (any::<Index>(), 1_usize..40).prop_map(|(at, length)| Change::Remove(at, length)),
        3 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<Index>(), 1_usize..40, 2_usize..200).prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
    ]
}

/// A body, and the header that says how long it is: truly, or not.
fn body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let text = prop_oneof![
        4 => select(vec![
            "",
            r#"{"name":"a","upstream":"127.0.0.1:1","enabled":false}"#,
            r#"{"type":"latency","attributes":{"latency":1}}"#,
            r#"{"enabled":true}"#,
            r#"[{"name":"a","upstream":"127.0.0.1:1"},{"name":"b","upstream":"127.0.0.1:1","enabled":false}]"#,
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..100),
        1 => (MAX_BODY_BYTES - 2..MAX_BODY_BYTES + 3).prop_map(|length| vec![b' '; length]),
        1 => (1_usize..3_000).prop_map(|depth| vec![b'['; depth]),
    ];
    let wrong = select(vec!["0", "1", "7", "-1", "+5", "1e3", "0x10", "", "5, 5", "5, 6", "18446744073709551616"]);
    prop_oneof![
        6 => text.clone().prop_map(|text| (format!("content-length: {}\r\n", text.len()), text)),
        1 => (wrong, text.clone()).prop_map(|(length, text)| (format!("content-length: {length}\r\n"), text)),
        1 => text.clone().prop_map(|text| (String::new(), text)),
        2 => (text.clone(), 1_usize..50).prop_map(|(text, size)| ("transfer-encoding: chunked\r\n".to_owned(), chunked(&text, size))),
        1 => text.prop_map(|text| (format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", text.len()), chunked(&text, 9))),
    ]
}

fn chunked(text: &[u8], size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in text.chunks(size) {
        body.extend(format!("{:x}\r\n", chunk.len()).bytes());
        body.extend(chunk);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    body
}

/// A request that could be one.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let usual = select(vec![
        "GET /proxies",
        "POST /proxies",
        "POST /proxies/a",
        "DELETE /proxies/a",
        "POST /proxies/a/toxics",
        "PATCH /proxies/a/toxics/latency_downstream",
        "DELETE /proxies/a/toxics/latency_downstream",
        "POST /populate",
        "POST /reset",
        "GET /metrics",
    ]);
    let method = select(vec!["GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PRI", "get", "", "\u{e9}"]);
    let path = prop_oneof![
        select(vec!["*", "/", "", "//", "/proxies/%00%ff", "/%", "http://x/version", "x:1", "/version?a#b"])
            .prop_map(str::to_owned),
        (1_usize..100_000).prop_map(|length| format!("/proxies/{}", "a".repeat(length))),
    ];
    let target = prop_oneof![
        8 => usual.prop_map(str::to_owned),
        1 => (method, path).prop_map(|(method, path)| format!("{method} {path}")),
    ];
    let version = prop_oneof![
        15 => Just("HTTP/1.1"),
        1 => select(vec!["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "http/1.1", ""]),
    ];
    let header = prop_oneof![
        12 => select(vec!["host: x", "connection: keep-alive", "expect: 100-continue", "connection: upgrade\r\nupgrade: h2c"])
            .prop_map(str::to_owned),
        1 => select(vec![
            "connection: close", "origin: http://evil.example", " folded", "no colon", ": no name", "a b: space", "x: \u{0}", "x:\u{e9}",
        ])
        .prop_map(str::to_owned),
        1 => (1_usize..600_000).prop_map(|length| format!("x: {}", "y".repeat(length))),
        1 => (1_usize..200).prop_map(|times| vec!["x: y"; times].join("\r\n")),
    ];
    (target, version, vec(header, 0..4), body()).prop_map(|(target, version, headers, (length, body))| {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        [format!("{target} {version}\r\n{headers}{length}\r\n").into_bytes(), body].concat()
    })
}

/// Requests one after the other, changed, and sent in pieces.
fn conversation() -> impl Strategy<Value = Conversation> {
    let bytes = prop_oneof![
        9 => (vec(request(), 1..4), vec(change(), 0..3)).prop_map(|(requests, changes)| {
            let mut bytes = requests.concat();
            changes.iter().for_each(|change| change.apply(&mut bytes));
            bytes
        }),
        1 => vec(any::<u8>(), 0..300),
    ];
    let end = prop_oneof![6 => Just(End::Finish), 1 => Just(End::Leave), 1 => Just(End::Stay)];
    (bytes, vec(any::<Index>(), 0..4), end).prop_map(|(bytes, cuts, end)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        Conversation { pieces: cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec()).collect(), end }
    })
}

/// Sends it, and checks what is answered; the connection, if it stays.
async fn hold(api: SocketAddr, conversation: &Conversation) -> Option<TcpStream> {
    let mut stream = within("a connection", LONG, TcpStream::connect(api)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in &conversation.pieces {
        // Whoever is refused early may be reset over the rest.
        if within("a write", LONG, stream.write_all(piece)).await.is_err() {
            break;
        }
        // So that it comes as a piece.
        tokio::time::sleep(ms(1)).await;
    }
    match conversation.end {
        End::Leave => None,
        End::Stay => Some(stream),
        End::Finish => {
            let _ = stream.shutdown().await;
            let mut answers = Vec::new();
            let _ = within("the end of the answers", LONG, stream.read_to_end(&mut answers)).await;
            let answers = String::from_utf8_lossy(&answers);
            assert!(answers.is_empty() || answers.starts_with("HTTP/1."), "this is no answer: {answers}");
            assert!(!answers.contains("HTTP/1.1 5"), "it failed: {answers}");
            None
        }
    }
}

/// Panics of the server since the last time. Its runtime keeps them to itself: the connection ends, and that is all.
fn panics() -> usize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some(SERVER) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(panic);
        }));
    });
    PANICS.swap(0, Ordering::Relaxed)
}

async fn survives(conversations: Vec<Conversation>) {
    // One that stays, one that has left and was not missed yet, and one that asks: a place that is never given back is missed soon.
    let options = Options {
        max_api_connections: 3,
        max_body_bytes: MAX_BODY_BYTES,
        max_proxies: 4,
        max_toxics: 4,
        ..Default::default()
    };
    let stop = CancellationToken::new();
    let faults = FaultProxy::new(options, &stop);
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec = ProxySpec::new(BYSTANDER, upstream.local_addr().unwrap().to_string());
    let listen = faults.create(spec).await.unwrap().listen.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = listener.local_addr().unwrap();
    let kit = Kit { faults: faults.clone(), upstream, listen, stop: stop.clone() };
    let serving = tokio::spawn(serve(listener, faults, stop));
    panics();

    let (mut client, mut server) = kit.connect().await;
    let mut stays = None;
    for (nth, conversation) in conversations.iter().enumerate() {
        let traffic = pattern(10_000 + nth);
        send(&mut client, &traffic).await;
        stays = hold(api, conversation).await.or(stays);
        expect(&mut server, &traffic).await;
        let (head, _) = ask(api, "GET /version", "", b"").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        round_trip(&mut server, &mut client).await;
    }
    let (mut another, mut its_server) = kit.connect().await;
    round_trip(&mut another, &mut its_server).await;
    let (_, proxies) = ask(api, "GET /proxies", "", b"").await;
    let proxies: Value = serde_json::from_str(&proxies).unwrap();
    assert!(
        proxies[BYSTANDER]["enabled"] == true && proxies[BYSTANDER]["toxics"] == serde_json::json!([]),
        "{proxies}"
    );
    assert_eq!(panics(), 0, "panics of the server");
    drop(stays);
    kit.stop.cancel();
    within("the end", LONG, serving).await.unwrap();
}

proptest! {
    // A server that hangs is found by waiting, so looking for the shortest way there must end some time.
    #![proptest_config(ProptestConfig { max_shrink_time: 60_000, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn whatever_bytes_it_is_sent_the_api_goes_on_serving(conversations in vec(conversation(), 1..8)) {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name(SERVER).enable_all().build().unwrap();
        runtime.block_on(survives(conversations));
    }
}
