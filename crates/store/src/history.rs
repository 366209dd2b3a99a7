//! History as one: what the store remembers and what the archive keeps, newest first, each thing once, with one cursor. The store wins where
//! both know something: it is never behind.
//!
//! When the archive does not answer, a list has what the store has and says that it is incomplete; a single thing that only the archive
//! could know is [`Error::HistoryAway`], which is something else than not found.

use std::sync::Arc;

use squall_protocol::page::Incomplete;
use squall_protocol::{HistoryPage, SessionId, SessionState, SessionView, TaskId, TaskView};

use crate::archive::{Archive, SessionPlace};
use crate::{Error, ListSessions, ListTasks, Result, Store};

/// Sessions that the store is asked for at a time.
const ASKED_AT_ONCE: usize = 64;

/// What was, wherever it is kept.
#[derive(Clone)]
pub struct History {
    store: Arc<dyn Store>,
    archive: Option<Arc<Archive>>,
}

impl History {
    /// Of this store and its archive; without one, history is what the store remembers.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, archive: Option<Arc<Archive>>) -> Self {
        Self { store, archive }
    }

    /// The archive, if there is one.
    #[must_use]
    pub fn archive(&self) -> Option<&Arc<Archive>> {
        self.archive.as_ref()
    }

    /// Looks a task up.
    ///
    /// # Errors
    /// `NotFound`; `HistoryAway` when only the archive could know it, and does not answer.
    pub async fn task(&self, tenant: Option<&str>, id: TaskId) -> Result<TaskView> {
        match (self.store.task(tenant, id).await, &self.archive) {
            (Err(missing @ Error::NotFound { .. }), Some(archive)) => {
                archive.task(tenant, id).await.map_err(Error::HistoryAway)?.ok_or(missing)
            }
            (known, _) => known,
        }
    }

    /// Looks a session up.
    ///
    /// # Errors
    /// `SessionNotFound`; `HistoryAway` when only the archive could know it, and does not answer.
    pub async fn session(&self, tenant: Option<&str>, id: SessionId) -> Result<SessionView> {
        match (self.store.session(tenant, id.clone()).await, &self.archive) {
            (Err(missing @ Error::SessionNotFound { .. }), Some(archive)) => {
                archive.session(tenant, &id).await.map_err(Error::HistoryAway)?.ok_or(missing)
            }
            (known, _) => known,
        }
    }

    /// Lists finished tasks and dead letters, newest first by id. `cursor`: as the last page gave it.
    ///
    /// # Errors
    /// Those of the store, and `Invalid` for a cursor that no list gave.
    pub async fn tasks(
        &self,
        tenant: Option<&str>,
        mut list: ListTasks,
        cursor: Option<&str>,
    ) -> Result<HistoryPage<TaskView>> {
        list.after = cursor.map(|text| text.parse().map_err(|_| not_a_cursor(text))).transpose()?;
        // One more than fits says whether more follow.
        let wanted = list.limit + 1;
        let (held, kept) = tokio::join!(self.held_tasks(tenant, &list, wanted), async {
            match &self.archive {
                Some(archive) => archive.tasks(tenant, &ListTasks { limit: wanted, ..list.clone() }).await,
                None => Ok(Vec::new()),
            }
        });
        let held = held?;
        let (kept, incomplete) = told(kept);
        let mut all = Vec::with_capacity(held.len() + kept.len());
        let (mut held, mut kept) = (held.into_iter().peekable(), kept.into_iter().peekable());
        while all.len() < wanted {
            let (ours, theirs) = (held.peek().map(|task| task.id), kept.peek().map(|task| task.id));
            let next = if ours >= theirs { held.next() } else { kept.next() };
            if ours == theirs {
                kept.next();
            }
            match next {
                Some(task) => all.push(task),
                None => break,
            }
        }
        let more = all.len() > list.limit;
        all.truncate(list.limit);
        let next = all.last().filter(|_| more).map(|task| task.id.to_string());
        Ok(HistoryPage { items: all, next, incomplete })
    }

    /// Tasks of the store until there are `wanted` or no more; the store looks at so many at a time that nobody has to wait long.
    async fn held_tasks(&self, tenant: Option<&str>, list: &ListTasks, wanted: usize) -> Result<Vec<TaskView>> {
        let (mut found, mut after) = (Vec::new(), list.after);
        loop {
            let limit = wanted - found.len();
            let page = self.store.tasks(tenant, ListTasks { after, limit, ..list.clone() }).await?;
            found.extend(page.items);
            after = page.next;
            if after.is_none() || found.len() >= wanted {
                return Ok(found);
            }
        }
    }

    /// Lists sessions, newest first by creation. `cursor`: as the last page gave it.
    ///
    /// # Errors
    /// Those of the store, and `Invalid` for a cursor that no list gave.
    pub async fn sessions(
        &self,
        tenant: Option<&str>,
        mut list: ListSessions,
        cursor: Option<&str>,
    ) -> Result<HistoryPage<SessionView>> {
        let mut cursor = cursor.map_or(Ok(SessionCursor::default()), SessionCursor::read)?;
        list.after = cursor.held;
        let wanted = list.limit + 1;
        let held =
            async { if cursor.held_ended { Ok(Vec::new()) } else { self.held_sessions(tenant, &list, wanted).await } };
        let (held, kept) = tokio::join!(held, self.kept_sessions(tenant, &list, cursor.kept, wanted));
        let held = held?;
        let (kept, incomplete) = told(kept?);
        let no_more_held = held.len() < wanted;
        let mut all = Vec::with_capacity(wanted);
        let (mut held, mut kept) = (held.into_iter().peekable(), kept.into_iter().peekable());
        let mut more = false;
        loop {
            let (ours, theirs) =
                (held.peek().map(|(_, view)| view.created_at), kept.peek().map(|(_, view)| view.created_at));
            if ours.is_none() && theirs.is_none() {
                break;
            }
            if all.len() == list.limit {
                more = true;
                break;
            }
            if ours >= theirs {
                let Some((place, view)) = held.next() else { break };
                cursor.held = Some(place);
                all.push(view);
            } else {
                let Some((place, view)) = kept.next() else { break };
                cursor.kept = Some(place);
                all.push(view);
            }
        }
        cursor.held_ended |= no_more_held && held.peek().is_none();
        let next = more.then(|| if self.archive.is_some() { cursor.to_string() } else { cursor.of_the_store() });
        Ok(HistoryPage { items: all, next, incomplete })
    }

    async fn held_sessions(
        &self,
        tenant: Option<&str>,
        list: &ListSessions,
        wanted: usize,
    ) -> Result<Vec<(u64, SessionView)>> {
        let (mut found, mut after) = (Vec::new(), list.after);
        loop {
            let limit = wanted - found.len();
            let page = self.store.sessions(tenant, ListSessions { after, limit, ..list.clone() }).await?;
            found.extend(page.items);
            after = page.next;
            if after.is_none() || found.len() >= wanted {
                return Ok(found);
            }
        }
    }

    /// Archived sessions that the store does not know any more: those that it knows are listed where it has them.
    async fn kept_sessions(
        &self,
        tenant: Option<&str>,
        list: &ListSessions,
        after: Option<SessionPlace>,
        wanted: usize,
    ) -> Result<Result<Vec<(SessionPlace, SessionView)>, String>> {
        let Some(archive) = self.archive.as_ref().filter(|_| list.state != Some(SessionState::Active)) else {
            // Those that are active are all in the store.
            return Ok(Ok(Vec::new()));
        };
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            let page = match archive.sessions(tenant, &ListSessions { limit: wanted, ..list.clone() }, after).await {
                Ok(page) => page,
                Err(why) => return Ok(Err(why)),
            };
            let whole = page.len() == wanted;
            after = page.last().map(|(place, _)| *place);
            for some in page.chunks(ASKED_AT_ONCE) {
                let asked = some.iter().map(|(_, view)| self.store.session(None, view.id.clone()));
                let known = futures_util::future::join_all(asked).await;
                for ((place, view), known) in some.iter().zip(known) {
                    let listed = match known {
                        // An id may be used again; when it was created tells one session from the other.
                        Ok(known) => known.created_at == view.created_at,
                        Err(Error::SessionNotFound { .. }) => false,
                        Err(error) => return Err(error),
                    };
                    if !listed && found.len() < wanted {
                        found.push((*place, view.clone()));
                    }
                }
            }
            if !whole || found.len() >= wanted {
                return Ok(Ok(found));
            }
        }
    }
}

