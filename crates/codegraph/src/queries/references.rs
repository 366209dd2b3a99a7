//! Who calls or names a symbol, and whom it calls.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Listed, Window};
use crate::node::words;
use crate::{Graph, Node, NodeId, Relationship, RelationshipKind};

words!(
    /// What is asked about a symbol.
    Relation {
        /// Who calls it.
        Callers = "callers",
        /// Whom it calls.
        Callees = "callees",
        /// Who names it in any way.
        References = "references",
    }
);

/// A node at the other end of a relationship.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reached {
    /// The node.
    #[cfg_attr(feature = "openapi", schema(value_type = Node))]
    pub node: Arc<Node>,
    /// What leads to it.
    pub relationship: Relationship,
}

/// The callers, callees or references of a symbol, which is an id, a name or a qualified name; the surest first. None when
/// nothing is called so.
#[must_use]
pub fn related(graph: &Graph, relation: Relation, symbol: &str, window: Window) -> Option<Listed<Reached>> {
    let nodes = named(graph, symbol);
    if nodes.is_empty() {
        return None;
    }
    let mut edges = Vec::new();
    for id in nodes {
        let Some(slot) = graph.slot(id) else { continue };
        let kept = graph.kept(slot);
        let list = if relation == Relation::Callees { &kept.outgoing } else { &kept.incoming };
        edges.extend(list.iter().copied().filter(|edge| match relation {
            Relation::Callers | Relation::Callees => graph.edge(*edge).kind == RelationshipKind::Calls,
            Relation::References => graph.edge(*edge).kind != RelationshipKind::Contains,
        }));
    }
    edges.sort_unstable_by(|a, b| {
        let (a, b) = (graph.relationship_order(*a), graph.relationship_order(*b));
        b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
    });
    edges.dedup();
    let items = window.of(&edges).iter().map(|number| {
        let edge = graph.edge(*number);
        let other = if relation == Relation::Callees { edge.target } else { edge.source };
        Reached { node: Arc::clone(&graph.kept(other).node), relationship: graph.relationship_at(*number) }
    });
    Some(Listed { items: items.collect(), next: window.next(edges.len()), total: edges.len() })
}

/// The nodes that a symbol means.
fn named(graph: &Graph, symbol: &str) -> Vec<NodeId> {
    if let Some(id) = symbol.parse().ok().filter(|id| graph.node(*id).is_some()) {
        return vec![id];
    }
    let named = graph.nodes().filter(|node| {
        node.kind != crate::NodeKind::Import && (*node.name == *symbol || *node.qualified_name == *symbol)
    });
    named.map(|node| node.id).collect()
}
