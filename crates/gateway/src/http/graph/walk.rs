//! Along the relationships.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use squall_codegraph::queries::{self, Direction, Order, Subgraph, SubgraphQuery, Traversal, Traverse};
use squall_protocol::ErrorBody;
use utoipa::IntoParams;

use super::{needed, no_node, node_id, readable, word, words};
use crate::app::App;
use crate::auth::Caller;
use crate::check::bound;
use crate::error::Refusal;
use crate::http::extract::{Id, Params, json};

/// How far a walk goes at most.
const MAX_DEPTH: u64 = 50;
/// Nodes in one answer at most.
const MAX_NODES: u64 = 2_000;

/// A number within bounds.
fn number(what: &'static str, given: Option<u64>, most: u64, usual: usize) -> Result<usize, Refusal> {
    bound(what, given, 1, most)?;
    Ok(given.and_then(|given| usize::try_from(given).ok()).unwrap_or(usual))
}

/// Where to begin, and how far to go.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Walk {
    /// The node to begin at.
    // Looked at behind the scope: who may not ask is told so first.
    #[param(required = true, value_type = String)]
    start: Option<String>,
    /// `out`, as relationships point, `in`, against them, or `both`; `out` by default.
    direction: Option<String>,
    /// Only relationships of these kinds, with commas between them: `contains`, `calls`, `imports`, `inherits`, `implements`, `references`.
    kinds: Option<String>,
    /// `bfs`, the nearest first, or `dfs`; `bfs` by default.
    order: Option<String>,
    /// At most so many steps: 1 to 50, 3 by default.
    max_depth: Option<u64>,
    /// At most so many nodes: 1 to 2,000, 200 by default.
    limit: Option<u64>,
}

/// Walk along relationships from a node
#[utoipa::path(get, path = "/api/graph/traverse", tag = "graph", params(Walk), responses(
    (status = 200, description = "What was reached, with its distance; `truncated` when there is more within it", body = Traversal),
    (status = 404, description = "`NotFound`", body = ErrorBody),
))]
pub(in crate::http) async fn traverse(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(asked): Params<Walk>,
) -> Result<Response, Refusal> {
    let service = readable(&app, &caller)?;
    let start = needed("start", asked.start)?;
    let walk = Traverse {
        start: node_id("start", &start)?,
        direction: word("direction", asked.direction.as_deref())?.unwrap_or(Direction::Out),
        kinds: words("kinds", asked.kinds.as_deref())?,
        order: word("order", asked.order.as_deref())?.unwrap_or(Order::Bfs),
        max_depth: number("max_depth", asked.max_depth, MAX_DEPTH, 3)?,
        limit: number("limit", asked.limit, MAX_NODES, 200)?,
    };
    let found: Option<Traversal> = queries::traverse(&service.graph().read(), &walk);
    Ok(json(&found.ok_or_else(|| no_node(start))?))
}

/// How far to follow calls.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Chain {
    /// `out`: what it calls, or `in`: what calls it; `out` by default.
    direction: Option<String>,
    /// At most so many steps: 1 to 50, 5 by default.
    max_depth: Option<u64>,
    /// At most so many nodes: 1 to 2,000, 200 by default.
    limit: Option<u64>,
}

/// What a function calls, and what that calls, and so on
#[utoipa::path(get, path = "/api/graph/call-chain/{id}", tag = "graph",
    params(("id" = String, Path, description = "The node to begin at"), Chain), responses(
    (status = 200, description = "What was reached, with its distance", body = Traversal),
    (status = 404, description = "`NotFound`", body = ErrorBody),
))]
pub(in crate::http) async fn call_chain(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<String>,
    Params(asked): Params<Chain>,
) -> Result<Response, Refusal> {
    let service = readable(&app, &caller)?;
    let direction = word("direction", asked.direction.as_deref())?.unwrap_or(Direction::Out);
    let walk = Traverse {
        max_depth: number("max_depth", asked.max_depth, MAX_DEPTH, 5)?,
        limit: number("limit", asked.limit, MAX_NODES, 200)?,
        ..Traverse::calls(node_id("id", &id)?, direction)
    };
    let found: Option<Traversal> = queries::traverse(&service.graph().read(), &walk);
    Ok(json(&found.ok_or_else(|| no_node(id))?))
}

/// Which piece of the graph.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Piece {
    /// The node in the middle. Absent: the best connected ones of all.
    node: Option<String>,
    /// So many steps around it: 1 to 10, 1 by default.
    depth: Option<u64>,
    /// At most so many nodes: 1 to 2,000, 200 by default.
    limit: Option<u64>,
    /// Only relationships of these kinds, with commas between them.
    kinds: Option<String>,
}

/// A piece of the graph to be drawn
#[utoipa::path(get, path = "/api/graph/subgraph", tag = "graph", params(Piece), responses(
    (status = 200, description = "Nodes, and the relationships among them", body = Subgraph),
    (status = 404, description = "`NotFound`", body = ErrorBody),
))]
pub(in crate::http) async fn subgraph(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(asked): Params<Piece>,
) -> Result<Response, Refusal> {
    let service = readable(&app, &caller)?;
    let query = SubgraphQuery {
        node: asked.node.as_deref().map(|id| node_id("node", id)).transpose()?,
        depth: number("depth", asked.depth, 10, 1)?,
        limit: number("limit", asked.limit, MAX_NODES, 200)?,
        kinds: words("kinds", asked.kinds.as_deref())?,
    };
    let found: Option<Subgraph> = queries::subgraph(&service.graph().read(), &query);
    Ok(json(&found.ok_or_else(|| no_node(asked.node.unwrap_or_default()))?))
}
