//! Tasks, and all that stands in an order because of them. What the core's scheduler made of the state at its start is what is
//! written, in the order in which it placed them.

use std::collections::HashSet;

use redis::{Cmd, RedisResult};
use squall_protocol::{Receipt, Time};

use super::write::Writer;
use super::{Packed, Tally, instant};
use crate::config::{Affinity, Lane, OnSessionEnd, Options};
use crate::core::records::level_of;
use crate::core::state::{Phase, Slot, Task};
use crate::core::{Core, Stage, deadline};
use crate::redis::{encode, wire};

/// What a lane's settings say about its keys.
#[derive(Clone, Copy)]
struct Keys {
    /// Its sessions are ordering keys.
    affinity: bool,
    /// The end of a session means something to its tasks.
    with_session: bool,
}

impl Keys {
    fn of(lane: &Lane) -> Self {
        Self { affinity: lane.affinity == Affinity::Session, with_session: lane.on_session_end != OnSessionEnd::Keep }
    }
}

/// All tasks that are not forgotten, and their lanes. `progress` is told how many are written.
pub(crate) async fn tasks(
    writer: &mut Writer,
    core: &Core,
    options: &Options,
    mut progress: impl FnMut(u64),
) -> RedisResult<()> {
    let state = core.state();
    let names = state.lanes.all();
    let fallback = Keys::of(&Lane::default());
    let keys: Vec<Keys> = names.iter().map(|name| options.lanes.get(&**name).map_or(fallback, Keys::of)).collect();
    let mut tallies = vec![Tally::default(); names.len()];
    let mut open: Vec<(Time, u64, Slot)> = Vec::new();
    for (slot, task) in state.tasks() {
        if let Phase::Waiting { due } | Phase::Leased { due, .. } = task.phase {
            open.push((due, task.seq, slot));
        }
    }
    open.sort_unstable();
    let mut written = 0;
    // Who has queued up in a level already: an owner takes turns once, however many tasks it has.
    let mut in_turn = HashSet::new();
    for (_, _, slot) in open {
        let Some(task) = state.task(slot) else { continue };
        let lane = task.lane as usize;
        let placed = Placed { task, keys: keys.get(lane).copied().unwrap_or(fallback), stage: core.stage(slot) };
        if let Some(tally) = tallies.get_mut(lane) {
            match placed.stage {
                Stage::Leased => tally.leased += 1,
                Stage::Delayed => tally.delayed += 1,
                Stage::Blocked | Stage::Eligible => tally.ready[task.body.priority as usize] += 1,
                Stage::Out => {}
            }
        }
        if placed.stage == Stage::Eligible && in_turn.insert((task.lane, task.body.priority, task.tenant)) {
            let key = format!("turn:{}:{}", task.body.lane, placed.level());
            writer.add("RPUSH", &key, placed.owner());
        }
        placed.write(writer);
        written += 1;
        progress(written);
        writer.room().await?;
    }
    super::lanes(writer, core, &tallies).await?;
    for (order, _, task) in state.dead_after(0) {
        let Phase::Dead { reason, at, .. } = task.phase else { continue };
        let id = task.body.id.to_string();
        let place = Place { letter: "x", stage: "", owner: "", due: 0 };
        let mut set = fields(writer, task, &identity_of(task), &place);
        set.arg("f").arg(instant(at)).arg("dr").arg(reason.as_str()).arg("do").arg(order);
        set.arg("dd").arg(task.history.as_ref().map_or("", |history| &*history.detail));
        writer.push(set, size_of(task));
        writer.add("ZADD", "dead", (order, &id));
        writer.add("RPUSH", &format!("queue:{}:dlq", task.body.lane), &id);
        written += 1;
        progress(written);
        writer.room().await?;
    }
    for task in state.finished().filter_map(|slot| state.task(slot)) {
        let (letter, at) = match task.phase {
            Phase::Done { at } => ("d", at),
            Phase::Cancelled { at } => ("c", at),
            _ => continue,
        };
        let mut packed = Packed::array(8);
        packed.text(identity_of(task));
        packed.text(letter);
        packed.number(instant(task.body.created_at));
        packed.number(task.seq);
        packed.maybe(task.body.deadline_at.map(instant));
        packed.number(u64::from(task.attempts));
        packed.number(instant(at));
        match task.history.as_ref().and_then(|history| history.failures.back()) {
            Some((_, _, why)) => packed.text(&**why),
            None => packed.no(),
        }
        let id = task.body.id.to_string();
        writer.add("HSET", "finished", (&id, packed.bytes()));
        writer.add("RPUSH", "done", &id);
        written += 1;
        progress(written);
        writer.room().await?;
    }
    Ok(())
}

/// A task that waits or is leased, and where it stands.
struct Placed<'a> {
    task: &'a Task,
    keys: Keys,
    stage: Stage,
}

