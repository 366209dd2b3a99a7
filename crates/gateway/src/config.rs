//! How a gateway is set. Every field has a default; the configuration reference is made from these comments.
//!
//! Reading files and the environment is the program's business; this module says what there is and what makes sense.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_protocol::Priority;
use squall_store::config as store;

use crate::rules::Becomes;

/// All sections that the gateway reads.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where it listens, where it keeps its data, and its bounds.
    pub server: Server,
    /// Who may do what.
    pub auth: Auth,
    /// What an acknowledgement means, and the store's bounds.
    pub store: store::Config,
    /// How long the feed is kept, and what a subscriber may fall behind.
    pub feed: Feed,
    /// Where history goes, and how long it is kept.
    pub archive: store::Archive,
    /// How many sessions, and when an idle one ends.
    pub sessions: store::Sessions,
    /// What a task may be, and where one goes that names no lane.
    pub tasks: Tasks,
    /// The lanes, by name.
    pub lanes: BTreeMap<String, store::Lane>,
    /// What comes in from elsewhere.
    pub hooks: Hooks,
    /// What is fetched from elsewhere.
    pub ingest: Ingest,
    /// A source tree that is read into a graph of its symbols, whose changes are events of the topic `graph`.
    pub graph: squall_codegraph::Config,
    /// Where the storm's runs are, for the console.
    pub runs: Runs,
}

/// `[runs]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runs {
    /// The directory that `squall run --out` names. `/v1/runs` lists what is in it where there is no archive; what happened second by
    /// second, and the report, are read from here in any case. Need not be there.
    pub dir: PathBuf,
}

impl Default for Runs {
    fn default() -> Self {
        Self { dir: PathBuf::from("runs") }
    }
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port; port 0 takes a free one. Anything but loopback needs a token.
    pub listen: SocketAddr,
    /// Web pages that may use the gateway besides its own, each as a browser's `Origin` says it: `https://console.example`. Others are
    /// answered 403 `Forbidden`, WebSockets too; programs, which send no `Origin`, are not asked.
    pub allowed_origins: Vec<String>,
    /// Where the store and `health.json` are.
    pub data_dir: PathBuf,
    /// Connections at a time, HTTP and WebSocket together; one more is answered 503 `TooManyConnections`.
    pub max_connections: usize,
    /// HTTP requests that are being answered at a time; one more is answered 503 `Overloaded`. Long polls count, streams of events do not.
    pub max_concurrent_requests: usize,
    /// Size of a request's body; more is answered 413 `TooLarge`.
    pub max_body_bytes: usize,
    /// Size of a request's head, 8,192 at least; more is answered 431.
    pub max_head_bytes: usize,
    /// How long a client may take to send a request's head; an idle kept-alive connection is closed after it too.
    pub head_timeout_ms: u64,
    /// How long a client may take to send a request's body.
    pub body_timeout_ms: u64,
    /// A WebSocket that said nothing for so long is pinged, and closed when it says nothing for as long again.
    pub keepalive_ms: u64,
    /// `publish` frames of one connection that may be unanswered; the gateway reads no further until some are.
    pub max_unanswered_publishes: usize,
    /// Bytes of payload in `publish` frames of one connection that may be unanswered.
    pub max_unanswered_bytes: usize,
    /// Bytes that may wait to be sent on one `/ws/work` connection; the gateway reads no further, and takes no more tasks
    /// from the store, until the peer has read some.
    pub max_unsent_bytes: usize,
    /// How long a drain may take, from the signal to the exit. A fifth of it is kept for closing the store, whose snapshot is left
    /// out when there is no time for it: the next start replays the log instead.
    pub drain_timeout_ms: u64,
    /// How often `health.json` is written.
    pub health_file_every_ms: u64,
}

