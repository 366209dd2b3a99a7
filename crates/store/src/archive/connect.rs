//! Connections to PostgreSQL: one for whoever writes, a few that readers share.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use super::address::Address;
use super::tls::Tls;

/// Readers at a time; one more waits for one of them, as long as it would wait for PostgreSQL.
const READERS: usize = 4;

/// One connection; it ends with this value.
pub(super) struct Connection {
    pub client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What went wrong with PostgreSQL, in words that hold nothing secret.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(why) = source {
        text = format!("{text}: {why}");
        source = why.source();
    }
    text
}

/// Connects, and makes `schema` the one that everything unqualified is in. PostgreSQL gives up a statement that takes longer than
/// `patience`, so that what nobody waits for any more does not pile up.
pub(super) async fn connect(address: &Address, schema: &str, patience: Duration) -> Result<Connection, String> {
    let (client, driver) = if address.may_encrypt() {
        let (client, connection) =
            address.config.connect(Tls::new(address.verify, &address.ca_file)?).await.map_err(|error| told(&error))?;
        (client, tokio::spawn(async move { drop(connection.await) }))
    } else {
        let (client, connection) = address.config.connect(NoTls).await.map_err(|error| told(&error))?;
        (client, tokio::spawn(async move { drop(connection.await) }))
    };
    let connection = Connection { client, driver };
    // The name was checked to be one that needs no quoting.
    let set = format!(
        "SET search_path TO {schema}; SET statement_timeout TO {}; SET lock_timeout TO {}; SET client_min_messages TO warning",
        patience.as_millis(),
        patience.as_millis(),
    );
    connection.client.batch_execute(&set).await.map_err(|error| told(&error))?;
    let encoding = connection.client.query_one("SHOW server_encoding", &[]).await.map_err(|error| told(&error))?;
    let encoding: &str = encoding.get(0);
    if encoding != "UTF8" {
        return Err(format!("the database is encoded in {encoding}; the archive needs one in UTF8"));
    }
    Ok(connection)
}

/// Connections that readers share.
pub(super) struct Pool {
    address: Arc<Address>,
    schema: String,
    patience: Duration,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

/// A connection of the pool; goes back to it when it is dropped, unless it broke.
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(address: Arc<Address>, schema: &str, patience: Duration) -> Self {
        let permits = Semaphore::new(READERS);
        Self { address, schema: schema.to_owned(), patience, permits, idle: Mutex::default() }
    }

    async fn lend(&self) -> Result<Lent<'_>, String> {
        let permit = self.permits.acquire().await.map_err(|error| error.to_string())?;
        let kept = {
            let mut idle = self.idle.lock();
            idle.retain(|connection| !connection.client.is_closed());
            idle.pop()
        };
        let connection = match kept {
            Some(connection) => connection,
            None => connect(&self.address, &self.schema, self.patience).await?,
        };
        Ok(Lent { pool: self, connection: Some(connection), _permit: permit })
    }

    /// Asks something, within the pool's patience.
    pub(super) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, String> {
        let asked = async {
            let lent = self.lend().await?;
            let Some(connection) = &lent.connection else { return Err("the connection is gone".to_owned()) };
            question(&connection.client).await.map_err(|error| told(&error))
        };
        match tokio::time::timeout(self.patience, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("it has not answered for {} ms", self.patience.as_millis())),
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|connection| !connection.client.is_closed()) {
            self.pool.idle.lock().push(connection);
        }
    }
}
