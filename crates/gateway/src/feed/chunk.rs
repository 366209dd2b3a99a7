//! A piece of the feed as bytes: every event encoded once, as a WebSocket frame, and shared by all who send it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use squall_protocol::{FeedRecord, Gap, Topic};

use super::filter::Filter;
use crate::ws::{deflate, frame};

/// How a batch begins.
const BATCH_OPEN: &[u8] = br#"{"events":["#;

/// Events one after another, in offset order.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Bytes,
    entries: Vec<Entry>,
    /// The last offset that it covers.
    pub(crate) last: u64,
    /// Batches that several subscribers want alike, made once.
    batches: Mutex<Vec<(Filter, bool, Bytes)>>,
}

/// Different batches of one chunk that are kept; who wants yet another one gets it made for itself.
const KEPT_BATCHES: usize = 4;

#[derive(Debug)]
struct Entry {
    /// Where its frame begins; it ends where the next one begins.
    start: u32,
    /// Where its JSON begins.
    json: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    Event {
        offset: u64,
        topic: Topic,
        event_type: Cow<'static, str>,
        tenant: Option<Arc<str>>,
    },
    /// Something is missing before the next event. Everybody is told.
    Gap,
}

/// One event, as somebody who is not a WebSocket sees it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// Its offset and type; none for a gap.
    pub(crate) event: Option<(u64, &'a str)>,
    /// Its JSON.
    pub(crate) json: &'a [u8],
}

impl Chunk {
    /// Encodes. `after` is the offset before the first record, in case there is none.
    pub(crate) fn encode(gap: Option<Gap>, records: &[FeedRecord], after: u64) -> Self {
        let mut bytes = Vec::with_capacity(records.len() * 384 + 64);
        let mut entries = Vec::with_capacity(records.len() + usize::from(gap.is_some()));
        if let Some(gap) = gap {
            entries.push(encode(&mut bytes, What::Gap, &Notice { gap }));
        }
        for record in records {
            let what = What::Event {
                offset: record.offset,
                topic: record.topic,
                event_type: record.event_type.clone(),
                tenant: record.tenant.clone(),
            };
            entries.push(encode(&mut bytes, what, record));
        }
        let last = records.last().map_or(after, |record| record.offset);
        Self { bytes: bytes.into(), entries, last, batches: Mutex::default() }
    }

    /// Bytes that it holds in memory, its index included.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Events that it holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The index of the first entry after an offset.
    pub(crate) fn index_after(&self, offset: u64) -> usize {
        let before = |entry: &Entry| match &entry.what {
            What::Event { offset: at, .. } => *at <= offset,
            What::Gap => false,
        };
        // A gap comes first if there is one, and belongs to the event behind it.
        let skip_gap = usize::from(matches!(self.entries.first(), Some(Entry { what: What::Gap, .. })));
        match self.entries[skip_gap..].partition_point(before) {
            0 => 0,
            n => n + skip_gap,
        }
    }

    /// The frames from an entry on that pass, as few slices as possible, in order.
    pub(crate) fn frames(&self, from: usize, filter: &Filter, out: &mut VecDeque<Bytes>) {
        if filter.is_all() {
            let start = self.entries.get(from).map_or(self.bytes.len(), |entry| entry.start as usize);
            if start < self.bytes.len() {
                out.push_back(self.bytes.slice(start..));
            }
            return;
        }
        let mut run: Option<usize> = None;
        for entry in &self.entries[from..] {
            match (entry.what.passes(filter), run) {
                (true, None) => run = Some(entry.start as usize),
                (false, Some(start)) => {
                    out.push_back(self.bytes.slice(start..entry.start as usize));
                    run = None;
                }
                _ => {}
            }
        }
        if let Some(start) = run {
            out.push_back(self.bytes.slice(start..));
        }
    }

    /// The same as few frames as possible: `{"events":[…]}`, and before it a gap by itself. `deflated`: compressed where that is worth it.
    pub(crate) fn batch(&self, from: usize, filter: &Filter, deflated: bool, out: &mut VecDeque<Bytes>) {
        if from > 0 {
            // Where a subscriber joins; all the others begin at the front.
            return out.extend(self.make_batch(from, filter, deflated));
        }
        let mut kept = self.batches.lock();
        let found = kept.iter().find(|(for_whom, compressed, _)| (for_whom, *compressed) == (filter, deflated));
        if let Some((_, _, frames)) = found {
            return out.extend((!frames.is_empty()).then(|| frames.clone()));
        }
        let frames = self.make_batch(0, filter, deflated);
        if kept.len() < KEPT_BATCHES {
            kept.push((filter.clone(), deflated, frames.clone().unwrap_or_default()));
        }
        out.extend(frames);
    }

    fn make_batch(&self, from: usize, filter: &Filter, deflated: bool) -> Option<Bytes> {
        let mut frames = Vec::new();
        let mut batch = BATCH_OPEN.to_vec();
        for view in self.views(from, filter) {
            if view.event.is_none() {
                frame::text(&mut frames, view.json);
                continue;
            }
            if batch.len() > BATCH_OPEN.len() {
                batch.push(b',');
            }
            batch.extend_from_slice(view.json);
        }
        if batch.len() > BATCH_OPEN.len() {
            batch.extend_from_slice(b"]}");
            if deflated && batch.len() >= deflate::WORTH_BYTES {
                frame::deflated_text(&mut frames, &deflate::compress(&batch));
            } else {
                frame::text(&mut frames, &batch);
            }
        }
        (!frames.is_empty()).then(|| frames.into())
    }

