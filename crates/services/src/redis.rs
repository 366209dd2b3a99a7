//! A Redis of one's own, on a free port of loopback.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::Result;
use crate::port::on_a_free_port;
use crate::process::{Server, log_in, temporary_dir};

/// What it is when nobody names another.
const PROGRAM: &str = "redis-server";

/// How a Redis is to be.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// How it syncs the file that it appends to: `always`, `everysec` or `no`.
    pub fsync: &'static str,
    /// More arguments, as they would stand on its command line.
    pub more: Vec<String>,
    /// An existing directory for its data, and its log in the file `log`; they stay. Without one they are in a temporary directory,
    /// which goes with the [`Redis`].
    pub dir: Option<PathBuf>,
}

/// As Redis does it by itself: it syncs each second.
impl Default for RedisOptions {
    fn default() -> Self {
        Self { fsync: "everysec", more: Vec::new(), dir: None }
    }
}

/// One `redis-server` that appends to a file; it ends with this value.
#[derive(Debug)]
pub struct Redis {
    // Before the directory: nobody writes there any more when it is removed.
    server: Server,
    recipe: Recipe,
    port: u16,
    _temporary: Option<TempDir>,
}

/// All that a start needs but the port.
#[derive(Debug)]
struct Recipe {
    program: OsString,
    dir: PathBuf,
    fsync: &'static str,
    more: Vec<String>,
}

impl Redis {
    /// Starts `redis-server`, or what `REDIS_SERVER` in the environment names: a Valkey, for example. Returns when it answers.
    ///
    /// # Errors
    /// When there is no such program, or it does not come up.
    pub fn start(options: &RedisOptions) -> Result<Self> {
        Self::start_program(std::env::var_os("REDIS_SERVER").unwrap_or_else(|| PROGRAM.into()), options)
    }

    fn start_program(program: OsString, options: &RedisOptions) -> Result<Self> {
        let (dir, temporary) = match &options.dir {
            Some(dir) => (dir.clone(), None),
            None => {
                let temporary = temporary_dir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let recipe = Recipe { program, dir, fsync: options.fsync, more: options.more.clone() };
        let (server, port) = on_a_free_port(|port| recipe.start(port))?;
        Ok(Self { server, recipe, port, _temporary: temporary })
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

    /// The process of the last start, also when it has been killed.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Kills it and starts it again where it was, with what it had written.
    ///
    /// # Errors
    /// When it does not come up, or somebody else took its port.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.server = self.recipe.start(self.port)?;
        Ok(())
    }
}

impl Recipe {
    fn start(&self, port: u16) -> Result<Server> {
        let mut command = Command::new(&self.program);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", self.fsync, "--dir"])
            .arg(&self.dir)
            .args(&self.more);
        Server::start(command, &log_in(&self.dir), hint(&self.program), || is_up(port))
    }
}

fn hint(program: &OsStr) -> &'static str {
    if program == PROGRAM { "Debian: apt install redis-server" } else { "REDIS_SERVER names it" }
}

/// It says PONG, or asks for a password, when it has read its files, not before.
fn is_up(port: u16) -> io::Result<bool> {
    let answer = ask(port, "PING")?;
    Ok(answer == "+PONG" || answer.starts_with("-NOAUTH"))
}

/// The first line of what it answers to a command.
fn ask(port: u16, command: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_with_fsync_always_survives_a_kill() {
        let mut redis = Redis::start(&RedisOptions { fsync: "always", ..RedisOptions::default() }).unwrap();
        assert_eq!(redis.url(), format!("redis://127.0.0.1:{}/", redis.port()));
        assert_eq!(ask(redis.port(), "INCR kept").unwrap(), ":1");
        let (port, killed) = (redis.port(), redis.pid());
        redis.kill();
        assert!(ask(port, "PING").is_err(), "it is gone");
        redis.restart().unwrap();
        assert_eq!(redis.port(), port);
        assert_ne!(redis.pid(), killed);
        assert_eq!(ask(port, "INCR kept").unwrap(), ":2");
    }

    #[test]
    fn it_is_as_it_was_told_and_a_directory_that_was_given_stays() {
        let dir = temporary_dir().unwrap();
        let more = ["--requirepass", "s3cret"].map(str::to_owned).to_vec();
        let mut redis = Redis::start(&RedisOptions { more, dir: Some(dir.path().to_owned()), fsync: "no" }).unwrap();
        assert!(ask(redis.port(), "INCR kept").unwrap().starts_with("-NOAUTH"));
        redis.restart().unwrap();
        assert!(ask(redis.port(), "INCR kept").unwrap().starts_with("-NOAUTH"), "after a restart too");
        drop(redis);
        assert!(dir.path().join("appendonlydir").is_dir() && log_in(dir.path()).is_file());
    }

    #[test]
    fn a_missing_program_is_told() {
        for (program, told) in [
            ("/nowhere/valkey-server", "/nowhere/valkey-server is not installed (REDIS_SERVER names it)"),
            ("no-redis-server", "no-redis-server is not installed (REDIS_SERVER names it)"),
        ] {
            let error = Redis::start_program(program.into(), &RedisOptions::default()).unwrap_err();
            assert_eq!(error.to_string(), told);
        }
        assert_eq!(hint(OsStr::new(PROGRAM)), "Debian: apt install redis-server");
    }

    #[test]
    fn what_it_does_not_understand_is_told_in_its_own_words() {
        let options = RedisOptions { fsync: "sometimes", ..RedisOptions::default() };
        let error = Redis::start(&options).unwrap_err().to_string();
        assert!(error.contains("ended before it was up") && error.contains("appendfsync"), "{error}");
        let options = RedisOptions { dir: Some("/nowhere".into()), ..RedisOptions::default() };
        assert_eq!(
            Redis::start(&options).unwrap_err().to_string(),
            "/nowhere/log: No such file or directory (os error 2)"
        );
    }
}
