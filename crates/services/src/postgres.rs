//! A PostgreSQL of one's own, on a free port of loopback, in a temporary directory.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use crate::port::on_a_free_port;
use crate::process::{Server, UP_WITHIN, log_in, not_run, temporary_dir};
use crate::{Error, Result};

const HINT: &str = "Debian: apt install postgresql";

/// One PostgreSQL with a superuser `squall` that needs no password; it ends with this value.
#[derive(Debug)]
pub struct Postgres {
    // Before the directory: nobody writes there any more when it is removed.
    server: Server,
    recipe: Recipe,
    port: u16,
}

/// All that a start needs but the port.
#[derive(Debug)]
struct Recipe {
    dir: TempDir,
    fsync: bool,
    /// User and group that it runs as; none: who started us.
    owner: Option<(u32, u32)>,
}

impl Postgres {
    /// Makes a cluster and starts it; with `fsync` what was committed survives power loss, as it does outside of tests. Returns
    /// when it lets one in.
    ///
    /// # Errors
    /// When there is no PostgreSQL, or it does not come up.
    pub fn start(fsync: bool) -> Result<Self> {
        let recipe = Recipe { dir: temporary_dir()?, fsync, owner: owner()? };
        recipe.init()?;
        let (server, port) = on_a_free_port(|port| recipe.start(port))?;
        Ok(Self { server, recipe, port })
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

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process of the last start, also when it has been killed.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Where its cluster is: its data and its settings.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.recipe.data_dir()
    }

    /// Where one of PostgreSQL's programs is. Debian keeps a server's programs out of the path, by version; the newest is taken.
    #[must_use]
    pub fn program(name: &str) -> PathBuf {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let number = |path: &Path| path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<u32>().ok());
        let mut found: Vec<_> = versions.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
        found.sort();
        let there = found.into_iter().rev().map(|(_, path)| path.join("bin").join(name)).find(|path| path.is_file());
        there.unwrap_or_else(|| PathBuf::from(name))
    }

    /// Kills it at once, with all its connections.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Kills it and starts it again where it was, with what it had written.
    ///
    /// # Errors
    /// When it does not come up, or somebody else took its port.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let started = Instant::now();
        loop {
            match self.recipe.start(self.port) {
                // Sessions of the one that was killed end when they notice, and until then nobody else may have its memory.
                Err(Error::Ended { .. }) if started.elapsed() < UP_WITHIN => {}
                other => {
                    self.server = other?;
                    return Ok(());
                }
            }
        }
    }
}

impl Recipe {
    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn init(&self) -> Result<()> {
        if let Some((user, group)) = self.owner {
            chown(self.dir.path(), Some(user), Some(group)).map_err(Error::at(self.dir.path()))?;
        }
        let mut init = self.command("initdb");
        init.args(["--no-sync", "--auth=trust", "--username=squall", "--encoding=UTF8", "--locale=C", "-D"]);
        init.arg(self.data_dir()).stdin(Stdio::null()).process_group(0);
        let ran = init.output().map_err(|source| not_run(&init, HINT, source))?;
        if ran.status.success() {
            return Ok(());
        }
        Err(Error::Refused { program: "initdb", said: String::from_utf8_lossy(&ran.stderr).trim_end().to_owned() })
    }

    fn start(&self, port: u16) -> Result<Server> {
        let fsync = if self.fsync { "fsync=on" } else { "fsync=off" };
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data_dir()).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "shared_buffers=32MB", "-c", fsync]);
        Server::start(command, &log_in(self.dir.path()), HINT, || lets_in(port))
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(Postgres::program(name));
        // It must be able to enter where it starts.
        command.current_dir("/");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

/// PostgreSQL refuses to run as root; then it runs as the user that its package made, or as nobody.
fn owner() -> Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
    let user = user.ok_or_else(|| Error::Refused {
        program: "postgres",
        said: "it does not run as root, and there is no user postgres or nobody that it could run as".to_owned(),
    })?;
    Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
}

/// Says hello as PostgreSQL's protocol wants it: `R` means that it would talk to us; while it recovers it answers `E`.
fn lets_in(port: u16) -> io::Result<bool> {
    const BODY: &[u8] = b"\x00\x03\x00\x00user\0squall\0database\0postgres\0\0";
    let length = u32::try_from(BODY.len() + 4).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(BODY)?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"R")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(postgres: &Postgres, text: &str) -> String {
        let ran = Command::new("psql").args(["-XqAtc", text]).arg(postgres.url()).output().unwrap();
        assert!(ran.status.success(), "{text}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim_end().to_owned()
    }

    #[test]
    fn what_was_committed_survives_a_kill() {
        let mut postgres = Postgres::start(true).unwrap();
        assert_eq!(sql(&postgres, "SHOW fsync"), "on");
        sql(&postgres, "CREATE TABLE kept AS SELECT 7 AS n");
        let (port, killed) = (postgres.port(), postgres.pid());
        postgres.kill();
        assert!(lets_in(port).is_err(), "it is gone");
        postgres.restart().unwrap();
        assert_eq!(postgres.port(), port);
        assert_ne!(postgres.pid(), killed);
        assert_eq!(sql(&postgres, "SELECT n FROM kept"), "7");
        let dir = postgres.data_dir();
        drop(postgres);
        assert!(!dir.exists(), "nothing stays behind");
    }

    #[test]
    fn what_initdb_says_is_told() {
        let recipe = Recipe { dir: temporary_dir().unwrap(), fsync: false, owner: owner().unwrap() };
        std::fs::create_dir(recipe.data_dir()).unwrap();
        std::fs::write(recipe.data_dir().join("somebody"), "elses").unwrap();
        let error = recipe.init().unwrap_err().to_string();
        assert!(error.starts_with("initdb: ") && error.contains(&*recipe.data_dir().to_string_lossy()), "{error}");
    }
}
