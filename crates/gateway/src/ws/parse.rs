//! A text frame of `/ws/work` as a [`ClientFrame`], or what is wrong with it and where.

use serde::de::IgnoredAny;
use squall_protocol::{ClientFrame, ErrorCode, TaskId};

use crate::error::Refusal;

/// The keys of [`ClientFrame`].
const KNOWN: [&str; 6] = ["subscribe", "credit", "publish", "ack", "nack", "extend"];

/// The commonest frame, `{"ack":"<id>"}` without a space, without the detour over a JSON parser.
pub(super) fn bare_ack(text: &str) -> Option<TaskId> {
    text.strip_prefix(r#"{"ack":""#)?.strip_suffix(r#""}"#).filter(|id| id.len() == 36)?.parse().ok()
}

/// Any frame.
///
/// # Errors
/// `InvalidJson`; `UnknownFrame`, when it is not an object with one of the known keys; `InvalidRequest`, when what is
/// behind the key is not what it should be.
pub(super) fn client_frame(text: &str) -> Result<ClientFrame<'_>, Refusal> {
    serde_json::from_str(text).map_err(|error| refuse(text, &error))
}

fn refuse(text: &str, error: &serde_json::Error) -> Refusal {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Refusal::json("a frame", text.as_bytes(), &error);
    }
    let known = format!("frames are objects with one key, of {}", KNOWN.join(", "));
    let keys: Vec<String> = match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(object) => object.into_iter().map(|(key, _)| key).collect(),
        Err(_) => return Refusal::new(ErrorCode::UnknownFrame, format!("a frame that is no object; {known}")),
    };
    match keys.as_slice() {
        [key] if KNOWN.contains(&key.as_str()) => Refusal::json(&format!("a {key:?} frame"), text.as_bytes(), error),
        [key] => Refusal::new(ErrorCode::UnknownFrame, format!("there is no frame {key:?}; {known}")),
        keys => Refusal::new(ErrorCode::UnknownFrame, format!("a frame with {} keys; {known}", keys.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("{", ErrorCode::InvalidJson, "EOF"),
            ("pong", ErrorCode::InvalidJson, "expected value"),
            ("[]", ErrorCode::UnknownFrame, "no object"),
            ("{}", ErrorCode::UnknownFrame, "0 keys"),
            (r#"{"subscrib":{}}"#, ErrorCode::UnknownFrame, r#"no frame "subscrib""#),
            (r#"{"credit":1,"ack":"x"}"#, ErrorCode::UnknownFrame, "2 keys"),
            (r#"{"credit":-5}"#, ErrorCode::InvalidRequest, "invalid value: integer `-5`, expected u32"),
            (r#"{"credit":"5"}"#, ErrorCode::InvalidRequest, "invalid type: string"),
            (r#"{"publish":{"lane":"x"}}"#, ErrorCode::InvalidRequest, "missing field `kind`"),
            (r#"{"publish":{"kind":"x","prio":"high"}}"#, ErrorCode::InvalidRequest, "unknown field `prio`"),
            (r#"{"ack":"7"}"#, ErrorCode::InvalidRequest, "\"ack\" frame"),
        ];
        for (text, code, words) in cases {
            let error = client_frame(text).unwrap_err().error;
            assert_eq!(error.code, code, "{text}: {}", error.message);
            assert!(error.message.contains(words), "{text}: {}", error.message);
        }
    }

    #[test]
    fn the_short_way_is_only_short() {
        let id: TaskId = "019aa7bd-9a5b-7000-8000-000000000001".parse().unwrap();
        let text = format!(r#"{{"ack":"{id}"}}"#);
        assert_eq!(bare_ack(&text), Some(id));
        assert!(matches!(client_frame(&text), Ok(ClientFrame::Ack(same)) if same == id));
        for other in [format!(r#"{{"ack": "{id}"}}"#), r#"{"ack":"x"}"#.into(), format!(r#"{{"nack":"{id}"}}"#)] {
            assert_eq!(bare_ack(&other), None);
        }
    }

    #[test]
    fn a_published_payload_is_borrowed_as_it_is() {
        let text = r#"{"publish":{"kind":"x","payload":{"a" : 1}}}"#;
        let Ok(ClientFrame::Publish(task)) = client_frame(text) else { panic!("no publish") };
        assert_eq!(task.payload.unwrap().get(), r#"{"a" : 1}"#);
    }
}
