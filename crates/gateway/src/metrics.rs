//! What the gateway counts. Its own counters live here; the store's figures are asked for when somebody looks.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use squall_protocol::stats::ProcessStats;
use squall_protocol::{Priority, SessionState, Stats};
use squall_store::{Store, StoreStats};

use crate::app::App;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
    method: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    why: &'static str,
}

#[derive(Clone, Debug)]
struct Latency;

impl MetricConstructor<Histogram> for Latency {
    fn new_metric(&self) -> Histogram {
        // Seconds, from half a sync of a fast disk to a long poll.
        Histogram::new([
            0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
        ])
    }
}

/// The gateway's own metrics.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    latency: Family<Route, Histogram, Latency>,
    requests_total: Counter,
    refused_connections: Family<Refused, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) work_connections: Gauge,
}

impl Metrics {
    pub(crate) fn new(store: &dyn Store) -> Self {
        let mut root = Registry::default();
        // The store's names are whole already.
        store.register_metrics(&mut root);
        let registry = root.sub_registry_with_prefix("squall");
        let requests = Family::<Answered, Counter>::default();
        registry.register("http_requests", "HTTP requests answered", requests.clone());
        let latency = Family::<Route, Histogram, Latency>::new_with_constructor(Latency);
        registry.register_with_unit(
            "http_request_duration",
            "From the request's head to the answer's head",
            Unit::Seconds,
            latency.clone(),
        );
        let refused_connections = Family::<Refused, Counter>::default();
        registry.register("connections_refused", "Connections that were not served", refused_connections.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections, HTTP and WebSocket", connections.clone());
        let work_connections = Gauge::default();
        registry.register("work_connections", "Open /ws/work connections", work_connections.clone());
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        registry.register(
            "build",
            "What is running",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION")), ("profile", profile)]),
        );
        Self {
            registry: root,
            requests,
            latency,
            requests_total: Counter::default(),
            refused_connections,
            connections,
            work_connections,
        }
    }

    pub(crate) fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let method = method_name(method);
        let labels = Answered { route: route.into(), method: method.into(), status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
        self.latency.get_or_create(&Route { route: route.into(), method: method.into() }).observe(took.as_secs_f64());
        self.requests_total.inc();
    }

    pub(crate) fn connection_refused(&self, why: &'static str) {
        self.refused_connections.get_or_create(&Refused { why }).inc();
    }
}

/// Methods that anybody may invent become one label, so that nobody can grow the metrics without end.
fn method_name(method: &Method) -> &str {
    match *method {
        Method::GET | Method::POST | Method::PATCH | Method::PUT | Method::DELETE | Method::HEAD | Method::OPTIONS => {
            method.as_str()
        }
        _ => "other",
    }
}

/// All figures as JSON.
pub(crate) async fn stats(app: &App) -> Result<Stats, squall_store::Error> {
    let store = app.store.stats().await?;
    let sessions =
        SessionState::ALL.iter().zip(store.sessions).map(|(state, n)| (state.as_str().to_owned(), n)).collect();
    let tasks: BTreeMap<String, u64> = store.tasks.iter().map(|(outcome, n)| ((*outcome).to_owned(), *n)).collect();
    Ok(Stats {
        lanes: store.lanes,
        sessions,
        sessions_refused: store.sessions_refused,
        tasks,
        feed_offset: store.feed_offset,
        feed_oldest: store.feed_oldest,
        epoch: app.store.epoch(),
        subscribers: app.hub.subscribers() as u64,
        subscribers_dropped: app.hub.dropped(),
        workers: store.workers,
        commits: store.commits,
        committed_commands: store.committed_commands,
        commit_ms: store.commit_ms,
        requests: app.metrics.requests_total.get(),
        process: process(app.started),
    })
}

/// All figures as Prometheus text.
pub(crate) async fn text(app: &App) -> Result<String, squall_store::Error> {
    let store = app.store.stats().await?;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &app.metrics.registry);
    text.truncate(text.len() - text.strip_suffix("# EOF\n").map_or(0, |_| "# EOF\n".len()));
    let _ = encode(&mut text, &scraped(app, &store));
    Ok(text)
}

