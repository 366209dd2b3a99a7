//! `/ws/events`: a subscriber that resumes after the last event that it has seen.
//!
//! Whatever happens to the connection, what comes out is the feed: in order, without a repeat, and without a gap except
//! those that the gateway tells ([`Item::Gap`]). Every connection and every loss is told too, for those who count them.

use std::time::{Duration, Instant};

use serde::Deserialize;
use squall_protocol::{Cursor, ErrorBody, FeedRecord, Gap, GapReason, Topic, WireError};

use crate::backoff::{Attempts, Backoff};
use crate::http::{Http, Query, excerpt};
use crate::ws::{Message, Socket};
use crate::{Endpoints, Error, Lost, Options, Result};

/// Path of the WebSocket.
pub const PATH: &str = "/ws/events";

/// Where a subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// With the oldest event that is kept.
    Beginning,
    /// With the first event after this place.
    After(Cursor),
    /// With what happens from now on. The place is asked for once, at the first connection: events that happen while the
    /// connection is lost later are not missed.
    #[default]
    Now,
}

/// What a subscriber wants to see. What is empty does not restrict.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these topics.
    pub topics: Vec<Topic>,
    /// Only these types of events.
    pub types: Vec<String>,
}

/// Follows the feed, over lost connections too.
pub struct Subscriber {
    endpoints: Endpoints,
    options: Options,
    backoff: Backoff,
    filter: Filter,
    start: Start,
    cursor: Option<Cursor>,
    socket: Option<Socket>,
    attempts: Attempts,
    started: Instant,
    wait: Option<Duration>,
    told: Option<WireError>,
    rng: fastrand::Rng,
}

/// What a subscriber hears.
#[derive(Debug)]
pub enum Item {
    /// Connected; everything after this place follows.
    Connected {
        /// The last event that was seen before.
        resumed_from: Option<Cursor>,
    },
    /// An event.
    Event(Box<FeedRecord>),
    /// The gateway cannot give these.
    Gap(Gap),
    /// The connection is gone, or could not be made. The next call waits, and tries again.
    Lost {
        /// Why.
        why: Error,
        /// After so long.
        retry_in: Duration,
    },
}

/// What a subscriber hears, with events as they came.
#[derive(Debug)]
pub enum RawItem<'a> {
    /// As [`Item::Connected`].
    Connected {
        /// The last event that was seen before.
        resumed_from: Option<Cursor>,
    },
    /// An event, not parsed but for its place.
    Event {
        /// Its offset.
        offset: u64,
        /// The record as JSON.
        text: &'a str,
    },
    /// As [`Item::Gap`].
    Gap(Gap),
    /// As [`Item::Lost`].
    Lost {
        /// Why.
        why: Error,
        /// After so long.
        retry_in: Duration,
    },
}

/// What the parts of a frame are read from.
#[derive(Deserialize)]
struct Place {
    epoch: squall_protocol::Epoch,
    offset: u64,
}

#[derive(Deserialize)]
struct Told {
    gap: Gap,
}

/// What one frame turned out to be.
enum Seen {
    Event { offset: u64 },
    Gap(Gap),
    Nothing,
}

impl Subscriber {
    /// A subscriber that connects with the first [`Subscriber::next`]. Of several gateways, which share a feed, it follows one, and
    /// goes on at the next when its connection is lost.
    #[must_use]
    pub fn new(
        endpoints: impl Into<Endpoints>,
        options: Options,
        backoff: Backoff,
        start: Start,
        filter: Filter,
    ) -> Self {
        let cursor = match start {
            Start::Beginning => Some(Cursor { epoch: None, offset: 0 }),
            Start::After(cursor) => Some(cursor),
            Start::Now => None,
        };
        Self {
            endpoints: endpoints.into(),
            options,
            backoff,
            filter,
            start,
            cursor,
            socket: None,
            attempts: Attempts::default(),
            started: Instant::now(),
            wait: None,
            told: None,
            rng: fastrand::Rng::new(),
        }
    }

