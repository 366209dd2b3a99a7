//! What an analysis says, as events of the feed: many in one commit, in their order, and not one of them left out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use squall_codegraph::{Change, Node, Relationship};
use squall_store::{Announcement, Store};
use tokio::runtime::Handle;

use super::Service;

/// Events in one commit.
const BATCH_EVENTS: usize = 500;
/// Bytes in one commit.
const BATCH_BYTES: usize = 256 << 10;
/// The first and the longest rest before a store that fails is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Where events go.
pub(super) struct Teller {
    service: Arc<Service>,
    store: Arc<dyn Store>,
    runtime: Handle,
    waiting: Vec<Announcement>,
    bytes: usize,
    /// The gateway stopped before the store had taken all.
    pub(super) is_behind: bool,
}

impl Teller {
    /// Must be made within the runtime that the store works in.
    pub(super) fn new(service: Arc<Service>, store: Arc<dyn Store>) -> Self {
        Self { service, store, runtime: Handle::current(), waiting: Vec::new(), bytes: 0, is_behind: false }
    }

    /// Tells what changed.
    pub(super) fn changes(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::NodeAdded(node) => self.node("node_added", &node),
                Change::NodeUpdated(node) => self.node("node_updated", &node),
                Change::NodeDeleted(node) => self.node("node_deleted", &node),
                Change::RelationshipAdded(it) => self.relationship("relationship_added", &it),
                Change::RelationshipDeleted(it) => self.relationship("relationship_deleted", &it),
            }
        }
    }

    fn node(&mut self, event_type: &'static str, node: &Node) {
        self.event(event_type, node.id.to_string(), node);
    }

    fn relationship(&mut self, event_type: &'static str, relationship: &Relationship) {
        self.event(event_type, relationship.id.to_string(), relationship);
    }

    /// Tells something, soon.
    pub(super) fn event(&mut self, event_type: &'static str, entity_id: String, data: &impl Serialize) {
        let data: Box<RawValue> = match to_raw_value(data) {
            Ok(data) => data,
            Err(error) => return tracing::error!(%error, event_type, "an event could not be serialized"),
        };
        let event = Announcement { event_type, entity_id, data };
        self.bytes += event.bytes();
        self.waiting.push(event);
        if self.waiting.len() >= BATCH_EVENTS || self.bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Waits until everything is in the feed. A store that is full or away is waited for, however long; only the end of the
    /// gateway ends that, and what was not told then is told by the next one, which finds the former state on disk.
    pub(super) fn flush(&mut self) {
        self.bytes = 0;
        if self.waiting.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.waiting);
        let mut rest = BACKOFF.0;
        loop {
            match self.runtime.block_on(self.store.announce(events.clone())) {
                Ok(()) => {
                    self.service.figures.events.fetch_add(events.len() as u64, Ordering::Relaxed);
                    return;
                }
                Err(error) if self.service.is_stopping() || matches!(error, squall_store::Error::Closed) => {
                    tracing::warn!(%error, events = events.len(), "the graph's last events are not told; the next start tells them");
                    self.is_behind = true;
                    return;
                }
                Err(error) => {
                    if rest == BACKOFF.1 {
                        tracing::warn!(%error, "the graph's events wait for the store");
                    }
                    std::thread::sleep(rest);
                    rest = (rest * 2).min(BACKOFF.1);
                }
            }
        }
    }
}
