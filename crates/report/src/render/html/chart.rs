//! A chart as inline SVG: lines or a stack over time, fault windows as bands, no script needed to see it.
//!
//! The drawing is stretched to whatever width the page has, while the marks are text beside it, so that it is as readable
//! on a telephone and on paper as on a screen. The values are given to the page's script as well, for pointing at them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::scale::{Mark, Scale, time_marks};
use crate::record::FaultRecord;

/// The drawing's own units; the page stretches them.
pub(super) const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 300.0;

/// How the lines are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Each from the axis.
    Lines,
    /// Each on top of the one before; absent values count as zero.
    Stack,
}

/// One line, or one layer of a stack.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// Index of the colour in the style sheet, 0 to 7.
    pub(super) colour: usize,
    /// 1 is strongest; layers of one lane differ in this.
    pub(super) strength: f64,
    /// One value for each position; a gap is drawn as a gap.
    pub(super) values: Vec<Option<f64>>,
}

/// What the positions are.
#[derive(Clone, Debug)]
pub(super) enum Positions {
    /// Milliseconds since the start of the load, on an axis of that length.
    Time { at_ms: Vec<u64>, end_ms: u64 },
    /// Anything else: fractions of the axis, a word for each, and the marks.
    Other { at: Vec<(f64, String)>, marks: Vec<Mark> },
}

/// A chart before it is drawn.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What one sees, in a sentence.
    pub(super) about: String,
    pub(super) shape: Shape,
    pub(super) scale: Scale,
    pub(super) positions: Positions,
    pub(super) lines: Vec<Line>,
}

/// A chart as the template needs it.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) about: String,
    /// Trusted markup, made of numbers only.
    pub(super) svg: String,
    pub(super) legend: Vec<Legend>,
    pub(super) y_marks: Vec<Mark>,
    pub(super) x_marks: Vec<Mark>,
    pub(super) is_time: bool,
    /// JSON for the script, with everything that HTML might misread written as `\u`.
    pub(super) data: String,
}

/// A line in the legend.
#[derive(Clone, Debug)]
pub(super) struct Legend {
    pub(super) name: String,
    /// Its colour's in the style sheet.
    pub(super) class: String,
    pub(super) strength: f64,
}

/// Where in a drawing a chart lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) top: f64,
    pub(super) height: f64,
}

impl Frame {
    /// Of a fraction of the axis, 0 at its lower end.
    pub(super) fn y(self, fraction: f64) -> f64 {
        self.top + self.height - fraction * self.height
    }
}

/// A fault window: from the injection to its end, and on to the recovery.
#[derive(Clone, Debug)]
pub(super) struct Band {
    pub(super) name: String,
    pub(super) left: f64,
    pub(super) width: f64,
    pub(super) after: f64,
}

/// Fault windows on a time axis.
pub(super) fn bands(faults: &[FaultRecord], end_ms: u64) -> Vec<Band> {
    let percent = |ms: u64| if end_ms == 0 { 0.0 } else { ms.min(end_ms) as f64 * 100.0 / end_ms as f64 };
    faults
        .iter()
        .map(|fault| {
            let until = fault.until_ms.unwrap_or(end_ms).max(fault.at_ms);
            let recovered = fault.recovered_ms.unwrap_or(end_ms).max(until);
            Band {
                name: fault.name.clone(),
                left: percent(fault.at_ms),
                width: percent(until) - percent(fault.at_ms),
                after: percent(recovered) - percent(until),
            }
        })
        .collect()
}

