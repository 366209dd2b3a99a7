//! The API without sockets: statuses and texts as Toxiproxy has them, and that nothing it is sent makes it fail.

use bytes::Bytes;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::Options;

struct Api(FaultProxy);

impl Api {
    fn new() -> Self {
        let options = Options { max_proxies: 3, max_toxics: 3, ..Default::default() };
        Self(FaultProxy::new(options, &CancellationToken::new()))
    }

    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String, String) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let (Ok(answer) | Err(answer)) = answer(&self.0, &method, path, false, Ok(body)).await;
        let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
        let status = answer.status().as_u16();
        let body: Bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// Method, path, body; status, and the text or a part of it.
const TALK: &[(&str, &str, &str, u16, &str)] = &[
    ("GET", "/proxies", "", 200, "{}\n"),
    ("POST", "/proxies", "", 400, r#"{"error":"bad request body: EOF","status":400}"#),
    ("POST", "/proxies", "{", 400, r#"{"error":"bad request body: EOF while parsing"#),
    ("POST", "/proxies", "[]", 400, r#"{"error":"bad request body: json: cannot unmarshal array"#),
    ("POST", "/proxies", r#"{"upstream":"x:1"}"#, 400, r#"{"error":"missing required field: name","status":400}"#),
    ("POST", "/proxies", r#"{"name":"a"}"#, 400, r#"{"error":"missing required field: upstream","status":400}"#),
    ("POST", "/proxies", r#"{"name":1}"#, 400, "cannot unmarshal number into field name"),
    (
        "POST",
        "/proxies",
        r#"{"name":"a","upstream":"x:1","listen":"local373"}"#,
        500,
        r#"{"error":"listen tcp: address local373: missing port in address","status":500}"#,
    ),
    (
        "POST",
        "/proxies",
        r#"{"name":"a","upstream":"x:1","listen":"host:7","enabled":false} and more"#,
        201,
        r#"{"name":"a","listen":"host:7","upstream":"x:1","enabled":false,"toxics":[]}"#,
    ),
    (
        "POST",
        "/proxies",
        r#"{"NAME":"a","Upstream":"x:1","enabled":null,"extra":1}"#,
        409,
        r#"{"error":"proxy already exists","status":409}"#,
    ),
    ("GET", "/proxies/a", "", 200, r#"{"name":"a","#),
    ("GET", "/proxies/%61", "", 200, r#"{"name":"a","#),
    ("GET", "/proxies/b", "", 404, r#"{"error":"proxy not found","status":404}"#),
    ("PATCH", "/proxies/b", "{}", 404, "proxy not found"),
    ("POST", "/proxies/a", r#"{"upstream":"y:2"}"#, 200, r#""upstream":"y:2","enabled":false"#),
    ("PATCH", "/proxies/a", r#"{"enabled":"yes"}"#, 400, "cannot unmarshal string into field enabled"),
    ("PATCH", "/proxies/a", "null", 200, r#""upstream":"y:2","enabled":false"#),
    ("GET", "/proxies/a/toxics", "", 200, "[]\n"),
    (
        "POST",
        "/proxies/a/toxics",
        r#"{"type":"latency","attributes":{"latency":100}}"#,
        200,
        r#"{"attributes":{"jitter":0,"latency":100},"name":"latency_downstream","type":"latency","stream":"downstream","toxicity":1}"#,
    ),
    ("POST", "/proxies/a/toxics", r#"{"type":"latency"}"#, 409, r#"{"error":"toxic already exists","status":409}"#),
    (
        "POST",
        "/proxies/a/toxics",
        r#"{"type":"latency","stream":"UPSTREAM","toxicity":0.5}"#,
        200,
        r#""name":"latency_UPSTREAM","type":"latency","stream":"UPSTREAM","toxicity":0.5}"#,
    ),
    (
        "POST",
        "/proxies/a/toxics",
        r#"{"type":"latency","stream":"sideways"}"#,
        400,
        r#"{"error":"stream was invalid, can be either upstream or downstream","status":400}"#,
    ),
    ("POST", "/proxies/a/toxics", r#"{"type":"rain"}"#, 400, r#"{"error":"invalid toxic type","status":400}"#),
    (
        "POST",
        "/proxies/a/toxics",
        r#"{"type":"latency","name":"x","attributes":{"latency":100.5}}"#,
        400,
        "attributes.latency",
    ),
    ("POST", "/proxies/a/toxics", r#"{"type":"stall","schedule":"sometimes"}"#, 400, "schedule"),
    (
        "POST",
        "/proxies/a/toxics",
        r#"{"type":"stall","schedule":"after 1h for 5s"}"#,
        200,
        r#""schedule":"after 1h for 5s","active":false}"#,
    ),
    ("POST", "/proxies/a/toxics", r#"{"type":"noop"}"#, 429, "there are 3 toxics of this proxy"),
    ("POST", "/proxies/b/toxics", r#"{"type":"noop"}"#, 404, "proxy not found"),
    ("GET", "/proxies/a/toxics/latency_downstream", "", 200, r#""latency":100"#),
    ("GET", "/proxies/a/toxics/none", "", 404, r#"{"error":"toxic not found","status":404}"#),
    (
        "PATCH",
        "/proxies/a/toxics/latency_downstream",
        r#"{"name":"z","type":"noop","toxicity":2,"attributes":{"jitter":7}}"#,
        200,
        r#"{"attributes":{"jitter":7,"latency":100},"name":"latency_downstream","type":"latency","stream":"downstream","toxicity":2}"#,
    ),
    ("POST", "/proxies/a/toxics/latency_downstream", r#"{"attributes":{"jitter":"x"}}"#, 400, "attributes.jitter"),
    ("DELETE", "/proxies/a/toxics/latency_downstream", "", 204, ""),
    ("DELETE", "/proxies/a/toxics/latency_downstream", "", 404, "toxic not found"),
    ("POST", "/populate", "{}", 400, r#""proxies":null"#),
    (
        "POST",
        "/populate",
        r#"[{"name":"b","upstream":"x:1"},{"upstream":"x:1"}]"#,
        400,
        "missing required field: name at proxy 2",
    ),
    ("GET", "/proxies/b", "", 404, "proxy not found"),
    (
        "POST",
        "/populate",
        r#"[{"name":"b","upstream":"x:1"},{"name":"c","upstream":"x:1","listen":"nope"},{"name":"d","upstream":"x:1"}]"#,
        500,
        r#""name":"b""#,
    ),
    ("GET", "/proxies/d", "", 404, "proxy not found"),
    (
        "POST",
        "/populate",
        r#"[{"name":"e","upstream":"x:1","enabled":false,"toxics":[{"type":"noop"}]}]"#,
        201,
        r#"{"proxies":[{"#,
    ),
    ("GET", "/proxies/e/toxics/noop_downstream", "", 200, "noop"),
    ("POST", "/proxies", r#"{"name":"f","upstream":"x:1"}"#, 429, "there are 3 proxies, which is all that may be"),
    ("DELETE", "/proxies/e", "", 204, ""),
    ("DELETE", "/proxies/e", "", 404, "proxy not found"),
    ("GET", "/version", "", 200, "\"version\":\"2.12.0\"}\n"),
    ("DELETE", "/metrics", "", 200, "# EOF"),
    ("GET", "/reset", "", 405, ""),
    ("HEAD", "/proxies", "", 405, ""),
    ("PUT", "/proxies/a", "{}", 405, ""),
    ("GET", "/", "", 404, "404 page not found\n"),
    ("GET", "/proxies/", "", 404, "404 page not found\n"),
    ("GET", "/proxies/a/toxics/b/c", "", 404, "404 page not found\n"),
];

#[tokio::test]
async fn it_talks_as_toxiproxy_does() {
    let api = Api::new();
    for (method, path, body, status, part) in TALK {
        let (is, kind, text) = api.ask(method, path, body.as_bytes()).await;
        assert!(is == *status && text.contains(part), "{method} {path} {body}\n{is} {text}");
        let should = match (is, *path) {
            (204 | 405, _) => "",
            (_, "/version") => "application/json;charset=utf-8",
            (_, "/metrics") => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            (_, "/populate") | (..400, _) => "application/json",
            _ => "text/plain; charset=utf-8",
        };
        assert_eq!(kind, should, "{method} {path} {body}");
        assert!(part.is_empty() == text.is_empty());
    }
}

#[tokio::test]
async fn pages_get_nothing() {
    let api = Api::new();
    let (Ok(answer) | Err(answer)) = answer(&api.0, &Method::GET, "/proxies", true, Ok(b"")).await;
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn a_reset_undoes_everything() {
    let api = Api::new();
    let toxics = br#"{"name":"a","upstream":"x:1","listen":"127.0.0.1:0","enabled":false,"toxics":[{"type":"stall"}]}"#;
    assert_eq!(api.ask("POST", "/proxies", toxics).await.0, 201);
    assert_eq!(api.ask("POST", "/reset", b"").await.0, 204);
    let proxy = api.0.get("a").unwrap();
    assert!(proxy.enabled && proxy.toxics.is_empty(), "{proxy:?}");
}

/// Bodies that are nearly right.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("-1".to_owned()),
        Just("1e400".to_owned()),
        Just("0.5".to_owned()),
        Just("9223372036854775808".to_owned()),
        Just("\"latency\"".to_owned()),
        Just("\"slicer\"".to_owned()),
        Just("\"upstream\"".to_owned()),
        Just("\"every 1s for 500ms\"".to_owned()),
        Just(r#"{"latency":1e3,"rate":0.1,"average_size":-1,"jitter":9223372036854775807}"#.to_owned()),
        Just(r#"[{"type":"slicer","attributes":{"average_size":1}}]"#.to_owned()),
        "\"\\PC{0,6}\"",
    ];
    let key = prop::sample::select(vec![
        "name",
        "Name",
        "type",
        "stream",
        "toxicity",
        "attributes",
        "schedule",
        "toxics",
        "upstream",
    ]);
    let object = prop::collection::vec((key, value), 0..6).prop_map(|fields| {
        let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{\"enabled\":false,{}}}", fields.join(",")).into_bytes()
    });
    prop_oneof![
        2 => object.clone(),
        1 => object.prop_map(|object| [b"[", object.as_slice(), b"]"].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any sequence of requests: each is answered, none with a failure of the server, and what it then shows can be
    /// read.
    #[test]
    fn nothing_it_is_sent_makes_it_fail(
        requests in prop::collection::vec((
            prop::sample::select(vec!["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD"]),
            prop_oneof![
                3 => prop::sample::select(vec!["/proxies", "/populate", "/proxies/a", "/proxies/a/toxics", "/proxies/a/toxics/latency_downstream", "/version"])
                    .prop_map(str::to_owned),
                1 => "/\\PC{0,12}",
                1 => "/proxies/(%[0-9a-f]{2}|a|/|%){0,6}",
            ],
            body(),
        ), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let api = Api::new();
            api.ask("POST", "/proxies", br#"{"name":"a","upstream":"x:1","enabled":false}"#).await;
            api.ask("POST", "/proxies/a/toxics", br#"{"type":"latency"}"#).await;
            for (method, path, body) in requests {
                let (status, _, text) = api.ask(method, &path, &body).await;
                assert!((200..500).contains(&status), "{method} {path} {}\n{status} {text}", String::from_utf8_lossy(&body));
            }
            let (status, _, text) = api.ask("GET", "/proxies", b"").await;
            assert_eq!(status, 200);
            serde_json::from_str::<Value>(&text).unwrap();
        });
    }
}
