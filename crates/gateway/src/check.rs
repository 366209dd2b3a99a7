//! Whether a task makes sense, before it goes to the store: lengths, sizes and bounds, in one place for HTTP and WebSocket.

use squall_protocol::{ErrorCode, NewTask};
use squall_store::TaskSpec;

use crate::error::Refusal;

/// No delay, deadline or pause is longer.
pub(crate) const YEAR_MS: u64 = 366 * 24 * 3_600_000;
/// A lease is extended by at most so much.
pub(crate) const MAX_EXTEND_MS: u64 = 3_600_000;
/// What is kept of a reason.
pub(crate) const REASON_BYTES: usize = 1_024;

/// A task as the store takes it.
///
/// # Errors
/// `InvalidRequest` or `TooLarge`, naming the field and its bound.
pub(crate) fn task(new: NewTask<'_>, max_payload_bytes: usize) -> Result<TaskSpec, Refusal> {
    length("kind", &new.kind, 128)?;
    if let Some(key) = &new.key {
        length("key", key, 256)?;
    }
    if let Some(key) = &new.idempotency_key {
        length("idempotency_key", key, 256)?;
    }
    bound("delay_ms", new.delay_ms, 0, YEAR_MS)?;
    bound("deadline_ms", new.deadline_ms, 1, YEAR_MS)?;
    if let Some(retry) = &new.retry {
        bound("retry.max", retry.max.map(u64::from), 0, 1_000)?;
        bound("retry.delay_ms", retry.delay_ms, 0, YEAR_MS)?;
        bound("retry.max_delay_ms", retry.max_delay_ms, 0, YEAR_MS)?;
        if let Some(backoff) = retry.backoff
            && !(1.0..=1_000.0).contains(&backoff)
        {
            return Err(Refusal::invalid(format!("retry.backoff is {backoff}: it is 1 to 1,000")));
        }
        if let Some(jitter) = retry.jitter
            && !(0.0..=1.0).contains(&jitter)
        {
            return Err(Refusal::invalid(format!("retry.jitter is {jitter}: it is 0 to 1")));
        }
    }
    let payload = new.payload.map_or("null", |payload| payload.get());
    if payload.len() > max_payload_bytes {
        let message = format!("payload is {} bytes: at most {max_payload_bytes}", payload.len());
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    Ok(TaskSpec {
        lane: new.lane.map(|lane| lane.as_str().into()),
        kind: new.kind.as_ref().into(),
        priority: new.priority,
        payload: payload.into(),
        session: new.session,
        key: new.key.map(|key| key.as_str().into()),
        delay_ms: new.delay_ms.unwrap_or(0),
        deadline_ms: new.deadline_ms,
        retry: new.retry,
        idempotency_key: new.idempotency_key.map(|key| key.as_str().into()),
        dead: None,
    })
}

/// What a session's metadata may be: 64 KiB as JSON.
pub(crate) fn metadata(metadata: &serde_json::Map<String, serde_json::Value>) -> Result<(), Refusal> {
    const MOST: usize = 64 << 10;
    let size = serde_json::to_vec(metadata).map_or(0, |text| text.len());
    if size <= MOST {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::TooLarge, format!("metadata is {size} bytes: at most {MOST}")))
}

/// A text of 1 to `most` bytes.
pub(crate) fn length(field: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if (1..=most).contains(&text.len()) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("{field} is {} bytes: it is 1 to {most}", text.len())))
}

/// A number between two others, if there is one.
pub(crate) fn bound(field: &str, value: Option<u64>, least: u64, most: u64) -> Result<(), Refusal> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(Refusal::invalid(format!("{field} is {value}: it is {least} to {most}")))
        }
        _ => Ok(()),
    }
}

/// At most `most` bytes of a text, cut between characters: a reason that is too long is shortened, not refused.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let long = "k".repeat(257);
        let cases = [
            (r#"{"kind":""}"#.to_owned(), "kind is 0 bytes"),
            (format!(r#"{{"kind":"{long}"}}"#), "kind is 257 bytes: it is 1 to 128"),
            (format!(r#"{{"kind":"x","key":"{long}"}}"#), "key is 257 bytes: it is 1 to 256"),
            (r#"{"kind":"x","deadline_ms":0}"#.into(), "deadline_ms is 0: it is 1 to"),
            (r#"{"kind":"x","delay_ms":99999999999999}"#.into(), "delay_ms is 99999999999999"),
            (r#"{"kind":"x","retry":{"backoff":0.5}}"#.into(), "retry.backoff is 0.5"),
            (r#"{"kind":"x","retry":{"jitter":1.5}}"#.into(), "retry.jitter is 1.5"),
            (r#"{"kind":"x","payload":"0123456789"}"#.into(), "payload is 12 bytes: at most 10"),
        ];
        for (text, words) in cases {
            let error = task(serde_json::from_str(&text).unwrap(), 10).unwrap_err();
            assert!(error.error.message.contains(words), "{}", error.error.message);
        }
    }

    #[test]
    fn an_absent_payload_is_null() {
        let spec = task(serde_json::from_str(r#"{"kind":"x"}"#).unwrap(), 10).unwrap();
        assert_eq!((&*spec.payload, spec.delay_ms), ("null", 0));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("aä", 3), "aä");
    }
}
