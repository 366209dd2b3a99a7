//! What one file says, before anybody looks at another: its nodes, what contains what, and the names it mentions.
//!
//! Facts depend on the path and the text of the file alone. Everything that depends on other files is made from them again
//! and again by `resolve`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::Name;
use crate::{Language, Node};

/// The facts of one file. Node 0 is the file's module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) language: Language,
    pub(crate) lines: u32,
    /// Places that the grammar could not make sense of.
    pub(crate) errors: u32,
    pub(crate) nodes: Vec<Arc<Node>>,
    /// Beside `nodes`.
    pub(crate) places: Vec<Place>,
    pub(crate) references: Vec<Reference>,
    pub(crate) imports: Vec<Import>,
}

/// Where a node stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The node that contains it; its own number for the module.
    pub(crate) parent: u32,
    pub(crate) name: Name,
    /// The type, or the inline module, that it belongs to; none for what the file itself has.
    pub(crate) container: Name,
    /// A member of a type: found through a value of it, never by its bare name alone.
    pub(crate) member: bool,
}

/// One mention of something that may be elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Reference {
    /// The node in which it is written.
    pub(crate) source: u32,
    pub(crate) manner: Manner,
    pub(crate) name: Name,
    pub(crate) through: Through,
    pub(crate) line: u32,
}

/// How something is mentioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Manner {
    Call,
    /// A macro's use.
    Expand,
    Inherit,
    Implement,
    /// Named as a type.
    Type,
    /// Named as a value. Linked only to what the file has or imports, because most such names are local variables.
    Value,
}

/// What a name is said through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Through {
    /// `name`.
    Nothing,
    /// `self.name`, inside of this type.
    Own(Name),
    /// `Name::name`, `module.name`: something that has a name.
    Named(Name),
    /// `variable.name`, of a variable of this type.
    Typed(Name),
    /// `something().name`.
    Unknown,
}

/// An import statement, or one of its branches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Import {
    /// What is imported from, in the pieces that the language writes: `["crate", "error"]`, `["..", "util"]`.
    pub(crate) from: Vec<Name>,
    pub(crate) names: Vec<Binding>,
    /// Everything of it is in scope.
    pub(crate) wildcard: bool,
    pub(crate) line: u32,
}

/// A name that an import brings into scope.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// What it is called here.
    pub(crate) alias: Name,
    /// What it is called there; none: it is the imported module itself.
    pub(crate) original: Name,
}
