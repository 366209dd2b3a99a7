//! `[log]`: how the program tells what it does.

use serde::{Deserialize, Serialize};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs go to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// `text` for people, `json` for one JSON object a line.
    pub format: Format,
    /// What is told: `error`, `warn`, `info`, `debug`, `trace`, for all or by part (`info,squall_store=debug`). `RUST_LOG` goes before it.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: Format::Text, level: "info".to_owned() }
    }
}
