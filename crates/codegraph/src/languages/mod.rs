//! The languages: for each its files' names and what its syntax means, one file each.
//!
//! A language is a table from the grammar's kinds of nodes to small functions. The table is made once and looked up by the
//! grammar's own numbers, so that the one walk over a tree asks nothing twice.

#![cfg_attr(
    not(all(
        feature = "rust",
        feature = "python",
        feature = "vue",
        feature = "go",
        feature = "java",
        feature = "c",
        feature = "cpp"
    )),
    allow(dead_code, unused_variables, reason = "what is used depends on the languages that are built in")
)]

#[cfg(feature = "c")]
mod c;
#[cfg(any(feature = "c", feature = "cpp"))]
mod c_family;
#[cfg(feature = "cpp")]
mod cpp;
#[cfg(feature = "go")]
mod go;
#[cfg(feature = "java")]
mod java;
#[cfg(feature = "javascript")]
mod javascript;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "rust")]
mod rust;
#[cfg(feature = "typescript")]
mod typescript;
#[cfg(feature = "vue")]
mod vue;
#[cfg(any(feature = "javascript", feature = "typescript"))]
mod web;

use std::path::Path;
use std::sync::OnceLock;

use tree_sitter::Range;

use crate::Error;
use crate::extract::Syntax;
use crate::node::words;

words!(
    /// What a file is written in.
    Language {
        /// Rust.
        Rust = "rust",
        /// Python, stubs too.
        Python = "python",
        /// JavaScript, JSX too.
        Javascript = "javascript",
        /// TypeScript, TSX too.
        Typescript = "typescript",
        /// The script blocks of a Vue component.
        Vue = "vue",
        /// Go.
        Go = "go",
        /// Java.
        Java = "java",
        /// C.
        C = "c",
        /// C++.
        Cpp = "cpp",
    }
);

/// Languages whose files can name each other's symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    Rust,
    Python,
    Web,
    Go,
    Java,
    C,
}

impl Language {
    pub(crate) const fn family(self) -> Family {
        match self {
            Self::Rust => Family::Rust,
            Self::Python => Family::Python,
            Self::Javascript | Self::Typescript | Self::Vue => Family::Web,
            Self::Go => Family::Go,
            Self::Java => Family::Java,
            Self::C | Self::Cpp => Family::C,
        }
    }
}

/// A grammar of tree-sitter. TypeScript has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Grammar {
    Rust,
    Python,
    Javascript,
    Typescript,
    Tsx,
    Go,
    Java,
    C,
    Cpp,
}

/// How many grammars there are.
pub(crate) const GRAMMARS: usize = 9;

/// The language of a file, by its name; none when no feature of this build reads it.
pub(crate) fn by_path(path: &Path) -> Option<Language> {
    let extension = path.extension()?.to_str()?;
    Some(match extension {
        #[cfg(feature = "rust")]
        "rs" => Language::Rust,
        #[cfg(feature = "python")]
        "py" | "pyi" => Language::Python,
        #[cfg(feature = "javascript")]
        "js" | "mjs" | "cjs" | "jsx" => Language::Javascript,
        #[cfg(feature = "typescript")]
        "ts" | "mts" | "cts" | "tsx" => Language::Typescript,
        #[cfg(feature = "vue")]
        "vue" => Language::Vue,
        #[cfg(feature = "go")]
        "go" => Language::Go,
        #[cfg(feature = "java")]
        "java" => Language::Java,
        #[cfg(feature = "c")]
        "c" => Language::C,
        #[cfg(any(feature = "c", feature = "cpp"))]
        "h" => {
            if cfg!(feature = "c") {
                Language::C
            } else {
                Language::Cpp
            }
        }
        #[cfg(feature = "cpp")]
        "cc" | "cpp" | "cxx" | "c++" | "hh" | "hpp" | "hxx" | "h++" | "ipp" | "inl" | "cppm" => Language::Cpp,
        _ => return None,
    })
}

