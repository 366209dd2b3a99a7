//! A core without a thread, for tests of what it does.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use squall_client::{Endpoint, Endpoints, Options};
use squall_report::statistics::{Measured, Registry, Shard, Tally, Trend};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Clock, Comparison, Core, Followers, FromCore, Leaves, Run};
use crate::metrics::Ids;
use crate::scenario::parse;

/// A core of a run of one scenario, that began a minute ago.
pub(crate) struct Lone {
    pub(crate) core: Rc<Core>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) from_core: mpsc::Receiver<FromCore>,
}

impl Lone {
    /// `load` is a `[[load]]` without its head; the channel to the conductor holds `events`.
    pub(crate) fn new(load: &str, events: usize) -> Self {
        let scenario = parse("test", &format!("name = \"test\"\n[[load]]\n{load}")).unwrap();
        let lanes = vec!["work".to_owned(), "(other)".to_owned()];
        let mut registry = Registry::new();
        let ids = Arc::new(Ids::new(&mut registry, &lanes, &[scenario.load[0].name.clone()]).unwrap());
        let registry = Arc::new(registry);
        let gateways = Endpoints::from(Endpoint::parse("http://127.0.0.1:1").unwrap());
        let run = Arc::new(Run {
            id: "00000000".to_owned(),
            seed: 7,
            clock: Clock::started_ago(Duration::from_secs(60)),
            ways: gateways.clone().into(),
            gateways,
            own: true,
            options: Options::default(),
            lanes,
            loads: scenario.load,
            stop_load: CancellationToken::new(),
            stop_all: CancellationToken::new(),
            fault: AtomicU64::new(u64::MAX),
            fault_ended_us: AtomicU64::new(u64::MAX),
            feed_begun: 0,
            followers: Followers::default(),
            comparison: Comparison::default(),
            came_back: watch::Sender::new(0),
            disturbed: AtomicBool::new(false),
        });
        let (tell, from_core) = mpsc::channel(events);
        // The third of four, so that its seed and its numbers are those of no first core.
        let core = Rc::new(Core::new(2, 4, run, ids, Shard::new(&registry), tell));
        Self { core, registry, from_core }
    }

    pub(crate) fn leave(&self) -> Leaves {
        self.core.leave(Tally::new(&self.registry))
    }

    pub(crate) fn trend(&self, leaves: &Leaves, metric: &str) -> Box<Trend> {
        match leaves.tally.measure(&self.registry, metric, &[]) {
            Some(Measured::Trend(trend)) => trend,
            other => panic!("{metric}: {other:?}"),
        }
    }
}
