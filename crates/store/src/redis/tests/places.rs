//! Redis where it is kept in earnest: behind TLS, behind a password, in a database of its own, in a cluster.

use std::time::Duration;

use squall_protocol::{ConnectionId, Time};
use squall_testkit::{Redis, TlsRedis};

use crate::config::{Lane, Options};
use crate::migrate::migrate;
use crate::redis::{OpenError, RedisStore, open};
use crate::{Holder, SettleVerb, Settlement, Store, TaskSpec, WorkerSpec, embedded};

const LIMIT: Duration = Duration::from_secs(20);

fn options(url: String) -> Options {
    let mut options = Options { lanes: [("a".to_owned(), Lane::default())].into(), ..Options::default() };
    options.store.url = url;
    options
}

async fn refusal(options: Options) -> String {
    let error = open(options).await.map(drop).unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    error.to_string()
}

/// What one gateway publishes a worker of another gets and finishes, and both read it in the feed: every kind of connection is used.
async fn two_gateways_work(options: &Options) {
    let (one, other) = (open(options.clone()).await.unwrap(), open(options.clone()).await.unwrap());
    let id = ConnectionId::at(Time(1), 1);
    let mut worker = other.open_worker(WorkerSpec { id, tenant: None, lanes: vec!["a".into()] }).await.unwrap();
    other.grant(id, 1);
    let spec = TaskSpec { lane: Some("a".into()), kind: "k".into(), payload: "1".into(), ..TaskSpec::default() };
    let task = one.publish(&"t".into(), vec![spec]).await.remove(0).unwrap().id;
    let got = tokio::time::timeout(LIMIT, worker.deliveries.recv()).await.unwrap().unwrap();
    assert_eq!(got[0].task.id, task);
    let ack = Settlement { id: task, receipt: None, verb: SettleVerb::Ack };
    other.settle(None, Holder::Worker(id), vec![ack]).await.remove(0).unwrap();
    for store in [&one, &other] {
        let head = store.stats().await.unwrap().feed_offset;
        let slice = store.read_feed(head - 3, 10).await.unwrap();
        let kinds: Vec<_> = slice.records.iter().map(|event| event.event_type.clone()).collect();
        assert_eq!(kinds, ["task_published", "task_leased", "task_done"]);
    }
    let close = |store: RedisStore| async move { store.close().await.unwrap() };
    close(one).await;
    close(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_with_whom_is_trusted() {
    let redis = TlsRedis::start();
    let mut options = options(redis.url());
    let refused = refusal(options.clone()).await;
    assert!(refused.contains("store.ca_file names the authority"), "{refused}");
    options.store.ca_file = "/nowhere/ca.pem".to_owned();
    let refused = refusal(options.clone()).await;
    assert!(refused.contains("store.ca_file: cannot read /nowhere/ca.pem"), "{refused}");
    // Some other authority.
    let other = TlsRedis::start();
    options.store.ca_file = other.ca_file().display().to_string();
    let refused = refusal(options.clone()).await;
    assert!(refused.contains("is not trusted"), "{refused}");
    options.store.ca_file = redis.ca_file().display().to_string();
    two_gateways_work(&options).await;
    assert_eq!(redis.plain().ask(&["EXISTS", "squall:epoch"]), ":1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_opens_and_a_database_is_chosen() {
    let redis = Redis::start_with("no", &["--requirepass", "s3cret"]);
    let at = |login: &str| format!("redis://{login}127.0.0.1:{}/3", redis.port());
    two_gateways_work(&options(at(":s3cret@"))).await;
    let client = ::redis::Client::open(at(":s3cret@")).unwrap();
    let there: u64 = ::redis::cmd("EXISTS").arg("squall:epoch").query(&mut client.get_connection().unwrap()).unwrap();
    assert_eq!(there, 1, "it is in the database that the address names");
    for login in ["", ":s3cret2@", "nobody:s3cret@"] {
        let refused = refusal(options(at(login))).await;
        assert!(refused.contains("the password in store.url is missing or wrong"), "{login}: {refused}");
    }
    let refused = refusal(options(format!("redis://:s3cret@127.0.0.1:{}/77", redis.port()))).await;
    assert!(refused.contains("redis://…@127.0.0.1") && refused.contains("77"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_wants_braces_and_any_node_shows_the_way() {
    let (node, bus) = Redis::start_cluster();
    let refused = open(options(node.url())).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Scattered { .. }), "{refused}");
    assert!(refused.to_string().contains("store.key_prefix = \"{squall}\""), "{refused}");
    let mut there = options(node.url());
    there.store.key_prefix = "{squall}".to_owned();
    two_gateways_work(&there).await;

    let (outsider, _) = Redis::start_node();
    let met = outsider.ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), &bus.to_string()]);
    assert_eq!(met, "+OK");
    outsider.wait_for_cluster();
    let refused = open(options(outsider.url())).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Scattered { .. }), "{refused}");
    let mut elsewhere = options(outsider.url());
    elsewhere.store.key_prefix = "{squall}".to_owned();
    assert!(outsider.ask(&["GET", "{squall}:epoch"]).starts_with("-MOVED"), "it has no slots");
    two_gateways_work(&elsewhere).await;

    // A whole store moves there too.
    let dir = tempfile::tempdir().unwrap();
    drop(embedded::open(dir.path(), Options { store: Default::default(), ..there.clone() }).unwrap());
    elsewhere.store.key_prefix = "{moved}".to_owned();
    assert!(migrate(dir.path(), elsewhere.clone(), false, |_| ()).await.unwrap().agrees());
    two_gateways_work(&elsewhere).await;
    let scattered = options(node.url());
    std::fs::remove_file(dir.path().join("moved")).unwrap();
    let refused = migrate(dir.path(), scattered, false, |_| ()).await.unwrap_err();
    assert!(refused.to_string().contains("put braces around it"), "{refused}");
}
