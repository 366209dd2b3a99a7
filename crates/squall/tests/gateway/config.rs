//! Configuration: what is wrong is refused with file, line and the nearest name; tokens open what they should and no more.

use http::Method;
use serde_json::json;
use sha2::{Digest, Sha256};
use squall_client::{Error, Http, Options, Work};
use squall_protocol::{ErrorCode, NewSession, NewTask, TaskId};
use squall_testkit::Squall;

use crate::support::*;

#[tokio::test]
async fn a_mistake_in_the_file_is_named_with_its_place_and_what_was_meant() {
    for (config, words) in [
        ("[lanes.gpt4]\nconcurency = 5\n", &["squall.toml:2", "concurency", "concurrency"][..]),
        ("[sesions]\nmax_concurrent = 5\n", &["squall.toml:1", "sesions", "sessions"]),
        ("\n\n[server]\nmax_connections = \"many\"\n", &["squall.toml:4", "max_connections", "many"]),
        ("[sessions]\nmax_concurrent = -1\n", &["squall.toml:2", "max_concurrent"]),
        ("[store]\ndurability = \"comit\"\n", &["squall.toml:2", "comit", "commit"]),
        ("[lanes.gpt4]\npriority = \"urgent\"\n", &["squall.toml:2", "urgent", "high"]),
        ("[tasks]\ndefault_lane = \"gtp4\"\n[lanes.gpt4]\n", &["default_lane", "gtp4", "gpt4"]),
        ("[lanes.gpt4]\nretry = { backoff = 0.5 }\n", &["backoff", "0.5", "1"]),
        ("[lanes.gpt4\n", &["squall.toml:1"]),
    ] {
        let exit = setup().config(config).refusal().await.unwrap();
        assert_eq!(exit.status.code(), Some(2), "{config}: {}", exit.said);
        for word in words {
            assert!(exit.said.contains(word), "{config:?} should be told with {word:?}:\n{}", exit.said);
        }
    }
}

#[tokio::test]
async fn a_mistake_in_the_environment_names_the_variable() {
    for (name, value, words) in [
        ("SQUALL_SESIONS__MAX_CONCURRENT", "5", &["SQUALL_SESIONS__MAX_CONCURRENT", "sessions"][..]),
        ("SQUALL_SESSIONS__MAX_CONCURRENT", "many", &["SQUALL_SESSIONS__MAX_CONCURRENT", "many"]),
        ("SQUALL_LANES__GPT4__CONCURENCY", "5", &["SQUALL_LANES__GPT4__CONCURENCY", "concurrency"]),
    ] {
        let exit = setup().config("[lanes.gpt4]\n").env(name, value).refusal().await.unwrap();
        assert_eq!(exit.status.code(), Some(2), "{name}: {}", exit.said);
        for word in words {
            assert!(exit.said.contains(word), "{name} should be told with {word:?}:\n{}", exit.said);
        }
    }
}

#[tokio::test]
async fn the_environment_overrides_the_file() {
    let gateway = setup()
        .config("[sessions]\nmax_concurrent = 5\nmax_per_tenant = 5\n[lanes.gpt4]\nconcurrency = 5\n")
        .env("SQUALL_SESSIONS__MAX_CONCURRENT", "1")
        .env("SQUALL_LANES__GPT4__CONCURRENCY", "7")
        .start()
        .await
        .unwrap();
    let mut http = http(&gateway);
    assert_eq!(http.lane("gpt4").await.unwrap().concurrency, 7);
    http.create_session(&NewSession::default()).await.unwrap();
    let error = http.create_session(&NewSession::default()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::SessionLimit));
}

#[tokio::test]
async fn nobody_else_is_let_in_without_a_token() {
    let exit = setup().config(LANES).listen("0.0.0.0:0").refusal().await.unwrap();
    assert_eq!(exit.status.code(), Some(2), "{}", exit.said);
    assert!(exit.said.contains("0.0.0.0") && exit.said.contains("token"), "{}", exit.said);
}

#[tokio::test]
async fn two_gateways_do_not_share_a_data_directory() {
    let gateway = gateway().await;
    let exit = setup().config(LANES).data_dir(gateway.data_dir()).refusal().await.unwrap();
    assert!(!exit.status.success());
    assert!(exit.said.contains(&gateway.data_dir().display().to_string()), "{}", exit.said);
    publish(&mut http(&gateway), json!({"kind": "build"})).await;
}

