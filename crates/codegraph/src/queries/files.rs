//! Which files were read and which were not, and why.

use super::{Listed, Window};
use crate::{FileRecord, FileState, Graph};

/// Which files.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FileQuery {
    /// Read, or skipped.
    pub state: Option<FileState>,
    /// A part of the path.
    pub text: String,
}

/// The files by path.
#[must_use]
pub fn files(graph: &Graph, query: &FileQuery, window: Window) -> Listed<FileRecord> {
    let fitting = |record: &&FileRecord| {
        query.state.is_none_or(|state| record.state == state) && record.path.contains(query.text.as_str())
    };
    let mut total = 0;
    let mut items = Vec::new();
    for record in graph.files().filter(fitting) {
        if total >= window.offset && items.len() < window.limit {
            items.push(record.clone());
        }
        total += 1;
    }
    Listed { items, next: window.next(total), total }
}
