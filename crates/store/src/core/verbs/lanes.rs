//! Pausing and resuming lanes.

use squall_protocol::Time;

use crate::Result;
use crate::core::Core;
use crate::core::records::Record;
use crate::core::timers::Timer;

impl Core {
    /// Pauses a lane, for a time or until it is resumed.
    ///
    /// # Errors
    /// `UnknownLane`.
    pub fn pause_lane(&mut self, lane: &str, for_ms: Option<u64>) -> Result<u32> {
        let lane = self.lane_number(lane)?;
        self.check_room(200, false)?;
        self.pause(lane, for_ms.map(|ms| self.now.plus_ms(ms)), "asked for");
        Ok(lane)
    }

    /// Resumes a lane; one that runs stays as it is.
    ///
    /// # Errors
    /// `UnknownLane`.
    pub fn resume_lane(&mut self, lane: &str) -> Result<u32> {
        let lane = self.lane_number(lane)?;
        self.check_room(200, false)?;
        if self.state.lane(lane).paused.is_some() {
            self.record(&Record::LaneResumed { lane, reason: "asked for" });
            self.scheduler.lanes[lane as usize].dirty = true;
        }
        Ok(lane)
    }

    pub(in crate::core) fn is_paused(&self, lane: u32) -> bool {
        match self.state.lane(lane).paused {
            None => false,
            Some(None) => true,
            Some(Some(until)) => until > self.now,
        }
    }

    /// Pauses for so long from now, unless it is paused for longer already.
    pub(in crate::core) fn pause_at_least(&mut self, lane: u32, ms: u64, reason: &str) {
        let until = self.now.plus_ms(ms);
        let longer = match self.state.lane(lane).paused {
            None => ms > 0,
            Some(None) => false,
            Some(Some(held)) => until > held,
        };
        if longer {
            self.pause(lane, Some(until), reason);
        }
    }

    fn pause(&mut self, lane: u32, until: Option<Time>, reason: &str) {
        self.record(&Record::LanePaused { lane, until: until.map(|at| at.0), reason });
        if let Some(until) = until {
            self.timers.push(until, Timer::Resume(lane));
        }
    }
}
