//! What comes in from elsewhere.

pub(crate) mod github;
