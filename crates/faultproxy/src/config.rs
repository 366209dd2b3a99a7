//! How a fault proxy is set, and the file that says with which proxies it starts.

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, from_str};

use crate::draw::Seed;
use crate::error::{ConfigError, Error};
use crate::json::{self, Unknown};
use crate::spec::{ProxySpec, ToxicSpec};

/// Seed and bounds. Beside each bound stands what happens when it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Of everything random.
    pub seed: Seed,
    /// Proxies; one more is answered 429.
    pub max_proxies: usize,
    /// Toxics of one proxy; one more is answered 429.
    pub max_toxics: usize,
    /// Connections of one proxy at a time; one more is reset as soon as it is accepted, and counted as refused.
    pub max_connections: usize,
    /// Bytes of a request to the API; more are answered 413.
    pub max_body_bytes: usize,
    /// Connections to the API at a time; one more waits until another ends.
    pub max_api_connections: usize,
    /// How long a connection to the upstream may take to be made; then the client's is closed.
    pub connect_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: Seed(0),
            max_proxies: 1_000,
            max_toxics: 100,
            max_connections: 10_000,
            max_body_bytes: 1 << 20,
            max_api_connections: 256,
            connect_timeout: Duration::from_secs(30),
        }
    }
}

/// Reads a configuration file: the array of proxies that Toxiproxy reads, each of which may have its toxics here.
///
/// Unlike Toxiproxy, which tells its log and starts without them, what is wrong is an error: a test that believes in
/// faults that are not there proves nothing. Names that nobody knows are wrong, too.
///
/// # Errors
/// Says where and what.
pub fn read(text: &str, file: &str) -> Result<Vec<ProxySpec>, ConfigError> {
    let error = |line: usize, message: String| ConfigError { file: file.to_owned(), line, message };
    let values: Vec<&RawValue> = from_str(text).map_err(|wrong| error(wrong.line().max(1), wrong.to_string()))?;
    let mut proxies: Vec<ProxySpec> = Vec::new();
    for (nth, raw) in values.into_iter().enumerate() {
        // The value borrows from the text, so its place is known.
        let offset = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let line = 1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count();
        let wrong = |message: String| error(line, format!("proxy {}: {message}", nth + 1));
        let value: Value = from_str(raw.get()).map_err(|error| wrong(error.to_string()))?;
        let proxy = json::proxy(&value, Unknown::Refused).map_err(|error| {
            wrong(match error {
                Error::BadBody(message) => message,
                other => other.to_string(),
            })
        })?;
        for (field, value) in [("name", &proxy.name), ("upstream", &proxy.upstream)] {
            if value.is_empty() {
                return Err(wrong(format!("it has no {field}")));
            }
        }
        if proxies.iter().any(|other| other.name == proxy.name) {
            return Err(wrong(format!("there are two called {:?}", proxy.name)));
        }
        let mut names: Vec<_> = proxy.toxics.iter().map(|toxic| toxic.full_name()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|names| names[0] == names[1]) {
            return Err(wrong(format!("it has two toxics called {:?}", twice[0])));
        }
        proxies.push(proxy);
    }
    Ok(proxies)
}

/// Reads one toxic as such a file has it: `{"type":"latency","stream":"upstream","attributes":{"latency":100}}`.
///
/// # Errors
/// Says what is wrong; names that nobody knows are.
pub fn toxic(value: &Value) -> Result<ToxicSpec, String> {
    json::toxic(value, Unknown::Refused).map_err(|error| match error {
        Error::BadBody(message) => message,
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"[
  {"name": "redis", "listen": "127.0.0.1:26379", "upstream": "127.0.0.1:6379"},
  {"Name": "db", "upstream": "db:5432", "enabled": false,
   "toxics": [{"type": "latency", "stream": "Upstream", "toxicity": 0.5, "schedule": "every 10s for 2s",
               "attributes": {"latency": 100, "distribution": "normal", "jitter": 20}}]}
]"#;

    #[test]
    fn a_file_has_proxies_and_their_toxics() {
        let proxies = read(GOOD, "x.json").unwrap();
        assert_eq!((proxies[0].name.as_str(), proxies[0].enabled, proxies[0].toxics.len()), ("redis", true, 0));
        let toxic = &proxies[1].toxics[0];
        assert_eq!((toxic.full_name().as_str(), toxic.toxicity), ("latency_Upstream", 0.5));
        assert!(!proxies[1].enabled && toxic.schedule.is_some());
        assert_eq!(read("[]", "x").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            ("[\n{\"name\": \"a\" \"upstream\": 1}]", 2, "expected `,`"),
            ("{}", 1, "expected a sequence"),
            ("[\n\n{\"upstream\": \"x:1\"}]", 3, "proxy 1: it has no name"),
            ("[{\"name\": \"a\", \"upstream\": \"x:1\"},\n {\"name\": \"b\"}]", 2, "proxy 2: it has no upstream"),
            (
                "[{\"name\": \"a\", \"upstream\": \"x:1\"},\n {\"name\": \"a\", \"upstream\": \"y:1\"}]",
                2,
                "two called \"a\"",
            ),
            ("[{\"name\": \"a\", \"upstraem\": \"x:1\"}]", 1, "unknown field \"upstraem\"; there are name, listen"),
            (
                "[{\"name\": \"a\", \"upstream\": \"x:1\", \"toxics\": [{\"type\": \"latencyy\"}]}]",
                1,
                "invalid toxic type",
            ),
            (
                "[{\"name\": \"a\", \"upstream\": \"x:1\", \"toxics\": [{\"type\": \"latency\", \"attributes\": {\"latecny\": 1}}]}]",
                1,
                "unknown attribute \"latecny\"; there are latency, jitter",
            ),
            (
                "[{\"name\": \"a\", \"upstream\": \"x:1\", \"toxics\": [{\"type\": \"latency\", \"attributes\": {\"latency\": 1.5}}]}]",
                1,
                "attributes.latency",
            ),
            (
                "[{\"name\": \"a\", \"upstream\": \"x:1\", \"toxics\": [{\"type\": \"stall\", \"schedule\": \"every 1s for 2s\"}]}]",
                1,
                "schedule",
            ),
            (
                "[{\"name\": \"a\", \"upstream\": \"x:1\", \"toxics\": [{\"type\": \"stall\"}, {\"type\": \"stall\"}]}]",
                1,
                "two toxics called \"stall_downstream\"",
            ),
        ];
        for (text, line, part) in cases {
            let error = read(text, "x.json").unwrap_err();
            assert!(error.line == line && error.message.contains(part), "{text}\n{error}");
        }
    }

    proptest! {
        /// Whatever is done to a file, it is read or refused with a line that it has.
        #[test]
        fn no_file_is_too_strange(cut in 0_usize..GOOD.len(), put in "[\\[\\]{}\",:a-z0-9. \n]{0,12}", skip in 0_usize..20) {
            let rest = GOOD.get((cut + skip).min(GOOD.len())..).unwrap_or_default();
            let text = format!("{}{put}{rest}", &GOOD[..cut]);
            if let Err(error) = read(&text, "x.json") {
                prop_assert!(error.line >= 1 && error.line <= text.lines().count() + 1, "{error}");
            }
        }
    }
}
