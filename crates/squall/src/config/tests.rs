//! Most of what can be wrong, and what is said about it: input, expectation beside it.

use super::*;

/// A file's text and an environment, and the message that refuses them.
type Refused = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const REFUSED: &[Refused] = &[
    (
        "[lanes.gpt4]\nconcurency = 5",
        &[],
        r#"squall.toml:2:1: unknown key "concurency" in [lanes.gpt4]; did you mean "concurrency"?"#,
    ),
    ("[sever]\nlisten = 1", &[], r#"squall.toml:1:2: unknown key "sever" at the top level; did you mean "server"?"#),
    ("[lgo]\nformat = 1", &[], r#"squall.toml:1:2: unknown key "lgo" at the top level; did you mean "log"?"#),
    (
        "[lanes.gpt4]\nconcurrency = \"five\"",
        &[],
        r#"squall.toml:2:15: concurrency in [lanes.gpt4] is "five"; expected a whole number from 0 to 4294967295"#,
    ),
    (
        "[lanes.gpt4]\nconcurrency = -1",
        &[],
        "squall.toml:2:15: concurrency in [lanes.gpt4] is -1; expected a whole number from 0 to 4294967295",
    ),
    (
        "[lanes.gpt4]\nretry = { max = 3, delay = 1 }",
        &[],
        r#"squall.toml:2:20: unknown key "delay" in [lanes.gpt4.retry]; did you mean "delay_ms"?"#,
    ),
    (
        "[lanes.gpt4]\nretry = { tries = 3 }",
        &[],
        r#"squall.toml:2:11: unknown key "tries" in [lanes.gpt4.retry]; valid here: backoff, delay_ms, jitter, max, max_delay_ms"#,
    ),
    ("[lanes]\nconcurrency = 5", &[], "squall.toml:2:15: concurrency in [lanes] is 5; expected a group of settings"),
    (
        "[store]\ndurability = \"comit\"",
        &[],
        r#"squall.toml:2:14: durability in [store] is "comit"; expected one of "commit", "interval"; did you mean "commit"?"#,
    ),
    (
        "[store]\ndurability = true",
        &[],
        r#"squall.toml:2:14: durability in [store] is true; expected one of "commit", "interval""#,
    ),
    ("[log]\nformat = \"xml\"", &[], r#"squall.toml:2:10: format in [log] is "xml"; expected one of "text", "json""#),
    ("[log]\nlevl = \"info\"", &[], r#"squall.toml:2:1: unknown key "levl" in [log]; did you mean "level"?"#),
    ("[server]\nlisten = \"localhost\"", &[], "squall.toml:2:10: listen in [server]: invalid socket address syntax"),
    ("[server\nlisten", &[], "squall.toml:1:8: not TOML: unclosed table, expected `]`"),
    (
        "[store]\ninterval_ms = 99999999999999999999999999999999999999999",
        &[],
        "squall.toml:2:15: 99999999999999999999999999999999999999999 is out of range",
    ),
    ("[[auth.tokens]]\nname = \"x\"", &[], r#"squall.toml:1:1: missing key "sha256" in [auth.tokens[0]]"#),
    (
        "",
        &[("SQUALL_LANES__GPT4__CONCURENCY", "7")],
        r#"SQUALL_LANES__GPT4__CONCURENCY: unknown key "concurency" in [lanes.gpt4]; did you mean "concurrency"?"#,
    ),
    (
        "",
        &[("SQUALL_LANES__GPT4__CONCURRENCY", "seven")],
        r#"SQUALL_LANES__GPT4__CONCURRENCY: concurrency in [lanes.gpt4] is "seven"; expected a whole number from 0 to 4294967295"#,
    ),
    (
        "",
        &[("SQUALL_SERVER__LISTEN__PORT", "1"), ("SQUALL_SERVER__LISTEN", "127.0.0.1:1")],
        "SQUALL_SERVER__LISTEN__PORT: server.listen is set to a single value; nothing can be set below it",
    ),
];

fn parsed(text: &str, env: &[(&str, &str)]) -> Result<(squall_gateway::Config, Log), ConfigError> {
    let mut written = Node::from_toml("squall.toml", text)?;
    written.overlay_env(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))?;
    typed(&written)
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, env, message) in REFUSED {
        let error = parsed(text, env).expect_err(text);
        assert_eq!(&error.to_string(), message, "{text} {env:?}");
    }
}

/// What every value for itself is fine with, and the whole is not.
const SENSELESS: &[(&str, &str)] = &[
    (
        "[tasks]\ndefault_lane = \"gtp4\"\n[lanes.gpt4]",
        r#"FILE:2:1: tasks.default_lane: there is no lane "gtp4"; lanes are gpt4"#,
    ),
    (
        "[lanes.gpt4]\nretry = { backoff = 0.5 }",
        "FILE:2:11: lanes.gpt4.retry.backoff: 0.5 is not a backoff: it is at least 1",
    ),
    (
        "[[auth.tokens]]\nname = \"a\"\nscopes = [\"read\"]\nsha256 = \"secret\"",
        "FILE:4:1: auth.tokens[0].sha256: is not a SHA-256: 64 hexadecimal digits, as `squall token` prints them",
    ),
    (
        "[server]\nlisten = \"0.0.0.0:0\"",
        "FILE:2:1: server.listen: refuses to listen on 0.0.0.0:0 without a token: add one under [[auth.tokens]] (squall token), or \
         listen on 127.0.0.1",
    ),
];

#[test]
fn what_makes_no_sense_together_is_told_with_its_place() {
    for (text, message) in SENSELESS {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("squall.toml");
        std::fs::write(&file, text).unwrap();
        let shown = file.display().to_string();
        let error = load(Sources { file: Some(file), ..Sources::default() }).expect_err(text);
        assert_eq!(error.to_string(), message.replace("FILE", &shown));
    }
}

#[test]
fn the_environment_goes_before_the_file() {
    let text = "[lanes.gpt4]\nconcurrency = 5\n[lanes.claude-web]\nrate_per_s = 1";
    let env = [
        ("SQUALL_LANES__GPT4__CONCURRENCY", "7"),
        ("SQUALL_LANES__CLAUDE_WEB__RATE_PER_S", "2.5"),
        ("SQUALL_LANES__NEW__RETRY", "{ max = 9 }"),
        ("SQUALL_SERVER__LISTEN", "127.0.0.1:0"),
        ("SQUALL_TASKS__DEFAULT_LANE", "7"),
        ("SQUALL_LOG__FORMAT", "json"),
        ("SQUALL_TOKEN", "not a setting"),
    ];
    let (config, log) = parsed(text, &env).unwrap();
    assert_eq!(config.lanes["gpt4"].concurrency, 7);
    assert_eq!(config.lanes["claude-web"].rate_per_s, Some(2.5), "an underscore stands for a hyphen");
    assert_eq!(config.lanes["new"].retry.max, 9, "a group may be written as TOML");
    assert_eq!(config.tasks.default_lane.as_deref(), Some("7"), "what a value is, its setting says");
    assert_eq!(log.format, Format::Json);
}

#[test]
fn a_variable_that_nearly_sets_something_is_refused() {
    for (name, message) in [
        ("SQUALL_SERVER_LISTEN", Some("SQUALL_SERVER__LISTEN")),
        ("SQUALL_LANES_GPT4_CONCURRENCY", Some("SQUALL_LANES__GPT4__CONCURRENCY")),
        // What a container's surroundings may set, and what the program itself reads.
        ("SQUALL_SERVICE_HOST", None),
        ("SQUALL_TOKEN", None),
    ] {
        let env = vec![(name.to_owned(), "127.0.0.1:1".to_owned())];
        let outcome = load(Sources { env, ..Sources::default() });
        let message = message
            .map(|meant| format!("{name}: sets nothing; did you mean {meant}? Levels are parted by two underscores"));
        assert_eq!(outcome.err().map(|error| error.to_string()), message);
    }
}

#[test]
fn the_built_in_configuration_is_fine_and_has_the_three_lanes() {
    let settings = load(Sources { file: None, env: Vec::new(), flags: Vec::new() }).unwrap();
    let lanes: Vec<_> = settings.gateway.lanes.iter().map(|(name, lane)| (name.as_str(), lane.concurrency)).collect();
    assert_eq!(lanes, [("claude_web", 10), ("crude", 3), ("gpt4", 5)]);
    assert_eq!(settings.gateway.tasks.default_lane.as_deref(), Some("claude_web"));
}

#[test]
fn what_is_shown_can_be_read_again() {
    let flags = vec![("server.listen", "127.0.0.1:4".to_owned(), "--listen")];
    let env = vec![("SQUALL_LANES__GPT4__CONCURRENCY".to_owned(), "7".to_owned())];
    let settings = load(Sources { file: None, env, flags }).unwrap();
    let shown = show(&settings).unwrap();
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("listen").ends_with("# --listen"), "{shown}");
    assert!(line("concurrency = 7").ends_with("# SQUALL_LANES__GPT4__CONCURRENCY"), "{shown}");
    assert!(line("concurrency = 3").contains("# built-in squall.toml:"), "{shown}");
    assert!(line("aging_ms").ends_with("# default"), "{shown}");
    let (again, log) = parsed(&shown, &[]).unwrap();
    assert_eq!((again, log), (settings.gateway, settings.log));
}
