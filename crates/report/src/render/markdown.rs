//! `summary.md`: the whole account as GitHub-flavoured Markdown, for pull requests and wikis.

use super::sections::{self, Align, Detail, Section, Tone};
use crate::{OpenedRun, Verdict};

/// The whole summary.
#[must_use]
pub fn markdown(run: &OpenedRun) -> String {
    let verdict = run.verdict();
    let mark = if verdict == Verdict::Passed { "✅" } else { "❌" };
    let mut text = format!(
        "# {mark} {}: {}\n\n{}\n",
        escape(&run.record.scenario.name),
        verdict.headline(),
        escape(&sections::story(&run.record))
    );
    let reasons = Verdict::reasons(&run.record);
    if !reasons.is_empty() {
        text.push('\n');
        reasons.iter().for_each(|reason| text.push_str(&format!("- {}\n", escape(reason))));
    }
    for section in sections::all(run, Detail::Full) {
        // A blank line ends the HTML, so that GitHub reads the table as Markdown again.
        if section.folded {
            text.push_str(&format!("\n<details>\n<summary>{}</summary>\n\n", section.title));
        } else {
            text.push_str(&format!("\n## {}\n\n", section.title));
        }
        table(&section, &mut text);
        if let Some(note) = &section.note {
            text.push_str(&format!("\n{}\n", escape(note)));
        }
        if section.folded {
            text.push_str("\n</details>\n");
        }
    }
    text
}

pub(super) fn table(section: &Section, text: &mut String) {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text.push_str(&line(section.columns.iter().map(|(name, _)| (*name).to_owned()).collect()));
    let rule = |align: &Align| if *align == Align::Left { "---".to_owned() } else { "--:".to_owned() };
    text.push_str(&line(section.columns.iter().map(|(_, align)| rule(align)).collect()));
    for row in &section.rows {
        text.push_str(&line(
            row.iter()
                .map(|cell| match cell.tone {
                    Tone::Bad | Tone::Warn if !cell.text.is_empty() => format!("**{}**", escape(&cell.text)),
                    _ => escape(&cell.text),
                })
                .collect(),
        ));
    }
}

/// Nothing that somebody else named becomes markup, a link, a mention or a new cell.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '|' | '[' | ']' | '!' | '#' | '~' => {
                escaped.push('\\');
                escaped.push(it);
            }
            it if it.is_control() => escaped.push(' '),
            it => escaped.push(it),
        }
    }
    escaped
}
