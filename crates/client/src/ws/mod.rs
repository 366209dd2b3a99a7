//! A WebSocket's client side, as thin as it gets: whole batches in one write, messages read where they lie.
//!
//! Connections of this client are many and mostly idle, or few and very busy. For the first, a socket holds no buffer
//! while nothing is on its way; for the second, one read takes whatever has arrived, and each message is then borrowed from
//! the buffer without a copy. What the messages mean is left to [`crate::work`] and [`crate::events`].

pub mod frame;
mod socket;

pub use socket::{Message, Socket};
