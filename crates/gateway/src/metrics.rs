//! What the gateway counts. Its own counters live here; the store's figures are asked for when somebody looks.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use squall_protocol::stats::{ArchiveFigures, Build, GraphFigures, ProcessStats, RouteStats};
use squall_protocol::{Priority, SessionState, Stats};
use squall_store::metrics::Distribution;
use squall_store::{Store, StoreStats};

use crate::app::App;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// A store that does not answer for so long has no figures.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

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

#[derive(Default)]
struct Plain {
    requests: u64,
    /// By route, then by method: only routes that there are, and methods that [`method_name`] knows.
    routes: BTreeMap<Box<str>, BTreeMap<&'static str, PerRoute>>,
    refused_connections: BTreeMap<String, u64>,
}

#[derive(Default)]
struct PerRoute {
    statuses: BTreeMap<u16, u64>,
    latency_ms: Distribution,
}

/// The gateway's own metrics.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    latency: Family<Route, Histogram, Latency>,
    refused_connections: Family<Refused, Counter>,
    /// The same as plain numbers, for those who want no buckets.
    plain: Mutex<Plain>,
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
        registry.register("build", "What is running", Info::new(vec![("version", VERSION), ("profile", PROFILE)]));
        Self {
            registry: root,
            requests,
            latency,
            refused_connections,
            plain: Mutex::default(),
            connections,
            work_connections,
        }
    }

    pub(crate) fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let method = method_name(method);
        let labels = Answered { route: route.into(), method: method.into(), status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
        self.latency.get_or_create(&Route { route: route.into(), method: method.into() }).observe(took.as_secs_f64());
        let mut plain = self.plain.lock();
        plain.requests += 1;
        if !plain.routes.contains_key(route) {
            plain.routes.insert(route.into(), BTreeMap::new());
        }
        if let Some(methods) = plain.routes.get_mut(route) {
            let figures = methods.entry(method).or_default();
            *figures.statuses.entry(status.as_u16()).or_default() += 1;
            figures.latency_ms.add(took.as_secs_f64() * 1_000.0);
        }
    }

    pub(crate) fn connection_refused(&self, why: &'static str) {
        self.refused_connections.get_or_create(&Refused { why }).inc();
        *self.plain.lock().refused_connections.entry(why.into()).or_default() += 1;
    }
}

/// Methods that anybody may invent become one label, so that nobody can grow the metrics without end.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The store's figures. Whoever looks at metrics looks because something may be wrong, so they are never an error: of a store that
/// does not answer there are none, and that is said.
async fn ask(app: &App) -> Option<StoreStats> {
    match tokio::time::timeout(ANSWERS_WITHIN, app.store.stats()).await {
        Ok(Ok(figures)) => Some(figures),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store has no figures");
            None
        }
        Err(_) => {
            tracing::warn!("the store does not answer when asked for figures");
            None
        }
    }
}

/// All figures as JSON.
pub(crate) async fn stats(app: &App) -> Stats {
    let figures = ask(app).await;
    let store_up = figures.as_ref().is_some_and(|figures| figures.up);
    let store = figures.unwrap_or_default();
    let sessions =
        SessionState::ALL.iter().zip(store.sessions).map(|(state, n)| (state.as_str().to_owned(), n)).collect();
    let gauge = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
    let plain = app.metrics.plain.lock();
    let routes = plain.routes.iter().flat_map(|(route, methods)| {
        methods.iter().map(|(method, figures)| RouteStats {
            route: route.to_string(),
            method: (*method).to_owned(),
            statuses: figures.statuses.iter().map(|(status, n)| (status.to_string(), *n)).collect(),
            latency_ms: figures.latency_ms.percentiles(),
        })
    });
    Stats {
        store_up,
        lanes: store.lanes,
        sessions,
        sessions_refused: store.sessions_refused,
        tasks: store.tasks.iter().map(|(outcome, n)| ((*outcome).to_owned(), *n)).collect(),
        tasks_by_lane: store.tasks_by_lane,
        tasks_without_lane: store.tasks_without_lane,
        dead_letters: store.dead_letters,
        dead_letters_dropped: store.dead_letters_dropped,
        idempotency_keys_evicted: store.idempotency_keys_evicted,
        feed_offset: store.feed_offset,
        feed_oldest: store.feed_oldest,
        epoch: app.store.epoch(),
        subscribers: app.hub.subscribers() as u64,
        subscribers_dropped: app.hub.dropped(),
        workers: store.workers,
        commits: store.commits,
        committed_commands: store.committed_commands,
        commit_ms: store.commit_ms,
        commit_commands: store.commit_commands,
        commit_bytes: store.commit_bytes,
        commands_overloaded: store.commands_overloaded,
        task_bytes: store.task_bytes,
        disk_bytes: store.disk_bytes,
        archive: archive_figures(app),
        graph: app.graph.as_ref().map(|graph| graph.figures()),
        connections: gauge(&app.metrics.connections),
        work_connections: gauge(&app.metrics.work_connections),
        connections_refused: plain.refused_connections.clone(),
        requests: plain.requests,
        routes: routes.collect(),
        ingest: app.ingest.iter().map(|source| source.stats()).collect(),
        build: Build { version: VERSION.into(), profile: PROFILE.into() },
        process: process(app.started),
    }
}

/// All figures as Prometheus text.
pub(crate) async fn text(app: &App) -> String {
    let store = ask(app).await;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &app.metrics.registry);
    text.truncate(text.len() - text.strip_suffix("# EOF\n").map_or(0, |_| "# EOF\n".len()));
    let _ = encode(&mut text, &scraped(app, store.as_ref()));
    text
}

