//! What is counted, while it happens: a connection that lives on is in the figures, which Toxiproxy adds up only when
//! it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::spec::Direction;

/// Of one direction of one proxy.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Flow {
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }
}

/// Of one proxy, for as long as there is one of its name.
#[derive(Debug, Default)]
pub(crate) struct ProxyCounters {
    pub(crate) flows: [Flow; 2],
    pub(crate) connections: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unreachable: AtomicU64,
    pub(crate) resets: AtomicU64,
}

/// Of one toxic, for as long as it is there.
#[derive(Debug, Default)]
pub(crate) struct ToxicCounters {
    connections: AtomicU64,
    bytes: AtomicU64,
    acts: AtomicU64,
}

impl ToxicCounters {
    /// It struck a connection.
    pub(crate) fn connection(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    /// So many bytes came to it.
    pub(crate) fn bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// It did what it is for, so many times.
    pub(crate) fn act(&self, times: u64) {
        self.acts.fetch_add(times, Relaxed);
    }
}

/// Figures of one toxic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToxicFigures {
    /// Connections that it struck.
    pub connections: u64,
    /// Bytes that came to it.
    pub bytes: u64,
    /// How often it did what it is for: chunks delayed or thrown away, pieces held up, slices cut, bits flipped,
    /// connections ended.
    pub acts: u64,
}

impl ToxicCounters {
    pub(crate) fn figures(&self) -> ToxicFigures {
        ToxicFigures {
            connections: self.connections.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            acts: self.acts.load(Relaxed),
        }
    }
}

/// Figures of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyFigures {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: String,
    /// Where it connects to.
    pub upstream: String,
    /// Bytes read and written, upstream first.
    pub flows: [(u64, u64); 2],
    /// Connections that are open.
    pub open: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections reset because there were too many.
    pub refused: u64,
    /// Connections closed because the upstream could not be reached.
    pub unreachable: u64,
    /// Connections ended with RST, by a toxic or passed on.
    pub resets: u64,
    /// Name, type and stream of each toxic, and its figures.
    pub toxics: Vec<(String, &'static str, &'static str, ToxicFigures)>,
}

impl ProxyCounters {
    pub(crate) fn figures(&self) -> ProxyFigures {
        ProxyFigures {
            flows: [&self.flows[0], &self.flows[1]].map(|flow| (flow.received.load(Relaxed), flow.sent.load(Relaxed))),
            connections: self.connections.load(Relaxed),
            refused: self.refused.load(Relaxed),
            unreachable: self.unreachable.load(Relaxed),
            resets: self.resets.load(Relaxed),
            ..Default::default()
        }
    }
}

/// Shared, because the toxic's stages count and the proxy tells.
pub(crate) type Counters = Arc<ToxicCounters>;

type Labels = Vec<(&'static str, String)>;
type Values = Vec<(Labels, u64)>;

/// In Prometheus' text format. Toxiproxy's two metrics have its names and labels; what it has not begins with
/// `squall_`.
pub(crate) fn render(proxies: &[ProxyFigures]) -> String {
    let mut registry = Registry::default();
    let mut counters = BTreeMap::<&str, (&str, Values)>::new();
    let mut count = |name, help, labels: Labels, value: u64| {
        counters.entry(name).or_insert_with(|| (help, Vec::new())).1.push((labels, value));
    };
    let open = Family::<Labels, Gauge>::default();
    for proxy in proxies {
        let by_proxy = || vec![("proxy", proxy.name.clone())];
        for direction in Direction::ALL {
            let labels = || {
                vec![
                    ("direction", direction.as_str().to_owned()),
                    ("proxy", proxy.name.clone()),
                    ("listener", proxy.listen.clone()),
                    ("upstream", proxy.upstream.clone()),
                ]
            };
            let (received, sent) = proxy.flows[direction as usize];
            count("toxiproxy_proxy_received_bytes", "Bytes read, by direction", labels(), received);
            count("toxiproxy_proxy_sent_bytes", "Bytes written, by direction", labels(), sent);
        }
        open.get_or_create(&by_proxy()).set(i64::try_from(proxy.open).unwrap_or(i64::MAX));
        count("squall_proxy_connections", "Connections accepted", by_proxy(), proxy.connections);
        count(
            "squall_proxy_connections_refused",
            "Connections reset because there were too many",
            by_proxy(),
            proxy.refused,
        );
        count(
            "squall_proxy_upstream_unreachable",
            "Connections closed because the upstream could not be reached",
            by_proxy(),
            proxy.unreachable,
        );
        count("squall_proxy_resets", "Connections ended with RST, by a toxic or passed on", by_proxy(), proxy.resets);
        for (name, kind, stream, figures) in &proxy.toxics {
            let labels = || {
                vec![
                    ("proxy", proxy.name.clone()),
                    ("toxic", name.clone()),
                    ("type", (*kind).to_owned()),
                    ("stream", (*stream).to_owned()),
                ]
            };
            count("squall_toxic_connections", "Connections that the toxic struck", labels(), figures.connections);
            count("squall_toxic_bytes", "Bytes that came to the toxic", labels(), figures.bytes);
            count("squall_toxic_acts", "How often the toxic did what it is for", labels(), figures.acts);
        }
    }
    registry.register("squall_proxy_open_connections", "Connections that are open", open);
    for (name, (help, values)) in counters {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        registry.register(name, help, family);
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}
