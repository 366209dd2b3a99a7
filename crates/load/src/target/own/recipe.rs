//! How an own gateway is started, again and again on the same data and port: its arguments, its environment, its ready line.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use squall_services::SmallDisk;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::Urls;
use crate::rig::Journal;
use crate::scenario::Scenario;

/// How long a gateway may take from its start to its ready line; recovery of a big log is part of it.
const READY_WITHIN: Duration = Duration::from_secs(60);
const READY_LINE: &str = "listening on ";

/// How to start it.
pub(super) struct Recipe {
    pub(super) program: PathBuf,
    /// What it is called in messages.
    pub(super) name: String,
    pub(super) data: PathBuf,
    pub(super) config: PathBuf,
    pub(super) urls: Urls,
    pub(super) log: PathBuf,
    /// Its data directory is on this, because a fault will fill it.
    pub(super) disk: Option<SmallDisk>,
    /// This file says how far its clock is off, because a fault will set it.
    pub(super) clock: Option<PathBuf>,
    pub(super) journal: Arc<Journal>,
    /// Where all of this lies; it goes with the last gateway.
    pub(super) _dir: Arc<tempfile::TempDir>,
}

impl Recipe {
    pub(super) async fn start(&self, listen: &str) -> Result<(Child, String), String> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| format!("{}: {error}", self.log.display()))?;
        let mut command = match self.disk.as_ref().map(SmallDisk::wrapper).unwrap_or_default().split_first() {
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(&self.data)
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
        for (name, url) in [("SQUALL_STORE__URL", &self.urls.store), ("SQUALL_ARCHIVE__URL", &self.urls.archive)] {
            if let Some(url) = url {
                command.env(name, url);
            }
        }
        if let Some(file) = &self.clock {
            self.shift_clock(0)?;
            command.envs(false_clock(file)?);
        }
        command.env("SQUALL_DIE_WITH_PARENT", std::process::id().to_string());
        let begun = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        if let Some(pid) = child.id() {
            self.journal.process(&self.name, pid);
        }
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
                return Err(format!("{} did not start ({status}); {}", self.name, self.last_words()));
            }
            Err(_) => {
                return Err(format!("{} was not ready within {READY_WITHIN:?}; {}", self.name, self.last_words()));
            }
        };
        tracing::debug!(%url, after = ?begun.elapsed(), "{} listens", self.name);
        // A full pipe would stop it: what it still says there is read, and dropped.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok((child, url))
    }

    /// Fills its disk until so many bytes are left, or empties it again.
    pub(super) async fn fill_disk(&self, pid: Option<u32>, leave_bytes: Option<u64>) -> Result<(), String> {
        let (Some(disk), Some(pid)) = (&self.disk, pid) else {
            return Err(format!("{} has no disk of its own", self.name));
        };
        // A few megabytes of memory: it takes no time that anybody would notice.
        let done = match leave_bytes {
            Some(leave_bytes) => disk.fill(pid, leave_bytes),
            None => disk.empty(pid),
        };
        done.map_err(|error| format!("the disk of {}: {error}", self.name))
    }

    /// Says how far its clock is off.
    pub(super) fn shift_clock(&self, shift_ms: i64) -> Result<(), String> {
        let Some(file) = &self.clock else { return Err(format!("the clock of {} cannot be set", self.name)) };
        let text = format!("{:+.3}\n", shift_ms as f64 / 1000.0);
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// The end of its log, for an error message.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(5).collect();
        match lines.as_slice() {
            [] => "it said nothing".to_owned(),
            lines => format!("its last words: {}", lines.iter().rev().copied().collect::<Vec<_>>().join(" | ")),
        }
    }
}

/// Of a disk that a fault will fill: more than a gateway needs that has little to do.
const DISK_BYTES: u64 = 64 << 20;

/// A disk of its own for a gateway.
pub(super) fn small_disk(journal: &Journal) -> Result<SmallDisk, String> {
    let disk = SmallDisk::new(DISK_BYTES).map_err(|error| format!("a small disk: {error}"))?;
    let disk = disk.ok_or(
        "a fault fills a disk, and this machine lets nobody mount a small one: run as root, or allow user namespaces",
    )?;
    journal.mount(disk.path());
    journal.dir(disk.path());
    Ok(disk)
}

/// What makes a program believe another time than the machine's: the wall clock, not the one that only counts. `file` says which, and
/// is read again each second.
fn false_clock(file: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|folder| folder.path());
    let library = folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|library| library.exists());
    let library =
        library.ok_or("a fault sets a clock, and libfaketime is not installed (Debian: apt install libfaketime)")?;
    Ok(vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ])
}

/// The scenario's settings; lanes that it only names are there with their defaults. The addresses of store and archive are not among them,
/// because they may hold passwords, and this goes into a file.
pub(super) fn settings(scenario: &Scenario, key_prefix: &str) -> toml::Table {
    let mut settings = scenario.target.clone();
    if let Some(archive) = settings.get_mut("archive").and_then(toml::Value::as_table_mut) {
        archive.remove("url");
    }
    if scenario.store_url().is_some()
        && let Some(store) = settings.get_mut("store").and_then(toml::Value::as_table_mut)
    {
        store.remove("url");
        store.insert("key_prefix".to_owned(), key_prefix.into());
    }
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
        let settings = settings(&parse("x", text).unwrap(), "p");
        assert_eq!(settings["lanes"]["a"]["concurrency"].as_integer(), Some(3));
        assert!(settings["lanes"]["b"].as_table().unwrap().is_empty());
    }

    #[test]
    fn a_stores_address_goes_into_no_file_and_its_keys_are_the_runs_own() {
        let text = "name = \"x\"\n[target.store]\nurl = \"redis://:s3cret@h/\"\ntimeout_ms = 7\n[[load]]\nworkload = \"tasks\"\nexecutor = \"constant-vus\"\nduration = \"1s\"\n";
        let scenario = parse("x", text).unwrap();
        assert_eq!(scenario.store_url(), Some("redis://:s3cret@h/"));
        let settings = settings(&scenario, "{mine}");
        assert_eq!(settings["store"].to_string(), "{ key_prefix = \"{mine}\", timeout_ms = 7 }");
    }
}