impl Placed<'_> {
    /// 1 high to 3 low.
    fn level(&self) -> u8 {
        level_of(self.task.body.priority) + 1
    }

    fn owner(&self) -> String {
        format!("t:{}", self.task.body.tenant)
    }

    /// What orders it: its session, where sessions have workers of their own, or its key.
    fn flow(&self) -> Option<String> {
        let body = &self.task.body;
        let (kind, text) = match (&body.session, &body.key) {
            (Some(session), _) if self.keys.affinity => ('s', session.as_str()),
            (_, Some(key)) => ('k', &**key),
            _ => return None,
        };
        Some(format!("flow:{}:{kind}:{}:{}:{text}", body.lane, body.tenant.len(), body.tenant))
    }

    fn write(&self, writer: &mut Writer) {
        let Self { task, .. } = *self;
        let (id, lane, level) = (task.body.id.to_string(), &*task.body.lane, self.level());
        if let Some(flow) = self.flow() {
            writer.add("ZADD", &flow, (task.seq, &id));
        }
        if let Some(session) = task.body.session.as_ref().filter(|_| self.keys.with_session) {
            writer.add("ZADD", &format!("session-tasks:{session}"), (task.seq, &id));
        }
        if let Some(at) = deadline(task) {
            writer.add("ZADD", "deadlines", (instant(at), &id));
        }
        let due = match task.phase {
            Phase::Waiting { due } | Phase::Leased { due, .. } => instant(due),
            _ => 0,
        };
        let stage = match self.stage {
            Stage::Delayed => "d",
            Stage::Blocked => "b",
            Stage::Leased | Stage::Eligible | Stage::Out => "e",
        };
        let owner = if self.stage == Stage::Eligible { self.owner() } else { String::new() };
        let identity = identity_of(task);
        if let Phase::Leased { receipt, expires, .. } = task.phase {
            writer.add("ZADD", "leases", (instant(expires), &id));
            // Held by whoever has the receipt: leases of connections were returned with the start.
            let mut lease = Packed::array(10);
            lease.text("");
            lease.text(Receipt(receipt).to_string());
            lease.number(instant(expires));
            lease.number(u64::from(task.attempts));
            lease.text(&identity);
            lease.number(instant(task.body.created_at));
            lease.number(task.seq);
            lease.maybe(task.body.deadline_at.map(instant));
            lease.number(due);
            lease.yes_or_no(was_replayed(task));
            writer.add("HSET", "held", (&id, lease.bytes()));
        }
        let place = Place { letter: "w", stage, owner: &owner, due };
        let set = fields(writer, task, &identity, &place);
        writer.push(set, size_of(task));
        match self.stage {
            Stage::Delayed => writer.add("ZADD", "due", (due, &id)),
            Stage::Blocked | Stage::Eligible => {
                let name = task.body.priority.as_str();
                writer.add("RPUSH", &format!("queue:{lane}:{name}"), due);
                if self.flow().is_some() {
                    writer.add("ZADD", &format!("keyed:{lane}:{level}"), (due, &id));
                }
            }
            Stage::Leased | Stage::Out => {}
        }
        if self.stage == Stage::Eligible {
            let member = format!("{:013}{id}", task.seq);
            let key = format!("order:{lane}:{level}:{owner}");
            writer.add("ZADD", &key, (due, member));
        }
    }
}

fn identity_of(task: &Task) -> Vec<u8> {
    let body = &task.body;
    wire::pack(&encode::identity(
        (&body.tenant, &body.lane, body.priority),
        (&body.kind, body.session.as_ref(), body.key.as_deref()),
        body.retry.as_ref(),
    ))
}

fn was_replayed(task: &Task) -> bool {
    task.history.as_ref().is_some_and(|history| !history.replays.is_empty())
}

/// Where a task is, as it says itself.
struct Place<'a> {
    letter: &'static str,
    stage: &'static str,
    owner: &'a str,
    due: u64,
}

/// What every task has that is not finished.
fn fields(writer: &Writer, task: &Task, identity: &[u8], place: &Place<'_>) -> Cmd {
    let body = &task.body;
    let mut moving = Packed::array(9);
    moving.text(place.letter);
    moving.number(instant(body.created_at));
    moving.number(task.seq);
    moving.maybe(body.deadline_at.map(instant));
    moving.text(place.stage);
    moving.text(place.owner);
    moving.number(place.due);
    // A task that is leased keeps what it was before: its lease knows of this attempt.
    moving.number(u64::from(task.attempts).saturating_sub(u64::from(matches!(task.phase, Phase::Leased { .. }))));
    moving.yes_or_no(was_replayed(task));
    let mut set = writer.command("HSET", &format!("task:{}", body.id));
    set.arg("i").arg(identity).arg("m").arg(moving.bytes()).arg("y").arg(&*body.payload);
    if let Some(history) = &task.history {
        let failures: Vec<_> = history.failures.iter().map(|(attempt, at, why)| (attempt, instant(*at), why)).collect();
        if !failures.is_empty() {
            set.arg("h").arg(serde_json::json!(failures).to_string());
        }
        let replays: Vec<_> = history.replays.iter().map(|(at, by)| (instant(*at), by)).collect();
        if !replays.is_empty() {
            set.arg("R").arg(serde_json::json!(replays).to_string());
        }
    }
    set
}

fn size_of(task: &Task) -> usize {
    let history = task.history.as_ref().map_or(0, |history| 100 * (history.failures.len() + history.replays.len()));
    400 + task.body.payload.len() + 2 * task.body.kind.len() + history
}