fn not_a_cursor(text: &str) -> Error {
    Error::Invalid(format!("{text:?} is not a cursor that a list gave"))
}

/// What the archive has; nothing, and that something is missing, when it does not answer.
fn told<T>(kept: Result<Vec<T>, String>) -> (Vec<T>, Option<Incomplete>) {
    match kept {
        Ok(kept) => (kept, None),
        Err(why) => {
            tracing::debug!("a list is without the archive: {why}");
            (Vec::new(), Some(Incomplete::History))
        }
    }
}

/// Where a list of sessions goes on: in the store, and in the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct SessionCursor {
    held: Option<u64>,
    /// The store has no more.
    held_ended: bool,
    kept: Option<SessionPlace>,
}

impl SessionCursor {
    fn read(text: &str) -> Result<Self> {
        let wrong = || not_a_cursor(text);
        let (held, kept) = text.split_once('~').unwrap_or((text, ""));
        let kept = if kept.is_empty() { None } else { Some(kept.parse().map_err(|()| wrong())?) };
        match held {
            "end" => Ok(Self { held: None, held_ended: true, kept }),
            "" if kept.is_some() => Ok(Self { held: None, held_ended: false, kept }),
            number => Ok(Self { held: Some(number.parse().map_err(|_| wrong())?), held_ended: false, kept }),
        }
    }

    fn of_the_store(&self) -> String {
        self.held.map(|place| place.to_string()).unwrap_or_default()
    }
}

impl std::fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.held_ended, self.held) {
            (true, _) => f.write_str("end")?,
            (false, Some(place)) => write!(f, "{place}")?,
            (false, None) => {}
        }
        f.write_str("~")?;
        self.kept.map_or(Ok(()), |place| write!(f, "{place}"))
    }
}

#[cfg(test)]
mod tests {
    use squall_protocol::{Epoch, Time};

    use super::*;

    #[test]
    fn a_cursor_reads_what_it_writes() {
        let kept = Some(SessionPlace { created_ms: 7, opened: 9, epoch: Epoch::at(Time(5), 7) });
        for (held, held_ended) in [(Some(4), false), (None, true), (None, false)] {
            let cursor = SessionCursor { held, held_ended, kept };
            assert_eq!(SessionCursor::read(&cursor.to_string()).unwrap(), cursor);
        }
        let alone = SessionCursor { held: Some(4), ..SessionCursor::default() };
        assert_eq!(SessionCursor::read(&alone.of_the_store()).unwrap(), alone);
        for bad in ["", "~", "x", "-1", "4~x", "4~1.2", "4~1.2.3"] {
            assert!(matches!(SessionCursor::read(bad), Err(Error::Invalid(_))), "{bad:?}");
        }
    }
}
