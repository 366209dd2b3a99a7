//! Tests only: starts real `squall` processes on free ports and waits until they are ready; seeds; small disks.
//!
//! A test says what it needs in one line ([`Setup`]), and gets a [`Squall`] that cleans up behind itself and shows its log
//! when the test fails. What is asked of it, and what is expected, is left to the tests. Nothing here knows the gateway but by
//! the words on the wire: one under test is a process, and a kill is a kill. Redis, PostgreSQL and small disks are those of
//! `squall-services`, with what only tests ask of them; here what goes wrong panics.

mod certificate;
pub mod exposition;
mod postgres;
mod process;
mod redis;
mod seed;
mod wait;

pub use postgres::Postgres;
pub use process::{Exit, Setup, Squall};
pub use redis::{Redis, TlsRedis};
pub use seed::Seed;
pub use squall_services::SmallDisk;
pub use wait::{eventually, within};

/// A port of loopback that nobody listens on just now.
///
/// # Panics
/// When the system has none.
#[must_use]
pub fn free_port() -> u16 {
    squall_services::free_port().expect("a free port")
}
