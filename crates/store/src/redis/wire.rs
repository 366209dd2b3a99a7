//! What gateways and the library say to each other: MessagePack. A command is written once, in the thread of its caller, and is an
//! argument of the batch that takes it.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeOwned, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// Why packing does not fail.
const WRITES: &str = "what is written are numbers and texts";

/// A command as the library takes it: its name and its arguments, packed in a row.
pub(super) fn command<T: Serialize>(parts: &T) -> Vec<u8> {
    row(parts)
}

/// A tuple's parts in a row, without the array around them: the library makes a value of each at once, and of an array a table first.
fn row<T: Serialize>(parts: &T) -> Vec<u8> {
    let mut out = rmp_serde::to_vec_named(parts).expect(WRITES);
    // An array of up to fifteen is one byte and what is in it.
    assert_eq!(out.first().map(|byte| byte & 0xf0), Some(0x90), "a row is written from a tuple of up to fifteen");
    out.remove(0);
    out
}

/// Appends something packed, as a text, though it is none: Lua knows no other.
fn append_packed(out: &mut Vec<u8>, packed: &[u8]) {
    rmp::encode::write_str_len(out, packed.len() as u32).expect(WRITES);
    out.extend_from_slice(packed);
}

/// What never changes of a task, packed as it is kept: the library looks into it, and gives it back as it is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Identity<'a> {
    pub tenant: Cow<'a, str>,
    /// Empty: the task has nowhere to go.
    pub lane: Cow<'a, str>,
    /// 1 high to 3 low.
    pub level: u8,
    pub kind: Cow<'a, str>,
    pub session: Option<Cow<'a, str>>,
    pub key: Option<Cow<'a, str>>,
    /// What it says of retries itself: JSON.
    pub retry: Option<String>,
    /// What its events say of it: JSON, without the braces.
    pub label: String,
}

/// A task as the library takes it.
pub(super) struct NewTask<'a> {
    pub id: String,
    pub identity: Identity<'a>,
    pub payload: &'a str,
    pub delay: u64,
    pub deadline: Option<u64>,
    pub idempotency_key: Option<&'a str>,
    /// The lane that was asked for, for a refusal.
    pub asked: &'a str,
    /// Why it is a dead letter at once, and in words.
    pub dead: Option<(&'static str, &'a str)>,
}

impl NewTask<'_> {
    /// In a row. Most need none of what follows the payload, and it is left out.
    fn append_to(&self, out: &mut Vec<u8>) {
        append(out, &self.id);
        append_packed(out, &pack(&self.identity));
        append(out, self.payload);
        let plain = self.delay == 0
            && self.deadline.is_none()
            && self.idempotency_key.is_none()
            && self.dead.is_none()
            && !self.identity.lane.is_empty();
        if plain {
            return;
        }
        append(out, &self.delay);
        append(out, &self.deadline);
        append(out, &self.idempotency_key);
        append(out, self.asked);
        append(out, &self.dead);
    }
}

/// Publishing these tasks, as the library takes it. One is answered with its answer, several with a list of answers.
pub(super) fn publish<'a>(tenant: &str, mut tasks: impl ExactSizeIterator<Item = NewTask<'a>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1_024);
    if tasks.len() == 1
        && let Some(task) = tasks.next()
    {
        append(&mut out, "publish_one");
        append(&mut out, tenant);
        task.append_to(&mut out);
        return out;
    }
    append(&mut out, "publish");
    append(&mut out, tenant);
    rmp::encode::write_array_len(&mut out, tasks.len() as u32).expect(WRITES);
    let mut packed = Vec::with_capacity(1_024);
    for task in tasks {
        packed.clear();
        task.append_to(&mut packed);
        append_packed(&mut out, &packed);
    }
    out
}

/// Writes a value behind what is written.
fn append<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    rmp_serde::encode::write_named(out, value).expect(WRITES);
}

/// Packs what is kept packed: an array, without names.
pub(super) fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec(value).expect(WRITES)
}

/// A settlement as the library takes it, beside its id: verb, receipt, milliseconds or -1, reason, how long to pause the lane.
pub(super) type NewSettlement<'a> = (&'static str, String, i64, &'a str, Option<u64>);

/// These settlements, as the library takes them. `worker`: or empty.
pub(super) fn settle(scope: &str, worker: &str, ids: &[String], settlements: &[NewSettlement<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    append(&mut out, "settle");
    append(&mut out, scope);
    append(&mut out, worker);
    append(&mut out, ids);
    rmp::encode::write_array_len(&mut out, settlements.len() as u32).expect(WRITES);
    for settlement in settlements {
        append_packed(&mut out, &row(settlement));
    }
    out
}

/// Who would take tasks: worker or empty, tenant or empty, credit, lanes.
pub(super) type Taker<'a> = (String, &'a str, u32, Vec<&'a str>);

/// What stands around the commands of a batch.
pub(super) struct Envelope<'a> {
    pub version: &'a str,
    pub gateway: &'a str,
    /// Counts the gateway's connections.
    pub generation: u64,
    /// 1 to 2^31 - 2.
    pub seed: u32,
    /// Twelve hexadecimal digits: the first of the sixteen of each receipt.
    pub nonce: &'a str,
    /// Tests own the time; otherwise it is Redis's.
    pub now: Option<u64>,
    /// A sign of life to the other gateways is due.
    pub alive: bool,
    /// The feed's end as this gateway knows it; a Redis that is behind it has lost what it had.
    pub head: u64,
    /// Those that it will probably touch, to be read at once.
    pub lanes: Vec<&'a str>,
    pub takers: Vec<Taker<'a>>,
    /// Leases at most.
    pub budget: usize,
}

