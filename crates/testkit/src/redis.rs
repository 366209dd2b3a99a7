//! A Redis of one's own, with what only tests ask of it: its answers, TLS, a cluster.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use squall_services::RedisOptions;

use crate::{certificate, free_port};

/// A cluster is up within so long, or never.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// One `redis-server`; it ends with this value.
#[derive(Debug)]
pub struct Redis(squall_services::Redis);

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
        let more = more.iter().map(|&word| word.to_owned()).collect();
        Self(squall_services::Redis::start(&RedisOptions { fsync, more, dir: None }).expect("a Redis"))
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

    /// What it answers to a command, as it says it: `+OK`, `:7`, or the whole of an answer of several lines.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn ask(&self, words: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).expect("it is there");
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

    /// Starts it again where it was, with what it had written.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.0.restart().expect("the same Redis again");
    }
}

impl Deref for Redis {
    type Target = squall_services::Redis;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Redis {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
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
