//! The account of every task, class by class: what went in, what came out, and what should be zero.

use super::{Align, Cell, Section, Tone};
use crate::RunRecord;

/// Five rows make a column of the page.
pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let ledger = record.ledger.as_ref()?;
    let columns = [("class", Align::Left), ("tasks", Align::Right), ("meaning", Align::Left)];
    let mut section = Section::new("ledger", "Ledger", &columns);
    let mut row = |class: &str, tasks: Cell, meaning: &str| section.row([class.into(), tasks, Cell::muted(meaning)]);
    row("published", ledger.published.into(), "attempts to publish");
    row("acknowledged", ledger.acknowledged.into(), "the target promised them");
    row("refused", ledger.refused.into(), "the target said no");
    row("unknown", ledger.unknown.into(), "no answer: accepted or not");
    row("recovered", ledger.recovered.into(), "no answer, and delivered anyway");

    row("delivered", ledger.delivered.into(), "delivered at least once");
    row("acked", ledger.acked.into(), "finished by a worker");
    row("dead-lettered", ledger.dead_lettered.into(), "ended in the dead letters");
    let explained = ledger.duplicated.explained.into();
    row("duplicated, explained", explained, "again after a nack, a vanished worker, a restart");
    let unexplained = Cell::should_be_zero(ledger.duplicated.unexplained, Tone::Warn);
    row("duplicated, unexplained", unexplained, "again after nothing that the storm knows of");

    row("lost", Cell::should_be_zero(ledger.lost, Tone::Bad), "acknowledged, and gone");
    row("unexpected", Cell::should_be_zero(ledger.unexpected, Tone::Bad), "delivered, and never published, or refused");
    row("pending", Cell::should_be_zero(ledger.pending, Tone::Warn), "acknowledged, and still waiting at the end");
    row("reordered", Cell::should_be_zero(ledger.reordered, Tone::Warn), "delivered out of the order of their key");
    let mut notes = Vec::new();
    if !ledger.settled {
        notes.push("The lanes were not quiet at the end, so the account is not closed.".to_owned());
    }
    if let Some(may_lose) = &record.target.may_lose {
        notes.push(format!("What an acknowledgement allows: {may_lose}."));
    }
    section.note = (!notes.is_empty()).then(|| notes.join(" "));
    Some(section)
}
