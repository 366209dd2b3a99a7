//! What can be wrong with what is asked of a fault proxy. The texts are Toxiproxy's where it has one, because clients
//! compare them; their statuses are in `api::answer`.

use thiserror::Error;

/// What [`crate::FaultProxy`] refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Not to be understood.
    #[error("bad request body: {0}")]
    BadBody(String),
    /// A name or an upstream; says also which proxy of several.
    #[error("missing required field: {0}")]
    MissingField(String),
    /// Neither upstream nor downstream.
    #[error("stream was invalid, can be either upstream or downstream")]
    InvalidStream,
    /// No such type.
    #[error("invalid toxic type")]
    InvalidToxicType,
    /// The name is taken.
    #[error("proxy already exists")]
    ProxyExists,
    /// The name is taken.
    #[error("toxic already exists")]
    ToxicExists,
    /// No proxy of that name.
    #[error("proxy not found")]
    ProxyNotFound,
    /// No toxic of that name.
    #[error("toxic not found")]
    ToxicNotFound,
    /// The address cannot be had; says why.
    #[error("{0}")]
    Listen(String),
    /// A bound is reached.
    #[error("there are {most} {what}, which is all that may be")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// More than is read.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// It has been stopped.
    #[error("the fault proxy has been stopped")]
    Stopped,
}

/// A configuration file that cannot be used, with the place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}:{line}: {message}")]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}