    /// Draws the waits between attempts from this seed, for whoever has to repeat them.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.rng = fastrand::Rng::with_seed(seed);
        self
    }

    /// The place of the last event that came out: pass it to [`Start::After`] to go on another day.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Drops the connection; the next call makes another, and resumes.
    pub fn disconnect(&mut self) {
        self.socket = None;
    }

    /// Back to the gateway that it began with, if it is not there: the next call connects, and resumes.
    pub fn go_home(&mut self) {
        if self.endpoints.go_home() {
            self.socket = None;
        }
    }

    /// The gateways, and which of them is in use.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// What comes next. Can be cancelled at any time.
    ///
    /// # Errors
    /// Only what no further attempt can mend ([`Error::is_final`]), and [`Error::Protocol`].
    pub async fn next(&mut self) -> Result<Item> {
        Ok(match self.next_raw().await? {
            RawItem::Connected { resumed_from } => Item::Connected { resumed_from },
            RawItem::Gap(gap) => Item::Gap(gap),
            RawItem::Lost { why, retry_in } => Item::Lost { why, retry_in },
            RawItem::Event { text, .. } => {
                let record = serde_json::from_str(text).map_err(|why| Error::Protocol(format!("{why} in {text:?}")))?;
                Item::Event(Box::new(record))
            }
        })
    }

    /// As [`Subscriber::next`], without parsing events: what a load generator follows the feed with.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub async fn next_raw(&mut self) -> Result<RawItem<'_>> {
        if self.socket.is_none() {
            if let Some(wait) = self.wait {
                tokio::time::sleep(wait).await;
                self.wait = None;
            }
            return match self.connect().await {
                Ok(socket) => {
                    self.attempts.connected(self.started.elapsed());
                    self.socket = Some(socket);
                    Ok(RawItem::Connected { resumed_from: self.cursor })
                }
                Err(why) => self.lost(why),
            };
        }
        loop {
            let waited = match &mut self.socket {
                Some(socket) => socket.wait().await,
                None => Ok(()),
            };
            if let Err(why) = waited {
                return self.lost(why);
            }
            match self.see()? {
                Some(Seen::Event { offset }) => return self.event(offset),
                Some(Seen::Gap(gap)) => return Ok(RawItem::Gap(gap)),
                Some(Seen::Nothing) | None => {}
            }
        }
    }

    /// The next event if it has arrived already: a burst is read without going back to the runtime. `None` when nothing
    /// has, or when it is something else than an event, which [`Subscriber::next_raw`] then tells.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub fn take_raw(&mut self) -> Result<Option<RawItem<'_>>> {
        let offset = match &mut self.socket {
            Some(socket) => match socket.peek() {
                Ok(Some(bytes)) => match place(bytes) {
                    Some(cursor) => {
                        self.cursor = Some(cursor);
                        cursor.offset
                    }
                    None => return Ok(None),
                },
                Ok(None) | Err(Error::Lost { .. }) => return Ok(None),
                Err(why) => return Err(why),
            },
            None => return Ok(None),
        };
        self.event(offset).map(Some)
    }

    /// Looks at the message that is ready: an event is left there for [`Subscriber::event`], all else is taken.
    fn see(&mut self) -> Result<Option<Seen>> {
        let Some(socket) = &mut self.socket else { return Ok(None) };
        let Some(bytes) = socket.peek()? else { return Ok(None) };
        if let Some(cursor) = place(bytes) {
            self.cursor = Some(cursor);
            return Ok(Some(Seen::Event { offset: cursor.offset }));
        }
        let seen = other(bytes)?;
        socket.take()?;
        match seen {
            Other::Gap(gap) => {
                // What was told as lost is not asked for again. In another epoch its events are the place to resume from.
                if gap.reason != GapReason::Epoch
                    && let Some(cursor) = &mut self.cursor
                {
                    cursor.offset = match gap.reason {
                        // The gateway goes on behind its own head, which lies before what was seen.
                        GapReason::Ahead => gap.from.saturating_sub(1),
                        _ => gap.to,
                    };
                }
                Ok(Some(Seen::Gap(gap)))
            }
            Other::Error(error) => {
                self.told = Some(error);
                Ok(Some(Seen::Nothing))
            }
            Other::Pong => Ok(Some(Seen::Nothing)),
        }
    }

    fn event(&mut self, offset: u64) -> Result<RawItem<'_>> {
        match self.socket.as_mut().map(Socket::take) {
            Some(Ok(Some(Message::Text(text)))) => Ok(RawItem::Event { offset, text }),
            Some(Err(why)) => Err(why),
            _ => Err(Error::Protocol("an event that is no text".into())),
        }
    }

    async fn connect(&mut self) -> Result<Socket> {
        if self.start == Start::Now && self.cursor.is_none() {
            let here = self.endpoints.current().clone();
            let stats = Http::new(here, self.options.clone()).stats().await?;
            self.cursor = Some(Cursor { epoch: Some(stats.epoch), offset: stats.feed_offset });
        }
        Socket::connect(self.endpoints.current(), &self.target(), &self.options).await
    }

    fn target(&self) -> String {
        let mut query = Query::new(PATH);
        query.add("after", self.cursor);
        query.add_list("topics", self.filter.topics.iter().map(|topic| topic.as_str()));
        query.add_list("types", self.filter.types.iter().map(String::as_str));
        query.into_target()
    }

    fn lost(&mut self, why: Error) -> Result<RawItem<'_>> {
        self.socket = None;
        self.endpoints.advance();
        let why = match (why, self.told.take()) {
            (Error::Lost { why: Lost::Closed { code, .. } }, Some(error)) => Error::lost(Lost::Told { code, error }),
            (why, _) => why,
        };
        let now = self.started.elapsed();
        let wait_ms = self.attempts.failed(&self.backoff, now, why.retry_after_ms(), self.rng.f64());
        let retry_in = Duration::from_millis(wait_ms);
        self.wait = Some(retry_in);
        if why.is_final() {
            return Err(why);
        }
        Ok(RawItem::Lost { why, retry_in })
    }
}

