//! The closed model with a fixed amount of work: each VU does so many iterations, or all together do.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::core::Presence;
use super::{Part, sleep_until};
use crate::executors::{Iterations, share};
use crate::workloads::Vu;

pub(super) async fn drive(part: Part, vus: u32, iterations: Iterations, max: Duration) {
    let core = part.core.clone();
    let own_vus = share(u64::from(vus), core.index, core.cores);
    // Iterations are dealt to the cores that have VUs to do them.
    let busy_cores = core.cores.min(vus as usize);
    let heap = Rc::new(Cell::new(match iterations {
        Iterations::PerVu(_) => u64::MAX,
        Iterations::InAll(total) if core.index < busy_cores => share(total, core.index, busy_cores),
        Iterations::InAll(_) => 0,
    }));
    let each = match iterations {
        Iterations::PerVu(each) => each,
        Iterations::InAll(_) => u64::MAX,
    };
    let mut running = Vec::new();
    for index in 0..own_vus {
        let place = part.place(index, false);
        let stop = place.stop.clone();
        let (core, load, heap, token) = (core.clone(), part.load, heap.clone(), stop.clone());
        let mut vu = Vu::new(&part.config.workload, place);
        let task = tokio::task::spawn_local(async move {
            let presence = Presence::new(core.clone());
            let _at_work = presence.at_work();
            for _ in 0..each {
                if token.is_cancelled() || heap.get() == 0 {
                    break;
                }
                heap.set(heap.get() - 1);
                let begun_us = core.now_us();
                vu.iterate(begun_us).await;
                core.iteration(load, begun_us);
            }
        });
        running.push((stop, task));
    }
    let deadline = core.instant(part.start_us + max.as_micros() as u64);
    let over = async {
        tokio::select! {
            () = sleep_until(deadline) => {}
            () = part.stop.cancelled() => {}
        }
    };
    let mut over = std::pin::pin!(over);
    let mut late = Vec::new();
    for (stop, mut task) in running {
        if late.is_empty() {
            tokio::select! {
                _ = &mut task => continue,
                () = over.as_mut() => {}
            }
        }
        stop.cancel();
        late.push(task);
    }
    part.gracefully(late).await;
}
