//! Simulated time: what comes out of toxics, when, and that nothing is lost whatever is changed meanwhile.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::draw::Seed;
use crate::spec::Direction;
use crate::toxics::Begin;

/// A chain with a clock that a test owns.
struct World {
    chain: Chain,
    start: Instant,
    now: Instant,
    toxics: Vec<(u64, u64, Attributes, Arc<ToxicCounters>)>,
    out: Vec<(u64, Item)>,
    broken: bool,
    next_id: u64,
}

fn toxic(kind: &str, attributes: serde_json::Value) -> Attributes {
    let serde_json::Value::Object(map) = attributes else { panic!("attributes are an object") };
    Attributes::of_type(kind).unwrap().with(&map).unwrap()
}

impl World {
    fn new(toxics: &[Attributes]) -> Self {
        let now = Instant::now();
        let mut world = Self {
            chain: Chain::default(),
            start: now,
            now,
            toxics: Vec::new(),
            out: Vec::new(),
            broken: false,
            next_id: 1,
        };
        for toxic in toxics {
            world.add(toxic.clone());
        }
        world
    }

    fn add(&mut self, attributes: Attributes) {
        let id = self.next_id;
        self.next_id += 1;
        self.toxics.push((id, 0, attributes, Arc::default()));
        self.replan();
    }

    fn update(&mut self, nth: usize, attributes: Attributes) {
        self.toxics[nth].1 += 1;
        self.toxics[nth].2 = attributes;
        self.replan();
    }

    fn remove(&mut self, nth: usize) {
        self.toxics.remove(nth);
        self.replan();
    }

    fn replan(&mut self) {
        let wanted: Vec<_> = self
            .toxics
            .iter()
            .map(|(id, revision, attributes, counters)| Wanted { id: *id, revision: *revision, attributes, counters })
            .collect();
        let now = self.now;
        let released = self.chain.change(&wanted, now, |wanted| {
            let rng = Seed(1).of("p", "t", Direction::Upstream, wanted.id).rng();
            wanted.attributes.begin(Begin { now, rng, was_open: true, counters: Arc::clone(wanted.counters) })
        });
        self.broken |= released.broken;
        let at = self.elapsed_ms();
        self.out.extend(released.items.into_iter().map(|item| (at, item)));
    }

    fn elapsed_ms(&self) -> u64 {
        (self.now - self.start).as_millis() as u64
    }

