//! The words on the wire: ids, tasks, sessions, lanes, events, frames and HTTP bodies.
//!
//! Everything here is data with serde derives; nothing here reads a clock, a socket or a file. What a stored record
//! looks like is `squall-store`'s business: a wire type is never written to disk as it is.

pub mod dead_letter;
pub mod error;
pub mod event;
pub mod frame;
pub mod health;
pub mod id;
pub mod lane;
pub mod page;
pub mod run;
pub mod session;
pub mod stats;
pub mod task;
pub mod text;
pub mod time;

pub use dead_letter::{DeadLetter, DeadLetterFilter, DeadReason, Replay};
pub use error::{ErrorBody, ErrorCode, WireError};
pub use event::{Cursor, FeedRecord, Gap, GapReason, Topic};
pub use frame::{ClientFrame, ServerFrame};
pub use health::{Health, HealthStatus};
pub use id::{ConnectionId, Epoch, Receipt, SessionId, TaskId};
pub use lane::LaneView;
pub use page::{HistoryPage, Page};
pub use run::RunView;
pub use session::{EndSession, NewSession, SessionReport, SessionState, SessionView, UpdateSession};
pub use stats::Stats;
pub use task::{Delivery, NackMode, NewTask, Priority, RetryOverride, TaskState, TaskView};
pub use text::Text;
pub use time::Time;
