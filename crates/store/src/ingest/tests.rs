//! Lists and streams in a real Redis: what is shown, what is taken out, and by whom.

use std::time::{Duration, Instant};

use redis::{Commands, FromRedisValue};
use squall_testkit::{Redis, TlsRedis, eventually};

use crate::{Store, TaskSpec};

use super::{BATCH_BYTES, BLOCK, Content, Error, Item, Kind, Next, Options, Source};

const LIMIT: Duration = Duration::from_secs(20);
const NAME: &str = "cls:events";

fn options(redis: &Redis) -> Options {
    Options {
        url: redis.url(),
        ca_file: String::new(),
        group: "squall".to_owned(),
        batch: 100,
        max_item_bytes: 3 << 20,
        timeout: Duration::from_secs(2),
    }
}

fn source(redis: &Redis, kind: Kind) -> Source {
    Source::new(&options(redis), kind, NAME).unwrap()
}

/// What some other program does.
struct Program(redis::Connection);

impl Program {
    fn new(redis: &Redis) -> Self {
        Self(redis::Client::open(redis.url()).unwrap().get_connection().unwrap())
    }

    fn push(&mut self, items: &[&str]) {
        self.0.rpush::<_, _, ()>(NAME, items).unwrap();
    }

    fn list(&mut self) -> Vec<String> {
        self.0.lrange(NAME, 0, -1).unwrap()
    }

    fn add(&mut self, id: &str, value: &str) {
        self.run::<()>(&["XADD", NAME, id, "data", value]);
    }

    /// Entries that were shown and are not acknowledged.
    fn pending(&mut self) -> usize {
        self.run::<Vec<redis::Value>>(&["XPENDING", NAME, "squall", "-", "+", "10"]).len()
    }

    fn run<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.0).unwrap()
    }
}

fn text(item: &Item) -> String {
    let bytes = match &item.content {
        Content::Bytes(bytes) => bytes,
        Content::Fields(fields) => &fields[0].1,
    };
    String::from_utf8_lossy(bytes).into_owned()
}

fn texts(items: &[Item]) -> Vec<String> {
    items.iter().map(text).collect()
}

async fn items(source: &mut Source) -> Vec<Item> {
    match source.next().await.unwrap() {
        Next::Items(items) => items,
        other => panic!("{other:?}"),
    }
}

/// The items, as soon as this source is shown some.
async fn items_soon(source: &mut Source) -> Vec<Item> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        if let Next::Items(items) = source.next().await.unwrap() {
            return items;
        }
    }
    panic!("nothing within {LIMIT:?}");
}

