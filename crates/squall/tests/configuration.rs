//! Keeps `docs/guide/configuration.md` true: it is made from the doc comments beside the settings and from the defaults that the
//! program itself shows, and compared with what is committed. `SQUALL_BLESS=1` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may as well say where")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: &str = "docs/guide/configuration.md";

/// Where settings are declared: the part, and its files.
const SOURCES: &[(&str, &str)] = &[
    ("gateway", "crates/gateway/src/config.rs"),
    ("store", "crates/store/src/config.rs"),
    ("codegraph", "crates/codegraph/src/config.rs"),
    ("squall", "crates/squall/src/config/log.rs"),
    ("protocol", "crates/protocol/src/task.rs"),
    ("protocol", "crates/protocol/src/lane.rs"),
];

const HEAD: &str = "\
# Configuration

`squall serve` reads, in this order, each going before the one above it:

1. the defaults below;
2. a file: the one named by `--config`, else `squall.toml` in the working directory, else the built-in one
   (`squall config example` prints it: three example lanes, of which `claude_web` is the default lane);
3. the environment: `SQUALL_SECTION__KEY`, two underscores between levels, `_` for a `-` in a name. `SQUALL_LANES__GPT4__CONCURRENCY=7` sets
   `concurrency` in `[lanes.gpt4]`. A list may be words with commas between them; a list or a group may be written as TOML;
4. flags: `--listen`, `--data-dir`, `--log-format`.

A file is used as a whole: with one of your own, the built-in lanes are gone.

An unknown key or a value of the wrong kind is refused, with its place and the nearest valid name. `squall config check` says what is
wrong without starting anything; `squall config show` prints what holds and where each setting comes from. Secrets are never shown.

Durations are milliseconds (`_ms`), sizes are bytes (`_bytes`), rates are per second (`_per_s`). *none* means that the setting is absent
unless it is set, *required* that it must be.

<!-- Made from the sources by crates/squall/tests/configuration.rs; do not edit. -->
";

#[test]
fn the_configuration_page_is_current() {
    let types = Types::read();
    let defaults = defaults();
    let mut page = HEAD.to_owned();
    for field in &types.structs[&("gateway".to_owned(), "Config".to_owned())].fields {
        types.section(&mut page, std::slice::from_ref(&field.name), "gateway", field, Some(&defaults));
    }
    let log = Field { name: "log".to_owned(), doc: String::new(), kind: "Log".to_owned(), defaulted: true };
    types.section(&mut page, &["log".to_owned()], "squall", &log, Some(&defaults));

    let path = root().join(PAGE);
    if std::env::var_os("SQUALL_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "{PAGE} is not what the sources say; SQUALL_BLESS=1 cargo test -p squall writes it anew"
    );
}

