//! What gateways and the library say to each other: MessagePack. A command is written once, in the thread of its caller; a batch
//! is the concatenation of what waits.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// A command as the library takes it: an array, its name first.
pub(super) fn command<T: Serialize>(parts: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(parts).expect("what is written are numbers and texts")
}

/// A task as the library takes it.
#[derive(Serialize)]
pub(super) struct NewTask<'a> {
    pub id: String,
    pub lane: &'a str,
    /// 1 high to 3 low; 0: the lane's.
    pub level: u8,
    pub kind: &'a str,
    pub payload: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    pub delay: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idem: Option<&'a str>,
    /// What its events say before the priority: JSON.
    pub label: String,
    /// And after it.
    pub rest: String,
}

/// A settlement as the library takes it.
#[derive(Serialize)]
pub(super) struct NewSettlement<'a> {
    pub id: String,
    pub receipt: String,
    pub verb: &'static str,
    /// Milliseconds; -1: not said.
    pub ms: i64,
    pub reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<u64>,
}

/// Who would take tasks: index, worker or empty, tenant or empty, credit, lanes.
pub(super) type Taker<'a> = (u64, String, &'a str, u32, Vec<&'a str>);

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
    pub takers: Vec<Taker<'a>>,
    /// Leases at most.
    pub budget: usize,
}

impl Envelope<'_> {
    /// The batch as the library takes it.
    pub(super) fn write<'c>(&self, commands: impl ExactSizeIterator<Item = &'c [u8]>) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let write = "writing to memory does not fail";
        rmp::encode::write_map_len(&mut out, 8 + u32::from(self.now.is_some())).expect(write);
        let mut field = |name: &str, value: &dyn Fn(&mut Vec<u8>)| {
            rmp::encode::write_str(&mut out, name).expect(write);
            value(&mut out);
        };
        let text = |text: &str| {
            let text = text.to_owned();
            move |out: &mut Vec<u8>| rmp::encode::write_str(out, &text).expect(write)
        };
        let number = |number: u64| {
            move |out: &mut Vec<u8>| {
                rmp::encode::write_uint(out, number).expect(write);
            }
        };
        field("version", &text(self.version));
        field("gateway", &text(self.gateway));
        field("generation", &number(self.generation));
        field("seed", &number(u64::from(self.seed)));
        field("nonce", &text(self.nonce));
        if let Some(now) = self.now {
            field("now", &number(now));
        }
        field("takers", &|out: &mut Vec<u8>| out.extend(command(&self.takers)));
        field("budget", &number(self.budget as u64));
        rmp::encode::write_str(&mut out, "commands").expect(write);
        rmp::encode::write_array_len(&mut out, commands.len() as u32).expect(write);
        for command in commands {
            out.extend_from_slice(command);
        }
        out
    }
}

/// Something that Lua's `false` stands for the absence of.
#[derive(Debug)]
pub(super) struct Maybe<T>(pub Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<T> {
            Present(T),
            Absent(IgnoredAny),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Present(value) => Self(Some(value)),
            Either::Absent(_) => Self(None),
        })
    }
}

/// A task that was leased.
#[derive(Debug, Deserialize)]
pub(super) struct Leased {
    pub taker: u64,
    pub id: String,
    pub tenant: String,
    pub lane: String,
    pub kind: String,
    pub level: u8,
    pub payload: String,
    pub session: Maybe<String>,
    pub key: Maybe<String>,
    pub created: u64,
    pub deadline: Maybe<u64>,
    pub retry: Maybe<String>,
    pub receipt: String,
    pub attempt: u32,
    pub expires: u64,
}

/// The answer to a batch.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// One for each command.
    pub replies: Vec<rmpv::Value>,
    pub leased: Vec<Leased>,
    /// The time of the batch, Redis's clock.
    pub now: u64,
    /// When something happens by itself at the earliest; -1: nothing will.
    pub wake: i64,
    /// There was more to lease than the budget allowed.
    pub more: bool,
    /// The feed's end.
    pub head: u64,
    /// By lane: three times ten outcomes, and dead letters by reason.
    pub counts: Vec<(String, Vec<u64>, [u64; 4])>,
    /// Refused without a lane, sessions refused, ended three ways, dead letters dropped.
    pub rest: [u64; 6],
}

/// Reads an answer.
pub(super) fn answer(bytes: &[u8]) -> std::result::Result<Answer, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
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
