//! The live feed: from the store's log to everybody who follows it.
//!
//! In the order in which an event passes: [`hub`] reads it once, [`chunk`] encodes it once, [`ring`] keeps it for all,
//! [`follower`] takes one subscriber along, [`filter`] says what that one gets. Sending is the transport's business.

pub(crate) mod chunk;
pub(crate) mod filter;
pub(crate) mod follower;
pub(crate) mod hub;
pub(crate) mod ring;

pub(crate) use filter::Filter;
pub(crate) use follower::{Follower, Next};
pub(crate) use hub::Hub;
