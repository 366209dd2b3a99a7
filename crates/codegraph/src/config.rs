//! What is read, and the bounds. Every field has a default; the configuration reference is made from these comments.

use std::path::PathBuf;
use std::time::Duration;

use ignore::overrides::OverrideBuilder;
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// `[graph]`: a source tree that is read into a graph of its symbols.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder that is read; empty: none. Files that `.gitignore` or `.ignore` name, and hidden ones, are left out.
    pub root: PathBuf,
    /// Follow the tree while it changes. Without it a change is seen when an analysis is asked for.
    pub watch: bool,
    /// Only files that match one of these globs, relative to the root; none: all files of a known language.
    pub include: Vec<String>,
    /// Files and folders that are left out besides the ignored ones, as globs relative to the root.
    pub exclude: Vec<String>,
    /// A larger file is skipped, and listed as skipped.
    pub max_file_bytes: u64,
    /// Files that are read, the first ones by path; further ones are listed as skipped.
    pub max_files: usize,
    /// Symbols in the graph; a file that would exceed it is listed as skipped, and the analysis goes on. It bounds the memory.
    pub max_nodes: usize,
    /// How long one file may take to be parsed; one that takes longer is skipped.
    pub parse_timeout_ms: u64,
    /// How long the tree must be quiet before a change is looked at; ten times as long is the most that a change waits.
    pub debounce_ms: u64,
    /// Threads that parse; 0: one for each core.
    pub threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            watch: true,
            include: Vec::new(),
            exclude: Vec::new(),
            max_file_bytes: 2 << 20,
            max_files: 200_000,
            max_nodes: 2_000_000,
            parse_timeout_ms: 5_000,
            debounce_ms: 20,
            threads: 0,
        }
    }
}

impl Config {
    /// Says what makes no sense. Whether the root is there is seen when it is read.
    ///
    /// # Errors
    /// The first field that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("max_file_bytes", self.max_file_bytes),
            ("max_files", self.max_files as u64),
            ("max_nodes", self.max_nodes as u64),
            ("parse_timeout_ms", self.parse_timeout_ms),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(ConfigError { field, why: "must be at least 1".into() });
            }
        }
        if self.max_file_bytes > u64::from(u32::MAX) {
            return Err(ConfigError { field: "max_file_bytes", why: "must be below 4 GiB".into() });
        }
        if self.threads > 1_024 {
            return Err(ConfigError { field: "threads", why: "must be at most 1024".into() });
        }
        for (field, globs) in [("include", &self.include), ("exclude", &self.exclude)] {
            for glob in globs {
                if glob.starts_with('!') {
                    return Err(ConfigError { field, why: format!("{glob:?} must not begin with `!`") });
                }
                OverrideBuilder::new("/").add(glob).map_err(|error| ConfigError { field, why: error.to_string() })?;
            }
        }
        Ok(())
    }

    /// Quiet time before a change is looked at.
    #[must_use]
    pub fn debounce(&self) -> Duration {
        Duration::from_millis(self.debounce_ms)
    }

    /// How many threads parse.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_makes_sense_and_nonsense_is_named() {
        Config::default().validate().unwrap();
        let none = Config { max_files: 0, ..Config::default() };
        assert_eq!(none.validate().unwrap_err().to_string(), "graph.max_files: must be at least 1");
        let glob = Config { exclude: vec!["a[".into()], ..Config::default() };
        assert!(glob.validate().unwrap_err().to_string().starts_with("graph.exclude: "));
    }
}
