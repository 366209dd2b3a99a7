//! The loop that holds a run together: once a second it collects what the cores recorded, looks at the target, writes the
//! second and shows it; in between it carries out faults and hears what became of them. Every source becomes one event,
//! and each event has one handler.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use squall_protocol::SessionReport;
use squall_report::record::{Ended, FaultRecord, ResourcesRecord};
use squall_report::statistics::{Tally, Totals};
use squall_report::thresholds::{Phase as Evaluation, Thresholds};
use squall_report::{RunDir, RunRecord, SecondSample, durability};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::settle::{Settled, Wanted};
use super::{Finished, account, outcome, settle};
use crate::engine::{FromCore, Handle, Leaves, PANICKED, Run, ToCore};
use crate::error::Result;
use crate::experiment::Judge;
use crate::faults::Timeline;
use crate::live::{Live, View};
use crate::metrics::{self, Ids};
use crate::rig::Rig;
use crate::scenario::{Load, Scenario};
use crate::target::{Changed, Crew, Fleet, Heard, Look, Sampler, Samplers, Vigil, Watcher};
use crate::workloads::Workload;

/// After a target worked again, so long its backlog may still show.
const AFTERMATH: Duration = Duration::from_secs(3);

/// A second that ends so long after the load has still been one of it.
const TICK_MAY_BE_LATE: Duration = Duration::from_millis(300);

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Load,
    Settle,
}

/// Everything about a run while it goes on.
pub(super) struct Conductor {
    pub(super) run: Arc<Run>,
    pub(super) ids: Arc<Ids>,
    pub(super) scenario: Scenario,
    pub(super) thresholds: Thresholds,
    /// Of an experiment.
    pub(super) judge: Option<Judge>,
    /// What each gateway said last of its health, by its number; only in runs with faults.
    pub(super) said: BTreeMap<u32, String>,
    pub(super) totals: Totals,
    pub(super) record: RunRecord,
    pub(super) dir: RunDir,
    pub(super) live: Live,
    pub(super) leaves: Vec<Leaves>,
    pub(super) peaks: outcome::Peaks,
    handles: Vec<Handle>,
    from_cores: mpsc::Receiver<FromCore>,
    /// Cores whose tally is on its way.
    awaited: usize,
    /// Tallies to be filled, by core.
    spares: Vec<Option<Box<Tally>>>,
    second_begun: Instant,
    cores_loading: usize,
    pub(super) timeline: Timeline,
    /// When the target worked again.
    pub(super) recovered: Option<Instant>,
    looks: watch::Receiver<Look>,
    pub(super) target: Samplers,
    /// How many have yet to tell that the fault which is being taken back is over for them.
    pub(super) to_return: usize,
    storm: Sampler,
    errors: Vec<String>,
    /// Events that subscribers never got, as far as that could be told.
    pub(super) feed_shortfall: Option<u64>,
}

enum Event {
    Second,
    Core(Option<FromCore>),
    Heard(Option<Heard>),
    Changed(Option<Changed>),
    FaultDue,
    LoadTimeIsUp,
    Settled(Settled),
    Cancelled,
}

impl Conductor {
    #[expect(clippy::too_many_arguments, reason = "called once, by the only one that makes all of these")]
    pub(super) fn new(
        run: Arc<Run>,
        ids: Arc<Ids>,
        scenario: Scenario,
        thresholds: Thresholds,
        judge: Option<Judge>,
        totals: Totals,
        record: RunRecord,
        dir: RunDir,
        live: Live,
        handles: Vec<Handle>,
        from_cores: mpsc::Receiver<FromCore>,
    ) -> Self {
        let cores = handles.len();
        let spare = || Some(Box::new(Tally::new(totals.registry())));
        let faults = scenario.fault.iter().enumerate().map(|(index, fault)| FaultRecord {
            name: format!("{}-{}", fault.deed.kind(), index + 1),
            kind: fault.deed.kind().to_owned(),
            at_ms: fault.at.as_millis() as u64,
            detail: fault.describe(scenario.gateways),
            ..FaultRecord::default()
        });
        let record = RunRecord { faults: faults.collect(), ..record };
        Self {
            timeline: Timeline::new(&scenario.fault),
            target: match record.target.gateways.as_slice() {
                [] => Samplers::new([record.target.pid]),
                several => Samplers::new(several.iter().map(|gateway| gateway.pid)),
            },
            to_return: 0,
            storm: Sampler::new(Some(std::process::id())),
            spares: (0..cores).map(|_| spare()).collect(),
            cores_loading: cores,
            awaited: 0,
            recovered: None,
            second_begun: Instant::now(),
            looks: watch::channel(Look::default()).1,
            errors: metrics::error_names(),
            feed_shortfall: None,
            leaves: Vec::new(),
            peaks: outcome::Peaks::default(),
            run,
            ids,
            scenario,
            thresholds,
            judge,
            said: BTreeMap::new(),
            totals,
            record,
            dir,
            live,
            handles,
            from_cores,
        }
    }

