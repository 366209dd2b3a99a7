//! How the program ends. The exit codes themselves are listed in one place, `squall_report::Verdict`.

use std::process::ExitCode;

use crate::config::ConfigError;

/// How a subcommand ended that could do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// As asked.
    pub(crate) const OK: Self = Self(0);
}

/// The user asked for something that cannot be: exit code 2, as for a wrong flag.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Tells what went wrong, if something did, and gives the code.
pub(crate) fn code(outcome: anyhow::Result<Exit>) -> ExitCode {
    match outcome {
        Ok(Exit(code)) => ExitCode::from(code),
        Err(error) => {
            eprintln!("squall: {error:#}");
            let usage = error.is::<Usage>() || error.is::<ConfigError>();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
