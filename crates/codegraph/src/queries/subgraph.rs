//! A piece of the graph to be drawn: what is around a node, or the best connected of all.

use std::sync::Arc;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use super::traverse::{Direction, MAX_NODES, MAX_RELATIONSHIPS, Order, Traverse, traverse};
use crate::graph::Slot;
use crate::{Graph, Node, NodeId, Relationship, RelationshipKind};

/// Which piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubgraphQuery {
    /// The node in the middle; none: the most connected nodes.
    pub node: Option<NodeId>,
    /// How far around it, 1 to 10.
    pub depth: usize,
    /// How many nodes, 1 to 2,000.
    pub limit: usize,
    /// Which relationships; empty: all.
    pub kinds: Vec<RelationshipKind>,
}

/// A piece of the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subgraph {
    /// The nodes, the nearest or best connected first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Node>))]
    pub nodes: Vec<Arc<Node>>,
    /// What holds among them.
    pub relationships: Vec<Relationship>,
    /// Some are left out.
    pub truncated: bool,
}

/// A piece of the graph; none when there is no such node.
#[must_use]
pub fn subgraph(graph: &Graph, query: &SubgraphQuery) -> Option<Subgraph> {
    let limit = query.limit.clamp(1, MAX_NODES);
    let (slots, mut truncated): (Vec<Slot>, bool) = match query.node {
        Some(start) => {
            let reached = traverse(
                graph,
                &Traverse {
                    start,
                    direction: Direction::Both,
                    kinds: query.kinds.clone(),
                    order: Order::Bfs,
                    max_depth: query.depth.clamp(1, 10),
                    limit,
                },
            )?;
            (reached.nodes.iter().filter_map(|visited| graph.slot(visited.node.id)).collect(), reached.truncated)
        }
        None => {
            let ranked = graph.ranked();
            let shown = limit.min(ranked.most_connected.len());
            let slots = ranked.most_connected[..shown].iter().filter_map(|id| graph.slot(*id));
            (slots.collect(), shown < ranked.most_connected.len())
        }
    };
    let shown: HashSet<Slot> = slots.iter().copied().collect();
    let mut edges = Vec::new();
    for slot in &slots {
        for number in &graph.kept(*slot).outgoing {
            let edge = graph.edge(*number);
            if shown.contains(&edge.target) && (query.kinds.is_empty() || query.kinds.contains(&edge.kind)) {
                edges.push(*number);
            }
        }
    }
    if edges.len() > MAX_RELATIONSHIPS {
        edges.truncate(MAX_RELATIONSHIPS);
        truncated = true;
    }
    let mut relationships: Vec<_> = edges.into_iter().map(|edge| graph.relationship_at(edge)).collect();
    relationships.sort_unstable_by_key(|relationship| relationship.id);
    let nodes = slots.iter().map(|slot| Arc::clone(&graph.kept(*slot).node)).collect();
    Some(Subgraph { nodes, relationships, truncated })
}
