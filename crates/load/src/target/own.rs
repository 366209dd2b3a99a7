//! The own gateway: a child process in a directory of its own, killed and restarted for real. One task owns it; faults come
//! in as acts, and what becomes of it goes out.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::engine::Clock;
use crate::error::{Error, Result};
use crate::faults::FaultKind;
use crate::scenario::Scenario;

/// How long a gateway may take from its start to its ready line; recovery of a big log is part of it.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to stop by itself.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How long a process that was killed may take to be gone.
const REAPED_WITHIN: Duration = Duration::from_secs(2);
const READY_LINE: &str = "listening on ";

/// What is to be done to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// The fault with this index begins.
    Begin(usize, FaultKind),
    /// It is taken back.
    End(usize, FaultKind),
    /// SIGTERM, and wait; the last act.
    Stop,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The fault has begun, at this time of the run's clock.
    Begun { fault: usize, at_us: u64 },
    /// The fault has been taken back: the process runs and is ready.
    Ended {
        fault: usize,
        at_us: u64,
        pid: u32,
        /// What was not as it should be with the end of the process before it.
        blemish: Option<String>,
    },
    /// It died, and nobody had asked for it; or it cannot be started again.
    Broken(String),
}

/// How to start it.
struct Recipe {
    program: PathBuf,
    data: tempfile::TempDir,
    config: PathBuf,
    log: PathBuf,
}

/// The gateway with its process and its directory.
pub(crate) struct OwnGateway {
    child: Child,
    recipe: Recipe,
    /// `http://127.0.0.1:12345`.
    pub(crate) url: String,
}

impl OwnGateway {
    /// Starts it on a free port, with an empty data directory, and waits until it listens.
    pub(crate) async fn start(program: &Path, keep: bool, scenario: &Scenario, log: &Path) -> Result<Self> {
        let system = |what| move |source| Error::System { what, source };
        let data = tempfile::Builder::new().prefix("squall-storm-").tempdir();
        let mut data = data.map_err(system("making a directory for the own gateway"))?;
        data.disable_cleanup(keep);
        let config = data.path().join("squall.toml");
        let settings = toml::to_string(&settings(scenario)).map_err(|error| Error::Target(error.to_string()))?;
        std::fs::write(&config, settings).map_err(system("writing the own gateway's configuration"))?;
        let recipe = Recipe { program: program.to_owned(), data, config, log: log.to_owned() };
        let (child, url) = recipe.start("127.0.0.1:0").await.map_err(Error::Target)?;
        Ok(Self { recipe, child, url })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where its data is.
    pub(crate) fn data_dir(&self) -> &Path {
        self.recipe.data.path()
    }

    /// Owns it until the last act; or until the acts end, which kills it.
    pub(crate) async fn live(mut self, clock: Clock, mut acts: mpsc::Receiver<Act>, heard: mpsc::Sender<Heard>) {
        // After a fault that took it down the process is gone, and that is as it should be.
        let mut down = false;
        loop {
            let act = tokio::select! {
                act = acts.recv() => act,
                status = self.child.wait(), if !down => {
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    let told = format!("the own gateway died by itself ({status}); {}", self.recipe.last_words());
                    let _ = heard.send(Heard::Broken(told)).await;
                    down = true;
                    continue;
                }
            };
            let done = match act {
                None => return,
                Some(Act::Stop) => {
                    if !down {
                        self.signal(Signal::SIGTERM);
                        // A frozen process hears nothing.
                        self.signal(Signal::SIGCONT);
                        self.gone().await;
                    }
                    return;
                }
                Some(Act::Begin(fault, kind)) => {
                    let signal = match kind {
                        FaultKind::Kill => Signal::SIGKILL,
                        FaultKind::Terminate => Signal::SIGTERM,
                        FaultKind::Freeze => Signal::SIGSTOP,
                    };
                    down = kind != FaultKind::Freeze;
                    let at_us = clock.now_us();
                    self.signal(signal);
                    if kind == FaultKind::Kill {
                        // Reaped, so that its port and files are free.
                        let _ = self.child.wait().await;
                    }
                    heard.send(Heard::Begun { fault, at_us }).await
                }
                Some(Act::End(fault, FaultKind::Freeze)) => {
                    self.signal(Signal::SIGCONT);
                    heard.send(self.ended(fault, clock, None)).await
                }
                Some(Act::End(fault, kind)) => {
                    // It was told to stop when the fault began, and only waited for now: a second SIGTERM would be an
                    // order to give up draining.
                    let status = self.gone().await;
                    let blemish = (kind == FaultKind::Terminate && !status.contains("status: 0"))
                        .then(|| format!("after SIGTERM the own gateway did not stop cleanly ({status})"));
                    let address = self.url.trim_start_matches("http://").to_owned();
                    match self.recipe.start(&address).await {
                        Ok((child, _)) => {
                            self.child = child;
                            down = false;
                            heard.send(self.ended(fault, clock, blemish)).await
                        }
                        Err(error) => heard.send(Heard::Broken(format!("restart failed: {error}"))).await,
                    }
                }
            };
            if done.is_err() {
                // Nobody listens any more: the run is over, and the child is killed with this value.
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id() {
            // It is our own child and not yet reaped, so this is the process that we mean.
            let _ = kill(Pid::from_raw(pid as i32), signal);
        }
    }

    fn ended(&self, fault: usize, clock: Clock, blemish: Option<String>) -> Heard {
        Heard::Ended { fault, at_us: clock.now_us(), pid: self.child.id().unwrap_or_default(), blemish }
    }

    /// Waits for the end of a process that was told to stop, and kills it if it does not. Answers how it ended.
    async fn gone(&mut self) -> String {
        match tokio::time::timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(status) => status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            Err(_) => {
                tracing::warn!("the own gateway did not stop within {STOP_WITHIN:?}, and is killed");
                let _ = self.child.kill().await;
                format!("killed after {STOP_WITHIN:?}")
            }
        }
    }
}

impl Drop for OwnGateway {
    /// When the run is given up at once, nothing is left running and nothing is left lying around.
    fn drop(&mut self) {
        // Nothing to kill after an orderly end.
        let _ = self.child.start_kill();
        let begun = Instant::now();
        // Killed is not yet gone, and what is not gone may still write into the directory that goes next.
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < REAPED_WITHIN {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Recipe {
    async fn start(&self, listen: &str) -> std::result::Result<(Child, String), String> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| format!("{}: {error}", self.log.display()))?;
        let mut command = Command::new(&self.program);
        command
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(self.data.path().join("data"))
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // So that Ctrl-C reaches the storm only, which then ends the gateway when it has accounted for everything.
            .process_group(0)
            .kill_on_drop(true);
        // What the scenario says is what it gets: settings in the environment are for other gateways.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SQUALL_")) {
            command.env_remove(key);
        }
        command.env("SQUALL_DIE_WITH_PARENT", std::process::id().to_string());
        let begun = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        let stdout = child.stdout.take().ok_or("the child has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(url) = line.strip_prefix(READY_LINE) {
                    return Some(url.trim().to_owned());
                }
            }
            None
        };
        let url = match tokio::time::timeout(READY_WITHIN, ready).await {
            Ok(Some(url)) => url,
            Ok(None) => {
                let status = child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(format!("the own gateway did not start ({status}); {}", self.last_words()));
            }
            Err(_) => {
                return Err(format!("the own gateway was not ready within {READY_WITHIN:?}; {}", self.last_words()));
            }
        };
        tracing::debug!(%url, after = ?begun.elapsed(), "the own gateway listens");
        // A full pipe would stop it: what it still says there is read, and dropped.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok((child, url))
    }

