//! The program as its user meets it: what it says about wrong input, and what its help and its lists show.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may as well say where")]

use std::fs;
use std::process::{Command, Output};

/// Wrong input, and what the message must say. All end with exit code 2.
const REFUSED: &[(&[&str], &[&str])] = &[
    (&[], &["Usage: squall"]),
    (&["sevre"], &["unrecognized subcommand 'sevre'", "'serve'"]),
    (&["serve", "--lisen", "127.0.0.1:0"], &["unexpected argument '--lisen'", "'--listen'"]),
    (&["serve", "--listen", "here"], &["'here'", "--listen"]),
    (&["serve", "--log-format", "xml"], &["'xml'", "text, json"]),
    (&["serve", "--config", "nowhere.toml"], &["cannot read the configuration file nowhere.toml"]),
    (&["config", "check", "nowhere.toml"], &["cannot read the configuration file nowhere.toml"]),
    (&["dead-letters", "show", "seven"], &["'seven'", "<ID>"]),
    (&["dead-letters", "replay"], &["required"]),
    (&["dead-letters", "purge"], &["required"]),
    (&["dead-letters", "replay", "--all", "--rate", "0"], &["expected a number above 0"]),
    (&["dead-letters", "replay", "--all", "--lane", "gpt4"], &["cannot be used with"]),
    (&["dead-letters", "list", "--reason", "bored"], &["'bored'", "retries_exhausted"]),
    (&["dead-letters", "list", "--since", "yesterday"], &["2026-11-21T07:00:00Z"]),
    (&["dead-letters", "list", "--url", "https://x"], &["TLS is not spoken here"]),
    (&["dead-letters", "list", "--token", "two\nlines"], &["cannot stand in a header"]),
    (&["migrate", "--to", "redis://127.0.0.1:1"], &["--from <DIR>"]),
    (&["migrate", "--from", "data"], &["nothing says where to", "--to redis://"]),
    (&["migrate", "--from", "data", "--to", "http://x"], &["--to", "redis://"]),
    (&["migrate", "--from", "data", "--to", "redis://x", "--key-prefix", "a b"], &["--key-prefix", "blank"]),
    (&["token", "--scopes", "everything"], &["'everything'"]),
    (&["run"], &["<SCENARIO>"]),
    (&["run", "lihgt"], &["unknown scenario \"lihgt\"", "did you mean \"light\"?"]),
    (&["run", "nowhere.toml"], &["nowhere.toml", "No such file"]),
    (&["run", "light", "--duration", "soon"], &["'soon'", "30s, 5m or 1h30m"]),
    (&["run", "light", "--duration", "1ms"], &["--duration must be at least"]),
    (&["run", "light", "--concurrent", "0"], &["--concurrent must be from 1"]),
    (&["run", "light", "--target", "https://x"], &["TLS is not spoken here"]),
    (&["run", "light", "--pid", "1"], &["--target <URL>"]),
    (&["run", "light", "--keep-data", "--target", "http://127.0.0.1:9"], &["cannot be used with"]),
    (&["run", "light", "--target", "http://127.0.0.1:9", "--pid", "2000000000"], &["no such process"]),
    (&["run", "light", "--plain", "--quiet"], &["cannot be used with"]),
    (&["run", "light", "--set", "durability"], &["expected KEY=VALUE"]),
    (
        &[
            "run",
            "light",
            "--set",
            "store.durability.x=1",
            "--set",
            "store.durability=1",
            "--set",
            "store.durability.y=1",
        ],
        &["store.durability.y", "no group"],
    ),
    (&["run", "demo", "--target", "http://127.0.0.1:9"], &["has faults", "leave out --target"]),
    (&["report"], &["<DIR>"]),
    (&["report", "runs", "--margin", "5"], &["--against <DIR>"]),
    (&["report", "runs", "--format", "pdf"], &["'pdf'", "markdown"]),
];

