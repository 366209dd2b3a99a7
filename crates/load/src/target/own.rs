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

use crate::error::{Error, Result};
use crate::faults::FaultKind;
use crate::scenario::Scenario;

/// How long a gateway may take from its start to its ready line; recovery of a big log is part of it.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to stop by itself.
const STOP_WITHIN: Duration = Duration::from_secs(15);
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
    /// The fault has begun.
    Begun(usize),
    /// The fault has been taken back: the process runs and is ready. With its pid.
    Ended(usize, u32),
    /// It died, and nobody had asked for it; or it cannot be started again.
    Broken(String),
}

/// How to start it.
struct Recipe {
    program: PathBuf,
    data: tempfile::TempDir,
    keep: bool,
    config: PathBuf,
    log: PathBuf,
}

/// The gateway, while it is being started.
pub(crate) struct OwnGateway {
    recipe: Recipe,
    child: Child,
    /// `http://127.0.0.1:12345`.
    pub(crate) url: String,
}

impl OwnGateway {
    /// Starts it on a free port, with an empty data directory, and waits until it listens.
    pub(crate) async fn start(program: &Path, keep: bool, scenario: &Scenario, log: &Path) -> Result<Self> {
        let system = |what| move |source| Error::System { what, source };
        let data = tempfile::Builder::new().prefix("squall-storm-").tempdir();
        let data = data.map_err(system("making a directory for the own gateway"))?;
        let config = data.path().join("squall.toml");
        let settings = toml::to_string(&settings(scenario)).map_err(|error| Error::Target(error.to_string()))?;
        std::fs::write(&config, settings).map_err(system("writing the own gateway's configuration"))?;
        let recipe = Recipe { program: program.to_owned(), data, keep, config, log: log.to_owned() };
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
    pub(crate) async fn live(mut self, mut acts: mpsc::Receiver<Act>, heard: mpsc::Sender<Heard>) {
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
                        self.stop(Signal::SIGTERM).await;
                    }
                    if self.recipe.keep {
                        self.recipe.data.disable_cleanup(true);
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
                    self.signal(signal);
                    if kind == FaultKind::Kill {
                        // Reaped, so that its port and files are free.
                        let _ = self.child.wait().await;
                    }
                    heard.send(Heard::Begun(fault)).await
                }
                Some(Act::End(fault, FaultKind::Freeze)) => {
                    self.signal(Signal::SIGCONT);
                    heard.send(Heard::Ended(fault, self.child.id().unwrap_or_default())).await
                }
                Some(Act::End(fault, _)) => {
                    self.stop(Signal::SIGTERM).await;
                    let address = self.url.trim_start_matches("http://").to_owned();
                    match self.recipe.start(&address).await {
                        Ok((child, _)) => {
                            self.child = child;
                            down = false;
                            heard.send(Heard::Ended(fault, self.child.id().unwrap_or_default())).await
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

    /// Asks it to stop, and kills it if it does not.
    async fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        // A frozen process hears nothing.
        self.signal(Signal::SIGCONT);
        if tokio::time::timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            tracing::warn!("the own gateway did not stop within {STOP_WITHIN:?}, and is killed");
            let _ = self.child.kill().await;
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
}
