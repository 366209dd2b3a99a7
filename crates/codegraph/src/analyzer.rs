//! Brings the graph up to what is on disk, and tells each change as it makes it.
//!
//! One thread owns the analyzer; others read the graph, whose lock is held for one batch at a time. Files are read and parsed
//! by several threads, and put into the graph by one, in the order of their paths. What was not reached when an analysis is
//! cancelled keeps its former state, so that graph and changes never differ.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use crate::extract::{Parsers, extract};
use crate::facts::Facts;
use crate::files::{FileRecord, FileState, Found, Skipped, Stamp, Tree};
use crate::graph::Graph;
use crate::names::Names;
use crate::node::NodeKind;
use crate::relationship::{confidence, relationship_id};
use crate::resolve::{FileId, Index, Source, asked_any, resolve};
use crate::{Change, Config, Error, Language, Relationship, RelationshipKind, languages};

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Only files that changed are parsed.
    Changed,
    /// All that is known is void, and everything is parsed.
    FromScratch,
}

/// What an analysis tells, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is known which files have to be read.
    Started {
        /// How many.
        files_total: usize,
    },
    /// All that was told before is void. The first step of an analysis from scratch.
    Reset,
    /// How far it is; a few times a second.
    Progress {
        /// Files that were looked at.
        files_done: usize,
        /// Of so many.
        files_total: usize,
        /// 0 to 100.
        percentage: f32,
        /// What it is at.
        message: String,
    },
    /// What changed in the graph, a few hundred at a time.
    Changes(Vec<Change>),
}

/// How an analysis ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The graph is what is on disk.
    Completed,
    /// It was told to stop; the next one goes on.
    Cancelled,
}

/// What an analysis came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// How it ended.
    pub status: Ending,
    /// Nodes in the graph.
    pub node_count: usize,
    /// Relationships in the graph.
    pub edge_count: usize,
    /// How long it took.
    pub duration: Duration,
    /// Files in the graph.
    pub files: usize,
    /// Files that were parsed now.
    pub parsed: usize,
    /// Files that are skipped.
    pub skipped: usize,
    /// Bytes of the files that were parsed now.
    pub parsed_bytes: u64,
}

/// Changes are told in batches of about so many.
const BATCH: usize = 256;
/// With more paths than this a walk over the whole tree is quicker than to look at each.
const MANY_PATHS: usize = 64;
/// With fewer files than this no threads are started.
const FEW_FILES: usize = 8;
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// What is kept of a file beside its facts.
pub(crate) struct Kept {
    pub(crate) path: Arc<str>,
    pub(crate) stamp: Stamp,
    pub(crate) hash: u64,
    pub(crate) skipped: Option<Skipped>,
    /// Relationships other than `contains` that this file says.
    relationships: Vec<crate::RelationshipId>,
    asked: Vec<u32>,
}

/// What became of reading a file.
enum Outcome {
    Same,
    Gone,
    Skipped(Language, u64, Skipped),
    Parsed(Box<Facts>, u64),
}

/// Reads a tree again and again into one graph.
pub struct Analyzer {
    pub(crate) config: Config,
    pub(crate) tree: Tree,
    pub(crate) names: Arc<Mutex<Names>>,
    pub(crate) index: Index,
    pub(crate) kept: Vec<Option<Kept>>,
    pub(crate) by_path: HashMap<Arc<str>, FileId>,
    free: Vec<FileId>,
    graph: Arc<RwLock<Graph>>,
    /// Everything has to be looked at: an analysis was cancelled, or nothing is known yet.
    unfinished: bool,
    parsers: Parsers,
}

