//! Fetches what is in one list or stream, and sees to it that it is stored before it leaves.
//!
//! What cannot be stored now is tried again after a rest, and nothing else of the source is fetched meanwhile: whoever fills it faster
//! than lanes are emptied finds it growing. What will never be stored as it is becomes a dead letter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use squall_protocol::DeadReason;
use squall_store::ingest::{BLOCK, Error, Item, Next, Source};
use squall_store::{Error as StoreError, Store, TaskSpec};
use tokio_util::sync::CancellationToken;

use super::map::{Mapping, Meaning};
use super::status::{Doing, Status};
use crate::app::App;

/// The first and the longest rest before something is tried again. The longest is shorter than the time after which another gateway
/// would think that this one is gone.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A list that another gateway reads is looked at so often.
const STANDBY: Duration = Duration::from_secs(1);

/// Reads one source.
pub(crate) struct Reader {
    source: Source,
    status: Arc<Status>,
    mapping: Arc<Mapping>,
    tenant: Arc<str>,
}

/// An item on its way into the store.
struct Slot {
    item: Item,
    meaning: Meaning,
    is_stored: bool,
}

/// Why something is not stored yet.
struct NotNow {
    reason: &'static str,
    error: StoreError,
}

impl Reader {
    pub(super) fn new(source: Source, status: Arc<Status>, mapping: Arc<Mapping>, tenant: Arc<str>) -> Self {
        Self { source, status, mapping, tenant }
    }

    /// How it goes.
    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Reads until the gateway drains; what was fetched by then is stored, unless it has to wait.
    pub(crate) async fn run(mut self, app: Arc<App>) {
        tokio::select! {
            () = self.read(&*app.store, &app.draining) => {}
            () = app.kill.cancelled() => {}
        }
        self.status.note(Doing::Stopped);
    }

    async fn read(&mut self, store: &dyn Store, stop: &CancellationToken) {
        let mut rest = REST.0;
        while !stop.is_cancelled() {
            let seen = tokio::select! {
                seen = self.source.next() => seen,
                () = soon_after(stop) => break,
            };
            let went = match seen {
                Ok(Next::Items(items)) => {
                    self.status.note(Doing::Read);
                    self.store(store, items, stop).await
                }
                Ok(Next::Nothing) => {
                    self.status.note(Doing::Read);
                    Ok(())
                }
                Ok(Next::Elsewhere) => {
                    self.status.note(Doing::ReadElsewhere);
                    pause(STANDBY, stop).await;
                    Ok(())
                }
                Err(error) => Err(error),
            };
            match went {
                Ok(()) => rest = REST.0,
                Err(Error::Lost { .. }) => self.status.note(Doing::ReadElsewhere),
                Err(error @ Error::Redis { .. }) => {
                    self.status.retried("redis");
                    self.status.note(Doing::Away(error.to_string()));
                    pause(rest, stop).await;
                    rest = (rest * 2).min(REST.1);
                }
            }
        }
        // So that others need not wait for us to be missed.
        match tokio::time::timeout(2 * BLOCK, self.source.leave()).await {
            Ok(Ok(())) => {}
            left => tracing::debug!(source = self.status.name, ?left, "others go on in a few seconds"),
        }
    }

    /// Stores these, in order, and takes them out of their source as far as they are stored.
    async fn store(&mut self, store: &dyn Store, items: Vec<Item>, stop: &CancellationToken) -> Result<(), Error> {
        let mut slots: VecDeque<Slot> = items
            .into_iter()
            .map(|item| {
                let meaning = self.mapping.understand(self.status.kind.as_str(), &self.status.name, &item);
                Slot { item, meaning, is_stored: false }
            })
            .collect();
        let mut rest = REST.0;
        while !slots.is_empty() {
            let waits = match &slots[0].meaning {
                Meaning::Task(_) => self.publish(store, &mut slots).await,
                _ => self.session(store, &mut slots[0]).await,
            };
            // Each session event leaves before the next is looked at: it has no key, and would be done again.
            let done = slots.iter().take_while(|slot| slot.is_stored).count();
            if done > 0 {
                self.source.stored(done).await?;
                slots.drain(..done);
                rest = REST.0;
            }
            let Some(NotNow { reason, error }) = waits else {
                self.status.note(Doing::Read);
                continue;
            };
            self.status.retried(reason);
            self.status.note(Doing::Waits { well: reason == "lane_full", why: error.to_string() });
            if stop.is_cancelled() {
                return Ok(());
            }
            pause(rest, stop).await;
            rest = (rest * 2).min(REST.1);
            self.source.hold().await?;
        }
        Ok(())
    }

