//! What keeps a run from being carried out. A run that was carried out and found something bad is not an error: it has a
//! verdict.

use crate::scenario::ScenarioError;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The scenario cannot be read.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// No such scenario, or a flag that does not fit it.
    #[error("{0}")]
    Usage(String),
    /// The target did not start, or cannot be reached.
    #[error("target: {0}")]
    Target(String),
    /// The run directory cannot be written.
    #[error("run directory: {0}")]
    RunDir(String),
    /// A thread or a file descriptor that the system refuses.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the user can mend it by typing something else (exit code 2); otherwise it could not run (1).
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Scenario(_) | Self::Usage(_))
    }
}

/// A result whose error is this crate's.
pub type Result<T> = std::result::Result<T, Error>;
