//! The last chunks of the feed, for all live subscribers at once. Pure: no clock, no tokio.
//!
//! Bounded in events and bytes: the oldest chunk goes when a new one does not fit, and whoever had not sent it yet has
//! fallen behind.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::Chunk;

/// Chunks that follow each other without a gap, after `base` and up to `last`.
#[derive(Debug)]
pub(crate) struct Ring {
    chunks: VecDeque<Arc<Chunk>>,
    base: u64,
    last: u64,
    events: usize,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

/// What somebody gets who has everything up to a cursor.
#[derive(Debug)]
pub(crate) enum Taken {
    /// These chunks; of the first, the entries from this index on.
    Chunks(Vec<Arc<Chunk>>, usize),
    /// There is nothing new.
    Nothing,
    /// What comes next is no longer here, or never was.
    Before,
}

impl Ring {
    pub(crate) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self { chunks: VecDeque::new(), base: 0, last: 0, events: 0, bytes: 0, max_events, max_bytes }
    }

    /// Empties it; it goes on after this offset.
    pub(crate) fn restart(&mut self, at: u64) {
        self.chunks = VecDeque::new();
        (self.base, self.last, self.events, self.bytes) = (at, at, 0, 0);
    }

    /// The last offset that it holds, or would hold next to.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether somebody with this cursor has lost what comes next.
    pub(crate) fn overran(&self, cursor: u64) -> bool {
        cursor < self.base
    }

    /// Adds a chunk that follows the last one. The newest chunk always stays, whatever its size.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        self.last = chunk.last;
        self.events += chunk.len();
        self.bytes += chunk.size();
        self.chunks.push_back(Arc::new(chunk));
        while self.chunks.len() > 1 && (self.events > self.max_events || self.bytes > self.max_bytes) {
            let Some(oldest) = self.chunks.pop_front() else { break };
            self.events -= oldest.len();
            self.bytes -= oldest.size();
            self.base = oldest.last;
        }
    }

    /// What follows a cursor: at least one chunk if there is one, and further ones up to so many bytes.
    pub(crate) fn take(&self, cursor: u64, max_bytes: usize) -> Taken {
        if cursor < self.base {
            return Taken::Before;
        }
        if cursor >= self.last {
            return Taken::Nothing;
        }
        let first = self.chunks.partition_point(|chunk| chunk.last <= cursor);
        let mut chunks = Vec::new();
        let mut size = 0;
        for chunk in self.chunks.range(first..) {
            size += chunk.size();
            if !chunks.is_empty() && size > max_bytes {
                break;
            }
            chunks.push(Arc::clone(chunk));
        }
        let from = chunks.first().map_or(0, |chunk| chunk.index_after(cursor));
        Taken::Chunks(chunks, from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::chunk::tests::{offsets, record};
    use super::super::filter::Filter;
    use super::*;

    proptest! {
        /// Whoever reads at whatever pace gets every event once and in order, or is told that it fell behind.
        #[test]
        fn no_gap_and_no_repeat(
            pushes in prop::collection::vec(1_u64..20, 1..40),
            reads in prop::collection::vec(any::<bool>(), 40),
            max_events in 1_usize..60,
            start in 0_u64..5,
            max_bytes in 1_usize..20_000,
        ) {
            let filter = Filter::parse(None, None, None).unwrap();
            let mut ring = Ring::new(max_events, usize::MAX);
            ring.restart(start);
            let (mut cursor, mut seen, mut head) = (start, Vec::new(), start);
            for (n, read) in pushes.iter().zip(reads) {
                let records: Vec<_> = (head + 1..=head + n).map(record).collect();
                ring.push(Chunk::encode(None, &records, head));
                head += n;
                prop_assert!(ring.events <= max_events || ring.chunks.len() == 1);
                if !read {
                    continue;
                }
                loop {
                    match ring.take(cursor, max_bytes) {
                        Taken::Nothing => break,
                        Taken::Before => {
                            prop_assert!(ring.overran(cursor));
                            return Ok(());
                        }
                        Taken::Chunks(chunks, from) => {
                            let mut frames = VecDeque::new();
                            for (i, chunk) in chunks.iter().enumerate() {
                                chunk.frames(if i == 0 { from } else { 0 }, &filter, &mut frames);
                            }
                            seen.extend(offsets(&frames));
                            cursor = chunks.last().unwrap().last;
                        }
                    }
                }
            }
            prop_assert_eq!(&seen, &(start + 1..=cursor).collect::<Vec<_>>());
        }
    }
}