impl Server {
    /// From the signal to the exit.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    /// What of that is kept for whoever closes the store.
    #[must_use]
    pub fn closing_time(&self) -> Duration {
        self.drain_timeout() / 5
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
            allowed_origins: Vec::new(),
            data_dir: PathBuf::from("squall-data"),
            max_connections: 10_000,
            max_concurrent_requests: 1_024,
            max_body_bytes: 16 << 20,
            max_head_bytes: 16 << 10,
            head_timeout_ms: 60_000,
            body_timeout_ms: 30_000,
            keepalive_ms: 30_000,
            max_unanswered_publishes: 4_096,
            max_unanswered_bytes: 8 << 20,
            max_unsent_bytes: 4 << 20,
            drain_timeout_ms: 10_000,
            health_file_every_ms: 30_000,
        }
    }
}

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Who may do what. None: everybody is the administrator, and the gateway listens on loopback only.
    pub tokens: Vec<Token>,
}

/// `[[auth.tokens]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Who it is, in logs and trails; unique.
    pub name: String,
    /// SHA-256 of the token as 64 hexadecimal digits. The token itself is nowhere.
    pub sha256: String,
    /// Whose tasks and sessions it sees.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// What it may do. `admin` includes the others, for all tenants.
    pub scopes: Vec<Scope>,
}

fn default_tenant() -> String {
    DEFAULT_TENANT.into()
}

/// Whose everything is when there are no tokens.
pub const DEFAULT_TENANT: &str = "default";

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Publish and withdraw tasks; create, change and end sessions.
    Publish,
    /// Take tasks and settle them.
    Work,
    /// Look: tasks, sessions, lanes, dead letters, feed, metrics.
    Read,
    /// Everything, for all tenants: pause lanes, replay and purge dead letters, drain.
    Admin,
}

impl Scope {
    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Work => "work",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// `[feed]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feed {
    /// How long events are kept.
    pub retention_ms: u64,
    /// How many bytes of log are kept.
    pub retention_bytes: u64,
    /// How many subscribers, WebSocket and SSE together; one more is refused with 503 `TooManyConnections`.
    pub max_subscribers: usize,
    /// How many events a live subscriber may be behind before it is closed with 1013.
    pub buffer_events: usize,
    /// How many bytes of events a live subscriber may be behind. The buffer is shared: one for all subscribers.
    pub buffer_bytes: usize,
}

impl Default for Feed {
    fn default() -> Self {
        let store = store::Feed::default();
        Self {
            retention_ms: store.retention_ms,
            retention_bytes: store.retention_bytes,
            max_subscribers: 10_000,
            buffer_events: 65_536,
            buffer_bytes: 16 << 20,
        }
    }
}

/// `[tasks]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tasks {
    /// Where a task goes that names no lane, or an unknown one. Absent: it is refused with `UnknownLane`.
    pub default_lane: Option<String>,
    /// Size of a payload as JSON text.
    pub max_payload_bytes: usize,
    /// Tasks in one batch over HTTP.
    pub max_batch: usize,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { default_lane: None, max_payload_bytes: 1 << 20, max_batch: 10_000 }
    }
}

/// `[hooks]`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// `POST /hooks/github`.
    pub github: Github,
}

/// `[hooks.github]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Github {
    /// The webhook's secret. Better in the environment (`SQUALL_HOOKS__GITHUB__SECRET`). Absent: the hook answers 404.
    pub secret: Option<String>,
    /// Whose tasks they become.
    pub tenant: String,
    /// Which event becomes which task; the first rule that matches decides. An event without a rule is refused by name.
    pub rules: Vec<GithubRule>,
}

impl Default for Github {
    fn default() -> Self {
        Self { secret: None, tenant: default_tenant(), rules: Vec::new() }
    }
}

/// `[[hooks.github.rules]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubRule {
    /// `X-GitHub-Event`: `push`, `workflow_run` … `*` is any.
    pub event: String,
    /// The payload's `action`. Absent or `*`: any, or none.
    #[serde(default)]
    pub action: Option<String>,
    /// The lane; absent: the default lane.
    #[serde(default)]
    pub lane: Option<String>,
    /// The kind; absent: `github.<event>`, and `.<action>` if there is one.
    #[serde(default)]
    pub kind: Option<String>,
    /// The priority; absent: the lane's.
    #[serde(default)]
    pub priority: Option<Priority>,
}

