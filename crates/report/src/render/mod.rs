//! The same record for different readers: people at a terminal, people with a browser, pull requests, CI servers.
//!
//! Every rendering is a pure function of the record and the seconds, so that `squall report DIR` makes it again whenever
//! somebody wants it.

mod comparison;
mod html;
mod json;
mod junit;
mod markdown;
mod number;
mod sections;
mod terminal;

pub use comparison::{comparison_markdown, comparison_terminal};
pub use html::html;
pub use json::json;
pub use junit::junit;
pub use markdown::markdown;
pub use number::{amount, bytes, duration, thousands, times};
pub use terminal::{Colour, terminal};
