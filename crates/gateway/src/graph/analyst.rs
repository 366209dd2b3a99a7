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

/// What is known of the tree is written so long after it changed, and when the gateway stops. A gateway that is killed before
/// tells a few changes twice after its next start.
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
        Self { service, analyzer, teller, snapshot, unsaved: None }
    }

    /// Analyses what changed since the last time, and then whatever there is to do, until it is told to stop.
    pub(super) fn run(mut self, inbox: &Receiver<Wake>) {
        let how = self.load();
        self.analyze(Run::new(how == How::FromScratch, false), None);
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

    /// What was known at the last end; without that everything is void.
    fn load(&mut self) -> How {
        let others = |name: &str| name.starts_with("graph-") && name.ends_with(".snapshot");
        for entry in self.snapshot.parent().and_then(|dir| dir.read_dir().ok()).into_iter().flatten().flatten() {
            if entry.path() != self.snapshot && entry.file_name().to_str().is_some_and(others) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        if !self.snapshot.exists() {
            return How::FromScratch;
        }
        match self.analyzer.load(&self.snapshot) {
            Ok(()) => How::Changed,
            Err(error) => {
                tracing::warn!("{error}");
                How::FromScratch
            }
        }
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
        let Self { service, analyzer, teller, unsaved, .. } = self;
        service.cancel.store(service.is_stopping(), Ordering::Release);
        "finding files".clone_into(&mut run.message);
        service.runs.lock().current = Some(run.clone());
        let run_id = run.run_id;
        let mut told_progress = run.asked || paths.is_none();
        let mut tell = |step: Step| match step {
            Step::Reset => teller.event("graph_reset", "graph".to_owned(), &Reset { run_id, root: &service.root }),
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
                unsaved.get_or_insert_with(Instant::now);
                teller.changes(changes);
            }
        };
        let how = if run.from_scratch { How::FromScratch } else { How::Changed };
        let analysis = analyzer.analyze(how, paths, &service.cancel, &mut tell);
        if run.from_scratch {
            unsaved.get_or_insert_with(Instant::now);
        }
        self.conclude(run_id, analysis, told_progress);
    }

    fn conclude(&mut self, run_id: Uuid, analysis: Result<Analysis, squall_codegraph::Error>, told_progress: bool) {
        let service = Arc::clone(&self.service);
        let Some(mut run) = service.runs.lock().current.take() else { return };
        let status = match &analysis {
            Ok(Analysis { status: Ending::Completed, .. }) => Status::Completed,
            Ok(Analysis { status: Ending::Cancelled, .. }) => Status::Cancelled,
            Err(error) => {
                tracing::warn!("{error}");
                run.message = error.to_string();
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
            error: (status == Status::Failed).then_some(&*run.message),
        };
        self.teller.event("analysis_completed", run_id.to_string(), &completed);
        self.teller.flush();
        service.figures.analyses.fetch_add(1, Ordering::Relaxed);
        service.figures.last_ms.store(duration_ms, Ordering::Relaxed);
        tracing::debug!(%run_id, ?status, duration_ms, nodes = run.total_nodes, "analysed");
        let asked = run.asked;
        service.runs.lock().last = Some(run.clone());
        if asked {
            service.asked_ended.send_replace(Some(run));
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
                    tracing::error!(%error, "the tree is watched no more; POST /api/graph/admin/reanalyze still works");
                    service.figures.failures.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("graph-watch".to_owned()).spawn(watching) {
        tracing::error!(%error, "the tree is not watched");
    }
}
