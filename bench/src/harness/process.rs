//! Servers as child processes: pinned to the server's core, killed when they are dropped or when we die, their memory
//! and CPU time read from `/proc`.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything may take to start, to answer, or to settle.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether servers and load are kept on a core each. Decided before the first of them is.
pub fn pinned() -> bool {
    static PINNED: OnceLock<bool> = OnceLock::new();
    *PINNED.get_or_init(|| {
        std::env::var_os("BENCH_PIN").is_none_or(|v| v != "0")
            && std::thread::available_parallelism().is_ok_and(|n| n.get() >= 2)
    })
}

/// Keeps this process, and every thread it will start, on the load's core. Call before the first thread.
pub fn pin_load() -> Result<()> {
    if pinned() {
        let mut set = nix::sched::CpuSet::new();
        set.set(1)?;
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
    }
    Ok(())
}

/// Which core a child runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// The server's.
    Server,
    /// The load's.
    Load,
}

/// A command that ends with us and runs on its core. Start it from the main thread: the kernel ties it to the thread.
pub fn command(program: &Path, core: Core) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    if pinned() {
        command.args(["taskset", "-c", if core == Core::Server { "0" } else { "1" }]);
    }
    command.arg(program).stdin(Stdio::null());
    command
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts `command`, which will listen on `port`; its output goes to `log`. Does not wait for it.
    pub fn start(mut command: Command, port: u16, log: PathBuf) -> Result<Self> {
        let out = File::options().create(true).append(true).open(&log)?;
        command.stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("{:?} does not start", command.get_program()))?;
        Ok(Self { child, log, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// Waits until `ready` says so.
    pub fn wait_until(&mut self, mut ready: impl FnMut(SocketAddr) -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready(self.address) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}:\n{}", self.log_tail());
            }
            if start.elapsed() > PATIENCE {
                bail!("the server is not ready after {PATIENCE:?}:\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until it takes connections.
    pub fn wait_for_port(&mut self) -> Result<()> {
        self.wait_until(|address| TcpStream::connect(address).is_ok())
    }

    /// Its process id; `setpriv` and `taskset` became the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Resident memory in bytes.
    pub fn rss_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no VmRSS")?.parse()?;
        Ok(kib * 1_024)
    }

    /// CPU time used so far, user and system.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let fields: Vec<_> = stat.rsplit_once(") ").context("odd stat line")?.1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // 100 a second on every Linux that is not specially built.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// The end of what it printed.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill, and that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
