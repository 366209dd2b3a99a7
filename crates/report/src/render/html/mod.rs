//! `report.html`: one file that needs nothing else. No network, no fonts, no library; light and dark, on a telephone and
//! on paper; readable without script, which only adds values under the pointer.
//!
//! The template escapes whatever it is given; the only markup made here is the charts' SVG, which consists of numbers.

mod chart;
mod charts;
mod health;
mod scale;
mod together;

use askama::Template;

use self::{
    chart::{Band, Drawn, bands},
    charts::Timeline,
    health::Stretch,
    scale::{Mark, time_marks},
    together::DrawnTogether,
};
use super::sections::{self, Align, Detail, Figure, Section, Tone};
use crate::{OpenedRun, Verdict, record::Ledger};

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    run: &'a OpenedRun,
    css: &'static str,
    js: &'static str,
    verdict: Verdict,
    /// `good`, `bad` or `open`: the colour of the page.
    mood: &'static str,
    story: String,
    reasons: Vec<String>,
    figures: Vec<Figure>,
    account: Vec<Share>,
    lead: Vec<Section>,
    rest: Vec<Section>,
    /// Of a run with faults; it has the health in it.
    overview: Option<DrawnTogether>,
    health: Vec<Stretch>,
    health_marks: Vec<Mark>,
    health_bands: Vec<Band>,
    charts: Vec<Drawn>,
    resolved: String,
    started: String,
}

/// A part of the acknowledged tasks.
struct Share {
    name: &'static str,
    number: String,
    percent: f64,
    class: &'static str,
}

/// What stands above the charts: the verdict's reasons.
const LEAD: [&str; 7] = ["experiment", "phases", "times", "budget", "thresholds", "ledger", "findings"];

/// The whole page.
#[must_use]
pub fn html(run: &OpenedRun) -> String {
    let timeline = Timeline::of(run);
    let verdict = run.verdict();
    let (lead, rest) = sections::all(run, Detail::Full).into_iter().partition(|section| LEAD.contains(&section.id));
    let resolved = &run.record.scenario.resolved;
    let page = Page {
        run,
        css: include_str!("../../../templates/report.css"),
        js: include_str!("../../../templates/report.js"),
        verdict,
        mood: match verdict {
            Verdict::Passed => "good",
            Verdict::Loss | Verdict::ExperimentFailed | Verdict::ThresholdFailed => "bad",
            Verdict::CouldNotRun | Verdict::Invalid | Verdict::Unsettled | Verdict::Interrupted => "open",
        },
        story: sections::story(&run.record),
        reasons: Verdict::reasons(&run.record),
        figures: sections::figures(&run.record),
        account: run.record.ledger.as_ref().map(account).unwrap_or_default(),
        lead,
        rest,
        health_marks: time_marks(timeline.end_ms()),
        health_bands: bands(&run.record.faults, timeline.end_ms()),
        health: health::of_seconds(run, timeline.end_ms()),
        overview: charts::overview(run, &timeline),
        charts: charts::all(run, &timeline),
        resolved: if resolved.is_null() { String::new() } else { format!("{resolved:#}") },
        started: run.record.started_at.strftime("%-d %B %Y, %H:%M:%S UTC").to_string(),
    };
    page.render().expect("the template writes to memory only")
}

/// What became of the acknowledged tasks, as shares of a bar.
fn account(ledger: &Ledger) -> Vec<Share> {
    let all = ledger.acknowledged;
    let accounted = all.saturating_sub(ledger.lost + ledger.pending);
    [("accounted for", accounted, "good"), ("pending", ledger.pending, "open"), ("lost", ledger.lost, "bad")]
        .into_iter()
        .filter(|(_, number, _)| *number > 0)
        .map(|(name, number, class)| Share {
            name,
            number: super::thousands(number),
            percent: number as f64 * 100.0 / all.max(1) as f64,
            class,
        })
        .collect()
}

impl Section {
    /// The class of a cell: its alignment and its tone.
    fn class(&self, column: &usize, tone: &Tone) -> String {
        format!("{} {}", self.head_class(column), tone.class())
    }

    fn head_class(&self, column: &usize) -> &'static str {
        match self.columns[*column].1 {
            Align::Left => "l",
            Align::Right => "r",
        }
    }
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Warn => "open",
            Self::Muted => "muted",
        }
    }
}
