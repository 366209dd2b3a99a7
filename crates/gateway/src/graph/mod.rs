//! The symbol graph of a source tree: analysed by a thread of its own, told to the feed, and read by whoever asks.
//!
//! [`analyst`] is the thread: it takes what is asked for and what the watcher saw, one analysis after the other. [`tell`] makes
//! events of what an analysis says and gives them to the store, which is what the analysis waits for: subscribers it knows
//! nothing of, so a slow one slows nothing. [`run`] is one analysis as others see it. What there is to ask of a graph is
//! `squall_codegraph::queries`.

mod analyst;
pub(crate) mod run;
mod tell;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

use parking_lot::{Mutex, RwLock};
use squall_codegraph::{Analyzer, Error, Graph, Seen, Watcher};
use squall_protocol::ErrorCode;
use squall_protocol::stats::GraphFigures;
use squall_store::Store;
use tokio::sync::watch;

use self::analyst::Analyst;
use self::run::{Run, Status};
use crate::error::Refusal;

/// What waits for the thread: one for what was asked, and a few times what the watcher saw, which then waits itself.
const WAITING: usize = 8;

/// The graph, as everybody but its thread sees it.
pub(crate) struct Service {
    graph: Arc<RwLock<Graph>>,
    root: String,
    runs: Mutex<Runs>,
    /// The last analysis that somebody asked for and that has ended.
    asked_ended: watch::Sender<Option<Run>>,
    cancel: AtomicBool,
    stop: AtomicBool,
    wake: SyncSender<Wake>,
    /// Why the tree is watched no more.
    unwatched: Mutex<Option<String>>,
    figures: Figures,
}

#[derive(Default)]
struct Runs {
    /// Asked for, and not begun.
    next: Option<Run>,
    current: Option<Run>,
    last: Option<Run>,
}

#[derive(Default)]
struct Figures {
    analyses: AtomicU64,
    failures: AtomicU64,
    events: AtomicU64,
    last_ms: AtomicU64,
}

/// What wakes the thread.
enum Wake {
    /// Somebody asks for an analysis.
    Asked,
    /// The tree changed.
    Seen(Seen),
    /// It is over.
    Stop,
}

/// All that the thread needs, until it runs.
pub(crate) struct Prepared {
    analyzer: Analyzer,
    watcher: Option<Watcher>,
    inbox: Receiver<Wake>,
}

impl Service {
    /// Looks at the tree's root and begins to watch it. Nothing is read yet.
    ///
    /// # Errors
    /// When the root is no folder, or cannot be watched.
    pub(crate) fn prepare(config: &squall_codegraph::Config) -> Result<(Arc<Self>, Prepared), Error> {
        let analyzer = Analyzer::new(config.clone())?;
        let watcher = config.watch.then(|| Watcher::new(config)).transpose()?;
        let (wake, inbox) = mpsc::sync_channel(WAITING);
        let service = Self {
            graph: analyzer.graph(),
            root: analyzer.root().display().to_string(),
            runs: Mutex::default(),
            asked_ended: watch::Sender::new(None),
            cancel: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            wake,
            unwatched: Mutex::default(),
            figures: Figures::default(),
        };
        Ok((Arc::new(service), Prepared { analyzer, watcher, inbox }))
    }

    /// Works until [`Service::stop`]; blocks its thread. What is known of the tree is kept in `dir` over a restart.
    pub(crate) fn work(self: &Arc<Self>, prepared: Prepared, store: Arc<dyn Store>, dir: &Path) {
        let Prepared { analyzer, watcher, inbox } = prepared;
        if let Some(watcher) = watcher {
            analyst::watch(Arc::clone(self), watcher);
        }
        Analyst::new(Arc::clone(self), analyzer, store, dir).run(&inbox);
    }

    /// Ends what runs, and the thread.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.cancel.store(true, Ordering::Release);
        // With a full inbox the thread is not idle, and sees the flag.
        let _ = self.wake.try_send(Wake::Stop);
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The graph as it is now. To be held briefly: the analysis waits for it.
    pub(crate) fn graph(&self) -> &RwLock<Graph> {
        &self.graph
    }

    /// The folder that is read.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The analysis that runs, or else the one that is next, or else the last.
    pub(crate) fn latest(&self) -> Option<Run> {
        let runs = self.runs.lock();
        runs.current.as_ref().or(runs.next.as_ref()).or(runs.last.as_ref()).map(Run::now)
    }

    /// Whether one runs, or is next.
    pub(crate) fn is_busy(&self) -> bool {
        let runs = self.runs.lock();
        runs.current.is_some() || runs.next.is_some()
    }

    /// Asks for an analysis. It begins as soon as one that the watcher began has ended.
    ///
    /// # Errors
    /// `AnalysisRunning` when somebody else has asked for one that has not ended.
    pub(crate) fn ask(&self, from_scratch: bool) -> Result<Run, Refusal> {
        let mut runs = self.runs.lock();
        if let Some(run) = runs.next.as_ref().or(runs.current.as_ref().filter(|run| run.asked)) {
            let message = format!("the analysis {} has not ended; DELETE cancels it", run.run_id);
            return Err(Refusal::new(ErrorCode::AnalysisRunning, message).retry_after_ms(1_000));
        }
        let run = Run::new(from_scratch, true);
        runs.next = Some(run.clone());
        drop(runs);
        // With a full inbox the thread looks for what is next before it waits again.
        let _ = self.wake.try_send(Wake::Asked);
        Ok(run)
    }

    /// Waits until an analysis that was asked for has ended.
    pub(crate) async fn ended(&self, asked: &Run) -> Run {
        let mut ended = self.asked_ended.subscribe();
        let is_it = |run: &Option<Run>| run.as_ref().is_some_and(|run| run.run_id == asked.run_id);
        match ended.wait_for(is_it).await {
            Ok(run) => run.clone().unwrap_or_else(|| asked.clone()),
            // Only the service itself holds the other end.
            Err(_) => asked.clone(),
        }
    }

    /// Cancels the analysis that runs or is next.
    pub(crate) fn cancel(&self) -> Option<Run> {
        let mut runs = self.runs.lock();
        if let Some(run) = &runs.current {
            self.cancel.store(true, Ordering::Release);
            return Some(run.now());
        }
        let cancelled = runs.next.take()?.over(Status::Cancelled);
        runs.last = Some(cancelled.clone());
        self.asked_ended.send_replace(Some(cancelled.clone()));
        Some(cancelled)
    }

    /// For `/health`: what it is at, or why it is not what is on disk.
    pub(crate) fn health(&self) -> Result<String, String> {
        if let Some(why) = &*self.unwatched.lock() {
            return Err(format!("{why}; the tree is watched no more"));
        }
        let failed = self.runs.lock().last.as_ref().and_then(|run| run.error.clone());
        failed.map_or_else(|| Ok(format!("reads {}", self.root)), Err)
    }

    /// For `/v1/metrics`.
    pub(crate) fn figures(&self) -> GraphFigures {
        let graph = self.graph.read();
        let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        GraphFigures {
            nodes: graph.node_count() as u64,
            relationships: graph.relationship_count() as u64,
            analyses: get(&self.figures.analyses),
            failures: get(&self.figures.failures),
            events: get(&self.figures.events),
            last_analysis_ms: get(&self.figures.last_ms),
        }
    }
}
