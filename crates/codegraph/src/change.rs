//! The difference between two graphs, one piece at a time.

use std::sync::Arc;

use crate::{Node, Relationship};

/// One thing that changed. Applied in order they make of the former graph the present one: a relationship is added after
/// both its nodes, and deleted before either of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A symbol that was not there.
    NodeAdded(Arc<Node>),
    /// The same symbol, with another place, signature, visibility or complexity.
    NodeUpdated(Arc<Node>),
    /// A symbol that is gone; as it last was.
    NodeDeleted(Arc<Node>),
    /// A relationship that was not there. One whose line or confidence changed is deleted and added.
    RelationshipAdded(Relationship),
    /// A relationship that is gone; as it last was.
    RelationshipDeleted(Relationship),
}
