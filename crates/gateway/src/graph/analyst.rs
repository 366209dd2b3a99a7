//! The thread that analyses, and the one that watches.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Serialize;
use squall_codegraph::{Analysis, Analyzer, Ending, How, Seen, Step, Watcher};
use squall_store::Store;
use uuid::Uuid;

use super::run::{Run, Status};
use super::tell::Teller;
use super::{Service, Wake};

/// What is known of the tree is written so long after it changed, and when the gateway stops. Before a change is told the former
/// snapshot goes: a gateway that is killed in between cannot know what it had told, and tells everything from scratch.
const SAVE_AFTER: Duration = Duration::from_secs(10);
/// How often the watching thread looks whether it is over.
const LOOK: Duration = Duration::from_millis(200);

/// The analysing thread's belongings.
pub(super) struct Analyst {
    service: Arc<Service>,
    analyzer: Analyzer,
    teller: Teller,
    snapshot: PathBuf,
    /// There is something that the snapshot does not say, since then.
    unsaved: Option<Instant>,
    /// Nothing is known yet of what readers know: the next analysis is from scratch, whatever is asked for.
    void: bool,
}

#[derive(Serialize)]
struct Reset<'a> {
    run_id: Uuid,
    root: &'a str,
}

#[derive(Serialize)]
struct Started<'a> {
    run_id: Uuid,
    root: &'a str,
    from_scratch: bool,
    files_total: u64,
}

#[derive(Serialize)]
struct Progress<'a> {
    run_id: Uuid,
    percentage: f32,
    message: &'a str,
    files_done: u64,
    files_total: u64,
}

