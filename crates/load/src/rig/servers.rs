//! Processes around the target: the servers that the storm starts for own gateways, and the scenario's own programs. Calls block.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use squall_services::{Postgres, Redis, RedisOptions};

use crate::faults::ProcessFault;
use crate::scenario::{Process, Service};
use crate::target::is_process;

/// How long one that was told to stop may take; then it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How long a program may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

type Result<T> = std::result::Result<T, String>;

/// One of them; it ends with this value.
pub(super) enum Server {
    Redis(Redis),
    Postgres(Postgres),
    Program(Program),
}

/// A `[[process]]`.
pub(super) struct Program {
    process: Process,
    log: PathBuf,
    child: Child,
}

impl Server {
    /// A server for own gateways. What Redis acknowledges is on disk, so that nothing excuses a loss.
    /// `dir` is for what it keeps, if it asks for one.
    pub(super) async fn service(service: Service, dir: &Path) -> Result<Self> {
        let dir = dir.to_owned();
        let started = tokio::task::spawn_blocking(move || match service {
            Service::Redis => {
                let options = RedisOptions { fsync: "always", dir: Some(dir), ..RedisOptions::default() };
                Redis::start(&options).map(Self::Redis)
            }
            Service::Postgres => Postgres::start(true).map(Self::Postgres),
        });
        started.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// A program of the scenario; what it says goes into `log`.
    pub(super) async fn program(process: &Process, log: &Path) -> Result<Self> {
        let (process, log) = (process.clone(), log.to_owned());
        let started = tokio::task::spawn_blocking(move || Program::start(process, log));
        started.await.map_err(|error| error.to_string())?.map(Self::Program)
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Redis(_) => Service::Redis.as_str(),
            Self::Postgres(_) => Service::Postgres.as_str(),
            Self::Program(program) => &program.process.name,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Redis(redis) => redis.pid(),
            Self::Postgres(postgres) => postgres.pid(),
            Self::Program(program) => program.child.id(),
        }
    }

    /// Where it listens, if that is a service's to say.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Redis(redis) => redis.url(),
            Self::Postgres(postgres) => postgres.url(),
            Self::Program(_) => String::new(),
        }
    }

    /// The directory that it has made for itself.
    pub(super) fn own_dir(&self) -> Option<PathBuf> {
        match self {
            Self::Postgres(postgres) => postgres.data_dir().parent().map(Path::to_owned),
            Self::Redis(_) | Self::Program(_) => None,
        }
    }

    /// A fault begins.
    pub(super) fn begin(&mut self, fault: ProcessFault) -> Result<()> {
        match fault {
            ProcessFault::Kill => {
                self.signal(Signal::SIGKILL);
                self.kill();
                Ok(())
            }
            ProcessFault::Stop => {
                self.signal(Signal::SIGSTOP);
                Ok(())
            }
            ProcessFault::Drain => {
                self.signal(Signal::SIGTERM);
                Ok(())
            }
            ProcessFault::Restart => {
                self.signal(Signal::SIGTERM);
                self.restart()
            }
        }
    }

    /// It is taken back.
    pub(super) fn end(&mut self, fault: ProcessFault) -> Result<()> {
        match fault {
            ProcessFault::Kill | ProcessFault::Drain => self.restart(),
            ProcessFault::Stop => {
                self.signal(Signal::SIGCONT);
                Ok(())
            }
            ProcessFault::Restart => Ok(()),
        }
    }

    /// To it and its children: each of them leads a group of its own. PostgreSQL's children serve on while their parent stands still.
    fn signal(&self, signal: Signal) {
        // SIGTERM is for the one that knows what to do about it; PostgreSQL's children would take it for an order of their parent.
        let pid = Pid::from_raw(self.pid() as i32);
        let _ = if signal == Signal::SIGTERM { nix::sys::signal::kill(pid, signal) } else { killpg(pid, signal) };
    }

    fn kill(&mut self) {
        match self {
            Self::Redis(redis) => redis.kill(),
            Self::Postgres(postgres) => postgres.kill(),
            Self::Program(program) => program.kill(),
        }
    }

    /// Starts it where it was, when it has gone.
    fn restart(&mut self) -> Result<()> {
        let begun = Instant::now();
        while is_process(self.pid()) && begun.elapsed() < STOP_WITHIN {
            std::thread::sleep(LOOK_EVERY);
        }
        match self {
            Self::Redis(redis) => redis.restart().map_err(|error| error.to_string()),
            Self::Postgres(postgres) => postgres.restart().map_err(|error| error.to_string()),
            Self::Program(program) => {
                program.kill();
                *program = Program::start(program.process.clone(), program.log.clone())?;
                Ok(())
            }
        }
    }
}

impl Program {
    fn start(process: Process, log: PathBuf) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(|error| format!("{}: {error}", log.display()))?;
        let error_file = file.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        let Some((program, arguments)) = process.command.split_first() else {
            return Err(format!("process {}: there is no command", process.name));
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(file).stderr(error_file).process_group(0);
        let child = command.spawn().map_err(|error| format!("process {}: {program}: {error}", process.name))?;
        let mut started = Self { process, log, child };
        started.is_ready()?;
        Ok(started)
    }

    fn is_ready(&mut self) -> Result<()> {
        let Some(address) = self.process.ready.clone() else { return Ok(()) };
        let begun = Instant::now();
        while TcpStream::connect(&address).is_err() {
            let failed = match self.child.try_wait() {
                Ok(Some(status)) => Some(format!("ended ({status})")),
                _ => (begun.elapsed() > READY_WITHIN)
                    .then(|| format!("does not listen on {address} after {READY_WITHIN:?}")),
            };
            if let Some(why) = failed {
                return Err(format!("process {} {why}; see {}", self.process.name, self.log.display()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str, dir: &Path, ready: Option<String>) -> Result<Program> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Program::start(Process { name: "helper".to_owned(), command, ready }, dir.join("log"))
    }

    #[test]
    fn a_program_is_stopped_goes_on_and_is_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::Program(program("while :; do sleep 0.05; done", dir.path(), None).unwrap());
        let state = |pid: u32| procfs::process::Process::new(pid as i32).unwrap().stat().unwrap().state;
        let until = |pid: u32, fits: fn(char) -> bool| {
            while !fits(state(pid)) {
                std::thread::sleep(LOOK_EVERY);
            }
        };
        let first = server.pid();
        server.begin(ProcessFault::Stop).unwrap();
        until(first, |state| state == 'T');
        server.end(ProcessFault::Stop).unwrap();
        until(first, |state| state != 'T');
        server.begin(ProcessFault::Kill).unwrap();
        assert!(!is_process(first));
        server.end(ProcessFault::Kill).unwrap();
        assert!(server.pid() != first && is_process(server.pid()));
        let last = server.pid();
        server.begin(ProcessFault::Restart).unwrap();
        assert!(!is_process(last) && is_process(server.pid()));
        let last = server.pid();
        drop(server);
        assert!(!is_process(last));
    }

    #[test]
    fn a_program_that_ends_before_it_listens_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = program("exit 3", dir.path(), Some("127.0.0.1:1".to_owned())).err().unwrap();
        assert!(error.starts_with("process helper ended (exit status: 3); see "), "{error}");
    }
}