type Labels = Vec<(&'static str, String)>;
type Counted = Family<Labels, Counter>;

/// What is not counted as it happens, but looked up when somebody asks.
fn scraped(app: &App, store: Option<&StoreStats>) -> Registry {
    let mut registry = Registry::with_prefix("squall");
    looked_up(app, store.is_some_and(|store| store.up), &mut registry);
    of_ingest(app, &mut registry);
    if let Some(graph) = &app.graph {
        of_the_graph(&graph.figures(), &mut registry);
    }
    if let Some(figures) = archive_figures(app) {
        of_the_archive(&figures, &mut registry);
    }
    if let Some(store) = store {
        of_the_store(store, &mut registry);
    }
    registry
}

fn of_the_store(store: &StoreStats, registry: &mut Registry) {
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
    gauges(
        "lane_ready",
        "Tasks whose time has come: they wait for a worker, a free place in their lane, or their key's turn",
        by_priority(&|lane, p| *lane.ready.get(p) as f64),
    );
    gauges(
        "lane_oldest_ready_seconds",
        "Since when the longest waiting task of those in lane_ready could have been delivered, but for workers and its key's turn",
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
    gauges("workers", "Connected workers", one(store.workers));
    gauges("task_bytes", "Bytes of tasks in memory", one(store.task_bytes));
    gauges("store_disk_bytes", "Bytes on disk", one(store.disk_bytes));
}

/// The archive's figures; none when there is no archive.
fn archive_figures(app: &App) -> Option<ArchiveFigures> {
    Some(app.history.archive()?.stats())
}

fn of_the_archive(figures: &ArchiveFigures, registry: &mut Registry) {
    let mut gauge = |name: &str, help: &str, value: u64| {
        let metric = Gauge::<f64, AtomicU64>::default();
        metric.set(value as f64);
        registry.register(name, help, metric);
    };
    gauge(
        "archive_writes",
        "1 while this gateway writes the archive; of several gateways one does",
        figures.writes.into(),
    );
    gauge("archive_behind", "Events of the feed that are not in the archive yet", figures.behind);
    let rows = Family::<Labels, Counter>::default();
    for (table, written) in [("tasks", figures.tasks), ("sessions", figures.sessions)] {
        rows.get_or_create(&vec![("table", table.to_owned())]).inc_by(written);
    }
    registry.register("archive_rows", "Rows that were written to the archive", rows);
    for (name, help, value) in [
        ("archive_failures", "Attempts to connect to the archive, or to write it, that failed", figures.failures),
        ("archive_lost_events", "Events that will never be in the archive", figures.lost),
    ] {
        let metric = Counter::<u64>::default();
        metric.inc_by(value);
        registry.register(name, help, metric);
    }
}

fn of_the_graph(figures: &GraphFigures, registry: &mut Registry) {
    for (name, help, value) in [
        ("graph_nodes", "Nodes of the symbol graph", figures.nodes),
        ("graph_relationships", "Relationships of the symbol graph", figures.relationships),
        ("graph_last_analysis_ms", "How long the last analysis took", figures.last_analysis_ms),
    ] {
        let metric = Gauge::<i64>::default();
        metric.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, metric);
    }
    for (name, help, value) in [
        ("graph_analyses", "Analyses that have ended", figures.analyses),
        ("graph_failures", "Analyses, and watchers of the tree, that failed", figures.failures),
        ("graph_events", "Events of the topic graph that were put into the feed", figures.events),
    ] {
        let metric = Counter::<u64>::default();
        metric.inc_by(value);
        registry.register(name, help, metric);
    }
}

fn looked_up(app: &App, store_up: bool, registry: &mut Registry) {
    let mut gauge = |name: &str, help: &str, value: f64| {
        let metric = Gauge::<f64, AtomicU64>::default();
        metric.set(value);
        registry.register(name, help, metric);
    };
    gauge("store_up", "1 if the store answered, 0 if its figures are missing here", f64::from(u8::from(store_up)));
    gauge("feed_subscribers", "Connected subscribers", app.hub.subscribers() as f64);
    let process = process(app.started);
    gauge("process_resident_memory_bytes", "Resident memory", process.rss_bytes as f64);
    gauge("process_open_fds", "Open file descriptors", process.open_fds as f64);
    gauge("process_threads", "Threads", process.threads as f64);
    gauge("process_uptime_seconds", "Since the start", process.uptime_ms as f64 / 1_000.0);
    let mut counter = |name: &str, help: &str, value: f64| {
        let metric = Counter::<f64, AtomicU64>::default();
        metric.inc_by(value);
        registry.register(name, help, metric);
    };
    counter("feed_subscribers_dropped", "Subscribers closed because they fell behind", app.hub.dropped() as f64);
    counter("process_cpu_seconds", "CPU time, user and system", process.cpu_seconds);
}

fn of_ingest(app: &App, registry: &mut Registry) {
    let (up, items, retries) = (Family::<Labels, Gauge>::default(), Counted::default(), Counted::default());
    for source in app.ingest.iter().map(|source| source.stats()) {
        let name = ("source", source.source);
        up.get_or_create(&vec![name.clone()]).set(source.up.into());
        for (family, label, counted) in [(&items, "outcome", source.items), (&retries, "reason", source.retries)] {
            for (word, count) in counted {
                family.get_or_create(&vec![name.clone(), (label, word)]).inc_by(count);
            }
        }
    }
    registry.register("ingest_up", "1 while a list or stream is read, here or by another gateway", up);
    registry.register("ingest_items", "Items that left their list or stream, by what they became", items);
    registry.register("ingest_retries", "How often a list or stream had to wait, by reason", retries);
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
