//! What all requests and connections of one gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use squall_protocol::{ErrorCode, Time};
use squall_store::{Archive, History, Store};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Tokens;
use crate::config::Config;
use crate::error::Refusal;
use crate::feed::Hub;
use crate::metrics::Metrics;
use crate::{graph, ingest};

/// One gateway.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) history: History,
    pub(crate) tokens: Tokens,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Metrics,
    /// The symbol graph, if a tree is read.
    pub(crate) graph: Option<Arc<graph::Service>>,
    /// How its sources of work in Redis stand.
    pub(crate) ingest: Vec<Arc<ingest::Status>>,
    /// Requests that are being answered.
    pub(crate) requests: Arc<Semaphore>,
    /// Cancelled when no new work is taken: health says so, workers are sent away with their leases returned.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the server stops: subscribers are sent away too.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when the deadline of the drain has passed: whoever is still there is dropped.
    pub(crate) kill: CancellationToken,
    pub(crate) tracker: TaskTracker,
    pub(crate) started: Instant,
    random: AtomicU64,
}

impl App {
    pub(crate) fn new(
        config: Config,
        store: Arc<dyn Store>,
        archive: Option<Arc<Archive>>,
        ingest: Vec<Arc<ingest::Status>>,
        graph: Option<Arc<graph::Service>>,
    ) -> Arc<Self> {
        let hub = Hub::new(Arc::clone(&store), &config.feed);
        Arc::new(Self {
            tokens: Tokens::new(&config.auth),
            requests: Arc::new(Semaphore::new(config.server.max_concurrent_requests.min(Semaphore::MAX_PERMITS))),
            metrics: Metrics::new(&*store),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            kill: CancellationToken::new(),
            tracker: TaskTracker::new(),
            started: Instant::now(),
            random: AtomicU64::new(uuid::Uuid::new_v4().as_u64_pair().0),
            history: History::new(Arc::clone(&store), archive),
            hub,
            store,
            graph,
            ingest,
            config,
        })
    }

    /// Refuses new work while the gateway drains.
    ///
    /// # Errors
    /// `Draining`.
    pub(crate) fn accepts_work(&self) -> Result<(), Refusal> {
        if !self.draining.is_cancelled() {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Draining, "the gateway drains: try another, or this one later")
            .retry_after_ms(1_000))
    }

    /// A name for a connection.
    pub(crate) fn connection_id(&self) -> squall_protocol::ConnectionId {
        let now: Time = squall_store::now();
        let count = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        squall_protocol::ConnectionId::at(now, u128::from(count) << 16 | u128::from(count >> 48))
    }
}
