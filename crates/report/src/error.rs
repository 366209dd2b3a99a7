//! What can go wrong with a run's files.

use std::path::PathBuf;

/// Why a run directory cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system said no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// `write`, `read`, `create`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// There is no run in that directory.
    #[error("{path} is not a run directory: it has no run.json")]
    NoRun {
        /// The directory.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("cannot read {path}: {message}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// Written by a later Squall.
    #[error("{path} has schema {found}; this Squall reads up to {supported}")]
    Schema {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: u64,
        /// What is supported.
        supported: u32,
    },
}