impl Analyzer {
    /// An analyzer with an empty graph.
    ///
    /// # Errors
    /// When the settings make no sense or the root is no folder.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.validate()?;
        languages::check()?;
        let tree = Tree::new(&config)?;
        let parsers = Parsers::new(Duration::from_millis(config.parse_timeout_ms));
        Ok(Self {
            config,
            tree,
            names: Arc::default(),
            index: Index::default(),
            kept: Vec::new(),
            by_path: HashMap::new(),
            free: Vec::new(),
            graph: Arc::default(),
            unfinished: true,
            parsers,
        })
    }

    /// The graph, to be read by others while it changes.
    #[must_use]
    pub fn graph(&self) -> Arc<RwLock<Graph>> {
        Arc::clone(&self.graph)
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The folder that is read, without links in its path.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.tree.root()
    }

    /// Brings the graph up to date and tells what changed. `paths` are files and folders that may have changed; none: all.
    /// `tell` may block, and then the analysis waits.
    ///
    /// # Errors
    /// When the root cannot be read. The graph stays as it is.
    pub fn analyze(
        &mut self,
        how: How,
        paths: Option<&[PathBuf]>,
        cancel: &AtomicBool,
        tell: &mut dyn FnMut(Step),
    ) -> Result<Analysis, Error> {
        let begun = Instant::now();
        let mut gone = Vec::new();
        let found = match paths {
            Some(paths) if how == How::Changed && !self.unfinished && paths.len() <= MANY_PATHS => {
                self.look(paths, &mut gone)
            }
            _ => {
                let found = self.tree.walk()?;
                // Both lists are sorted, so each path is looked up by halving.
                let is_there = |path: &str| found.binary_search_by(|found| (*found.path).cmp(path)).is_ok();
                gone.extend(self.by_path.keys().filter(|path| !is_there(path)).cloned());
                gone.sort_unstable();
                found
            }
        };
        if how == How::FromScratch {
            tell(Step::Reset);
            self.forget_all();
            gone.clear();
        }
        let mut run = Run {
            tell,
            changes: Vec::with_capacity(BATCH),
            changed: Vec::new(),
            dirty: Vec::new(),
            parsed: 0,
            parsed_bytes: 0,
        };
        let wanted: Vec<Found> = found.into_iter().filter(|found| !self.is_known(found)).collect();
        let files_total = wanted.len();
        (run.tell)(Step::Started { files_total });
        self.unfinished = true;
        self.graph.write().is_changing = true;
        for path in &gone {
            self.remove(path, &mut run);
        }
        let complete = self.read_all(&wanted, cancel, &mut run);
        self.resolve_all(&mut run);
        run.flush();
        self.graph.write().is_changing = false;
        // Beyond bounds some files are out; when others go, they may come in.
        self.unfinished = !complete
            || self
                .kept
                .iter()
                .flatten()
                .any(|kept| matches!(kept.skipped, Some(Skipped::TooManyFiles(_) | Skipped::TooManyNodes(_))));
        let graph = self.graph.read();
        Ok(Analysis {
            status: if complete { Ending::Completed } else { Ending::Cancelled },
            node_count: graph.node_count(),
            edge_count: graph.relationship_count(),
            duration: begun.elapsed(),
            files: graph.files.len() - graph.skipped,
            parsed: run.parsed,
            skipped: graph.skipped,
            parsed_bytes: run.parsed_bytes,
        })
    }

    /// What is at these paths now.
    fn look(&self, paths: &[PathBuf], gone: &mut Vec<Arc<str>>) -> Vec<Found> {
        let mut found = Vec::new();
        for path in paths {
            let path = if path.is_absolute() { path.clone() } else { self.tree.root().join(path) };
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            let here = match is_folder {
                true if self.tree.is_wanted(&path) => self.tree.below(&path),
                true => Vec::new(),
                false => self.tree.look(&path).into_iter().collect(),
            };
            if let Some(relative) = self.tree.relative(&path) {
                let below = [&*relative, "/"].concat();
                let there: hashbrown::HashSet<&str> = here.iter().map(|found| &*found.path).collect();
                if !is_folder && self.by_path.contains_key(&relative) {
                    if here.is_empty() {
                        gone.push(relative);
                    }
                } else {
                    let lost = |known: &&Arc<str>| {
                        (relative.is_empty() || known.starts_with(&below)) && !there.contains(&***known)
                    };
                    gone.extend(self.by_path.keys().filter(lost).cloned());
                }
            }
            found.extend(here);
        }
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        found.dedup_by(|a, b| a.path == b.path);
        gone.sort_unstable();
        gone.dedup();
        found
    }

    /// True when the file need not even be opened.
    fn is_known(&self, found: &Found) -> bool {
        let Some(kept) = self.by_path.get(&found.path).and_then(|file| self.kept[*file as usize].as_ref()) else {
            return false;
        };
        let bounded =
            matches!(kept.skipped, Some(Skipped::TooManyFiles(_) | Skipped::TooManyNodes(_) | Skipped::Unreadable(_)));
        !bounded && found.stamp.proves(&kept.stamp)
    }

    pub(crate) fn forget_all(&mut self) {
        self.names = Arc::default();
        self.index = Index::default();
        self.kept.clear();
        self.by_path.clear();
        self.free.clear();
        self.graph.write().clear();
    }

    /// Reads what has to be read and puts it in, by path. False when it was told to stop.
    fn read_all(&mut self, wanted: &[Found], cancel: &AtomicBool, run: &mut Run<'_>) -> bool {
        let reading = Reading { root: self.tree.root().to_path_buf(), max_file_bytes: self.config.max_file_bytes };
        let known: Vec<Option<u64>> = wanted.iter().map(|found| self.known_hash(&found.path)).collect();
        let mut told = Instant::now();
        let mut progress = |done: usize, run: &mut Run<'_>| {
            if told.elapsed() >= PROGRESS_EVERY && done < wanted.len() {
                told = Instant::now();
                run.flush();
                (run.tell)(Step::Progress {
                    files_done: done,
                    files_total: wanted.len(),
                    percentage: (done as f32 * 100.0 / wanted.len() as f32).min(100.0),
                    message: wanted[done].path.to_string(),
                });
            }
        };
        let threads = self.config.thread_count().min(wanted.len());
        if wanted.len() < FEW_FILES || threads == 1 {
            for (done, (found, known)) in wanted.iter().zip(&known).enumerate() {
                if cancel.load(Ordering::Relaxed) {
                    return false;
                }
                let outcome = reading.read(found, *known, &mut self.parsers, &self.names);
                self.put(found, outcome, run);
                progress(done + 1, run);
            }
            return true;
        }
        let timeout = Duration::from_millis(self.config.parse_timeout_ms);
        let names = Arc::clone(&self.names);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let (give, take) = sync_channel::<(usize, Outcome)>(64);
            for _ in 0..threads {
                let (give, reading, names, next, known) = (give.clone(), &reading, &names, &next, &known);
                scope.spawn(move || {
                    let mut parsers = Parsers::new(timeout);
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(found) = wanted.get(number) else { return };
                        if cancel.load(Ordering::Relaxed) {
                            return;
                        }
                        let outcome = reading.read(found, known[number], &mut parsers, names);
                        // Nobody takes any more once the analysis was cancelled.
                        if give.send((number, outcome)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(give);
            let mut waiting: HashMap<usize, Outcome> = HashMap::new();
            let mut done = 0;
            for (number, outcome) in take {
                waiting.insert(number, outcome);
                while let Some(outcome) = waiting.remove(&done) {
                    if cancel.load(Ordering::Relaxed) {
                        return false;
                    }
                    self.put(&wanted[done], outcome, run);
                    done += 1;
                    progress(done, run);
                }
            }
            done == wanted.len()
        })
    }

    fn known_hash(&self, path: &str) -> Option<u64> {
        let kept = self.by_path.get(path).and_then(|file| self.kept[*file as usize].as_ref())?;
        // A file that was out of bounds is read again, whatever is in it.
        let bounded = matches!(kept.skipped, Some(Skipped::TooManyFiles(_) | Skipped::TooManyNodes(_)));
        (kept.hash != 0 && !bounded).then_some(kept.hash)
    }

    /// Puts one file into the graph.
    fn put(&mut self, found: &Found, outcome: Outcome, run: &mut Run<'_>) {
        match outcome {
            Outcome::Gone => self.remove(&found.path, run),
            Outcome::Same => {
                if let Some(file) = self.by_path.get(&found.path)
                    && let Some(kept) = &mut self.kept[*file as usize]
                {
                    kept.stamp = found.stamp;
                }
            }
            Outcome::Skipped(language, hash, why) => self.skip(found, language, hash, why, run),
            Outcome::Parsed(facts, hash) => {
                run.parsed += 1;
                run.parsed_bytes += found.stamp.size_bytes;
                let (nodes, files) = {
                    let graph = self.graph.read();
                    (graph.node_count(), graph.files.len() - graph.skipped)
                };
                let former = self.by_path.get(&found.path).and_then(|file| self.index.source(*file));
                let former_nodes = former.map_or(0, |source| source.facts.nodes.len());
                if former.is_none() && files >= self.config.max_files {
                    return self.skip(found, facts.language, hash, Skipped::TooManyFiles(self.config.max_files), run);
                }
                if nodes - former_nodes + facts.nodes.len() > self.config.max_nodes {
                    return self.skip(found, facts.language, hash, Skipped::TooManyNodes(self.config.max_nodes), run);
                }
                self.put_facts(found, *facts, hash, run);
            }
        }
    }

    pub(crate) fn put_facts(&mut self, found: &Found, facts: Facts, hash: u64, run: &mut Run<'_>) {
        let file = self.file(found, hash, None);
        let record = FileRecord {
            path: Arc::clone(&found.path),
            language: Some(facts.language),
            state: FileState::Analysed,
            why: None,
            size_bytes: found.stamp.size_bytes,
            lines: facts.lines,
            nodes: facts.nodes.len() as u32,
            errors: facts.errors,
            unresolved: 0,
        };
        self.graph.write().put_file(record);
        self.change_nodes(file, Some(&facts), run);
        let module = self.names.lock().intern(languages::module_name(facts.language, &found.path));
        let source = Source { path: Arc::clone(&found.path), language: facts.language, module, facts };
        self.index.replace(file, Some(source), &mut run.changed);
        run.dirty.push(file);
    }

    fn skip(&mut self, found: &Found, language: Language, hash: u64, why: Skipped, run: &mut Run<'_>) {
        let record = FileRecord {
            path: Arc::clone(&found.path),
            language: Some(language),
            state: FileState::Skipped,
            why: Some(why.to_string()),
            size_bytes: found.stamp.size_bytes,
            lines: 0,
            nodes: 0,
            errors: if let Skipped::DoesNotParse { errors } = why { errors } else { 0 },
            unresolved: 0,
        };
        let file = self.file(found, hash, Some(why));
        self.graph.write().put_file(record);
        self.change_nodes(file, None, run);
        self.index.replace(file, None, &mut run.changed);
    }

    fn remove(&mut self, path: &str, run: &mut Run<'_>) {
        let Some(file) = self.by_path.remove(path) else { return };
        self.change_nodes(file, None, run);
        self.index.replace(file, None, &mut run.changed);
        self.kept[file as usize] = None;
        self.free.push(file);
        self.graph.write().remove_file(path);
    }

    /// The file's number, with what is known of it now.
    fn file(&mut self, found: &Found, hash: u64, skipped: Option<Skipped>) -> FileId {
        let file = match self.by_path.get(&found.path) {
            Some(file) => *file,
            None => {
                let file = self.free.pop().unwrap_or_else(|| {
                    self.kept.push(None);
                    (self.kept.len() - 1) as FileId
                });
                self.by_path.insert(Arc::clone(&found.path), file);
                file
            }
        };
        match &mut self.kept[file as usize] {
            Some(kept) => {
                kept.stamp = found.stamp;
                kept.hash = hash;
                kept.skipped = skipped;
            }
            empty => {
                let path = Arc::clone(&found.path);
                *empty = Some(Kept {
                    path,
                    stamp: found.stamp,
                    hash,
                    skipped,
                    relationships: Vec::new(),
                    asked: Vec::new(),
                });
            }
        }
        file
    }

    /// Makes the nodes of a file and what contains what those of its new facts; the old ones are still in the index.
    fn change_nodes(&mut self, file: FileId, facts: Option<&Facts>, run: &mut Run<'_>) {
        let former = self.index.source(file).map(|source| &source.facts);
        let mut graph = self.graph.write();
        let mut apply = |graph: &mut Graph, change: Change| {
            graph.apply(&change);
            run.changes.push(change);
        };
        let contained = |facts: &Facts, number: usize| {
            let place = facts.places[number];
            let (parent, node) = (&facts.nodes[place.parent as usize], &facts.nodes[number]);
            let kind = RelationshipKind::Contains;
            Relationship {
                id: relationship_id(kind, parent.id, node.id),
                kind,
                source: parent.id,
                target: node.id,
                confidence: confidence::CERTAIN,
                path: Arc::clone(&node.path),
                line: node.start_line,
            }
        };
        if let Some(former) = former {
            let new: HashMap<_, _> = facts
                .iter()
                .flat_map(|facts| facts.nodes.iter().enumerate())
                .map(|(number, node)| (node.id, number))
                .collect();
            for (number, node) in former.nodes.iter().enumerate().skip(1) {
                let was = contained(former, number);
                let is = new.get(&node.id).and_then(|number| facts.map(|facts| contained(facts, *number)));
                if is.as_ref() != Some(&was) {
                    apply(&mut graph, Change::RelationshipDeleted(was));
                }
            }
            for node in former.nodes.iter().rev().filter(|node| !new.contains_key(&node.id)) {
                let mut incident = graph.relationships_of(node.id);
                incident.sort_unstable_by_key(|relationship| relationship.id);
                for relationship in incident {
                    apply(&mut graph, Change::RelationshipDeleted(relationship));
                }
                apply(&mut graph, Change::NodeDeleted(Arc::clone(node)));
            }
        }
        if let Some(facts) = facts {
            for node in &facts.nodes {
                match graph.node(node.id) {
                    None => apply(&mut graph, Change::NodeAdded(Arc::clone(node))),
                    Some(same) if **same == **node => {}
                    Some(_) => apply(&mut graph, Change::NodeUpdated(Arc::clone(node))),
                }
            }
            for number in 1..facts.nodes.len() {
                let contained = contained(facts, number);
                if graph.relationship_state(contained.id).is_none() {
                    apply(&mut graph, Change::RelationshipAdded(contained));
                }
            }
        }
        drop(graph);
        run.flush_if_full();
    }

    /// Resolves what changed, and the files that asked something whose answer may be another now.
    pub(crate) fn resolve_all(&mut self, run: &mut Run<'_>) {
        run.changed.sort_unstable();
        run.changed.dedup();
        let mut is_dirty = vec![false; self.kept.len()];
        for file in run.dirty.drain(..) {
            is_dirty[file as usize] = true;
        }
        if !run.changed.is_empty() {
            for (file, kept) in self.kept.iter().enumerate() {
                is_dirty[file] |= kept.as_ref().is_some_and(|kept| asked_any(&kept.asked, &run.changed));
            }
        }
        let mut dirty: Vec<FileId> = (0..self.kept.len() as FileId).filter(|file| is_dirty[*file as usize]).collect();
        dirty.retain(|file| self.index.source(*file).is_some());
        dirty.sort_unstable_by_key(|file| self.index.source(*file).map(|source| Arc::clone(&source.path)));
        run.changed.clear();
        let names = Arc::clone(&self.names);
        let names = names.lock();
        let threads = self.config.thread_count();
        for chunk in dirty.chunks(if dirty.len() < 32 { 32 } else { 512 }) {
            let mut resolved: Vec<_> = if chunk.len() < 16 || threads == 1 {
                chunk.iter().map(|file| resolve(&self.index, &names, *file)).collect()
            } else {
                let (index, names) = (&self.index, &*names);
                let share = chunk.len().div_ceil(threads);
                std::thread::scope(|scope| {
                    let parts: Vec<_> = chunk
                        .chunks(share)
                        .map(|part| {
                            scope
                                .spawn(move || part.iter().map(|file| resolve(index, names, *file)).collect::<Vec<_>>())
                        })
                        .collect();
                    parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
                })
            };
            for (file, resolved) in chunk.iter().zip(resolved.drain(..)) {
                let Some(kept) = &mut self.kept[*file as usize] else { continue };
                let mut graph = self.graph.write();
                graph.set_unresolved(&kept.path, resolved.unresolved);
                let new = &resolved.relationships;
                for id in &kept.relationships {
                    let is = new.binary_search_by_key(id, |relationship| relationship.id).ok().map(|at| &new[at]);
                    let Some((line, confidence)) = graph.relationship_state(*id) else { continue };
                    if is.is_some_and(|is| is.line == line && is.confidence == confidence) {
                        continue;
                    }
                    if let Some(was) = graph.relationship(*id) {
                        let change = Change::RelationshipDeleted(was);
                        graph.apply(&change);
                        run.changes.push(change);
                    }
                }
                for relationship in new {
                    if graph.relationship_state(relationship.id).is_none() {
                        let change = Change::RelationshipAdded(relationship.clone());
                        graph.apply(&change);
                        run.changes.push(change);
                    }
                }
                drop(graph);
                kept.relationships = new.iter().map(|relationship| relationship.id).collect();
                kept.asked = resolved.asked;
                run.flush_if_full();
            }
        }
    }

    /// A run that tells nobody, for facts that come from a snapshot.
    pub(crate) fn silently(&mut self, work: impl FnOnce(&mut Self, &mut Run<'_>)) {
        let mut nobody = |_: Step| {};
        let mut run = Run {
            tell: &mut nobody,
            changes: Vec::new(),
            changed: Vec::new(),
            dirty: Vec::new(),
            parsed: 0,
            parsed_bytes: 0,
        };
        work(self, &mut run);
        self.resolve_all(&mut run);
        run.flush();
    }

    pub(crate) fn put_skipped(
        &mut self,
        found: &Found,
        language: Language,
        hash: u64,
        why: Skipped,
        run: &mut Run<'_>,
    ) {
        self.skip(found, language, hash, why, run);
    }
}

/// One analysis under way.
pub(crate) struct Run<'a> {
    tell: &'a mut dyn FnMut(Step),
    changes: Vec<Change>,
    /// Questions whose answers may be others now.
    changed: Vec<u32>,
    /// Files that have to be resolved.
    dirty: Vec<FileId>,
    parsed: usize,
    parsed_bytes: u64,
}