/// `[ingest]`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    /// What other programs push to Redis.
    pub redis: RedisIngest,
}

/// `[ingest.redis]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisIngest {
    /// The Redis, 6.2 or later; empty: that of `store.url`. With `rediss://` it is trusted as `store.ca_file` says. Each list and each
    /// stream has a connection of its own.
    pub url: String,
    /// Lists that other programs `RPUSH` to. An item leaves its list only when it is stored.
    pub lists: Vec<String>,
    /// Streams that other programs `XADD` to. An entry is acknowledged only when it is stored.
    pub streams: Vec<String>,
    /// The consumer group of the streams; it begins with the oldest entry that is there when it is made.
    pub group: String,
    /// Whose tasks and sessions they become.
    pub tenant: String,
    /// Items that are fetched at a time, from 1 to 1,000.
    pub batch: usize,
    /// Whose dead letters what makes no sense becomes. Absent: `tasks.default_lane`.
    pub dead_letter_lane: Option<String>,
    /// Which event becomes which task; the first rule that matches decides, and an event without a rule is a dead letter. No rules:
    /// every event is what it says it is. `session:create`, `session:update` and `session:end` need no rule.
    pub rules: Vec<IngestRule>,
}

impl Default for RedisIngest {
    fn default() -> Self {
        Self {
            url: String::new(),
            lists: Vec::new(),
            streams: Vec::new(),
            group: "squall".into(),
            tenant: default_tenant(),
            batch: 100,
            dead_letter_lane: None,
            rules: Vec::new(),
        }
    }
}

/// `[[ingest.redis.rules]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestRule {
    /// The list or stream. Absent or `*`: any.
    #[serde(default)]
    pub source: Option<String>,
    /// The item's `type`. `*` is any, or none.
    pub event: String,
    /// The lane; absent: the item's `lane`, or the default lane.
    #[serde(default)]
    pub lane: Option<String>,
    /// The kind; absent: the event.
    #[serde(default)]
    pub kind: Option<String>,
    /// The priority; absent: the item's `priority`, or the lane's.
    #[serde(default)]
    pub priority: Option<Priority>,
}

impl GithubRule {
    /// What an event becomes.
    pub(crate) fn becomes(&self) -> Becomes<'_> {
        Becomes { lane: self.lane.as_deref(), kind: self.kind.as_deref(), priority: self.priority }
    }
}

impl IngestRule {
    /// What an event becomes.
    pub(crate) fn becomes(&self) -> Becomes<'_> {
        Becomes { lane: self.lane.as_deref(), kind: self.kind.as_deref(), priority: self.priority }
    }
}