impl Envelope<'_> {
    /// As the library takes it, in front of the commands. Who asks is packed once more, because it is looked into only the first time.
    /// Many need none of what follows the seed, and it is left out.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        // The generation as it is kept: mostly it only has to be the same.
        append_packed(&mut out, &row(&(self.version, self.gateway, self.generation.to_string(), &self.lanes)));
        append(&mut out, &self.head);
        append(&mut out, &self.seed);
        if !self.alive && self.takers.is_empty() && self.now.is_none() {
            return out;
        }
        append(&mut out, &self.alive);
        append(&mut out, self.nonce);
        if self.takers.is_empty() {
            append(&mut out, &None::<u64>);
        } else {
            rmp::encode::write_array_len(&mut out, self.takers.len() as u32).expect(WRITES);
        }
        for taker in &self.takers {
            append_packed(&mut out, &row(taker));
        }
        append(&mut out, &self.budget);
        append(&mut out, &self.now);
        out
    }
}

/// Something that Lua's `false` stands for the absence of.
#[derive(Debug)]
pub(super) struct Maybe<T>(pub Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        /// A number or an array, the only ones that are ever absent.
        struct IfThere<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for IfThere<T> {
            type Value = Option<T>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("false, a number or an array")
            }

            fn visit_bool<E: serde::de::Error>(self, _: bool) -> std::result::Result<Option<T>, E> {
                Ok(None)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> std::result::Result<Option<T>, E> {
                T::deserialize(number.into_deserializer()).map(Some)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> std::result::Result<Option<T>, A::Error> {
                T::deserialize(SeqAccessDeserializer::new(seq)).map(Some)
            }
        }
        deserializer.deserialize_any(IfThere(PhantomData)).map(Self)
    }
}

/// A table of Lua's, which is an array to MessagePack when there is nothing in it.
#[derive(Debug)]
pub(super) struct Table<K, V>(pub Vec<(K, V)>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Table<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
            type Value = Vec<(K, V)>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0));
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Self::Value, A::Error> {
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(Vec::new()),
                    Some(_) => Err(serde::de::Error::custom("a list where a table belongs")),
                }
            }
        }
        deserializer.deserialize_any(Entries(PhantomData)).map(Self)
    }
}

/// A task that was leased.
#[derive(Debug, Deserialize)]
pub(super) struct Leased {
    /// Its place among the takers.
    pub taker: usize,
    pub id: String,
    #[serde(deserialize_with = "packed")]
    pub identity: Identity<'static>,
    pub payload: String,
    pub created: u64,
    pub deadline: Maybe<u64>,
    pub receipt: String,
    pub attempt: u32,
    pub expires: u64,
}

/// Something that is packed once more: for MessagePack a text, though it is none.
fn packed<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> std::result::Result<T, D::Error> {
    struct Packed<T>(PhantomData<T>);
    impl<T: DeserializeOwned> Visitor<'_> for Packed<T> {
        type Value = T;

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("something packed")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<T, E> {
            self.visit_bytes(text.as_bytes())
        }

        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> std::result::Result<T, E> {
            rmp_serde::from_slice(bytes).map_err(E::custom)
        }
    }
    deserializer.deserialize_bytes(Packed(PhantomData))
}

/// The answer to a batch.
#[derive(Debug)]
pub(super) struct Answer {
    /// The time of the batch, Redis's clock.
    pub now: u64,
    /// When something happens by itself at the earliest; -1: nothing will.
    pub wake: i64,
    /// The feed's end.
    pub head: u64,
    pub counts: Counts,
    pub rest: Rest,
    /// One for each command.
    pub replies: Vec<rmpv::Value>,
}

/// How often: lane, ten times the level and the outcome, times.
#[derive(Debug, Default)]
pub(super) struct Counts(pub Vec<(String, u8, u64)>);

/// What most answers have nothing to say of.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Rest {
    pub leased: Vec<Leased>,
    /// There was more to lease than the budget allowed.
    pub more: bool,
    /// Dead letters by lane and reason.
    pub died: Table<String, Table<String, u64>>,
    /// The rest of what is counted, by name.
    pub tally: Table<String, u64>,
    /// The other gateways had not known this one, or had taken it for gone.
    pub new: bool,
    /// Redis had lost events that this gateway knows of.
    pub set_back: bool,
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InTurn;
        impl<'de> Visitor<'de> for InTurn {
            type Value = Counts;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("lanes, outcomes and numbers in turn")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Counts, A::Error> {
                let mut counts = Vec::with_capacity(seq.size_hint().unwrap_or(0) / 3);
                while let Some(lane) = seq.next_element()? {
                    counts.push((lane, part(&mut seq, "an outcome")?, part(&mut seq, "a number")?));
                }
                Ok(Counts(counts))
            }
        }
        deserializer.deserialize_seq(InTurn)
    }
}