    pub(super) async fn conduct(
        mut self,
        fleet: Option<Fleet>,
        rig: Rig,
        cancel: CancellationToken,
        begun: Instant,
    ) -> Result<Finished> {
        let stop_looking = CancellationToken::new();
        if self.scenario.needs_gateway() {
            let (looks, receiver) = watch::channel(Look::default());
            self.looks = receiver;
            tokio::spawn(Watcher::new(&self.run.gateways).watch(looks, stop_looking.clone()));
        }
        let (tell, changes) = mpsc::channel(64);
        // Without faults nothing is expected to change, and to ask so often would be a load of its own.
        let watched = self.scenario.needs_gateway() && !self.scenario.fault.is_empty();
        let vigil = watched.then(|| Vigil::keep(&self.run.gateways, self.run.clock, &tell, &stop_looking));
        drop(tell);
        let (heard, from_crew) = mpsc::channel(16);
        let crew = fleet.map(|fleet| fleet.live(self.run.clock, &heard)).unwrap_or_default();
        let crew = crew.with(rig, self.run.clock, &heard);
        drop(heard);
        let settled = self.watch_over(from_crew, changes, &crew, &cancel).await;
        self.note_faults_not_done();
        self.stop_cores().await;
        self.close_last_second();
        // While the target still lives: only it can say what became of some tasks.
        let accounted = account::settle_accounts(&mut self, settled).await;
        self.note_other_durability().await;
        stop_looking.cancel();
        if let Some(vigil) = vigil {
            vigil.end().await;
        }
        crew.stop().await;
        self.record.duration.total_ms = begun.elapsed().as_millis() as u64;
        outcome::conclude(self, accounted)
    }

