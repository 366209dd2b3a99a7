//! A proxy, an upstream that is the test itself, and what tests ask of connections.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use squall_faultproxy::{Attributes, Direction, FaultProxy, Options, ProxySpec, ToxicSpec, ToxicUpdate};
use squall_testkit::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(crate) use Direction::{Downstream, Upstream};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Kit {
    pub(crate) faults: FaultProxy,
    pub(crate) upstream: TcpListener,
    pub(crate) listen: SocketAddr,
    pub(crate) stop: CancellationToken,
}

pub(crate) fn toxic(direction: Direction, kind: &str, attributes: Value) -> ToxicSpec {
    let attributes = Attributes::of_type(kind).unwrap().with(attributes.as_object().unwrap()).unwrap();
    ToxicSpec::new(direction, attributes)
}

impl Kit {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default(), Vec::new()).await
    }

    pub(crate) async fn with(options: Options, toxics: Vec<ToxicSpec>) -> Self {
        let stop = CancellationToken::new();
        let faults = FaultProxy::new(options, &stop);
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let spec = ProxySpec { toxics, ..ProxySpec::new("p", upstream.local_addr().unwrap().to_string()) };
        let listen = faults.create(spec).await.unwrap().listen.parse().unwrap();
        Self { faults, upstream, listen, stop }
    }

    /// Both ends of a connection through the proxy.
    pub(crate) async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.listen).await.unwrap();
        let (server, _) = within("a connection to the upstream", LONG, self.upstream.accept()).await.unwrap();
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        (client, server)
    }

    pub(crate) fn add(&self, direction: Direction, kind: &str, attributes: Value) {
        self.faults.add_toxic("p", toxic(direction, kind, attributes)).unwrap();
    }

    pub(crate) fn update(&self, name: &str, attributes: Value) {
        let attributes = attributes.as_object().unwrap().clone();
        self.faults.update_toxic("p", name, ToxicUpdate { attributes, ..Default::default() }).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        self.faults.remove_toxic("p", name).unwrap();
    }
}

/// So many bytes that tell where they belong.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect()
}

pub(crate) async fn send(to: &mut TcpStream, bytes: &[u8]) {
    within("a write", LONG, to.write_all(bytes)).await.unwrap();
}

/// Exactly these bytes come next.
pub(crate) async fn expect(from: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    within("bytes", LONG, from.read_exact(&mut got)).await.unwrap();
    assert!(got == bytes, "other bytes came");
}

/// What comes until the end, and how long that took.
pub(crate) async fn rest(from: &mut TcpStream) -> (io::Result<Vec<u8>>, Duration) {
    let (start, mut got) = (Instant::now(), Vec::new());
    let read = within("the end", LONG, from.read_to_end(&mut got)).await;
    (read.map(|_| got), start.elapsed())
}

/// The end comes next, in order.
pub(crate) async fn expect_end(from: &mut TcpStream) {
    assert_eq!(rest(from).await.0.unwrap(), b"", "no byte was to come");
}

/// A reset comes next.
pub(crate) async fn expect_reset(from: &mut TcpStream) {
    let got = rest(from).await.0;
    assert_eq!(got.as_ref().err().map(io::Error::kind), Some(io::ErrorKind::ConnectionReset), "{got:?}");
}

/// Nothing comes for so long.
pub(crate) async fn expect_silence(from: &mut TcpStream, how_long: Duration) {
    let mut byte = [0];
    let came = tokio::time::timeout(how_long, from.read(&mut byte)).await;
    assert!(came.is_err(), "{came:?} came");
}

/// The fastest round trip, until one takes less than `enough`, of a thousand at most: a busy machine makes any of them slow, and what is
/// in the way makes all of them slow.
pub(crate) async fn fastest(client: &mut TcpStream, server: &mut TcpStream, enough: Duration) -> Duration {
    let mut fastest = LONG;
    for _ in 0..1_000 {
        fastest = fastest.min(round_trip(client, server).await);
        if fastest < enough {
            break;
        }
    }
    fastest
}

/// One byte there and one back.
pub(crate) async fn round_trip(client: &mut TcpStream, server: &mut TcpStream) -> Duration {
    let start = Instant::now();
    send(client, b"?").await;
    expect(server, b"?").await;
    send(server, b"!").await;
    expect(client, b"!").await;
    start.elapsed()
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