/// The next part, which has to be there.
fn part<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(seq: &mut A, what: &str) -> std::result::Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| serde::de::Error::custom(format_args!("{what} is missing")))
}

/// Reads an answer: the time, when to wake, the feed's end, what is counted, the rest or `false`, and the replies.
pub(super) fn answer(mut bytes: &[u8]) -> std::result::Result<Answer, rmp_serde::decode::Error> {
    let parts = rmp::decode::read_array_len(&mut bytes)?;
    let from = &mut rmp_serde::Deserializer::from_read_ref(bytes);
    Ok(Answer {
        now: Deserialize::deserialize(&mut *from)?,
        wake: Deserialize::deserialize(&mut *from)?,
        head: Deserialize::deserialize(&mut *from)?,
        counts: Deserialize::deserialize(&mut *from)?,
        rest: Maybe::deserialize(&mut *from)?.0.unwrap_or_default(),
        replies: (5..parts).map(|_| Deserialize::deserialize(&mut *from)).collect::<std::result::Result<_, _>>()?,
    })
}

/// A lane as the library shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Lane {
    pub name: String,
    pub paused: bool,
    /// Until when; 0: until it is resumed, or not at all.
    pub until: u64,
    pub ready: [u64; 3],
    pub delayed: u64,
    pub leased: u64,
    pub oldest_ms: [u64; 3],
    pub dead: u64,
    pub concurrency: u32,
    pub max_depth: u64,
    pub workers: u64,
}

/// Reads a reply that is `[1, …]`, or the error that it is instead.
pub(super) fn read<T: for<'de> Deserialize<'de>>(reply: &rmpv::Value) -> Result<T> {
    refused(reply)?;
    decode(reply)
}

/// Reads any reply that is not a refusal.
pub(super) fn decode<T: for<'de> Deserialize<'de>>(reply: &rmpv::Value) -> Result<T> {
    rmpv::ext::from_value(reply.clone()).map_err(|error| unreadable(&error))
}

/// An answer of the library that makes no sense: a defect.
pub(super) fn unreadable(error: &dyn std::fmt::Display) -> Error {
    Error::Unavailable(format!("Redis answered what this version does not understand: {error}"))
}

/// The error that a reply is, if it is `[0, code, …]`.
pub(super) fn refused(reply: &rmpv::Value) -> Result<()> {
    let Some(parts) = reply.as_array() else { return Ok(()) };
    if parts.first().and_then(rmpv::Value::as_u64) != Some(0) {
        return Ok(());
    }
    let text = |at: usize| parts.get(at).and_then(rmpv::Value::as_str).unwrap_or_default().to_owned();
    let number = |at: usize| parts.get(at).and_then(rmpv::Value::as_u64).unwrap_or_default();
    Err(match &*text(1) {
        "unknown_lane" => Error::UnknownLane { lane: text(2) },
        "lane_full" => Error::LaneFull { lane: text(2), max_depth: number(3), retry_after_ms: 1_000 },
        "not_found" => Error::NotFound { what: if text(2) == "task" { "task" } else { "dead letter" }, id: text(3) },
        "not_cancellable" => Error::NotCancellable { id: text(2), state: task_state(&text(3)) },
        "not_held" => Error::NotHeld {
            id: text(2),
            why: match number(3) {
                1 => "it is done",
                2 => "it was cancelled",
                3 => "it is among the dead letters",
                4 => "the lease expired or was given back",
                5 => "somebody else holds it",
                _ => "there is no such task, or it was finished long ago",
            },
        },
        "session_not_found" => Error::SessionNotFound { id: text(2) },
        "session_exists" => Error::SessionExists { id: text(2) },
        "session_ended" => Error::SessionEnded { id: text(2), state: session_state(&text(3)) },
        "session_limit" => Error::SessionLimit {
            limit: number(2),
            of: if text(3) == "tenant" { "of this tenant" } else { "of this gateway" },
            retry_after_ms: number(4),
        },
        "replay_limit" => Error::ReplayLimit { id: text(2), times: number(3) as u32 },
        code => unreadable(&format!("the code {code:?}")),
    })
}

/// Whether the caller was too slow and has to read again.
pub(super) fn is_stale(reply: &rmpv::Value) -> bool {
    decode::<(u64, String, IgnoredAny)>(reply).is_ok_and(|(kind, code, _)| kind == 0 && code == "stale")
        || decode::<(u64, String)>(reply).is_ok_and(|(kind, code)| kind == 0 && code == "stale")
}

fn task_state(letter: &str) -> &'static str {
    match letter {
        "l" => "leased",
        "d" => "done",
        "c" => "cancelled",
        _ => "dead",
    }
}

fn session_state(name: &str) -> &'static str {
    match name {
        "completed" => "completed",
        "failed" => "failed",
        _ => "timed_out",
    }
}
