//! Writes a batch and the place in the feed that it ends at, in one transaction: after any crash each event is in there once, or not at all.

use std::time::SystemTime;

use squall_protocol::{Epoch, SessionId, SessionState, SessionView, Time};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use super::connect::told;
use super::rows::{Batch, SessionChange, TaskRow, instant, whole};
use crate::Store;

/// Why a batch was not written.
#[derive(Debug)]
pub(super) enum Failure {
    /// PostgreSQL is away, or refuses everything just now.
    Away(String),
    /// It does not take what is in the batch.
    Data(String),
    /// Somebody else moved the cursor: we are not the one who archives any more.
    Overtaken,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let of_the_data = |state: &SqlState| ["22", "23", "54"].iter().any(|class| state.code().starts_with(class));
        let why = told(&error);
        match error.code() {
            Some(state) if of_the_data(state) => Self::Data(why),
            _ => Self::Away(why),
        }
    }
}

/// Events that are missing, to be noted with the batch that follows.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub from: u64,
    pub to: u64,
    pub reason: &'static str,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub tasks: u64,
    pub sessions: u64,
}

/// The last event of this store that is archived; none when nothing ever was.
pub(super) async fn cursor(client: &Client, epoch: Epoch) -> Result<Option<u64>, Failure> {
    let row = client.query_opt("SELECT \"offset\" FROM cursors WHERE epoch = $1", &[&epoch.0]).await?;
    Ok(row.map(|row| u64::try_from(row.get::<_, i64>(0)).unwrap_or(0)))
}

/// Writes what a batch says, notes what is missing before it, and moves the cursor from `at` to its end.
pub(super) async fn write(
    client: &mut Client,
    store: &dyn Store,
    epoch: Epoch,
    at: Option<u64>,
    batch: &Batch,
    missing: &[Missing],
) -> Result<Written, Failure> {
    let transaction = client.transaction().await?;
    let moved = match at {
        Some(at) => {
            let step = "UPDATE cursors SET \"offset\" = $3, updated_at = now() WHERE epoch = $1 AND \"offset\" = $2";
            transaction.execute(step, &[&epoch.0, &whole(at), &whole(batch.last)]).await?
        }
        None => {
            let first = "INSERT INTO cursors (epoch, \"offset\") VALUES ($1, $2) ON CONFLICT (epoch) DO NOTHING";
            transaction.execute(first, &[&epoch.0, &whole(batch.last)]).await?
        }
    };
    if moved != 1 {
        return Err(Failure::Overtaken);
    }
    for one in missing {
        let note = "INSERT INTO gaps (epoch, first_offset, last_offset, reason) VALUES ($1, $2, $3, $4)";
        transaction.execute(note, &[&epoch.0, &whole(one.from), &whole(one.to), &one.reason]).await?;
    }
    let mut written = Written::default();
    if !batch.is_empty() {
        written.tasks = tasks(&transaction, epoch, batch).await?;
        written.sessions = sessions(&transaction, store, epoch, batch).await?;
    }
    transaction.commit().await?;
    Ok(written)
}

const TASKS: &str = "
    INSERT INTO tasks (id, epoch, tenant, lane, kind, priority, state, attempts, session, key, created_at, finished_at, reason, detail)
    SELECT new.id, $1, new.tenant, new.lane, new.kind, new.priority, new.state, new.attempts, new.session, new.key, new.created_at,
           new.finished_at, new.reason, new.detail
    FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[], $9::text[], $10::text[],
                $11::timestamptz[], $12::timestamptz[], $13::text[], $14::text[])
         AS new (id, tenant, lane, kind, priority, state, attempts, session, key, created_at, finished_at, reason, detail)
    ON CONFLICT (id) DO UPDATE SET
        state = excluded.state, attempts = excluded.attempts, finished_at = excluded.finished_at, reason = excluded.reason,
        detail = excluded.detail";

async fn tasks(transaction: &Transaction<'_>, epoch: Epoch, batch: &Batch) -> Result<u64, Failure> {
    let replayed: Vec<Uuid> = batch.tasks.iter().filter(|(_, row)| row.is_none()).map(|(&id, _)| id).collect();
    if !replayed.is_empty() {
        transaction.execute("DELETE FROM tasks WHERE id = ANY($1)", &[&replayed]).await?;
    }
    let mut over: Vec<(Uuid, &TaskRow)> =
        batch.tasks.iter().filter_map(|(&id, row)| Some((id, row.as_ref()?))).collect();
    if over.is_empty() {
        return Ok(0);
    }
    // In the order of their ids they go to the end of the index.
    over.sort_unstable_by_key(|(id, _)| *id);
    fn column<'a, T>(rows: &[(Uuid, &'a TaskRow)], of: impl Fn(&'a TaskRow) -> T) -> Vec<T> {
        rows.iter().map(|(_, row)| of(row)).collect()
    }
    let ids: Vec<Uuid> = over.iter().map(|(id, _)| *id).collect();
    let statement = transaction.prepare(TASKS).await?;
    let rows = transaction
        .execute(
            &statement,
            &[
                &epoch.0,
                &ids,
                &column(&over, |row| row.tenant.as_str()),
                &column(&over, |row| row.lane.as_str()),
                &column(&over, |row| row.kind.as_str()),
                &column(&over, |row| row.priority.as_str()),
                &column(&over, |row| row.state.as_str()),
                &column(&over, |row| row.attempts),
                &column(&over, |row| row.session.as_deref()),
                &column(&over, |row| row.key.as_deref()),
                &column(&over, |row| instant(row.created_at)),
                &column(&over, |row| instant(row.finished_at)),
                &column(&over, |row| row.reason.as_deref()),
                &column(&over, |row| row.detail.as_deref()),
            ],
        )
        .await?;
    Ok(rows)
}

