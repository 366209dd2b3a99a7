//! The storm's runs: written once each when they are over, and found again. What a record looks like is the storm's business.

use std::time::Duration;

use squall_protocol::Time;
use tokio_postgres::Row;

use super::migrate::{self, MIGRATIONS};
use super::read::limit;
use super::rows::{clean, instant, time};
use super::{Archive, address, connect};
use crate::config;

/// Writing a run may take so long, connecting and migrating included.
const PATIENCE: Duration = Duration::from_secs(30);

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its name; a run that is written again replaces itself.
    pub id: String,
    /// What was played.
    pub scenario: String,
    /// `passed`, `failed` …; none for one that was not judged.
    pub verdict: Option<String>,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// `run.json`. Lists leave it out.
    pub record: Option<String>,
}

/// Writes a run, making the tables if they are not there.
///
/// # Errors
/// In words, without secrets.
pub async fn write(config: &config::Archive, run: &Run) -> Result<(), String> {
    super::check(config)?;
    let address = address::read(&config.url, &config.ca_file, Duration::from_millis(config.timeout_ms))?;
    let writing = async {
        let mut connection = connect::connect(&address, &config.schema, PATIENCE).await?;
        migrate::migrate(&mut connection.client, &config.schema, MIGRATIONS).await?;
        let insert = "
            INSERT INTO runs (id, scenario, verdict, started_at, finished_at, record) VALUES ($1, $2, $3, $4, $5, $6::text::json)
            ON CONFLICT (id) DO UPDATE SET scenario = excluded.scenario, verdict = excluded.verdict, started_at = excluded.started_at,
                finished_at = excluded.finished_at, record = excluded.record";
        let (started_at, finished_at) = (instant(run.started_at), run.finished_at.map(instant));
        let record = run.record.as_deref().unwrap_or("null");
        let (id, scenario) = (clean(&run.id), clean(&run.scenario));
        let written = connection
            .client
            .execute(insert, &[&id, &scenario, &run.verdict, &started_at, &finished_at, &record])
            .await;
        written.map(drop).map_err(|error| connect::told(&error))
    };
    let written = tokio::time::timeout(PATIENCE, writing).await;
    let written = written.unwrap_or_else(|_| Err(format!("it took longer than {} s", PATIENCE.as_secs())));
    written.map_err(|why| format!("{}: {why}", address.shown))
}

impl Archive {
    /// Runs that began before `before`, newest first, without their records.
    ///
    /// # Errors
    /// In words, when PostgreSQL does not answer.
    pub async fn runs(
        &self,
        scenario: Option<&str>,
        after: Option<(Time, &str)>,
        most: usize,
    ) -> Result<Vec<Run>, String> {
        let text = "
            SELECT id, scenario, verdict, started_at, finished_at, NULL::text FROM runs
            WHERE ($1::text IS NULL OR scenario = $1) AND ($2::timestamptz IS NULL OR (started_at, id) < ($2, $3))
            ORDER BY started_at DESC, id DESC LIMIT $4";
        let (at, id) = (after.map(|(at, _)| instant(at)), after.map(|(_, id)| id.to_owned()));
        let scenario = scenario.map(str::to_owned);
        let rows = self
            .shared
            .readers
            .ask(async move |client| client.query(text, &[&scenario, &at, &id, &limit(most)]).await)
            .await?;
        rows.iter().map(run).collect()
    }

    /// One run, with its record.
    ///
    /// # Errors
    /// In words, when PostgreSQL does not answer.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, String> {
        let text = "SELECT id, scenario, verdict, started_at, finished_at, record::text FROM runs WHERE id = $1";
        let id = clean(id);
        let found = self.shared.readers.ask(async move |client| client.query_opt(text, &[&id]).await).await?;
        found.as_ref().map(run).transpose()
    }
}

fn run(row: &Row) -> Result<Run, String> {
    let read = || -> Result<Run, tokio_postgres::Error> {
        Ok(Run {
            id: row.try_get(0)?,
            scenario: row.try_get(1)?,
            verdict: row.try_get(2)?,
            started_at: time(row.try_get(3)?),
            finished_at: row.try_get::<_, Option<_>>(4)?.map(time),
            record: row.try_get(5)?,
        })
    };
    read().map_err(|error| format!("a run of the archive cannot be read: {error}"))
}
