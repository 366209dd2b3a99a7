//! What can be reached from a node.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use crate::graph::Slot;
use crate::node::words;
use crate::{Graph, Node, NodeId, Relationship, RelationshipKind};

words!(
    /// Along which end of a relationship.
    Direction {
        /// From source to target.
        Out = "out",
        /// From target to source.
        In = "in",
        /// Both.
        Both = "both",
    }
);

words!(
    /// Which node comes next.
    Order {
        /// The nearest.
        Bfs = "bfs",
        /// The one after the last.
        Dfs = "dfs",
    }
);

/// Where from and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traverse {
    /// The first node.
    pub start: NodeId,
    /// Along which end.
    pub direction: Direction,
    /// Along which relationships; empty: all.
    pub kinds: Vec<RelationshipKind>,
    /// Which node comes next.
    pub order: Order,
    /// How many relationships away, at most 50.
    pub max_depth: usize,
    /// How many nodes, at most 2,000.
    pub limit: usize,
}

impl Traverse {
    /// Whom a node calls, or who calls it, over several steps.
    #[must_use]
    pub fn calls(start: NodeId, direction: Direction) -> Self {
        Self { start, direction, kinds: vec![RelationshipKind::Calls], order: Order::Bfs, max_depth: 5, limit: 200 }
    }
}

/// A node with its distance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Visited {
    /// How many relationships away; the start is 0.
    pub depth: usize,
    /// The node.
    #[cfg_attr(feature = "openapi", schema(value_type = Node))]
    pub node: Arc<Node>,
}

/// What was reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Traversal {
    /// The first node.
    pub start: NodeId,
    /// The nodes in the order in which they were reached.
    pub nodes: Vec<Visited>,
    /// What was followed, or would have led to a node that had been reached.
    pub relationships: Vec<Relationship>,
    /// There is more than was asked for.
    pub truncated: bool,
}

/// The most nodes that one answer has.
pub(crate) const MAX_NODES: usize = 2_000;
/// The most relationships that one answer has.
pub(crate) const MAX_RELATIONSHIPS: usize = 20_000;
const MAX_DEPTH: usize = 50;

/// What can be reached from a node; none when there is no such node.
#[must_use]
pub fn traverse(graph: &Graph, query: &Traverse) -> Option<Traversal> {
    let start = graph.slot(query.start)?;
    let limit = query.limit.clamp(1, MAX_NODES);
    let max_depth = query.max_depth.min(MAX_DEPTH);
    let mut answer = Traversal { start: query.start, nodes: Vec::new(), relationships: Vec::new(), truncated: false };
    let mut waiting: VecDeque<(usize, Slot)> = VecDeque::from([(0, start)]);
    let mut queued: HashSet<Slot> = HashSet::new();
    let mut visited: HashSet<Slot> = HashSet::new();
    let mut followed: HashSet<u32> = HashSet::new();
    let mut edges = Vec::new();
    queued.insert(start);
    loop {
        let next = match query.order {
            Order::Bfs => waiting.pop_front(),
            Order::Dfs => waiting.pop_back(),
        };
        let Some((depth, slot)) = next else { break };
        if !visited.insert(slot) {
            continue;
        }
        if answer.nodes.len() == limit {
            answer.truncated = true;
            visited.remove(&slot);
            break;
        }
        answer.nodes.push(Visited { depth, node: Arc::clone(&graph.kept(slot).node) });
        let mut steps = steps(graph, slot, query.direction, &query.kinds);
        if depth == max_depth {
            answer.truncated |= steps.iter().any(|(_, other)| !queued.contains(other));
            continue;
        }
        if query.order == Order::Dfs {
            steps.reverse();
        }
        for (edge, other) in steps {
            if followed.len() < MAX_RELATIONSHIPS {
                if followed.insert(edge) {
                    edges.push(edge);
                }
            } else {
                answer.truncated = true;
            }
            // In depth-first order a node may be reached again on a longer way that comes first.
            if queued.insert(other) || (query.order == Order::Dfs && !visited.contains(&other)) {
                waiting.push_back((depth + 1, other));
            }
        }
    }
    answer.relationships = edges
        .into_iter()
        .filter(|edge| {
            let edge = graph.edge(*edge);
            visited.contains(&edge.source) && visited.contains(&edge.target)
        })
        .map(|edge| graph.relationship_at(edge))
        .collect();
    Some(answer)
}

/// Relationships from a node with their other ends: the surest first, then in the order of the ids.
pub(crate) fn steps(graph: &Graph, slot: Slot, direction: Direction, kinds: &[RelationshipKind]) -> Vec<(u32, Slot)> {
    let kept = graph.kept(slot);
    let wanted = |edge: &u32| kinds.is_empty() || kinds.contains(&graph.edge(*edge).kind);
    let mut steps = Vec::new();
    if direction != Direction::In {
        steps.extend(kept.outgoing.iter().copied().filter(wanted).map(|edge| (edge, graph.edge(edge).target)));
    }
    if direction != Direction::Out {
        steps.extend(kept.incoming.iter().copied().filter(wanted).map(|edge| (edge, graph.edge(edge).source)));
    }
    steps.sort_unstable_by(|a, b| {
        let key = |edge: u32| graph.relationship_order(edge);
        let (a, b) = (key(a.0), key(b.0));
        b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
    });
    steps
}
