//! C.

use crate::extract::Syntax;

pub(super) fn syntax() -> Syntax {
    super::c_family::syntax(tree_sitter_c::LANGUAGE.into())
}
