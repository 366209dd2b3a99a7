//! The analyzer as a whole: trees in, graphs out.

mod analysis;
mod languages;
mod properties;
mod queries;
mod snapshots;
mod watching;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use crate::{Analysis, Analyzer, Change, Config, Graph, How, Node, Step};

/// A tree of files in a folder of its own, with an analyzer.
struct Tree {
    folder: TempDir,
    analyzer: Analyzer,
    /// What was told, applied: whoever listens has the same graph.
    told: Graph,
}

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        Self::with(Config::default(), files)
    }

    fn with(config: Config, files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (path, text) in files {
            write(folder.path(), path, text);
        }
        let config = Config { root: folder.path().to_path_buf(), threads: 2, ..config };
        let analyzer = Analyzer::new(config).unwrap();
        Self { folder, analyzer, told: Graph::default() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.analyzer.root().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        write(self.folder.path(), path, text);
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.folder.path().join(path)).unwrap();
    }

    fn analyze(&mut self) -> Analysis {
        self.run(How::Changed, None, &AtomicBool::new(false)).0
    }

    fn run(&mut self, how: How, paths: Option<&[PathBuf]>, cancel: &AtomicBool) -> (Analysis, Vec<Step>) {
        let mut steps = Vec::new();
        let analysis = self.analyzer.analyze(how, paths, cancel, &mut |step| steps.push(step)).unwrap();
        for step in &steps {
            match step {
                Step::Reset => self.told = Graph::default(),
                Step::Changes(changes) => {
                    for change in changes {
                        apply_strictly(&mut self.told, change);
                    }
                }
                Step::Started { .. } | Step::Progress { .. } => {}
            }
        }
        assert_eq!(self.told.as_changes(), self.graph_as_changes(), "what was told is not what is there");
        (analysis, steps)
    }

    fn graph_as_changes(&self) -> Vec<Change> {
        self.analyzer.graph().read().as_changes()
    }

    /// The same tree read by somebody who knows nothing of it.
    fn fresh(&self) -> Vec<Change> {
        let mut fresh = Analyzer::new(self.analyzer.config().clone()).unwrap();
        fresh.analyze(How::Changed, None, &AtomicBool::new(false), &mut |_| {}).unwrap();
        fresh.graph().read().as_changes()
    }

    fn node(&self, qualified_name: &str) -> Node {
        let graph = self.analyzer.graph();
        let graph = graph.read();
        let mut found = graph.nodes().filter(|node| *node.qualified_name == *qualified_name);
        let node = found.next().unwrap_or_else(|| panic!("there is no {qualified_name}"));
        assert!(found.next().is_none(), "there are several {qualified_name}");
        (**node).clone()
    }
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Applies a change, and finds fault with one that does not fit.
fn apply_strictly(graph: &mut Graph, change: &Change) {
    match change {
        Change::NodeAdded(node) => assert!(graph.node(node.id).is_none(), "added twice: {node:?}"),
        Change::NodeUpdated(node) => {
            let former = graph.node(node.id).unwrap_or_else(|| panic!("updated before it was added: {node:?}"));
            assert_ne!(former, node, "updated to what it is");
        }
        Change::NodeDeleted(node) => {
            assert!(graph.node(node.id).is_some(), "deleted, but not there: {node:?}");
            assert_eq!(graph.relationships_of(node.id), [], "deleted before its relationships: {node:?}");
        }
        Change::RelationshipAdded(relationship) => {
            assert!(graph.relationship(relationship.id).is_none(), "added twice: {relationship:?}");
            assert!(graph.node(relationship.source).is_some(), "added before its source: {relationship:?}");
            assert!(graph.node(relationship.target).is_some(), "added before its target: {relationship:?}");
        }
        Change::RelationshipDeleted(relationship) => {
            assert_eq!(graph.relationship(relationship.id).as_ref(), Some(relationship), "deleted, but not there");
        }
    }
    graph.apply(change);
}

/// All nodes of a graph, a line each: `kind qualified_name path:line`, with complexity, and `-` for what is private.
fn nodes(graph: &Graph) -> String {
    let mut lines: Vec<_> = graph
        .nodes()
        .filter(|node| *node.qualified_name != *node.path)
        .map(|node| {
            let complexity = node.complexity.map(|complexity| format!(" c{complexity}")).unwrap_or_default();
            let sign = match node.visibility {
                Some(crate::Visibility::Public) => " +",
                Some(crate::Visibility::Private) => " -",
                Some(crate::Visibility::Protected) => " #",
                Some(crate::Visibility::Internal) => " ~",
                None => "",
            };
            let place = (node.path.clone(), node.start_line, node.start_column);
            (
                place,
                format!("{}:{} {} {}{sign}{complexity}", node.path, node.start_line, node.kind, node.qualified_name),
            )
        })
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

/// All relationships but `contains`, a line each: `source kind target confidence`.
fn relationships(graph: &Graph) -> String {
    let mut lines: Vec<_> = graph
        .relationships()
        .filter(|relationship| relationship.kind != crate::RelationshipKind::Contains)
        .map(|relationship| {
            let name = |id| graph.node(id).unwrap().qualified_name.to_string();
            let (source, target) = (name(relationship.source), name(relationship.target));
            format!("{source} {} {target} {}\n", relationship.kind, relationship.confidence)
        })
        .collect();
    lines.sort();
    lines.concat()
}
