//! Telling the feed something that changes nothing here.

use crate::core::Core;
use crate::core::records::Record;
use crate::{Announcement, Result};

/// Bytes of a record beside its texts.
const RECORD_BYTES: usize = 16;

impl Core {
    /// Puts events into the feed, all of them or none.
    ///
    /// # Errors
    /// `Full`.
    pub fn announce(&mut self, events: &[Announcement]) -> Result<()> {
        let bytes = |event: &Announcement| RECORD_BYTES + event.event_type.len() + event.bytes();
        self.check_room(events.iter().map(bytes).sum(), true)?;
        for event in events {
            let Announcement { event_type, entity_id, data } = event;
            self.record(&Record::Announced { event_type, entity_id, data: data.get() });
        }
        Ok(())
    }
}
