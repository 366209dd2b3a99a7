//! The closed model: as many VUs as the schedule wants, each iterating without a pause.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Part;
use super::core::Presence;
use crate::executors::{VusOverTime, share};
use crate::workloads::Vu;

/// How often the number of VUs is looked at while it changes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn drive(part: Part, wanted: &VusOverTime) {
    let core = part.core.clone();
    let consumer = part.config.workload.is_consumer();
    let end = wanted.total();
    let last = wanted.stages.last().map_or(0, |stage| stage.target.round() as u32);
    let mut running: Vec<(CancellationToken, JoinHandle<()>)> = Vec::new();
    let mut leaving: Vec<JoinHandle<()>> = Vec::new();
    let mut made = 0;
    loop {
        let at = Duration::from_micros(core.now_us().saturating_sub(part.start_us));
        if part.stop.is_cancelled() || at >= end && !consumer {
            break;
        }
        // Consumers stay as they are at the end, because what was published has yet to be consumed.
        let wanted_now = if at >= end { last } else { wanted.at(at) };
        let own = share(u64::from(wanted_now), core.index, core.cores) as usize;
        while running.len() < own {
            running.push(spawn(&part, made));
            made += 1;
        }
        while running.len() > own {
            if let Some((stop, vu)) = running.pop() {
                stop.cancel();
                leaving.push(vu);
            }
        }
        leaving.retain(|vu| !vu.is_finished());
        let wait = match (at >= end, wanted.is_constant()) {
            (true, _) => Duration::from_secs(3600),
            (false, true) => end - at,
            (false, false) => LOOK_EVERY.min(end - at),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = part.stop.cancelled() => {}
        }
    }
    for (stop, vu) in running {
        stop.cancel();
        leaving.push(vu);
    }
    part.gracefully(leaving).await;
}

fn spawn(part: &Part, index: u64) -> (CancellationToken, JoinHandle<()>) {
    let place = part.place(index, false);
    let stop = place.stop.clone();
    let (core, load, token) = (part.core.clone(), part.load, stop.clone());
    let mut vu = Vu::new(&part.config.workload, place);
    let consumer = part.config.workload.is_consumer();
    let task = tokio::task::spawn_local(async move {
        let presence = Presence::new(core.clone());
        let _at_work = presence.at_work();
        while !token.is_cancelled() {
            let begun_us = core.now_us();
            vu.iterate(begun_us).await;
            // A consumer's only iteration is its life; how long that was says nothing.
            if !consumer {
                core.iteration(load, begun_us);
            }
        }
    });
    (stop, task)
}
