//! Nodes by a part of their name.

use std::sync::Arc;

use super::{Listed, Window};
use crate::graph::Kept;
use crate::{Graph, Language, Node, NodeKind};

/// What is searched for. All that is given must fit.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Search {
    /// A part of the name, or of the qualified name, whatever its case; empty: any.
    pub text: String,
    /// What it is.
    pub kind: Option<NodeKind>,
    /// What it is written in.
    pub language: Option<Language>,
    /// How the path begins, or a part of it.
    pub path: Option<String>,
}

/// Nodes that were found.
pub type NodePage = Listed<Arc<Node>>;

/// The nodes that fit: those of just that name first, then those that begin so, then the shorter ones.
#[must_use]
pub fn search(graph: &Graph, search: &Search, window: Window) -> NodePage {
    let text = search.text.to_lowercase();
    let finder = Finder::new(&text);
    let mut found: Vec<(u8, &Arc<Node>)> = graph
        .slots
        .iter()
        .flatten()
        .filter(|kept| {
            let node = &kept.node;
            search.kind.is_none_or(|kind| node.kind == kind)
                && search.language.is_none_or(|language| node.language == language)
                && search.path.as_ref().is_none_or(|path| node.path.contains(path.as_str()))
        })
        .filter_map(|kept| Some((finder.rank(kept)?, &kept.node)))
        .collect();
    let total = found.len();
    let order = |a: &(u8, &Arc<Node>), b: &(u8, &Arc<Node>)| {
        a.0.cmp(&b.0)
            .then_with(|| a.1.name.len().cmp(&b.1.name.len()))
            .then_with(|| a.1.name.cmp(&b.1.name))
            .then_with(|| a.1.path.cmp(&b.1.path))
            .then_with(|| (a.1.start_line, a.1.id).cmp(&(b.1.start_line, b.1.id)))
    };
    let end = window.offset.saturating_add(window.limit);
    if end < found.len() {
        // Only what is shown, and what comes before it, has to be in order.
        found.select_nth_unstable_by(end, order);
        found.truncate(end);
    }
    found.sort_unstable_by(order);
    let items = window.of(&found).iter().map(|(_, node)| Arc::clone(node)).collect();
    Listed { items, next: window.next(total), total }
}

struct Finder<'a> {
    text: &'a str,
    /// Only a text with a separator can be found in more than the plain name.
    qualified: bool,
}

impl<'a> Finder<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, qualified: text.contains([':', '.', '/']) }
    }

    /// 0 the name itself, 1 its beginning, 2 a part of it, 3 a part of the qualified name.
    fn rank(&self, kept: &Kept) -> Option<u8> {
        if self.text.is_empty() {
            return Some(0);
        }
        let name = kept.lower.as_deref().unwrap_or(&kept.node.name);
        if name == self.text {
            return Some(0);
        }
        if name.starts_with(self.text) {
            return Some(1);
        }
        if name.contains(self.text) {
            return Some(2);
        }
        (self.qualified && kept.node.qualified_name.to_lowercase().contains(self.text)).then_some(3)
    }
}
