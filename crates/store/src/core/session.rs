//! The rules of a session's life: metadata that merges, limits on how many, the idle timeout.

use serde_json::{Map, Value};
use squall_protocol::{SessionState, Time};

use crate::{Error, Result};

/// Metadata of a session, as JSON, holds at most so many bytes.
pub const MAX_METADATA_BYTES: usize = 64 << 10;

/// The idle timeouts that a client may ask for.
pub const IDLE_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=86_400_000;

/// The reason of an end is cut to so many bytes.
pub const MAX_REASON_BYTES: usize = 1_024;

/// The first `max` bytes, or a few less so that no character is cut.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Checks the idle timeout that a client asks for.
///
/// # Errors
/// `Invalid` when it is out of bounds.
pub fn check_idle_timeout(asked_ms: Option<u64>) -> Result<()> {
    match asked_ms {
        Some(ms) if !IDLE_TIMEOUT_MS.contains(&ms) => Err(Error::Invalid(format!(
            "idle_timeout_ms is {ms}; it must be between {} and {}",
            IDLE_TIMEOUT_MS.start(),
            IDLE_TIMEOUT_MS.end()
        ))),
        _ => Ok(()),
    }
}

/// Checks how a client wants to end a session.
///
/// # Errors
/// `Invalid` for what only a store may say.
pub fn check_end(status: SessionState) -> Result<()> {
    match status {
        SessionState::Completed | SessionState::Failed => Ok(()),
        other => Err(Error::Invalid(format!("a session ends completed or failed, not {}", other.as_str()))),
    }
}

/// Metadata as text.
///
/// # Errors
/// `TooLarge`.
pub fn metadata_text(metadata: Map<String, Value>) -> Result<String> {
    let text = Value::Object(metadata).to_string();
    if text.len() > MAX_METADATA_BYTES {
        let (size, limit) = (text.len() as u64, MAX_METADATA_BYTES as u64);
        return Err(Error::TooLarge { what: "the metadata of a session", size, limit });
    }
    Ok(text)
}

/// Merges `patch` into `target` as RFC 7386 says: objects merge, `null` removes, all else replaces.
pub fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(patch) => {
                let slot = target.entry(name).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(inner) = slot {
                    merge(inner, patch);
                }
            }
            other => {
                target.insert(name, other);
            }
        }
    }
}

/// When a session times out if nothing happens.
#[must_use]
pub const fn expires_at(last_activity: Time, idle_timeout_ms: u64) -> Time {
    last_activity.plus_ms(idle_timeout_ms)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("not an object: {other}"),
        }
    }

    /// The examples of RFC 7386, appendix A, whose target and patch are objects.
    #[test]
    fn merges_as_the_rfc_says() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (target, patch, expected) in cases {
            let mut merged = object(target.clone());
            merge(&mut merged, object(patch.clone()));
            assert_eq!(Value::Object(merged), expected, "{target} + {patch}");
        }
    }
}
