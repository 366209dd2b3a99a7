//! Where a program is entered, what holds it together, and where it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Window;
use crate::analyzer::is_linked;
use crate::graph::Slot;
use crate::node::words;
use crate::{Graph, Node, NodeId};

words!(
    /// A part that functions, methods and types play.
    Category {
        /// Nothing comes in.
        EntryPoints = "entry_points",
        /// The quarter with the most relationships.
        Hubs = "hubs",
        /// Nothing goes out.
        Leaves = "leaves",
    }
);

/// A node with how many relationships it has, `contains` left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CategoryItem {
    /// The node.
    #[cfg_attr(feature = "openapi", schema(value_type = Node))]
    pub node: Arc<Node>,
    /// How many come in.
    pub in_degree: u32,
    /// How many go out.
    pub out_degree: u32,
}

/// One page of a category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Categories {
    /// Which one.
    pub category: Category,
    /// The most connected first.
    pub items: Vec<CategoryItem>,
    /// Pass it as `cursor` to go on; null at the end.
    pub next: Option<String>,
    /// How many there are in all.
    pub total: usize,
}

/// Lists that cost a sort, made once for each version of a graph; while it is changing, once a second.
pub(crate) struct Ranked {
    version: u64,
    made: Instant,
    entry_points: Vec<NodeId>,
    hubs: Vec<NodeId>,
    leaves: Vec<NodeId>,
    /// The most complex functions.
    pub(crate) top_functions: Vec<NodeId>,
    /// Functions, methods and types, the most connected first.
    pub(crate) most_connected: Vec<NodeId>,
}

const STALE_AFTER: Duration = Duration::from_secs(1);
const TOP_FUNCTIONS: usize = 10;

impl Ranked {
    fn of(graph: &Graph) -> Self {
        let degree = |slot: &Slot| {
            let kept = graph.kept(*slot);
            kept.in_degree + kept.out_degree
        };
        let place = |slot: &Slot| {
            let node = &graph.kept(*slot).node;
            (Arc::clone(&node.path), node.start_line, node.id)
        };
        let all = |wanted: &dyn Fn(&Node) -> bool| -> Vec<Slot> {
            let kept = graph.slots.iter().enumerate();
            kept.filter_map(|(slot, kept)| wanted(&kept.as_ref()?.node).then_some(slot as Slot)).collect()
        };
        let mut linked = all(&|node| is_linked(node.kind));
        linked.sort_by_cached_key(|slot| (std::cmp::Reverse(degree(slot)), place(slot)));
        let ids =
            |slots: &mut dyn Iterator<Item = &Slot>| slots.map(|slot| graph.kept(*slot).node.id).collect::<Vec<_>>();
        let entry_points = ids(&mut linked.iter().filter(|slot| graph.kept(**slot).in_degree == 0));
        let leaves = ids(&mut linked.iter().filter(|slot| graph.kept(**slot).out_degree == 0));
        let connected = linked.iter().take_while(|slot| degree(slot) > 0).count();
        let hubs = ids(&mut linked[..connected.min(linked.len().div_ceil(4))].iter());
        let mut top_functions = all(&|node| node.complexity.is_some());
        let complexity =
            |slot: &Slot| (std::cmp::Reverse(graph.kept(*slot).node.complexity), graph.kept(*slot).node.id);
        if top_functions.len() > TOP_FUNCTIONS {
            top_functions.select_nth_unstable_by_key(TOP_FUNCTIONS, complexity);
            top_functions.truncate(TOP_FUNCTIONS);
        }
        top_functions.sort_unstable_by_key(complexity);
        let (top_functions, most_connected) = (ids(&mut top_functions.iter()), ids(&mut linked.iter()));
        let (version, made) = (graph.version(), Instant::now());
        Self { version, made, entry_points, hubs, leaves, top_functions, most_connected }
    }
}

impl Graph {
    /// The lists of this version of the graph, or, while it is changing, of a second ago at most: then nodes may be gone.
    pub(crate) fn ranked(&self) -> Arc<Ranked> {
        let mut ranked = self.ranked.lock();
        match &*ranked {
            Some(lists) if lists.version == self.version() => Arc::clone(lists),
            Some(lists) if self.is_changing && lists.made.elapsed() < STALE_AFTER => Arc::clone(lists),
            _ => {
                let lists = Arc::new(Ranked::of(self));
                *ranked = Some(Arc::clone(&lists));
                lists
            }
        }
    }
}

/// One page of a category.
#[must_use]
pub fn categories(graph: &Graph, category: Category, window: Window) -> Categories {
    let ranked = graph.ranked();
    let list = match category {
        Category::EntryPoints => &ranked.entry_points,
        Category::Hubs => &ranked.hubs,
        Category::Leaves => &ranked.leaves,
    };
    let items = window.of(list).iter().filter_map(|id| {
        let kept = graph.kept(graph.slot(*id)?);
        Some(CategoryItem { node: Arc::clone(&kept.node), in_degree: kept.in_degree, out_degree: kept.out_degree })
    });
    Categories { category, items: items.collect(), next: window.next(list.len()), total: list.len() }
}
