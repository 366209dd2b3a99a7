//! Why a call failed, and whether it may have happened all the same.

use std::io;
use std::time::Duration;

use squall_protocol::{ErrorCode, WireError};

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made. Nothing was sent.
    #[error("cannot connect to {to}: {why}")]
    Connect {
        /// Where to.
        to: String,
        /// Why not.
        why: io::Error,
    },
    /// Sent, and not answered in time. It may have happened.
    #[error("no answer within {after:?}")]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke with the answer outstanding. It may have happened.
    #[error("connection lost: {why}")]
    Lost {
        /// How.
        why: Lost,
    },
    /// The gateway answered with an error.
    #[error("refused with {status}: {:?}: {}", .error.code, .error.message)]
    Refused {
        /// The HTTP status; for a frame on a WebSocket, 0.
        status: u16,
        /// What the gateway said.
        error: WireError,
    },
    /// The other side does not speak as it should; it may not be a gateway. It may have happened.
    #[error("unintelligible answer: {0}")]
    Protocol(String),
}

/// How a connection was lost.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The other side went without a word.
    #[error("closed by the other side")]
    Eof,
    /// A WebSocket was closed with a code.
    #[error("closed with {code}{}{reason}", if .reason.is_empty() { "" } else { ": " })]
    Closed {
        /// See [`squall_protocol::frame::close`]; 1005 when the other side gave none.
        code: u16,
        /// In words.
        reason: String,
    },
    /// The gateway said why in an `error` frame, and closed.
    #[error("closed with {code}: {:?}: {}", .error.code, .error.message)]
    Told {
        /// The close code.
        code: u16,
        /// What was wrong.
        error: WireError,
    },
    /// Nothing was heard for too long, not even a pong.
    #[error("silent for {0:?}")]
    Silent(Duration),
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The HTTP exchange broke off.
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

impl Error {
    /// True when the gateway may have done what was asked. False: it has not, for sure.
    ///
    /// Of the gateway's own errors those are unknown that it cannot answer for: it failed inside, took too long, or its
    /// store broke while it wrote.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Connect { .. } => false,
            Self::Timeout { .. } | Self::Lost { .. } | Self::Protocol(_) => true,
            Self::Refused { error, .. } => {
                matches!(error.code, ErrorCode::Internal | ErrorCode::Timeout | ErrorCode::StoreUnavailable)
            }
        }
    }

    /// The gateway's code, when it answered with one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { error, .. } | Self::Lost { why: Lost::Told { error, .. } } => Some(error.code),
            _ => None,
        }
    }

    /// The WebSocket's close code, when it was closed with one.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match self {
            Self::Lost { why: Lost::Closed { code, .. } | Lost::Told { code, .. } } => Some(*code),
            _ => None,
        }
    }

    /// When the gateway says that it is worth trying again.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Refused { error, .. } | Self::Lost { why: Lost::Told { error, .. } } => error.retry_after_ms,
            _ => None,
        }
    }

    /// True when connecting again the same way cannot help: the token, the scope or the request itself is wrong.
    #[must_use]
    pub fn is_final(&self) -> bool {
        use squall_protocol::frame::close;
        match self {
            Self::Refused { status, .. } => matches!(status, 400..=407 | 410..=428),
            Self::Lost { why: Lost::Closed { code, .. } | Lost::Told { code, .. } } => {
                matches!(*code, close::UNKNOWN_FRAME | close::BAD_PAYLOAD | close::POLICY | close::TOO_LARGE)
            }
            _ => false,
        }
    }

    pub(crate) fn lost(why: impl Into<Lost>) -> Self {
        Self::Lost { why: why.into() }
    }
}

impl From<io::Error> for Error {
    fn from(why: io::Error) -> Self {
        Self::lost(why)
    }
}