#[tokio::test]
async fn an_item_leaves_its_list_when_it_is_stored_and_not_before() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    program.push(&["a", "b", "c"]);
    let mut list = source(&redis, Kind::List);
    let first = items(&mut list).await;
    assert_eq!(texts(&first), ["a", "b", "c"], "in order");
    assert_eq!(first.iter().map(|item| item.place.as_str()).collect::<Vec<_>>(), ["item 1", "item 2", "item 3"]);
    assert_eq!(program.list(), ["a", "b", "c"]);
    list.stored(1).await.unwrap();
    list.stored(1).await.unwrap();
    assert_eq!(program.list(), ["c"]);
    program.push(&["d"]);
    let rest = items(&mut list).await;
    assert_eq!(
        (texts(&rest), &rest[0]),
        (vec!["c".to_owned(), "d".to_owned()], &first[2]),
        "it is still the same item"
    );
    list.stored(9).await.unwrap();
    assert!(program.list().is_empty());
    assert_eq!(list.next().await.unwrap(), Next::Nothing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_waits_for_the_first_item_and_is_told_of_it_at_once() {
    let redis = Redis::start("everysec");
    for kind in [Kind::List, Kind::Stream] {
        let mut program = Program::new(&redis);
        program.run::<()>(&["DEL", NAME]);
        let mut source = source(&redis, kind);
        assert_eq!(source.next().await.unwrap(), Next::Nothing);
        let pushing = std::thread::spawn(move || {
            std::thread::sleep(BLOCK / 5);
            match kind {
                Kind::List => program.push(&["x"]),
                Kind::Stream => program.add("*", "x"),
            }
            Instant::now()
        });
        let got = items_soon(&mut source).await;
        assert_eq!(texts(&got), ["x"]);
        assert!(pushing.join().unwrap().elapsed() < BLOCK / 2, "it came with the push");
        source.stored(1).await.unwrap();
        source.leave().await.unwrap();
    }
}

#[tokio::test]
async fn a_list_has_one_reader_and_who_lost_it_takes_nothing() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    program.push(&["a", "b"]);
    let (mut one, mut other) = (source(&redis, Kind::List), source(&redis, Kind::List));
    let shown = items(&mut one).await;
    assert_eq!(other.next().await.unwrap(), Next::Elsewhere);
    one.hold().await.unwrap();
    // As if it had slept for too long.
    program.run::<()>(&["DEL", "{cls:events}:squall:reader"]);
    assert_eq!(items(&mut other).await, shown, "the same items by the same keys");
    let lost = one.stored(2).await.unwrap_err();
    assert_eq!(lost.to_string(), r#"list "cls:events": another gateway reads it now"#);
    assert!(matches!(one.hold().await, Err(Error::Lost { .. })));
    assert_eq!(program.list(), ["a", "b"], "what it would have popped is still there");
    other.stored(2).await.unwrap();
    assert!(program.list().is_empty());
    assert_eq!(one.next().await.unwrap(), Next::Elsewhere);
    one.leave().await.unwrap();
    assert_eq!(one.next().await.unwrap(), Next::Elsewhere, "it cannot give away what it does not have");
    other.leave().await.unwrap();
    assert_eq!(one.next().await.unwrap(), Next::Nothing, "who leaves lets others in at once");
}

#[tokio::test]
async fn a_reader_that_dies_is_followed_by_another() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    program.push(&["a", "b", "c"]);
    let mut dies = source(&redis, Kind::List);
    let shown = items(&mut dies).await;
    dies.stored(1).await.unwrap();
    drop(dies);
    let mut follows = source(&redis, Kind::List);
    let died = Instant::now();
    assert_eq!(items_soon(&mut follows).await, shown[1..]);
    assert!(died.elapsed() < super::list::READER_FOR + Duration::from_secs(1), "{:?}", died.elapsed());
}

#[tokio::test]
async fn programs_that_push_in_front_or_take_too_lose_nothing() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    program.push(&["a", "b", "a"]);
    let mut list = source(&redis, Kind::List);
    assert_eq!(items(&mut list).await.len(), 3);
    program.run::<()>(&["LPUSH", NAME, "front"]);
    list.stored(2).await.unwrap();
    assert_eq!(program.list(), ["front", "a"], "only what was stored went");
    let shown = items(&mut list).await;
    // Another program takes the head, and what follows it looks alike but for its place: it is another item.
    program.run::<()>(&["LPOP", NAME]);
    let next = items(&mut list).await;
    assert_eq!((texts(&next), next[0].place == shown[0].place), (vec!["a".to_owned()], true));
    assert_ne!(next[0].key, shown[0].key);
}

#[tokio::test]
async fn a_batch_is_bounded_and_of_what_is_too_large_only_the_beginning_is_shown() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    let (huge, large) = ("h".repeat(4 << 20), "l".repeat(BATCH_BYTES / 3));
    program.push(&[&huge, &large, &large, "small"]);
    let mut list = source(&redis, Kind::List);
    let shown = items(&mut list).await;
    assert_eq!((shown.len(), shown[0].size, text(&shown[0]).len()), (1, 4 << 20, 3 << 20));
    list.stored(1).await.unwrap();
    assert_eq!(program.list().len(), 3);
    assert_eq!(items(&mut list).await.len(), 3);
    list.stored(3).await.unwrap();
    let few = Options { batch: 2, ..options(&redis) };
    program.push(&["1", "2", "3"]);
    list.leave().await.unwrap();
    let mut list = Source::new(&few, Kind::List, NAME).unwrap();
    assert_eq!(texts(&items(&mut list).await), ["1", "2"]);

    program.run::<()>(&["DEL", NAME]);
    for n in 1..=5 {
        program.add(&format!("{n}-0"), &large);
    }
    let mut stream = source(&redis, Kind::Stream);
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 5 {
        let shown = items(&mut stream).await.len();
        stream.stored(shown).await.unwrap();
        sizes.push(shown);
    }
    assert_eq!(sizes, [1, 2, 2], "the first says how large they are");
}

