//! What the stories have in common: a gateway, its lanes, a publisher and a worker.

use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;
use squall_client::events::{Filter, Item, Start};
use squall_client::http::{JSON, Response};
use squall_client::work::Incoming;
use squall_client::{Backoff, Endpoint, Error, Http, Options, Subscriber, Work};
use squall_protocol::frame::Nack;
use squall_protocol::task::Published;
use squall_protocol::{FeedRecord, NackMode, Priority, Receipt, SessionId, TaskId, TaskState, WireError};
use squall_testkit::{Setup, Squall, eventually, within};

/// Long enough for anything that should happen at all, on a machine that does something else meanwhile.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Lanes for every purpose. Retries are quick and exact, so that a test can count on them.
pub(crate) const LANES: &str = r#"
[tasks]
default_lane = "plain"

[lanes.plain]
retry = { max = 2, delay_ms = 50, backoff = 2.0, jitter = 0.0 }

[lanes.narrow]
concurrency = 2
max_depth = 3

[lanes.slow]
rate_per_s = 20.0
burst = 1

[lanes.brief]
lease_ms = 400
retry = { max = 2, delay_ms = 10, jitter = 0.0 }

[lanes.aging]
aging_ms = 200

[lanes.sticky]
affinity = "session"
retry = { max = 5, delay_ms = 10, jitter = 0.0 }

[lanes.steady]
retry = { max = 1000, delay_ms = 20, max_delay_ms = 50, jitter = 0.5 }
"#;

/// A gateway with [`LANES`].
pub(crate) async fn gateway() -> Squall {
    gateway_with("").await
}

/// A gateway with [`LANES`] and more sections.
pub(crate) async fn gateway_with(more: &str) -> Squall {
    setup().config(&format!("{more}\n{LANES}")).start().await.unwrap()
}

/// The program under test.
pub(crate) fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_squall"))
}

pub(crate) fn endpoint(gateway: &Squall) -> Endpoint {
    Endpoint::parse(gateway.url()).unwrap()
}

pub(crate) fn http(gateway: &Squall) -> Http {
    Http::new(endpoint(gateway), Options::default())
}

/// A pipelined connection that has not subscribed.
pub(crate) async fn work(gateway: &Squall) -> Work {
    Work::connect(&endpoint(gateway), &Options::default()).await.unwrap()
}

/// Any request with a JSON body.
pub(crate) async fn send(http: &mut Http, method: Method, target: &str, body: &Value) -> Response {
    let headers: &[(HeaderName, HeaderValue)] = &[(http::header::CONTENT_TYPE, JSON)];
    http.request(method, target, headers, body.to_string().into()).await.unwrap()
}

/// Any request without one.
pub(crate) async fn get(http: &mut Http, target: &str) -> Response {
    http.request(Method::GET, target, &[], bytes::Bytes::new()).await.unwrap()
}

pub(crate) async fn try_publish(http: &mut Http, task: Value) -> Result<Published, Error> {
    send(http, Method::POST, "/v1/tasks", &task).await.json()
}

pub(crate) async fn publish(http: &mut Http, task: Value) -> TaskId {
    try_publish(http, task).await.unwrap().id
}

/// The error in an answer that must not be a success.
pub(crate) fn refused(answer: &Response) -> (u16, WireError) {
    match answer.refusal() {
        Error::Refused { status, error } if !answer.status.is_success() => (status, error),
        other => panic!("{}: {other}", answer.status),
    }
}

/// Waits until a task is where it should be.
pub(crate) async fn state_of(http: &mut Http, id: TaskId, state: TaskState) {
    eventually(&format!("task {id} to be {state:?}"), SOON, async || {
        http.task(id).await.ok().filter(|task| task.state == state).map(drop)
    })
    .await;
}

/// A connected worker.
pub(crate) struct Worker {
    pub(crate) work: Work,
}

/// A delivery that outlives its frame.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) id: TaskId,
    pub(crate) receipt: Receipt,
    pub(crate) lane: String,
    pub(crate) kind: String,
    pub(crate) priority: Priority,
    pub(crate) attempt: u32,
    pub(crate) key: Option<String>,
    pub(crate) session: Option<SessionId>,
    pub(crate) payload: Value,
    pub(crate) at: Instant,
}

impl From<squall_protocol::Delivery<'_>> for Got {
    fn from(delivery: squall_protocol::Delivery<'_>) -> Self {
        Self {
            id: delivery.id,
            receipt: delivery.receipt,
            lane: delivery.lane.into_owned(),
            kind: delivery.kind.into_owned(),
            priority: delivery.priority,
            attempt: delivery.attempt,
            key: delivery.key.map(|key| key.to_string()),
            session: delivery.session,
            payload: serde_json::from_str(delivery.payload.get()).unwrap(),
            at: Instant::now(),
        }
    }
}

impl Worker {
    /// A worker that is subscribed.
    pub(crate) async fn new(gateway: &Squall, lanes: &[&str], credit: u32) -> Self {
        let mut work = work(gateway).await;
        work.subscribe(lanes, credit);
        match within("the subscription", SOON, work.next()).await.unwrap() {
            Incoming::Subscribed(subscribed) => assert_eq!(subscribed.credit, credit),
            other => panic!("{other:?}"),
        }
        Self { work }
    }

    /// The next task.
    pub(crate) async fn take(&mut self) -> Got {
        match within("a delivery", SOON, self.work.next()).await.unwrap() {
            Incoming::Deliver(delivery) => delivery.into(),
            other => panic!("{other:?}"),
        }
    }

    /// The next task, acknowledged, with credit for another.
    pub(crate) async fn finish(&mut self) -> Got {
        let got = self.take().await;
        self.ack(&got).await;
        got
    }

    pub(crate) async fn ack(&mut self, got: &Got) {
        self.work.ack(got.id);
        self.work.credit(1);
        self.work.flush().await.unwrap();
    }

    pub(crate) async fn nack(&mut self, got: &Got, mode: NackMode, reason: &str) {
        self.work.nack(&nack(got.id, mode, reason));
        self.work.credit(1);
        self.work.flush().await.unwrap();
    }

    /// Nothing comes for a while.
    pub(crate) async fn idle(&mut self, for_ms: u64) {
        if let Ok(came) = tokio::time::timeout(Duration::from_millis(for_ms), self.work.next()).await {
            panic!("nothing should come, and this did: {came:?}");
        }
    }
}

pub(crate) fn nack(id: TaskId, mode: NackMode, reason: &str) -> Nack<'_> {
    Nack { id, mode, delay_ms: None, reason: Some(reason.into()), pause_lane_ms: None }
}

/// Quick, so that a test need not wait.
pub(crate) fn backoff() -> Backoff {
    Backoff { first_ms: 5, longest_ms: 100, ..Backoff::default() }
}

/// Follows the feed.
pub(crate) fn subscriber(gateway: &Squall, start: Start, filter: Filter) -> Subscriber {
    Subscriber::new(endpoint(gateway), Options::default(), backoff(), start, filter)
}

/// The next event, and nothing else but a connection before it.
pub(crate) async fn next_event(subscriber: &mut Subscriber) -> FeedRecord {
    loop {
        match within("an event", SOON, subscriber.next()).await.unwrap() {
            Item::Event(record) => return *record,
            Item::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
