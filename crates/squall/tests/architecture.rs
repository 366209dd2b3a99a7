//! Holds the import table and the other invariants of ARCHITECTURE.md against what cargo and the sources say.
//!
//! A row that is violated fails with the reason why the row is there, so that whoever wants to change it knows what they
//! are arguing with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may as well say where")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Part, the parts that it may import, and what the row protects.
///
/// Rows of parts that do not exist yet are the rule for the day they arrive.
const MAY_IMPORT: &[(&str, &[&str], &str)] = &[
    ("protocol", &[], "it is only words; whoever speaks them must not pull in anything else"),
    ("report", &[], "a run must be readable without the storm that made it"),
    ("faultproxy", &[], "it is of use in front of any service, not only ours"),
    ("services", &[], "it starts other people's programs and knows nothing of what they are for"),
    ("codegraph", &[], "it reads sources and knows nothing of queues"),
    ("store", &["protocol"], "an engine is swapped without the gateway noticing"),
    ("client", &["protocol"], "a client meets the gateway over the network, so it shares nothing but the words"),
    ("gateway", &["protocol", "store", "codegraph"], "the server must not know the program that tests it"),
    (
        "load",
        &["protocol", "client", "faultproxy", "report", "services"],
        "the storm meets the gateway over the network, as a user does: a kill is a real kill, and no check is bypassed",
    ),
    (
        "testkit",
        &["protocol", "services"],
        "tests start the real program; helpers that reach inside would test something else",
    ),
    (
        "squall",
        &["protocol", "store", "gateway", "codegraph", "client", "load", "faultproxy", "report"],
        "the program puts the parts together; helpers of tests have no place in it",
    ),
];

/// Crates that only some parts may know, and why.
const ONLY: &[(&[&str], &[&str], &str)] = &[
    (
        &["rusqlite", "sqlx", "redis", "fred", "tokio-postgres", "deadpool-postgres", "redb", "fjall", "heed"],
        &["store"],
        "only the store knows how things are kept; everybody else says verbs",
    ),
    (
        &["axum", "axum-core", "tower-http", "utoipa-axum"],
        &["gateway"],
        "only the gateway's transport knows the HTTP framework, so that it can be changed in one place",
    ),
    (
        &["anyhow"],
        &["squall", "testkit"],
        "a part has an error type that its caller can match on; only the program just tells",
    ),
    (&["clap"], &["squall"], "parts take values, not command lines"),
    (&["ratatui", "crossterm"], &["load", "report", "squall"], "a screen is drawn where people watch"),
];

/// Sources that decide and do nothing else: no runtime, no clock, no dice. Tests of these own time.
const PURE: &[&str] = &[
    "crates/store/src/core",
    "crates/protocol/src",
    "crates/report/src/statistics",
    "crates/report/src/thresholds",
    "crates/codegraph/src/resolve.rs",
    "crates/codegraph/src/graph.rs",
    "crates/load/src/ledger",
    "crates/load/src/executors",
    "crates/load/src/faults",
    "crates/faultproxy/src/chain.rs",
    "crates/faultproxy/src/toxics",
    "crates/faultproxy/src/schedule.rs",
    "crates/faultproxy/src/distribution.rs",
    "crates/faultproxy/src/draw.rs",
];

/// What a pure source must not say. A generator that is handed in, or made from a seed, is fine.
const IMPURE: &[&str] = &[
    "tokio::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Rng::new()",
    "fastrand::u",
    "fastrand::i",
    "fastrand::f",
    "fastrand::bool",
    "fastrand::shuffle",
    "std::fs",
    "std::net",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap()
}

/// `squall-gateway` is the part `gateway`; the program is `squall`.
fn part(package: &str) -> &str {
    package.strip_prefix("squall-").unwrap_or(package)
}

fn is_ours(package: &str) -> bool {
    package == "squall" || package.starts_with("squall-")
}

/// Names of what a package depends on in this way.
fn imports(package: &Package, kinds: &[DependencyKind]) -> Vec<String> {
    package.dependencies.iter().filter(|d| kinds.contains(&d.kind)).map(|d| d.name.clone()).collect()
}