const OPENED: &str = "
    INSERT INTO sessions (epoch, id, opened, tenant, state, created_at, last_activity_at, ended_at, reason, idle_timeout_ms, metadata,
                          published, done, dead, cancelled)
    SELECT $1, new.id, new.opened, new.tenant, new.state, new.created_at, new.active_at, new.ended_at, new.reason, new.idle_timeout_ms,
           new.metadata::json, new.published, new.done, new.dead, new.cancelled
    FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::text[],
                $10::bigint[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])
         AS new (id, opened, tenant, state, created_at, active_at, ended_at, reason, idle_timeout_ms, metadata, published, done, dead,
                 cancelled)
    ON CONFLICT (epoch, id, opened) DO UPDATE SET
        state = excluded.state, last_activity_at = excluded.last_activity_at, ended_at = excluded.ended_at, reason = excluded.reason,
        metadata = excluded.metadata, published = excluded.published, done = excluded.done, dead = excluded.dead,
        cancelled = excluded.cancelled";

/// Of several sessions with the same id the youngest is meant.
const CHANGED: &str = "
    UPDATE sessions AS held SET
        state = coalesce(new.state, held.state), ended_at = coalesce(new.ended_at, held.ended_at),
        reason = coalesce(new.reason, held.reason), metadata = coalesce(new.metadata::json, held.metadata),
        last_activity_at = greatest(new.active_at, held.last_activity_at),
        published = held.published + new.published, done = held.done + new.done, dead = greatest(held.dead + new.dead, 0),
        cancelled = held.cancelled + new.cancelled
    FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::timestamptz[], $8::bigint[], $9::bigint[],
                $10::bigint[], $11::bigint[])
         AS new (id, state, ended_at, reason, metadata, active_at, published, done, dead, cancelled)
    WHERE held.epoch = $1 AND held.id = new.id
      AND held.opened = (SELECT max(other.opened) FROM sessions AS other WHERE other.epoch = $1 AND other.id = new.id)";

async fn sessions(
    transaction: &Transaction<'_>,
    store: &dyn Store,
    epoch: Epoch,
    batch: &Batch,
) -> Result<u64, Failure> {
    let (opened, mut changed): (Vec<_>, Vec<_>) =
        batch.sessions.iter().partition(|(_, change)| change.opened.is_some());
    let mut begun: Vec<NewSession> =
        opened.into_iter().filter_map(|(id, change)| NewSession::begun(id, change)).collect();
    // One that ends, and whose beginning is not in here, began before the archive did, or in a gap. The store may remember it.
    let ended: Vec<&str> =
        changed.iter().filter(|(_, change)| change.ended.is_some()).map(|(id, _)| id.as_str()).collect();
    if !ended.is_empty() {
        let unknown = "SELECT id FROM unnest($2::text[]) AS new (id)
                       WHERE NOT EXISTS (SELECT FROM sessions WHERE epoch = $1 AND sessions.id = new.id)";
        for row in transaction.query(unknown, &[&epoch.0, &ended]).await? {
            let id: String = row.get(0);
            let Some(change) = batch.sessions.get(&id) else { continue };
            let remembered = match SessionId::new(&id) {
                Ok(id) => store.session(None, id).await.ok().filter(|view| view.state != SessionState::Active),
                Err(_) => None,
            };
            changed.retain(|(other, _)| **other != id);
            begun.extend(NewSession::remembered(&id, change, remembered, batch.last));
        }
    }
    let mut rows = insert(transaction, epoch, &begun).await?;
    rows += update(transaction, epoch, &changed).await?;
    Ok(rows)
}

/// A session that is not in the table.
struct NewSession {
    id: String,
    opened: i64,
    created_at: Time,
    idle_timeout_ms: i64,
    change: SessionChange,
}

impl NewSession {
    fn begun(id: &str, change: &SessionChange) -> Option<Self> {
        let (opened, created_at, idle_timeout_ms) = change.opened?;
        Some(Self { id: id.to_owned(), opened, created_at, idle_timeout_ms, change: change.clone() })
    }

