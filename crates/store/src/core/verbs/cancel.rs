//! Withdrawing a task that no worker has.

use squall_protocol::TaskId;

use crate::core::state::Phase;
use crate::core::{Core, Scope};
use crate::{Error, Result};

impl Core {
    /// Decides on a withdrawal.
    ///
    /// # Errors
    /// `NotFound`, `NotCancellable`.
    pub fn cancel(&mut self, scope: Scope, id: TaskId) -> Result<()> {
        let Some((slot, task)) = self.find(scope, id) else {
            return Err(Error::NotFound { what: "task", id: id.to_string() });
        };
        let state = match task.phase {
            Phase::Waiting { .. } => {
                self.check_room(400, false)?;
                self.withdraw(slot, "asked for");
                return Ok(());
            }
            Phase::Leased { .. } => "leased",
            Phase::Done { .. } => "done",
            Phase::Cancelled { .. } => "cancelled",
            Phase::Dead { .. } => "dead",
        };
        Err(Error::NotCancellable { id: id.to_string(), state })
    }
}
