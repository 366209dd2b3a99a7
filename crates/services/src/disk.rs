//! A disk that is soon full.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::fstatvfs;
use tempfile::TempDir;

/// A tmpfs of a few megabytes, mounted for one test or run.
///
/// Mounting needs root. Without it, where the kernel lets users make namespaces, the disk is mounted inside one that only the
/// process under test lives in ([`SmallDisk::wrapper`]). Where neither is allowed there is no small disk, and who wanted one
/// says so loudly.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
    size_bytes: u64,
    mounted: bool,
}

impl SmallDisk {
    /// Makes one; `None` where this machine lets nobody do so.
    ///
    /// # Errors
    /// When the temporary directory cannot be made.
    pub fn new(size_bytes: u64) -> io::Result<Option<Self>> {
        let mut disk = Self { dir: tempfile::tempdir()?, size_bytes, mounted: false };
        disk.mounted = ran(Command::new("sh").args(["-c", &disk.mount_command()]));
        if disk.mounted || ran(Command::new("unshare").args(["-rm", "sh", "-c", &disk.mount_command()])) {
            return Ok(Some(disk));
        }
        Ok(None)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What a program must be started with to see the disk: empty when everybody sees it.
    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        if self.mounted {
            return Vec::new();
        }
        let command = format!("{} && exec \"$@\"", self.mount_command());
        ["unshare", "-rm", "sh", "-c", &command, "sh"].map(String::from).to_vec()
    }

    /// The disk as another process sees it: through its root, when it lives in a namespace of its own.
    #[must_use]
    pub fn path_seen_by(&self, pid: u32) -> PathBuf {
        if self.mounted {
            return self.path().to_owned();
        }
        let inside = self.path().strip_prefix("/").unwrap_or(self.path());
        PathBuf::from(format!("/proc/{pid}/root")).join(inside)
    }

    /// Fills the disk that a process sees with a file `ballast`, until no more than `leave_bytes` are free; what the process
    /// writes meanwhile counts. A disk that is fuller already stays as it is.
    ///
    /// # Errors
    /// When there is no such process, or the file cannot be written.
    pub fn fill(&self, pid: u32, leave_bytes: u64) -> io::Result<()> {
        let file = File::options().create(true).append(true).open(self.ballast(pid))?;
        let mut step_bytes = u64::MAX;
        loop {
            let disk = fstatvfs(&file)?;
            let free_bytes = disk.blocks_available() * disk.fragment_size();
            if free_bytes <= leave_bytes {
                return Ok(());
            }
            let more_bytes = step_bytes.min(free_bytes - leave_bytes);
            match lengthen(&file, more_bytes) {
                // Somebody else was faster, so there is less to take.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    if more_bytes <= disk.fragment_size() {
                        return Ok(());
                    }
                    step_bytes = more_bytes / 2;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
        }
    }

    /// Takes away what [`SmallDisk::fill`] put there.
    ///
    /// # Errors
    /// When it cannot be removed, or is not there.
    pub fn empty(&self, pid: u32) -> io::Result<()> {
        std::fs::remove_file(self.ballast(pid))
    }

    fn ballast(&self, pid: u32) -> PathBuf {
        self.path_seen_by(pid).join("ballast")
    }

    fn mount_command(&self) -> String {
        format!("mount -t tmpfs -o size={} tmpfs '{}'", self.size_bytes, self.path().display())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: the process under test may be going down this very moment.
            ran(Command::new("umount").arg("-l").arg(self.path()));
        }
    }
}

/// Makes a file longer by blocks that are really taken.
fn lengthen(file: &File, more_bytes: u64) -> io::Result<()> {
    let offset = |bytes: u64| bytes.try_into().map_err(io::Error::other);
    Ok(posix_fallocate(file, offset(file.metadata()?.len())?, offset(more_bytes)?)?)
}

fn ran(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Stdio};

    use super::*;

    /// A program that sees the disk, and says so when it is there.
    fn bystander(disk: &SmallDisk) -> Child {
        let mut words = disk.wrapper();
        words.extend(["sh", "-c", "echo there; exec sleep 60"].map(str::to_owned));
        let mut child = Command::new(&words[0]).args(&words[1..]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 6];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        child
    }

    #[test]
    fn it_is_filled_but_for_what_is_to_be_left_and_emptied_again() {
        let Some(shared) = SmallDisk::new(4 << 20).unwrap() else {
            eprintln!("NOT RUN: this machine lets nobody mount a small disk");
            return;
        };
        // Where everybody sees the disk, once more as if it was not so.
        let hidden = SmallDisk { dir: tempfile::tempdir().unwrap(), size_bytes: 4 << 20, mounted: false };
        for disk in [shared, hidden] {
            let mut process = bystander(&disk);
            let pid = process.id();
            let write = |bytes: usize| std::fs::write(disk.path_seen_by(pid).join("data"), vec![0; bytes]);
            for leave_bytes in [1 << 20, 100_000, 0] {
                disk.fill(pid, leave_bytes).unwrap();
                let error = write(leave_bytes as usize + 1).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                // A block less is there for sure.
                write((leave_bytes as usize).saturating_sub(4 << 10)).unwrap();
                write(0).unwrap();
            }
            disk.empty(pid).unwrap();
            write(3 << 20).unwrap();
            assert!(disk.empty(pid).is_err(), "there is nothing to take away any more");
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}