    /// Load, then settle. Answers whether the lanes became quiet.
    async fn watch_over(
        &mut self,
        mut from_crew: mpsc::Receiver<Heard>,
        mut changes: mpsc::Receiver<Changed>,
        crew: &Crew,
        cancel: &CancellationToken,
    ) -> bool {
        let mut phase = Phase::Load;
        let zero = self.run.clock.instant(0);
        let mut every = tokio::time::interval_at((zero + Duration::from_secs(1)).into(), Duration::from_secs(1));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.second_begun = zero;
        let ends_us = self.scenario.duration().as_micros() as u64;
        let only_consumers = self.scenario.load.iter().all(|load| load.workload.is_consumer());
        let mut settling: Option<tokio::task::JoinHandle<Settled>> = None;
        let mut broken = false;
        loop {
            let load_over =
                self.cores_loading == 0 && (!only_consumers || self.run.clock.now_us() >= ends_us || self.stopping());
            if phase == Phase::Load && load_over && !self.timeline.is_open() {
                phase = Phase::Settle;
                self.record.duration.load_ms = self.run.clock.elapsed().as_millis() as u64;
                // Faults that were to come later have nothing left to disturb.
                self.timeline.cut_short();
                let wanted = self.wanted();
                if broken || wanted.quiet.is_none() && !wanted.followed {
                    return !broken;
                }
                let settle = settle::settle(self.run.clone(), wanted, self.scenario.settle, cancel.clone());
                settling = Some(tokio::spawn(settle));
            }
            let fault_wait = self.timeline.next_at().map(|at| at.saturating_sub(self.run.clock.elapsed()));
            let load_wait = Duration::from_micros(ends_us.saturating_sub(self.run.clock.now_us()));
            let event = tokio::select! {
                _ = every.tick() => Event::Second,
                event = self.from_cores.recv() => Event::Core(event),
                heard = from_crew.recv(), if !from_crew.is_closed() || !from_crew.is_empty() => Event::Heard(heard),
                changed = changes.recv(), if !changes.is_closed() || !changes.is_empty() => Event::Changed(changed),
                () = tokio::time::sleep(fault_wait.unwrap_or_default()), if fault_wait.is_some() => Event::FaultDue,
                () = tokio::time::sleep(load_wait), if phase == Phase::Load && only_consumers && !load_over => Event::LoadTimeIsUp,
                settled = async { match settling.as_mut() { Some(it) => it.await, None => std::future::pending().await } } => {
                    Event::Settled(settled.unwrap_or_default())
                }
                () = cancel.cancelled(), if !self.stopping() => Event::Cancelled,
            };
            match event {
                Event::Second => {
                    self.collect(phase);
                    // Once all are to stop it is no news that one has.
                    if !self.run.stop_all.is_cancelled() && self.handles.iter().any(Handle::is_over) {
                        // It would never say that its load is done.
                        self.fail(PANICKED.to_owned());
                        return false;
                    }
                }
                Event::Core(Some(event)) => self.core(event, phase),
                Event::Core(None) => {
                    if !self.run.stop_all.is_cancelled() {
                        self.fail(PANICKED.to_owned());
                    }
                    return false;
                }
                Event::Heard(Some(Heard::Broken(why))) => {
                    self.fail(why);
                    broken = true;
                    self.timeline.over();
                    self.timeline.cut_short();
                    self.run.stop_load.cancel();
                    self.run.stop_all.cancel();
                    if phase == Phase::Settle {
                        return false;
                    }
                }
                Event::Heard(Some(heard)) => self.heard(heard),
                Event::Changed(Some(changed)) => self.changed(changed),
                Event::Heard(None) | Event::Changed(None) | Event::LoadTimeIsUp => {}
                Event::FaultDue => self.faults_due(crew).await,
                Event::Settled(settled) => {
                    self.followed(settled);
                    let total_ms = self.run.clock.elapsed().as_millis() as u64;
                    self.record.duration.settle_ms = total_ms - self.record.duration.load_ms.min(total_ms);
                    return settled.quiet;
                }
                Event::Cancelled => {
                    self.record.ended = Ended::Interrupted;
                    self.live.say("ending early: the lanes get a moment to become quiet, then comes the report");
                    self.timeline.cut_short();
                    self.run.stop_load.cancel();
                }
            }
        }
    }

    pub(super) fn stopping(&self) -> bool {
        self.run.stop_load.is_cancelled()
    }

    /// The run has broken. What broke it comes first; what broke because of that is only noted.
    pub(super) fn fail(&mut self, message: String) {
        self.live.say(&message);
        if let Some(also) = broke(&mut self.record.ended, message) {
            self.note_once(also);
        }
    }

    /// Whether there is somebody who publishes and somebody who consumes.
    pub(super) fn accounts_for_tasks(&self) -> bool {
        self.scenario.accounts_for_tasks()
    }

    /// A second is over: ask the cores for it.
    fn collect(&mut self, phase: Phase) {
        if self.awaited > 0 {
            // A core is late; what it has counts in the next second.
            self.close_second(phase);
        }
        for (core, spare) in self.spares.iter_mut().enumerate() {
            if let Some(spare) = spare.take() {
                // A core that is gone is found by the caller.
                if self.handles[core].commands.send(ToCore::Take(spare)).is_ok() {
                    self.awaited += 1;
                }
            }
        }
        if self.recovered.is_some_and(|at| at.elapsed() >= AFTERMATH) {
            self.recovered = None;
            self.run.disturbed.store(false, Ordering::Relaxed);
        }
    }