    /// Publishes the tasks and dead letters at the front, all at once.
    async fn publish(&self, store: &dyn Store, slots: &mut VecDeque<Slot>) -> Option<NotNow> {
        let run = slots.iter_mut().take_while(|slot| matches!(slot.meaning, Meaning::Task(_)));
        let (mut specs, mut meant): (Vec<TaskSpec>, Vec<&mut Slot>) = (Vec::new(), Vec::new());
        for slot in run.filter(|slot| !slot.is_stored) {
            if let Meaning::Task(spec) = &slot.meaning {
                specs.push(spec.clone());
                meant.push(slot);
            }
        }
        let mut waits = None;
        for (slot, answer) in meant.into_iter().zip(store.publish(&self.tenant, specs).await) {
            let is_dead = matches!(&slot.meaning, Meaning::Task(spec) if spec.dead.is_some());
            match answer {
                Ok(published) => {
                    slot.is_stored = true;
                    self.status.left(match published.duplicate {
                        true => "duplicate",
                        false if is_dead => "dead_letter",
                        false => "task",
                    });
                }
                Err(error) => match retry_reason(&error) {
                    None if !is_dead => self.give_up(slot, &error),
                    // A dead letter is refused for good only by a defect; it waits to be seen.
                    reason => drop(waits.get_or_insert(NotNow { reason: reason.unwrap_or("refused"), error })),
                },
            }
        }
        waits
    }

    async fn session(&self, store: &dyn Store, slot: &mut Slot) -> Option<NotNow> {
        let tenant = Some(&*self.tenant);
        let answer = match slot.meaning.clone() {
            Meaning::Create(new) => store.create_session(&self.tenant, new).await,
            Meaning::Update(id, update) => store.update_session(tenant, id, update).await,
            Meaning::End(id, end) => store.end_session(tenant, id, end).await,
            Meaning::Task(_) => return None,
        };
        let outcome = match (answer, &slot.meaning) {
            (Ok(_), _) => "session",
            // It may have been us, before a crash.
            (Err(StoreError::SessionExists { .. }), _) | (Err(StoreError::SessionEnded { .. }), Meaning::End(..)) => {
                "duplicate"
            }
            (Err(error), _) => match retry_reason(&error) {
                Some(reason) => return Some(NotNow { reason, error }),
                None => {
                    self.give_up(slot, &error);
                    return None;
                }
            },
        };
        slot.is_stored = true;
        self.status.left(outcome);
        None
    }

    /// What the store refuses for good becomes a dead letter.
    fn give_up(&self, slot: &mut Slot, error: &StoreError) {
        let event = match &slot.meaning {
            Meaning::Task(spec) => spec.kind.to_string(),
            session => session.session_event().to_owned(),
        };
        let (kind, source) = (self.status.kind.as_str(), self.status.name.as_str());
        let dead = self.mapping.dead(kind, source, &slot.item, &event, DeadReason::Refused, &error.to_string());
        slot.meaning = Meaning::Task(dead);
    }
}

/// Why something that was refused is worth trying again, if it is. A session that finds no free slot is not: what would free one may
/// stand behind it in the same list.
fn retry_reason(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::LaneFull { .. } => Some("lane_full"),
        StoreError::Full(_) => Some("store_full"),
        StoreError::Unavailable(_) => Some("store_unavailable"),
        StoreError::Overloaded => Some("overloaded"),
        StoreError::Closed => Some("store_closed"),
        _ => None,
    }
}

/// Rests for so long, give or take, unless it is to stop.
async fn pause(rest: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(rest.mul_f64(0.75 + fastrand::f64() / 2.0)) => {}
        () = stop.cancelled() => {}
    }
}

/// A look that is under way when it is to stop may end by itself.
async fn soon_after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(2 * BLOCK).await;
}