/// A value that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ConfigError {
    /// Where: `lanes.gpt4.retry.backoff`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Config {
    /// What the store is opened with.
    #[must_use]
    pub fn store_options(&self) -> store::Options {
        store::Options {
            store: self.store.clone(),
            feed: store::Feed { retention_ms: self.feed.retention_ms, retention_bytes: self.feed.retention_bytes },
            sessions: self.sessions.clone(),
            lanes: self.lanes.clone(),
            default_lane: self.tasks.default_lane.clone(),
        }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// Names the first value that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_server()?;
        self.validate_auth()?;
        self.validate_store()?;
        self.validate_archive()?;
        for (name, lane) in &self.lanes {
            validate_lane(name, lane)?;
        }
        if let Some(lane) = &self.tasks.default_lane {
            self.known_lane("tasks.default_lane", lane)?;
        }
        self.validate_hooks()?;
        self.graph.validate().map_err(|wrong| error(&format!("graph.{}", wrong.field), wrong.why))?;
        self.validate_ingest()
    }

    fn known_lane(&self, path: &str, lane: &str) -> Result<(), ConfigError> {
        if self.lanes.contains_key(lane) {
            return Ok(());
        }
        let names: Vec<_> = self.lanes.keys().map(String::as_str).collect();
        let known =
            if names.is_empty() { "no lane is configured".into() } else { format!("lanes are {}", names.join(", ")) };
        Err(error(path, format!("there is no lane {lane:?}; {known}")))
    }

    fn validate_server(&self) -> Result<(), ConfigError> {
        let server = &self.server;
        if self.auth.tokens.is_empty() && !server.listen.ip().is_loopback() {
            return Err(error(
                "server.listen",
                format!(
                    "refuses to listen on {} without a token: add one under [[auth.tokens]] (squall token), or listen on 127.0.0.1",
                    server.listen
                ),
            ));
        }
        for (i, origin) in server.allowed_origins.iter().enumerate() {
            let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
            if authority.is_empty() || authority.contains('/') {
                let message =
                    format!("{origin:?} is no origin: a scheme and a host, https://console.example, without a path");
                return Err(error(&format!("server.allowed_origins[{i}]"), message));
            }
        }
        at_least("server.max_connections", server.max_connections, 1)?;
        at_least("server.max_concurrent_requests", server.max_concurrent_requests, 1)?;
        at_least("server.max_body_bytes", server.max_body_bytes, 1_024)?;
        at_least("server.max_head_bytes", server.max_head_bytes, 8_192)?;
        at_least("server.head_timeout_ms", server.head_timeout_ms, 1)?;
        at_least("server.body_timeout_ms", server.body_timeout_ms, 1)?;
        at_least("server.keepalive_ms", server.keepalive_ms, 10)?;
        at_least("server.max_unanswered_publishes", server.max_unanswered_publishes, 1)?;
        at_least("server.max_unanswered_bytes", server.max_unanswered_bytes, 1)?;
        at_least("server.max_unsent_bytes", server.max_unsent_bytes, 65_536)?;
        at_least("server.drain_timeout_ms", server.drain_timeout_ms, 1)?;
        at_least("server.health_file_every_ms", server.health_file_every_ms, 100)
    }

    fn validate_auth(&self) -> Result<(), ConfigError> {
        for (i, token) in self.auth.tokens.iter().enumerate() {
            let path = |field: &str| format!("auth.tokens[{i}].{field}");
            if token.name.is_empty() {
                return Err(error(&path("name"), "is empty"));
            }
            if self.auth.tokens[..i].iter().any(|other| other.name == token.name) {
                return Err(error(&path("name"), format!("{:?} names two tokens", token.name)));
            }
            if crate::auth::parse_hash(&token.sha256).is_none() {
                return Err(error(
                    &path("sha256"),
                    "is not a SHA-256: 64 hexadecimal digits, as `squall token` prints them",
                ));
            }
            validate_tenant(&path("tenant"), &token.tenant)?;
            if token.scopes.is_empty() {
                return Err(error(
                    &path("scopes"),
                    "is empty: a token that may do nothing; scopes are publish, work, read, admin",
                ));
            }
        }
        Ok(())
    }

    fn validate_archive(&self) -> Result<(), ConfigError> {
        let archive = &self.archive;
        if !archive.url.is_empty() {
            squall_store::archive::check_url(&archive.url, &archive.ca_file)
                .map_err(|why| error("archive.url", why))?;
        }
        squall_store::archive::check_schema(&archive.schema).map_err(|why| error("archive.schema", why))?;
        at_least("archive.batch", archive.batch, 1)?;
        if archive.batch > 100_000 {
            return Err(error(
                "archive.batch",
                format!("is {}; at most 100000 events go into one transaction", archive.batch),
            ));
        }
        at_least("archive.timeout_ms", archive.timeout_ms, 100)
    }

    fn validate_store(&self) -> Result<(), ConfigError> {
        let store = &self.store;
        if !is_redis_or_empty(&store.url) {
            return Err(error("store.url", "is neither empty, for the embedded store, nor redis://… or rediss://…"));
        }
        if store.key_prefix.is_empty() || store.key_prefix.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(error("store.key_prefix", "is empty, or has a blank in it"));
        }
        at_least("store.timeout_ms", store.timeout_ms, 100)?;
        if store.durability == store::Durability::Interval {
            at_least("store.interval_ms", store.interval_ms, 1)?;
        }
        at_least("store.segment_bytes", store.segment_bytes, 1 << 20)?;
        at_least("store.max_queued_commands", store.max_queued_commands, 1)?;
        at_least("store.max_batch", store.max_batch, 1)?;
        let largest = u64::try_from(self.tasks.max_payload_bytes).unwrap_or(u64::MAX);
        at_least("store.max_task_bytes", store.max_task_bytes, largest)?;
        at_least("feed.retention_bytes", self.feed.retention_bytes, 1 << 20)?;
        at_least("feed.max_subscribers", self.feed.max_subscribers, 1)?;
        at_least("feed.buffer_events", self.feed.buffer_events, 1)?;
        at_least("feed.buffer_bytes", self.feed.buffer_bytes, 65_536)?;
        at_least("sessions.max_concurrent", self.sessions.max_concurrent, 1)?;
        at_least("sessions.max_per_tenant", self.sessions.max_per_tenant, 1)?;
        at_least("sessions.idle_timeout_ms", self.sessions.idle_timeout_ms, 1)?;
        at_least("tasks.max_payload_bytes", self.tasks.max_payload_bytes, 1)?;
        at_least("tasks.max_batch", self.tasks.max_batch, 1)?;
        if self.tasks.max_payload_bytes > self.server.max_body_bytes {
            return Err(error(
                "tasks.max_payload_bytes",
                format!(
                    "is more than server.max_body_bytes ({}), so that no such payload could come in",
                    self.server.max_body_bytes
                ),
            ));
        }
        Ok(())
    }

    fn validate_hooks(&self) -> Result<(), ConfigError> {
        validate_tenant("hooks.github.tenant", &self.hooks.github.tenant)?;
        if self.hooks.github.secret.as_deref() == Some("") {
            return Err(error(
                "hooks.github.secret",
                "is empty: anybody could sign; leave it out to switch the hook off",
            ));
        }
        for (i, rule) in self.hooks.github.rules.iter().enumerate() {
            let path = |field: &str| format!("hooks.github.rules[{i}].{field}");
            self.validate_rule(&path, &rule.event, rule.becomes())?;
            if rule.lane.is_none() && self.tasks.default_lane.is_none() {
                return Err(error(&path("lane"), "is absent, and there is no tasks.default_lane"));
            }
        }
        Ok(())
    }

    fn validate_rule(&self, path: &dyn Fn(&str) -> String, event: &str, to: Becomes<'_>) -> Result<(), ConfigError> {
        if event.is_empty() {
            return Err(error(&path("event"), "is empty; \"*\" is any event"));
        }
        if let Some(lane) = to.lane {
            self.known_lane(&path("lane"), lane)?;
        }
        match to.kind {
            Some(kind) if !(1..=128).contains(&kind.len()) => Err(error(&path("kind"), "is 1 to 128 bytes")),
            _ => Ok(()),
        }
    }

    fn validate_ingest(&self) -> Result<(), ConfigError> {
        let ingest = &self.ingest.redis;
        let path = |field: &str| format!("ingest.redis.{field}");
        if !is_redis_or_empty(&ingest.url) {
            return Err(error(&path("url"), "is neither empty, for that of store.url, nor redis://… or rediss://…"));
        }
        validate_tenant(&path("tenant"), &ingest.tenant)?;
        if ingest.group.is_empty() {
            return Err(error(&path("group"), "is empty"));
        }
        if !(1..=1_000).contains(&ingest.batch) {
            return Err(error(&path("batch"), format!("is {}: it is 1 to 1,000", ingest.batch)));
        }
        if let Some(lane) = &ingest.dead_letter_lane {
            self.known_lane(&path("dead_letter_lane"), lane)?;
        }
        let lists = ingest.lists.iter().enumerate().map(|(i, name)| (format!("lists[{i}]"), name));
        let streams = ingest.streams.iter().enumerate().map(|(i, name)| (format!("streams[{i}]"), name));
        let sources: Vec<(String, &String)> = lists.chain(streams).collect();
        for (i, (field, name)) in sources.iter().enumerate() {
            if !(1..=256).contains(&name.len()) {
                return Err(error(&path(field), "a name is 1 to 256 bytes"));
            }
            if let Some((other, _)) = sources[..i].iter().find(|(_, other)| other == name) {
                return Err(error(&path(field), format!("{name:?} is {} already", path(other))));
            }
        }
        for (i, rule) in ingest.rules.iter().enumerate() {
            let path = |field: &str| format!("ingest.redis.rules[{i}].{field}");
            self.validate_rule(&path, &rule.event, rule.becomes())?;
            if let Some(source) = rule.source.as_deref().filter(|source| *source != "*")
                && !sources.iter().any(|(_, name)| *name == source)
            {
                let message = format!("{source:?} is neither among ingest.redis.lists nor ingest.redis.streams");
                return Err(error(&path("source"), message));
            }
        }
        if sources.is_empty() {
            return Ok(());
        }
        if ingest.url.is_empty() && self.store.url.is_empty() {
            return Err(error(
                &path("url"),
                "is empty, and so is store.url: say which Redis has these lists or streams",
            ));
        }
        if ingest.dead_letter_lane.is_none() && self.tasks.default_lane.is_none() {
            return Err(error(&path("dead_letter_lane"), "is absent, and there is no tasks.default_lane"));
        }
        Ok(())
    }
}

