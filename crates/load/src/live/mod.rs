//! The run on the terminal while it goes on: one screen on a terminal, plain lines otherwise, or nothing. Shows what it is
//! given once a second, and decides nothing.

mod lines;
mod screen;

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use squall_report::SecondSample;
use squall_report::statistics::{Measured, Totals, Trend};

pub(crate) use crate::run::Phase;
use crate::run::Terminal;
use crate::scenario::Scenario;

/// What there is to show of a second.
pub(crate) struct View<'a> {
    pub(crate) phase: Phase,
    /// Since the start of the load.
    pub(crate) at: Duration,
    /// Until its end.
    pub(crate) left: Duration,
    pub(crate) sample: &'a SecondSample,
    pub(crate) totals: &'a Totals,
}

/// Where it is shown.
pub(crate) enum Live {
    Screen(Box<screen::Screen>),
    Lines(lines::Lines),
    Nothing,
}

impl Live {
    pub(crate) fn new(terminal: Terminal, scenario: &Scenario, target: &str, dir: &Path) -> Self {
        match terminal {
            Terminal::None => Self::Nothing,
            Terminal::Auto if std::io::stdout().is_terminal() => match screen::Screen::open(scenario, target) {
                Ok(screen) => Self::Screen(Box::new(screen)),
                // A terminal that cannot be drawn on can still be written to.
                Err(_) => Self::Lines(lines::Lines::new(scenario, target, dir)),
            },
            Terminal::Auto | Terminal::Plain => Self::Lines(lines::Lines::new(scenario, target, dir)),
        }
    }

    /// A second is over.
    pub(crate) fn second(&mut self, view: &View<'_>) {
        match self {
            Self::Screen(screen) => screen.second(view),
            Self::Lines(lines) => lines.second(view),
            Self::Nothing => {}
        }
    }

    /// Something happened that is worth a line.
    pub(crate) fn say(&mut self, text: &str) {
        match self {
            Self::Screen(screen) => screen.say(text),
            Self::Lines(lines) => lines.say(text),
            Self::Nothing => {}
        }
    }

    /// Gives the terminal back.
    pub(crate) fn close(&mut self) {
        *self = Self::Nothing;
    }
}

/// Per second, from a counter of the second.
fn per_second(view: &View<'_>, counter: &str) -> f64 {
    let count = view.sample.counters.get(counter).copied().unwrap_or(0);
    count as f64 * 1000.0 / view.sample.span_ms.max(1) as f64
}

/// The whole run's distribution so far.
fn trend(view: &View<'_>, metric: &str) -> Option<Box<Trend>> {
    match view.totals.run().measure(view.totals.registry(), metric, &[]) {
        Some(Measured::Trend(trend)) if !trend.is_empty() => Some(trend),
        _ => None,
    }
}

/// The whole run's count so far.
fn total(view: &View<'_>, metric: &str) -> u64 {
    match view.totals.run().measure(view.totals.registry(), metric, &[]) {
        Some(Measured::Counter(count)) => count,
        _ => 0,
    }
}

/// Microseconds as milliseconds with as many digits as help.
fn ms(us: Option<u64>) -> String {
    match us.map(|us| us as f64 / 1000.0) {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.2}"),
        Some(ms) if ms < 100.0 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
    }
}
