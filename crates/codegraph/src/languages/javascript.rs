//! JavaScript, with JSX.

use crate::extract::Syntax;

pub(super) fn syntax() -> Syntax {
    super::web::syntax(tree_sitter_javascript::LANGUAGE.into())
}
