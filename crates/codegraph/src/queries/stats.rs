//! How much there is of what.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Graph, Language, Node, NodeKind, RelationshipKind};

/// Functions by cyclomatic complexity.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Complexity {
    /// 1 to 5.
    pub low: usize,
    /// 6 to 10.
    pub moderate: usize,
    /// 11 to 20.
    pub high: usize,
    /// Above 20.
    pub very_high: usize,
}

/// The graph in figures. What is at hand of the analysis, its caller adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
// Under its plain name it would take the place of the gateway's `Stats` in the document.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = GraphContents))]
pub struct Stats {
    /// Nodes.
    pub total_nodes: usize,
    /// Relationships.
    pub total_relationships: usize,
    /// Nodes by kind; kinds that there are.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, usize>))]
    pub node_kinds: BTreeMap<NodeKind, usize>,
    /// Relationships by kind; kinds that there are.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, usize>))]
    pub relationship_kinds: BTreeMap<RelationshipKind, usize>,
    /// Files in the graph by language.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, usize>))]
    pub languages: BTreeMap<Language, usize>,
    /// Files in the graph.
    pub files: usize,
    /// Files that are not, listed with the reason.
    pub skipped_files: usize,
    /// Functions by complexity.
    pub complexity: Complexity,
    /// The ten most complex functions.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Node>))]
    pub top_functions: Vec<Arc<Node>>,
    /// References that could not be linked to anything in the tree.
    pub unresolved: u64,
}

/// The graph in figures, which are kept up to date as it changes.
#[must_use]
pub fn stats(graph: &Graph) -> Stats {
    fn present<K: Copy + Ord>(all: &[K], counts: &[usize]) -> BTreeMap<K, usize> {
        all.iter().copied().zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
    }
    let [low, moderate, high, very_high] = graph.complexity;
    Stats {
        total_nodes: graph.node_count(),
        total_relationships: graph.relationship_count(),
        node_kinds: present(NodeKind::ALL, &graph.node_counts),
        relationship_kinds: present(RelationshipKind::ALL, &graph.relationship_counts),
        languages: present(Language::ALL, &graph.file_counts),
        files: graph.files.len() - graph.skipped,
        skipped_files: graph.skipped,
        complexity: Complexity { low, moderate, high, very_high },
        top_functions: graph.ranked().top_functions.iter().filter_map(|id| graph.node(*id).cloned()).collect(),
        unresolved: graph.unresolved(),
    }
}