#[test]
fn every_part_imports_only_what_its_row_allows() {
    let metadata = metadata();
    let table: BTreeMap<_, _> = MAY_IMPORT.iter().map(|(part, may, why)| (*part, (*may, *why))).collect();
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let name = part(&package.name);
        let Some((may, why)) = table.get(name) else {
            violations.push(format!("{name}: a new part needs a row in this table and in ARCHITECTURE.md"));
            continue;
        };
        for import in imports(package, &[DependencyKind::Normal, DependencyKind::Build]).iter().filter(|i| is_ours(i)) {
            if !may.contains(&part(import)) {
                violations.push(format!("{name} -> {}: {why}", part(import)));
            }
        }
        for import in imports(package, &[DependencyKind::Development]).iter().filter(|i| is_ours(i)) {
            let fine = may.contains(&part(import)) || part(import) == "testkit" || import == package.name.as_str();
            if !fine {
                violations.push(format!("{name} (tests) -> {}: {why}", part(import)));
            }
        }
    }
    assert!(violations.is_empty(), "the import table is violated:\n  {}", violations.join("\n  "));
}

#[test]
fn crates_that_belong_to_one_part_stay_there() {
    let mut violations = Vec::new();
    for package in &metadata().packages {
        let kinds = [DependencyKind::Normal, DependencyKind::Build];
        for import in imports(package, &kinds) {
            for (crates, owners, why) in ONLY {
                if crates.contains(&import.as_str()) && !owners.contains(&part(&package.name)) {
                    violations.push(format!("{} -> {import}: {why}", part(&package.name)));
                }
            }
        }
    }
    assert!(violations.is_empty(), "a crate is used outside its part:\n  {}", violations.join("\n  "));
}

#[test]
fn every_part_lives_in_its_folder_and_keeps_the_lints() {
    for package in &metadata().packages {
        let manifest = package.manifest_path.as_std_path();
        let folder = manifest.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert_eq!(folder, part(&package.name), "the folder is the part's short name");
        let text: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
        let opted_in = text.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(opted_in, Some(true), "{folder}: without `[lints] workspace = true` its warnings are nobody's");
        assert!(!package.description.clone().unwrap_or_default().is_empty(), "{folder}: say in a line what it is");
    }
}

#[test]
fn the_code_map_names_every_module() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut missing = Vec::new();
    for package in &metadata().packages {
        let name = part(&package.name);
        let start =
            page.find(&format!("**`crates/{name}`**")).unwrap_or_else(|| panic!("{name} is not in the code map"));
        let entry = page[start..].split("\n\n").next().unwrap();
        let folder = package.manifest_path.as_std_path().with_file_name("src");
        for item in fs::read_dir(folder).unwrap() {
            let module = item.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            if !["lib", "main", "tests"].contains(&module.as_str()) && !entry.contains(&format!("`{module}`")) {
                missing.push(format!("{name}: {module}"));
            }
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md does not say what these are for:\n  {}", missing.join("\n  "));
}

#[test]
fn decisions_know_no_runtime_no_clock_and_no_dice() {
    let mut violations = Vec::new();
    for folder in PURE {
        for file in sources(&root().join(folder)) {
            for (line, text) in code(&file) {
                for word in IMPURE.iter().filter(|word| text.contains(**word)) {
                    violations.push(format!("{}:{line}: {word}", file.display()));
                }
            }
        }
    }
    assert!(
        violations.is_empty(),
        "pure code takes time and randomness as arguments, so that tests own them:\n  {}",
        violations.join("\n  ")
    );
}

#[test]
fn only_the_transport_modules_know_the_http_framework() {
    let gateway = root().join("crates/gateway/src");
    let transport = [gateway.join("http"), gateway.join("ws")];
    let mut violations = Vec::new();
    for file in sources(&gateway).into_iter().filter(|file| !transport.iter().any(|folder| file.starts_with(folder))) {
        for (line, text) in code(&file) {
            if text.contains("axum::") {
                violations.push(format!("{}:{line}", file.display()));
            }
        }
    }
    assert!(violations.is_empty(), "axum is for crates/gateway/src/{{http,ws}}:\n  {}", violations.join("\n  "));
}

/// The Rust files under a folder, or the file itself; none when the folder is not there yet.
fn sources(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_path_buf()];
    }
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Lines of code with their numbers: no comments, and nothing after `#[cfg(test)]`, which in this house is the end of a file.
fn code(file: &Path) -> Vec<(usize, String)> {
    // Tests in files of their own may do what they like.
    if file.file_name().is_some_and(|name| name == "tests.rs") || file.components().any(|c| c.as_os_str() == "tests") {
        return Vec::new();
    }
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line.to_owned()))
        .collect()
}
