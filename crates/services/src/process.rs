//! A server as a child process: its log in a file, watched until it is up, and killed for good.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// It is up within so long, or never.
pub(crate) const UP_WITHIN: Duration = Duration::from_secs(30);
/// The last of its log says why; the rest would bury that.
const LINES_OF_LOG: usize = 8;

/// A server that runs, or ran until it was killed; it ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts it, and waits until it `is_up`; whatever it says goes to `log`, which is made anew. `hint` is for somebody who does
    /// not have the program.
    pub(crate) fn start(
        mut command: Command,
        log: &Path,
        hint: &'static str,
        is_up: impl Fn() -> io::Result<bool>,
    ) -> Result<Self> {
        let file = File::create(log).map_err(Error::at(log))?;
        let errors = file.try_clone().map_err(Error::at(log))?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        // Ctrl-C in a terminal is for the program that started it, which decides what becomes of it.
        command.process_group(0);
        let mut server = Self { child: command.spawn().map_err(|source| not_run(&command, hint, source))? };
        let started = Instant::now();
        while started.elapsed() < UP_WITHIN {
            let ended = server.child.try_wait().map_err(Error::system(program(&command)))?;
            if ended.is_some() {
                return Err(Error::Ended { program: program(&command), log: end_of(log) });
            }
            // Whatever goes wrong when it is asked: it may be up in a moment.
            if is_up().unwrap_or(false) {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Error::NotUp { program: program(&command), within_s: UP_WITHIN.as_secs(), log: end_of(log) })
    }

    /// Its process, also when that is over.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // Neither fails for a child of ours, and one that has been waited for is left alone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Why a program could not be run.
pub(crate) fn not_run(command: &Command, hint: &'static str, source: io::Error) -> Error {
    let program = program(command);
    match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { program, hint },
        _ => Error::System { what: format!("{program} cannot be run"), source },
    }
}

/// A directory of one's own; it is removed with this value.
pub(crate) fn temporary_dir() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(Error::system(format!("a directory in {}", std::env::temp_dir().display())))
}

/// Where a server's log is in its directory.
pub(crate) fn log_in(dir: &Path) -> PathBuf {
    dir.join("log")
}

fn program(command: &Command) -> String {
    command.get_program().display().to_string()
}

fn end_of(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "it said nothing".to_owned();
    }
    lines[lines.len().saturating_sub(LINES_OF_LOG)..].join("\n")
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use nix::unistd::{Pid, getpgid};

    use super::*;

    fn start(script: &str, is_up: bool) -> Result<Server> {
        let dir = temporary_dir()?;
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Server::start(command, &log_in(dir.path()), "no hint", || Ok(is_up))
    }

    #[test]
    fn one_that_ends_is_told_with_the_last_lines_of_its_log() {
        let error = start("seq 1 20; echo; echo no such option >&2; exit 3", false).unwrap_err();
        assert_eq!(error.to_string(), "sh ended before it was up: 14\n15\n16\n17\n18\n19\n20\nno such option");
        let error = start("exit 3", false).unwrap_err();
        assert_eq!(error.to_string(), "sh ended before it was up: it said nothing");
    }

    #[test]
    fn it_is_in_a_process_group_of_its_own_and_is_gone_when_it_is_dropped() {
        let server = start("sleep 60", true).unwrap();
        let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
        assert_eq!(getpgid(Some(pid)), Ok(pid));
        drop(server);
        assert_eq!(getpgid(Some(pid)), Err(Errno::ESRCH));
    }
}