/// Across a drawing of that height.
pub(super) fn draw_bands(bands: &[Band], height: f64, svg: &mut String) {
    for band in bands {
        let (x, width, after) = (band.left * 10.0, (band.width * 10.0).max(1.5), band.after * 10.0);
        let _ = write!(svg, r#"<rect class="band" x="{x:.1}" width="{width:.1}" height="{height}"/>"#);
        let _ = write!(svg, r#"<rect class="band after" x="{:.1}" width="{after:.1}" height="{height}"/>"#, x + width);
    }
}

impl Chart {
    pub(super) fn has_a_value(&self) -> bool {
        self.lines.iter().any(|line| line.values.iter().any(Option::is_some))
    }

    /// None when no line has a value.
    pub(super) fn draw(self, faults: &[FaultRecord]) -> Option<Drawn> {
        if !self.has_a_value() {
            return None;
        }
        let frame = Frame { top: 0.0, height: HEIGHT };
        let (x_marks, bands, is_time) = match &self.positions {
            Positions::Time { end_ms, .. } => (time_marks(*end_ms), bands(faults, *end_ms), true),
            Positions::Other { marks, .. } => (marks.clone(), Vec::new(), false),
        };
        let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">"#);
        self.draw_grid(frame, &mut svg);
        draw_bands(&bands, HEIGHT, &mut svg);
        self.draw_values(frame, &mut svg);
        svg.push_str("</svg>");
        let (legend, y_marks, data) = (self.legend().collect(), self.scale.marks(), self.data());
        let (id, title, about) = (self.id, self.title, self.about);
        Some(Drawn { id, title, about, svg, legend, y_marks, x_marks, is_time, data })
    }

    pub(super) fn legend(&self) -> impl Iterator<Item = Legend> {
        let of = |line: &Line| Legend {
            name: line.name.clone(),
            class: format!("c{}", line.colour),
            strength: line.strength,
        };
        self.lines.iter().map(of)
    }

    pub(super) fn draw_grid(&self, frame: Frame, svg: &mut String) {
        for mark in self.scale.marks() {
            let y = frame.y(mark.percent / 100.0);
            let _ = write!(svg, r#"<path class="grid" d="M0 {y:.1}H{WIDTH}"/>"#);
        }
    }

    pub(super) fn draw_values(&self, frame: Frame, svg: &mut String) {
        let fractions = self.positions.fractions();
        match self.shape {
            Shape::Lines => self.draw_lines(&fractions, frame, svg),
            Shape::Stack => self.draw_stack(&fractions, frame, svg),
        }
    }

    fn draw_lines(&self, fractions: &[f64], frame: Frame, svg: &mut String) {
        for line in &self.lines {
            let (mut path, mut dots, mut run) = (String::new(), String::new(), Vec::new());
            for (value, x) in line.values.iter().chain([&None]).zip(fractions.iter().chain([&1.0])) {
                match value {
                    Some(value) => run.push((x * WIDTH, frame.y(self.scale.fraction(*value)))),
                    // A value alone between two gaps has no line; a short stroke with round ends shows it as a dot.
                    None if run.len() == 1 => {
                        let _ = write!(dots, "M{:.1} {:.1}h.01", run[0].0, run[0].1);
                        run.clear();
                    }
                    None => {
                        for (index, (x, y)) in run.drain(..).enumerate() {
                            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
                        }
                    }
                }
            }
            let style = format!(r#"stroke-opacity="{:.2}""#, line.strength);
            let _ = write!(svg, r#"<path class="line c{}" {style} d="{path}"/>"#, line.colour);
            if !dots.is_empty() {
                let _ = write!(svg, r#"<path class="line dot c{}" {style} d="{dots}"/>"#, line.colour);
            }
        }
    }

    /// A layer is drawn only where it has a height, from its last zero to its next: a thin line along the axis would
    /// look like a value.
    fn draw_stack(&self, fractions: &[f64], frame: Frame, svg: &mut String) {
        let mut base = vec![0.0; fractions.len()];
        for line in &self.lines {
            let top: Vec<f64> =
                base.iter().zip(&line.values).map(|(base, value)| base + value.unwrap_or(0.0)).collect();
            let point = |at: usize, values: &[f64]| (fractions[at] * WIDTH, frame.y(self.scale.fraction(values[at])));
            let mut path = String::new();
            let mut at = 0;
            while at < top.len() {
                let height = |at: usize| top[at] > base[at];
                if !height(at) {
                    at += 1;
                    continue;
                }
                let end = (at..top.len()).find(|at| !height(*at)).unwrap_or(top.len());
                let reach = at.saturating_sub(1)..(end + 1).min(top.len());
                let forth = reach.clone().map(|at| point(at, &top));
                let back = reach.rev().map(|at| point(at, &base));
                for (index, (x, y)) in forth.chain(back).enumerate() {
                    let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
                }
                path.push('Z');
                at = end;
            }
            let strength = format!(r#"fill-opacity="{0:.2}" stroke-opacity="{0:.2}""#, line.strength);
            let _ = write!(svg, r#"<path class="layer c{}" {strength} d="{path}"/>"#, line.colour);
            base = top;
        }
    }

    fn data(&self) -> String {
        let words = match &self.positions {
            Positions::Time { at_ms, .. } => at_ms.iter().map(|ms| super::scale::clock(ms / 1000)).collect::<Vec<_>>(),
            Positions::Other { at, .. } => at.iter().map(|(_, word)| word.clone()).collect(),
        };
        let lines: Vec<_> = self.line_data().collect();
        script_safe(&json!({"at": self.positions.rounded(), "words": words, "lines": lines}).to_string())
    }

    pub(super) fn line_data(&self) -> impl Iterator<Item = Value> {
        let round = |value: f64| if value.abs() >= 1000.0 { value.round() } else { (value * 1000.0).round() / 1000.0 };
        self.lines.iter().map(move |line| {
            let values: Vec<Option<f64>> = line.values.iter().map(|value| value.map(round)).collect();
            json!({
                "name": line.name, "colour": line.colour, "strength": line.strength,
                "quantity": self.scale.quantity().name(), "values": values,
            })
        })
    }
}

impl Positions {
    fn fractions(&self) -> Vec<f64> {
        match self {
            Self::Time { at_ms, end_ms } => {
                at_ms.iter().map(|ms| if *end_ms == 0 { 0.0 } else { (*ms as f64 / *end_ms as f64).min(1.0) }).collect()
            }
            Self::Other { at, .. } => at.iter().map(|(at, _)| *at).collect(),
        }
    }

    /// For the script, which needs no more than a pixel.
    pub(super) fn rounded(&self) -> Vec<f64> {
        self.fractions().into_iter().map(|at| (at * 10_000.0).round() / 10_000.0).collect()
    }
}

/// JSON that may stand inside a `<script>`: no `</script>`, no `<!--`, and valid JSON all the same.
pub(super) fn script_safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
