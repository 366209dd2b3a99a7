//! What every rendering shows, in the order in which it matters, as plain tables: a rendering only decides how they look.
//!
//! A section exists only when the run has something to say in it. Cells are text as people read it, not yet escaped:
//! escaping belongs to whoever knows the target.

mod configuration;
mod errors;
mod experiment;
mod faults;
mod feed;
mod findings;
mod health;
mod lanes;
mod latency;
mod ledger;
mod metrics;
mod resources;
mod sessions;
mod story;
mod thresholds;

pub(super) use story::{Figure, figures, story};

use crate::OpenedRun;

/// How much a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// What fits a terminal.
    Short,
    /// Everything.
    Full,
}

/// What a cell says beyond its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Warn,
    Muted,
}

/// A piece of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// How a column is aligned: words to the left, numbers to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table with a title.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// Stable, for links and styles.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// A sentence below the table.
    pub(super) note: Option<String>,
    pub(super) columns: Vec<(&'static str, Align)>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// Long, and read by few: folded where a rendering can fold.
    pub(super) folded: bool,
    /// The last column is too long for a line of a terminal, and stands below its row there.
    pub(super) below: bool,
}

impl Section {
    pub(super) fn new(id: &'static str, title: &'static str, columns: &[(&'static str, Align)]) -> Self {
        Self { id, title, note: None, columns: columns.to_vec(), rows: Vec::new(), folded: false, below: false }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "{}", self.id);
        self.rows.push(cells);
    }

    /// Nothing to say, nothing to show.
    fn unless_empty(self) -> Option<Self> {
        (!self.rows.is_empty()).then_some(self)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        super::thousands(number).into()
    }
}

impl Cell {
    pub(super) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// A count that should be zero: bad when it is not, quiet when it is.
    fn should_be_zero(number: u64, tone: Tone) -> Self {
        Self::from(number).tone(if number == 0 { Tone::Muted } else { tone })
    }

    pub(super) fn muted(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Muted }
    }
}

/// All sections of a run that have something to say.
pub(super) fn all(run: &OpenedRun, detail: Detail) -> Vec<Section> {
    let record = &run.record;
    [
        experiment::section(record),
        experiment::phases(record),
        experiment::times_taken(record),
        experiment::budget(record),
        thresholds::section(record),
        ledger::section(record),
        findings::section(record, detail),
        feed::section(record),
        latency::section(record),
        lanes::section(record),
        sessions::section(record),
        errors::section(record),
        faults::section(record),
        health::section(record, detail),
        resources::section(record),
        latency::by_tag(record, detail),
        metrics::section(record, detail),
        configuration::section(run, detail),
    ]
    .into_iter()
    .flatten()
    .collect()
}
