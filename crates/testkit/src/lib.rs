//! Tests only: starts real `squall` processes on free ports and waits until they are ready; seeds; small disks.
//!
//! A test says what it needs in one line ([`Setup`]), and gets a [`Squall`] that cleans up behind itself and shows its log
//! when the test fails. What is asked of it, and what is expected, is left to the tests. Nothing here knows a part of Squall
//! but the words on the wire: a gateway under test is a process, and a kill is a kill.

mod certificate;
mod disk;
pub mod exposition;
mod postgres;
mod process;
mod redis;
mod seed;
mod wait;

pub use disk::SmallDisk;
pub use postgres::Postgres;
pub use process::{Exit, Setup, Squall};
pub use redis::{Redis, TlsRedis, free_port};
pub use seed::Seed;
pub use wait::{eventually, within};
