//! The store of a gateway that is stopped, only to be read: by whoever moves it elsewhere. Nothing in the directory changes, but for
//! the notice that it was moved, which keeps a gateway from going on there with offsets that somebody else gives out too.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use squall_protocol::Epoch;

use super::log::segment::sync_dir;
use super::recovery::{self, Places, Seen};
use super::{OpenError, epoch_in};
use crate::core::state::Limits;

/// The notice, in the data directory.
const NOTICE: &str = "moved";

/// A store that nobody else opens for as long as this is held.
#[derive(Debug)]
pub struct Stopped {
    dir: PathBuf,
    lock: File,
    /// Which life of the store it is.
    pub epoch: Epoch,
}

/// Takes the directory's lock, which a running gateway has.
///
/// # Errors
/// `Locked` while a gateway runs on it, `Missing` when there is no store, `Moved` when it was moved away before.
pub fn stopped(dir: &Path) -> Result<Stopped, OpenError> {
    let io = |error| OpenError::Io { path: dir.to_owned(), error };
    let Some(epoch) = epoch_in(dir).map_err(io)? else {
        return Err(OpenError::Missing { path: dir.to_owned() });
    };
    let lock = lock(dir)?;
    refuse_moved(dir)?;
    Ok(Stopped { dir: dir.to_owned(), lock, epoch })
}

impl Stopped {
    /// Reads all of it.
    ///
    /// # Errors
    /// As a start: when it cannot be read, or batches are missing that no snapshot covers.
    pub fn look(&self, limits: Limits) -> Result<Seen, OpenError> {
        recovery::look(&Places::under(&self.dir), self.epoch, limits)
            .map_err(|error| OpenError::Io { path: self.dir.clone(), error })
    }

    /// Leaves the notice that it was moved: `to` says where, in words.
    ///
    /// # Errors
    /// Those of writing.
    pub fn leave_notice(&self, to: &str) -> io::Result<()> {
        let temporary = self.dir.join("moved.tmp");
        let mut file = File::create(&temporary)?;
        writeln!(file, "{to}")?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.dir.join(NOTICE))?;
        sync_dir(&self.dir)
    }

    /// Lets others open it.
    pub fn release(self) {
        drop(self.lock);
    }
}

/// The lock of a directory, which one process has.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let io = |error| OpenError::Io { path: dir.to_owned(), error };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("lock")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Refuses a store that was moved away.
pub(super) fn refuse_moved(dir: &Path) -> Result<(), OpenError> {
    match std::fs::read_to_string(dir.join(NOTICE)) {
        Ok(text) => Err(OpenError::Moved { path: dir.to_owned(), to: text.trim().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::Io { path: dir.to_owned(), error }),
    }
}
