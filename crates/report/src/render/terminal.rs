//! The summary at the end of a run: at most 100 columns, verdict first, colour only when asked.
//!
//! Names come from scenarios and targets, so control characters are taken out: a lane must not repaint a terminal.

use super::sections::{self, Align, Cell, Detail, Section, Tone};
use crate::{OpenedRun, Verdict};

const WIDTH: usize = 100;

/// Whether escape sequences are wanted; ask whether the output is a terminal, and `NO_COLOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Yes.
    On,
    /// No.
    Off,
}

/// The whole summary, ending with a newline.
#[must_use]
pub fn terminal(run: &OpenedRun, colour: Colour) -> String {
    let paint = Paint(colour);
    let verdict = run.verdict();
    let (mark, tone) = if verdict == Verdict::Passed { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
    let mut lines = vec![
        String::new(),
        format!(
            "{} {}",
            paint.bold(&format!("{mark} {}", verdict.headline().to_uppercase()), tone),
            paint.tone(&clean(&run.record.scenario.name), Tone::Muted)
        ),
    ];
    lines.extend(wrap(&clean(&sections::story(&run.record)), "  "));
    for reason in Verdict::reasons(&run.record) {
        let mut wrapped = wrap(&clean(&reason), "    ");
        if let Some(first) = wrapped.first_mut() {
            *first = format!("  {} {}", paint.tone("•", tone), first.trim_start());
        }
        lines.extend(wrapped);
    }
    for section in sections::all(run, Detail::Short) {
        lines.push(String::new());
        lines.push(format!("  {}", paint.bold(section.title, Tone::Plain)));
        lines.extend(if section.below { below(section.clone(), paint) } else { table(&section, paint) });
        if let Some(note) = &section.note {
            lines.extend(wrap(&clean(note), "  ").iter().map(|line| paint.tone(line, Tone::Muted)));
        }
    }
    lines.push(String::new());
    lines.push(format!("  report  {}", clean(&run.path.join("report.html").display().to_string())));
    lines.push(String::new());
    lines.into_iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The last column goes below each row: names that somebody wants to look up, and sentences, are too long for one line.
fn below(mut section: Section, paint: Paint) -> Vec<String> {
    section.columns.pop();
    let details: Vec<Option<Cell>> = section.rows.iter_mut().map(Vec::pop).collect();
    let mut rows = table(&section, paint).into_iter();
    let mut lines: Vec<String> = rows.next().into_iter().collect();
    for (row, detail) in rows.zip(details) {
        lines.push(row);
        for detail in detail.into_iter().filter(|detail| !detail.text.is_empty()) {
            lines.extend(wrap(&clean(&detail.text), "      ").iter().map(|line| paint.tone(line, detail.tone)));
        }
    }
    lines
}

/// Rows with aligned columns, at most [`WIDTH`] wide.
pub(super) fn table(section: &Section, paint: Paint) -> Vec<String> {
    let rows: Vec<Vec<Cell>> = section
        .rows
        .iter()
        .map(|row| row.iter().map(|cell| Cell { text: clean(&cell.text), tone: cell.tone }).collect())
        .collect();
    let mut widths: Vec<usize> = section.columns.iter().map(|(name, _)| width(name)).collect();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(&cell.text));
        }
    }
    // The last column of words is a sentence, and loses its end first; names lose theirs only when that is not enough.
    let room = WIDTH - 2 - 2 * (widths.len() - 1);
    let words: Vec<usize> = (0..widths.len()).filter(|column| section.columns[*column].1 == Align::Left).collect();
    for column in words.iter().rev() {
        let excess = widths.iter().sum::<usize>().saturating_sub(room);
        let least = if words.last() == Some(column) { 24 } else { 12 };
        widths[*column] -= excess.min(widths[*column].saturating_sub(least));
    }
    let line = |cells: Vec<(String, Tone)>| {
        let cells: Vec<String> = cells
            .into_iter()
            .zip(&section.columns)
            .zip(&widths)
            .map(|(((text, tone), (_, align)), width)| paint.tone(&pad(&text, *width, *align), tone))
            .collect();
        format!("  {}", cells.join("  "))
    };
    let mut lines = Vec::new();
    if section.columns.iter().any(|(name, _)| !name.is_empty()) && section.id != "configuration" {
        lines.push(line(section.columns.iter().map(|(name, _)| ((*name).to_owned(), Tone::Muted)).collect()));
    }
    lines.extend(rows.into_iter().map(|row| line(row.into_iter().map(|cell| (cell.text, cell.tone)).collect())));
    lines
}

fn pad(text: &str, to: usize, align: Align) -> String {
    let is = width(text);
    if is > to {
        return text.chars().take(to.saturating_sub(1)).chain(['…']).collect();
    }
    let space = " ".repeat(to - is);
    match align {
        Align::Left => format!("{text}{space}"),
        Align::Right => format!("{space}{text}"),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Words in lines of at most [`WIDTH`], each indented.
pub(super) fn wrap(text: &str, indent: &str) -> Vec<String> {
    let mut lines = vec![indent.to_owned()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if width(line) + 1 + width(word) > WIDTH && line.len() > indent.len() {
            lines.push(format!("{indent}{word}"));
        } else {
            if line.len() > indent.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

pub(super) fn clean(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}

#[derive(Clone, Copy)]
pub(super) struct Paint(pub(super) Colour);

impl Paint {
    fn tone(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Muted => "2",
        };
        self.code(text, code)
    }

    pub(super) fn bold(self, text: &str, tone: Tone) -> String {
        self.tone(&self.code(text, "1"), tone)
    }

    fn code(self, text: &str, code: &str) -> String {
        match self.0 {
            Colour::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::Off => text.to_owned(),
        }
    }
}
