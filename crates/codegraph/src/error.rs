//! What can go wrong as a whole. A file that cannot be read is no error: it is listed as skipped.

use std::io;
use std::path::PathBuf;

/// A field of the configuration that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("graph.{field}: {why}")]
pub struct ConfigError {
    /// Which one.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// Why there is no analysis.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The root cannot be read.
    #[error("the tree {} cannot be read; is graph.root a folder?", root.display())]
    Root {
        /// Which folder.
        root: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A grammar that this build of tree-sitter cannot use.
    #[error("the grammar of {language} does not fit this tree-sitter: {why}")]
    Grammar {
        /// Which language.
        language: crate::Language,
        /// What tree-sitter says.
        why: String,
    },
    /// The system does not tell of changes.
    #[error("changes below {} cannot be watched", root.display())]
    Watch {
        /// Which folder.
        root: PathBuf,
        /// What the system says.
        source: notify::Error,
    },
}

/// Why a snapshot was not written, or is not used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is of another program, version or tree, or damaged.
    #[error("{}: {why}; the tree is read anew", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}
