//! History: what was is listed for as long as it is kept, by the store alone or with a PostgreSQL that archives it; and a PostgreSQL that
//! goes away takes nothing but history with it.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use squall_client::{Endpoint, Http, Options};
use squall_protocol::{EndSession, ErrorCode, NackMode, NewSession, TaskId, TaskState};
use squall_testkit::{Postgres, Redis, Setup, Squall, eventually};

use crate::support::*;

/// A store that forgets quickly, so that only the archive knows.
const FORGETFUL: &str =
    "[store]\nfinished_tasks = 3\n[sessions]\nremember_ended = 2\nmax_concurrent = 100\nmax_per_tenant = 100\n";

fn archiving(postgres: &Postgres, more: &str) -> Setup {
    let config = format!("[archive]\nbatch = 50\ntimeout_ms = 1000\n{more}\n{LANES}");
    setup().config(&config).env("SQUALL_ARCHIVE__URL", &postgres.url())
}

/// All pages of a list.
async fn listed(http: &mut Http, target: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: Value = get(http, &format!("{target}{cursor}")).await.json().unwrap();
        assert!(page.get("incomplete").is_none(), "{page}");
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn ids(items: &[Value]) -> Vec<TaskId> {
    items.iter().map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn finish(http: &mut Http, worker: &mut Worker, count: usize) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(publish(http, json!({"kind": if n % 2 == 0 { "even" } else { "odd" }, "payload": n})).await);
        worker.finish().await;
    }
    // Acks are not answered; the last one has arrived when its task is done.
    if let Some(&last) = ids.last() {
        state_of(http, last, TaskState::Done).await;
    }
    ids
}

/// Waits until everything that happened is archived.
async fn caught_up(http: &mut Http) {
    eventually("everything to be archived", 3 * SOON, async || {
        let archive = http.stats().await.unwrap().archive.unwrap();
        (archive.writes && archive.behind == 0).then_some(())
    })
    .await;
}

/// Ids as lists have them: the newest first, and among those of one millisecond the larger.
fn newest_first(ids: impl IntoIterator<Item = TaskId>) -> Vec<TaskId> {
    let mut ids: Vec<TaskId> = ids.into_iter().collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids
}

async fn health(http: &mut Http) -> Value {
    get(http, "/health").await.json().unwrap()
}

