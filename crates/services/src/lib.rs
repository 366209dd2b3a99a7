//! Real Redis and PostgreSQL of one's own on free ports of loopback, and a disk that is soon full.
//!
//! Who starts one says what it needs and gets a value; the process ends with it, and so does the directory that was made for
//! it. A kill is a real kill, and after a restart there is what had been written. What is done to them, and what is asked of
//! them, is left to others. Nothing here knows another part of Squall, nor a runtime: calls block, a start for up to half a minute.

mod disk;
mod error;
mod port;
mod postgres;
mod process;
mod redis;

pub use disk::SmallDisk;
pub use error::{Error, Result};
pub use port::free_port;
pub use postgres::Postgres;
pub use redis::{Redis, RedisOptions};