    /// The events from an entry on that pass.
    pub(crate) fn views<'a>(&'a self, from: usize, filter: &'a Filter) -> impl Iterator<Item = View<'a>> {
        self.entries[from..].iter().enumerate().filter(|(_, entry)| entry.what.passes(filter)).map(move |(i, entry)| {
            let end = self.entries.get(from + i + 1).map_or(self.bytes.len(), |next| next.start as usize);
            let event = match &entry.what {
                What::Event { offset, event_type, .. } => Some((*offset, &**event_type)),
                What::Gap => None,
            };
            View { event, json: &self.bytes[entry.json as usize..end] }
        })
    }
}

impl What {
    fn passes(&self, filter: &Filter) -> bool {
        match self {
            Self::Event { topic, event_type, tenant, .. } => filter.passes(*topic, event_type, tenant.as_deref()),
            Self::Gap => true,
        }
    }
}

/// `{"gap":{…}}`
#[derive(serde::Serialize)]
struct Notice {
    gap: Gap,
}

fn encode(bytes: &mut Vec<u8>, what: What, value: &impl serde::Serialize) -> Entry {
    // A chunk holds at most 1,024 records, none larger than a frame may be, so that it stays far below 4 GiB.
    let start = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let json = frame::text_with(bytes, |out| {
        if let Err(error) = serde_json::to_writer(out, value) {
            tracing::error!(%error, "an event could not be serialized");
        }
    });
    Entry { start, json: u32::try_from(json).unwrap_or(u32::MAX), what }
}

#[cfg(test)]
pub(crate) mod tests {
    use squall_protocol::{Epoch, GapReason, Time};
    use squall_store::FeedSlice;

    use super::*;

    /// An event of tenant `a` when its offset is even, of `b` when it is odd.
    pub(crate) fn record(offset: u64) -> FeedRecord {
        FeedRecord {
            epoch: Epoch::at(Time(1), 1),
            offset,
            event_id: uuid::Uuid::from_u128(u128::from(offset)),
            time: Time(1_795_243_200_123),
            topic: if offset.is_multiple_of(3) { Topic::Sessions } else { Topic::Tasks },
            event_type: "task_published".into(),
            entity_type: "task".into(),
            entity_id: offset.to_string(),
            data: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
            tenant: Some(if offset.is_multiple_of(2) { "a" } else { "b" }.into()),
        }
    }

    /// The offsets that a subscriber would get, read back from the frames' bytes.
    pub(crate) fn offsets(frames: &VecDeque<Bytes>) -> Vec<u64> {
        use tokio_tungstenite::tungstenite::{Message, WebSocket, protocol::Role};
        let bytes: Vec<u8> = frames.iter().flatten().copied().collect();
        let mut client = WebSocket::from_raw_socket(std::io::Cursor::new(bytes), Role::Client, None);
        let mut offsets = Vec::new();
        while let Ok(Message::Text(text)) = client.read() {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            offsets.push(value["offset"].as_u64().unwrap_or(0));
        }
        offsets
    }

    /// The same from batches, compressed or not.
    fn batched_offsets(frames: &VecDeque<Bytes>) -> Vec<u64> {
        use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
        let bytes: Vec<u8> = frames.iter().flatten().copied().collect();
        let mut cursor = std::io::Cursor::new(&bytes);
        let mut offsets = Vec::new();
        while let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) {
            let begin = usize::try_from(cursor.position()).unwrap();
            let payload = &bytes[begin..begin + usize::try_from(length).unwrap()];
            cursor.set_position(cursor.position() + length);
            let text = if header.rsv1 { deflate::inflate(payload, 1 << 20).unwrap() } else { payload.to_vec() };
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            match value["events"].as_array() {
                Some(events) => offsets.extend(events.iter().map(|event| event["offset"].as_u64().unwrap())),
                None => offsets.push(value["gap"].is_object().then_some(0).unwrap()),
            }
        }
        offsets
    }

    #[test]
    fn frames_and_views_agree_on_what_passes() {
        let gap = Some(Gap { from: 1, to: 10, reason: GapReason::Retention });
        let slice = FeedSlice { gap, records: (11..=30).map(record).collect(), head: 30 };
        let chunk = Chunk::encode(slice.gap, &slice.records, 10);
        for (tenant, topics) in
            [(None, None), (Some("a"), None), (None, Some("sessions")), (Some("b"), Some("sessions"))]
        {
            let filter = Filter::parse(tenant, topics, None).unwrap();
            for after in [0, 10, 11, 20, 29, 30] {
                let from = chunk.index_after(after);
                let mut frames = VecDeque::new();
                chunk.frames(from, &filter, &mut frames);
                let views: Vec<u64> =
                    chunk.views(from, &filter).map(|view| view.event.map_or(0, |(offset, _)| offset)).collect();
                assert_eq!(offsets(&frames), views);
                for deflated in [false, true] {
                    for _ in 0..2 {
                        let mut batches = VecDeque::new();
                        chunk.batch(from, &filter, deflated, &mut batches);
                        assert_eq!(batched_offsets(&batches), views, "{tenant:?} {topics:?} after {after}");
                    }
                }
                let gap = (after <= 10).then_some(0);
                let expected = slice.records.iter().filter(|record| {
                    record.offset > after && filter.passes(record.topic, &record.event_type, record.tenant.as_deref())
                });
                let expected: Vec<u64> = gap.into_iter().chain(expected.map(|record| record.offset)).collect();
                assert_eq!(views, expected, "{tenant:?} {topics:?} after {after}");
            }
        }
    }
}
