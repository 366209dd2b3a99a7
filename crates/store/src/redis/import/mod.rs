//! Writing a whole store into Redis: what an embedded one holds, as the library would have it. `lua/1_context.lua` says what each key
//! is; whoever changes a key there changes it here too. In the order of a move: `claim` takes an empty prefix, `write` fills it
//! (`tasks` is the largest part), `count` counts what is there, and `claim` opens it to gateways.

mod claim;
mod count;
mod tasks;
mod write;

use std::collections::BTreeMap;

use redis::RedisResult;
use squall_protocol::{FeedRecord, SessionState, Time};

pub(crate) use self::claim::{Claim, Refused};
pub(crate) use self::count::count;
pub(crate) use self::tasks::tasks;
pub(crate) use self::write::Writer;
use super::settings::MAX_EXACT;
use crate::core::Core;
use crate::core::session;
use crate::core::state::Session;

/// A time as Lua can count with it.
fn instant(time: Time) -> u64 {
    time.0.min(MAX_EXACT)
}

/// How many tasks of a lane stand where.
#[derive(Clone, Copy, Default)]
struct Tally {
    leased: u64,
    delayed: u64,
    ready: [u64; 3],
}

/// Lanes: their names, pauses, rates and numbers. The shares of the priorities begin anew, as after a start.
async fn lanes(writer: &mut Writer, core: &Core, tallies: &[Tally]) -> RedisResult<()> {
    let state = core.state();
    for ((number, name), tally) in state.lanes.all().iter().enumerate().zip(tallies) {
        writer.add("SADD", "lanes", &**name);
        let lane = state.lane(number as u32);
        if let Some(Some(until)) = lane.paused {
            writer.add("ZADD", "resume", (instant(until), &**name));
        }
        let mut packed = Packed::array(10);
        match lane.paused {
            None => packed.no(),
            Some(until) => packed.number(until.map_or(0, instant)),
        }
        let [high, normal, low] = tally.ready;
        for number in [tally.leased, tally.delayed, lane.tat_ns.div_ceil(1_000), 0, 0, 0, high, normal, low] {
            packed.number(number);
        }
        let mut set = writer.command("SET", &format!("lane:{name}"));
        set.arg(packed.bytes());
        writer.push(set, 100);
        writer.room().await?;
    }
    Ok(())
}

/// Sessions, active and ended, and how many slots each tenant has taken.
pub(crate) async fn sessions(writer: &mut Writer, core: &Core) -> RedisResult<()> {
    let state = core.state();
    let mut slots: BTreeMap<u32, u64> = BTreeMap::new();
    for (id, held) in state.sessions_before(u64::MAX) {
        let tenant = state.tenants.name(held.tenant);
        writer.add("ZADD", "sessions", (held.seq, id.as_str()));
        if held.state == SessionState::Active {
            let at = instant(session::expires_at(held.last_activity_at, held.idle_timeout_ms));
            writer.add("ZADD", "idle", (at, id.as_str()));
            *slots.entry(held.tenant).or_default() += 1;
        }
        let mut set = writer.command("HSET", &format!("session:{id}"));
        session_fields(&mut set, held, &tenant);
        writer.push(set, 300 + held.metadata.len());
        writer.room().await?;
    }
    for id in state.ended() {
        writer.add("RPUSH", "ended", id.as_str());
        writer.room().await?;
    }
    for (tenant, count) in slots {
        let tenant = state.tenants.name(tenant);
        writer.add("HSET", "slots", (&*tenant, count));
    }
    Ok(())
}

fn session_fields(set: &mut redis::Cmd, held: &Session, tenant: &str) {
    set.arg("v").arg(1).arg("t").arg(tenant).arg("S").arg(held.state.as_str());
    set.arg("c").arg(instant(held.created_at)).arg("m").arg(instant(held.last_activity_at));
    set.arg("i").arg(held.idle_timeout_ms.min(MAX_EXACT)).arg("M").arg(&*held.metadata).arg("V").arg(1);
    set.arg("n").arg(held.seq);
    if let Some(at) = held.ended_at {
        set.arg("f").arg(instant(at));
    }
    if let Some(reason) = &held.reason {
        set.arg("r").arg(&**reason);
    }
    let tasks = &held.tasks;
    for (field, count) in [("np", tasks.published), ("nd", tasks.done), ("nx", tasks.dead), ("nc", tasks.cancelled)] {
        if count > 0 {
            set.arg(field).arg(count);
        }
    }
}