#[tokio::test]
async fn without_an_archive_history_is_what_the_store_remembers() {
    let gateway = gateway_with("[store]\nfinished_tasks = 4\n").await;
    let mut http = http(&gateway);
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    let done = finish(&mut http, &mut worker, 6).await;
    let dead = publish(&mut http, json!({"kind": "odd"})).await;
    let got = worker.take().await;
    worker.nack(&got, NackMode::Fatal, "no").await;
    state_of(&mut http, dead, TaskState::Dead).await;
    let all = listed(&mut http, "/v1/tasks?limit=2").await;
    assert_eq!(ids(&all), newest_first([dead, done[5], done[4], done[3], done[2]]));
    let shown = all.iter().find(|task| task["id"] == dead.to_string()).unwrap();
    assert_eq!(
        (&shown["state"], &shown["tenant"], &shown["last_error"]),
        (&json!("dead"), &json!("default"), &json!("no"))
    );
    assert_eq!(
        ids(&listed(&mut http, "/v1/tasks?limit=1&state=done&kind=odd").await),
        newest_first([done[5], done[3]])
    );
    assert!(listed(&mut http, "/v1/tasks?lane=narrow").await.is_empty());
    let answer = get(&mut http, "/v1/tasks?state=ready").await;
    let (status, error) = refused(&answer);
    assert_eq!((status, error.code), (400, ErrorCode::InvalidRequest));
    assert!(error.message.contains("/v1/lanes"), "{}", error.message);
    for bad in ["cursor=x", "since=yesterday", "colour=red", "limit=0", "session=a%20b"] {
        let answer = get(&mut http, &format!("/v1/tasks?{bad}")).await;
        assert_eq!(refused(&answer).0, 400, "{bad}");
    }
    assert_eq!(refused(&get(&mut http, "/v1/sessions?cursor=x").await).0, 400);
    assert!(listed(&mut http, "/v1/runs").await.is_empty(), "none is in the directory, which is not there");
    assert_eq!(refused(&get(&mut http, "/v1/runs/nothing").await).0, 404);
    let metrics = http.metrics().await.unwrap();
    assert!(!metrics.contains("squall_archive"), "what is not there has no figures");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_forgot_is_found_and_listed_once() {
    let postgres = Postgres::start(false);
    let gateway = archiving(&postgres, FORGETFUL).start().await.unwrap();
    let mut http = http(&gateway);
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    let mut expected = finish(&mut http, &mut worker, 25).await;
    for n in 0..6 {
        let new = NewSession { id: format!("s{n}").parse().ok(), ..NewSession::default() };
        let session = http.create_session(&new).await.unwrap();
        expected.push(publish(&mut http, json!({"kind": "k", "session": session.id})).await);
        worker.finish().await;
        state_of(&mut http, *expected.last().unwrap(), TaskState::Done).await;
        if n > 0 {
            http.end_session(&session.id, &EndSession::default()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    caught_up(&mut http).await;
    // Those of one millisecond are in no order.
    let first = expected[0];
    let expected = newest_first(expected);
    for limit in [1_000, 7] {
        assert_eq!(ids(&listed(&mut http, &format!("/v1/tasks?limit={limit}")).await), expected, "{limit} a page");
        let sessions = listed(&mut http, &format!("/v1/sessions?limit={limit}")).await;
        let found: Vec<_> = sessions.iter().map(|session| session["id"].as_str().unwrap()).collect();
        assert_eq!(found, ["s5", "s4", "s3", "s2", "s1", "s0"], "{limit} a page");
        assert!(sessions.iter().all(|session| session["tasks"]["published"] == 1), "{sessions:?}");
    }
    assert_eq!(listed(&mut http, "/v1/sessions?state=active&limit=1").await.len(), 1);
    assert_eq!(listed(&mut http, "/v1/sessions?state=completed&limit=2").await.len(), 5);
    assert_eq!(ids(&listed(&mut http, "/v1/tasks?session=s1&limit=5").await), [expected[4]]);
    assert_eq!(listed(&mut http, "/v1/tasks?kind=odd&limit=5").await.len(), 12);
    let middle = expected[10].time();
    let later = listed(&mut http, &format!("/v1/tasks?since={middle}&limit=5")).await.len();
    let earlier = listed(&mut http, &format!("/v1/tasks?until={middle}&limit=5")).await.len();
    assert_eq!(later + earlier, expected.len());
    assert_eq!(later, expected.iter().filter(|id| id.time() >= middle).count());
    let task = http.task(first).await.unwrap();
    assert_eq!((task.state, &*task.kind), (TaskState::Done, "even"));
    let report: Value = get(&mut http, "/v1/sessions/s1/report").await.json().unwrap();
    assert_eq!((&report["session"]["state"], &report["tasks_open"]), (&json!("completed"), &json!(0)));
    assert_eq!(refused(&get(&mut http, &format!("/v1/tasks/{}", TaskId::at(middle, 1))).await).0, 404);

    let archive = http.stats().await.unwrap().archive.unwrap();
    assert_eq!((archive.writes, archive.tasks, archive.lost), (true, 31, 0));
    let health = health(&mut http).await;
    assert_eq!((&health["status"], &health["dependencies"]["archive"]["ok"]), (&json!("healthy"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_sees_its_own_history_only() {
    let postgres = Postgres::start(false);
    let hash = |token: &str| Sha256::digest(token.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let token = |name: &str, scopes: &str| {
        format!("[[auth.tokens]]\nname = '{name}'\nsha256 = '{}'\ntenant = '{name}'\nscopes = [{scopes}]\n", hash(name))
    };
    let all = "'publish', 'work', 'read'";
    let tokens = [token("acme", all), token("other", all), token("root", "'admin'")].concat();
    let gateway = archiving(&postgres, &format!("{FORGETFUL}\n{tokens}")).start().await.unwrap();
    let as_who =
        |who: &str| Http::new(Endpoint::parse(gateway.url()).unwrap().with_token(who).unwrap(), Options::default());
    let (mut acme, mut other, mut root) = (as_who("acme"), as_who("other"), as_who("root"));
    for _ in 0..6 {
        for http in [&mut acme, &mut other] {
            publish(http, json!({"kind": "k"})).await;
            let leased: Value =
                send(http, Method::POST, "/v1/lanes/plain/lease", &json!({"credit": 1, "wait_ms": 5000}))
                    .await
                    .json()
                    .unwrap();
            let (id, receipt) = (leased["tasks"][0]["id"].as_str().unwrap(), &leased["tasks"][0]["receipt"]);
            let acked = send(http, Method::POST, &format!("/v1/tasks/{id}/ack"), &json!({"receipt": receipt})).await;
            assert_eq!(acked.status, 204);
        }
    }
    caught_up(&mut root).await;
    let own = listed(&mut acme, "/v1/tasks?limit=4").await;
    assert!(own.len() == 6 && own.iter().all(|task| task["tenant"] == "acme"), "{own:?}");
    let answer = get(&mut acme, "/v1/tasks?tenant=other").await;
    assert_eq!((refused(&answer).0, refused(&answer).1.code), (403, ErrorCode::Forbidden));
    assert_eq!(refused(&get(&mut acme, "/v1/sessions?tenant=other").await).0, 403);
    assert_eq!(refused(&get(&mut acme, "/v1/runs").await).0, 403);
    assert_eq!(listed(&mut root, "/v1/tasks?limit=5").await.len(), 12);
    assert_eq!(listed(&mut root, "/v1/tasks?tenant=other&limit=5").await.len(), 6);
    // The first one is only archived by now.
    let first = own.last().unwrap()["id"].as_str().unwrap();
    assert!(get(&mut acme, &format!("/v1/tasks/{first}")).await.status.is_success());
    assert_eq!(refused(&get(&mut other, &format!("/v1/tasks/{first}")).await).0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_goes_away_takes_nothing_but_history() {
    let mut postgres = Postgres::start(true);
    let gateway = archiving(&postgres, FORGETFUL).start().await.unwrap();
    let mut http = http(&gateway);
    let mut worker = Worker::new(&gateway, &["plain"], 1).await;
    let mut expected = finish(&mut http, &mut worker, 10).await;
    caught_up(&mut http).await;
    postgres.kill();
    let told = eventually("the absence to be told", SOON, async || {
        Some(health(&mut http).await).filter(|health| health["status"] == "degraded")
    })
    .await;
    assert_eq!(told["lost"], json!(["history"]), "{told}");
    assert_eq!(told["dependencies"]["archive"]["ok"], false);
    assert!(get(&mut http, "/ready").await.status.is_success(), "work goes on");
    expected.extend(finish(&mut http, &mut worker, 10).await);
    let page: Value = get(&mut http, "/v1/tasks?limit=100").await.json().unwrap();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["incomplete"]), (3, &json!("history")), "{page}");
    let answer = get(&mut http, &format!("/v1/tasks/{}", expected[0])).await;
    assert_eq!((refused(&answer).0, refused(&answer).1.code), (503, ErrorCode::HistoryUnavailable));
    assert!(answer.headers.contains_key("retry-after"));
    postgres.restart();
    eventually("the gateway to be well again", 3 * SOON, async || {
        (health(&mut http).await["status"] == "healthy").then_some(())
    })
    .await;
    caught_up(&mut http).await;
    let expected = newest_first(expected);
    assert_eq!(ids(&listed(&mut http, "/v1/tasks?limit=6").await), expected);
    assert_eq!(postgres.sql("SELECT count(*), count(DISTINCT id) FROM squall.tasks"), "20|20");
    assert!(http.stats().await.unwrap().archive.unwrap().failures > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_half_way_archives_the_rest_after_its_start() {
    let mut postgres = Postgres::start(false);
    let mut gateway = archiving(&postgres, FORGETFUL).start().await.unwrap();
    let mut expected = BTreeSet::new();
    for life in 0..3 {
        let mut http = http(&gateway);
        let mut worker = Worker::new(&gateway, &["plain"], 1).await;
        expected.extend(finish(&mut http, &mut worker, 120).await);
        gateway.kill().await.unwrap();
        if life == 1 {
            // PostgreSQL is away at a start: that is told, and no reason not to start.
            postgres.kill();
        }
        gateway.restart(true).await.unwrap();
        if life == 1 {
            postgres.restart();
        }
    }
    let mut http = http(&gateway);
    caught_up(&mut http).await;
    let found: BTreeSet<TaskId> = ids(&listed(&mut http, "/v1/tasks?limit=1000").await).into_iter().collect();
    assert_eq!(found, expected);
    assert_eq!(postgres.sql("SELECT count(*) FROM squall.tasks"), expected.len().to_string());
    assert_eq!(postgres.sql("SELECT count(*) FROM squall.gaps"), "0");
}

async fn writers(gateways: &[&Squall]) -> usize {
    let mut writing = 0;
    for gateway in gateways {
        writing += usize::from(http(gateway).stats().await.unwrap().archive.unwrap().writes);
    }
    writing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_gateways_one_archives_and_another_takes_over() {
    let (redis, postgres) = (Redis::start("everysec"), Postgres::start(false));
    let start = || archiving(&postgres, FORGETFUL).env("SQUALL_STORE__URL", &redis.url());
    let mut one = start().start().await.unwrap();
    let mut other = start().start().await.unwrap();
    eventually("one to archive", SOON, async || (writers(&[&one, &other]).await == 1).then_some(())).await;
    let mut expected = Vec::new();
    let mut worker = Worker::new(&other, &["plain"], 1).await;
    expected.extend(finish(&mut http(&one), &mut worker, 20).await);
    let first_writes = writers(&[&one]).await == 1;
    let (dies, stays) = if first_writes { (&mut one, &mut other) } else { (&mut other, &mut one) };
    drop(worker);
    dies.kill().await.unwrap();
    eventually("the other to take over", 3 * SOON, async || (writers(&[stays]).await == 1).then_some(())).await;
    let mut http = http(stays);
    let mut worker = Worker::new(stays, &["plain"], 1).await;
    expected.extend(finish(&mut http, &mut worker, 20).await);
    caught_up(&mut http).await;
    // Ids are made by the gateways, in milliseconds of their clocks, which is one clock here.
    let found: BTreeSet<TaskId> = ids(&listed(&mut http, "/v1/tasks?limit=7").await).into_iter().collect();
    assert_eq!(found, expected.into_iter().collect());
    assert_eq!(postgres.sql("SELECT count(*) FROM squall.tasks"), "40");
}

#[tokio::test]
async fn a_wrong_address_is_a_mistake_of_the_configuration_and_secrets_are_not_shown() {
    for (value, word) in [
        ("mysql://u:s3cret@db/x", "expected postgres://"),
        ("postgres://u:s3cret@db:port/x", "not the address"),
        ("postgres://u:s3cret@db/x?sslmode=verify-ca", "verify-full"),
    ] {
        let exit = setup().config(LANES).env("SQUALL_ARCHIVE__URL", value).refusal().await.unwrap();
        assert_eq!(exit.status.code(), Some(2), "{}", exit.said);
        assert!(exit.said.contains("SQUALL_ARCHIVE__URL") && exit.said.contains(word), "{}", exit.said);
        assert!(!exit.said.contains("s3cret"), "{}", exit.said);
    }
    let exit = setup().config("[archive]\nschema = \"My Schema\"\n").refusal().await.unwrap();
    assert!(exit.said.contains("squall.toml:2") && exit.said.contains("schema"), "{}", exit.said);
    // One that nobody answers at: it starts, says so, and keeps the secret.
    let port = squall_testkit::free_port();
    let url = format!("postgres://u:s3cret@127.0.0.1:{port}/x?password=s3cret");
    let gateway = setup().config(LANES).env("SQUALL_ARCHIVE__URL", &url).start().await.unwrap();
    let told = health(&mut http(&gateway)).await;
    assert_eq!(told["lost"], json!(["history"]), "{told}");
    assert!(!told.to_string().contains("s3cret") && !gateway.log().contains("s3cret"), "{told}\n{}", gateway.log());
    let shown = std::process::Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["config", "show"])
        .env("SQUALL_ARCHIVE__URL", &url)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("postgres://…@127.0.0.1:{port}/x")) && !shown.contains("s3cret"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_postgres_is_who_it_should_be() {
    let postgres = Postgres::start(false);
    let ca_file = postgres.speak_tls();
    let url = |mode: &str| postgres.url().replace("sslmode=disable", mode);
    let start = |url: String| setup().config(LANES).env("SQUALL_ARCHIVE__URL", &url);
    // Who is there is asked only when that is wanted; a stranger is not trusted then.
    let gateway = start(url("sslmode=verify-full")).start().await.unwrap();
    let told = eventually("the stranger to be told", SOON, async || {
        Some(health(&mut http(&gateway)).await).filter(|told| told["dependencies"]["archive"]["ok"] == false)
    })
    .await;
    assert!(told["dependencies"]["archive"]["detail"].as_str().unwrap().contains("certificate"), "{told}");
    drop(gateway);
    let known = start(url("sslmode=verify-full")).env("SQUALL_ARCHIVE__CA_FILE", &ca_file.display().to_string());
    for gateway in [start(url("sslmode=require")), known] {
        let gateway = gateway.start().await.unwrap();
        caught_up(&mut http(&gateway)).await;
        let encrypted =
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'squall'";
        assert_eq!(postgres.sql(encrypted), "t");
    }
}
