//! A Redis of one's own, on a free port of loopback, in a temporary directory.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::certificate;

/// It is up within so long, or never.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// One `redis-server`; it ends with this value.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
    fsync: &'static str,
    more: Vec<String>,
}

/// One that speaks TLS too, with a certificate that an authority of its own signed.
#[derive(Debug)]
pub struct TlsRedis {
    redis: Redis,
    tls_port: u16,
    certificates: tempfile::TempDir,
}

impl Redis {
    /// Starts one that appends to a file, syncing as `fsync` says: `always`, `everysec` or `no`.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it does not come up.
    #[must_use]
    pub fn start(fsync: &'static str) -> Self {
        Self::start_with(fsync, &[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// As [`Redis::start`].
    #[must_use]
    pub fn start_with(fsync: &'static str, more: &[&str]) -> Self {
        let more: Vec<String> = more.iter().map(|&word| word.to_owned()).collect();
        let dir = tempfile::tempdir().expect("a temporary directory");
        // A port that was free a moment ago may be taken by now; then another one is.
        for _ in 0..20 {
            let port = free_port();
            let mut child = spawn(dir.path(), port, fsync, &more);
            if is_up(&mut child, port) {
                return Self { child, port, dir, fsync, more };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server did not come up");
    }

    /// One node of a cluster that has no slots yet; answers the port of its cluster bus too.
    ///
    /// # Panics
    /// As [`Redis::start`].
    #[must_use]
    pub fn start_node() -> (Self, u16) {
        let bus = free_port();
        (Self::start_with("no", &["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()]), bus)
    }

    /// A cluster of one node that has all slots.
    ///
    /// # Panics
    /// As [`Redis::start`].
    #[must_use]
    pub fn start_cluster() -> (Self, u16) {
        let (node, bus) = Self::start_node();
        assert_eq!(node.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "+OK");
        node.wait_for_cluster();
        (node, bus)
    }

    /// Waits until it knows who has which slot.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_for_cluster(&self) {
        let started = Instant::now();
        while !self.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
            assert!(started.elapsed() < UP_WITHIN, "the cluster is not up: {}", self.ask(&["CLUSTER", "INFO"]));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it answers to a command, as it says it: `+OK`, `:7`, or the whole of an answer of several lines.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn ask(&self, words: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it is there");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        // It closes the connection after the second, so that the answer ends.
        command.push_str("*1\r\n$4\r\nQUIT\r\n");
        stream.write_all(command.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer.trim_end().trim_end_matches("+OK").trim_end().to_owned()
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was, with what it had written.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.dir.path(), self.port, self.fsync, &self.more);
        assert!(is_up(&mut self.child, self.port), "redis-server did not come back");
    }
}

impl TlsRedis {
    /// Makes an authority and a certificate for 127.0.0.1, and starts a Redis with it.
    ///
    /// # Panics
    /// When there is no `openssl`, or as [`Redis::start`].
    #[must_use]
    pub fn start() -> Self {
        let certificates = tempfile::tempdir().expect("a temporary directory");
        certificate::make(certificates.path());
        let tls_port = free_port();
        let file = |name: &str| certificates.path().join(name).display().to_string();
        let (port, pem, own_key, ca) = (tls_port.to_string(), file("server.pem"), file("server.key"), file("ca.pem"));
        let redis = Redis::start_with(
            "no",
            &[
                "--tls-port",
                &port,
                "--tls-cert-file",
                &pem,
                "--tls-key-file",
                &own_key,
                "--tls-ca-cert-file",
                &ca,
                "--tls-auth-clients",
                "no",
            ],
        );
        Self { redis, tls_port, certificates }
    }

    /// `rediss://…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}/", self.tls_port)
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.certificates.path().join("ca.pem")
    }

    /// The same Redis without TLS.
    #[must_use]
    pub fn plain(&self) -> &Redis {
        &self.redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of loopback that nobody listens on just now.
///
/// # Panics
/// When the system has none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// `redis-server`, or what `REDIS_SERVER` says: a Valkey, for example.
fn program() -> OsString {
    std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

fn spawn(dir: &Path, port: u16, fsync: &str, more: &[String]) -> Child {
    let port = port.to_string();
    Command::new(program())
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", fsync, "--dir"])
        .arg(dir)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed (make test installs it)")
}

/// Whether it answers; false: it ended, or somebody else has the port.
fn is_up(child: &mut Child, port: u16) -> bool {
    let started = Instant::now();
    while started.elapsed() < UP_WITHIN {
        if child.try_wait().ok().flatten().is_some() {
            return false;
        }
        if answers(port).is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// It says PONG, or asks for a password, when it has read its files, not before.
fn answers(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).ok()?;
    matches!(&answer, b"+PONG" | b"-NOAU").then_some(())
}
