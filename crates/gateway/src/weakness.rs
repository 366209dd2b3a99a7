//! Weaknesses that a test plants, to see that an experiment finds them: `PLANTED_WEAKNESS=hang squall chaos redis-down` must fail. Only a
//! debug build has them, and only with that in its environment. Each is a bug that a gateway could well have, at the place where it
//! would have it; what is wrong with a publish stands here, because it takes more than a line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use squall_protocol::task::Published;
use squall_protocol::{ConnectionId, ErrorCode, TaskId};
use squall_store::{Delivery, Error, Holder, SettleVerb, Settlement, TaskSpec};
use tokio::time::{Instant, sleep, timeout};

use crate::app::App;
use crate::error::Refusal;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// A publish is acknowledged at once, and stored later if the store likes.
    Forget,
    /// A publish waits until the store is there again.
    Hang,
    /// A publish that takes long is refused, and stored all the same.
    Impatient,
    /// After trouble publishes are refused for good.
    StayDown,
    /// A publish asks the archive first.
    AskArchive,
    /// `/health` says that all is well.
    Rosy,
    /// What is delivered counts as done.
    AckEarly,
    /// A subscriber that is slow, or comes back, misses what happened meanwhile.
    Skip,
}

const KNOWN: [(&str, Weakness); 8] = [
    ("forget", Weakness::Forget),
    ("hang", Weakness::Hang),
    ("impatient", Weakness::Impatient),
    ("stay-down", Weakness::StayDown),
    ("ask-archive", Weakness::AskArchive),
    ("rosy", Weakness::Rosy),
    ("ack-early", Weakness::AckEarly),
    ("skip", Weakness::Skip),
];

static PLANTED: LazyLock<Option<Weakness>> = LazyLock::new(|| {
    let word = std::env::var("PLANTED_WEAKNESS").ok()?;
    let planted = KNOWN.iter().find(|(known, _)| *known == word).map(|(_, weakness)| *weakness);
    tracing::warn!(word, known = planted.is_some(), "a weakness is planted");
    planted
});

/// Whether this one is.
pub(crate) fn planted(weakness: Weakness) -> bool {
    *PLANTED == Some(weakness)
}

/// `Forget`: what is acknowledged is only in memory for so long.
const STORED_AFTER: Duration = Duration::from_millis(500);
/// `Impatient`: what takes longer has failed.
const PATIENCE: Duration = Duration::from_millis(100);
/// `StayDown`: when nothing comes for so long, something must be wrong.
const SILENCE: Duration = Duration::from_secs(2);

/// Publishes as a gateway with this weakness does; `None` when there is none, or it only does something before.
pub(crate) async fn publish(app: &App, tenant: &Arc<str>, spec: &TaskSpec) -> Option<Result<Published, Refusal>> {
    let store = async || {
        let published = app.store.publish(tenant, vec![spec.clone()]).await.pop();
        published.unwrap_or(Err(Error::Closed))
    };
    match (*PLANTED)? {
        Weakness::Forget => {
            let (store, tenant, spec) = (Arc::clone(&app.store), Arc::clone(tenant), spec.clone());
            tokio::spawn(async move {
                sleep(STORED_AFTER).await;
                store.publish(&tenant, vec![spec]).await
            });
            let id = TaskId::at(squall_store::now(), uuid::Uuid::new_v4().as_u128());
            Some(Ok(Published { id, duplicate: false }))
        }
        Weakness::Hang => loop {
            match store().await {
                Err(Error::Unavailable(_)) => sleep(Duration::from_millis(50)).await,
                other => return Some(other.map_err(Refusal::from)),
            }
        },
        Weakness::Impatient => {
            let stored = tokio::spawn(app.store.publish(tenant, vec![spec.clone()]));
            match timeout(PATIENCE, stored).await {
                Ok(stored) => Some(stored.ok()?.pop()?.map_err(Refusal::from)),
                Err(_) => Some(Err(Refusal::new(ErrorCode::StoreUnavailable, "the store takes too long"))),
            }
        }
        Weakness::StayDown => {
            static OPEN: AtomicBool = AtomicBool::new(false);
            static LAST: Mutex<Option<Instant>> = Mutex::new(None);
            let last = LAST.lock().replace(Instant::now());
            if last.is_some_and(|last| last.elapsed() > SILENCE) {
                OPEN.store(true, Ordering::Relaxed);
            }
            if OPEN.load(Ordering::Relaxed) {
                return Some(Err(Refusal::new(ErrorCode::StoreUnavailable, "the breaker is open")));
            }
            let stored = store().await;
            if stored.is_err() {
                OPEN.store(true, Ordering::Relaxed);
            }
            Some(stored.map_err(Refusal::from))
        }
        Weakness::AskArchive => {
            app.history.archive()?.health().await;
            None
        }
        Weakness::Rosy | Weakness::AckEarly | Weakness::Skip => None,
    }
}

/// `AckEarly`: nobody waits for the worker to say so.
pub(crate) fn ack_early(app: &App, tenant: Option<&str>, worker: ConnectionId, deliveries: &[Delivery]) {
    if planted(Weakness::AckEarly) {
        let ack = |delivery: &Delivery| Settlement { id: delivery.task.id, receipt: None, verb: SettleVerb::Ack };
        let acks = deliveries.iter().map(ack).collect();
        tokio::spawn(app.store.settle(tenant, Holder::Worker(worker), acks));
    }
}
