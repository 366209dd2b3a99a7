//! The graph: nodes and relationships, both ways, with what the queries need kept up to date as changes are applied.
//!
//! It changes only by [`Graph::apply`], with the same changes that are told to everybody, so whoever applies them has the
//! same graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::files::FileRecord;
use crate::queries::Ranked;
use crate::{Change, Language, Node, NodeId, NodeKind, Relationship, RelationshipId, RelationshipKind};

/// Where a node is kept.
pub(crate) type Slot = u32;

/// All symbols of a tree and what holds between them.
#[derive(Default)]
pub struct Graph {
    pub(crate) slots: Vec<Option<Kept>>,
    free_slots: Vec<Slot>,
    by_id: HashMap<NodeId, Slot>,
    edges: Vec<Edge>,
    free_edges: Vec<u32>,
    edge_by_id: HashMap<RelationshipId, u32>,
    pub(crate) files: BTreeMap<Arc<str>, FileRecord>,
    pub(crate) node_counts: [usize; NodeKind::ALL.len()],
    pub(crate) relationship_counts: [usize; RelationshipKind::ALL.len()],
    pub(crate) file_counts: [usize; Language::ALL.len()],
    pub(crate) skipped: usize,
    pub(crate) unresolved: u64,
    /// Functions by complexity: 1 to 5, to 10, to 20, above.
    pub(crate) complexity: [usize; 4],
    version: u64,
    /// An analysis is under way.
    pub(crate) is_changing: bool,
    /// Lists that cost a sort.
    pub(crate) ranked: Mutex<Option<Arc<Ranked>>>,
}

/// A node with its relationships.
pub(crate) struct Kept {
    pub(crate) node: Arc<Node>,
    /// The name in lower case, where it is another.
    pub(crate) lower: Option<Box<str>>,
    pub(crate) outgoing: Vec<u32>,
    pub(crate) incoming: Vec<u32>,
    /// Without `contains`.
    pub(crate) out_degree: u32,
    pub(crate) in_degree: u32,
}

#[derive(Clone, Copy)]
pub(crate) struct Edge {
    id: RelationshipId,
    pub(crate) source: Slot,
    pub(crate) target: Slot,
    line: u32,
    confidence: f32,
    pub(crate) kind: RelationshipKind,
}

