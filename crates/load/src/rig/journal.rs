//! What must not be left behind when the storm itself is killed: processes that it started, disks that it mounted, directories that it
//! made. Each run keeps a list in a file that it has locked; whoever finds one that nobody has locked cleans up after it.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, geteuid};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::target::started;

/// The list of one run; its file goes with it.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    entries: Entries,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Entries {
    processes: Vec<Entry>,
    mounts: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
}

/// A process. Numbers come again; the number and the moment of the start together do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    pid: u32,
    started: u64,
}

impl Journal {
    /// An empty one.
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_in(&folder())
    }

    fn open_in(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("{}-{:08x}.json", std::process::id(), fastrand::u32(..)));
        let make = || {
            std::fs::create_dir_all(folder)?;
            File::options().create_new(true).write(true).open(&path)
        };
        // The last run that ends removes the folder, which may be at this very moment.
        let file = make().or_else(|_| make())?;
        file.lock()?;
        Ok(Self { path, open: Mutex::new(Open { file, entries: Entries::default() }) })
    }

    /// This process was started, instead of the one before it of this name.
    pub(crate) fn process(&self, name: &str, pid: u32) {
        let Some(started) = started(pid) else { return };
        self.note(|entries| {
            entries.processes.retain(|entry| entry.name != name);
            entries.processes.push(Entry { name: name.to_owned(), pid, started });
        });
    }

    /// A disk was mounted here.
    pub(crate) fn mount(&self, path: &Path) {
        self.note(|entries| entries.mounts.push(path.to_owned()));
    }

    /// This directory was made, to be removed in the end.
    pub(crate) fn dir(&self, path: &Path) {
        self.note(|entries| entries.dirs.push(path.to_owned()));
    }

    fn note(&self, change: impl FnOnce(&mut Entries)) {
        let mut open = self.open.lock();
        change(&mut open.entries);
        // A list that cannot be written keeps no run from going on: without a crash nobody reads it.
        let written = open.write();
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.path.display(), "what is to be cleaned up after a crash cannot be noted");
        }
    }
}

impl Open {
    fn write(&mut self) -> io::Result<()> {
        use std::io::Seek;
        let text = serde_json::to_vec(&self.entries)?;
        self.file.rewind()?;
        self.file.write_all(&text)?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// A list is of no use any more; nor is its folder, when it was the last one.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
    if let Some(folder) = path.parent() {
        let _ = std::fs::remove_dir(folder);
    }
}

/// Cleans up after runs that were killed: ends processes that they left, also those that they had stopped, unmounts disks, removes
/// directories. Answers what was done, a line each; nothing when there was nothing to do.
#[must_use]
pub fn restore() -> Vec<String> {
    restore_in(&folder())
}

fn restore_in(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut done = Vec::new();
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
        match file.try_lock() {
            // Its run goes on.
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, path = %path.display(), "cannot be locked, and is left alone");
                continue;
            }
            Ok(()) => {}
        }
        // One that was killed while it wrote tells what it can.
        let entries: Entries = serde_json::from_reader(&file).unwrap_or_default();
        clean(entries, &mut done);
        remove(&path);
    }
    done
}

fn clean(entries: Entries, done: &mut Vec<String>) {
    for Entry { name, pid, started: then } in entries.processes {
        if started(pid) == Some(then) {
            let id = Pid::from_raw(pid as i32);
            // With its children, if it leads them. A process that was stopped is killed all the same.
            let _ = killpg(id, Signal::SIGKILL);
            let _ = kill(id, Signal::SIGKILL);
            done.push(format!("ended {name} (process {pid}), which a run had left"));
        }
    }
    for path in entries.mounts {
        let unmounted = Command::new("umount").arg("-l").arg(&path).output();
        if unmounted.is_ok_and(|output| output.status.success()) {
            done.push(format!("unmounted {}", path.display()));
        }
    }
    for path in entries.dirs {
        // Nothing but what was made for a run is ever removed.
        let ours = path.parent() == Some(&std::env::temp_dir());
        if ours && path.exists() && std::fs::remove_dir_all(&path).is_ok() {
            done.push(format!("removed {}", path.display()));
        }
    }
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("squall-journals-{}", geteuid()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn what_a_killed_run_left_is_cleaned_up_and_what_a_living_one_has_is_not() {
        let (parent, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap().keep());
        let folder = parent.path().join("journals");
        let journal = Journal::open_in(&folder).unwrap();
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        journal.process("sleeper", child.id());
        journal.dir(&made);
        kill(Pid::from_raw(child.id() as i32), Signal::SIGSTOP).unwrap();
        assert_eq!(restore_in(&folder), Vec::<String>::new(), "its run goes on");
        assert!(made.exists() && started(child.id()).is_some());

        // A run that is killed gives its lock back, and nothing else.
        let path = journal.path.clone();
        journal.open.lock().file.unlock().unwrap();
        std::mem::forget(journal);
        let done = restore_in(&folder);
        assert_eq!(done.len(), 2, "{done:?}");
        assert!(done[0].starts_with("ended sleeper") && done[1].starts_with("removed "), "{done:?}");
        child.wait().unwrap();
        assert!(!made.exists() && !path.exists() && !folder.exists());
        assert_eq!(restore_in(&folder), Vec::<String>::new());
    }

    #[test]
    fn a_number_that_came_again_is_another_process() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journals");
        std::fs::create_dir(&folder).unwrap();
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let entry = Entry { name: "x".to_owned(), pid: child.id(), started: started(child.id()).unwrap() - 1 };
        let entries = Entries { processes: vec![entry], ..Entries::default() };
        std::fs::write(folder.join("1.json"), serde_json::to_vec(&entries).unwrap()).unwrap();
        assert_eq!(restore_in(&folder), Vec::<String>::new());
        assert!(started(child.id()).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