type Labels = Vec<(&'static str, String)>;

/// What is not counted as it happens, but looked up when somebody asks.
fn scraped(app: &App, store: &StoreStats) -> Registry {
    let mut registry = Registry::with_prefix("squall");
    let mut gauges = |name: &str, help: &str, values: Vec<(Labels, f64)>| {
        if let [(labels, value)] = values.as_slice()
            && labels.is_empty()
        {
            let metric = Gauge::<f64, AtomicU64>::default();
            metric.set(*value);
            return registry.register(name, help, metric);
        }
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        registry.register(name, help, family);
    };
    let by_lane = |value: &dyn Fn(&squall_protocol::LaneView) -> u64| {
        store.lanes.iter().map(|lane| (vec![("lane", lane.lane.clone())], value(lane) as f64)).collect::<Vec<_>>()
    };
    let by_priority = |value: &dyn Fn(&squall_protocol::LaneView, Priority) -> f64| {
        let lanes = store.lanes.iter();
        lanes
            .flat_map(|lane| Priority::ALL.map(|priority| (lane, priority)))
            .map(|(lane, priority)| {
                let labels = vec![("lane", lane.lane.clone()), ("priority", priority.as_str().to_owned())];
                (labels, value(lane, priority))
            })
            .collect::<Vec<_>>()
    };
    let one = |value: u64| vec![(Labels::new(), value as f64)];
    gauges("lane_ready", "Tasks that wait for a worker", by_priority(&|lane, p| *lane.ready.get(p) as f64));
    gauges(
        "lane_oldest_ready_seconds",
        "Age of the longest waiting ready task",
        by_priority(&|lane, p| *lane.oldest_ready_ms.get(p) as f64 / 1_000.0),
    );
    gauges("lane_delayed", "Tasks that wait for a delay or a retry", by_lane(&|lane| lane.delayed));
    gauges("lane_leased", "Tasks that a worker has", by_lane(&|lane| lane.leased));
    gauges("lane_dead_letters", "Dead letters", by_lane(&|lane| lane.dead_letters));
    gauges("lane_workers", "Connected workers", by_lane(&|lane| lane.workers));
    gauges(
        "lane_credit",
        "What those workers, and the pulls that wait, would still take",
        by_lane(&|lane| lane.credit),
    );
    gauges("lane_paused", "1 while it delivers nothing", by_lane(&|lane| lane.paused.into()));
    let sessions = SessionState::ALL.iter().zip(store.sessions);
    gauges(
        "sessions",
        "Active sessions, and how many ended since the start, by state",
        sessions.map(|(state, n)| (vec![("state", state.as_str().to_owned())], n as f64)).collect(),
    );
    gauges("feed_offset", "The last offset of the feed", one(store.feed_offset));
    gauges("feed_oldest", "The oldest offset that can be read", one(store.feed_oldest));
    gauges("feed_subscribers", "Connected subscribers", one(app.hub.subscribers() as u64));
    gauges("workers", "Connected workers", one(store.workers));
    gauges("task_bytes", "Bytes of tasks in memory", one(store.task_bytes));
    gauges("store_disk_bytes", "Bytes on disk", one(store.disk_bytes));
    let process = process(app.started);
    gauges("process_resident_memory_bytes", "Resident memory", one(process.rss_bytes));
    gauges("process_open_fds", "Open file descriptors", one(process.open_fds));
    gauges("process_threads", "Threads", one(process.threads));
    gauges("process_uptime_seconds", "Since the start", vec![(Labels::new(), process.uptime_ms as f64 / 1_000.0)]);
    let mut counters = |name: &str, help: &str, values: Vec<(Labels, f64)>| {
        if let [(labels, value)] = values.as_slice()
            && labels.is_empty()
        {
            let metric = Counter::<f64, AtomicU64>::default();
            metric.inc_by(*value);
            return registry.register(name, help, metric);
        }
        let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        registry.register(name, help, family);
    };
    counters("feed_subscribers_dropped", "Subscribers closed because they fell behind", one(app.hub.dropped()));
    counters("process_cpu_seconds", "CPU time, user and system", vec![(Labels::new(), process.cpu_seconds)]);
    registry
}

/// The process, from `/proc/self`. What cannot be read is 0.
pub(crate) fn process(started: Instant) -> ProcessStats {
    let uptime_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let Ok(me) = procfs::process::Process::myself() else { return ProcessStats { uptime_ms, ..Default::default() } };
    let open_fds = me.fd_count().unwrap_or(0) as u64;
    let Ok(stat) = me.stat() else { return ProcessStats { uptime_ms, open_fds, ..Default::default() } };
    ProcessStats {
        cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        rss_bytes: stat.rss * procfs::page_size(),
        open_fds,
        threads: u64::try_from(stat.num_threads).unwrap_or(0),
        uptime_ms,
    }
}
