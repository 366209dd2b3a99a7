//! What an item means: a task, something about a session, or a dead letter with the reason. Pure.
//!
//! An item is JSON: of a list what was pushed, of a stream the one field that holds it, or an object of its fields. Its `type` is the
//! event. Workers get the item as it is.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use squall_protocol::{DeadReason, EndSession, NewSession, Priority, SessionId, SessionState, UpdateSession};
use squall_store::TaskSpec;
use squall_store::ingest::{Content, Item};

use crate::check;
use crate::config::IngestRule;
use crate::rules::{self, Becomes};

/// Fields that name the event: the first that is there does.
const EVENT: [&str; 4] = ["type", "event_type", "event", "kind"];
/// Fields that name the session.
const SESSION: [&str; 2] = ["sessionId", "session_id"];
/// Fields of a stream's entry that may hold JSON, where all others hold text.
const DOCUMENT: [&str; 3] = ["data", "payload", "json"];
/// What is kept of the words that say why something is a dead letter.
const DETAIL_BYTES: usize = check::REASON_BYTES;

/// How items are understood.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) rules: Vec<IngestRule>,
    pub(super) max_payload_bytes: usize,
    pub(super) dead_letter_lane: String,
}

/// What an item means.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// A task; one with `dead` is a dead letter.
    Task(TaskSpec),
    /// A session begins.
    Create(NewSession),
    /// Its metadata change.
    Update(SessionId, UpdateSession),
    /// It ends.
    End(SessionId, EndSession),
}

impl Meaning {
    /// The event, if it is one about a session.
    pub(super) fn session_event(&self) -> &'static str {
        match self {
            Self::Task(_) => "",
            Self::Create(_) => "session:create",
            Self::Update(..) => "session:update",
            Self::End(..) => "session:end",
        }
    }
}

/// Why an item cannot be understood; and the event, if that is known.
#[derive(Debug, Default)]
struct Unfit {
    why: String,
    event: Option<String>,
}

impl From<String> for Unfit {
    fn from(why: String) -> Self {
        Self { why, event: None }
    }
}

impl Mapping {
    /// What an item of this source means. `kind` and `source` are for its dead letter.
    pub(super) fn understand(&self, kind: &str, source: &str, item: &Item) -> Meaning {
        self.read(kind, source, item).unwrap_or_else(|unfit| {
            let event = unfit.event.as_deref().unwrap_or_default();
            Meaning::Task(self.dead(kind, source, item, event, DeadReason::Unparsable, &unfit.why))
        })
    }

    fn read(&self, kind: &str, source: &str, item: &Item) -> Result<Meaning, Unfit> {
        let most = self.max_payload_bytes;
        let too_large =
            |size: usize| format!("it is {size} bytes, and a payload is at most {most} (tasks.max_payload_bytes)");
        if item.size > most {
            return Err(too_large(item.size).into());
        }
        let text = document(&item.content)?;
        let text = text.trim_ascii();
        if text.len() > most {
            return Err(too_large(text.len()).into());
        }
        let not_json = |error: serde_json::Error| format!("it is not JSON: {error}");
        let fields: HashMap<Cow<'_, str>, &RawValue> = if text.starts_with('{') {
            serde_json::from_str(text).map_err(not_json)?
        } else {
            serde_json::from_str::<&RawValue>(text).map_err(not_json)?;
            HashMap::new()
        };
        let event = first(&fields, &EVENT)?;
        let meant = match event.as_deref() {
            Some(event @ ("session:create" | "session:update" | "session:end")) => session(event, &fields),
            event => self.task(kind, source, event, &fields, text, &item.key),
        };
        meant.map_err(|why| Unfit { why, event: event.map(Cow::into_owned) })
    }

