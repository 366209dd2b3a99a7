//! One node with what is around it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Graph, Node, NodeId, Relationship, RelationshipKind};

/// A node with its relationships.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeView {
    /// The node.
    #[cfg_attr(feature = "openapi", schema(value_type = Node))]
    pub node: Arc<Node>,
    /// What it says of others, at most 500.
    pub outgoing: Vec<Relationship>,
    /// What others say of it, at most 500.
    pub incoming: Vec<Relationship>,
    /// What is written directly inside of it, in order; at most 500.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Node>))]
    pub contained: Vec<Arc<Node>>,
    /// Some are left out.
    pub truncated: bool,
}

const MAX: usize = 500;

/// A node with its relationships; none when there is no such node.
#[must_use]
pub fn node(graph: &Graph, id: NodeId) -> Option<NodeView> {
    let kept = graph.kept(graph.slot(id)?);
    let list = |edges: &[u32]| {
        let mut list: Vec<_> = edges.iter().map(|edge| graph.relationship_at(*edge)).collect();
        list.sort_unstable_by(|a, b| (a.kind, &a.path, a.line, a.id).cmp(&(b.kind, &b.path, b.line, b.id)));
        list.truncate(MAX);
        list
    };
    let mut contained: Vec<_> = kept
        .outgoing
        .iter()
        .map(|edge| graph.edge(*edge))
        .filter(|edge| edge.kind == RelationshipKind::Contains)
        .map(|edge| Arc::clone(&graph.kept(edge.target).node))
        .collect();
    contained.sort_unstable_by_key(|node| (node.start_line, node.start_column, node.id));
    contained.truncate(MAX);
    Some(NodeView {
        node: Arc::clone(&kept.node),
        outgoing: list(&kept.outgoing),
        incoming: list(&kept.incoming),
        contained,
        truncated: kept.outgoing.len() > MAX || kept.incoming.len() > MAX,
    })
}