    /// The end of its log, for an error message.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(5).collect();
        match lines.as_slice() {
            [] => "it said nothing".to_owned(),
            lines => format!("its last words: {}", lines.iter().rev().copied().collect::<Vec<_>>().join(" | ")),
        }
    }
}

/// The scenario's settings; lanes that it only names are there with their defaults.
fn settings(scenario: &Scenario) -> toml::Table {
    let mut settings = scenario.target.clone();
    let lanes = settings.entry("lanes").or_insert_with(|| toml::Table::new().into());
    if let Some(lanes) = lanes.as_table_mut() {
        for lane in scenario.load.iter().flat_map(|load| load.workload.lanes()) {
            lanes.entry(lane).or_insert_with(|| toml::Table::new().into());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    #[test]
    fn lanes_that_are_only_named_are_there() {
        let text = "name = \"x\"\n[target.lanes.a]\nconcurrency = 3\n[[load]]\nworkload = \"tasks\"\nlanes = [\"a\", \"b\"]\nexecutor = \"constant-vus\"\nduration = \"1s\"\n";
        let settings = settings(&parse("x", text).unwrap());
        assert_eq!(settings["lanes"]["a"]["concurrency"].as_integer(), Some(3));
        assert!(settings["lanes"]["b"].as_table().unwrap().is_empty());
    }

    /// Says that it listens, notes every SIGTERM, and takes its time to stop after the first.
    const SLOW_TO_STOP: &str = "#!/bin/sh\n\
        trap 'echo told >&2; trap \"echo told again >&2; exit 143\" TERM; sleep 0.4 & wait $!; echo clean >&2; exit 0' TERM\n\
        echo listening on http://127.0.0.1:1\n\
        while :; do sleep 0.01; done\n";

    #[tokio::test]
    async fn a_gateway_that_was_told_to_stop_is_told_once() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (program, log) = (dir.path().join("gateway"), dir.path().join("log"));
        std::fs::write(&program, SLOW_TO_STOP).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let scenario = parse(
            "x",
            "name = \"x\"\n[[load]]\nworkload = \"tasks\"\nexecutor = \"constant-vus\"\nduration = \"1s\"\n",
        );
        let gateway = OwnGateway::start(&program, false, &scenario.unwrap(), &log).await.unwrap();
        let data = gateway.data_dir().to_owned();
        let (acts, to_gateway) = mpsc::channel(4);
        let (heard, mut from_gateway) = mpsc::channel(4);
        let living = tokio::spawn(gateway.live(Clock::starting_in(Duration::ZERO), to_gateway, heard));
        acts.send(Act::Begin(0, FaultKind::Terminate)).await.unwrap();
        assert!(matches!(from_gateway.recv().await, Some(Heard::Begun { fault: 0, .. })));
        while !std::fs::read_to_string(&log).unwrap().contains("told") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        acts.send(Act::End(0, FaultKind::Terminate)).await.unwrap();
        let ended = from_gateway.recv().await;
        assert!(matches!(ended, Some(Heard::Ended { fault: 0, blemish: None, .. })), "{ended:?}");
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.contains("clean") && !log.contains("again"), "{log}");

        // And a run that is given up leaves neither process nor directory.
        assert!(data.exists());
        living.abort();
        assert!(living.await.unwrap_err().is_cancelled());
        assert!(!data.exists());
    }
}
