//! Finds what is archived.

use squall_protocol::session::SessionTasks;
use squall_protocol::{Epoch, Priority, SessionId, SessionState, SessionView, TaskId, TaskState, TaskView};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Archive;
use super::rows::{instant, time, whole};
use crate::{ListSessions, ListTasks};

/// Where a session stands in the list of archived ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionPlace {
    /// When it was created, milliseconds since the epoch.
    pub created_ms: u64,
    /// The offset of its beginning.
    pub opened: i64,
    /// Of which store.
    pub epoch: Epoch,
}

type Parameter = Box<dyn ToSql + Sync + Send>;

/// A question that is put together: conditions, each with its parameter.
#[derive(Default)]
struct Conditions {
    text: String,
    parameters: Vec<Parameter>,
}

impl Conditions {
    /// `{}` stands for the parameter.
    fn and(&mut self, condition: &str, parameter: impl ToSql + Sync + Send + 'static) {
        self.parameters.push(Box::new(parameter));
        let number = format!("${}", self.parameters.len());
        self.text.push_str(if self.text.is_empty() { " WHERE " } else { " AND " });
        self.text.push_str(&condition.replace("{}", &number));
    }

    fn and_if(&mut self, condition: &str, parameter: Option<impl ToSql + Sync + Send + 'static>) {
        if let Some(parameter) = parameter {
            self.and(condition, parameter);
        }
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.parameters.iter().map(|one| &**one as &(dyn ToSql + Sync)).collect()
    }
}

const TASK: &str = "SELECT id, tenant, lane, kind, priority, state, attempts, session, key, created_at, finished_at, detail FROM tasks";

const SESSION: &str = "
    SELECT epoch, id, opened, tenant, state, created_at, last_activity_at, ended_at, reason, idle_timeout_ms, metadata::text, published,
           done, dead, cancelled
    FROM sessions";

impl Archive {
    async fn rows(&self, text: String, conditions: Conditions) -> Result<Vec<Row>, String> {
        self.shared.readers.ask(async move |client| client.query(&text, &conditions.parameters()).await).await
    }

    /// A finished task.
    ///
    /// # Errors
    /// In words, when PostgreSQL does not answer.
    pub async fn task(&self, tenant: Option<&str>, id: TaskId) -> Result<Option<TaskView>, String> {
        let mut conditions = Conditions::default();
        conditions.and("id = {}", id.0);
        conditions.and_if("tenant = {}", tenant.map(str::to_owned));
        let rows = self.rows(format!("{TASK}{}", conditions.text), conditions).await?;
        rows.first().map(task).transpose()
    }

    /// Finished tasks, newest first by id, at most as many as the list says.
    ///
    /// # Errors
    /// In words, when PostgreSQL does not answer.
    pub async fn tasks(&self, tenant: Option<&str>, list: &ListTasks) -> Result<Vec<TaskView>, String> {
        let mut conditions = Conditions::default();
        conditions.and("id >= {}", list.first().0);
        conditions.and("id < {}", list.end().0);
        conditions.and_if("tenant = {}", tenant.map(str::to_owned));
        conditions.and_if("state = {}", list.state.map(TaskState::as_str));
        conditions.and_if("lane = {}", list.lane.clone());
        conditions.and_if("kind = {}", list.kind.clone());
        conditions.and_if("session = {}", list.session.as_ref().map(|id| id.as_str().to_owned()));
        let text = format!("{TASK}{} ORDER BY id DESC LIMIT {}", conditions.text, list.limit);
        self.rows(text, conditions).await?.iter().map(task).collect()
    }

    /// The youngest session of that id that ended.
    ///
    /// # Errors
    /// In words, when PostgreSQL does not answer.
    pub async fn session(&self, tenant: Option<&str>, id: &SessionId) -> Result<Option<SessionView>, String> {
        let mut conditions = Conditions::default();
        conditions.and("id = {}", id.as_str().to_owned());
        conditions.and_if("tenant = {}", tenant.map(str::to_owned));
        let text = format!("{SESSION}{} AND ended_at IS NOT NULL ORDER BY created_at DESC LIMIT 1", conditions.text);
        let rows = self.rows(text, conditions).await?;
        rows.first().map(session).transpose().map(|found| found.map(|(_, view)| view))
    }