#[derive(Serialize)]
struct Completed<'a> {
    run_id: Uuid,
    status: Status,
    node_count: u64,
    edge_count: u64,
    duration_ms: u64,
    files: u64,
    skipped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Analyst {
    pub(super) fn new(service: Arc<Service>, analyzer: Analyzer, store: Arc<dyn Store>, dir: &Path) -> Self {
        // Of this feed: another one was not told what this graph is.
        let snapshot = dir.join(format!("graph-{}.snapshot", store.epoch()));
        let teller = Teller::new(Arc::clone(&service), store);
        Self { service, analyzer, teller, snapshot, unsaved: None, void: true }
    }

    /// Analyses what changed since the last time, and then whatever there is to do, until it is told to stop.
    pub(super) fn run(mut self, inbox: &Receiver<Wake>) {
        self.void = !self.load();
        self.analyze(Run::new(false, false), None);
        while !self.service.is_stopping() {
            let next = self.service.runs.lock().next.take();
            if let Some(run) = next {
                self.analyze(run, None);
                continue;
            }
            let patience = self.unsaved.map_or(Duration::MAX, |since| SAVE_AFTER.saturating_sub(since.elapsed()));
            match inbox.recv_timeout(patience) {
                Ok(Wake::Asked) => {}
                Ok(Wake::Seen(Seen::Paths(paths))) => self.analyze(Run::new(false, false), Some(&paths)),
                Ok(Wake::Seen(_)) => self.analyze(Run::new(false, false), None),
                Err(RecvTimeoutError::Timeout) => self.save(),
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.save();
        self.refuse_next();
    }

    /// Whoever waits for an analysis that never begins is told.
    fn refuse_next(&self) {
        let left = self.service.runs.lock().next.take();
        if let Some(run) = left {
            self.service.asked_ended.send_replace(Some(run.over(Status::Cancelled)));
        }
    }

    /// Reads what was known at the last end; false when that is nothing.
    fn load(&mut self) -> bool {
        let others = |name: &str| name.starts_with("graph-") && name.ends_with(".snapshot");
        for entry in self.snapshot.parent().and_then(|dir| dir.read_dir().ok()).into_iter().flatten().flatten() {
            if entry.path() != self.snapshot && entry.file_name().to_str().is_some_and(others) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        self.snapshot.exists()
            && self.analyzer.load(&self.snapshot).inspect_err(|error| tracing::warn!("{error}")).is_ok()
    }

    fn save(&mut self) {
        // What the feed was not told must not be taken for told.
        if self.unsaved.take().is_none() || self.teller.is_behind {
            return;
        }
        if let Err(error) = self.analyzer.save(&self.snapshot) {
            tracing::warn!(%error, "what is known of the tree could not be kept; the next start reads all of it");
        }
    }

    /// One analysis, from its first event to its last.
    fn analyze(&mut self, mut run: Run, paths: Option<&[PathBuf]>) {
        run.from_scratch |= self.void;
        let Self { service, analyzer, teller, snapshot, unsaved, .. } = self;
        service.cancel.store(service.is_stopping(), Ordering::Release);
        "finding files".clone_into(&mut run.message);
        service.runs.lock().current = Some(run.clone());
        let run_id = run.run_id;
        let mut told_progress = run.asked || paths.is_none();
        let mut tell = |step: Step| match step {
            Step::Reset => {
                differs(snapshot, unsaved);
                teller.event("graph_reset", "graph".to_owned(), &Reset { run_id, root: &service.root });
            }
            Step::Started { files_total } => {
                let files_total = files_total as u64;
                note(service, |run| run.files_total = files_total);
                let started = Started { run_id, root: &service.root, from_scratch: run.from_scratch, files_total };
                teller.event("analysis_started", run_id.to_string(), &started);
                teller.flush();
            }
            Step::Progress { files_done, files_total, percentage, message } => {
                told_progress = true;
                let (files_done, files_total) = (files_done as u64, files_total as u64);
                let event = Progress { run_id, percentage, message: &message, files_done, files_total };
                teller.event("analysis_progress", run_id.to_string(), &event);
                teller.flush();
                note(service, |run| {
                    (run.files_done, run.files_total, run.percentage) = (files_done, files_total, percentage);
                    run.message = message;
                });
            }
            Step::Changes(changes) => {
                differs(snapshot, unsaved);
                teller.changes(changes);
            }
        };
        let how = if run.from_scratch { How::FromScratch } else { How::Changed };
        let analysis = analyzer.analyze(how, paths, &service.cancel, &mut tell);
        self.void &= analysis.is_err();
        self.conclude(run_id, analysis, told_progress);
    }

    fn conclude(&mut self, run_id: Uuid, analysis: Result<Analysis, squall_codegraph::Error>, told_progress: bool) {
        let service = Arc::clone(&self.service);
        let Some(mut run) = service.runs.lock().current.take() else { return };
        let status = match &analysis {
            Ok(Analysis { status: Ending::Completed, .. }) => Status::Completed,
            Ok(Analysis { status: Ending::Cancelled, .. }) => Status::Cancelled,
            Err(error) => {
                let why = with_causes(error);
                tracing::warn!("{why}");
                run.error = Some(why);
                service.figures.failures.fetch_add(1, Ordering::Relaxed);
                Status::Failed
            }
        };
        if status == Status::Completed {
            (run.percentage, run.files_done) = (100.0, run.files_total);
        }
        {
            let graph = service.graph.read();
            run.total_nodes = graph.node_count() as u64;
            run.total_relationships = graph.relationship_count() as u64;
        }
        let run = run.over(status);
        if told_progress && status == Status::Completed {
            let (files_done, files_total) = (run.files_done, run.files_total);
            let event = Progress { run_id, percentage: 100.0, message: &run.message, files_done, files_total };
            self.teller.event("analysis_progress", run_id.to_string(), &event);
        }
        let duration_ms = (run.elapsed_seconds * 1_000.0).round() as u64;
        let (files, skipped) = analysis.as_ref().map_or((0, 0), |it| (it.files as u64, it.skipped as u64));
        let completed = Completed {
            run_id,
            status,
            node_count: run.total_nodes,
            edge_count: run.total_relationships,
            duration_ms,
            files,
            skipped,
            error: run.error.as_deref(),
        };
        self.teller.event("analysis_completed", run_id.to_string(), &completed);
        // Before readers hear of the end: who asks then is answered with this one.
        service.runs.lock().last = Some(run.clone());
        self.teller.flush();
        service.figures.analyses.fetch_add(1, Ordering::Relaxed);
        service.figures.last_ms.store(duration_ms, Ordering::Relaxed);
        tracing::debug!(%run_id, ?status, duration_ms, nodes = run.total_nodes, "analysed");
        if run.asked {
            service.asked_ended.send_replace(Some(run));
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    [error.to_string()].into_iter().chain(causes).collect::<Vec<_>>().join(": ")
}

/// From here on readers know more than the snapshot says.
fn differs(snapshot: &Path, unsaved: &mut Option<Instant>) {
    if unsaved.is_none() {
        *unsaved = Some(Instant::now());
        if let Err(error) = std::fs::remove_file(snapshot)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "{} cannot be removed, and a gateway that is killed now will believe it", snapshot.display());
        }
    }
}

/// Notes something of the analysis that runs.
fn note(service: &Service, change: impl FnOnce(&mut Run)) {
    if let Some(run) = &mut service.runs.lock().current {
        change(run);
    }
}

/// Hands on what the watcher sees, in a thread that ends soon after the service.
pub(super) fn watch(service: Arc<Service>, mut watcher: Watcher) {
    let watching = move || {
        while !service.is_stopping() {
            match watcher.wait(LOOK) {
                Ok(seen @ (Seen::Paths(_) | Seen::Everything)) => {
                    if service.wake.send(Wake::Seen(seen)).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    let why = with_causes(&error);
                    tracing::error!(
                        "{why}; the tree is watched no more, and POST /api/graph/admin/reanalyze still works"
                    );
                    service.figures.failures.fetch_add(1, Ordering::Relaxed);
                    *service.unwatched.lock() = Some(why);
                    return;
                }
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("graph-watch".to_owned()).spawn(watching) {
        tracing::error!(%error, "the tree is not watched");
    }
}