/// Idempotency keys that still hold at `now`, each until its own end.
pub(crate) async fn idempotency_keys(writer: &mut Writer, core: &Core, now: Time) -> RedisResult<()> {
    let state = core.state();
    for (tenant, key, id, until) in state.idempotency_keys().filter(|(.., until)| *until > now) {
        let tenant = state.tenants.name(tenant);
        let at = format!("idem:{}:{tenant}:{key}", tenant.len());
        let mut set = writer.command("SET", &at);
        set.arg(id.to_string()).arg("PXAT").arg(instant(until));
        writer.push(set, 100 + at.len());
        writer.room().await?;
    }
    Ok(())
}

/// The last numbers that were given, so that the next ones follow.
pub(crate) fn numbers(writer: &mut Writer, core: &Core, head: u64) {
    let [next_seq, next_dead, next_session] = core.state().next_numbers();
    let last = [("seq", next_seq), ("dead-order", next_dead), ("session-seq", next_session), ("offset", head + 1)];
    for (key, next) in last {
        let mut set = writer.command("SET", key);
        set.arg(next.saturating_sub(1));
        writer.push(set, 50);
    }
}

/// Events are dropped by age: what is written says, every so often, how old it was at which offset, as `trim` does.
const MARK_EVERY_MS: u64 = 10_000;

/// Events that go into one entry at most, and their bytes.
const ENTRY: (usize, usize) = (64, 64 << 10);

/// Events, in the order of their offsets.
pub(crate) struct Events {
    /// Those of the next entry: one after the other, of one time.
    entry: Vec<(String, String)>,
    bytes: usize,
    /// The last one's.
    offset: u64,
    time: Time,
    marked: Time,
}

impl Events {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { entry: Vec::new(), bytes: 0, offset: 0, time: Time(0), marked: Time(0) }
    }

    /// Writes one. Its data are what readers were shown until now, to the letter.
    pub(crate) async fn write(&mut self, writer: &mut Writer, event: &FeedRecord) -> RedisResult<()> {
        let full = self.entry.len() >= ENTRY.0 || self.bytes >= ENTRY.1;
        if full || event.time != self.time || event.offset != self.offset + 1 {
            self.close(writer);
        }
        let data = event.data.get().trim();
        let data = data.strip_prefix('{').and_then(|data| data.strip_suffix('}')).unwrap_or_default();
        let tenant = event.tenant.as_deref().unwrap_or_default();
        // Times are in the data already.
        let said = format!("{}\n\n{data}\n{tenant}", event.entity_id);
        self.bytes += said.len() + 60;
        self.entry.push((event.event_type.to_string(), said));
        (self.offset, self.time) = (event.offset, event.time);
        writer.room().await
    }

    /// No more come.
    pub(crate) fn end(mut self, writer: &mut Writer) {
        self.close(writer);
        if self.offset > 0 {
            self.mark(writer);
        }
    }

    fn close(&mut self, writer: &mut Writer) {
        if self.entry.is_empty() {
            return;
        }
        let mut add = writer.command("XADD", "feed");
        add.arg(format!("{}-0", self.offset)).arg("m").arg(self.time.0);
        for (kind, said) in self.entry.drain(..) {
            add.arg(kind).arg(said);
        }
        writer.push(add, std::mem::take(&mut self.bytes) + 60);
        if self.time >= self.marked.plus_ms(MARK_EVERY_MS) {
            self.mark(writer);
        }
    }

    fn mark(&mut self, writer: &mut Writer) {
        self.marked = self.time;
        writer.add("ZADD", "marks", (instant(self.time), self.offset));
    }
}

/// What is kept packed, as the library packs it.
struct Packed(Vec<u8>);

const WRITE: &str = "writing to memory does not fail";

impl Packed {
    fn array(len: u32) -> Self {
        let mut bytes = Vec::with_capacity(64);
        rmp::encode::write_array_len(&mut bytes, len).expect(WRITE);
        Self(bytes)
    }

    /// As a text, whatever it is: Lua knows no other.
    fn text(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        rmp::encode::write_str_len(&mut self.0, text.len() as u32).expect(WRITE);
        self.0.extend_from_slice(text);
    }

    fn number(&mut self, number: u64) {
        rmp::encode::write_uint(&mut self.0, number).expect(WRITE);
    }

    /// Lua's `false`: there is none.
    fn no(&mut self) {
        self.yes_or_no(false);
    }

    fn yes_or_no(&mut self, yes: bool) {
        rmp::encode::write_bool(&mut self.0, yes).expect(WRITE);
    }

    fn maybe(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.number(number),
            None => self.no(),
        }
    }

    fn bytes(self) -> Vec<u8> {
        self.0
    }
}
