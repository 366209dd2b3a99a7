//! Why there is no server.

use std::path::Path;

/// What keeps a server from being there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error("{program} is not installed ({hint})")]
    Missing {
        /// Its name or path.
        program: String,
        /// Where to get it, or who named it.
        hint: &'static str,
    },
    /// A program that is run to its end did not do what it is for.
    #[error("{program}: {said}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// What it wrote to standard error.
        said: String,
    },
    /// It ended by itself instead of serving.
    #[error("{program} ended before it was up: {log}")]
    Ended {
        /// Its name or path.
        program: String,
        /// The last lines of its log.
        log: String,
    },
    /// It runs, and does not serve.
    #[error("{program} did not come up within {within_s} s: {log}")]
    NotUp {
        /// Its name or path.
        program: String,
        /// How long it had.
        within_s: u64,
        /// The last lines of its log.
        log: String,
    },
    /// Something that the system refuses.
    #[error("{what}: {source}")]
    System {
        /// What was being done, and to what.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A result whose error is this crate's.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: what was being done when the system refused.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what: what.into(), source }
    }

    /// For `map_err`: a file or directory that could not be had.
    pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::system(path.display().to_string())
    }
}
