//! A real gateway on a real socket and a real store, and just enough of a client to talk to it.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use squall_gateway::{Config, Gateway};
use squall_store::Store;
use squall_store::config::Lane;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    pub addr: SocketAddr,
    pub store: Arc<dyn Store>,
    pub dir: TempDir,
    pub stop: CancellationToken,
    pub serving: Option<JoinHandle<Result<(), squall_gateway::Error>>>,
}

/// The lanes `gpt4`, `claude_web` (the default) and `crude`.
pub fn config() -> Config {
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    for name in ["gpt4", "claude_web", "crude"] {
        config.lanes.insert(name.into(), Lane::default());
    }
    config.tasks.default_lane = Some("claude_web".into());
    config
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        config.server.data_dir = dir.path().into();
        change(&mut config);
        let store = squall_store::embedded::open(&dir.path().join("store"), config.store_options()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let bound = Gateway::bind(config, Arc::clone(&store), None).await.unwrap();
        let addr = bound.local_addr();
        let stop = CancellationToken::new();
        let serving = Some(tokio::spawn(bound.serve(stop.clone())));
        Self { addr, store, dir, stop, serving }
    }

    /// Stops it and waits until it has.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        let serving = self.serving.take().unwrap();
        tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
    }

    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "squall");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
        let (head, body) = answer.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Publishes, and says the id.
    pub async fn publish(&self, task: Value) -> String {
        let answer = self.post("/v1/tasks", &task).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub async fn ws(&self, path: &str) -> Ws {
        self.try_ws(path, &[]).await.unwrap_or_else(|answer| panic!("no WebSocket: {}", answer.text()))
    }

    pub async fn try_ws(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Ws, Answer> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let mut request = format!("ws://{}{path}", self.addr).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((stream, _)) => Ok(Ws { stream }),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                let (head, body) = answer.into_parts();
                Err(Answer { status: head.status, headers: head.headers, body: body.unwrap_or_default().into() })
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until a condition on the store's figures holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&squall_store::StoreStats) -> bool) {
        let waiting = async {
            while !holds(&self.store.stats().await.unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code and the words of a refusal, which every refusal has.
    pub fn error(&self) -> (u16, String, String) {
        let json = self.json();
        let field = |name: &str| json["error"][name].as_str().unwrap().to_owned();
        (self.status.as_u16(), field("code"), field("message"))
    }
}

pub struct Ws {
    pub stream: WebSocketStream<TcpStream>,
}

impl Ws {
    pub async fn send(&mut self, frame: Value) {
        self.send_text(frame.to_string()).await;
    }

    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.stream.send(Message::text(text.into())).await.unwrap();
    }

    pub async fn message(&mut self) -> Option<Message> {
        match tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("nothing came") {
            Some(Ok(message)) => Some(message),
            Some(Err(_)) | None => None,
        }
    }

    /// The next text, as JSON.
    pub async fn next(&mut self) -> Value {
        loop {
            match self.message().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).unwrap(),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("a text was expected, and this came: {other:?}"),
            }
        }
    }

    /// The code of the close; texts before it are skipped.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.message().await {
                Some(Message::Close(Some(frame))) => return frame.code.into(),
                Some(Message::Close(None)) | None => panic!("the connection ended without a close code"),
                Some(_) => {}
            }
        }
    }

    pub async fn subscribe(&mut self, lane: &str, credit: u32) {
        self.send(json!({"subscribe": {"lanes": [lane], "credit": credit}})).await;
        let subscribed = self.next().await;
        assert_eq!(subscribed["subscribed"]["credit"], credit, "{subscribed}");
    }
}