    /// From what the store remembers; when it has forgotten it, what is left is that it ended, and how.
    fn remembered(id: &str, change: &SessionChange, view: Option<SessionView>, offset: u64) -> Option<Self> {
        let ended_at = change.ended.as_ref()?.1;
        let mut new = Self {
            id: id.to_owned(),
            opened: whole(offset),
            created_at: ended_at,
            idle_timeout_ms: 0,
            change: change.clone(),
        };
        if let Ok(named) = id.parse::<Uuid>().map(squall_protocol::TaskId)
            && named.0.get_version_num() == 7
        {
            new.created_at = named.time().min(ended_at);
        }
        if let Some(view) = view {
            new.created_at = view.created_at;
            new.idle_timeout_ms = whole(view.idle_timeout_ms);
            let change = &mut new.change;
            change.active_at = Some(view.last_activity_at);
            change.metadata = serde_json::to_string(&view.metadata).ok();
            change.published = whole(view.tasks.published);
            change.done = whole(view.tasks.done);
            change.dead = whole(view.tasks.dead);
            change.cancelled = whole(view.tasks.cancelled);
        }
        Some(new)
    }
}

async fn insert(transaction: &Transaction<'_>, epoch: Epoch, new: &[NewSession]) -> Result<u64, Failure> {
    if new.is_empty() {
        return Ok(0);
    }
    fn column<'a, T>(new: &'a [NewSession], of: impl Fn(&'a NewSession) -> T) -> Vec<T> {
        new.iter().map(of).collect()
    }
    let state = |one: &NewSession| one.change.ended.as_ref().map_or("active", |(state, ..)| state.as_str());
    let rows = transaction
        .execute(
            OPENED,
            &[
                &epoch.0,
                &column(new, |one| one.id.as_str()),
                &column(new, |one| one.opened),
                &column(new, |one| one.change.tenant.as_str()),
                &column(new, state),
                &column(new, |one| instant(one.created_at)),
                &column(new, |one| instant(one.change.active_at.unwrap_or(one.created_at))),
                &column(new, |one| one.change.ended.as_ref().map(|(_, at, _)| instant(*at))),
                &column(new, |one| one.change.ended.as_ref().and_then(|(.., reason)| reason.as_deref())),
                &column(new, |one| one.idle_timeout_ms),
                &column(new, |one| one.change.metadata.as_deref().unwrap_or("{}")),
                &column(new, |one| one.change.published),
                &column(new, |one| one.change.done),
                &column(new, |one| one.change.dead.max(0)),
                &column(new, |one| one.change.cancelled),
            ],
        )
        .await?;
    Ok(rows)
}

async fn update(
    transaction: &Transaction<'_>,
    epoch: Epoch,
    changed: &[(&String, &SessionChange)],
) -> Result<u64, Failure> {
    if changed.is_empty() {
        return Ok(0);
    }
    fn column<'a, T>(rows: &[(&'a String, &'a SessionChange)], of: impl Fn(&'a SessionChange) -> T) -> Vec<T> {
        rows.iter().map(|(_, change)| of(change)).collect()
    }
    let ids: Vec<&str> = changed.iter().map(|(id, _)| id.as_str()).collect();
    let rows = transaction
        .execute(
            CHANGED,
            &[
                &epoch.0,
                &ids,
                &column(changed, |change| change.ended.as_ref().map(|(state, ..)| state.as_str())),
                &column(changed, |change| change.ended.as_ref().map(|(_, at, _)| instant(*at))),
                &column(changed, |change| change.ended.as_ref().and_then(|(.., reason)| reason.as_deref())),
                &column(changed, |change| change.metadata.as_deref()),
                &column(changed, |change| change.active_at.map(instant)),
                &column(changed, |change| change.published),
                &column(changed, |change| change.done),
                &column(changed, |change| change.dead),
                &column(changed, |change| change.cancelled),
            ],
        )
        .await?;
    Ok(rows)
}

/// Rows that one piece of tidying deletes at most, so that it is over soon.
const PIECE: i64 = 5_000;

/// Deletes what ended before an instant, a piece of it; answers how many rows. A session whose end was lost goes by its last sign of life.
pub(super) async fn forget(client: &Client, before: SystemTime) -> Result<u64, Failure> {
    let mut gone = 0;
    for piece in [
        "DELETE FROM tasks WHERE ctid = ANY(ARRAY(SELECT ctid FROM tasks WHERE finished_at < $1 LIMIT $2))",
        "DELETE FROM sessions WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM sessions WHERE coalesce(ended_at, last_activity_at) < $1 AND last_activity_at < $1 LIMIT $2))",
        "DELETE FROM gaps WHERE ctid = ANY(ARRAY(SELECT ctid FROM gaps WHERE noted_at < $1 LIMIT $2))",
    ] {
        gone += client.execute(piece, &[&before, &PIECE]).await?;
    }
    Ok(gone)
}
