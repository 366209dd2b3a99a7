//! `/api/graph`: what can be asked of the symbol graph ([`find`]: by name and kind, [`walk`]: along its relationships), and the
//! analysis itself ([`admin`]). The answers are those of `squall_codegraph::queries`; here a request is taken apart.

pub(super) mod admin;
pub(super) mod find;
pub(super) mod walk;

use std::str::FromStr;
use std::sync::Arc;

use squall_codegraph::NodeId;
use squall_codegraph::queries::Window;
use squall_protocol::ErrorCode;

use crate::app::App;
use crate::auth::Caller;
use crate::config::Scope;
use crate::error::Refusal;
use crate::graph::Service;

/// The graph, for somebody who may read it. It is nobody's, so everybody with this scope sees all of it.
fn readable<'a>(app: &'a App, caller: &Caller) -> Result<&'a Arc<Service>, Refusal> {
    caller.may(Scope::Read)?;
    there_is(app)
}

fn there_is(app: &App) -> Result<&Arc<Service>, Refusal> {
    let none = "this gateway reads no source tree; [graph] root = \"…\" names the one to read";
    app.graph.as_ref().ok_or_else(|| Refusal::new(ErrorCode::NotFound, none))
}

fn no_node(id: impl std::fmt::Display) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("there is no such node: {id}"))
}

fn node_id(what: &str, text: &str) -> Result<NodeId, Refusal> {
    text.parse().map_err(|error| Refusal::invalid(format!("{what}: {error}")))
}

/// Something that has to be there.
fn needed(what: &str, given: Option<String>) -> Result<String, Refusal> {
    given.ok_or_else(|| Refusal::invalid(format!("`{what}` is missing")))
}

/// A word that has to be one of several.
fn word<T: FromStr<Err = String>>(what: &str, text: Option<&str>) -> Result<Option<T>, Refusal> {
    let given = text.filter(|text| !text.is_empty());
    given.map(|text| text.parse().map_err(|error| Refusal::invalid(format!("{what}: {error}")))).transpose()
}

/// Words with commas between them; none stands for all.
fn words<T: FromStr<Err = String>>(what: &str, list: Option<&str>) -> Result<Vec<T>, Refusal> {
    let given = list.unwrap_or_default().split(',').map(str::trim).filter(|text| !text.is_empty());
    given.map(|text| text.parse().map_err(|error| Refusal::invalid(format!("{what}: {error}")))).collect()
}

fn window(cursor: Option<&str>, limit: Option<usize>) -> Result<Window, Refusal> {
    Window::new(cursor, limit).map_err(Refusal::invalid)
}
