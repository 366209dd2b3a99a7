//! The tasks that the ledger names.

use super::{Align, Cell, Detail, Section, Tone};
use crate::{RunRecord, record::FindingClass, render::thousands};

/// A terminal shows this many; a page all that the record lists.
const SHORT: usize = 10;

pub(super) fn section(record: &RunRecord, detail: Detail) -> Option<Section> {
    let ledger = record.ledger.as_ref()?;
    let columns = [
        ("class", Align::Left),
        ("task", Align::Left),
        ("lane", Align::Left),
        ("key", Align::Left),
        ("what happened", Align::Left),
    ];
    let mut section = Section { below: true, ..Section::new("findings", "Findings", &columns) };
    let mut findings: Vec<_> = ledger.findings.iter().collect();
    findings.sort_by_key(|finding| finding.class);
    let shown = if detail == Detail::Short { SHORT } else { usize::MAX };
    for finding in findings.iter().take(shown) {
        let tone = match finding.class {
            FindingClass::Lost | FindingClass::Unexpected => Tone::Bad,
            FindingClass::Duplicated | FindingClass::Reordered | FindingClass::Pending => Tone::Warn,
            FindingClass::DeadLettered => Tone::Plain,
        };
        section.row([
            Cell::from(finding.class.as_str()).tone(tone),
            finding.task.as_str().into(),
            finding.lane.as_deref().unwrap_or_default().into(),
            finding.key.as_deref().unwrap_or_default().into(),
            finding.detail.as_str().into(),
        ]);
    }
    let omitted = ledger.findings_omitted + findings.len().saturating_sub(shown) as u64;
    if omitted > 0 {
        section.note = Some(format!("{} more are counted above and not listed here.", thousands(omitted)));
    }
    section.unless_empty()
}