    fn core(&mut self, event: FromCore, phase: Phase) {
        match event {
            FromCore::Tally { core, tally } => {
                self.totals.absorb(&tally);
                self.spares[core] = Some(tally);
                self.awaited -= 1;
                if self.awaited == 0 {
                    self.close_second(phase);
                }
            }
            FromCore::LoadDone { core } => {
                tracing::debug!(core, "load done");
                self.cores_loading -= 1;
            }
            FromCore::SessionOver(report) => self.session_over(&report),
            FromCore::Felt { fault, at_us } => {
                if let Some(fault) = self.record.faults.get_mut(fault as usize) {
                    fault.detected_ms.get_or_insert(at_us / 1000);
                }
            }
            FromCore::Worked { fault, at_us } => {
                if let Some(fault) = self.record.faults.get_mut(fault as usize)
                    && fault.recovered_ms.is_none()
                    && fault.until_ms.is_some()
                {
                    fault.recovered_ms = Some(at_us / 1000);
                    self.recovered = Some(Instant::now());
                    let ended_us = self.run.fault_ended_us.load(Ordering::Relaxed);
                    self.peaks.recoveries_us.push(at_us.saturating_sub(ended_us));
                }
            }
        }
    }

    fn session_over(&mut self, report: &SessionReport) {
        if let Err(error) = self.dir.write_session(report.session.id.as_str(), report) {
            self.note_once(format!("a session's report could not be written: {error}"));
        }
    }

    /// What an acknowledgement means may have been changed while the run went on, or Redis may be another one now.
    async fn note_other_durability(&mut self) {
        let Some(before) = self.record.target.durability.clone() else { return };
        let mut http = squall_client::Http::new(self.run.gateways.clone(), self.run.options.clone());
        if let Ok(health) = http.health().await
            && health.durability != before
        {
            self.note_once(format!("at the end an acknowledgement meant something else: {}", health.durability));
            let may_lose = durability::may_lose(&health.durability);
            let weaker = may_lose.filter(|_| self.record.target.may_lose.is_none());
            self.record.target.may_lose = self.record.target.may_lose.take().or(weaker);
        }
    }

    /// What the cores left when they ended is the last, shorter second.
    fn close_last_second(&mut self) {
        for leaves in &self.leaves {
            self.totals.absorb(&leaves.tally);
        }
        self.close_second(Phase::Settle);
    }

    /// The second is complete: into the series, onto the screen, before the thresholds.
    fn close_second(&mut self, phase: Phase) {
        self.totals.close_second();
        let now = Instant::now();
        let span = now.saturating_duration_since(self.second_begun);
        self.second_begun = now;
        let at = self.run.clock.elapsed();
        let look = self.looks.borrow().clone();
        let mut sample = self.totals.sample(at.as_millis() as u64, span.as_millis().max(1) as u64);
        sample.depths = look.depths;
        sample.sessions = look.sessions;
        sample.health = look.health;
        (sample.target, sample.gateways) = self.target.sample();
        sample.storm = self.storm.sample();
        sample.errors = outcome::errors(&self.errors, self.totals.second(), self.totals.registry());
        sample.faults = self.active_faults(at, span);
        self.peaks.see(&sample);
        if let Err(error) = self.dir.append_second(&sample) {
            self.note_once(format!("the series is incomplete: {error}"));
        }
        self.show(phase, at, &sample);
        if phase == Phase::Load && at <= self.scenario.duration() + TICK_MAY_BE_LATE {
            self.judge_second(at.saturating_sub(span), at, &sample);
        }
        if phase == Phase::Load && self.thresholds.may_abort() && !self.stopping() {
            let results = self.thresholds.evaluate(
                self.totals.registry(),
                self.totals.run(),
                at.as_millis() as u64,
                Evaluation::Running,
            );
            if let Some(failed) = results.iter().find(|result| result.aborts) {
                self.live.say(&format!("ending early: {} {} failed", failed.selector, failed.expression));
                self.record.ended = Ended::Aborted;
                self.timeline.cut_short();
                self.run.stop_load.cancel();
            }
        }
    }