impl Graph {
    /// Rises with everything that changes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many nodes there are.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.by_id.len()
    }

    /// How many relationships there are.
    #[must_use]
    pub fn relationship_count(&self) -> usize {
        self.edge_by_id.len()
    }

    /// References that could not be linked to anything in the tree.
    #[must_use]
    pub fn unresolved(&self) -> u64 {
        self.unresolved
    }

    /// One node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.by_id.get(&id).map(|slot| &self.kept(*slot).node)
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.slots.iter().flatten().map(|kept| &kept.node)
    }

    /// All relationships, in no order.
    pub fn relationships(&self) -> impl Iterator<Item = Relationship> + '_ {
        self.edge_by_id.values().map(|edge| self.relationship_at(*edge))
    }

    /// What was read and what was not, by path.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        self.files.values()
    }

    /// All as the changes that make it of an empty graph: nodes first, both by id.
    #[must_use]
    pub fn as_changes(&self) -> Vec<Change> {
        let mut nodes: Vec<_> = self.nodes().cloned().collect();
        nodes.sort_unstable_by_key(|node| node.id);
        let mut relationships: Vec<_> = self.relationships().collect();
        relationships.sort_unstable_by_key(|relationship| relationship.id);
        nodes
            .into_iter()
            .map(Change::NodeAdded)
            .chain(relationships.into_iter().map(Change::RelationshipAdded))
            .collect()
    }

    /// Applies one change. A change that does not fit, such as a relationship between unknown nodes, changes nothing.
    pub fn apply(&mut self, change: &Change) {
        self.version += 1;
        match change {
            Change::NodeAdded(node) | Change::NodeUpdated(node) => self.put_node(node),
            Change::NodeDeleted(node) => self.remove_node(node.id),
            Change::RelationshipAdded(relationship) => self.put_relationship(relationship),
            Change::RelationshipDeleted(relationship) => self.remove_relationship(relationship.id),
        }
    }

    /// Empties it; the version rises all the same.
    pub(crate) fn clear(&mut self) {
        *self = Self { version: self.version + 1, ..Self::default() };
    }

    pub(crate) fn slot(&self, id: NodeId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn kept(&self, slot: Slot) -> &Kept {
        self.slots[slot as usize].as_ref().expect("a slot that an id or an edge names is in use")
    }

    pub(crate) fn edge(&self, edge: u32) -> Edge {
        self.edges[edge as usize]
    }

    pub(crate) fn relationship_at(&self, edge: u32) -> Relationship {
        let edge = self.edges[edge as usize];
        let source = &self.kept(edge.source).node;
        Relationship {
            id: edge.id,
            kind: edge.kind,
            source: source.id,
            target: self.kept(edge.target).node.id,
            confidence: edge.confidence,
            path: Arc::clone(&source.path),
            line: edge.line,
        }
    }

    /// How sure an edge is, and its id: a ready order.
    pub(crate) fn relationship_order(&self, edge: u32) -> (f32, RelationshipId) {
        let edge = &self.edges[edge as usize];
        (edge.confidence, edge.id)
    }

    /// One relationship.
    #[must_use]
    pub fn relationship(&self, id: RelationshipId) -> Option<Relationship> {
        self.edge_by_id.get(&id).map(|edge| self.relationship_at(*edge))
    }

    /// Line and confidence of a relationship.
    pub(crate) fn relationship_state(&self, id: RelationshipId) -> Option<(u32, f32)> {
        self.edge_by_id.get(&id).map(|edge| {
            let edge = &self.edges[*edge as usize];
            (edge.line, edge.confidence)
        })
    }

    /// All relationships of a node, those to itself once.
    pub(crate) fn relationships_of(&self, id: NodeId) -> Vec<Relationship> {
        let Some(slot) = self.slot(id) else { return Vec::new() };
        let kept = self.kept(slot);
        let incoming = kept.incoming.iter().filter(|edge| self.edge(**edge).source != slot);
        kept.outgoing.iter().chain(incoming).map(|edge| self.relationship_at(*edge)).collect()
    }

    fn put_node(&mut self, node: &Arc<Node>) {
        if let Some(slot) = self.slot(node.id) {
            let former = Arc::clone(&self.kept(slot).node);
            self.count(&former, false);
            self.count(node, true);
            if let Some(kept) = &mut self.slots[slot as usize] {
                kept.node = Arc::clone(node);
            }
            return;
        }
        let kept = Kept {
            node: Arc::clone(node),
            lower: lower_if_other(&node.name),
            outgoing: Vec::new(),
            incoming: Vec::new(),
            out_degree: 0,
            in_degree: 0,
        };
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(kept);
                slot
            }
            None => {
                self.slots.push(Some(kept));
                (self.slots.len() - 1) as Slot
            }
        };
        self.by_id.insert(node.id, slot);
        self.count(node, true);
    }

    fn remove_node(&mut self, id: NodeId) {
        let Some(slot) = self.slot(id) else { return };
        // Told changes have no relationships left here; those of others may.
        for relationship in self.relationships_of(id) {
            self.remove_relationship(relationship.id);
        }
        self.by_id.remove(&id);
        if let Some(kept) = self.slots[slot as usize].take() {
            self.count(&kept.node, false);
        }
        self.free_slots.push(slot);
    }

    fn put_relationship(&mut self, relationship: &Relationship) {
        let (Some(source), Some(target)) = (self.slot(relationship.source), self.slot(relationship.target)) else {
            return;
        };
        let edge = Edge {
            id: relationship.id,
            source,
            target,
            line: relationship.line,
            confidence: relationship.confidence,
            kind: relationship.kind,
        };
        if let Some(number) = self.edge_by_id.get(&relationship.id) {
            self.edges[*number as usize] = edge;
            return;
        }
        let number = match self.free_edges.pop() {
            Some(number) => {
                self.edges[number as usize] = edge;
                number
            }
            None => {
                self.edges.push(edge);
                (self.edges.len() - 1) as u32
            }
        };
        self.edge_by_id.insert(relationship.id, number);
        self.relationship_counts[edge.kind as usize] += 1;
        let degree = u32::from(edge.kind != RelationshipKind::Contains);
        if let Some(kept) = &mut self.slots[source as usize] {
            kept.outgoing.push(number);
            kept.out_degree += degree;
        }
        if let Some(kept) = &mut self.slots[target as usize] {
            kept.incoming.push(number);
            kept.in_degree += degree;
        }
    }

    fn remove_relationship(&mut self, id: RelationshipId) {
        let Some(number) = self.edge_by_id.remove(&id) else { return };
        let edge = self.edges[number as usize];
        self.relationship_counts[edge.kind as usize] -= 1;
        let degree = u32::from(edge.kind != RelationshipKind::Contains);
        if let Some(kept) = &mut self.slots[edge.source as usize] {
            take(&mut kept.outgoing, number);
            kept.out_degree -= degree;
        }
        if let Some(kept) = &mut self.slots[edge.target as usize] {
            take(&mut kept.incoming, number);
            kept.in_degree -= degree;
        }
        self.free_edges.push(number);
    }

    fn count(&mut self, node: &Node, add: bool) {
        let step = |count: &mut usize| if add { *count += 1 } else { *count -= 1 };
        step(&mut self.node_counts[node.kind as usize]);
        if let Some(complexity) = node.complexity {
            step(&mut self.complexity[complexity_bucket(complexity)]);
        }
    }

    /// Puts or replaces what is known of a file.
    pub(crate) fn put_file(&mut self, record: FileRecord) {
        self.version += 1;
        self.count_file(&record, true);
        if let Some(former) = self.files.insert(Arc::clone(&record.path), record) {
            self.count_file(&former, false);
        }
    }

    pub(crate) fn remove_file(&mut self, path: &str) {
        self.version += 1;
        if let Some(former) = self.files.remove(path) {
            self.count_file(&former, false);
        }
    }

    fn count_file(&mut self, record: &FileRecord, add: bool) {
        let step = |count: &mut usize| if add { *count += 1 } else { *count -= 1 };
        match (record.why.is_some(), record.language) {
            (false, Some(language)) => step(&mut self.file_counts[language as usize]),
            _ => step(&mut self.skipped),
        }
        if add {
            self.unresolved += u64::from(record.unresolved);
        } else {
            self.unresolved -= u64::from(record.unresolved);
        }
    }

    pub(crate) fn set_unresolved(&mut self, path: &str, unresolved: u32) {
        if let Some(record) = self.files.get_mut(path) {
            self.unresolved = self.unresolved - u64::from(record.unresolved) + u64::from(unresolved);
            record.unresolved = unresolved;
        }
    }
}

/// 1 to 5, to 10, to 20, above.
pub(crate) fn complexity_bucket(complexity: u32) -> usize {
    match complexity {
        0..=5 => 0,
        6..=10 => 1,
        11..=20 => 2,
        _ => 3,
    }
}

fn lower_if_other(name: &str) -> Option<Box<str>> {
    name.chars().any(char::is_uppercase).then(|| name.to_lowercase().into())
}

/// Takes one out of a list whose order means nothing. The latest are looked at first: what goes is often what came last.
fn take(list: &mut Vec<u32>, number: u32) {
    if let Some(index) = list.iter().rposition(|item| *item == number) {
        list.swap_remove(index);
    }
}