    fn task(
        &self,
        kind: &str,
        source: &str,
        event: Option<&str>,
        fields: &HashMap<Cow<'_, str>, &RawValue>,
        text: &str,
        key: &str,
    ) -> Result<Meaning, String> {
        let mut to = Becomes::default();
        if !self.rules.is_empty() {
            let matches = |rule: &&IngestRule| {
                let of_source = rule.source.as_deref().is_none_or(|wanted| rules::is_wanted(wanted, source));
                of_source && rules::is_wanted(&rule.event, event.unwrap_or_default())
            };
            let what = event.map_or_else(|| "no type".to_owned(), |event| format!("event {event:?}"));
            to =
                self.rules.iter().find(matches).map(IngestRule::becomes).ok_or_else(|| {
                    format!("no rule for {what} of {kind} {source:?}: add one to [[ingest.redis.rules]]")
                })?;
        }
        let lane = word(fields, "lane")?;
        to.lane = to.lane.or(lane.as_deref());
        if to.priority.is_none() {
            // A word that nobody knows is the middle one, as it was where these items come from.
            to.priority = word(fields, "priority")?.map(|word| {
                Priority::ALL.into_iter().find(|priority| priority.as_str() == word).unwrap_or(Priority::Normal)
            });
        }
        let named = to.kind.or(event).ok_or("it has no type, and no rule says of which kind it is")?;
        if !(1..=128).contains(&named.len()) {
            return Err(format!("its type is {} bytes: it is 1 to 128", named.len()));
        }
        Ok(Meaning::Task(to.task(named.to_owned(), text.to_owned(), key)))
    }

    /// The dead letter of an item, which holds what it said: as JSON if it is JSON, as a text otherwise.
    pub(super) fn dead(
        &self,
        kind: &str,
        source: &str,
        item: &Item,
        event: &str,
        reason: DeadReason,
        why: &str,
    ) -> TaskSpec {
        let (payload, kept) = self.keep(item);
        let mut detail = format!("{kind} {source:?}, {}: {why}", item.place);
        if kept < item.size {
            detail = format!("only the first {kept} of {} bytes are kept; {detail}", item.size);
        }
        let named = if (1..=128).contains(&event.len()) { event } else { "unparsable" };
        let to = Becomes { lane: Some(&self.dead_letter_lane), ..Becomes::default() };
        let task = to.task(named.to_owned(), payload, &item.key);
        TaskSpec { dead: Some((reason, check::cut(&detail, DETAIL_BYTES).into())), ..task }
    }

    /// A payload that holds the item, and how many bytes of it.
    fn keep(&self, item: &Item) -> (String, usize) {
        let raw = match &item.content {
            Content::Bytes(bytes) => String::from_utf8_lossy(bytes),
            Content::Fields(fields) => {
                let text = |bytes: &Bytes| Value::from(String::from_utf8_lossy(bytes));
                let fields =
                    fields.iter().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), text(value)));
                Cow::from(Value::Object(fields.collect()).to_string())
            }
        };
        // What had to be mended is not what was said.
        let is_as_said = match &item.content {
            Content::Bytes(bytes) => raw.as_bytes() == &bytes[..],
            Content::Fields(_) => true,
        };
        let whole = item.size <= self.max_payload_bytes;
        let trimmed = raw.trim_ascii();
        let fits = whole && trimmed.len() <= self.max_payload_bytes;
        if fits && is_as_said && serde_json::from_str::<&RawValue>(trimmed).is_ok() {
            return (trimmed.to_owned(), item.size);
        }
        // As a text some characters take more room than before, so it may have to be cut more than once.
        let mut room = self.max_payload_bytes.saturating_sub(2);
        loop {
            let kept = check::cut(&raw, room);
            let payload = Value::from(kept).to_string();
            if payload.len() <= self.max_payload_bytes || kept.is_empty() {
                let all = whole && kept.len() == raw.len();
                return (payload, if all { item.size } else { kept.len() });
            }
            room = (kept.len() * self.max_payload_bytes / payload.len()).min(kept.len() - 1);
        }
    }
}

/// The JSON text of an item.
fn document(content: &Content) -> Result<Cow<'_, str>, String> {
    let fields = match content {
        Content::Bytes(bytes) => return utf8(bytes).map(Cow::Borrowed),
        Content::Fields(fields) => fields,
    };
    if let [(name, value)] = fields.as_slice()
        && DOCUMENT.iter().any(|known| known.as_bytes() == &name[..])
        && let Ok(value) = utf8(value)
        && serde_json::from_str::<&RawValue>(value).is_ok()
    {
        return Ok(Cow::Borrowed(value));
    }
    let mut object = Map::new();
    for (name, value) in fields {
        let (name, value) = (utf8(name)?, utf8(value)?);
        let nested = DOCUMENT.contains(&name).then(|| serde_json::from_str::<Value>(value).ok()).flatten();
        let nested = nested.filter(|value| value.is_object() || value.is_array());
        object.insert(name.to_owned(), nested.unwrap_or_else(|| value.into()));
    }
    Ok(Cow::Owned(Value::Object(object).to_string()))
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))
}