#[tokio::test]
async fn a_redis_that_was_emptied_counts_anew_under_another_name() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    let mut list = source(&redis, Kind::List);
    let mut keys = Vec::new();
    for _ in 0..2 {
        program.push(&["same"]);
        keys.push(items(&mut list).await.remove(0));
        program.run::<()>(&["FLUSHALL"]);
    }
    assert_eq!(keys[0].place, keys[1].place);
    assert_ne!(keys[0].key, keys[1].key, "what looks the same is not the same");
}

#[tokio::test]
async fn what_is_neither_list_nor_stream_is_told_by_name() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    for kind in [Kind::List, Kind::Stream] {
        program.run::<()>(&["SET", NAME, "text"]);
        let mut source = source(&redis, kind);
        let error = source.next().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} \"cls:events\": ", kind.as_str())), "{error}");
        assert!(error.contains("WRONGTYPE"), "{error}");
        program.run::<()>(&["DEL", NAME]);
        assert_eq!(source.next().await.unwrap(), Next::Nothing, "it goes on by itself");
        program.run::<()>(&["DEL", NAME]);
        source.leave().await.ok();
    }
    let bad =
        Source::new(&Options { url: "redis://:s3cret@".into(), ..options(&redis) }, Kind::List, NAME).unwrap_err();
    assert!(bad.to_string().contains("redis://…@") && !bad.to_string().contains("s3cret"), "{bad}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_goes_away_comes_back() {
    let mut redis = Redis::start("always");
    Program::new(&redis).push(&["a", "b"]);
    Program::new(&redis).run::<()>(&["XADD", "s", "1-0", "data", "x"]);
    let mut list = source(&redis, Kind::List);
    let mut stream = Source::new(&options(&redis), Kind::Stream, "s").unwrap();
    let before = (items(&mut list).await, items(&mut stream).await);
    redis.kill();
    assert!(matches!(list.stored(1).await, Err(Error::Redis { .. })));
    assert!(matches!(stream.stored(1).await, Err(Error::Redis { .. })));
    assert!(matches!(list.next().await, Err(Error::Redis { .. })));
    assert!(matches!(stream.next().await, Err(Error::Redis { .. })));
    redis.restart();
    assert_eq!((items(&mut list).await, items(&mut stream).await), before);
}

#[tokio::test]
async fn an_entry_is_acknowledged_when_it_is_stored() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    // Added before anybody reads.
    program.add("1-0", "a");
    program.add("2-0", "b");
    let mut stream = source(&redis, Kind::Stream);
    let shown = items(&mut stream).await;
    assert_eq!(
        (texts(&shown), shown[0].place.as_str()),
        (vec!["a".to_owned()], "entry 1-0"),
        "the first says how large"
    );
    // Not stored: it is shown again, at once.
    assert_eq!(items(&mut stream).await, shown);
    stream.stored(1).await.unwrap();
    assert_eq!(texts(&items(&mut stream).await), ["b"]);
    assert_eq!(program.pending(), 1);
    // Who leaves with something in hand loses nothing.
    stream.leave().await.unwrap();
    assert_eq!(program.pending(), 1);
    stream.stored(1).await.unwrap();
    stream.leave().await.unwrap();
    let consumers: Vec<redis::Value> = program.run(&["XINFO", "CONSUMERS", NAME, "squall"]);
    assert!(consumers.is_empty(), "{consumers:?}");
    assert_eq!(program.run::<u64>(&["XLEN", NAME]), 2, "they stay in the stream");
}

