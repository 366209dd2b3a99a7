//! Brings a database to what this version needs: each migration once, in order, in one transaction, whoever else starts at the same time.

use tokio_postgres::{Client, IsolationLevel};

use super::connect::told;

/// A migration: its number, its name and what it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migration {
    pub number: i32,
    pub name: &'static str,
    pub sql: &'static str,
}

/// All that there are. One that was released is never changed; another one follows it.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "history", sql: include_str!("migrations/0001_history.sql") },
    Migration { number: 2, name: "runs", sql: include_str!("migrations/0002_runs.sql") },
];

/// Whoever migrates holds this, in the whole database.
const LOCK: i64 = 0x0073_7175_616c_6c6d;

const NOTES: &str = "
    CREATE TABLE migrations (
        number   integer     PRIMARY KEY,
        name     text        NOT NULL,
        checksum bigint      NOT NULL,
        run_at   timestamptz NOT NULL DEFAULT now()
    )";

fn checksum(sql: &str) -> i64 {
    i64::from(crc32fast::hash(sql.as_bytes()))
}

/// Brings `schema` up to date; it is made if it is not there.
///
/// # Errors
/// When a migration that was run is not the one that is known here, when the database has one that is not known here, or when PostgreSQL
/// refuses. Nothing is changed then.
pub(super) async fn migrate(client: &mut Client, schema: &str, migrations: &[Migration]) -> Result<(), String> {
    let failed = |error: tokio_postgres::Error| format!("the archive's tables cannot be made: {}", told(&error));
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await.map_err(failed)?;
    // A migration takes the time that it takes; and it may have to wait for another gateway that does the same.
    transaction.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await.map_err(failed)?;
    transaction.query_one("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    let there = transaction
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&format!("{schema}.migrations")])
        .await
        .map_err(failed)?;
    if !there.get::<_, bool>(0) {
        // Somebody who may not make schemas can be given one.
        let schema_there =
            transaction.query_one("SELECT to_regnamespace($1) IS NOT NULL", &[&schema]).await.map_err(failed)?;
        if !schema_there.get::<_, bool>(0) {
            transaction.batch_execute(&format!("CREATE SCHEMA {schema}")).await.map_err(failed)?;
        }
        transaction.batch_execute(NOTES).await.map_err(failed)?;
    }
    let rows = transaction
        .query("SELECT number, name, checksum FROM migrations ORDER BY number", &[])
        .await
        .map_err(failed)?;
    for row in &rows {
        let (number, name, run): (i32, &str, i64) = (row.get(0), row.get(1), row.get(2));
        match migrations.iter().find(|known| known.number == number) {
            None => {
                return Err(format!(
                    "the archive in schema {schema} was made by a later version of Squall: it has migration {number} ({name}), which is \
                     not known here"
                ));
            }
            Some(known) if checksum(known.sql) != run => {
                return Err(format!(
                    "migration {number} ({name}) of schema {schema} is not the one that is known here; the archive is left as it is"
                ));
            }
            Some(_) => {}
        }
    }
    for migration in migrations.iter().skip(rows.len()) {
        let what = |error: tokio_postgres::Error| {
            format!("migration {} ({}) of the archive failed: {}", migration.number, migration.name, told(&error))
        };
        transaction.batch_execute(migration.sql).await.map_err(what)?;
        let note = "INSERT INTO migrations (number, name, checksum) VALUES ($1, $2, $3)";
        let (number, name, sum) = (migration.number, migration.name, checksum(migration.sql));
        transaction.execute(note, &[&number, &name, &sum]).await.map_err(what)?;
        tracing::info!(schema, number, name, "the archive was migrated");
    }
    transaction.commit().await.map_err(failed)
}
