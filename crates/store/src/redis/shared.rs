//! What all parts of an open store share, and what goes on beside the driver: hearing of other gateways, dropping old events.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use redis::aio::{ConnectionLike, ConnectionManager};
use redis::{Client, RedisError};
use squall_protocol::Epoch;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::command::Command;
use super::library::{self, library};
use super::{settings, wire};
use crate::config::Options;
use crate::metrics::Metrics;

/// Old events are dropped so often.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// Lanes that are read with each batch at most, whether it needs them or not.
const LIKELY_LANES: usize = 16;

/// What all parts of an open store share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) prefix: String,
    /// Names this gateway among the others.
    pub(super) gateway: String,
    pub(super) settings: String,
    pub(super) settings_version: String,
    pub(super) timeout: Duration,
    pub(super) epoch: Epoch,
    pub(super) head: watch::Sender<u64>,
    pub(super) metrics: Metrics,
    pub(super) inbox: mpsc::UnboundedSender<Command>,
    /// Commands that wait; what is bounded by connections is not counted.
    pub(super) waiting: AtomicUsize,
    pub(super) closed: AtomicBool,
    pub(super) down: Mutex<Option<String>>,
    pub(super) full: AtomicBool,
    /// The stream for other programs has all that the feed has.
    pub(super) mirrored: AtomicBool,
    /// That it could not be written was said.
    pub(super) mirror_failed: AtomicBool,
    /// What Redis promises, in words.
    pub(super) promise: Mutex<String>,
    pub(super) stop: CancellationToken,
}

impl Shared {
    /// Of a gateway that begins; the epoch is that of a new store, until the real one is known.
    pub(super) fn new(options: Options, inbox: mpsc::UnboundedSender<Command>) -> Self {
        let (settings, settings_version) = settings::of(&options);
        Self {
            prefix: options.store.key_prefix.clone(),
            gateway: uuid::Uuid::new_v4().to_string(),
            settings,
            settings_version,
            timeout: Duration::from_millis(options.store.timeout_ms),
            epoch: Epoch::at(crate::now(), uuid::Uuid::new_v4().as_u128()),
            head: watch::Sender::new(0),
            metrics: Metrics::default(),
            inbox,
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            down: Mutex::new(None),
            full: AtomicBool::new(false),
            mirrored: AtomicBool::new(false),
            mirror_failed: AtomicBool::new(false),
            promise: Mutex::new(String::new()),
            stop: CancellationToken::new(),
            options,
        }
    }

    pub(super) fn advance(&self, head: u64) {
        self.head.send_if_modified(|held| {
            let forward = head > *held;
            if forward {
                *held = head;
            }
            forward
        });
    }