fn is_redis_or_empty(url: &str) -> bool {
    url.is_empty() || url.starts_with("redis://") || url.starts_with("rediss://")
}

fn validate_tenant(path: &str, tenant: &str) -> Result<(), ConfigError> {
    if (1..=64).contains(&tenant.len()) { Ok(()) } else { Err(error(path, "a tenant's name is 1 to 64 bytes")) }
}

fn validate_lane(name: &str, lane: &store::Lane) -> Result<(), ConfigError> {
    let path = |field: &str| format!("lanes.{name}.{field}");
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fine) {
        return Err(error(&format!("lanes.{name}"), "a lane's name is 1 to 64 ASCII letters, digits, '-', '_' or '.'"));
    }
    if let Some(rate) = lane.rate_per_s
        && !(rate.is_finite() && rate > 0.0)
    {
        return Err(error(
            &path("rate_per_s"),
            format!("{rate} is not a rate: it is more than 0; leave it out for no limit"),
        ));
    }
    if lane.burst == Some(0) {
        return Err(error(
            &path("burst"),
            "is 0, so that nothing would ever be delivered; leave it out for one second's worth",
        ));
    }
    if lane.burst.is_some() && lane.rate_per_s.is_none() {
        return Err(error(&path("burst"), "means nothing without rate_per_s"));
    }
    at_least(&path("max_depth"), lane.max_depth, 1)?;
    at_least(&path("lease_ms"), lane.lease_ms, 100)?;
    if !(lane.retry.backoff.is_finite() && lane.retry.backoff >= 1.0) {
        return Err(error(
            &path("retry.backoff"),
            format!("{} is not a backoff: it is at least 1", lane.retry.backoff),
        ));
    }
    if !(0.0..=1.0).contains(&lane.retry.jitter) {
        return Err(error(&path("retry.jitter"), format!("{} is not a jitter: it is 0 to 1", lane.retry.jitter)));
    }
    if let Some(weights) = lane.weights
        && (weights.high == 0 || weights.normal == 0 || weights.low == 0)
    {
        return Err(error(&path("weights"), "a weight is at least 1: one of 0 would starve its priority"));
    }
    Ok(())
}