#[tokio::test]
async fn what_a_dead_consumer_left_is_taken_over_and_what_is_held_is_not() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    program.add("1-0", "a");
    let (mut dies, mut holds, mut follows) =
        (source(&redis, Kind::Stream), source(&redis, Kind::Stream), source(&redis, Kind::Stream));
    let left = items(&mut dies).await;
    program.add("2-0", "b");
    let held = items(&mut holds).await;
    drop(dies);
    let holding = tokio::spawn(async move {
        loop {
            holds.hold().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    assert_eq!(items_soon(&mut follows).await, left);
    follows.stored(1).await.unwrap();
    for _ in 0..6 {
        assert_eq!(follows.next().await.unwrap(), Next::Nothing);
    }
    holding.abort();
    assert_eq!(items_soon(&mut follows).await, held);
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_joined_again() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    let mut stream = source(&redis, Kind::Stream);
    assert_eq!(stream.next().await.unwrap(), Next::Nothing);
    program.run::<()>(&["DEL", NAME]);
    program.add("1-0", "a");
    let seen = eventually("the entry", LIMIT, async || match stream.next().await {
        Ok(Next::Items(items)) => Some(texts(&items)),
        _ => None,
    });
    assert_eq!(seen.await, ["a"]);
}

/// A gateway that dies after it stored what it was shown, and before it could say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_and_not_taken_out_is_stored_once() {
    let redis = Redis::start("everysec");
    let mut program = Program::new(&redis);
    program.push(&["1", "2", "3"]);
    for n in 1..=3 {
        program.run::<()>(&["XADD", "s", &format!("{n}-0"), "data", &n.to_string()]);
    }
    let dir = tempfile::tempdir().unwrap();
    let lanes = [("a".to_owned(), crate::config::Lane::default())].into();
    let store =
        crate::embedded::open(dir.path(), crate::config::Options { lanes, ..Default::default() }).expect("a store");
    let publish = async |items: &[Item]| -> Vec<(squall_protocol::TaskId, bool)> {
        let spec = |item: &Item| TaskSpec {
            lane: Some("a".into()),
            kind: "k".into(),
            payload: text(item).into(),
            idempotency_key: Some(item.key.as_str().into()),
            ..TaskSpec::default()
        };
        let answers = store.publish(&"t".into(), items.iter().map(spec).collect()).await;
        answers.into_iter().map(|answer| answer.map(|made| (made.id, made.duplicate)).unwrap()).collect()
    };
    for (kind, name) in [(Kind::List, NAME), (Kind::Stream, "s")] {
        let mut ids = Vec::new();
        let mut dies = Source::new(&options(&redis), kind, name).unwrap();
        while ids.len() < 3 {
            ids.extend(publish(&items(&mut dies).await).await);
            if kind == Kind::Stream && ids.len() == 1 {
                dies.stored(1).await.unwrap();
            }
        }
        assert!(ids.iter().all(|(_, duplicate)| !duplicate));
        drop(dies);
        let mut follows = Source::new(&options(&redis), kind, name).unwrap();
        let mut again = Vec::new();
        let left = if kind == Kind::List { 3 } else { 2 };
        while again.len() < left {
            let shown = items_soon(&mut follows).await;
            again.extend(publish(&shown).await);
            follows.stored(shown.len()).await.unwrap();
        }
        let known: Vec<_> = ids[3 - left..].iter().map(|(id, _)| (*id, true)).collect();
        assert_eq!(again, known, "{kind:?}");
        assert_eq!(follows.next().await.unwrap(), Next::Nothing);
    }
    assert_eq!(store.lane("a").await.unwrap().ready.normal, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_found_behind_tls_and_wherever_a_cluster_has_it() {
    let safe = TlsRedis::start();
    let at = |url: String, ca_file: String| Options { url, ca_file, ..options(safe.plain()) };
    let mut unknown = Source::new(&at(safe.url(), String::new()), Kind::List, NAME).unwrap();
    assert!(matches!(unknown.next().await, Err(Error::Redis { .. })), "an authority that nobody knows");
    let trusted = at(safe.url(), safe.ca_file().display().to_string());
    let nowhere = Options { ca_file: "/nowhere/ca.pem".into(), ..trusted.clone() };
    assert!(Source::new(&nowhere, Kind::List, NAME).unwrap_err().to_string().contains("/nowhere/ca.pem"));

    let (node, bus) = Redis::start_cluster();
    let (outsider, _) = Redis::start_node();
    assert_eq!(outsider.ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), &bus.to_string()]), "+OK");
    outsider.wait_for_cluster();
    assert!(outsider.ask(&["LLEN", NAME]).starts_with("-MOVED"), "it has no slots");
    for (options, there) in [(trusted, safe.plain()), (at(outsider.url(), String::new()), &node)] {
        assert_eq!(there.ask(&["RPUSH", NAME, "a", "b"]), ":2");
        let _ = there.ask(&["XADD", "s", "1-0", "data", "x"]);
        let mut list = Source::new(&options, Kind::List, NAME).unwrap();
        assert_eq!(texts(&items(&mut list).await), ["a", "b"]);
        list.hold().await.unwrap();
        list.stored(1).await.unwrap();
        assert_eq!(there.ask(&["LLEN", NAME]), ":1");
        list.leave().await.unwrap();
        let mut stream = Source::new(&options, Kind::Stream, "s").unwrap();
        assert_eq!(texts(&items(&mut stream).await), ["x"]);
        stream.stored(1).await.unwrap();
        stream.leave().await.unwrap();
    }
}
