//! The configuration: a file, overlaid by the environment (`SQUALL_SECTION__KEY`), overlaid by flags.
//!
//! Each part owns what it can be told (`squall_gateway::Config`, `squall_store::config`); this module finds the settings,
//! reads them, and tells every mistake with its place. It opens no socket and creates no file.
//!
//! In the order in which settings pass through: [`tree`] as written, [`read`] as typed, [`show`](mod@show) as told again.

mod log;
mod origin;
mod read;
mod show;
mod tree;

use std::path::{Path, PathBuf};

pub(crate) use log::{Format, Log};
pub(crate) use origin::{ConfigError, Origin};
pub(crate) use show::show;
use tree::Node;

/// What holds when there is no file: the example that comes with the source.
pub(crate) const BUILT_IN: &str = include_str!("../../../../squall.toml");

/// How the built-in configuration is named in messages.
const BUILT_IN_NAME: &str = "built-in squall.toml";

/// The file that is read when it is there and none is named.
const DEFAULT_FILE: &str = "squall.toml";

/// Where settings are looked for.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The file that was named; it must be there.
    pub(crate) file: Option<PathBuf>,
    /// The environment.
    pub(crate) env: Vec<(String, String)>,
    /// What flags say: setting, text, the flag's name.
    pub(crate) flags: Vec<(&'static str, String, &'static str)>,
}

/// Everything that `squall serve` can be told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The gateway's, and through it the store's.
    pub(crate) gateway: squall_gateway::Config,
    /// The logs.
    pub(crate) log: Log,
    /// The settings as they were written.
    written: Node,
    /// The file they were written in; absent: the built-in one.
    pub(crate) file: Option<PathBuf>,
}

/// Finds and reads the settings, and checks that they make sense together.
pub(crate) fn load(sources: Sources) -> Result<Settings, ConfigError> {
    let file = sources.file.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file()));
    let mut written = match &file {
        Some(path) => Node::from_toml(&path.display().to_string(), &read_text(path)?)?,
        None => Node::from_toml(BUILT_IN_NAME, BUILT_IN)?,
    };
    written.overlay_env(sources.env.iter().cloned())?;
    for (setting, text, flag) in sources.flags {
        let path: Vec<&str> = setting.split('.').collect();
        written.set(&path, &text, &Origin::Flag(flag))?;
    }
    let (gateway, log) = typed(&written)?;
    gateway
        .validate()
        .map_err(|error| ConfigError { origin: written.origin_of(&error.path).cloned(), message: error.to_string() })?;
    let settings = Settings { gateway, log, written, file };
    refuse_near_misses(&settings, &sources.env)?;
    Ok(settings)
}

/// `SQUALL_SERVER_LISTEN` sets nothing, and whoever wrote it believes that it did.
fn refuse_near_misses(settings: &Settings, env: &[(String, String)]) -> Result<(), ConfigError> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-', '.'], "");
    let missed: Vec<&str> = env
        .iter()
        .filter_map(|(name, _)| name.strip_prefix("SQUALL_"))
        .filter(|name| name.contains('_') && !name.contains("__"))
        .collect();
    if missed.is_empty() {
        return Ok(());
    }
    for path in show::paths(settings)? {
        if let Some(name) = missed.iter().find(|name| plain(name) == plain(&path)) {
            let meant = path.replace('-', "_").replace('.', "__").to_ascii_uppercase();
            return Err(ConfigError {
                origin: Some(Origin::Env(format!("SQUALL_{name}").into())),
                message: format!("sets nothing; did you mean SQUALL_{meant}? Levels are parted by two underscores"),
            });
        }
    }
    Ok(())
}

fn typed(written: &Node) -> Result<(squall_gateway::Config, Log), ConfigError> {
    let mut rest = written.clone();
    let log = rest.take("log").unwrap_or_else(Node::empty);
    Ok((read::read(&rest, &["log"])?, read::read_at(&log, "log", &[])?))
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError {
        origin: None,
        message: format!("cannot read the configuration file {}: {error}", path.display()),
    })
}

#[cfg(test)]
mod tests;
