//! C++.

use crate::extract::Syntax;

pub(super) fn syntax() -> Syntax {
    super::c_family::syntax(tree_sitter_cpp::LANGUAGE.into())
}

/// Whether a header, whose name does not say it, is C++: by words that stand at the beginning of a line and that C has not.
pub(super) fn is_probable(text: &str) -> bool {
    const WORDS: &[&str] =
        &["class ", "namespace ", "template <", "template<", "public:", "private:", "using namespace ", "constexpr "];
    text.lines().map(str::trim_start).any(|line| WORDS.iter().any(|word| line.starts_with(word)))
}