    /// Lanes that a batch will probably touch: all, if they are few, or those that somebody would take from.
    pub(super) fn likely_lanes<'a>(&'a self, takers: &[wire::Taker<'a>]) -> Vec<&'a str> {
        if self.options.lanes.len() <= LIKELY_LANES {
            return self.options.lanes.keys().map(String::as_str).collect();
        }
        let wanted: BTreeSet<&str> = takers.iter().flat_map(|(_, _, _, lanes)| lanes.iter().copied()).collect();
        wanted.into_iter().take(LIKELY_LANES).collect()
    }

    pub(super) fn note_down(&self, why: Option<String>) {
        let mut down = self.down.lock();
        match (&*down, &why) {
            (None, Some(why)) => tracing::warn!("Redis does not answer: {why}"),
            (Some(_), None) => tracing::info!("Redis answers again"),
            _ => {}
        }
        *down = why;
    }

    pub(super) fn why_down(&self) -> Option<String> {
        self.down.lock().clone()
    }

    pub(super) fn note_full(&self, full: bool) {
        if self.full.swap(full, Ordering::Relaxed) != full && full {
            tracing::warn!("Redis has reached its maxmemory: publishes are refused");
        }
    }
}

/// Loads the library and leaves our settings. Answers the epoch: the store's, or another one if there was none, whatever we knew before.
pub(super) async fn introduce(connection: &mut impl ConnectionLike, shared: &Shared) -> Result<Epoch, RedisError> {
    library().load(connection).await?;
    let lanes: Vec<&String> = shared.options.lanes.keys().collect();
    let mut open = library::call(&library().open, &shared.prefix);
    open.arg(library::FORMAT).arg(Epoch::at(crate::now(), uuid::Uuid::new_v4().as_u128()).to_string());
    open.arg(&shared.settings_version).arg(&shared.settings).arg(wire::pack(&lanes));
    let epoch: String = open.query_async(connection).await?;
    epoch.parse().map_err(|error: uuid::Error| {
        RedisError::from((redis::ErrorKind::UnexpectedReturnType, "the epoch is none", error.to_string()))
    })
}

/// What an acknowledgement means with this Redis.
pub(super) async fn promise(connection: &mut impl ConnectionLike) -> String {
    let mut setting = async |name: &str| -> Option<String> {
        let found: HashMap<String, String> =
            redis::cmd("CONFIG").arg("GET").arg(name).query_async(connection).await.ok()?;
        found.into_values().next()
    };
    match (setting("appendonly").await.as_deref(), setting("appendfsync").await.as_deref()) {
        (Some("yes"), Some("always")) => {
            "appendfsync always: an acknowledgement means it is on Redis's disk".to_owned()
        }
        (Some("yes"), Some("everysec")) => {
            "appendfsync everysec: what was acknowledged in the last second may be lost with Redis's machine".to_owned()
        }
        (Some("yes"), Some(_)) => "appendfsync no: the system decides when what was acknowledged is on disk".to_owned(),
        (Some(_), _) => {
            "appendonly no: what was acknowledged since Redis's last snapshot is lost when Redis ends".to_owned()
        }
        (None, _) => "what an acknowledgement means is this Redis's own setting, which it does not tell".to_owned(),
    }
}

/// Hears what other gateways did. A message may be lost: the driver looks by itself once a second, and readers of the feed read the
/// stream, not the messages.
pub(super) async fn listen(shared: Arc<Shared>, client: Client) {
    let mut rest = Duration::from_millis(50);
    let channel = format!("{}:wake:{}", shared.prefix, shared.gateway);
    while !shared.stop.is_cancelled() {
        let subscribed = async {
            let mut subscription = client.get_async_pubsub().await?;
            subscription.subscribe(&channel).await?;
            Ok::<_, RedisError>(subscription)
        };
        if let Ok(Ok(mut subscription)) = tokio::time::timeout(shared.timeout, subscribed).await {
            rest = Duration::from_millis(50);
            let mut messages = subscription.on_message();
            loop {
                let message = tokio::select! {
                    message = messages.next() => message,
                    () = shared.stop.cancelled() => return,
                };
                let Some(message) = message else { break };
                let Ok(text) = message.get_payload::<String>() else { continue };
                let mut parts = text.split('\n').filter(|part| !part.is_empty());
                let head = parts.next().and_then(|head| head.parse().ok()).unwrap_or(0);
                let lanes = parts.map(str::to_owned).collect();
                let _ = shared.inbox.send(Command::Woken { head, lanes });
            }
        }
        tokio::select! {
            () = tokio::time::sleep(rest.mul_f64(0.5 + fastrand::f64() / 2.0)) => {}
            () = shared.stop.cancelled() => return,
        }
        rest = (rest * 2).min(Duration::from_secs(2));
    }
}

/// Drops events that the retention does not keep.
pub(super) async fn trim(shared: Arc<Shared>, mut reader: ConnectionManager) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TRIM_EVERY) => {}
            () = shared.stop.cancelled() => return,
        }
        let feed = &shared.options.feed;
        let mut call = library::call(&library().trim, &shared.prefix);
        call.arg(feed.retention_ms).arg(feed.retention_bytes);
        if let Err(error) = call.query_async::<redis::Value>(&mut reader).await {
            tracing::debug!("the feed was not trimmed: {error}");
        }
    }
}
