//! Figures, and nodes and files by what they are.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use squall_codegraph::queries::{
    self, Categories, Category, FileQuery, Listed, NodePage, NodeView, Reached, Relation, Search, Stats,
};
use squall_codegraph::{FileRecord, Node};
use squall_protocol::{ErrorBody, ErrorCode};
use utoipa::{IntoParams, ToSchema};

use super::{needed, no_node, node_id, readable, window, word};
use crate::app::App;
use crate::auth::Caller;
use crate::error::Refusal;
use crate::graph::run::Run;
use crate::http::extract::{Id, Params, json};

/// Whether the graph can be relied on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum GraphStatus {
    /// It is what the last analysis found.
    Idle,
    /// An analysis runs.
    Analysing,
    /// Nothing was analysed yet.
    Waiting,
}

/// The graph in figures.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct GraphStats {
    /// The folder that is read.
    root: String,
    /// Whether it can be relied on.
    status: GraphStatus,
    /// The analysis that runs, or the last.
    last_run: Option<Run>,
    #[serde(flatten)]
    figures: Stats,
}

/// The graph in figures
#[utoipa::path(get, path = "/api/graph/stats", tag = "graph", responses(
    (status = 200, description = "Figures", body = GraphStats),
    (status = 404, description = "`NotFound`: this gateway reads no tree", body = ErrorBody),
))]
pub(in crate::http) async fn stats(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    let service = readable(&app, &caller)?;
    let last_run = service.latest();
    let status = match &last_run {
        _ if service.is_busy() => GraphStatus::Analysing,
        Some(_) => GraphStatus::Idle,
        None => GraphStatus::Waiting,
    };
    let figures = queries::stats(&service.graph().read());
    Ok(json(&GraphStats { root: service.root().to_owned(), status, last_run, figures }))
}

/// What to search for; all that is given must fit.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Searched {
    /// A part of the name, in any case; with `:`, `.` or `/` in it, of the qualified name.
    #[serde(default)]
    q: String,
    /// `module`, `class`, `struct`, `enum`, `interface`, `trait`, `function`, `method`, `variable`, `constant`, `field`, `type_alias`,
    /// `macro` or `import`.
    kind: Option<String>,
    /// `rust`, `python`, `typescript`, `javascript`, `vue`, `go`, `java`, `c` or `cpp`.
    language: Option<String>,
    /// A part of the path.
    path: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 500, 50 by default.
    limit: Option<usize>,
}

/// Search nodes by name: those of just that name first, then those that begin so
#[utoipa::path(get, path = "/api/graph/nodes/search", tag = "graph", params(Searched), responses(
    (status = 200, description = "A page", body = Listed<Node>),
    (status = 400, description = "`InvalidRequest`", body = ErrorBody),
))]
pub(in crate::http) async fn search(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(asked): Params<Searched>,
) -> Result<Response, Refusal> {
    let service = readable(&app, &caller)?;
    let window = window(asked.cursor.as_deref(), asked.limit)?;
    let search = Search {
        kind: word("kind", asked.kind.as_deref())?,
        language: word("language", asked.language.as_deref())?,
        text: asked.q,
        path: asked.path,
    };
    let page: NodePage = queries::search(&service.graph().read(), &search, window);
    Ok(json(&page))
}

/// A node with its relationships
#[utoipa::path(get, path = "/api/graph/nodes/{id}", tag = "graph",
    params(("id" = String, Path, description = "The node")), responses(
    (status = 200, description = "The node", body = NodeView),
    (status = 404, description = "`NotFound`", body = ErrorBody),
))]
pub(in crate::http) async fn node(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(id): Id<String>,
) -> Result<Response, Refusal> {
    let service = readable(&app, &caller)?;
    let found = queries::node(&service.graph().read(), node_id("id", &id)?);
    Ok(json(&found.ok_or_else(|| no_node(id))?))
}

/// Which symbol.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct OfSymbol {
    /// A node's id, name or qualified name; of a name that several have, all are meant.
    // Looked at behind the scope: who may not ask is told so first.
    #[param(required = true, value_type = String)]
    symbol: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 500, 50 by default.
    limit: Option<usize>,
}

/// Who calls a symbol (`callers`), whom it calls (`callees`), or who names it at all (`references`); the surest first
#[utoipa::path(get, path = "/api/graph/query/{relation}", tag = "graph",
    params(("relation" = String, Path, description = "`callers`, `callees` or `references`"), OfSymbol), responses(
    (status = 200, description = "A page", body = Listed<Reached>),
    (status = 404, description = "`NotFound`: nothing has this name", body = ErrorBody),
))]
pub(in crate::http) async fn related(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(relation): Id<String>,
    Params(asked): Params<OfSymbol>,
) -> Result<Response, Refusal> {
    let service = readable(&app, &caller)?;
    let relation: Relation = known(&relation)?;
    let symbol = needed("symbol", asked.symbol)?;
    let window = window(asked.cursor.as_deref(), asked.limit)?;
    let found = queries::related(&service.graph().read(), relation, &symbol, window);
    let missing = || Refusal::new(ErrorCode::NotFound, format!("nothing is called {symbol:?}"));
    Ok(json(&found.ok_or_else(missing)?))
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Part {
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 500, 50 by default.
    limit: Option<usize>,
}

/// Functions and types that nothing leads to (`entry_points`), that lead nowhere (`leaves`), or that hold the rest together (`hubs`)
///
/// By how many relationships they have, `contains` left out; hubs are the quarter that has most.
#[utoipa::path(get, path = "/api/graph/categories/{category}", tag = "graph",
    params(("category" = String, Path, description = "`entry_points`, `hubs` or `leaves`"), Part), responses(
    (status = 200, description = "A page", body = Categories),
))]
pub(in crate::http) async fn category(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(category): Id<String>,
    Params(asked): Params<Part>,
) -> Result<Response, Refusal> {
    let service = readable(&app, &caller)?;
    let category: Category = known(&category)?;
    let window = window(asked.cursor.as_deref(), asked.limit)?;
    Ok(json(&queries::categories(&service.graph().read(), category, window)))
}

/// A word in a path; an unknown one is an address that there is not.
fn known<T: std::str::FromStr<Err = String>>(word: &str) -> Result<T, Refusal> {
    word.parse().map_err(|error| Refusal::new(ErrorCode::NotFound, error))
}

/// Which files.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct OfFiles {
    /// `analysed` or `skipped`.
    state: Option<String>,
    /// A part of the path.
    #[serde(default)]
    q: String,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 500, 50 by default.
    limit: Option<usize>,
}

/// The files of the tree: which were read, and which were not and why
#[utoipa::path(get, path = "/api/graph/debug/files", tag = "graph", params(OfFiles), responses(
    (status = 200, description = "A page, by path", body = Listed<FileRecord>),
))]
pub(in crate::http) async fn files(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(asked): Params<OfFiles>,
) -> Result<Response, Refusal> {
    let service = readable(&app, &caller)?;
    let window = window(asked.cursor.as_deref(), asked.limit)?;
    let query = FileQuery { state: word("state", asked.state.as_deref())?, text: asked.q };
    let page: Listed<FileRecord> = queries::files(&service.graph().read(), &query, window);
    Ok(json(&page))
}
