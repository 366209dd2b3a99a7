//! Toxiproxy's HTTP API: paths, fields, defaults, statuses and texts, so that its clients need not know that this is
//! another program.

mod answer;
mod route;
mod server;

pub use server::serve;