fn squall(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    // What the one who runs the tests has set must not decide their outcome.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    command.args(args).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn ran(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = squall(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn wrong_input_is_told_and_ends_with_2() {
    for (args, said) in REFUSED {
        let (code, _, stderr) = ran(args);
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        for words in *said {
            assert!(stderr.contains(words), "{args:?} should say {words:?}:\n{stderr}");
        }
    }
}

#[test]
fn every_subcommand_has_help() {
    let (_, help, _) = ran(&["--help"]);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"serve"), "{help}");
    for name in commands {
        let (code, help, stderr) = ran(&[name, "--help"]);
        assert_eq!(code, Some(0), "{name}: {stderr}");
        assert!(help.contains(&format!("Usage: squall {name}")), "{name}: {help}");
    }
    assert!(help.contains("98 the ledger found a loss"), "the exit codes are in the help: {help}");
}

#[test]
fn a_mistake_in_the_configuration_is_found_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("squall.toml");
    fs::write(&file, "[server]\nlisten = \"127.0.0.1:0\"\n\n[lanes.gpt4]\nconcurency = 5\n").unwrap();
    let shown = file.display().to_string();
    for args in [["serve", "--config", &shown].as_slice(), &["config", "check", &shown]] {
        let output = squall(args).current_dir(folder.path()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let message =
            format!("squall: {shown}:5:1: unknown key \"concurency\" in [lanes.gpt4]; did you mean \"concurrency\"?\n");
        assert_eq!(stderr, message);
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["squall.toml"], "nothing else was made");
}

#[test]
fn the_example_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (_, example, _) = ran(&["config", "example"]);
    fs::write(folder.path().join("squall.toml"), &example).unwrap();
    let output = squall(&["config", "check"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "squall.toml: fine\n");
}

#[test]
fn a_token_makes_lines_that_a_gateway_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let (code, lines, _) = ran(&["token", "worker-1", "--scopes", "publish,read"]);
    assert_eq!(code, Some(0));
    let token = lines.lines().find_map(|line| line.strip_prefix("# squall_")).unwrap();
    assert_eq!(token.len(), 64);
    let file = folder.path().join("with-token.toml");
    fs::write(&file, &lines).unwrap();
    let (code, _, stderr) = ran(&["config", "check", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    let (_, shown, _) = ran(&["config", "show", file.to_str().unwrap()]);
    assert!(shown.contains("name = \"worker-1\"") && shown.contains("(set, not shown)"), "{shown}");
    let hash = lines.lines().find_map(|line| line.strip_prefix("sha256 = ")).unwrap();
    assert!(!shown.contains(hash.trim_matches('"')), "not even the hash is shown: {shown}");
}

#[test]
fn storms_are_listed_and_explained() {
    let (code, list, _) = ran(&["list"]);
    assert_eq!(code, Some(0));
    for name in ["demo", "light", "medium", "heavy"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
        let (code, explained, stderr) = ran(&["run", name, "--explain"]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(explained.contains("must hold") && explained.contains("lost"), "{explained}");
    }
    let (_, explained, _) =
        ran(&["run", "light", "--explain", "--duration", "30s", "--set", "store.durability=interval"]);
    assert!(explained.contains("lasts 30s"), "flags are explained too: {explained}");
    assert!(explained.contains("durability = \"interval\""), "{explained}");
}

#[test]
fn a_mistake_in_a_scenario_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    let text =
        "name = \"x\"\n[[load]]\nworkload = \"tasks\"\nexecutor = \"constant-rate\"\nrate = 1\nduration = \"1s\"\n";
    fs::write(&file, text).unwrap();
    let (code, _, stderr) = ran(&["run", file.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("x.toml:4"), "{stderr}");
    assert!(stderr.contains(r#"unknown executor "constant-rate"; did you mean "constant-arrival-rate"?"#), "{stderr}");
}

#[test]
fn what_is_no_run_directory_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = ran(&["report", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is not a run directory: it has no run.json"), "{stderr}");
}

#[test]
fn nobody_at_home_is_told_with_the_address() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let (code, _, stderr) = ran(&["dead-letters", "list", "--url", &url]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&url), "{stderr}");
}
