//! The open model: iterations start when they should, on whatever VU is free. What finds none is dropped and counted, and
//! how late the storm itself was is recorded for every start.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Part;
use super::core::Presence;
use super::pacer::Pacer;
use crate::executors::{Arrivals, share};
use crate::workloads::Vu;

/// Where a VU waits for its next iteration. Single-threaded: a cell and a waker, no channel.
#[derive(Default)]
struct Slot {
    intended_us: Cell<Option<u64>>,
    waker: Cell<Option<Waker>>,
}

impl Slot {
    fn start(&self, intended_us: u64) {
        self.intended_us.set(Some(intended_us));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next intended start; `None` when there will be none.
    async fn next(&self, stop: &CancellationToken) -> Option<u64> {
        let given = std::future::poll_fn(|cx| match self.intended_us.take() {
            Some(intended_us) => Poll::Ready(intended_us),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        });
        tokio::select! {
            biased;
            intended_us = given => Some(intended_us),
            () = stop.cancelled() => None,
        }
    }
}

struct Pool {
    idle: RefCell<Vec<Rc<Slot>>>,
}

pub(super) async fn drive(part: Part, arrivals: &Arrivals, pre_allocated_vus: u32, max_vus: u32) {
    drive_with(part, arrivals, pre_allocated_vus, max_vus, Pacer::new()).await;
}

async fn drive_with(
    part: Part,
    arrivals: &Arrivals,
    pre_allocated_vus: u32,
    max_vus: u32,
    pacer: std::io::Result<Pacer>,
) {
    let core = part.core.clone();
    let own = |total: u32| share(u64::from(total), core.index, core.cores);
    let (pre_allocated, most) = (own(pre_allocated_vus), own(max_vus).max(1));
    let pool = Rc::new(Pool { idle: RefCell::new(Vec::new()) });
    let mut vus = Vec::new();
    for index in 0..pre_allocated.max(1) {
        let (stop, task, slot) = spawn(&part, index, &pool);
        pool.idle.borrow_mut().push(slot);
        vus.push((stop, task));
    }
    let paced = match pacer {
        Ok(pacer) => pace(&part, arrivals, &pool, &mut vus, most, pacer).await,
        Err(error) => Err(error),
    };
    if let Err(error) = paced {
        // A load that was not carried out must not look like one that went well.
        core.broken(format!("the load {:?} was not carried out to its end: no timer: {error}", part.config.name));
    }
    for (stop, _) in &vus {
        stop.cancel();
    }
    part.gracefully(vus.into_iter().map(|(_, task)| task).collect()).await;
}

async fn pace(
    part: &Part,
    arrivals: &Arrivals,
    pool: &Rc<Pool>,
    vus: &mut Vec<(CancellationToken, JoinHandle<()>)>,
    most: u64,
    mut pacer: Pacer,
) -> std::io::Result<()> {
    let core = &part.core;
    for k in (core.index as u64..).step_by(core.cores) {
        let Some(at_us) = arrivals.at_us(k) else {
            // The last second belongs to the load as well, even when nothing starts in it any more.
            let end_us = part.start_us + part.config.executor.duration().as_micros() as u64;
            tokio::select! {
                () = super::sleep_until(core.instant(end_us)) => {}
                () = part.stop.cancelled() => {}
            }
            return Ok(());
        };
        let intended_us = part.start_us + at_us;
        while core.now_us() < intended_us {
            tokio::select! {
                biased;
                () = part.stop.cancelled() => return Ok(()),
                waited = pacer.until(intended_us, core.now_us()) => waited?,
            }
        }
        if part.stop.is_cancelled() {
            return Ok(());
        }
        if pool.idle.borrow().is_empty() && vus.len() as u64 >= most {
            // Some may be done, and only not have had their turn: that would be our fault, not theirs.
            tokio::task::yield_now().await;
        }
        let slot = pool.idle.borrow_mut().pop();
        let dropped = match slot {
            Some(slot) => {
                slot.start(intended_us);
                false
            }
            None if (vus.len() as u64) < most => {
                let (stop, task, slot) = spawn(part, vus.len() as u64, pool);
                slot.start(intended_us);
                vus.push((stop, task));
                false
            }
            None => true,
        };
        core.arrival(part.load, dropped);
    }
    Ok(())
}

fn spawn(part: &Part, index: u64, pool: &Rc<Pool>) -> (CancellationToken, JoinHandle<()>, Rc<Slot>) {
    let place = part.place(index, true);
    let stop = place.stop.clone();
    let slot = Rc::new(Slot::default());
    let (core, load, token, own, pool) = (part.core.clone(), part.load, stop.clone(), slot.clone(), pool.clone());
    let mut vu = Vu::new(&part.config.workload, place);
    let task = tokio::task::spawn_local(async move {
        let presence = Presence::new(core.clone());
        while let Some(intended_us) = own.next(&token).await {
            let begun_us = core.now_us();
            core.trend(core.ids.loads[load].generator_lateness, begun_us.saturating_sub(intended_us));
            let at_work = presence.at_work();
            vu.iterate(intended_us).await;
            drop(at_work);
            core.iteration(load, begun_us);
            pool.idle.borrow_mut().push(own.clone());
        }
    });
    (stop, task, slot)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Lone;
    use super::*;
    use crate::executors::Schedule;

    #[test]
    fn a_load_without_a_timer_breaks_the_run() {
        let executor = "executor = \"constant-arrival-rate\"\nrate = 10\nduration = \"1s\"\n";
        let lone = Lone::new(&format!("workload = \"http\"\npath = \"/\"\n{executor}"), 8);
        let config = lone.core.run.loads[0].clone();
        let Schedule::Arrivals { arrivals, .. } = config.executor.schedule() else { panic!("an open model") };
        let stop = lone.core.run.stop_load.clone();
        let part = Part { core: lone.core.clone(), load: 0, start_us: 0, stop, config };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let no_timer = Err(std::io::Error::other("too many open files"));
        tokio::task::LocalSet::new().block_on(&runtime, drive_with(part, &arrivals, 1, 1, no_timer));
        assert!(lone.core.run.stop_load.is_cancelled(), "the others need not go on");
        let broken = lone.leave().broken.unwrap();
        assert!(broken.contains("\"http\" was not carried out") && broken.contains("too many open files"), "{broken}");
    }
}
