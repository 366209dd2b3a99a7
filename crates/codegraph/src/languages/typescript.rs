//! TypeScript, and TypeScript with JSX, which are two grammars: `<T>x` is a cast in one and an element in the other.

use crate::extract::Syntax;

pub(super) fn syntax() -> Syntax {
    super::web::syntax(tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into())
}

pub(super) fn syntax_tsx() -> Syntax {
    super::web::syntax(tree_sitter_typescript::LANGUAGE_TSX.into())
}