#[test]
fn every_setting_says_what_it_does() {
    let types = Types::read();
    for ((part, name), group) in types.structs.iter().filter(|((part, _), _)| part != "protocol") {
        for field in &group.fields {
            assert!(!field.doc.is_empty() || name == "Config", "{part}: {name}.{} has no comment", field.name);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// One of each group that is there once or not at all, with what it must have and nothing else.
const SETS_NOTHING: &str = "\
[[auth.tokens]]
name = 'NAME'
sha256 = '0000000000000000000000000000000000000000000000000000000000000000'
scopes = ['read']
[lanes.NAME]
[[hooks.github.rules]]
event = '*'
lane = 'NAME'
[[ingest.redis.rules]]
event = '*'
";

/// What the program says holds when a file sets as good as nothing.
fn defaults() -> toml::Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.toml");
    fs::write(&file, SETS_NOTHING).unwrap();
    let shown =
        Command::new(env!("CARGO_BIN_EXE_squall")).args(["config", "show"]).arg(&file).env_clear().output().unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    toml::Value::Table(String::from_utf8(shown.stdout).unwrap().parse().unwrap())
}

#[derive(Debug, Default)]
struct Group {
    doc: String,
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    doc: String,
    kind: String,
    /// It may be left out.
    defaulted: bool,
}

type Name = (String, String);

/// What the sources declare. Reads formatted code of this house, not Rust at large.
#[derive(Debug, Default)]
struct Types {
    structs: BTreeMap<Name, Group>,
    enums: BTreeMap<Name, Vec<(String, String)>>,
}

impl Types {
    fn read() -> Self {
        let mut types = Self::default();
        for (part, file) in SOURCES {
            types.file(part, &fs::read_to_string(root().join(file)).unwrap());
        }
        types
    }

    fn file(&mut self, part: &str, text: &str) {
        let (mut doc, mut attributes) = (Vec::new(), String::new());
        let mut inside: Option<(bool, String)> = None;
        let mut all_defaulted = false;
        for line in text.lines() {
            let line = line.trim_end();
            let word = line.trim_start();
            if let Some(comment) = word.strip_prefix("///") {
                doc.push(comment.trim().to_owned());
                continue;
            }
            if word.starts_with("#[") {
                attributes.push_str(word);
                continue;
            }
            if let Some(rest) = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub(crate) struct "))
                && let Some(name) = rest.strip_suffix(" {")
            {
                all_defaulted = attributes.contains("#[serde(default");
                let group = Group { doc: told(&doc), fields: Vec::new() };
                self.structs.insert((part.to_owned(), name.to_owned()), group);
                inside = Some((false, name.to_owned()));
            } else if let Some(rest) = line.strip_prefix("pub enum ").or_else(|| line.strip_prefix("pub(crate) enum "))
                && let Some(name) = rest.strip_suffix(" {")
            {
                self.enums.insert((part.to_owned(), name.to_owned()), Vec::new());
                inside = Some((true, name.to_owned()));
            } else if line == "}" {
                inside = None;
            } else if let Some((is_enum, name)) = &inside {
                let key = (part.to_owned(), name.clone());
                if *is_enum && let Some(variant) = word.strip_suffix(',') {
                    self.enums.get_mut(&key).unwrap().push((snake(variant), told(&doc)));
                } else if let Some((field, kind)) =
                    word.trim_start_matches("pub ").trim_end_matches(',').split_once(": ")
                {
                    let defaulted = all_defaulted || attributes.contains("default") || kind.starts_with("Option<");
                    let field = Field { name: field.to_owned(), doc: told(&doc), kind: kind.to_owned(), defaulted };
                    self.structs.get_mut(&key).unwrap().fields.push(field);
                }
            }
            doc.clear();
            attributes.clear();
        }
    }

    /// The type that a field's words name, seen from the part where the field stands.
    fn find<'a, T>(&'a self, among: &'a BTreeMap<Name, T>, part: &str, kind: &str) -> Option<(&'a Name, &'a T)> {
        let name = kind.rsplit("::").next().unwrap();
        let owner = ["store", "protocol", "codegraph"].into_iter().find(|part| kind.contains(part)).unwrap_or(part);
        among
            .get_key_value(&(owner.to_owned(), name.to_owned()))
            .or_else(|| among.iter().find(|((_, other), _)| other == name && name != "Config"))
    }

    fn section<'t>(
        &self,
        page: &mut String,
        path: &[String],
        part: &str,
        field: &Field,
        defaults: Option<&'t toml::Value>,
    ) {
        let mut kind = field.kind.as_str();
        let above = path.len() - 1;
        let mut path = path.to_vec();
        let mut list = false;
        loop {
            if let Some(inner) = kind.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')) {
                kind = inner;
            } else if let Some(inner) = kind.strip_prefix("Vec<").and_then(|rest| rest.strip_suffix('>')) {
                (kind, list) = (inner, true);
            } else if let Some(inner) = kind.strip_prefix("BTreeMap<String, ").and_then(|rest| rest.strip_suffix('>')) {
                kind = inner;
                path.push("NAME".to_owned());
            } else {
                break;
            }
        }
        let Some(((owner, _), group)) = self.find(&self.structs, part, kind) else { return };
        // A named group stands below its map, one level deeper than its field; of a list, the first item is looked at.
        let below = |value: &'t toml::Value, level: &String| match value.get(level)? {
            toml::Value::Array(items) => items.first(),
            value => Some(value),
        };
        let levels = path.get(above..).unwrap_or_default();
        let defaults = defaults.and_then(|value| levels.iter().try_fold(value, below));
        let (groups, leaves): (Vec<_>, Vec<_>) = group.fields.iter().partition(|field| self.is_group(owner, field));
        if !leaves.is_empty() {
            let name = path.join(".");
            let heading = if list { format!("[[{name}]]") } else { format!("[{name}]") };
            // A group that only repeats its name has its words where it is used.
            let doc = if group.doc.starts_with("`[") { &field.doc } else { &group.doc };
            let _ = writeln!(page, "\n## `{heading}`\n\n{doc}\n\n| setting | default | what it does |\n|---|---|---|");
        }
        for field in leaves {
            let default = match defaults.and_then(|table| table.get(&field.name)) {
                _ if !field.defaulted => "*required*".to_owned(),
                _ if list && field.kind.starts_with("Option<") => "*none*".to_owned(),
                Some(value) => format!("`{value}`"),
                None => "*none*".to_owned(),
            };
            let _ = writeln!(page, "| `{}` | {default} | {}{} |", field.name, field.doc, self.words(owner, field));
        }
        for field in groups {
            let mut path = path.clone();
            path.push(field.name.clone());
            self.section(page, &path, owner, field, defaults);
        }
    }

    fn is_group(&self, part: &str, field: &Field) -> bool {
        self.find(&self.structs, part, inner(&field.kind)).is_some()
    }

    /// The words that a setting may be, if it is one of several.
    fn words(&self, part: &str, field: &Field) -> String {
        let Some((_, variants)) = self.find(&self.enums, part, inner(&field.kind)) else { return String::new() };
        variants.iter().map(|(word, doc)| format!("<br>`{word}`: {doc}")).collect()
    }
}

/// What is inside of `Option`, `Vec` and `BTreeMap`.
fn inner(kind: &str) -> &str {
    let start = kind.rfind(['<', ' ']).map_or(0, |at| at + 1);
    kind[start..].trim_end_matches('>')
}

/// A comment as one line, without links into the code.
fn told(doc: &[String]) -> String {
    let text = doc.join(" ").replace("  ", " ").replace("[`", "`").replace("`]", "`").replace('|', "\\|");
    text.replace("crate::", "").trim().to_owned()
}

fn snake(variant: &str) -> String {
    let mut word = String::new();
    for (index, letter) in variant.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}
