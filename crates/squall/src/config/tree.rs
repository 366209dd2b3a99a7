//! Settings as they were written, each with its origin: a file's text, overlaid by the environment, overlaid by flags.
//! What they mean is decided by whoever deserializes the tree (see [`super::read`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::origin::{ConfigError, Origin};

/// One setting, or a group of them.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where the value stands.
    pub(crate) origin: Option<Origin>,
    /// What it is.
    pub(crate) value: Value,
}

/// A table's entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where the key stands.
    pub(crate) key: Option<Origin>,
    /// What it is set to.
    pub(crate) node: Node,
}

/// A group of settings by key.
pub(crate) type Table = BTreeMap<String, Entry>;

/// What a setting is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number.
    Float(f64),
    /// Text that was written as text.
    String(String),
    /// Text from the environment or a flag, whose type only its reader knows: `7` may be a number or a token's name.
    Raw(String),
    /// A list.
    Array(Vec<Node>),
    /// A group.
    Table(Table),
}

impl Node {
    /// A tree without a single setting.
    pub(crate) fn empty() -> Self {
        Self { origin: None, value: Value::Table(Table::new()) }
    }

    /// Reads a file's text. `path` is only named in messages.
    pub(crate) fn from_toml(path: &str, text: &str) -> Result<Self, ConfigError> {
        let places = Places { path: path.into(), text };
        let root = DeTable::parse(text).map_err(|error| ConfigError {
            origin: Some(places.at(error.span().map_or(0, |span| span.start))),
            message: format!("not TOML: {}", error.message()),
        })?;
        Ok(Self { origin: None, value: Value::Table(table(root.get_ref(), &|at| places.at(at))?) })
    }

    /// Reads one TOML value that did not come from a file; everything in it has the same origin.
    pub(crate) fn from_value(text: &str, origin: Option<&Origin>) -> Option<Self> {
        let value = DeValue::parse(text).ok()?;
        let here = origin.cloned()?;
        node(value.get_ref(), 0, &|_| here.clone()).ok()
    }

    /// Sets what the environment says: `SQUALL_SECTION__KEY`, every level after a double underscore.
    ///
    /// Names without a double underscore are not settings: containers put many of those into an environment.
    pub(crate) fn overlay_env(&mut self, vars: impl IntoIterator<Item = (String, String)>) -> Result<(), ConfigError> {
        // In the order of their names, so that one environment always gives one configuration.
        let vars: BTreeMap<_, _> = vars.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        for (name, text) in vars {
            let segments: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
            if segments.len() < 2 || segments.iter().any(String::is_empty) {
                continue;
            }
            self.set(&segments, &text, &Origin::Env(name.into()))?;
        }
        Ok(())
    }

    /// Sets one value from outside the file.
    ///
    /// A level's name matches an existing key whatever its case, and `_` matches `-`, since neither survives in the name of
    /// an environment variable.
    pub(crate) fn set<S: AsRef<str>>(&mut self, path: &[S], text: &str, origin: &Origin) -> Result<(), ConfigError> {
        let mut node = self;
        for (depth, segment) in path.iter().enumerate() {
            let Value::Table(table) = &mut node.value else {
                let at = path[..depth].iter().map(AsRef::as_ref).collect::<Vec<_>>().join(".");
                return Err(ConfigError {
                    origin: Some(origin.clone()),
                    message: format!("{at} is set to a single value; nothing can be set below it"),
                });
            };
            let key = table.keys().find(|key| same_name(key, segment.as_ref())).cloned();
            let entry = table.entry(key.unwrap_or_else(|| segment.as_ref().to_owned())).or_insert_with(|| Entry {
                key: Some(origin.clone()),
                node: Self { origin: Some(origin.clone()), value: Value::Table(Table::new()) },
            });
            node = &mut entry.node;
        }
        *node = Self { origin: Some(origin.clone()), value: Value::Raw(text.to_owned()) };
        Ok(())
    }

    /// Takes a group out of the root.
    pub(crate) fn take(&mut self, key: &str) -> Option<Self> {
        match &mut self.value {
            Value::Table(table) => table.remove(key).map(|entry| entry.node),
            _ => None,
        }
    }

    /// The origin of what is set at `path` (`auth.tokens[0].sha256`), or of the nearest group above it that was written.
    pub(crate) fn origin_of(&self, path: &str) -> Option<&Origin> {
        let (mut node, mut best) = (self, self.origin.as_ref());
        for segment in path.split(['.', '[']) {
            node = match &node.value {
                Value::Table(table) => {
                    let Some(entry) = table.get(segment) else { break };
                    best = entry.key.as_ref().or(best);
                    &entry.node
                }
                Value::Array(items) => {
                    let Some(item) = segment.trim_end_matches(']').parse().ok().and_then(|at: usize| items.get(at))
                    else {
                        break;
                    };
                    best = item.origin.as_ref().or(best);
                    item
                }
                _ => break,
            };
        }
        best
    }

    /// The origin of exactly what is set at `path`, or of the value that it is a part of.
    pub(crate) fn origin_at(&self, path: &[String]) -> Option<&Origin> {
        let mut node = self;
        for segment in path {
            match &node.value {
                Value::Table(table) => node = &table.get(segment)?.node,
                Value::Array(_) | Value::Raw(_) => return node.origin.as_ref(),
                _ => return None,
            }
        }
        node.origin.as_ref()
    }
}

const PREFIX: &str = "SQUALL_";

fn same_name(key: &str, segment: &str) -> bool {
    let fold = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    key.len() == segment.len() && key.bytes().map(fold).eq(segment.bytes().map(fold))
}

/// Turns byte offsets into lines and columns.
struct Places<'a> {
    path: Arc<str>,
    text: &'a str,
}

impl Places<'_> {
    fn at(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Origin::File {
            path: Arc::clone(&self.path),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

fn table(from: &DeTable<'_>, at: &dyn Fn(usize) -> Origin) -> Result<Table, ConfigError> {
    let mut into = Table::new();
    for (key, value) in from {
        let entry = Entry { key: Some(at(key.span().start)), node: node(value.get_ref(), value.span().start, at)? };
        into.insert(key.get_ref().to_string(), entry);
    }
    Ok(into)
}

fn node(from: &DeValue<'_>, start: usize, at: &dyn Fn(usize) -> Origin) -> Result<Node, ConfigError> {
    let refuse = |what: String| ConfigError { origin: Some(at(start)), message: what };
    let value = match from {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => Value::Integer(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| refuse(format!("{number} is out of range")))?,
        ),
        DeValue::Float(number) => {
            Value::Float(number.as_str().parse().map_err(|_| refuse(format!("{number} is not a number")))?)
        }
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => Value::Array(
            items.iter().map(|item| node(item.get_ref(), item.span().start, at)).collect::<Result<_, _>>()?,
        ),
        DeValue::Table(entries) => Value::Table(table(entries, at)?),
    };
    Ok(Node { origin: Some(at(start)), value })
}
