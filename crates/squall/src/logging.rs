//! Sets up what [`tracing`] does with what the parts tell: lines on standard error, for people or for programs; and kept back
//! while a screen is shown, which they would tear.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

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
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match log.format {
        Format::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// What is kept back at most, bytes. A storm that has more to complain about than that is not helped by the rest.
const MOST_KEPT: usize = 64 << 10;

/// Lines on their way to standard error.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Mutex<Kept>>);

struct Kept {
    /// As long as a screen is shown.
    back: bool,
    bytes: Vec<u8>,
    /// Lines that there was no room for.
    left_out: u64,
}

/// As [`start`] for a command whose output is something else: warnings only, unless `RUST_LOG` says more. Keeps lines `back`
/// until [`Lines::show`].
pub(crate) fn start_quietly(back: bool) -> anyhow::Result<Lines> {
    let filter = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = filter.as_deref().unwrap_or("warn");
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("RUST_LOG is {filter:?}, which is no log filter"))?;
    let lines = Lines::new(back);
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(move || writer.clone())
        .init();
    Ok(lines)
}

impl Lines {
    fn new(back: bool) -> Self {
        Self(Arc::new(Mutex::new(Kept { back, bytes: Vec::new(), left_out: 0 })))
    }

    /// The screen is gone: what was kept back comes now, and what follows comes at once.
    pub(crate) fn show(&self) {
        // Without standard error there is nobody to tell.
        let _ = self.show_on(&mut io::stderr());
    }

    fn show_on(&self, out: &mut impl Write) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.back = false;
        out.write_all(&std::mem::take(&mut kept.bytes))?;
        match std::mem::take(&mut kept.left_out) {
            0 => Ok(()),
            lines => writeln!(out, "... and {lines} more lines"),
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.back {
            return io::stderr().write(line);
        }
        if kept.bytes.len() + line.len() > MOST_KEPT {
            kept.left_out += 1;
        } else {
            kept.bytes.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_back_up_to_a_bound_and_then_shown() {
        let mut lines = Lines::new(true);
        writeln!(lines, "a warning").unwrap();
        lines.write_all(&[b'x'; MOST_KEPT]).unwrap();
        let mut out = Vec::new();
        lines.show_on(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a warning\n... and 1 more lines\n");
        assert!(!lines.0.lock().unwrap().back);
    }
}
