//! Thresholds as a scenario writes them: one or several per selector, each a string or k6's object form.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};

/// The `[thresholds]` table: selector to one or several thresholds.
pub type ThresholdConfig = BTreeMap<String, OneOrMany>;

/// One threshold, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a threshold like \"p(99)<500\", a table with `threshold`, or a list of these")]
pub enum OneOrMany {
    /// `lost = "count==0"`.
    One(ThresholdSpec),
    /// `task_latency = ["p(50)<100", "p(99)<500"]`.
    Many(Vec<ThresholdSpec>),
}

impl OneOrMany {
    /// As a list.
    #[must_use]
    pub fn as_slice(&self) -> &[ThresholdSpec] {
        match self {
            Self::One(spec) => std::slice::from_ref(spec),
            Self::Many(specs) => specs,
        }
    }
}

/// One threshold as it was written. Not read yet, so that an error can name selector and column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ThresholdSpec {
    /// `"p(99)<500"`.
    Short(String),
    /// `{ threshold = "p(99)<500", abort_on_fail = true, delay_abort_eval = "10s" }`.
    Full(FullSpec),
}

/// The object form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullSpec {
    /// The expression.
    pub threshold: String,
    /// End the run at once when it fails.
    #[serde(default, alias = "abortOnFail")]
    pub abort_on_fail: bool,
    /// Do not abort before this much of the run has passed: `"10s"`, `"1m30s"`, or milliseconds.
    #[serde(default, alias = "delayAbortEval", rename = "delay_abort_eval", deserialize_with = "duration_ms")]
    pub delay_abort_eval_ms: u64,
}

impl ThresholdSpec {
    /// In the object form.
    #[must_use]
    pub fn full(&self) -> FullSpec {
        match self {
            Self::Short(threshold) => {
                FullSpec { threshold: threshold.clone(), abort_on_fail: false, delay_abort_eval_ms: 0 }
            }
            Self::Full(spec) => spec.clone(),
        }
    }
}

// By hand, because a derived struct also reads a list of its fields, and `[["count==0"]]` would pass for a threshold.
impl<'de> Deserialize<'de> for ThresholdSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Spec;

        impl<'de> de::Visitor<'de> for Spec {
            type Value = ThresholdSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a threshold like \"p(99)<500\", or a table with `threshold`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ThresholdSpec, E> {
                Ok(ThresholdSpec::Short(text.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ThresholdSpec, A::Error> {
                FullSpec::deserialize(de::value::MapAccessDeserializer::new(map)).map(ThresholdSpec::Full)
            }
        }

        deserializer.deserialize_any(Spec)
    }
}

/// Reads `"500ms"`, `"10s"`, `"1m30s"`, `"1h"`, as k6 and Go write durations, into milliseconds.
///
/// # Errors
/// When it is none; says what was expected.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let error = || format!("{text:?} is no duration; write it like \"500ms\", \"10s\" or \"1m30s\"");
    let (mut rest, mut total_ms) = (text.trim(), 0.0);
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').ok_or_else(error)?;
        let number: f64 = rest[..end].parse().map_err(|_| error())?;
        rest = &rest[end..];
        let end = rest.find(|it: char| !it.is_ascii_alphabetic()).unwrap_or(rest.len());
        total_ms += number
            * match &rest[..end] {
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 60e3,
                "h" => 3_600e3,
                _ => return Err(error()),
            };
        rest = &rest[end..];
    }
    Ok(total_ms.round() as u64)
}

fn duration_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a duration like \"10s\", or milliseconds")]
    enum Written {
        Ms(u64),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Ms(ms) => Ok(ms),
        Written::Text(text) => parse_duration_ms(&text).map_err(de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_k6s_forms() {
        let config: ThresholdConfig = serde_json::from_value(json!({
            "lost": "count==0",
            "task_latency": ["p(50)<100", {"threshold": "p(99)<500", "abortOnFail": true, "delayAbortEval": "1m30s"}],
            "checks": {"threshold": "rate>0.9", "delay_abort_eval": 250},
        }))
        .unwrap();
        let full = |name: &str| config[name].as_slice().iter().map(ThresholdSpec::full).collect::<Vec<_>>();
        assert_eq!(full("lost")[0].threshold, "count==0");
        assert_eq!(
            (full("task_latency")[1].abort_on_fail, full("task_latency")[1].delay_abort_eval_ms),
            (true, 90_000)
        );
        assert_eq!(full("checks")[0].delay_abort_eval_ms, 250);
    }

    #[test]
    fn refuses_what_is_none() {
        for value in [json!({"lost": 5}), json!({"lost": {"thresold": "count==0"}}), json!({"lost": [["count==0"]]})] {
            assert!(serde_json::from_value::<ThresholdConfig>(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("1.5s", 1_500), ("1h", 3_600_000)] {
            assert_eq!(parse_duration_ms(text), Ok(ms));
        }
        for text in ["", "10", "s", "10 s", "10sec", "-1s", "1..5s"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }
}
