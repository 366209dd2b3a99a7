//! A Redis of one's own, on a free port of loopback, in a temporary directory.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// It is up within so long, or never.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// One `redis-server`; it ends with this value.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
    fsync: &'static str,
}

impl Redis {
    /// Starts one that appends to a file, syncing as `fsync` says: `always`, `everysec` or `no`.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it does not come up.
    #[must_use]
    pub fn start(fsync: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // A port that was free a moment ago may be taken by now; then another one is.
        for _ in 0..20 {
            let port = free_port();
            let mut child = spawn(dir.path(), port, fsync);
            if is_up(&mut child, port) {
                return Self { child, port, dir, fsync };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server did not come up");
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
        self.child = spawn(self.dir.path(), self.port, self.fsync);
        assert!(is_up(&mut self.child, self.port), "redis-server did not come back");
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

fn spawn(dir: &Path, port: u16, fsync: &str) -> Child {
    let port = port.to_string();
    Command::new(program())
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", fsync, "--dir"])
        .arg(dir)
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

/// It says PONG when it has read its files, not before.
fn answers(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).ok()?;
    (&answer == b"+PONG").then_some(())
}