/// The text in a field, if it is there and not null.
fn word<'a>(fields: &HashMap<Cow<'_, str>, &'a RawValue>, name: &str) -> Result<Option<Cow<'a, str>>, String> {
    let Some(raw) = fields.get(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
    // Borrowed when nothing in it is escaped.
    let text = serde_json::from_str::<&str>(raw.get()).map(Cow::Borrowed);
    let text = text.or_else(|_| serde_json::from_str::<String>(raw.get()).map(Cow::Owned));
    text.map(Some).map_err(|_| format!("its {name} is not text"))
}

fn first<'a>(fields: &HashMap<Cow<'_, str>, &'a RawValue>, names: &[&str]) -> Result<Option<Cow<'a, str>>, String> {
    for name in names {
        if let Some(found) = word(fields, name)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn session(event: &str, fields: &HashMap<Cow<'_, str>, &RawValue>) -> Result<Meaning, String> {
    let named = first(fields, &SESSION)?.ok_or("its sessionId is missing")?;
    let id = SessionId::new(&named).map_err(|error| format!("its sessionId {named:?} is none: {error}"))?;
    let data = fields.get("data").filter(|raw| raw.get() != "null");
    let data: Map<String, Value> = match data {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| "its data is not an object".to_owned())?,
        None => Map::new(),
    };
    Ok(match event {
        "session:create" => Meaning::Create(NewSession { id: Some(id), metadata: data, idle_timeout_ms: None }),
        "session:update" => Meaning::Update(id, UpdateSession { metadata: data }),
        _ => {
            let text = |name: &str| data.get(name).and_then(Value::as_str);
            let status = text("status").unwrap_or("completed");
            // What is not completed has failed; a word of its own says how.
            let (state, how) = match status {
                "completed" => (SessionState::Completed, None),
                "failed" => (SessionState::Failed, None),
                other => (SessionState::Failed, Some(other)),
            };
            let reason = text("reason").or(how).map(|reason| check::cut(reason, check::REASON_BYTES).to_owned());
            Meaning::End(id, EndSession { status: state, reason })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 200;

    fn mapping(rules: Vec<IngestRule>) -> Mapping {
        Mapping { rules, max_payload_bytes: MOST, dead_letter_lane: "dead".into() }
    }

    fn item(content: Content) -> Item {
        let size = match &content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Fields(fields) => fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
        };
        Item { key: "ingest:k".into(), place: "item 7".into(), size, content }
    }

    fn pushed(bytes: &[u8]) -> Item {
        item(Content::Bytes(Bytes::copy_from_slice(bytes)))
    }

    fn added(fields: &[(&str, &str)]) -> Item {
        let owned = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        item(Content::Fields(fields.iter().map(|(name, value)| (owned(name), owned(value))).collect()))
    }

    /// In one line, so that tables can be read.
    fn told(meaning: &Meaning) -> String {
        match meaning {
            Meaning::Task(TaskSpec { dead: Some((reason, why)), lane, kind, payload, .. }) => {
                assert_eq!(lane.as_deref(), Some("dead"));
                format!("{} {kind} {payload} | {why}", reason.as_str())
            }
            Meaning::Task(task) => {
                assert_eq!(task.idempotency_key.as_deref(), Some("ingest:k"));
                let priority = task.priority.map_or("-", Priority::as_str);
                format!("{} {} {priority} {}", task.lane.as_deref().unwrap_or("-"), task.kind, task.payload)
            }
            Meaning::Create(new) => format!("create {:?} {}", new.id, Value::Object(new.metadata.clone())),
            Meaning::Update(id, update) => format!("update {id} {}", Value::Object(update.metadata.clone())),
            Meaning::End(id, end) => format!("end {id} {} {:?}", end.status.as_str(), end.reason),
        }
    }

    fn meant(mapping: &Mapping, item: &Item) -> String {
        told(&mapping.understand("list", "l", item))
    }

    #[test]
    fn what_existing_programs_push_means_what_it_meant() {
        let cases: &[(&str, &str)] = &[
            (
                r#"{"type":"session:create","sessionId":"sess_1_ab","timestamp":1,"data":{"testRun":true,"phase":20}}"#,
                r#"create Some(sess_1_ab) {"phase":20,"testRun":true}"#,
            ),
            (r#"{"type":"session:create","sessionId":"s"}"#, "create Some(s) {}"),
            (
                r#"{"type":"session:update","sessionId":"s","data":{"eventsProcessed":5}}"#,
                r#"update s {"eventsProcessed":5}"#,
            ),
            (r#"{"type":"session:update","session_id":"s","data":null}"#, "update s {}"),
            (r#"{"type":"session:end","sessionId":"s","data":{"status":"completed"}}"#, "end s completed None"),
            (r#"{"type":"session:end","sessionId":"s"}"#, "end s completed None"),
            (r#"{"type":"session:end","sessionId":"s","data":{"status":"failed"}}"#, "end s failed None"),
            (
                r#"{"type":"session:end","sessionId":"s","data":{"status":"aborted"}}"#,
                r#"end s failed Some("aborted")"#,
            ),
            (
                r#"{"type":"session:end","sessionId":"s","data":{"status":"failed","reason":"x"}}"#,
                r#"end s failed Some("x")"#,
            ),
            (
                r#" {"type":"ci:build","lane":"gpt4","priority":"high","data":{"eventId":1}} "#,
                r#"gpt4 ci:build high {"type":"ci:build","lane":"gpt4","priority":"high","data":{"eventId":1}}"#,
            ),
            (r#"{"type":"ci:test","priority":"urgent"}"#, r#"- ci:test normal {"type":"ci:test","priority":"urgent"}"#),
            (r#"{"type":"t\u0065st","lane":null}"#, r#"- test - {"type":"t\u0065st","lane":null}"#),
            (r#"{"event_type":"node_added","kind":5}"#, r#"- node_added - {"event_type":"node_added","kind":5}"#),
        ];
        for (text, expected) in cases {
            assert_eq!(meant(&mapping(Vec::new()), &pushed(text.as_bytes())), *expected, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_dead_letter_that_says_why_and_where() {
        let cases: &[(&[u8], &str)] = &[
            (
                b"{\"type\":\"x\"}}",
                r#"unparsable unparsable "{\"type\":\"x\"}}" | list "l", item 7: it is not JSON: trailing"#,
            ),
            (b"", r#"unparsable unparsable "" | list "l", item 7: it is not JSON: EOF"#),
            (b"hello", r#"unparsable unparsable "hello" | list "l", item 7: it is not JSON: expected"#),
            (b"\"\xff\"", "unparsable unparsable \"\\\"\u{fffd}\\\"\" | list \"l\", item 7: it is not UTF-8"),
            (b" [1] ", r#"unparsable unparsable [1] | list "l", item 7: it has no type, and no rule"#),
            (br#"{"type":7}"#, r#"unparsable unparsable {"type":7} | list "l", item 7: its type is not text"#),
            (br#"{"type":""}"#, r#"unparsable unparsable {"type":""} | list "l", item 7: its type is 0 bytes"#),
            (
                br#"{"type":"x","lane":1}"#,
                r#"unparsable x {"type":"x","lane":1} | list "l", item 7: its lane is not text"#,
            ),
            (
                br#"{"type":"session:create"}"#,
                r#"unparsable session:create {"type":"session:create"} | list "l", item 7: its sessionId is missing"#,
            ),
            (
                br#"{"type":"session:end","sessionId":"a b"}"#,
                r#"unparsable session:end {"type":"session:end","sessionId":"a b"} | list "l", item 7: its sessionId "a b" is none"#,
            ),
            (
                br#"{"type":"session:update","sessionId":"s","data":[]}"#,
                r#"unparsable session:update {"type":"session:update","sessionId":"s","data":[]} | list "l", item 7: its data is not"#,
            ),
        ];
        for (bytes, expected) in cases {
            let told = meant(&mapping(Vec::new()), &pushed(bytes));
            assert!(told.starts_with(expected), "{}: {told}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_too_large_is_kept_as_far_as_there_is_room() {
        let shown = |size: usize, content: &str| {
            let item = Item { size, ..pushed(content.as_bytes()) };
            let Meaning::Task(task) = mapping(Vec::new()).understand("list", "l", &item) else { panic!("no task") };
            let why = task.dead.expect("it is too large").1.into_string();
            assert!(task.payload.len() <= MOST, "{}", task.payload.len());
            (serde_json::from_str::<String>(&task.payload).expect("a text"), why)
        };
        let (kept, why) = shown(5_000, &"x".repeat(MOST));
        assert_eq!(kept, "x".repeat(MOST - 2));
        assert!(
            why.starts_with("only the first 198 of 5000 bytes are kept; list \"l\", item 7: it is 5000 bytes"),
            "{why}"
        );
        // As a text every one of these takes six bytes.
        let (kept, why) = shown(MOST, &"\u{1}".repeat(MOST));
        assert!((25..=33).contains(&kept.len()), "{}", kept.len());
        assert!(why.contains("of 200 bytes are kept") && why.contains("not JSON"), "{why}");
    }

    #[test]
    fn an_entry_is_the_json_that_it_holds_or_an_object_of_its_fields() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("data", r#"{"type":"a"}"#)], r#"- a - {"type":"a"}"#),
            (&[("payload", r#" {"type":"a","n":1.0} "#)], r#"- a - {"type":"a","n":1.0}"#),
            (
                &[("event_type", "node_added"), ("data", r#"{"node_id":1}"#), ("n", "5")],
                r#"- node_added - {"data":{"node_id":1},"event_type":"node_added","n":"5"}"#,
            ),
            (
                &[("type", "session:create"), ("sessionId", "s"), ("data", r#"{"a":{"b":1}}"#)],
                r#"create Some(s) {"a":{"b":1}}"#,
            ),
            // Text that happens to be a number stays text.
            (&[("type", "a"), ("data", "5")], r#"- a - {"data":"5","type":"a"}"#),
            (
                &[("data", "rubbish")],
                r#"unparsable unparsable {"data":"rubbish"} | list "l", item 7: it has no type, and no rule says of which kind it is"#,
            ),
        ];
        for (fields, expected) in cases {
            assert_eq!(meant(&mapping(Vec::new()), &added(fields)), *expected, "{fields:?}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_says_more_than_the_item() {
        let rule = |source: Option<&str>, event: &str, lane: Option<&str>, kind: Option<&str>| IngestRule {
            source: source.map(Into::into),
            event: event.into(),
            lane: lane.map(Into::into),
            kind: kind.map(Into::into),
            priority: None,
        };
        let mapping = mapping(vec![
            rule(Some("other"), "*", Some("wrong"), None),
            IngestRule { priority: Some(Priority::Low), ..rule(Some("l"), "a", Some("x"), Some("k")) },
            rule(Some("*"), "a", Some("wrong"), None),
            rule(None, "b", None, None),
            rule(None, "*", Some("rest"), Some("anything")),
        ]);
        let cases = [
            (r#"{"type":"a","lane":"y","priority":"high"}"#, "x k low "),
            (r#"{"type":"b","lane":"y","priority":"high"}"#, "y b high "),
            (r#"{"type":"c"}"#, "rest anything - "),
            ("[1]", "rest anything - [1]"),
            (r#"{"type":"session:end","sessionId":"s"}"#, "end s completed None"),
        ];
        for (text, expected) in cases {
            let told = meant(&mapping, &pushed(text.as_bytes()));
            assert!(told.starts_with(expected), "{text}: {told}");
        }
        let told = told(&Mapping { rules: mapping.rules[..4].to_vec(), ..mapping }.understand(
            "list",
            "l",
            &pushed(br#"{"type":"c"}"#),
        ));
        assert!(
            told.ends_with(r#"item 7: no rule for event "c" of list "l": add one to [[ingest.redis.rules]]"#),
            "{told}"
        );
    }
}
