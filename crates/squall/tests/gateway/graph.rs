//! The symbol graph: what the feed tells of it is what it is, while the tree changes, over restarts, and through Redis.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use futures_util::StreamExt;
use http::{HeaderValue, Method};
use serde_json::Value;
use squall_testkit::{Redis, Squall, eventually};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::*;

/// A tree of `files` files that call one another.
fn tree(files: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..files {
        write(dir.path(), number, "");
    }
    fs::write(dir.path().join(".gitignore"), "ignored.rs\n").unwrap();
    fs::write(dir.path().join("ignored.rs"), "fn nobody() {}\n").unwrap();
    fs::write(dir.path().join("torn.rs"), "]]]] fn ((((".repeat(50)).unwrap();
    dir
}

fn write(dir: &Path, number: usize, more: &str) {
    let text = format!(
        "{more}pub struct Part{number};\n\nimpl Part{number} {{\n    pub fn step(&self) {{\n        work_{number}();\n    }}\n}}\n\n\
         fn work_{number}() {{}}\n"
    );
    fs::write(dir.join(format!("part_{number}.rs")), text).unwrap();
}

fn graph_of(dir: &Path, watch: bool) -> String {
    format!("[graph]\nroot = {:?}\nwatch = {watch}\n", dir.display().to_string())
}

/// What somebody knows who has read the feed's events of the graph.
#[derive(Default)]
struct Reader {
    after: String,
    nodes: BTreeMap<String, Value>,
    relationships: BTreeMap<String, Value>,
    told: Vec<(String, Value)>,
}

impl Reader {
    /// Reads to the end.
    async fn read(&mut self, gateway: &Squall) {
        let mut http = http(gateway);
        loop {
            let page: Value = get(&mut http, &format!("/v1/events?topics=graph&limit=1000&after={}", self.after))
                .await
                .json()
                .unwrap();
            self.after = page["next"].as_str().unwrap().to_owned();
            let items = page["items"].as_array().unwrap();
            for event in items {
                self.apply(event);
            }
            if items.is_empty() {
                return;
            }
        }
    }

    fn apply(&mut self, event: &Value) {
        let (kind, data) = (event["event_type"].as_str().unwrap(), event["data"].clone());
        let id = event["entity_id"].as_str().unwrap().to_owned();
        match kind {
            "graph_reset" => (self.nodes, self.relationships) = Default::default(),
            "node_added" | "node_updated" => drop(self.nodes.insert(id, data.clone())),
            "node_deleted" => {
                let known = |it: &Value| it["source"] == id.as_str() || it["target"] == id.as_str();
                assert!(!self.relationships.values().any(known), "{id} goes before what hangs on it");
                assert!(self.nodes.remove(&id).is_some(), "{id} was never there");
            }
            "relationship_added" => {
                for end in ["source", "target"] {
                    assert!(self.nodes.contains_key(data[end].as_str().unwrap()), "{data}: its {end} is not there");
                }
                self.relationships.insert(id, data.clone());
            }
            "relationship_deleted" => assert!(self.relationships.remove(&id).is_some(), "{id} was never there"),
            _ => assert!(kind.starts_with("analysis_"), "{kind}"),
        }
        self.told.push((kind.to_owned(), data));
    }

    /// Reads until an analysis has ended that is not among what was read before; says how.
    async fn ended(&mut self, gateway: &Squall) -> Value {
        self.told.clear();
        let reader = tokio::sync::Mutex::new(&mut *self);
        eventually("an analysis to end", SOON * 3, async || {
            let mut reader = reader.lock().await;
            reader.read(gateway).await;
            reader.told.iter().rev().find(|(kind, _)| kind == "analysis_completed").map(|(_, data)| data.clone())
        })
        .await
    }

    fn names(&self, kind: &str) -> Vec<&str> {
        self.told.iter().filter(|(told, _)| told == kind).filter_map(|(_, data)| data["name"].as_str()).collect()
    }

    /// What was told is what is there.
    async fn agrees(&self, gateway: &Squall) {
        let mut http = http(gateway);
        let mut there = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let target = format!("/api/graph/nodes/search?limit=500&cursor={cursor}");
            let page: Value = get(&mut http, &target).await.json().unwrap();
            for node in page["items"].as_array().unwrap() {
                there.insert(node["id"].as_str().unwrap().to_owned(), node.clone());
            }
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        assert_eq!(self.nodes, there);
        let stats: Value = get(&mut http, "/api/graph/stats").await.json().unwrap();
        assert_eq!(stats["total_relationships"].as_u64().unwrap(), self.relationships.len() as u64);
    }
}

