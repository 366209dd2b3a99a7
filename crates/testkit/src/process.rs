//! One `squall serve` as a child process.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::wait::eventually;

/// What the program prints once it can be talked to.
const READY_LINE: &str = "listening on ";
/// A gateway that is not ready by then is broken. Generous: the machine may build something else meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Lines of log that a failed test shows.
const SHOWN_LINES: usize = 60;

/// How to start a gateway.
#[derive(Clone, Debug)]
pub struct Setup {
    program: PathBuf,
    config: Option<String>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    wrapper: Vec<String>,
    data_dir: Option<PathBuf>,
    listen: String,
}

impl Setup {
    /// This program; `SQUALL_BIN` takes its place when it is set. Tests of the program pass `env!("CARGO_BIN_EXE_squall")`.
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self {
            program: std::env::var_os("SQUALL_BIN").unwrap_or_else(|| program.into()).into(),
            config: None,
            env: Vec::new(),
            args: Vec::new(),
            wrapper: Vec::new(),
            data_dir: None,
            listen: "127.0.0.1:0".into(),
        }
    }

    /// The text of its `squall.toml`.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// One variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One more argument of `squall serve`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Where its data is; else in a directory that goes with it.
    #[must_use]
    pub fn data_dir(mut self, dir: &Path) -> Self {
        self.data_dir = Some(dir.to_owned());
        self
    }

    /// Where it listens; else on a free port of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = address.to_owned();
        self
    }

    /// What to start it with: a program and its arguments, before its own.
    #[must_use]
    pub fn wrapper(mut self, wrapper: Vec<String>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; with its log.
    pub async fn start(self) -> Result<Squall> {
        let own = tempfile::Builder::new().prefix("squall-test-").tempdir()?;
        let data_dir = self.data_dir.clone().unwrap_or_else(|| own.path().join("data"));
        if let Some(config) = &self.config {
            std::fs::write(own.path().join("squall.toml"), config)?;
        }
        let mut squall = Squall { setup: self, own, data_dir, child: None, url: String::new(), starts: 0 };
        squall.spawn().await?;
        Ok(squall)
    }

    /// Runs it where it should refuse to start; answers how it ended and all that it said.
    ///
    /// # Errors
    /// When it does not end in time: then it did start.
    pub async fn refusal(self) -> Result<Exit> {
        let own = tempfile::Builder::new().prefix("squall-test-").tempdir()?;
        let data_dir = self.data_dir.clone().unwrap_or_else(|| own.path().join("data"));
        if let Some(config) = &self.config {
            std::fs::write(own.path().join("squall.toml"), config)?;
        }
        let child = self.command(own.path(), &data_dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let ended = tokio::time::timeout(READY_WITHIN, child.wait_with_output()).await;
        let output = ended
            .with_context(|| format!("it should have refused to start with {:?}, and did not end", self.config))??;
        let said = [output.stdout, output.stderr].concat();
        Ok(Exit { status: output.status, said: String::from_utf8_lossy(&said).into_owned() })
    }

    fn command(&self, own: &Path, data_dir: &Path) -> Command {
        let mut line: Vec<OsString> = self.wrapper.iter().map(OsString::from).collect();
        line.push(self.program.clone().into());
        line.extend(["serve", "--listen", &self.listen, "--data-dir"].map(OsString::from));
        line.push(data_dir.into());
        if self.config.is_some() {
            line.push("--config".into());
            line.push(own.join("squall.toml").into());
        }
        line.extend(self.args.iter().map(OsString::from));
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).stdin(Stdio::null()).kill_on_drop(true);
        // What the developer has set for himself is not what the test means.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SQUALL_")) {
            command.env_remove(name);
        }
        command.current_dir(own).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// Standard output, then standard error.
    pub said: String,
}

/// A running gateway. Dropped, it is killed and its files go; when the test fails, its log is shown.
pub struct Squall {
    setup: Setup,
    own: TempDir,
    data_dir: PathBuf,
    child: Option<Child>,
    url: String,
    starts: u32,
}

impl Squall {
    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its data is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match self.child.as_ref().and_then(Child::id) {
            Some(pid) => pid,
            None => panic!("the gateway does not run"),
        }
    }

    /// All that it has said on standard error, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(10)).await.map(drop)
    }

    /// Asks it to stop with SIGTERM; answers how it ended.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit).await
    }

    /// Sends a signal: SIGSTOP freezes it, SIGCONT wakes it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.as_ref().and_then(Child::id).context("the gateway does not run")?;
        kill(Pid::from_raw(pid.try_into()?), signal).with_context(|| format!("{signal} to {pid}"))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the gateway does not run")?;
        match tokio::time::timeout(limit, child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                self.child = Some(child);
                bail!("it did not end within {limit:?}")
            }
        }
    }

    /// Starts it again on the same data, and waits until it is ready. On the same port when `same_port`: then whoever was
    /// connected finds it again.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub async fn restart(&mut self, same_port: bool) -> Result<()> {
        self.restart_with(same_port, |setup| setup).await
    }

    /// As [`Squall::restart`], with another setup.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub async fn restart_with(&mut self, same_port: bool, change: impl FnOnce(Setup) -> Setup) -> Result<()> {
        if self.child.is_some() {
            bail!("it still runs");
        }
        let mut setup = change(self.setup.clone());
        if same_port {
            setup.listen = self.url.trim_start_matches("http://").to_owned();
        }
        if let Some(config) = &setup.config {
            std::fs::write(self.own.path().join("squall.toml"), config)?;
        }
        self.setup = setup;
        self.spawn().await
    }

    fn log_path(&self) -> PathBuf {
        self.own.path().join("squall.log")
    }

    async fn spawn(&mut self) -> Result<()> {
        self.starts += 1;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.setup.command(self.own.path(), &self.data_dir);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().with_context(|| {
            format!("cannot start {}: build it first, or set SQUALL_BIN", self.setup.program.display())
        })?;
        let stdout = child.stdout.take().context("no standard output")?;
        self.child = Some(child);
        match tokio::time::timeout(READY_WITHIN, ready_line(BufReader::new(stdout))).await {
            Ok(Ok(url)) => self.url = url,
            Ok(Err(why)) => bail!("{why:#}; its log:\n{}", self.log_end()),
            Err(_) => bail!("it said nothing within {READY_WITHIN:?}; its log:\n{}", self.log_end()),
        }
        let ready = format!("{}/ready", self.url);
        let http = reqwest::Client::builder().no_proxy().build()?;
        eventually("the gateway to be ready", READY_WITHIN, async || {
            http.get(&ready).send().await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
        Ok(())
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

impl Drop for Squall {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {} (started {} times)\n{}\n---", self.url, self.starts, self.log_end());
        }
    }
}

/// Reads up to the ready line, and leaves somebody behind who reads on: a full pipe would stop the program.
async fn ready_line(mut stdout: BufReader<tokio::process::ChildStdout>) -> Result<String> {
    let mut line = String::new();
    loop {
        line.clear();
        if stdout.read_line(&mut line).await? == 0 {
            bail!("it ended before it was ready");
        }
        if let Some(url) = line.trim().strip_prefix(READY_LINE) {
            let url = url.to_owned();
            tokio::spawn(async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await });
            return Ok(url);
        }
    }
}
