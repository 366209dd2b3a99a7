//! What was measured, as a table for people and as `results.json` for programs.
//!
//! A ratio is made within a round, where both sides met the same disk and the same neighbours, and the median of the
//! rounds' ratios is what counts. It is turned so that more than 1 is better for us, whatever the unit.

use std::fmt::Write as _;

use serde::Serialize;

use super::stats::Runs;

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Tasks per second.
    Higher,
    /// Latency, memory.
    Lower,
}

struct System {
    name: String,
    rounds: Runs,
    values: Vec<f64>,
}

struct Comparison {
    ours: String,
    peer: String,
    goal: Option<f64>,
}

struct Measure {
    name: String,
    unit: &'static str,
    better: Better,
    systems: Vec<System>,
    comparisons: Vec<Comparison>,
}

/// All measures, in the order in which they were first named.
#[derive(Default)]
pub struct Report(Vec<Measure>);

/// One line of `results.json`.
#[derive(Serialize)]
struct Line<'a> {
    name: String,
    unit: &'a str,
    ours: f64,
    peer: &'a str,
    peer_value: f64,
    /// More than 1 is better for us.
    ratio: f64,
    /// The ratio that has to be reached, if one was set.
    goal: Option<f64>,
}

impl Report {
    /// Adds one run of one system.
    pub fn add(&mut self, name: &str, unit: &'static str, better: Better, system: &str, value: f64) {
        let at = self.0.iter().position(|m| m.name == name).unwrap_or_else(|| {
            self.0.push(Measure { name: name.into(), unit, better, systems: Vec::new(), comparisons: Vec::new() });
            self.0.len() - 1
        });
        let measure = &mut self.0[at];
        let at = measure.systems.iter().position(|s| s.name == system).unwrap_or_else(|| {
            measure.systems.push(System { name: system.into(), rounds: Runs::default(), values: Vec::new() });
            measure.systems.len() - 1
        });
        measure.systems[at].rounds.push(value);
        measure.systems[at].values.push(value);
    }

    /// Says that `ours` and `peer` are to be compared, and which ratio has to be reached.
    pub fn compare(&mut self, name: &str, ours: &str, peer: &str, goal: Option<f64>) {
        if let Some(measure) = self.0.iter_mut().find(|m| m.name == name) {
            measure.comparisons.push(Comparison { ours: ours.into(), peer: peer.into(), goal });
        }
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for measure in &self.0 {
            let _ = writeln!(text, "\n{} [{}]", measure.name, measure.unit);
            for system in &measure.systems {
                let (median, min, max) = (system.rounds.median(), system.rounds.min(), system.rounds.max());
                let range = format!("({} – {})", figure(min), figure(max));
                let _ = writeln!(text, "    {:<26} {:>12}   {range}", system.name, figure(median));
            }
            for comparison in &measure.comparisons {
                if let Some((_, _, ratios)) = measure.ratios(comparison) {
                    let ratio = ratios.median();
                    let versus = format!("{} / {}", comparison.ours, comparison.peer);
                    let range = format!("({:.2} – {:.2})", ratios.min(), ratios.max());
                    let verdict = match comparison.goal {
                        Some(goal) if ratio >= goal => format!("goal ≥ {goal}: reached"),
                        Some(goal) => format!("goal ≥ {goal}: NOT reached"),
                        None => String::new(),
                    };
                    let _ = writeln!(text, "  × {versus:<44} {ratio:>6.2} {range:<18} {verdict}");
                }
            }
        }
        text
    }

    /// The lines of `results.json`.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut lines = Vec::new();
        for measure in &self.0 {
            for comparison in &measure.comparisons {
                if let Some((ours, peer_value, ratios)) = measure.ratios(comparison) {
                    lines.push(Line {
                        name: format!("{} ({})", measure.name, comparison.ours),
                        unit: measure.unit,
                        ours,
                        peer: &comparison.peer,
                        peer_value,
                        ratio: ratios.median(),
                        goal: comparison.goal,
                    });
                }
            }
        }
        serde_json::to_string_pretty(&lines)
    }
}

impl Measure {
    /// Both medians, and the ratio of every round that both took part in. None when one side was not measured.
    fn ratios(&self, comparison: &Comparison) -> Option<(f64, f64, Runs)> {
        let system = |name: &str| self.systems.iter().find(|s| s.name == name);
        let (ours, peer) = (system(&comparison.ours)?, system(&comparison.peer)?);
        let mut ratios = Runs::default();
        for (a, b) in ours.values.iter().zip(&peer.values) {
            ratios.push(if self.better == Better::Higher { a / b } else { b / a });
        }
        (!ratios.is_empty()).then(|| (ours.rounds.median(), peer.rounds.median(), ratios))
    }
}

/// Thousands with separators, small figures with two digits.
pub fn figure(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_one_is_better_whatever_the_unit() {
        let mut report = Report::default();
        for (ours, peer) in [(200.0, 100.0), (300.0, 100.0), (100.0, 100.0)] {
            report.add("rate", "tasks/s", Better::Higher, "squall", ours);
            report.add("rate", "tasks/s", Better::Higher, "peer", peer);
            report.add("latency", "ms", Better::Lower, "squall", ours);
            report.add("latency", "ms", Better::Lower, "peer", peer);
        }
        report.compare("rate", "squall", "peer", Some(2.0));
        report.compare("latency", "squall", "peer", Some(1.0));
        let lines: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(lines[0]["ratio"], 2.0);
        assert_eq!(lines[1]["ratio"], 0.5);
        let table = report.table();
        assert!(table.contains("goal ≥ 2: reached"), "{table}");
        assert!(table.contains("goal ≥ 1: NOT reached"), "{table}");
    }

    #[test]
    fn a_side_that_was_not_measured_is_left_out() {
        let mut report = Report::default();
        report.add("rate", "tasks/s", Better::Higher, "squall", 1.0);
        report.compare("rate", "squall", "peer", Some(1.0));
        assert_eq!(report.json().unwrap(), "[]");
    }

    #[test]
    fn figures_are_readable() {
        for (value, text) in [(1_234_567.0, "1,234,567"), (999.6, "1,000"), (0.126, "0.13"), (123.0, "123")] {
            assert_eq!(figure(value), text);
        }
    }
}
