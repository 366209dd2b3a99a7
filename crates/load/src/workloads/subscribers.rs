//! `subscribers`: follow the feed over `/ws/events`, check that offsets follow each other without gap or repeat, and that each is
//! the same event for all of them, whichever gateway they follow and however often they change to another; and measure
//! how long an event took to get here. The event's own time has milliseconds, so the figure is good to one.

use std::time::Duration;

use serde::Serialize;
use squall_client::Subscriber;
use squall_client::events::{Filter, RawItem, Start};
use squall_protocol::{Gap, GapReason, Time, Topic};
use squall_report::record::FeedFindingClass;

use super::homecoming::Homecoming;
use super::{Place, patience};
use crate::engine::{Core, Follower};
use crate::metrics::{Check, ErrorKind};
use crate::scenario::{ScenarioError, Section};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subscribers {
    /// Only these; empty for all. With a selection, offsets may skip, and only their order is checked.
    pub topics: Vec<Topic>,
}

impl Subscribers {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let choices = Topic::ALL.map(|topic| (topic.as_str(), topic));
        let words = section.texts("topics")?.unwrap_or_default();
        let topics = words.iter().map(|word| section.choice("topic", word, &choices)).collect::<Result<_, _>>()?;
        Ok(Self { topics })
    }

    pub(super) fn describe(&self) -> String {
        match self.topics.as_slice() {
            [] => "follows the whole feed and checks that offsets have no gap".to_owned(),
            some => format!("follows {} of the feed", some.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// What offsets may come next. Pure.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    last: Option<u64>,
}

/// What an offset says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    Well,
    Again,
    /// So many are missing in between.
    Missing(u64),
}

impl Order {
    fn next(&mut self, offset: u64, selected: bool) -> Follows {
        let Some(last) = self.last else {
            self.last = Some(offset);
            return Follows::Well;
        };
        if offset <= last {
            return Follows::Again;
        }
        self.last = Some(offset);
        if selected || offset == last + 1 { Follows::Well } else { Follows::Missing(offset - last - 1) }
    }

    /// The gateway said that it cannot give these.
    const fn told(&mut self, gap: &Gap) {
        self.last = match gap.reason {
            GapReason::Epoch => None,
            // It goes on where its feed ends, and that is before what was seen already.
            GapReason::Ahead => Some(gap.from.saturating_sub(1)),
            GapReason::Retention | GapReason::Corrupt => Some(gap.to),
        };
    }
}

/// A subscriber.
pub(crate) struct Vu {
    config: Subscribers,
    place: Place,
    subscriber: Subscriber,
    homecoming: Homecoming,
    order: Order,
    /// `None` with a selection: what it does not ask for, it need not have seen.
    follower: Option<Follower>,
    connections: u64,
}

impl Vu {
    pub(super) fn new(config: Subscribers, place: Place) -> Self {
        let run = &place.core.run;
        let filter = Filter { topics: config.topics.clone(), types: Vec::new() };
        let subscriber = Subscriber::new(place.gateways(), run.options.clone(), patience::BACKOFF, Start::Now, filter)
            .with_seed(place.core.rng.borrow_mut().u64(..));
        let follower = config.topics.is_empty().then(|| run.followers.join(run.feed_begun));
        let homecoming = Homecoming::new(&place);
        Self { config, place, subscriber, homecoming, order: Order::default(), follower, connections: 0 }
    }

    /// Follows until it is told to stop.
    pub(super) async fn iterate(&mut self) {
        let core = self.place.core.clone();
        loop {
            let item = tokio::select! {
                biased;
                () = self.place.stop.cancelled() => return,
                () = self.homecoming.due() => {
                    // It resumes there after the last event that it has seen here.
                    self.subscriber.go_home();
                    continue;
                }
                item = self.subscriber.next_raw() => item,
            };
            match item {
                Ok(RawItem::Event { offset, text }) => {
                    let seen = Seen::of(&core, offset, text);
                    self.event(seen);
                    // The rest of the burst, without going back to the runtime.
                    loop {
                        let seen = match self.subscriber.take_raw() {
                            Ok(Some(RawItem::Event { offset, text })) => Seen::of(&core, offset, text),
                            _ => break,
                        };
                        self.event(seen);
                    }
                }
                Ok(RawItem::Gap(gap)) => self.gap(&gap),
                Ok(RawItem::Connected { resumed_from }) => {
                    self.connections += 1;
                    if self.connections > 1 {
                        core.count(core.ids.reconnects, 1);
                    } else if self.order.last.is_none() {
                        self.order.last = resumed_from.map(|cursor| cursor.offset);
                        if let (Some(follower), Some(last)) = (&self.follower, self.order.last) {
                            follower.at(last);
                        }
                    }
                }
                Ok(RawItem::Lost { why, .. }) => core.error(ErrorKind::of(&why)),
                Err(error) => {
                    // Nothing that another attempt could mend; still, a feed that nobody follows must not pass unnoticed.
                    core.error(ErrorKind::of(&error));
                    core.check(Check::FeedOrder, false);
                    self.subscriber.disconnect();
                    if !patience::wait(&self.place, Duration::from_secs(1)).await {
                        return;
                    }
                }
            }
        }
    }

    /// The gateway said that it cannot give some events. It is honest of it, so it is counted apart; but a store of our own
    /// that is another one than before, or damaged, or behind what it told already, has broken its promise.
    fn gap(&mut self, gap: &Gap) {
        let core = &self.place.core;
        let before = self.order.last;
        self.order.told(gap);
        if matches!(gap.reason, GapReason::Epoch | GapReason::Ahead) {
            core.run.comparison.give_up();
        }
        // An epoch that begins anew cannot say how much is missing.
        let events = (gap.to + 1).saturating_sub(gap.from).max(1);
        core.count(core.ids.feed_gaps_told, events);
        if core.run.own && gap.reason != GapReason::Retention {
            core.count(core.ids.feed_gaps, events);
            core.check(Check::FeedOrder, false);
            let why = match gap.reason {
                GapReason::Epoch => "the store is another one",
                GapReason::Ahead => "the store's feed ends before",
                GapReason::Retention | GapReason::Corrupt => "they are damaged",
            };
            self.found(FeedFindingClass::Gap, gap.from, || {
                format!("was told, after {}, that {events} cannot be given: {why}", before.unwrap_or_default())
            });
        }
        if let (Some(follower), Some(last)) = (&self.follower, self.order.last) {
            follower.at(last);
        }
    }

    /// Names this subscriber, and where it is, in a finding.
    fn found(&self, class: FeedFindingClass, offset: u64, what: impl FnOnce() -> String) {
        let (number, endpoints) = (self.place.number + 1, self.subscriber.endpoints());
        let (gateway, of) = (endpoints.index() + 1, endpoints.all().len());
        self.place.core.run.comparison.found(class, offset, || match of {
            1 => format!("subscriber {number} {}", what()),
            _ => format!("subscriber {number} on gateway {gateway} {}", what()),
        });
    }

    fn event(&mut self, Seen { offset, at, bytes, agrees }: Seen) {
        let core = &self.place.core;
        let before = self.order.last;
        core.count(core.ids.feed_events, 1);
        core.count(core.ids.data_received, bytes as u64);
        if let Some(follower) = &self.follower {
            follower.at(offset);
        }
        let follows = self.order.next(offset, !self.config.topics.is_empty());
        core.check(Check::FeedOrder, follows == Follows::Well);
        match follows {
            Follows::Well => {}
            Follows::Again => core.count(core.ids.feed_repeats, 1),
            Follows::Missing(events) => core.count(core.ids.feed_gaps, events),
        }
        let after = || format!("got {offset} after {}", before.unwrap_or_default());
        match follows {
            Follows::Well => {}
            Follows::Again => self.found(FeedFindingClass::Repeat, offset, after),
            Follows::Missing(_) => self.found(FeedFindingClass::Gap, offset, after),
        }
        if !agrees {
            core.count(core.ids.feed_conflicts, 1);
            self.found(FeedFindingClass::Conflict, offset, || "got another event than one before it".to_owned());
        }
        if let Some(at) = at {
            core.trend(core.ids.feed_latency, core.wall_ms().saturating_sub(at.0) * 1000);
        }
    }
}

/// What is looked at of an event.
struct Seen {
    offset: u64,
    at: Option<Time>,
    bytes: usize,
    /// It is the event that others were told at this offset.
    agrees: bool,
}

impl Seen {
    fn of(core: &Core, offset: u64, text: &str) -> Self {
        let agrees = core.run.comparison.agrees(offset, text);
        Self { offset, at: event_time(text), bytes: text.len(), agrees }
    }
}

/// The time of an event, without reading the rest of it.
fn event_time(text: &str) -> Option<Time> {
    const KEY: &str = "\"time\":\"";
    // It stands near the front; what a tenant wrote into `data` comes later.
    let at = text.find(KEY)? + KEY.len();
    let length = text.get(at..)?.find('"')?;
    text[at..at + length].parse().ok()
}

#[cfg(test)]
mod tests {
    use squall_report::statistics::Measured;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::engine::testing::Lone;
    use crate::workloads::Workload;

    #[test]
    fn offsets() {
        let mut order = Order::default();
        for (offset, follows) in [
            (7, Follows::Well),
            (8, Follows::Well),
            (8, Follows::Again),
            (11, Follows::Missing(2)),
            (12, Follows::Well),
            (3, Follows::Again),
            (13, Follows::Well),
        ] {
            assert_eq!(order.next(offset, false), follows, "{offset}");
        }
        assert_eq!(order.next(99, true), Follows::Well, "a selection skips");
        order.told(&Gap { from: 100, to: 200, reason: GapReason::Retention });
        assert_eq!(order.next(201, false), Follows::Well, "the gateway told of the gap");
        order.told(&Gap { from: 151, to: 201, reason: GapReason::Ahead });
        assert_eq!(order.next(151, false), Follows::Well, "the gateway's feed ended before");
        order.told(&Gap { from: 152, to: 151, reason: GapReason::Epoch });
        assert_eq!(order.next(1, false), Follows::Well, "another store counts from the beginning");
    }

    #[test]
    fn gaps_that_the_gateway_tells_are_counted_and_some_break_a_promise() {
        let counted = |reason| {
            let lone = Lone::new("workload = \"subscribers\"\nexecutor = \"constant-vus\"\nduration = \"1s\"\n", 8);
            let Workload::Subscribers(config) = lone.core.run.loads[0].workload.clone() else { panic!("subscribers") };
            let stop = CancellationToken::new();
            let mut vu = Vu::new(config, Place { core: lone.core.clone(), load: 0, number: 0, open: false, stop });
            vu.event(Seen { offset: 7, at: None, bytes: 100, agrees: true });
            vu.gap(&Gap { from: 8, to: 10, reason });
            let behind = lone.core.run.followers.behind(10).1;
            let leaves = lone.leave();
            let count = |metric| match leaves.tally.measure(&lone.registry, metric, &[]) {
                Some(Measured::Counter(count)) => count,
                other => panic!("{metric}: {other:?}"),
            };
            (count("feed_gaps_told"), count("feed_gaps"), behind)
        };
        assert_eq!(counted(GapReason::Retention), (3, 0, 0));
        assert_eq!(counted(GapReason::Corrupt), (3, 3, 0));
        assert_eq!(counted(GapReason::Ahead), (3, 3, 3));
        assert_eq!(counted(GapReason::Epoch), (3, 3, 3));
    }

    #[test]
    fn the_time_of_an_event() {
        let text = r#"{"epoch":"x","offset":1,"time":"2026-11-21T06:40:00.123Z","data":{"time":"never"}}"#;
        assert_eq!(event_time(text), Some(Time(1_795_243_200_123)));
        assert_eq!(event_time("{}"), None);
    }
}
