//! `squall config`: what is wrong with a configuration, what holds, and an example to start from.

use std::path::PathBuf;

use crate::cli::{ConfigArgs, ConfigCommand};
use crate::config::{self, ConfigError, Settings, Sources};
use crate::exit::Exit;

/// Does what one of the subcommands asks.
pub(crate) fn config(args: ConfigArgs) -> anyhow::Result<Exit> {
    match args.command {
        ConfigCommand::Check { file } => {
            let settings = load(file)?;
            match &settings.file {
                Some(path) => println!("{}: fine", path.display()),
                None => println!("no configuration file here; the built-in one holds"),
            }
        }
        ConfigCommand::Show { file } => print!("{}", config::show(&load(file)?)?),
        ConfigCommand::Example => print!("{}", config::BUILT_IN),
    }
    Ok(Exit::OK)
}

fn load(file: Option<PathBuf>) -> Result<Settings, ConfigError> {
    config::load(Sources { file, env: std::env::vars().collect(), flags: Vec::new() })
}
