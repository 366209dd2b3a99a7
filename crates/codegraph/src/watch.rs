//! Sees the tree change: the system's notifications, gathered until the tree is quiet for a moment.
//!
//! What is seen are paths that may have changed, or that everything may have: when notifications were lost, or a file changed
//! that says what is ignored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::files::Tree;
use crate::{Config, Error, languages};

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// These files and folders, sorted.
    Paths(Vec<PathBuf>),
    /// Everything: walk the tree.
    Everything,
    /// Nothing in the time that was given.
    Nothing,
}

/// Watches a tree for as long as it lives.
pub struct Watcher {
    watcher: RecommendedWatcher,
    events: Receiver<notify::Result<notify::Event>>,
    tree: Tree,
    root: PathBuf,
    quiet: Duration,
}

/// More paths than this are everything.
const MANY: usize = 4_096;

impl Watcher {
    /// Watches the tree of these settings. Make it before the first analysis, so that nothing is missed in between.
    ///
    /// # Errors
    /// When the root is no folder, or the system does not let it be watched.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let tree = Tree::new(config)?;
        let root = tree.root().to_path_buf();
        let failed = |source| Error::Watch { root: config.root.clone(), source };
        let (give, events) = channel();
        let watcher = notify::recommended_watcher(move |event| {
            // Whoever watched is gone; so is the watcher, soon.
            let _ = give.send(event);
        })
        .map_err(failed)?;
        let mut this = Self { watcher, events, tree, root, quiet: config.debounce() };
        let root = this.root.clone();
        this.watch(&root).map_err(failed)?;
        Ok(this)
    }

    /// Watches a folder and the folders in it that are not ignored.
    fn watch(&mut self, folder: &Path) -> notify::Result<()> {
        if cfg!(not(target_os = "linux")) {
            return if folder == self.root { self.watcher.watch(folder, RecursiveMode::Recursive) } else { Ok(()) };
        }
        // One by one: build folders have more entries than sources, and a system has only so many watches.
        for folder in self.tree.folders(folder) {
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                // Gone again.
                Err(error)
                    if folder != self.root
                        && matches!(error.kind, notify::ErrorKind::PathNotFound | notify::ErrorKind::Io(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until something has changed and the tree has been quiet for the debounce time, or has changed for ten times as
    /// long; at most for `timeout` while nothing changes.
    ///
    /// # Errors
    /// When the system has stopped telling.
    pub fn wait(&mut self, timeout: Duration) -> Result<Seen, Error> {
        let mut paths = BTreeSet::new();
        let mut everything = false;
        let mut first: Option<Instant> = None;
        let begun = Instant::now();
        loop {
            let wait = match first {
                None => timeout.saturating_sub(begun.elapsed()),
                Some(first) => self.quiet.min((self.quiet * 10).saturating_sub(first.elapsed())),
            };
            match self.events.recv_timeout(wait) {
                Ok(event) => {
                    if self.note(event, &mut paths, &mut everything)? {
                        first.get_or_insert_with(Instant::now);
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    let source = notify::Error::generic("the watcher has ended");
                    return Err(Error::Watch { root: self.root.clone(), source });
                }
            }
            if first.is_some_and(|first| first.elapsed() >= self.quiet * 10) {
                break;
            }
        }
        Ok(if everything || paths.len() > MANY {
            Seen::Everything
        } else if paths.is_empty() {
            Seen::Nothing
        } else {
            Seen::Paths(paths.into_iter().collect())
        })
    }

    /// Notes what an event says; true when it says something of interest.
    fn note(
        &mut self,
        event: notify::Result<notify::Event>,
        paths: &mut BTreeSet<PathBuf>,
        everything: &mut bool,
    ) -> Result<bool, Error> {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // Something was lost, and new folders with it.
            Ok(_) | Err(_) => {
                let root = self.root.clone();
                self.watch(&root).map_err(|source| Error::Watch { root, source })?;
                *everything = true;
                return Ok(true);
            }
        };
        if matches!(event.kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_))) {
            return Ok(false);
        }
        let mut noted = false;
        for path in event.paths {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if matches!(name, ".gitignore" | ".ignore") {
                // What was ignored may be wanted now, and has to be watched.
                let root = self.root.clone();
                self.watch(&root).map_err(|source| Error::Watch { root, source })?;
                *everything = true;
                noted = true;
            } else if path.is_dir() {
                if self.tree.is_wanted(&path) {
                    self.watch(&path).map_err(|source| Error::Watch { root: self.root.clone(), source })?;
                    paths.insert(path);
                    noted = true;
                }
            } else if languages::by_path(&path).is_some() || self.may_be_folder(&path) {
                // Whether a file is ignored is looked at when it is read; one that is gone cannot be looked at at all.
                paths.insert(path);
                noted = true;
            }
        }
        Ok(noted)
    }

    /// A path that is gone and may have been a folder.
    fn may_be_folder(&self, path: &Path) -> bool {
        path != self.root && !path.exists()
    }
}
