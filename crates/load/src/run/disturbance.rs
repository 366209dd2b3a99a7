//! The faults of a run as the conductor sees them: begins and takes back what is due, hears what became of it and what the gateways
//! say meanwhile, and lets the experiment judge each second.

use std::sync::atomic::Ordering;
use std::time::Duration;

use squall_report::SecondSample;
use squall_report::record::{Ended, FaultRecord};

use super::conductor::Conductor;
use crate::experiment::Health;
use crate::faults::Step;
use crate::scenario::show_span;
use crate::target::{Changed, Crew, Heard};

/// A fault that begins so much later than planned is told to be late.
const WORTH_TELLING: Duration = Duration::from_millis(100);
/// Changes of health that are written down at most.
const MOST_CHANGES: usize = 1_000;

impl Conductor {
    pub(super) async fn faults_due(&mut self, crew: &Crew) {
        while let Some(step) = self.timeline.due(self.run.clock.elapsed()) {
            match step {
                Step::Begin(index) => {
                    let planned = self.scenario.fault[index].clone();
                    let late = self.run.clock.elapsed().saturating_sub(planned.at);
                    if late >= WORTH_TELLING {
                        let detail = &mut self.record.faults[index].detail;
                        *detail += &format!("; {} later than planned", show_span(round_ms(late)));
                        if index > 0 {
                            *detail += ", because the fault before took longer to be over";
                        }
                    }
                    self.recovered = None;
                    self.run.disturbed.store(true, Ordering::Relaxed);
                    self.run.fault_ended_us.store(u64::MAX, Ordering::Relaxed);
                    // Whoever sees the new fault also sees that it has not ended.
                    self.run.fault.store(index as u64, Ordering::Release);
                    self.live.say(&planned.describe(self.scenario.gateways));
                    crew.act(index, &planned.deed, true).await;
                }
                Step::End(index) => self.to_return = crew.act(index, &self.scenario.fault[index].deed, false).await,
            }
        }
    }

    pub(super) fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Begun { fault: index, at_us, down } => {
                self.record.faults[index].at_ms = at_us / 1000;
                if let Some(gateway) = down {
                    self.target.follow(gateway, None);
                }
            }
            Heard::Ended { fault: index, at_us, back, blemish, struck } => {
                if let Some(blemish) = blemish {
                    self.note_once(blemish);
                }
                if let Some((gateway, pid)) = back {
                    self.restarted(gateway, pid);
                }
                self.run.came_back.send_modify(|times| *times += 1);
                self.record.faults[index].struck = struck;
                self.to_return = self.to_return.saturating_sub(1);
                if self.to_return == 0 {
                    self.record.faults[index].until_ms = Some(at_us / 1000);
                    self.run.fault_ended_us.store(at_us, Ordering::Relaxed);
                    self.timeline.over();
                    if back.is_none() {
                        self.live.say("the fault is over");
                    }
                }
            }
            Heard::Broken(why) => self.fail(why),
        }
    }

    pub(super) fn changed(&mut self, changed: Changed) {
        // Of what a gateway says the last fault that has begun is thought to be the reason.
        let fault = self.timeline.not_begun().checked_sub(1).and_then(|index| self.record.faults.get_mut(index));
        match changed {
            Changed::Health(change) => {
                let is_well = change.status == Health::Healthy.as_str();
                if let Some(fault) = fault.filter(|fault| change.at_ms >= fault.at_ms && !is_well) {
                    fault.health_ms.get_or_insert(change.at_ms);
                }
                self.said.insert(change.gateway, change.status.clone());
                // A gateway that goes back and forth without end is told of so often that everybody has understood.
                if self.record.health.len() < MOST_CHANGES {
                    self.record.health.push(change);
                }
            }
            Changed::Ailing { at_ms } => {
                if let Some(fault) = fault.filter(|fault| at_ms >= fault.at_ms) {
                    fault.metrics_ms.get_or_insert(at_ms);
                }
            }
        }
    }

    fn restarted(&mut self, gateway: usize, pid: u32) {
        self.target.follow(gateway, Some(pid));
        let target = &mut self.record.target;
        target.restarts += 1;
        if gateway == 0 {
            target.pid = Some(pid);
        }
        match target.gateways.get_mut(gateway) {
            Some(one) => {
                one.pid = Some(pid);
                one.restarts += 1;
                self.live.say(&format!("gateway {} is back", gateway + 1));
            }
            None => self.live.say("the gateway is back"),
        }
    }

    pub(super) fn active_faults(&self, at: Duration, span: Duration) -> Vec<String> {
        let (to_ms, from_ms) = (at.as_millis() as u64, at.saturating_sub(span).as_millis() as u64);
        let active =
            |fault: &&FaultRecord| fault.at_ms <= to_ms && fault.until_ms.is_none_or(|until_ms| until_ms >= from_ms);
        let begun = self.record.faults.iter().take(self.timeline.not_begun());
        begun.filter(active).map(|fault| fault.name.clone()).collect()
    }

    /// The experiment sees it too, and may say that it is enough.
    pub(super) fn judge_second(&mut self, from: Duration, to: Duration, sample: &SecondSample) {
        let Some(judge) = &mut self.judge else { return };
        let span_ms = (from.as_millis() as u64, to.as_millis() as u64);
        let seen = (&**self.totals.registry(), self.totals.second());
        let faults = (self.record.faults.as_slice(), self.timeline.not_begun());
        // One that is not well is enough.
        let unwell = self.said.values().find(|status| *status != Health::Healthy.as_str());
        let health = unwell.or_else(|| self.said.values().next()).map(String::as_str);
        let enough = judge.second(seen, span_ms, faults, health, &sample.errors);
        if let Some(why) = enough.filter(|_| !self.stopping()) {
            self.live.say(&format!("ending early: the experiment's abort condition: {why}"));
            self.record.ended = Ended::Aborted;
            self.timeline.cut_short();
            self.run.stop_load.cancel();
        }
    }

    /// A fault that was planned and not done must not pass for one that the target withstood.
    pub(super) fn note_faults_not_done(&mut self) {
        for fault in self.record.faults.split_off(self.timeline.not_begun()) {
            let at = show_span(Duration::from_millis(fault.at_ms));
            self.note_once(format!(
                "the fault {} was planned at {at} and not done: the run was over before",
                fault.name
            ));
        }
    }
}

const fn round_ms(span: Duration) -> Duration {
    Duration::from_millis(span.as_millis() as u64)
}
