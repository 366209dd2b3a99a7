//! Runs `squall run` as a user does, and reads the run directory that it leaves.

#![allow(dead_code, reason = "not every test that shares this uses all of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use squall_report::RunRecord;
use tokio::process::{Child, Command};

/// A `squall run` that is being prepared, or has ended; its files go with it.
pub(crate) struct Storm {
    dir: tempfile::TempDir,
    command: Command,
}

/// What a run left behind.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    runs: PathBuf,
    _dir: tempfile::TempDir,
}

impl Storm {
    /// Of a scenario that is written down here.
    pub(crate) fn new(scenario: &str) -> Self {
        let dir = temporary();
        let file = dir.path().join("test.toml");
        std::fs::write(&file, scenario).unwrap();
        Self::of(dir, &["run", "--plain", file.to_str().unwrap()])
    }

    /// Of a built-in one.
    pub(crate) fn built_in(name: &str) -> Self {
        Self::of(temporary(), &["run", "--plain", name])
    }

    /// `squall chaos`, which does this experiment.
    pub(crate) fn experiment(name: &str) -> Self {
        Self::of(temporary(), &["chaos", "--quiet", name])
    }

    fn of(dir: tempfile::TempDir, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
        command.args(args).arg("--out").arg(dir.path().join("runs"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // What the one who runs the tests has set must not decide what is logged; and what a run leaves behind is found.
        command.env_remove("RUST_LOG").env("TMPDIR", dir.path().join("tmp"));
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir, command }
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    pub(crate) async fn run(self) -> Outcome {
        self.start().finish().await
    }

    pub(crate) fn start(mut self) -> Running {
        let child = self.command.spawn().unwrap();
        Running { child, dir: self.dir }
    }
}

/// A `squall run` that goes on.
pub(crate) struct Running {
    pub(crate) child: Child,
    dir: tempfile::TempDir,
}

impl Running {
    /// The directory of the run, once it is there.
    pub(crate) fn run_dir(&self) -> Option<PathBuf> {
        only_entry(&self.dir.path().join("runs"))
    }

    /// How many seconds have been written.
    pub(crate) fn seconds(&self) -> usize {
        let series = self.run_dir().and_then(|dir| std::fs::read_to_string(dir.join("series.jsonl")).ok());
        series.map_or(0, |text| text.lines().count())
    }

    /// SIGINT, as Ctrl-C sends it.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let Some(pid) = self.child.id() else { return };
        kill(Pid::from_raw(pid as i32), signal).unwrap();
    }

    /// What is used for temporary files.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    pub(crate) async fn finish(self) -> Outcome {
        let limit = Duration::from_secs(120);
        let output = tokio::time::timeout(limit, self.child.wait_with_output()).await;
        let output = output.expect("the run should have ended by now").unwrap();
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            runs: self.dir.path().join("runs"),
            _dir: self.dir,
        }
    }
}

impl Outcome {
    /// What was said, for the message of an assertion.
    pub(crate) fn said(&self) -> String {
        format!("exit code {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }

    /// What lies in the directory for temporary files.
    pub(crate) fn left_behind(&self) -> Vec<PathBuf> {
        left_behind(&self.runs.with_file_name("tmp"))
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        only_entry(&self.runs).unwrap_or_else(|| panic!("no run directory\n{}", self.said()))
    }

    pub(crate) fn record(&self) -> RunRecord {
        let path = self.run_dir().join("run.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}\n{}", self.said()));
        serde_json::from_str(&text).unwrap()
    }
}

fn only_entry(dir: &Path) -> Option<PathBuf> {
    std::fs::read_dir(dir).ok()?.next()?.ok().map(|entry| entry.path())
}

fn temporary() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("squall-test-").tempdir().unwrap()
}

/// What lies in a directory for temporary files.
pub(crate) fn left_behind(tmp: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(tmp).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The processes that a run has noted, by name: what must not be left behind.
pub(crate) fn noted(tmp: &Path) -> BTreeMap<String, i32> {
    let folders = std::fs::read_dir(tmp).into_iter().flatten().flatten();
    let mut journals = folders.filter(|folder| folder.file_name().to_string_lossy().starts_with("squall-journals-"));
    let journal = journals.next().and_then(|folder| only_entry(&folder.path()));
    let text = journal.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let noted: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let processes = noted["processes"].as_array().into_iter().flatten();
    processes.map(|it| (it["name"].as_str().unwrap().to_owned(), it["pid"].as_i64().unwrap() as i32)).collect()
}

/// The state of a process in one letter, as the kernel says it: `T` is stopped. `None` when it is gone, or a zombie that nobody has
/// reaped: where tests run, there may be nobody who does.
pub(crate) fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit(')').next()?.trim_start().chars().next()?;
    (state != 'Z').then_some(state)
}
