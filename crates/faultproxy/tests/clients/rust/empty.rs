//! Nothing: what is tested is the dependency.
