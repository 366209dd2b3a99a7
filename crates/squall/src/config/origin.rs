//! Where a setting came from, and how a mistake in it is told.

use std::fmt;
use std::sync::Arc;

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A place in a file; line and column count from 1, the column in characters.
    File {
        /// As the user named it.
        path: Arc<str>,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// An environment variable.
    Env(Arc<str>),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Env(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A configuration that is refused: where, what, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// Where the mistake is; absent when it is in what nobody wrote.
    pub(crate) origin: Option<Origin>,
    /// What is wrong, and what was expected.
    pub(crate) message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The valid name that the user most likely meant, if one is near enough to be worth saying.
///
/// Damerau-Levenshtein, at most a third of the longer word's letters apart: farther guesses help nobody. A forgotten unit
/// (`delay` for `delay_ms`) is near, however long it is.
pub(crate) fn nearest<'a>(word: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let unit_forgotten = |name: &str| name.strip_prefix(&word).is_some_and(|rest| rest.starts_with('_'));
    valid
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, name), name))
        .filter(|(distance, name)| *distance * 3 <= word.len().max(name.len()) || unit_forgotten(name))
        .min()
        .map(|(_, name)| name)
}

/// `; did you mean "x"?`, or the valid names when none is near.
pub(crate) fn hint(word: &str, valid: &[&str]) -> String {
    match nearest(word, valid.iter().copied()) {
        Some(name) => format!("; did you mean {name:?}?"),
        None if valid.is_empty() => String::new(),
        None => {
            let mut names = valid.to_vec();
            names.sort_unstable();
            format!("; valid here: {}", names.join(", "))
        }
    }
}