/// What of a file is parsed, and as what.
pub(crate) struct Part {
    pub(crate) grammar: Grammar,
    /// None: all of it.
    pub(crate) ranges: Vec<Range>,
}

/// The language of a file, now that its text is known, and its parts.
pub(crate) fn parts(language: Language, path: &str, text: &str) -> (Language, Vec<Part>) {
    let whole = |grammar| vec![Part { grammar, ranges: Vec::new() }];
    match language {
        Language::Rust => (language, whole(Grammar::Rust)),
        Language::Python => (language, whole(Grammar::Python)),
        Language::Javascript => (language, whole(Grammar::Javascript)),
        Language::Typescript if path.ends_with(".tsx") => (language, whole(Grammar::Tsx)),
        Language::Typescript => (language, whole(Grammar::Typescript)),
        #[cfg(feature = "vue")]
        Language::Vue => (language, vue::scripts(text)),
        #[cfg(not(feature = "vue"))]
        Language::Vue => (language, Vec::new()),
        Language::Go => (language, whole(Grammar::Go)),
        Language::Java => (language, whole(Grammar::Java)),
        #[cfg(feature = "cpp")]
        Language::C if path.ends_with(".h") && cpp::is_probable(text) => (Language::Cpp, whole(Grammar::Cpp)),
        Language::C => (language, whole(Grammar::C)),
        Language::Cpp => (language, whole(Grammar::Cpp)),
    }
}

/// What the nodes of a grammar mean.
pub(crate) fn syntax(grammar: Grammar) -> Option<&'static Syntax> {
    static ALL: [OnceLock<Option<Syntax>>; GRAMMARS] = [const { OnceLock::new() }; GRAMMARS];
    ALL[grammar as usize]
        .get_or_init(|| match grammar {
            #[cfg(feature = "rust")]
            Grammar::Rust => Some(rust::syntax()),
            #[cfg(feature = "python")]
            Grammar::Python => Some(python::syntax()),
            #[cfg(feature = "javascript")]
            Grammar::Javascript => Some(javascript::syntax()),
            #[cfg(feature = "typescript")]
            Grammar::Typescript => Some(typescript::syntax()),
            #[cfg(feature = "typescript")]
            Grammar::Tsx => Some(typescript::syntax_tsx()),
            #[cfg(feature = "go")]
            Grammar::Go => Some(go::syntax()),
            #[cfg(feature = "java")]
            Grammar::Java => Some(java::syntax()),
            #[cfg(feature = "c")]
            Grammar::C => Some(c::syntax()),
            #[cfg(feature = "cpp")]
            Grammar::Cpp => Some(cpp::syntax()),
            #[allow(unreachable_patterns, reason = "with all features there are no others")]
            _ => None,
        })
        .as_ref()
}

/// Says which grammar of this build does not fit the tree-sitter that it was built with.
pub(crate) fn check() -> Result<(), Error> {
    let all = [
        (Grammar::Rust, Language::Rust),
        (Grammar::Python, Language::Python),
        (Grammar::Javascript, Language::Javascript),
        (Grammar::Typescript, Language::Typescript),
        (Grammar::Tsx, Language::Typescript),
        (Grammar::Go, Language::Go),
        (Grammar::Java, Language::Java),
        (Grammar::C, Language::C),
        (Grammar::Cpp, Language::Cpp),
    ];
    for (grammar, language) in all {
        if let Some(syntax) = syntax(grammar) {
            tree_sitter::Parser::new()
                .set_language(&syntax.language)
                .map_err(|error| Error::Grammar { language, why: error.to_string() })?;
        }
    }
    Ok(())
}

