//! Two runs side by side, for the terminal and for pull requests.

use super::{
    amount,
    markdown::{escape, table as markdown_table},
    sections::{Align, Cell, Section, Tone},
    terminal::{Colour, Paint, clean, table as terminal_table, wrap},
};
use crate::comparison::{Comparison, Outcome};

/// At most 100 columns, the answer first.
#[must_use]
pub fn comparison_terminal(comparison: &Comparison, colour: Colour) -> String {
    let paint = Paint(colour);
    let outcome = comparison.outcome();
    let mark = if outcome.exit_code() == 0 { "✓" } else { "✗" };
    let mut lines =
        vec![String::new(), paint.bold(&format!("{mark} {}", outcome.to_string().to_uppercase()), tone(outcome))];
    lines.extend(wrap(&clean(&sentence(comparison)), "  "));
    lines.push(String::new());
    lines.extend(terminal_table(&section(comparison), paint));
    if !comparison.differences.is_empty() {
        lines.push(String::new());
        lines.push(format!("  {}", paint.bold("What else differs", Tone::Plain)));
        lines.extend(comparison.differences.iter().flat_map(|it| wrap(&clean(it), "  ")));
    }
    lines.push(String::new());
    lines.into_iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// GitHub-flavoured Markdown.
#[must_use]
pub fn comparison_markdown(comparison: &Comparison) -> String {
    let outcome = comparison.outcome();
    let mark = if outcome.exit_code() == 0 { "✅" } else { "❌" };
    let mut text = format!("# {mark} {outcome}\n\n{}\n\n", escape(&sentence(comparison)));
    markdown_table(&section(comparison), &mut text);
    if !comparison.differences.is_empty() {
        text.push_str("\n## What else differs\n\n");
        comparison.differences.iter().for_each(|it| text.push_str(&format!("- {}\n", escape(it))));
    }
    text
}

fn sentence(comparison: &Comparison) -> String {
    format!(
        "{} against the baseline {}. A change matters from {} on; intervals are 95 % and know the jumping within a run only.",
        comparison.candidate,
        comparison.baseline,
        amount(comparison.margin, crate::statistics::Unit::Ratio)
    )
}

fn section(comparison: &Comparison) -> Section {
    let columns = [
        ("figure", Align::Left),
        ("baseline", Align::Right),
        ("now", Align::Right),
        ("change", Align::Right),
        ("95 % interval", Align::Right),
        ("outcome", Align::Left),
    ];
    let mut section = Section::new("comparison", "Comparison", &columns);
    for it in &comparison.figures {
        let percent = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
        let change = if it.baseline > 0.0 { percent(it.candidate / it.baseline) } else { String::new() };
        let interval =
            it.ratio.map_or_else(String::new, |ratio| format!("{} to {}", percent(ratio.low), percent(ratio.high)));
        section.row([
            it.name.as_str().into(),
            amount(it.baseline, it.unit).into(),
            amount(it.candidate, it.unit).into(),
            change.into(),
            Cell::muted(interval),
            Cell::from(it.outcome.to_string()).tone(tone(it.outcome)),
        ]);
    }
    section
}

const fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Pass | Outcome::Improvement => Tone::Good,
        Outcome::Regression => Tone::Bad,
        Outcome::Inconclusive => Tone::Warn,
    }
}
