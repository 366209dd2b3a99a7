//! A PostgreSQL of one's own, on a free port of loopback, in a temporary directory.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};

use crate::{certificate, free_port};

/// It is up within so long, or never.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// One PostgreSQL with a superuser `squall` that needs no password; it ends with this value.
#[derive(Debug)]
pub struct Postgres {
    server: Child,
    port: u16,
    dir: tempfile::TempDir,
    fsync: bool,
    owner: Option<(u32, u32)>,
}

impl Postgres {
    /// Makes a cluster and starts it; with `fsync` what was committed survives power loss, as outside of tests.
    ///
    /// # Panics
    /// When there is no PostgreSQL, or it does not come up.
    #[must_use]
    pub fn start(fsync: bool) -> Self {
        let owner = owner();
        let dir = tempfile::tempdir().expect("a temporary directory");
        if let Some((user, group)) = owner {
            chown(dir.path(), Some(user), Some(group)).expect("a directory of its own for PostgreSQL");
        }
        let mut init = command("initdb", owner);
        init.args(["--no-sync", "--auth=trust", "--username=squall", "--encoding=UTF8", "--locale=C", "-D"]);
        let made = init.arg(data(dir.path())).output().expect("initdb is installed (make test installs it)");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        // A port that was free a moment ago may be taken by now; then another one is.
        for _ in 0..20 {
            let port = free_port();
            let mut server = spawn(dir.path(), port, fsync, owner);
            if is_up(&mut server, port) {
                return Self { server, port, dir, fsync, owner };
            }
            stop(&mut server);
        }
        panic!("PostgreSQL did not come up: {}", log(dir.path()));
    }

    /// Where its database `postgres` is.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Where a database is.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://squall@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// From now on it speaks TLS too, with a certificate for 127.0.0.1; answers the file of the authority that signed it.
    ///
    /// # Panics
    /// When there is no `openssl`, or PostgreSQL does not want to.
    #[must_use]
    pub fn speak_tls(&self) -> PathBuf {
        certificate::make(self.dir.path());
        for (from, to) in [("server.pem", "server.crt"), ("server.key", "server.key")] {
            let to = data(self.dir.path()).join(to);
            std::fs::copy(self.dir.path().join(from), &to).expect("copied");
            std::fs::set_permissions(&to, Permissions::from_mode(0o600)).expect("its own");
            if let Some((user, group)) = self.owner {
                chown(&to, Some(user), Some(group)).expect("its own");
            }
        }
        self.sql("ALTER SYSTEM SET ssl = on");
        self.sql("SELECT pg_reload_conf()");
        self.dir.path().join("ca.pem")
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL with `psql`, and answers what it printed: a line for each row, columns with `|` between them.
    ///
    /// # Panics
    /// When it is refused.
    pub fn sql(&self, text: &str) -> String {
        let mut psql = Command::new(program("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--command"]);
        let ran = psql.arg(text).arg(self.url()).output().expect("psql is installed");
        assert!(ran.status.success(), "{text}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
    }

    /// Kills it at once, with all its connections.
    pub fn kill(&mut self) {
        stop(&mut self.server);
    }

    /// Starts it again where it was, with what it had written.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        // Sessions of the one that was killed end when they notice, and until then nobody else may have its memory.
        let started = Instant::now();
        while started.elapsed() < UP_WITHIN {
            self.server = spawn(self.dir.path(), self.port, self.fsync, self.owner);
            if is_up(&mut self.server, self.port) {
                return;
            }
            stop(&mut self.server);
        }
        panic!("PostgreSQL did not come back: {}", log(self.dir.path()));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// PostgreSQL refuses to run as root; then it runs as the user that its package made, or as nobody.
fn owner() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let user = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
    let user = user.expect("a user that is not root");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// Debian keeps a server's programs out of the path, by version; the newest is taken.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<u32>().ok());
    let mut found: Vec<_> = versions.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    found.sort();
    let there = found.into_iter().rev().map(|(_, path)| path.join("bin").join(name)).find(|path| path.is_file());
    there.unwrap_or_else(|| PathBuf::from(name))
}

fn command(name: &str, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program(name));
    // It must be able to enter where it starts.
    command.current_dir("/").stdin(Stdio::null());
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn spawn(dir: &Path, port: u16, fsync: bool, owner: Option<(u32, u32)>) -> Child {
    let log = std::fs::File::create(dir.join("log")).expect("a log file");
    let fsync = if fsync { "on" } else { "off" };
    let mut server = command("postgres", owner);
    server.arg("-D").arg(data(dir)).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    server.args(["-c", "unix_socket_directories=", "-c", "shared_buffers=32MB", "-c", &format!("fsync={fsync}")]);
    server.stdout(Stdio::null()).stderr(log);
    server.spawn().expect("postgres is installed (make test installs it)")
}

fn stop(server: &mut Child) {
    if server.try_wait().ok().flatten().is_none() {
        let _ = server.kill();
        let _ = server.wait();
    }
}

/// Whether it lets us in; false: it ended, or somebody else has the port.
fn is_up(server: &mut Child, port: u16) -> bool {
    let started = Instant::now();
    while started.elapsed() < UP_WITHIN {
        if server.try_wait().ok().flatten().is_some() {
            return false;
        }
        if lets_in(port).is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Says hello as PostgreSQL's protocol wants it: `R` means that it would talk to us; while it recovers it answers `E`.
fn lets_in(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let body = b"\x00\x03\x00\x00user\0squall\0database\0postgres\0\0";
    let length = u32::try_from(body.len() + 4).ok()?;
    stream.write_all(&length.to_be_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = [0];
    stream.read_exact(&mut answer).ok()?;
    (&answer == b"R").then_some(())
}
