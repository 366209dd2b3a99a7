//! What can be asked of a graph: pure functions of it, one file each, whose answers are what is told over HTTP.
//!
//! Every answer is bounded. A list goes on where its `next` says; that is a number of items, so what changes meanwhile may
//! show an item twice or not at all.

mod categories;
mod files;
mod node;
mod references;
mod search;
mod stats;
mod subgraph;
mod traverse;

pub use categories::{Categories, Category, CategoryItem, categories};
pub use files::{FileQuery, files};
pub use node::{NodeView, node};
pub use references::{Reached, Relation, related};
pub use search::{NodePage, Search, search};
pub use stats::{Complexity, Stats, stats};
pub use subgraph::{Subgraph, SubgraphQuery, subgraph};
pub use traverse::{Direction, Order, Traversal, Traverse, Visited, traverse};

pub(crate) use categories::Ranked;

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// Pass it as `cursor` to go on; null at the end.
    pub next: Option<String>,
    /// How many there are in all.
    pub total: usize,
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first one.
    pub offset: usize,
    /// At most so many.
    pub limit: usize,
}

impl Window {
    /// The most that one page has.
    pub const MAX_LIMIT: usize = 500;

    /// The window that a cursor and a limit ask for; 50 items when no limit is given.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn new(cursor: Option<&str>, limit: Option<usize>) -> Result<Self, String> {
        let limit = limit.unwrap_or(50);
        if !(1..=Self::MAX_LIMIT).contains(&limit) {
            return Err(format!("limit must be 1 to {}", Self::MAX_LIMIT));
        }
        let offset = match cursor {
            None | Some("") => 0,
            Some(cursor) => {
                cursor.parse::<u32>().map_err(|_| format!("{cursor:?} is no cursor of this list"))? as usize
            }
        };
        Ok(Self { offset, limit })
    }

    /// The cursor after this window of so many.
    pub(crate) fn next(self, total: usize) -> Option<String> {
        let end = self.offset.saturating_add(self.limit);
        (end < total).then(|| end.to_string())
    }

    /// This part of a list.
    pub(crate) fn of<T>(self, list: &[T]) -> &[T] {
        let start = self.offset.min(list.len());
        &list[start..(start + self.limit).min(list.len())]
    }
}