impl Run<'_> {
    fn flush_if_full(&mut self) {
        if self.changes.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        while self.changes.len() > 2 * BATCH {
            let rest = self.changes.split_off(BATCH);
            (self.tell)(Step::Changes(std::mem::replace(&mut self.changes, rest)));
        }
        if !self.changes.is_empty() {
            (self.tell)(Step::Changes(std::mem::replace(&mut self.changes, Vec::with_capacity(BATCH))));
        }
    }
}

/// What a thread needs to read files.
struct Reading {
    root: PathBuf,
    max_file_bytes: u64,
}

impl Reading {
    fn read(&self, found: &Found, known: Option<u64>, parsers: &mut Parsers, names: &Mutex<Names>) -> Outcome {
        let Some(language) = languages::by_path(Path::new(&*found.path)) else { return Outcome::Gone };
        if found.stamp.size_bytes > self.max_file_bytes {
            let why = Skipped::TooLarge { size_bytes: found.stamp.size_bytes, limit_bytes: self.max_file_bytes };
            return Outcome::Skipped(language, 0, why);
        }
        let bytes = match fs::read(self.root.join(&*found.path)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Outcome::Gone,
            Err(error) => return Outcome::Skipped(language, 0, Skipped::Unreadable(error.to_string())),
        };
        // It may have grown since it was found.
        if bytes.len() as u64 > self.max_file_bytes {
            let why = Skipped::TooLarge { size_bytes: bytes.len() as u64, limit_bytes: self.max_file_bytes };
            return Outcome::Skipped(language, 0, why);
        }
        // 0 stands for no hash.
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes).max(1);
        if known == Some(hash) {
            return Outcome::Same;
        }
        if bytes.contains(&0) {
            return Outcome::Skipped(language, hash, Skipped::Binary);
        }
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => return Outcome::Skipped(language, hash, Skipped::NotUtf8(error.valid_up_to() as u64)),
        };
        match extract(&found.path, language, text, parsers, names) {
            Ok(facts) => Outcome::Parsed(Box::new(facts), hash),
            Err(why) => Outcome::Skipped(language, hash, why),
        }
    }
}

/// Whether a node of this kind counts in categories: what is called or named by others.
pub(crate) fn is_linked(kind: NodeKind) -> bool {
    kind.is_callable() || kind.is_type()
}