/// The name by which others import a file: its stem, or its folder's name where the language says so.
pub(crate) fn module_name(language: Language, path: &str) -> &str {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.split_once('.').map_or(file, |(stem, _)| stem);
    let folder_name = || {
        let folder = folder.strip_suffix("/src").unwrap_or(folder);
        folder.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(stem)
    };
    match (language.family(), stem) {
        (Family::Rust, "mod" | "lib" | "main")
        | (Family::Python, "__init__")
        | (Family::Web, "index")
        | (Family::Go, _) => folder_name(),
        (Family::C, _) => file,
        _ => stem,
    }
}

/// Names that every program of a language has from its standard library. A bare call of one, or one of something unknown,
/// says nothing about a definition of the same name in the tree. The lists are sorted.
pub(crate) fn is_built_in(family: Family, name: &str) -> bool {
    let list: &[&str] = match family {
        Family::Rust => &[
            "Arc",
            "Box",
            "Clone",
            "Debug",
            "Default",
            "Display",
            "Err",
            "From",
            "HashMap",
            "Into",
            "Iterator",
            "None",
            "Ok",
            "Option",
            "Result",
            "Send",
            "Some",
            "String",
            "Sync",
            "Vec",
            "and_then",
            "as_bytes",
            "as_mut",
            "as_ref",
            "as_slice",
            "as_str",
            "assert",
            "assert_eq",
            "assert_ne",
            "chain",
            "clear",
            "clone",
            "cloned",
            "cmp",
            "collect",
            "contains",
            "contains_key",
            "copied",
            "count",
            "dbg",
            "debug_assert",
            "default",
            "drain",
            "drop",
            "ends_with",
            "entry",
            "enumerate",
            "eprintln",
            "eq",
            "err",
            "expect",
            "extend",
            "filter",
            "filter_map",
            "find",
            "first",
            "flat_map",
            "flatten",
            "flush",
            "fmt",
            "fold",
            "format",
            "from",
            "get",
            "get_mut",
            "hash",
            "insert",
            "into",
            "into_iter",
            "is_empty",
            "is_err",
            "is_none",
            "is_ok",
            "is_some",
            "iter",
            "iter_mut",
            "join",
            "keys",
            "last",
            "len",
            "lock",
            "map",
            "map_err",
            "matches",
            "max",
            "min",
            "next",
            "ok",
            "ok_or",
            "panic",
            "parse",
            "partial_cmp",
            "poll",
            "pop",
            "position",
            "print",
            "println",
            "push",
            "push_str",
            "read",
            "remove",
            "replace",
            "reserve",
            "rev",
            "send",
            "skip",
            "sort",
            "split",
            "starts_with",
            "sum",
            "swap",
            "take",
            "to_owned",
            "to_string",
            "to_vec",
            "todo",
            "trim",
            "truncate",
            "unreachable",
            "unwrap",
            "unwrap_or",
            "unwrap_or_default",
            "unwrap_or_else",
            "values",
            "vec",
            "with",
            "write",
            "writeln",
            "zip",
        ],
        Family::Python => &[
            "Exception",
            "KeyError",
            "TypeError",
            "ValueError",
            "abs",
            "add",
            "all",
            "any",
            "append",
            "bool",
            "bytes",
            "callable",
            "classmethod",
            "clear",
            "close",
            "copy",
            "count",
            "decode",
            "dict",
            "dir",
            "encode",
            "endswith",
            "enumerate",
            "extend",
            "filter",
            "find",
            "float",
            "format",
            "frozenset",
            "get",
            "getattr",
            "hasattr",
            "hash",
            "id",
            "index",
            "insert",
            "int",
            "isinstance",
            "issubclass",
            "items",
            "iter",
            "join",
            "keys",
            "len",
            "list",
            "lower",
            "map",
            "max",
            "min",
            "next",
            "object",
            "open",
            "pop",
            "print",
            "property",
            "range",
            "read",
            "remove",
            "replace",
            "repr",
            "reversed",
            "round",
            "set",
            "setattr",
            "setdefault",
            "sort",
            "sorted",
            "split",
            "startswith",
            "staticmethod",
            "str",
            "strip",
            "sum",
            "super",
            "tuple",
            "type",
            "update",
            "upper",
            "values",
            "write",
            "zip",
        ],
        Family::Web => &[
            "Array",
            "Boolean",
            "Date",
            "Error",
            "Map",
            "Number",
            "Object",
            "Promise",
            "RegExp",
            "Set",
            "String",
            "Symbol",
            "add",
            "addEventListener",
            "apply",
            "bind",
            "call",
            "catch",
            "charAt",
            "charCodeAt",
            "clear",
            "concat",
            "delete",
            "emit",
            "entries",
            "every",
            "exec",
            "fetch",
            "filter",
            "finally",
            "find",
            "findIndex",
            "flat",
            "flatMap",
            "forEach",
            "get",
            "has",
            "includes",
            "indexOf",
            "join",
            "keys",
            "log",
            "map",
            "match",
            "next",
            "on",
            "once",
            "parse",
            "parseInt",
            "pop",
            "push",
            "reduce",
            "remove",
            "replace",
            "require",
            "reverse",
            "set",
            "setTimeout",
            "shift",
            "slice",
            "some",
            "sort",
            "splice",
            "split",
            "startsWith",
            "stringify",
            "substring",
            "test",
            "then",
            "toLowerCase",
            "toString",
            "trim",
            "unshift",
            "values",
            "write",
        ],
        Family::Go => &[
            "Close", "Error", "Len", "Read", "String", "Write", "any", "append", "bool", "byte", "cap", "clear",
            "close", "copy", "delete", "error", "float32", "float64", "int", "int16", "int32", "int64", "int8", "len",
            "make", "max", "min", "new", "panic", "print", "println", "recover", "rune", "string", "uint", "uint16",
            "uint32", "uint64", "uint8", "uintptr",
        ],
        Family::Java => &[
            "Boolean",
            "Class",
            "Exception",
            "Integer",
            "List",
            "Long",
            "Map",
            "Object",
            "Optional",
            "Override",
            "Set",
            "String",
            "add",
            "append",
            "apply",
            "clear",
            "close",
            "contains",
            "containsKey",
            "equals",
            "filter",
            "forEach",
            "format",
            "get",
            "getClass",
            "getMessage",
            "getName",
            "hashCode",
            "isEmpty",
            "iterator",
            "join",
            "length",
            "map",
            "next",
            "of",
            "println",
            "put",
            "remove",
            "size",
            "stream",
            "substring",
            "toString",
            "trim",
            "valueOf",
            "values",
        ],
        Family::C => &[
            "abort",
            "assert",
            "begin",
            "c_str",
            "calloc",
            "clear",
            "data",
            "empty",
            "end",
            "erase",
            "exit",
            "fclose",
            "find",
            "fopen",
            "fprintf",
            "free",
            "insert",
            "length",
            "main",
            "malloc",
            "memcmp",
            "memcpy",
            "memmove",
            "memset",
            "printf",
            "push_back",
            "realloc",
            "resize",
            "size",
            "size_t",
            "snprintf",
            "sprintf",
            "std",
            "strcmp",
            "strcpy",
            "string",
            "strlen",
            "swap",
            "vector",
        ],
    };
    list.binary_search(&name).is_ok()
}

/// Parses and does nothing else: the limit that an analysis is measured against.
pub struct BareParser(crate::extract::Parsers);

impl Default for BareParser {
    fn default() -> Self {
        Self(crate::extract::Parsers::new(std::time::Duration::from_secs(60)))
    }
}

impl BareParser {
    /// Parses one file as an analysis would; says whether it is of a language that is read.
    pub fn parse(&mut self, path: &str, text: &str) -> bool {
        let Some(language) = by_path(Path::new(path)) else { return false };
        parts(language, path, text).1.iter().all(|part| self.0.parse(part, text).is_ok())
    }
}
