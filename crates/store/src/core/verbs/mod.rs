//! The verbs: one decision per file, each a method of [`super::Core`].

mod announce;
mod cancel;
pub(super) mod dead_letters;
mod lanes;
pub(super) mod publish;
mod schedule;
mod sessions;
mod settle;
mod tick;
mod workers;
