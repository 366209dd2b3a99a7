//! A disk that is soon full.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A tmpfs of a few megabytes, mounted for one test.
///
/// Mounting needs root. Without it, where the kernel lets users make namespaces, the disk is mounted inside one that only the
/// process under test lives in ([`SmallDisk::wrapper`]). Where neither is allowed there is no small disk, and a test says
/// loudly that it did not run.
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
    pub fn new(size_bytes: u64) -> std::io::Result<Option<Self>> {
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

fn ran(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
