//! The analyzer as a whole: trees in, graphs out.
