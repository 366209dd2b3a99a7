//! Sets up what [`tracing`] does with what the parts tell: lines on standard error, for people or for programs.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Format, Log};

/// From here on, what is told is written. `RUST_LOG` goes before the configured level.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let (filter, from) = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => (filter, "RUST_LOG"),
        _ => (log.level.clone(), "[log] level"),
    };
    let filter =
        EnvFilter::try_new(&filter).with_context(|| format!("{from} is {filter:?}, which is no log filter"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
