//! A delivery as a `deliver` frame, written by hand: it is the hottest thing that the gateway says, and its payload is
//! text already. A test holds it against serde.

use std::cell::RefCell;
use std::io::Write;

use squall_protocol::Time;
use squall_store::Delivery;

/// Appends `{"deliver":{…}}`.
pub(crate) fn frame(out: &mut Vec<u8>, delivery: &Delivery) {
    super::frame::text_with(out, |out| {
        out.extend_from_slice(br#"{"deliver":"#);
        json(out, delivery);
        out.push(b'}');
    });
}

/// Appends the delivery as JSON, as `squall_protocol::Delivery` would.
pub(crate) fn json(out: &mut Vec<u8>, delivery: &Delivery) {
    let task = &*delivery.task;
    // Writing to a vector cannot fail, so the results below say nothing.
    let _ = write!(out, r#"{{"id":"{}","receipt":"{}","lane":"#, task.id, delivery.receipt);
    string(out, &task.lane);
    out.extend_from_slice(br#","kind":"#);
    string(out, &task.kind);
    out.extend_from_slice(br#","priority":""#);
    out.extend_from_slice(task.priority.as_str().as_bytes());
    out.extend_from_slice(br#"","attempt":"#);
    out.extend_from_slice(itoa::Buffer::new().format(delivery.attempt).as_bytes());
    if let Some(key) = &task.key {
        out.extend_from_slice(br#","key":"#);
        string(out, key);
    }
    if let Some(session) = &task.session {
        out.extend_from_slice(br#","session":"#);
        string(out, session.as_str());
    }
    out.extend_from_slice(br#","created_at":""#);
    time(out, task.created_at);
    out.extend_from_slice(br#"","lease_expires_at":""#);
    time(out, delivery.lease_expires_at);
    out.extend_from_slice(br#"","payload":"#);
    out.extend_from_slice(task.payload.as_bytes());
    out.push(b'}');
}

/// `2026-11-21T06:40:00.`
const TO_THE_SECOND: usize = 20;
/// Seconds that are remembered as text.
const SECONDS: usize = 64;

thread_local! {
    static FORMATTED: RefCell<[(u64, [u8; TO_THE_SECOND]); SECONDS]> = const { RefCell::new([(u64::MAX, [0; TO_THE_SECOND]); SECONDS]) };
}

/// An instant as its `Display` says it. Most lie within seconds of each other, and a calendar is slow: each second is worked out
/// once.
fn time(out: &mut Vec<u8>, at: Time) {
    let (second, ms) = (at.0 / 1_000, at.0 % 1_000);
    let slot = usize::try_from(second % SECONDS as u64).unwrap_or(0);
    FORMATTED.with_borrow_mut(|formatted| {
        let (known, text) = &mut formatted[slot];
        if *known != second {
            let whole = Time(second * 1_000).to_string();
            match whole.strip_suffix("000Z").and_then(|text| text.as_bytes().try_into().ok()) {
                Some(first) => (*known, *text) = (second, first),
                // Beyond what the calendar knows.
                None => return out.extend_from_slice(at.to_string().as_bytes()),
            }
        }
        out.extend_from_slice(text);
        let digit = |n: u64| b'0' + u8::try_from(n % 10).unwrap_or(0);
        out.extend_from_slice(&[digit(ms / 100), digit(ms / 10), digit(ms), b'Z']);
    });
}

fn string(out: &mut Vec<u8>, text: &str) {
    let plain = text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        let _ = serde_json::to_writer(out, text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::RawValue;
    use squall_protocol::{Priority, Receipt, ServerFrame, SessionId, TaskId, Text};
    use squall_store::TaskBody;

    use super::*;

    proptest::proptest! {
        #[test]
        fn an_instant_is_what_display_says(first in 0_u64..260_000_000_000_000, more in proptest::collection::vec(0_u64..200_000, 20)) {
            let mut at = first;
            for later in more {
                at += later;
                let mut out = Vec::new();
                time(&mut out, Time(at));
                proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), Time(at).to_string());
            }
        }
    }

    #[test]
    fn it_says_what_serde_would_say() {
        let plain = TaskBody {
            id: TaskId::at(Time(1_795_243_200_123), 77),
            tenant: "default".into(),
            lane: "gpt4".into(),
            kind: "build".into(),
            priority: Priority::High,
            payload: r#"{"a": [1, 2]}"#.into(),
            session: None,
            key: None,
            created_at: Time(1_795_243_200_123),
            deadline_at: None,
            retry: None,
        };
        let odd = TaskBody {
            kind: "a \"quoted\"\n\\kind ü \u{7f}\u{1}".into(),
            key: Some("k\"1".into()),
            session: Some(SessionId::new("s:1").unwrap()),
            payload: "null".into(),
            priority: Priority::Low,
            ..TaskBody { id: plain.id, tenant: "t".into(), lane: "x".into(), ..body_like(&plain) }
        };
        for task in [plain, odd] {
            let delivery = Delivery {
                task: Arc::new(task),
                receipt: Receipt(255),
                attempt: 3,
                lease_expires_at: Time(1_795_243_230_000),
            };
            let task = &delivery.task;
            let expected = ServerFrame::Deliver(squall_protocol::Delivery {
                id: task.id,
                receipt: delivery.receipt,
                lane: (&*task.lane).into(),
                kind: (&*task.kind).into(),
                priority: task.priority,
                attempt: delivery.attempt,
                key: task.key.as_deref().map(Text::from),
                session: task.session.clone(),
                created_at: task.created_at,
                lease_expires_at: delivery.lease_expires_at,
                payload: serde_json::from_str::<&RawValue>(&task.payload).unwrap(),
            });
            let mut ours = br#"{"deliver":"#.to_vec();
            json(&mut ours, &delivery);
            ours.push(b'}');
            assert_eq!(String::from_utf8(ours).unwrap(), serde_json::to_string(&expected).unwrap());
        }
    }

    fn body_like(task: &TaskBody) -> TaskBody {
        TaskBody {
            id: task.id,
            tenant: task.tenant.clone(),
            lane: task.lane.clone(),
            kind: task.kind.clone(),
            priority: task.priority,
            payload: task.payload.clone(),
            session: None,
            key: None,
            created_at: task.created_at,
            deadline_at: None,
            retry: None,
        }
    }
}
