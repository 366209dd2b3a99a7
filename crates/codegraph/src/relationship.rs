//! What holds between two symbols, and how sure it is.
//!
//! Names are all that a syntax tree gives, so a relationship says how it was found:
//!
//! | confidence | what was found |
//! |---|---|
//! | 1.0 | `contains`: one is written inside the other |
//! | 0.95 | the same scope, or a method of the type itself through `self` or `this`; a file named by its path |
//! | 0.9 | the same file |
//! | 0.85 | imported by name, or qualified with a type or module that exists once |
//! | 0.8 | the same package, a wildcard import or an include; a method of a base type; a method of a variable whose type is written |
//! | 0.7 | a file found by the end of its path |
//! | 0.6 | the only definition of that name in the tree, in that language |
//! | 0.4 | the only method of that name; what it is called on is not known |
//! | 0.3 | one of two or three of that name |
//!
//! With more candidates and no evidence nothing is linked: the reference is counted as unresolved.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::node::words;
use crate::{NodeId, RelationshipId};

words!(
    /// What holds between two nodes.
    RelationshipKind {
        /// The target is written inside the source.
        Contains = "contains",
        /// The source calls or constructs the target.
        Calls = "calls",
        /// The source's file imports the target's.
        Imports = "imports",
        /// The source is derived from the target.
        Inherits = "inherits",
        /// The source implements the target.
        Implements = "implements",
        /// The source names the target in another way: as a type, as a value.
        References = "references",
    }
);

/// How sure a relationship is; the table of [this module](self) says what each means.
pub mod confidence {
    /// Written inside.
    pub const CERTAIN: f32 = 1.0;
    /// The same scope or `self`, or a file named by its path.
    pub const SAME_SCOPE: f32 = 0.95;
    /// The same file.
    pub const SAME_FILE: f32 = 0.9;
    /// Imported by name, or qualified.
    pub const IMPORTED: f32 = 0.85;
    /// The same package, a wildcard import, a base type, the written type of a variable.
    pub const NEAR: f32 = 0.8;
    /// A file found by the end of its path.
    pub const PATH_END: f32 = 0.7;
    /// The only one of that name.
    pub const ONLY_ONE: f32 = 0.6;
    /// The only method of that name.
    pub const ONLY_METHOD: f32 = 0.4;
    /// One of a few.
    pub const ONE_OF_FEW: f32 = 0.3;
}

/// One relationship. There is one at most of a kind between two nodes; its line is that of the first of the surest places.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Relationship {
    /// Stable while kind and both ends stay.
    pub id: RelationshipId,
    /// What holds.
    pub kind: RelationshipKind,
    /// From where.
    pub source: NodeId,
    /// To where.
    pub target: NodeId,
    /// 0 to 1.
    pub confidence: f32,
    /// The file that says so, which is the source's.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path: Arc<str>,
    /// The line there, from 1.
    pub line: u32,
}

/// The id of the relationship of this kind between two nodes.
pub(crate) fn relationship_id(kind: RelationshipKind, source: NodeId, target: NodeId) -> RelationshipId {
    let mut bytes = [0; 17];
    bytes[0] = kind as u8;
    bytes[1..9].copy_from_slice(&source.0.to_le_bytes());
    bytes[9..].copy_from_slice(&target.0.to_le_bytes());
    RelationshipId(xxhash_rust::xxh3::xxh3_64(&bytes))
}
