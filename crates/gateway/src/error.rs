//! What goes wrong, and the one place where it becomes a status with `Retry-After`, or a close code.

use http::StatusCode;
use squall_protocol::frame::close;
use squall_protocol::{ErrorCode, WireError};
use squall_store::Error as StoreError;

/// Why a gateway cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// As configured.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The source tree cannot be read or watched.
    #[error(transparent)]
    Graph(#[from] squall_codegraph::Error),
    /// Something the operating system refused while it ran.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// A request, or a frame, that is refused: the answer's `error` object.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) error: WireError,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: WireError::new(code, message) }
    }

    pub(crate) fn retry_after_ms(mut self, ms: u64) -> Self {
        self.error.retry_after_ms = Some(ms);
        self
    }

    /// A value that is not what it should be.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// JSON that cannot be read as what was expected. Says where, and tells text that is no JSON from JSON that does not fit.
    pub(crate) fn json(what: &str, text: &[u8], error: &serde_json::Error) -> Self {
        // A field that does not fit may come before the place where the text stops to be JSON, which is the greater fault.
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(text) {
            return Self::new(ErrorCode::InvalidJson, format!("{what}: {error}"));
        }
        match crate::place::field(text, error.line(), error.column()) {
            Some(field) => Self::invalid(format!("{what}: {field}: {error}")),
            None => Self::invalid(format!("{what}: {error}")),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        status(self.error.code)
    }

    pub(crate) fn close_code(&self) -> Option<u16> {
        close_code(self.error.code)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let (code, retry_after_ms) = match &error {
            StoreError::UnknownLane { .. } => (ErrorCode::UnknownLane, None),
            StoreError::LaneFull { retry_after_ms, .. } => (ErrorCode::LaneFull, Some(*retry_after_ms)),
            StoreError::NotFound { .. } | StoreError::SessionNotFound { .. } => (ErrorCode::NotFound, None),
            StoreError::NotCancellable { .. } => (ErrorCode::NotCancellable, None),
            StoreError::NotHeld { .. } => (ErrorCode::NotHeld, None),
            StoreError::SessionExists { .. } => (ErrorCode::Conflict, None),
            StoreError::SessionEnded { .. } => (ErrorCode::SessionEnded, None),
            StoreError::SessionLimit { retry_after_ms, .. } => (ErrorCode::SessionLimit, Some(*retry_after_ms)),
            StoreError::ReplayLimit { .. } => (ErrorCode::ReplayLimit, None),
            StoreError::TooLarge { .. } => (ErrorCode::TooLarge, None),
            StoreError::Invalid(_) => (ErrorCode::InvalidRequest, None),
            StoreError::Full(_) => (ErrorCode::StoreFull, Some(5_000)),
            StoreError::Unavailable(_) => (ErrorCode::StoreUnavailable, Some(5_000)),
            StoreError::HistoryAway(_) => (ErrorCode::HistoryUnavailable, Some(5_000)),
            StoreError::Overloaded => (ErrorCode::Overloaded, Some(100)),
            StoreError::Closed => (ErrorCode::Draining, Some(1_000)),
        };
        let mut refusal = Self::new(code, error.to_string());
        refusal.error.retry_after_ms = retry_after_ms;
        refusal
    }
}

/// The status of each code.
pub(crate) const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidJson | ErrorCode::InvalidRequest | ErrorCode::UnknownFrame | ErrorCode::Policy => {
            StatusCode::BAD_REQUEST
        }
        ErrorCode::Unauthorized | ErrorCode::BadSignature => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound | ErrorCode::UnknownLane => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Timeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::Conflict
        | ErrorCode::SessionEnded
        | ErrorCode::NotHeld
        | ErrorCode::NotCancellable
        | ErrorCode::ReplayLimit
        | ErrorCode::AnalysisRunning => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::NoRule => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::SessionLimit | ErrorCode::LaneFull => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::Overloaded
        | ErrorCode::TooManyConnections
        | ErrorCode::StoreUnavailable
        | ErrorCode::HistoryUnavailable
        | ErrorCode::Draining => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The close code that follows an `error` frame; none when the connection goes on.
pub(crate) const fn close_code(code: ErrorCode) -> Option<u16> {
    match code {
        ErrorCode::UnknownFrame => Some(close::UNKNOWN_FRAME),
        ErrorCode::InvalidJson | ErrorCode::InvalidRequest => Some(close::BAD_PAYLOAD),
        ErrorCode::Policy | ErrorCode::Forbidden | ErrorCode::Unauthorized | ErrorCode::UnknownLane => {
            Some(close::POLICY)
        }
        ErrorCode::TooLarge => Some(close::TOO_LARGE),
        ErrorCode::Draining => Some(close::DRAINING),
        ErrorCode::TooManyConnections | ErrorCode::Timeout => Some(close::TRY_AGAIN_LATER),
        ErrorCode::Internal => Some(close::INTERNAL),
        // About one task or one moment: the connection can go on.
        ErrorCode::NotFound
        | ErrorCode::MethodNotAllowed
        | ErrorCode::Conflict
        | ErrorCode::SessionEnded
        | ErrorCode::SessionLimit
        | ErrorCode::LaneFull
        | ErrorCode::NotHeld
        | ErrorCode::NotCancellable
        | ErrorCode::ReplayLimit
        | ErrorCode::AnalysisRunning
        | ErrorCode::BadSignature
        | ErrorCode::NoRule
        | ErrorCode::Overloaded
        | ErrorCode::StoreFull
        | ErrorCode::StoreUnavailable
        | ErrorCode::HistoryUnavailable => None,
    }
}