async fn reanalyze(gateway: &Squall, query: &str) -> Value {
    let answer =
        send(&mut http(gateway), Method::POST, &format!("/api/graph/admin/reanalyze{query}"), &Value::Null).await;
    answer.json().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_feed_tells_is_the_graph_while_the_tree_changes() {
    let dir = tree(12);
    let gateway = gateway_with(&graph_of(dir.path(), true)).await;
    let mut reader = Reader::default();
    let ended = reader.ended(&gateway).await;
    assert_eq!(
        (&ended["status"], ended["node_count"].as_u64()),
        (&"completed".into(), Some(reader.nodes.len() as u64))
    );
    let kinds: Vec<&str> = reader.told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!((kinds[0], kinds[1], *kinds.last().unwrap()), ("graph_reset", "analysis_started", "analysis_completed"));
    assert_eq!(reader.told[reader.told.len() - 2].1["percentage"], 100.0);
    assert!(reader.nodes.values().any(|node| node["qualified_name"] == "Part7::step"));
    assert!(!reader.nodes.values().any(|node| node["name"] == "nobody"), "what is ignored is not read");
    reader.agrees(&gateway).await;

    // One more function in front: what follows moves, and stays what it is.
    let step = |reader: &Reader| {
        reader
            .nodes
            .values()
            .find(|node| node["qualified_name"] == "Part3::step")
            .map(|node| node["id"].clone())
            .unwrap()
    };
    let before = step(&reader);
    write(dir.path(), 3, "fn newcomer() {}\n\n");
    reader.ended(&gateway).await;
    assert_eq!(reader.names("node_added"), ["newcomer"]);
    assert!(reader.names("node_updated").contains(&"step") && reader.names("node_deleted").is_empty());
    assert_eq!(before, step(&reader));
    reader.agrees(&gateway).await;

    fs::remove_file(dir.path().join("part_5.rs")).unwrap();
    reader.ended(&gateway).await;
    assert!(reader.names("node_deleted").contains(&"work_5"));
    reader.agrees(&gateway).await;

    // From scratch: everything again, and the same.
    let former = reader.nodes.clone();
    let run = reanalyze(&gateway, "?wait=true&force=true").await;
    assert_eq!((&run["status"], &run["percentage"]), (&"completed".into(), &100.0.into()));
    assert_eq!(run["total_nodes"].as_u64(), Some(former.len() as u64));
    reader.ended(&gateway).await;
    assert_eq!((reader.told[0].0.as_str(), &reader.nodes), ("graph_reset", &former));
    let skipped: Value = get(&mut http(&gateway), "/api/graph/debug/files?state=skipped").await.json().unwrap();
    assert_eq!(skipped["items"][0]["path"], "torn.rs");
    assert!(skipped["items"][0]["why"].is_string(), "{skipped}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_tells_only_what_changed_meanwhile() {
    let dir = tree(8);
    let mut gateway = gateway_with(&graph_of(dir.path(), false)).await;
    let mut reader = Reader::default();
    reader.ended(&gateway).await;
    gateway.terminate(SOON).await.unwrap();
    write(dir.path(), 2, "fn meanwhile() {}\n");
    gateway.restart(false).await.unwrap();
    reader.ended(&gateway).await;
    assert_eq!((reader.told[0].0.as_str(), reader.names("node_added")), ("analysis_started", vec!["meanwhile"]));
    reader.agrees(&gateway).await;
    // One that is killed does not know what it had told, and tells everything.
    write(dir.path(), 4, "fn killed() {}\n");
    reanalyze(&gateway, "?wait=true").await;
    reader.ended(&gateway).await;
    gateway.kill().await.unwrap();
    fs::remove_file(dir.path().join("part_1.rs")).unwrap();
    gateway.restart(false).await.unwrap();
    reader.ended(&gateway).await;
    assert_eq!(reader.told[0].0, "graph_reset");
    assert!(!reader.nodes.values().any(|node| node["name"] == "work_1"));
    reader.agrees(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_analysis_at_a_time_and_it_can_be_cancelled() {
    let dir = tree(1_500);
    let gateway = gateway_with(&graph_of(dir.path(), false)).await;
    let mut reader = Reader::default();
    reader.ended(&gateway).await;
    let mut http = http(&gateway);
    let target = "/api/graph/admin/reanalyze";
    assert_eq!(refused(&send(&mut http, Method::DELETE, target, &Value::Null).await).0, 404);
    let run = reanalyze(&gateway, "?force=true").await;
    assert_eq!(run["status"], "running");
    let second = refused(&send(&mut http, Method::POST, target, &Value::Null).await);
    assert_eq!((second.0, second.1.code), (409, squall_protocol::ErrorCode::AnalysisRunning));
    let cancelled = send(&mut http, Method::DELETE, target, &Value::Null).await;
    assert_eq!(cancelled.status.as_u16(), 202);
    let over = eventually("it to be over", SOON, async || {
        let run: Value = get(&mut crate::support::http(&gateway), target).await.json().unwrap();
        (run["status"] != "running").then_some(run)
    })
    .await;
    assert_eq!((&over["status"], &over["run_id"]), (&"cancelled".into(), &run["run_id"]));
    // What was told is what is there, as far as it came; the next one goes on from there.
    reader.read(&gateway).await;
    reader.agrees(&gateway).await;
    assert_eq!(reanalyze(&gateway, "?wait=true").await["status"], "completed");
    reader.read(&gateway).await;
    reader.agrees(&gateway).await;
    assert!(reader.nodes.len() >= 1_500 * 4, "{}", reader.nodes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_shows_the_events_to_those_who_read_only_redis() {
    let (dir, redis) = (tree(5), Redis::start("everysec"));
    let client = redis::Client::open(redis.url()).unwrap();
    let mut channel = client.get_async_pubsub().await.unwrap();
    channel.subscribe("graph-events").await.unwrap();
    let settings = format!("{}\n{LANES}", graph_of(dir.path(), false));
    let gateway = setup().config(&settings).env("SQUALL_STORE__URL", &redis.url()).start().await.unwrap();
    let mut reader = Reader::default();
    let ended = reader.ended(&gateway).await;

    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    type Entry = (String, BTreeMap<String, String>);
    let entries = eventually("the stream to have all of it", SOON, async || {
        let mut read = redis::cmd("XREAD");
        read.arg("STREAMS").arg("graph-events").arg("0");
        let streams: Vec<(String, Vec<Entry>)> = read.query_async(&mut connection.clone()).await.unwrap();
        let (_, entries) = streams.into_iter().next()?;
        (entries.last()?.1["event_type"] == "analysis_completed").then_some(entries)
    })
    .await;
    assert_eq!(entries.len(), reader.told.len());
    for ((id, fields), (kind, data)) in entries.iter().zip(&reader.told) {
        assert_eq!((&fields["event_type"], &fields["topic"]), (kind, &"graph".to_owned()));
        assert_eq!(*id, format!("{}-0", fields["offset"]));
        assert_eq!(serde_json::from_str::<Value>(&fields["data"]).unwrap(), *data);
    }
    let mut heard = channel.on_message();
    let mut last = Value::Null;
    while last["event_type"] != "analysis_completed" {
        let message = tokio::time::timeout(SOON, heard.next()).await.unwrap().unwrap();
        last = serde_json::from_slice(message.get_payload_bytes()).unwrap();
        assert_eq!(last["topic"], "graph");
    }
    assert_eq!(last["data"], ended);
    connection = client.get_multiplexed_async_connection().await.unwrap();
    let feed: u64 = redis::cmd("XLEN").arg("squall:feed").query_async(&mut connection).await.unwrap();
    assert!(feed > 0, "and the feed has them too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_events_come_in_one_frame_to_those_who_ask() {
    let dir = tree(200);
    let gateway = gateway_with(&graph_of(dir.path(), false)).await;
    let mut reader = Reader::default();
    reader.ended(&gateway).await;
    let address = gateway.url().replace("http://", "ws://");
    let mut request = format!("{address}/ws/events?after=0&topics=graph&batch=true").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("squall, bearer.eA"));
    let (mut socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "squall");
    assert!(!answer.headers().contains_key("sec-websocket-extensions"), "what was not offered is not taken");
    let (mut frames, mut batched) = (0, Reader::default());
    while batched.told.last().is_none_or(|(kind, _)| kind != "analysis_completed") {
        let Message::Text(text) = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap() else {
            continue;
        };
        let frame: Value = serde_json::from_str(&text).unwrap();
        frames += 1;
        for event in frame["events"].as_array().unwrap() {
            batched.apply(event);
        }
    }
    assert_eq!(batched.told, reader.told);
    assert!(frames * 20 < batched.told.len(), "{frames} frames for {} events", batched.told.len());
}

#[tokio::test]
async fn the_graph_can_be_asked_and_says_what_is_wrong() {
    let dir = tree(6);
    let token = |name: &str, scopes: &str| {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nscopes = [{scopes}]\n")
    };
    let tokens = token("root", "\"admin\"") + &token("reader", "\"read\"") + &token("poster", "\"publish\"");
    let gateway = gateway_with(&format!("{}{tokens}", graph_of(dir.path(), false))).await;
    let as_token = |name: &str| {
        squall_client::Http::new(endpoint(&gateway).with_token(name).unwrap(), squall_client::Options::default())
    };
    let mut root = as_token("root");
    let first = send(&mut root, Method::POST, "/api/graph/admin/reanalyze?wait=true", &Value::Null).await;
    assert!(first.status.is_success());
    let mut reader = as_token("reader");
    assert_eq!(refused(&send(&mut reader, Method::POST, "/api/graph/admin/reanalyze", &Value::Null).await).0, 403);
    assert_eq!(refused(&get(&mut as_token("poster"), "/api/graph/stats").await).0, 403);

    let found: Value = get(&mut reader, "/api/graph/nodes/search?q=work_2&kind=function").await.json().unwrap();
    let work = found["items"][0]["id"].as_str().unwrap().to_owned();
    let callers: Value = get(&mut reader, "/api/graph/query/callers?symbol=work_2").await.json().unwrap();
    assert_eq!(callers["items"][0]["node"]["qualified_name"], "Part2::step");
    assert!(callers["items"][0]["relationship"]["confidence"].as_f64().unwrap() > 0.5);
    let chain: Value = get(&mut reader, &format!("/api/graph/call-chain/{work}?direction=in")).await.json().unwrap();
    assert_eq!(chain["nodes"][1]["node"]["name"], "step");
    let node: Value = get(&mut reader, &format!("/api/graph/nodes/{work}")).await.json().unwrap();
    assert!(node["incoming"].as_array().unwrap().iter().any(|it| it["kind"] == "calls"));
    for (target, key, least) in [
        ("/api/graph/categories/entry_points", "items", 6),
        ("/api/graph/categories/hubs?limit=1", "items", 1),
        ("/api/graph/categories/leaves", "items", 6),
        ("/api/graph/subgraph", "nodes", 12),
        ("/api/graph/debug/files?q=part_", "items", 6),
    ] {
        let answer: Value = get(&mut reader, target).await.json().unwrap();
        assert!(answer[key].as_array().unwrap().len() >= least, "{target}: {answer}");
    }
    let reached: Value =
        get(&mut reader, &format!("/api/graph/traverse?start={work}&direction=both&kinds=calls,contains&max_depth=2"))
            .await
            .json()
            .unwrap();
    assert!(reached["nodes"].as_array().unwrap().len() > 3, "{reached}");

    for (target, status, word) in [
        ("/api/graph/nodes/xyz", 400, "16 hexadecimal digits"),
        ("/api/graph/nodes/0000000000000000", 404, "no such node"),
        ("/api/graph/nodes/search?kind=func", 400, "function"),
        ("/api/graph/nodes/search?limit=501", 400, "limit"),
        ("/api/graph/nodes/search?nodes=1", 400, "nodes"),
        ("/api/graph/query/friends?symbol=a", 404, "callers"),
        ("/api/graph/query/callers?symbol=nobody_has_this_name", 404, "nobody_has_this_name"),
        ("/api/graph/categories/hubs?cursor=x", 400, "cursor"),
        ("/api/graph/traverse?start=0000000000000000&kinds=likes", 400, "likes"),
        ("/api/graph/subgraph?depth=11", 400, "depth"),
    ] {
        let (given, error) = refused(&get(&mut reader, target).await);
        assert!(given == status && error.message.contains(word), "{target}: {given} {}", error.message);
    }
    let metrics = root.metrics().await.unwrap();
    assert!(metrics.contains("\nsquall_graph_nodes ") && metrics.contains("\nsquall_graph_events_total "), "{metrics}");
    assert!(root.stats().await.unwrap().graph.unwrap().analyses >= 1);

    let without = crate::support::gateway().await;
    let (status, error) = refused(&get(&mut http(&without), "/api/graph/stats").await);
    assert!(status == 404 && error.message.contains("[graph] root"), "{}", error.message);
    let refusal = setup().config("[graph]\nroot = \"/nowhere/at/all\"\n").refusal().await.unwrap();
    assert!(refusal.said.contains("/nowhere/at/all") && refusal.said.contains("graph.root"), "{}", refusal.said);
}

#[tokio::test]
async fn a_browser_gets_the_console_and_no_other_page_gets_anything() {
    let gateway = gateway().await;
    let mut http = http(&gateway);
    let html = [(http::header::ACCEPT, HeaderValue::from_static("text/html,*/*"))];
    let page = http.request(Method::GET, "/sessions/some-id", &html, bytes::Bytes::new()).await.unwrap();
    assert!(page.status.is_success());
    assert!(String::from_utf8_lossy(&page.body).contains("<title>Squall"), "{:?}", page.body);
    let mut from_elsewhere =
        format!("{}/ws/events", gateway.url().replace("http://", "ws://")).into_client_request().unwrap();
    from_elsewhere.headers_mut().insert("origin", HeaderValue::from_static("https://evil.example"));
    match tokio_tungstenite::connect_async(from_elsewhere).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 403),
        other => panic!("{other:?}"),
    }
}