    /// Puts it in if the chain takes it.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let takes = self.chain.takes();
        if takes {
            self.chain.push(Item::Data(Bytes::copy_from_slice(bytes), self.now));
        }
        takes
    }

    /// Lets so much time pass, a step at a time, as a link with a perfect timer would.
    fn run(&mut self, for_ms: u64) {
        let until = self.now + Duration::from_millis(for_ms);
        loop {
            match self.chain.pull(self.now) {
                Next::Item(item) => self.out.push((self.elapsed_ms(), item)),
                Next::At(at) if at <= until => {
                    assert!(at > self.now, "a time that is past is no reason to wait");
                    self.now = at;
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn bytes(&self) -> Vec<u8> {
        let data = self.out.iter().filter_map(|(_, item)| match item {
            Item::Data(bytes, _) => Some(bytes.as_ref()),
            _ => None,
        });
        data.collect::<Vec<_>>().concat()
    }

    /// When what came, in milliseconds: sizes of data, or the end.
    fn told(&self) -> Vec<(u64, String)> {
        let tell = |item: &Item| match item {
            Item::Data(bytes, _) => bytes.len().to_string(),
            other => format!("{other:?}"),
        };
        self.out.iter().map(|(at, item)| (*at, tell(item))).collect()
    }
}

fn told(of: &[(u64, &str)]) -> Vec<(u64, String)> {
    of.iter().map(|(at, what)| (*at, (*what).to_owned())).collect()
}

#[test]
fn latency_is_counted_from_arrival_and_costs_no_bandwidth() {
    let mut world = World::new(&[toxic("latency", json!({"latency": 50}))]);
    for _ in 0..20 {
        assert!(world.push(b"x"));
        world.run(1);
    }
    world.run(100);
    assert_eq!(world.told(), (0..20).map(|n| (50 + n, "1".to_owned())).collect::<Vec<_>>());
}

#[test]
fn two_latencies_add_up_and_an_end_waits_for_what_is_before_it_only() {
    let mut world = World::new(&[toxic("latency", json!({"latency": 30})), toxic("latency", json!({"latency": 20}))]);
    world.push(b"abc");
    world.chain.push(Item::End);
    world.run(200);
    assert_eq!(world.told(), told(&[(50, "3"), (50, "End")]));
    world.chain.push(Item::End);
    world.run(1);
    assert_eq!(world.told()[2], (200, "End".to_owned()), "an end alone is not late");
}

#[test]
fn bandwidth_lets_so_many_bytes_through_in_tenths_of_a_second() {
    let mut world = World::new(&[toxic("bandwidth", json!({"rate": 1}))]);
    world.push(&[0; 1_000]);
    assert!(!world.push(b"more"), "one at a time: what is not through is not read");
    world.run(2_000);
    assert_eq!(world.told(), (1..=10).map(|n| (100 * n, "100".to_owned())).collect::<Vec<_>>());
}

#[test]
fn bandwidth_of_nothing_holds_and_a_new_rate_takes_effect_at_once() {
    let mut world = World::new(&[toxic("bandwidth", json!({"rate": 0}))]);
    world.push(&[0; 1_000]);
    world.run(60_000);
    assert_eq!(world.told(), []);
    world.update(0, toxic("bandwidth", json!({"rate": 100})));
    world.run(1_000);
    assert_eq!(world.told(), told(&[(60_010, "1000")]));
}

#[test]
fn bandwidth_keeps_its_rate_when_it_is_called_late() {
    let mut world = World::new(&[toxic("bandwidth", json!({"rate": 10_000}))]);
    // 10,000 bytes last a millisecond; the link is always half a millisecond late.
    let (mut through, mut late) = (0, world.now);
    while through < 100 {
        world.push(&[0; 10_000]);
        match world.chain.pull(late) {
            Next::Item(_) => through += 1,
            Next::At(at) => late = at + Duration::from_micros(500),
            Next::Idle => panic!("something waits"),
        }
    }
    let took = late - world.start;
    assert!((99..=102).contains(&took.as_millis()), "{took:?} for 100 ms of data");
}

#[test]
fn only_the_end_is_closed_slowly() {
    let mut world = World::new(&[toxic("slow_close", json!({"delay": 300}))]);
    world.push(b"abc");
    world.run(10);
    world.chain.push(Item::End);
    world.run(1_000);
    assert_eq!(world.told(), told(&[(0, "3"), (310, "End")]));
}

#[test]
fn a_timeout_begins_anew_with_every_byte() {
    let mut world = World::new(&[toxic("timeout", json!({"timeout": 100}))]);
    for _ in 0..5 {
        world.push(b"lost");
        world.run(80);
    }
    assert_eq!(world.told(), []);
    world.run(21);
    assert_eq!(world.told()[0], (420, "Close".to_owned()));
    world.remove(0);
    assert!(world.broken);
}

#[test]
fn a_timeout_of_zero_keeps_a_closed_peer_for_a_minute() {
    let mut world = World::new(&[toxic("timeout", json!({}))]);
    world.push(b"lost");
    world.run(3_600_000);
    assert_eq!(world.told(), []);
    world.chain.push(Item::End);
    world.run(59_999);
    assert_eq!(world.told(), []);
    world.run(1);
    assert_eq!(world.told()[0].1, "Close");
}

#[test]
fn limited_data_is_exact_over_chunks_and_changes() {
    let mut world = World::new(&[toxic("limit_data", json!({"bytes": 10}))]);
    for chunk in [&b"abcd"[..], b"efgh"] {
        world.push(chunk);
        world.run(1);
    }
    world.update(0, toxic("limit_data", json!({"bytes": 11})));
    world.push(b"ijklmnop");
    world.run(1);
    assert_eq!(world.bytes(), b"abcdefghijk");
    assert_eq!(world.told().last().unwrap().1, "Close");
    let mut none = World::new(&[toxic("limit_data", json!({}))]);
    none.run(1_000);
    assert_eq!(none.told(), []);
    none.push(b"x");
    none.run(0);
    assert_eq!(none.told(), told(&[(1_000, "Close")]));
}

#[test]
fn slices_come_with_a_pause_after_each() {
    let mut world = World::new(&[toxic("slicer", json!({"average_size": 25, "size_variation": 0, "delay": 10_000}))]);
    world.push(&[7; 100]);
    world.run(500);
    assert_eq!(world.told(), told(&[(0, "25"), (10, "25"), (20, "25"), (30, "25")]));
    world.push(b"later");
    world.run(1);
    assert_eq!(world.told()[4], (500, "5".to_owned()));
}

#[test]
fn a_slicer_with_default_attributes_cuts_nothing() {
    let mut world = World::new(&[toxic("slicer", json!({}))]);
    world.push(&[7; 30_000]);
    world.run(0);
    assert_eq!(world.told(), told(&[(0, "30000")]));
}

#[test]
fn reset_peer_strikes_idle_connections_too() {
    let mut world = World::new(&[toxic("reset_peer", json!({"timeout": 40}))]);
    assert_eq!(world.chain.cut(world.now), Cut::At(world.start + Duration::from_millis(40)));
    assert_eq!(world.chain.cut(world.start + Duration::from_millis(40)), Cut::Now(Ending::Reset));
    // A connection that came after the toxic waits for its first data.
    let begin = Begin { now: world.now, rng: Seed(1).rng(), was_open: false, counters: Arc::default() };
    let mut stage = toxic("reset_peer", json!({"timeout": 40})).begin(begin);
    let mut waiting = Waiting::default();
    assert_eq!(stage.cut(&waiting, world.start + Duration::from_secs(9)), Cut::No);
    waiting.push(Item::Data(Bytes::from_static(b"x"), world.now));
    assert_eq!(stage.cut(&waiting, world.start), Cut::At(world.start + Duration::from_millis(40)));
}

#[test]
fn a_stall_takes_nothing_and_loses_nothing() {
    let mut world = World::new(&[toxic("latency", json!({"latency": 5})), toxic("stall", json!({}))]);
    world.push(b"abc");
    world.run(1_000);
    assert_eq!(world.told(), []);
    world.remove(1);
    world.run(0);
    assert_eq!(world.bytes(), b"abc");
    assert!(!world.broken);
    let mut alone = World::new(&[toxic("stall", json!({}))]);
    assert!(!alone.push(b"x"));
}

#[test]
fn half_open_swallows_even_the_end() {
    let mut world = World::new(&[toxic("half_open", json!({}))]);
    world.push(b"abc");
    world.chain.push(Item::End);
    world.run(59_000);
    assert_eq!(world.told(), []);
    world.remove(0);
    assert!(world.broken);
}

#[test]
fn corrupt_flips_one_bit_in_so_many_bytes_and_the_seed_says_which() {
    let corrupted = |rate: f64| {
        let mut world = World::new(&[toxic("corrupt", json!({"rate": rate}))]);
        for _ in 0..100 {
            world.push(&[0; 1_000]);
            world.run(1);
        }
        world.bytes()
    };
    for (rate, least, most) in [(0.0, 0, 0), (0.01, 850, 1_150), (1.0, 100_000, 100_000), (1e-18, 0, 0)] {
        let bytes = corrupted(rate);
        let hit: Vec<_> = bytes.iter().filter(|byte| **byte != 0).collect();
        assert_eq!(bytes.len(), 100_000);
        assert!((least..=most).contains(&hit.len()), "{} at {rate}", hit.len());
        assert!(hit.iter().all(|byte| byte.count_ones() == 1));
        assert_eq!(bytes, corrupted(rate));
    }
}

#[test]
fn what_a_toxic_holds_is_bounded() {
    let mut world = World::new(&[toxic("latency", json!({"latency": 1_000_000}))]);
    let mut held = 0;
    while world.push(&[0; 32 << 10]) {
        held += 32 << 10;
        assert!(held <= MAX_HELD, "it must say no");
    }
    assert!(held > MAX_HELD - (1 << 20));
}

fn lossless() -> impl Strategy<Value = Attributes> {
    prop_oneof![
        (0_i64..50, 0_i64..60)
            .prop_map(|(latency, jitter)| toxic("latency", json!({"latency": latency, "jitter": jitter}))),
        (1_i64..200).prop_map(|rate| toxic("bandwidth", json!({"rate": rate}))),
        (0_i64..300, 0_i64..100, 0_i64..2_000).prop_map(|(size, variation, delay)| {
            toxic("slicer", json!({"average_size": size, "size_variation": variation, "delay": delay}))
        }),
        (0_i64..100).prop_map(|delay| toxic("slow_close", json!({"delay": delay}))),
        Just(toxic("noop", json!({}))),
        Just(toxic("corrupt", json!({}))),
        Just(toxic("stall", json!({}))),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Pass(u64),
    Add(Attributes),
    Update(usize),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..3_000).prop_map(Step::Send),
        3 => (0_u64..40).prop_map(Step::Pass),
        1 => lossless().prop_map(Step::Add),
        1 => (0_usize..4).prop_map(Step::Update),
        1 => (0_usize..4).prop_map(Step::Remove),
    ]
}

proptest! {
    /// Whatever toxics are added, changed and removed while data is under way: every byte comes out once and in order,
    /// then the end.
    #[test]
    fn toxics_that_lose_nothing_lose_nothing(first in prop::collection::vec(lossless(), 0..4), steps in prop::collection::vec(step(), 0..40)) {
        let mut world = World::new(&first);
        let mut sent = Vec::new();
        for step in steps {
            match step {
                Step::Send(len) => {
                    let bytes: Vec<u8> = (sent.len()..sent.len() + len).map(|n| (n % 251) as u8).collect();
                    if !world.chain.is_empty() && world.push(&bytes) {
                        sent.extend(bytes);
                    }
                }
                Step::Pass(ms) => world.run(ms),
                Step::Add(attributes) => world.add(attributes),
                Step::Update(nth) if nth < world.toxics.len() => {
                    let same = world.toxics[nth].2.clone();
                    world.update(nth, same);
                }
                Step::Remove(nth) if nth < world.toxics.len() => world.remove(nth),
                Step::Update(_) | Step::Remove(_) => {}
            }
        }
        world.toxics.retain(|(_, _, attributes, _)| !matches!(attributes, Attributes::Stall(_)));
        world.add(toxic("noop", json!({})));
        world.run(10_000);
        world.chain.push(Item::End);
        world.run(1_000_000);
        prop_assert_eq!(world.bytes(), sent);
        prop_assert_eq!(&world.out.last().unwrap().1, &Item::End);
        prop_assert!(!world.broken);
    }
}

#[test]
fn a_close_goes_through_the_toxics_behind_it_once() {
    let mut world = World::new(&[
        toxic("limit_data", json!({"bytes": 3})),
        toxic("latency", json!({"latency": 20})),
        toxic("slow_close", json!({"delay": 100})),
    ]);
    world.push(b"abcdef");
    world.run(1_000);
    assert_eq!(world.told(), told(&[(20, "3"), (120, "Close")]));
}
