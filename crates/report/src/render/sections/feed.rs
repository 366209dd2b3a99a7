//! What the subscribers saw of the feed, and the places where it was not as it should be.

use super::{Align, Cell, Section, Tone};
use crate::{RunRecord, render::thousands};

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let feed = record.feed.as_ref()?;
    let columns = [("what", Align::Left), ("events", Align::Right), ("meaning", Align::Left)];
    let mut section = Section::new("feed", "Feed", &columns);
    let mut row = |what: &str, events: Cell, meaning: &str| section.row([what.into(), events, Cell::muted(meaning)]);
    row("received", feed.events.into(), "by all subscribers together");
    row("missing", Cell::should_be_zero(feed.gaps, Tone::Bad), "skipped without a word");
    row("repeated", Cell::should_be_zero(feed.repeats, Tone::Bad), "an offset that had come before");
    row(
        "different",
        Cell::should_be_zero(feed.conflicts, Tone::Bad),
        "another event at the same offset, for another one",
    );
    if let Some(shortfall) = feed.shortfall {
        row("short of", Cell::should_be_zero(shortfall, Tone::Warn), "not reached when the lanes were quiet");
    }
    for finding in &feed.findings {
        let place = Cell::from(finding.offset);
        section.row([Cell::from(finding.class.as_str()).tone(Tone::Bad), place, finding.detail.as_str().into()]);
    }
    let mut notes = Vec::new();
    if !feed.findings.is_empty() {
        notes.push("Of a finding, the number is the offset.".to_owned());
    }
    if feed.findings_omitted > 0 {
        notes.push(format!("{} more are counted above and not listed here.", thousands(feed.findings_omitted)));
    }
    if feed.not_compared > 0 {
        notes.push(format!(
            "{} were not compared between subscribers, because one was too far behind the others.",
            thousands(feed.not_compared)
        ));
    }
    section.note = (!notes.is_empty()).then(|| notes.join(" "));
    Some(section)
}