const EPOCH: &[u8] = b"{\"epoch\":\"";
const OFFSET: &[u8] = b"\",\"offset\":";

/// Epoch and offset of an event; `None` when it is something else.
fn place(bytes: &[u8]) -> Option<Cursor> {
    // Nearly every message begins like this; what does not is read in full.
    if let Some(rest) = bytes.strip_prefix(EPOCH)
        && let Some((epoch, rest)) = rest.split_at_checked(36)
        && let Some(rest) = rest.strip_prefix(OFFSET)
    {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = |bytes| std::str::from_utf8(bytes).ok();
        if let (Some(Ok(epoch)), Some(Ok(offset))) =
            (number(epoch).map(str::parse), number(&rest[..digits]).map(str::parse))
        {
            return Some(Cursor { epoch: Some(epoch), offset });
        }
    }
    let place: Place = serde_json::from_slice(bytes).ok()?;
    Some(Cursor { epoch: Some(place.epoch), offset: place.offset })
}

/// A message that is no event.
enum Other {
    Gap(Gap),
    Error(WireError),
    Pong,
}

fn other(bytes: &[u8]) -> Result<Other> {
    if let Ok(told) = serde_json::from_slice::<Told>(bytes) {
        return Ok(Other::Gap(told.gap));
    }
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(bytes) {
        return Ok(Other::Error(body.error));
    }
    if bytes == b"{\"type\":\"pong\"}" {
        return Ok(Other::Pong);
    }
    Err(Error::Protocol(format!("neither event nor gap nor error: {:?}", excerpt(bytes))))
}

#[cfg(test)]
mod tests {
    use squall_protocol::{Epoch, Time};

    use super::*;
    use crate::Endpoint;

    #[test]
    fn the_place_of_an_event_is_read_both_ways() {
        let epoch = Epoch::at(Time(9), 1);
        let expected = Some(Cursor { epoch: Some(epoch), offset: 1042 });
        for text in [
            format!(r#"{{"epoch":"{epoch}","offset":1042,"topic":"tasks"}}"#),
            format!(r#"{{"offset":1042,"data":{{}},"epoch":"{epoch}"}}"#),
            format!(r#"{{ "epoch": "{epoch}", "offset": 1042 }}"#),
        ] {
            assert_eq!(place(text.as_bytes()), expected, "{text}");
        }
        for text in ["{}", "", r#"{"gap":{"from":1,"to":2,"reason":"epoch"}}"#, r#"{"epoch":"x","offset":1}"#] {
            assert_eq!(place(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        let gap = br#"{"gap":{"from":1,"to":9,"reason":"retention"}}"#;
        assert!(matches!(other(gap), Ok(Other::Gap(Gap { from: 1, to: 9, reason: GapReason::Retention }))));
        assert!(matches!(other(br#"{"error":{"code":"Policy","message":"no"}}"#), Ok(Other::Error(_))));
        assert!(matches!(other(br#"{"type":"pong"}"#), Ok(Other::Pong)));
        assert!(matches!(other(br#"{"type":"?"}"#), Err(Error::Protocol(_))));
    }

    #[test]
    fn the_filter_and_the_place_stand_in_the_address() {
        let start = Start::After(Cursor { epoch: None, offset: 7 });
        let filter = Filter { topics: vec![Topic::Tasks, Topic::DeadLetters], types: vec!["task_done".into()] };
        let endpoint = Endpoint::parse("http://127.0.0.1:1").unwrap();
        let subscriber = Subscriber::new(endpoint, Options::default(), Backoff::default(), start, filter);
        assert_eq!(subscriber.target(), "/ws/events?after=7&topics=tasks,dead_letters&types=task_done");
    }

    #[tokio::test]
    async fn a_seed_decides_how_long_it_waits() {
        // A port that was free a moment ago: nobody answers there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let mut waits = Vec::new();
        for seed in [7, 7, 8] {
            let backoff = Backoff { first_ms: 1_000_000, ..Backoff::default() };
            let backoff = Backoff { longest_ms: 1_000_000_000, ..backoff };
            let (options, filter) = (Options::default(), Filter::default());
            let mut subscriber =
                Subscriber::new(endpoint.clone(), options, backoff, Start::Beginning, filter).with_seed(seed);
            match subscriber.next_raw().await {
                Ok(RawItem::Lost { retry_in, .. }) => waits.push(retry_in),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits[0], waits[1]);
        assert_ne!(waits[0], waits[2]);
    }
}