    /// Ended sessions that come after a place, newest first, at most as many as the list says.
    ///
    /// # Errors
    /// In words, when PostgreSQL does not answer.
    pub async fn sessions(
        &self,
        tenant: Option<&str>,
        list: &ListSessions,
        after: Option<SessionPlace>,
    ) -> Result<Vec<(SessionPlace, SessionView)>, String> {
        let mut conditions = Conditions::default();
        conditions.and_if("tenant = {}", tenant.map(str::to_owned));
        conditions.and_if("state = {}", list.state.map(SessionState::as_str));
        conditions.and_if("created_at >= {}", list.since.map(instant));
        conditions.and_if("created_at < {}", list.until.map(instant));
        if let Some(place) = after {
            let created_at = instant(squall_protocol::Time(place.created_ms));
            conditions.and("created_at <= {}", created_at);
            conditions.parameters.push(Box::new(place.opened));
            conditions.parameters.push(Box::new(place.epoch.0));
            let number = conditions.parameters.len();
            conditions.text.push_str(&format!(
                " AND (created_at, opened, epoch) < (${}, ${}, ${number})",
                number - 2,
                number - 1
            ));
        }
        let ended = if conditions.text.is_empty() { " WHERE" } else { " AND" };
        let text = format!(
            "{SESSION}{}{ended} ended_at IS NOT NULL ORDER BY created_at DESC, opened DESC, epoch DESC LIMIT {}",
            conditions.text, list.limit
        );
        self.rows(text, conditions).await?.iter().map(session).collect()
    }
}

fn unreadable(error: &tokio_postgres::Error) -> String {
    format!("a row of the archive cannot be read: {error}")
}

fn task(row: &Row) -> Result<TaskView, String> {
    let read = || -> Result<TaskView, tokio_postgres::Error> {
        let (priority, state): (&str, &str) = (row.try_get(4)?, row.try_get(5)?);
        let states = [TaskState::Done, TaskState::Cancelled, TaskState::Dead];
        let session: Option<&str> = row.try_get(7)?;
        Ok(TaskView {
            id: TaskId(row.try_get(0)?),
            tenant: row.try_get(1)?,
            lane: row.try_get(2)?,
            kind: row.try_get(3)?,
            priority: Priority::ALL.into_iter().find(|one| one.as_str() == priority).unwrap_or_default(),
            state: states.into_iter().find(|one| one.as_str() == state).unwrap_or(TaskState::Done),
            attempts: u32::try_from(row.try_get::<_, i32>(6)?).unwrap_or(0),
            session: session.and_then(|id| SessionId::new(id).ok()),
            key: row.try_get(8)?,
            created_at: time(row.try_get(9)?),
            finished_at: Some(time(row.try_get(10)?)),
            last_error: row.try_get(11)?,
            due_at: None,
            deadline_at: None,
            lease_expires_at: None,
            payload: None,
        })
    };
    read().map_err(|error| unreadable(&error))
}

fn session(row: &Row) -> Result<(SessionPlace, SessionView), String> {
    let read = || -> Result<(SessionPlace, Option<SessionView>), tokio_postgres::Error> {
        let created_at = time(row.try_get(5)?);
        let place = SessionPlace { created_ms: created_at.0, opened: row.try_get(2)?, epoch: Epoch(row.try_get(0)?) };
        let (id, state, metadata): (&str, &str, &str) = (row.try_get(1)?, row.try_get(4)?, row.try_get(10)?);
        let count = |column| row.try_get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0));
        let Ok(id) = SessionId::new(id) else { return Ok((place, None)) };
        let view = SessionView {
            id,
            tenant: row.try_get(3)?,
            state: SessionState::ALL.into_iter().find(|one| one.as_str() == state).unwrap_or(SessionState::Completed),
            created_at,
            last_activity_at: time(row.try_get(6)?),
            expires_at: None,
            ended_at: row.try_get::<_, Option<_>>(7)?.map(time),
            reason: row.try_get(8)?,
            idle_timeout_ms: count(9)?,
            metadata: serde_json::from_str(metadata).unwrap_or_default(),
            tasks: SessionTasks { published: count(11)?, done: count(12)?, dead: count(13)?, cancelled: count(14)? },
        };
        Ok((place, Some(view)))
    };
    match read() {
        Ok((place, Some(view))) => Ok((place, view)),
        Ok((place, None)) => Err(format!("a session of the archive has an id that is none: {place:?}")),
        Err(error) => Err(unreadable(&error)),
    }
}

/// What a place is called in a cursor.
impl std::fmt::Display for SessionPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.created_ms, self.opened, self.epoch)
    }
}

impl std::str::FromStr for SessionPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or(());
        let place = Self {
            created_ms: next()?.parse().map_err(drop)?,
            opened: next()?.parse().map_err(drop)?,
            epoch: next()?.parse().map_err(drop)?,
        };
        Ok(place)
    }
}

/// The limit of a list as PostgreSQL has it.
#[must_use]
pub(super) fn limit(limit: usize) -> i64 {
    whole(limit as u64).clamp(1, 1_000)
}
