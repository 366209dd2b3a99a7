//! Which files there are: the walk that respects what is ignored, and what is known of each file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ignore::overrides::{Override, OverrideBuilder};
use ignore::{WalkBuilder, WalkState};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{Config, Error, Language, languages};

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FileState {
    /// It is in the graph.
    Analysed,
    /// It is not, and `why` says why.
    Skipped,
}

/// Why a file is not in the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Skipped {
    /// Larger than `max_file_bytes`.
    #[error("too large: {size_bytes} bytes, {limit_bytes} are read")]
    TooLarge {
        /// Its size.
        size_bytes: u64,
        /// The bound.
        limit_bytes: u64,
    },
    /// It contains a zero byte.
    #[error("binary")]
    Binary,
    /// Not UTF-8.
    #[error("not UTF-8, from byte {0} on")]
    NotUtf8(u64),
    /// More than half of it makes no sense as the language that its name says.
    #[error("does not parse: {errors} places make no sense")]
    DoesNotParse {
        /// How many places.
        errors: u32,
    },
    /// Parsing took too long.
    #[error("parsing took longer than {0} ms")]
    TimedOut(u64),
    /// Beyond `max_files`.
    #[error("beyond the first {0} files")]
    TooManyFiles(usize),
    /// Beyond `max_nodes`.
    #[error("its symbols would be more than {0} in all")]
    TooManyNodes(usize),
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// One file, as it is listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileRecord {
    /// Relative to the root, with `/`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path: Arc<str>,
    /// By its name.
    pub language: Option<Language>,
    /// Whether it is in the graph.
    pub state: FileState,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// Its lines; 0 when it is skipped.
    pub lines: u32,
    /// How many symbols it has.
    pub nodes: u32,
    /// Places that made no sense and were left out.
    pub errors: u32,
    /// References that could not be linked to anything in the tree.
    pub unresolved: u32,
}

/// What is known of a file without reading it. The same stamp means the same content, unless it is `fresh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) size_bytes: u64,
    modified_ns: u64,
    inode: u64,
    /// Changed so shortly before it was looked at that another change may have the same time.
    pub(crate) fresh: bool,
}

/// Clocks of file systems are as coarse as this.
const COARSE: Duration = Duration::from_secs(2);

impl Stamp {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        let age = SystemTime::now().duration_since(modified).unwrap_or_default();
        let modified_ns = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self { size_bytes: metadata.len(), modified_ns, inode, fresh: age < COARSE }
    }

    /// True when a file with this stamp has surely the content that it had with the other.
    pub(crate) fn proves(&self, former: &Self) -> bool {
        !former.fresh
            && (self.size_bytes, self.modified_ns, self.inode) == (former.size_bytes, former.modified_ns, former.inode)
    }
}

/// A file of the tree that has a language.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: Arc<str>,
    pub(crate) stamp: Stamp,
}

/// The tree on disk.
#[derive(Clone)]
pub(crate) struct Tree {
    root: PathBuf,
    overrides: Override,
    threads: usize,
}

impl Tree {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let failed = |source| Error::Root { root: config.root.clone(), source };
        let root = config.root.canonicalize().map_err(failed)?;
        if !root.is_dir() {
            return Err(failed(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
        }
        let mut overrides = OverrideBuilder::new(&root);
        let bad =
            |field: &'static str| move |error: ignore::Error| crate::ConfigError { field, why: error.to_string() };
        for glob in &config.include {
            overrides.add(glob).map_err(bad("include"))?;
        }
        for glob in &config.exclude {
            overrides.add(&format!("!{glob}")).map_err(bad("exclude"))?;
        }
        let overrides = overrides.build().map_err(bad("exclude"))?;
        Ok(Self { root, overrides, threads: config.thread_count() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn builder(&self, below: &Path) -> WalkBuilder {
        let mut builder = WalkBuilder::new(below);
        builder
            // A tree that was copied out of its repository has the same rules.
            .require_git(false)
            .overrides(self.overrides.clone())
            .follow_links(false)
            .threads(self.threads);
        builder
    }

    /// All files of known languages, by path.
    pub(crate) fn walk(&self) -> Result<Vec<Found>, Error> {
        fs::read_dir(&self.root).map_err(|source| Error::Root { root: self.root.clone(), source })?;
        Ok(self.below(&self.root))
    }

    /// The same for one folder of the tree.
    pub(crate) fn below(&self, folder: &Path) -> Vec<Found> {
        let all = Mutex::new(Vec::new());
        self.builder(folder).build_parallel().run(|| {
            let mut batch = Batch { found: Vec::new(), all: &all };
            Box::new(move |entry| {
                // What cannot be looked at is not there; the folder above is listed all the same.
                let Ok(entry) = entry else { return WalkState::Continue };
                if !entry.file_type().is_some_and(|kind| kind.is_file()) || languages::by_path(entry.path()).is_none() {
                    return WalkState::Continue;
                }
                if let (Some(path), Ok(metadata)) = (self.relative(entry.path()), entry.metadata()) {
                    batch.found.push(Found { path, stamp: Stamp::of(&metadata) });
                }
                WalkState::Continue
            })
        });
        let mut found = all.into_inner();
        found.sort_unstable_by(|a: &Found, b: &Found| a.path.cmp(&b.path));
        found
    }

    /// A folder and those in it that are not ignored.
    pub(crate) fn folders(&self, folder: &Path) -> Vec<PathBuf> {
        let all = self.builder(folder).build().flatten();
        all.filter(|entry| entry.file_type().is_some_and(|kind| kind.is_dir()))
            .map(ignore::DirEntry::into_path)
            .collect()
    }

    /// Looks at one path: a file of a known language that is not ignored.
    pub(crate) fn look(&self, path: &Path) -> Option<Found> {
        languages::by_path(path)?;
        let metadata = fs::symlink_metadata(path).ok()?;
        if !metadata.is_file() || !self.is_wanted(path) {
            return None;
        }
        Some(Found { path: self.relative(path)?, stamp: Stamp::of(&metadata) })
    }

    /// Whether the walk would come to this file or folder. It asks the same walker, which then sees of each folder on the way
    /// only the one entry that leads there.
    pub(crate) fn is_wanted(&self, path: &Path) -> bool {
        let Ok(inner) = path.strip_prefix(&self.root) else { return false };
        if inner.as_os_str().is_empty() {
            return true;
        }
        let target = path.to_path_buf();
        let mut builder = self.builder(&self.root);
        builder.max_depth(Some(inner.components().count())).filter_entry(move |entry| target.starts_with(entry.path()));
        builder.build().flatten().any(|entry| entry.path() == path)
    }

    /// The path as it is told: relative, with `/`. None for a name that is not UTF-8, or one outside.
    pub(crate) fn relative(&self, path: &Path) -> Option<Arc<str>> {
        let inner = path.strip_prefix(&self.root).ok()?.to_str()?;
        Some(if std::path::MAIN_SEPARATOR == '/' { inner.into() } else { inner.replace('\\', "/").into() })
    }
}

/// What one thread found, given over at its end.
struct Batch<'a> {
    found: Vec<Found>,
    all: &'a Mutex<Vec<Found>>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.all.lock().append(&mut self.found);
    }
}
