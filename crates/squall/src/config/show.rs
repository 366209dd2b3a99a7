//! The settings as they hold, each with its origin, as TOML that can be read again. Secrets are not shown.

use std::fmt::Write;

use toml::Value;

use super::Settings;
use super::origin::ConfigError;

/// Keys whose values nobody gets to see, not even as a hash.
const SECRET: [&str; 5] = ["secret", "token", "password", "hash", "sha256"];

/// The settings as they hold.
pub(crate) fn show(settings: &Settings) -> Result<String, ConfigError> {
    let mut out = String::new();
    group(&mut out, &all(settings)?, &mut Vec::new(), settings);
    Ok(out)
}

/// The paths of all settings that hold, as in `lanes.gpt4.concurrency`.
pub(crate) fn paths(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    fn walk(table: &toml::Table, above: &str, paths: &mut Vec<String>) {
        for (key, value) in table {
            let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
            match value {
                Value::Table(inner) => walk(inner, &path, paths),
                _ => paths.push(path),
            }
        }
    }
    let mut paths = Vec::new();
    walk(&all(settings)?, "", &mut paths);
    Ok(paths)
}

fn all(settings: &Settings) -> Result<toml::Table, ConfigError> {
    let failed = |error: toml::ser::Error| ConfigError { origin: None, message: error.to_string() };
    let mut all = toml::Table::try_from(&settings.gateway).map_err(failed)?;
    all.insert("log".to_owned(), Value::try_from(&settings.log).map_err(failed)?);
    Ok(all)
}

fn group(out: &mut String, table: &toml::Table, path: &mut Vec<String>, settings: &Settings) {
    let is_group = |value: &Value| match value {
        Value::Table(_) => true,
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_table),
        _ => false,
    };
    for (key, value) in table.iter().filter(|(_, value)| !is_group(value)) {
        path.push(key.clone());
        let origin = settings.written.origin_at(path).map_or("default".to_owned(), ToString::to_string);
        let shown = match value {
            _ if SECRET.contains(&key.as_str()) => "\"(set, not shown)\"".to_owned(),
            Value::String(url) if key == "url" => {
                Value::String(squall_store::archive::without_secrets(url)).to_string()
            }
            _ => value.to_string(),
        };
        let _ = writeln!(out, "{:<40} # {origin}", format!("{} = {shown}", name(key)));
        path.pop();
    }
    for (key, value) in table.iter().filter(|(_, value)| is_group(value)) {
        path.push(key.clone());
        let header = path.iter().map(|key| name(key)).collect::<Vec<_>>().join(".");
        match value {
            Value::Table(inner) => {
                let _ = writeln!(out, "\n[{header}]");
                group(out, inner, path, settings);
            }
            Value::Array(items) => {
                for item in items.iter().filter_map(Value::as_table) {
                    let _ = writeln!(out, "\n[[{header}]]");
                    group(out, item, path, settings);
                }
            }
            _ => {}
        }
        path.pop();
    }
}

/// A key as TOML wants it.
fn name(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}
