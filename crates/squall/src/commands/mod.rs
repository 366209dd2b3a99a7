//! One file for each subcommand; a function whose arguments say everything it touches.

pub(crate) mod chaos;
pub(crate) mod config;
pub(crate) mod dead_letters;
pub(crate) mod list;
pub(crate) mod migrate;
pub(crate) mod proxy;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod token;