    fn show(&mut self, phase: Phase, at: Duration, sample: &SecondSample) {
        let left = self.scenario.duration().saturating_sub(at);
        let view = View { phase, at, left, sample, totals: &self.totals };
        self.live.second(&view);
    }

    pub(super) fn note_once(&mut self, note: String) {
        if !self.record.notes.contains(&note) {
            self.record.notes.push(note);
        }
    }

    /// What has to be waited for when the load is over.
    fn wanted(&self) -> Wanted {
        // Of another's gateway only the lanes that this scenario uses are expected to become quiet.
        let lanes = if self.record.target.own { Vec::new() } else { self.run.lanes.clone() };
        let follows = |load: &Load| matches!(load.workload, Workload::Subscribers(_));
        Wanted { quiet: self.accounts_for_tasks().then_some(lanes), followed: self.scenario.load.iter().any(follows) }
    }

    /// Takes down whether the subscribers saw all that happened.
    fn followed(&mut self, settled: Settled) {
        if self.wanted().followed && settled.behind.is_none() {
            self.note_once("whether the subscribers saw all of the feed could not be told".to_owned());
        }
        self.feed_shortfall = settled.behind.map(|(_, events)| events);
        if let Some((subscribers, events)) = settled.behind.filter(|(subscribers, _)| *subscribers > 0) {
            let note =
                format!("{subscribers} subscribers never got to the end of the feed: {events} events are missing");
            self.note_once(note);
        }
    }

    /// Everybody ends; what they leave is taken in.
    async fn stop_cores(&mut self) {
        self.join_cores().await;
        let broken: Vec<_> = self.leaves.iter_mut().filter_map(|leaves| leaves.broken.take()).collect();
        for why in broken {
            self.fail(why);
        }
    }

    async fn join_cores(&mut self) {
        self.run.stop_load.cancel();
        self.run.stop_all.cancel();
        let mut joining = tokio::task::JoinSet::new();
        for handle in self.handles.drain(..) {
            joining.spawn(handle.join());
        }
        loop {
            tokio::select! {
                event = self.from_cores.recv() => match event {
                    // Counted as part of the last second.
                    Some(FromCore::Tally { tally, .. }) => self.totals.absorb(&tally),
                    Some(FromCore::SessionOver(report)) => self.session_over(&report),
                    Some(_) => {}
                    None => break,
                },
                joined = joining.join_next() => match joined {
                    Some(Ok(Some(leaves))) => self.leaves.push(leaves),
                    Some(_) => self.fail(PANICKED.to_owned()),
                    None => break,
                },
            }
        }
        while let Ok(event) = self.from_cores.try_recv() {
            match event {
                FromCore::Tally { tally, .. } => self.totals.absorb(&tally),
                FromCore::SessionOver(report) => self.session_over(&report),
                _ => {}
            }
        }
        while let Some(joined) = joining.join_next().await {
            match joined {
                Ok(Some(leaves)) => self.leaves.push(leaves),
                _ => self.fail(PANICKED.to_owned()),
            }
        }
    }

    /// Resources of target and storm so far.
    pub(super) fn usage(&self) -> ResourcesRecord {
        let (target, gateways) = self.target.usage();
        ResourcesRecord { target, gateways, storm: self.storm.usage.record() }
    }
}

/// Takes down that a run broke. Gives back what is not the first reason, and not the same once more.
fn broke(ended: &mut Ended, message: String) -> Option<String> {
    match ended {
        Ended::Failed { message: first } => (*first != message).then_some(message),
        _ => {
            *ended = Ended::Failed { message };
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_broke_first_is_why_the_run_broke() {
        let mut ended = Ended::Interrupted;
        assert_eq!(broke(&mut ended, "the gateway died".to_owned()), None);
        assert_eq!(broke(&mut ended, PANICKED.to_owned()).as_deref(), Some(PANICKED));
        assert_eq!(broke(&mut ended, "the gateway died".to_owned()), None);
        assert_eq!(ended, Ended::Failed { message: "the gateway died".to_owned() });
    }
}
