//! The code graph of Squall: reads a source tree into a graph of its symbols, and says what changed.
//!
//! Modules in the order in which data passes through them: [`config`] says what is read, `files` finds it, [`watch`] sees it
//! change; [`languages`] are the grammars, one file each, `extract` makes of a text its `facts`, in which `names` are numbers;
//! `resolve` makes of all facts the relationships; [`analyzer`] brings it all into the [`graph`], which is made of [`node`]s and
//! [`relationship`]s with an [`id`] each, and tells every [`change`]; `snapshot` keeps what is known over a restart; [`queries`]
//! are what can be asked.
//!
//! Who hears of the changes, and over what wire, is left to the caller.

pub mod analyzer;
pub mod change;
pub mod config;
mod error;
mod extract;
mod facts;
mod files;
pub mod graph;
pub mod id;
pub mod languages;
mod names;
pub mod node;
pub mod queries;
pub mod relationship;
mod resolve;
mod snapshot;
pub mod watch;

#[cfg(test)]
mod tests;

pub use analyzer::{Analysis, Analyzer, Ending, How, Step};
pub use change::Change;
pub use config::Config;
pub use error::{ConfigError, Error, SnapshotError};
pub use files::{FileRecord, FileState, Skipped};
pub use graph::Graph;
pub use id::{BadId, NodeId, RelationshipId};
pub use languages::Language;
pub use node::{Node, NodeKind, Visibility};
pub use relationship::{Relationship, RelationshipKind};
pub use watch::{Seen, Watcher};
