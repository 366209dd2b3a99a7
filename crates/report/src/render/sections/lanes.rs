//! Tasks and queue depths by lane and priority.

use super::{Align, Cell, Section, Tone};
use crate::{RunRecord, record::LaneRecord};

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let numbers = ["published", "acknowl.", "refused", "delivered", "acked", "dead", "deepest", "at end"];
    let columns: Vec<_> = [("lane", Align::Left), ("priority", Align::Left)]
        .into_iter()
        .chain(numbers.map(|name| (name, Align::Right)))
        .collect();
    let mut section = Section::new("lanes", "Tasks by lane and priority", &columns);
    // A run that was killed knows the depths, and not whose tasks they were: unknown is not zero.
    let counted = record.lanes.iter().any(|lane| lane.published + lane.delivered + lane.acked > 0);
    for lane in &record.lanes {
        let mut cells = cells(lane);
        if !counted {
            cells[..6].fill(Cell::default());
        }
        section.row([lane.lane.as_str().into(), lane.priority.as_str().into()].into_iter().chain(cells));
    }
    if counted && record.lanes.len() > 1 {
        let total = record.lanes.iter().fold(LaneRecord::default(), |sum, lane| LaneRecord {
            published: sum.published + lane.published,
            acknowledged: sum.acknowledged + lane.acknowledged,
            refused: sum.refused + lane.refused,
            delivered: sum.delivered + lane.delivered,
            acked: sum.acked + lane.acked,
            dead_lettered: sum.dead_lettered + lane.dead_lettered,
            depth_final: sum.depth_final + lane.depth_final,
            ..sum
        });
        let mut cells = cells(&total);
        // The deepest moments of different lanes are different moments, so that they have no sum.
        cells[6] = Cell::default();
        section.row(["all".into(), Cell::default()].into_iter().chain(cells));
    }
    section.note = Some("Depths are what the target said once a second, ready and delayed together.".into());
    section.unless_empty()
}

fn cells(lane: &LaneRecord) -> [Cell; 8] {
    [
        lane.published.into(),
        lane.acknowledged.into(),
        Cell::should_be_zero(lane.refused, Tone::Plain),
        lane.delivered.into(),
        lane.acked.into(),
        Cell::should_be_zero(lane.dead_lettered, Tone::Plain),
        lane.depth_peak.into(),
        Cell::should_be_zero(lane.depth_final, Tone::Warn),
    ]
}