fn at_least<T: PartialOrd + std::fmt::Display>(path: &str, value: T, least: T) -> Result<(), ConfigError> {
    if value < least { Err(error(path, format!("{value} is too little: at least {least}"))) } else { Ok(()) }
}

fn error(path: &str, message: impl Into<String>) -> ConfigError {
    ConfigError { path: path.into(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_lane() -> Config {
        let mut config = Config::default();
        config.lanes.insert("gpt4".into(), store::Lane::default());
        config.tasks.default_lane = Some("gpt4".into());
        config
    }

    fn fetch(config: &mut Config) -> &mut RedisIngest {
        let redis = &mut config.ingest.redis;
        redis.url = "redis://localhost".into();
        redis.lists = vec!["l".into()];
        redis
    }

    fn rule(source: Option<&str>, event: &str) -> IngestRule {
        let source = source.map(Into::into);
        IngestRule { source, event: event.into(), lane: None, kind: None, priority: None }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        type Break = fn(&mut Config);
        let cases: &[(Break, &str, &str)] = &[
            (|c| c.server.listen = "0.0.0.0:8000".parse().unwrap(), "server.listen", "without a token"),
            (|c| c.tasks.default_lane = Some("gtp4".into()), "tasks.default_lane", "lanes are gpt4"),
            (|c| c.lanes.get_mut("gpt4").unwrap().retry.backoff = 0.5, "lanes.gpt4.retry.backoff", "at least 1"),
            (|c| c.lanes.get_mut("gpt4").unwrap().rate_per_s = Some(0.0), "lanes.gpt4.rate_per_s", "more than 0"),
            (|c| c.lanes.get_mut("gpt4").unwrap().retry.jitter = f64::NAN, "lanes.gpt4.retry.jitter", "0 to 1"),
            (
                |c| c.server.allowed_origins = vec!["https://a.example".into(), "https://b.example/".into()],
                "server.allowed_origins[1]",
                "no origin",
            ),
            (|c| c.sessions.max_concurrent = 0, "sessions.max_concurrent", "at least 1"),
            (|c| c.store.url = "http://localhost".into(), "store.url", "redis://"),
            (|c| c.store.key_prefix = "a b".into(), "store.key_prefix", "blank"),
            (|c| c.hooks.github.secret = Some(String::new()), "hooks.github.secret", "anybody"),
            (|c| c.server.max_body_bytes = 1_024, "tasks.max_payload_bytes", "max_body_bytes"),
            (|c| c.ingest.redis.lists = vec!["l".into()], "ingest.redis.url", "store.url"),
            (|c| c.ingest.redis.url = "localhost:6379".into(), "ingest.redis.url", "redis://"),
            (|c| c.ingest.redis.batch = 0, "ingest.redis.batch", "1 to 1,000"),
            (|c| c.ingest.redis.tenant = String::new(), "ingest.redis.tenant", "1 to 64"),
            (|c| c.ingest.redis.dead_letter_lane = Some("x".into()), "ingest.redis.dead_letter_lane", "lanes are gpt4"),
            (|c| fetch(c).streams = vec![String::new()], "ingest.redis.streams[0]", "1 to 256"),
            (|c| fetch(c).streams = vec!["s".into(), "l".into()], "ingest.redis.streams[1]", "ingest.redis.lists[0]"),
            (|c| fetch(c).rules = vec![rule(None, "")], "ingest.redis.rules[0].event", "any event"),
            (|c| fetch(c).rules = vec![rule(Some("m"), "*")], "ingest.redis.rules[0].source", "neither among"),
            (
                |c| fetch(c).rules = vec![IngestRule { lane: Some("gtp4".into()), ..rule(None, "*") }],
                "ingest.redis.rules[0].lane",
                "lanes are gpt4",
            ),
            (
                |c| {
                    fetch(c);
                    c.tasks.default_lane = None;
                },
                "ingest.redis.dead_letter_lane",
                "no tasks.default_lane",
            ),
            (
                |c| {
                    c.auth.tokens.push(Token {
                        name: "a".into(),
                        sha256: "secret".into(),
                        tenant: "t".into(),
                        scopes: vec![Scope::Read],
                    });
                },
                "auth.tokens[0].sha256",
                "64 hexadecimal digits",
            ),
        ];
        assert_eq!(with_lane().validate(), Ok(()));
        let mut fetching = with_lane();
        fetch(&mut fetching).rules = vec![rule(Some("l"), "*"), rule(Some("*"), "x")];
        assert_eq!(fetching.validate(), Ok(()));
        for (break_it, path, words) in cases {
            let mut config = with_lane();
            break_it(&mut config);
            let error = config.validate().unwrap_err();
            assert_eq!(error.path, *path);
            assert!(error.message.contains(words), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = serde_json::from_str::<Config>(r#"{"server":{"listen_on":"x"}}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `listen_on`"), "{error}");
    }
}