fn token(name: &str, secret: &str, tenant: &str, scopes: &str) -> String {
    let hash: String = Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{hash}\"\ntenant = \"{tenant}\"\nscopes = {scopes}\n")
}

async fn guarded() -> Squall {
    let tokens = [
        token("ada", "ada-secret", "a", r#"["publish", "read", "work"]"#),
        token("bob", "bob-secret", "b", r#"["publish", "read"]"#),
        token("eve", "eve-secret", "a", r#"["read"]"#),
        token("root", "root-secret", "ops", r#"["admin"]"#),
    ];
    gateway_with(&format!("[sessions]\nmax_concurrent = 3\nmax_per_tenant = 1\n{}", tokens.concat())).await
}

fn with(gateway: &Squall, secret: &str) -> Http {
    Http::new(endpoint(gateway).with_token(secret).unwrap(), Options::default())
}

#[tokio::test]
async fn without_the_right_token_nothing_is_done_or_told() {
    let gateway = guarded().await;
    for mut http in [http(&gateway), with(&gateway, "wrong"), with(&gateway, "ada-secre"), with(&gateway, "")] {
        for (method, target) in [
            (Method::POST, "/v1/tasks"),
            (Method::GET, "/v1/lanes"),
            (Method::GET, "/v1/events"),
            (Method::GET, "/v1/dead-letters"),
            (Method::POST, "/v1/sessions"),
        ] {
            let answer = send(&mut http, method, target, &json!({"kind": "build"})).await;
            let (status, error) = refused(&answer);
            assert_eq!((status, error.code), (401, ErrorCode::Unauthorized), "{target}");
        }
    }
    let error = Work::connect(&endpoint(&gateway), &Options::default()).await.err().unwrap();
    assert!(matches!(error, Error::Refused { status: 401, .. }), "{error:?}");
    // Whoever watches the process needs no token.
    assert!(http(&gateway).ready().await.unwrap());
    assert!(!gateway.log().contains("ada-secret"));
}

#[tokio::test]
async fn a_token_may_do_what_its_scopes_say() {
    let gateway = guarded().await;
    let code = |error: Error| error.code();
    let mut eve = with(&gateway, "eve-secret");
    eve.lanes().await.unwrap();
    assert_eq!(eve.publish(&NewTask::new("x")).await.map_err(code).unwrap_err(), Some(ErrorCode::Forbidden));
    let answer = send(&mut eve, Method::POST, "/v1/tasks", &json!({"kind": "x"})).await;
    assert_eq!(refused(&answer).0, 403);
    let mut ada = with(&gateway, "ada-secret");
    ada.publish(&NewTask::new("x")).await.unwrap();
    assert_eq!(ada.pause_lane("plain", None).await.map_err(code).unwrap_err(), Some(ErrorCode::Forbidden));
    with(&gateway, "root-secret").pause_lane("plain", Some(1)).await.unwrap();
    let mut bob = with(&gateway, "bob-secret");
    assert_eq!(bob.lease("plain", 1, 0).await.map_err(code).unwrap_err(), Some(ErrorCode::Forbidden));
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let gateway = guarded().await;
    let (mut ada, mut bob) = (with(&gateway, "ada-secret"), with(&gateway, "bob-secret"));
    let id: TaskId = ada.publish(&NewTask::new("secret")).await.unwrap().id;
    assert_eq!(ada.task(id).await.unwrap().id, id);
    assert_eq!(bob.task(id).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    assert_eq!(bob.cancel(id).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    with(&gateway, "root-secret").task(id).await.unwrap();

    let session = ada.create_session(&NewSession::default()).await.unwrap().id;
    assert_eq!(bob.session(&session).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    // Each has one slot of its own.
    let error = ada.create_session(&NewSession::default()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::SessionLimit));
    bob.create_session(&NewSession::default()).await.unwrap();

    let events = bob.events(Some("0".parse().unwrap()), 100, &[], &[]).await.unwrap();
    assert!(events.items.iter().all(|event| event.entity_id != id.to_string()), "{events:?}");
    let events = ada.events(Some("0".parse().unwrap()), 100, &[], &[]).await.unwrap();
    assert!(events.items.iter().any(|event| event.entity_id == id.to_string()), "{events:?}");
}
