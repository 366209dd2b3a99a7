//! What a graph is made of: symbols, with a place and a kind.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::{Language, NodeId};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[repr(u8)]
        pub enum $name { $($(#[$item_doc])* $item,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$item,)+];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|item| item.as_str() == text).ok_or_else(|| {
                    format!("{text:?} is none of {}", [$($word,)+].join(", "))
                })
            }
        }
    };
}
pub(crate) use words;

words!(
    /// What a node is.
    NodeKind {
        /// A file, and a module or namespace inside of one.
        Module = "module",
        /// A class.
        Class = "class",
        /// A struct or union.
        Struct = "struct",
        /// An enumeration.
        Enum = "enum",
        /// An interface.
        Interface = "interface",
        /// A trait.
        Trait = "trait",
        /// A function that belongs to no type.
        Function = "function",
        /// A function of a type.
        Method = "method",
        /// A variable of a module.
        Variable = "variable",
        /// A constant of a module or type.
        Constant = "constant",
        /// A field or property of a type.
        Field = "field",
        /// Another name for a type.
        TypeAlias = "type_alias",
        /// A macro.
        Macro = "macro",
        /// An import statement.
        Import = "import",
    }
);

impl NodeKind {
    /// Something that is called and has a complexity.
    #[must_use]
    pub const fn is_callable(self) -> bool {
        matches!(self, Self::Function | Self::Method)
    }

    /// Something that values are of.
    #[must_use]
    pub const fn is_type(self) -> bool {
        matches!(self, Self::Class | Self::Struct | Self::Enum | Self::Interface | Self::Trait | Self::TypeAlias)
    }
}

words!(
    /// Who may see a symbol, as far as the language says it.
    Visibility {
        /// Everybody.
        Public = "public",
        /// Its file, type or module.
        Private = "private",
        /// Its type and what is derived from it.
        Protected = "protected",
        /// Its package or crate.
        Internal = "internal",
    }
);

/// One symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Node {
    /// Stable while kind, path and qualified name stay.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// The plain name: `new`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Arc<str>,
    /// The name with what contains it in the file: `App::new`; separated as the language does it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub qualified_name: Arc<str>,
    /// The file, relative to the root, with `/`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path: Arc<str>,
    /// The file's language.
    pub language: Language,
    /// First line, from 1.
    pub start_line: u32,
    /// First column, from 1, in bytes.
    pub start_column: u32,
    /// Last line.
    pub end_line: u32,
    /// Column after the last character.
    pub end_column: u32,
    /// Cyclomatic complexity, 1 = straight; functions and methods only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complexity: Option<u32>,
    /// Absent when the language does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// The declaration without its body, on one line; functions and types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub signature: Option<Arc<str>>,
}

/// The id of the `number`th node of this kind and name in a file.
pub(crate) fn node_id(kind: NodeKind, path: &str, qualified_name: &str, number: u32) -> NodeId {
    let mut hash = Xxh3::new();
    hash.update(&[kind as u8]);
    hash.update(&(path.len() as u32).to_le_bytes());
    hash.update(path.as_bytes());
    hash.update(qualified_name.as_bytes());
    if number > 0 {
        hash.update(&[0]);
        hash.update(&number.to_le_bytes());
    }
    NodeId(hash.digest())
}
