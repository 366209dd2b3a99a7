//! The toxics of one direction of one connection, in their order: what comes in at the front comes out at the back,
//! later, changed, or not at all. Pure: time is an argument, so that tests simulate it; sockets are the business of
//! `link`.
//!
//! Each toxic has a queue of its own before it. A change of one toxic therefore concerns what waits at that toxic and
//! nothing else, and a toxic that takes no more makes those before it wait, up to the socket, whose reading stops.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::metrics::ToxicCounters;
use crate::toxics::{Attributes, Stage};

/// Bytes that one toxic holds back at most, as many as Toxiproxy's 1,024 chunks of 32 KiB; then nothing more is read.
pub(crate) const MAX_HELD: usize = 32 << 20;
/// What one chunk costs beside its bytes; it bounds how many tiny ones are held.
const CHUNK_COST: usize = 128;

/// What travels through toxics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Some bytes, and when the proxy got them. A toxic that holds them back on purpose sets that forward.
    Data(Bytes, Instant),
    /// The sender is done; the other direction goes on.
    End,
    /// Both directions end, in order (FIN).
    Close,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// FIN on both sides.
    Close,
    /// RST on both sides.
    Reset,
}

/// What a toxic, or all of them, have to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This, now.
    Item(Item),
    /// Perhaps something then.
    At(Instant),
    /// Nothing before something comes in.
    Idle,
}

/// Whether a toxic ends the connection, whatever waits in it or behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    No,
    At(Instant),
    Now(Ending),
}

/// What waits before a toxic.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    items: VecDeque<Item>,
    cost: usize,
}

impl Waiting {
    pub(crate) fn push(&mut self, item: Item) {
        self.cost += cost(&item);
        self.items.push_back(item);
    }

    pub(crate) fn push_front(&mut self, item: Item) {
        self.cost += cost(&item);
        self.items.push_front(item);
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.cost -= cost(&item);
        Some(item)
    }

    pub(crate) fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether as much is held as may be.
    pub(crate) fn is_full(&self) -> bool {
        self.cost >= MAX_HELD
    }
}

fn cost(item: &Item) -> usize {
    match item {
        Item::Data(bytes, _) => bytes.len() + CHUNK_COST,
        Item::End | Item::Close => CHUNK_COST,
    }
}

/// A toxic that struck this connection.
pub(crate) struct Slot {
    pub(crate) id: u64,
    pub(crate) revision: u64,
    pub(crate) stage: Box<dyn Stage>,
    pub(crate) waiting: Waiting,
    /// It gave a close: nothing comes after that.
    pub(crate) closed: bool,
    pub(crate) counters: Arc<ToxicCounters>,
}

/// A toxic that is to be in the chain from now on.
pub(crate) struct Wanted<'a> {
    pub(crate) id: u64,
    /// Goes up when its attributes change.
    pub(crate) revision: u64,
    pub(crate) attributes: &'a Attributes,
    pub(crate) counters: &'a Arc<ToxicCounters>,
}

/// All toxics of one direction that struck this connection.
#[derive(Default)]
pub(crate) struct Chain {
    slots: Vec<Slot>,
}

/// What a change of toxics sets free.
#[derive(Debug, Default)]
pub(crate) struct Released {
    /// What waited behind no toxic that is still there, oldest first.
    pub(crate) items: Vec<Item>,
    /// A toxic is gone that threw bytes away: the stream has a hole, so the connection must not go on.
    pub(crate) broken: bool,
}

impl Chain {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether more may come in.
    pub(crate) fn takes(&self) -> bool {
        self.slots.first().is_none_or(|slot| slot.stage.takes(&slot.waiting))
    }

    /// Something comes in. Without toxics there is nowhere to put it: that is the caller's business.
    pub(crate) fn push(&mut self, item: Item) {
        if let Some(slot) = self.slots.first_mut() {
            enter(slot, item);
        }
    }

    /// What comes out now, or when to ask again.
    pub(crate) fn pull(&mut self, now: Instant) -> Next {
        let last = self.slots.len().wrapping_sub(1);
        loop {
            let (mut moved, mut wake) = (false, None::<Instant>);
            for nth in (0..self.slots.len()).rev() {
                let [slot, behind @ ..] = &mut self.slots[nth..] else { break };
                if slot.closed || behind.first().is_some_and(|next| !next.stage.takes(&next.waiting)) {
                    continue;
                }
                let next = slot.stage.next(&mut slot.waiting, now);
                slot.closed = next == Next::Item(Item::Close);
                match next {
                    Next::Item(item) if nth == last => return Next::Item(item),
                    Next::Item(item) => {
                        if let Some(next) = behind.first_mut() {
                            enter(next, item);
                        }
                        moved = true;
                    }
                    Next::At(at) => wake = Some(wake.map_or(at, |wake| wake.min(at))),
                    Next::Idle => {}
                }
            }
            if !moved {
                return wake.map_or(Next::Idle, Next::At);
            }
        }
    }

    /// Whether a toxic ends the connection by itself.
    pub(crate) fn cut(&mut self, now: Instant) -> Cut {
        let mut cut = Cut::No;
        for slot in &mut self.slots {
            match (slot.stage.cut(&slot.waiting, now), cut) {
                (Cut::Now(ending), _) => return Cut::Now(ending),
                (Cut::At(at), Cut::At(sooner)) => cut = Cut::At(at.min(sooner)),
                (Cut::At(at), _) => cut = Cut::At(at),
                (Cut::No, _) => {}
            }
        }
        cut
    }

    /// From now on these toxics, in this order. Those that were there keep their state and what waits at them; what
    /// waited at one that is gone moves on to the next. `begin` makes the state of a new one.
    pub(crate) fn change(
        &mut self,
        wanted: &[Wanted<'_>],
        now: Instant,
        mut begin: impl FnMut(&Wanted<'_>) -> Box<dyn Stage>,
    ) -> Released {
        let mut released = Released::default();
        let mut old = std::mem::take(&mut self.slots);
        let stays = |slot: &Slot| wanted.iter().any(|toxic| toxic.id == slot.id);
        // From the back: what is nearer to the end is older, and must come before what is released later.
        for nth in (0..old.len()).rev() {
            if stays(&old[nth]) {
                continue;
            }
            let mut gone = old.remove(nth);
            released.broken |= gone.stage.is_broken();
            let next = old[nth..].first_mut();
            let items = std::iter::from_fn(|| gone.waiting.pop());
            match next {
                Some(next) => items.for_each(|item| enter(next, item)),
                None => released.items.extend(items),
            }
        }
        for toxic in wanted {
            let slot = match old.iter().position(|slot| slot.id == toxic.id) {
                Some(nth) => {
                    let mut slot = old.remove(nth);
                    if slot.revision != toxic.revision {
                        slot.stage.update(toxic.attributes, now);
                        slot.revision = toxic.revision;
                    }
                    slot
                }
                None => {
                    toxic.counters.connection();
                    Slot {
                        id: toxic.id,
                        revision: toxic.revision,
                        stage: begin(toxic),
                        waiting: Waiting::default(),
                        closed: false,
                        counters: Arc::clone(toxic.counters),
                    }
                }
            };
            self.slots.push(slot);
        }
        released
    }
}

fn enter(slot: &mut Slot, item: Item) {
    if let Item::Data(bytes, _) = &item {
        slot.counters.bytes(bytes.len());
    }
    slot.waiting.push(item);
}

#[cfg(test)]
mod tests;
