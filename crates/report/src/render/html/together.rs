//! Several charts above each other on one time axis, what the gateways said of their health below them, and the faults across all:
//! what came when, without looking from chart to chart.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    chart::{Band, Chart, Drawn, Frame, Legend, Positions, WIDTH, bands, draw_bands, script_safe},
    health::Health,
    scale::{Mark, clock, time_marks},
};
use crate::{record::FaultRecord, render::duration};

/// Pixels, since the page does not stretch this drawing in height.
const CAPTION: f64 = 24.0;
const PANEL: f64 = 92.0;
const STRIP: f64 = 12.0;
const BETWEEN: f64 = 7.0;
const NAME: u32 = 18;

/// As many rows of names as there can be; further ones stand on top of each other.
const NAMES: usize = 4;

/// Before it is drawn.
#[derive(Clone, Debug)]
pub(super) struct Together {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// Each of them over time, with the same positions.
    pub(super) charts: Vec<Chart>,
    pub(super) healths: Vec<Health>,
    pub(super) at_ms: Vec<u64>,
    pub(super) end_ms: u64,
}

/// As the template needs it.
#[derive(Clone, Debug)]
pub(super) struct DrawnTogether {
    pub(super) drawn: Drawn,
    /// All of it in a paragraph, for whoever does not see it.
    pub(super) label: String,
    pub(super) captions: Vec<Caption>,
    pub(super) names: Vec<Name>,
    /// Pixels.
    pub(super) names_height: u32,
    pub(super) height: f64,
}

/// What stands above a chart.
#[derive(Clone, Debug)]
pub(super) struct Caption {
    /// Pixels.
    pub(super) top: f64,
    pub(super) title: &'static str,
    pub(super) about: String,
}

/// A fault's name above its beginning.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) name: String,
    /// Pixels.
    pub(super) top: u32,
    /// Percent.
    pub(super) at: f64,
    /// It ends there, because to the right is no room.
    pub(super) ends: bool,
}

impl Together {
    /// None when no line has a value.
    pub(super) fn draw(self, faults: &[FaultRecord]) -> Option<DrawnTogether> {
        if !self.charts.iter().any(Chart::has_a_value) {
            return None;
        }
        let frames: Vec<Frame> = (0..self.charts.len())
            .map(|index| Frame { top: CAPTION + index as f64 * (PANEL + CAPTION), height: PANEL })
            .collect();
        let strips_top = self.charts.len() as f64 * (PANEL + CAPTION) + CAPTION;
        let health_height = match self.healths.len() {
            0 => 0.0,
            several => CAPTION + several as f64 * (STRIP + BETWEEN),
        };
        let height = self.charts.len() as f64 * (PANEL + CAPTION) + health_height;
        let bands = bands(faults, self.end_ms);

        let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" aria-hidden="true">"#);
        let mut y_marks = Vec::new();
        let from_below = |y: f64| 100.0 - y * 100.0 / height;
        for (chart, frame) in self.charts.iter().zip(&frames) {
            chart.draw_grid(*frame, &mut svg);
            let marks = chart.scale.marks().into_iter();
            y_marks.extend(marks.map(|it| Mark { percent: from_below(frame.y(it.percent / 100.0)), ..it }));
        }
        draw_bands(&bands, height, &mut svg);
        for (chart, frame) in self.charts.iter().zip(&frames) {
            chart.draw_values(*frame, &mut svg);
        }
        for (index, health) in self.healths.iter().enumerate() {
            let frame = Frame { top: strips_top + index as f64 * (STRIP + BETWEEN), height: STRIP };
            draw_health(health, frame, &mut svg);
            y_marks.push(Mark { percent: from_below(frame.y(0.5)), text: health.of.clone() });
        }
        svg.push_str("</svg>");

        let mut captions: Vec<Caption> = self
            .charts
            .iter()
            .zip(&frames)
            .map(|(chart, frame)| Caption { top: frame.top - CAPTION, title: chart.title, about: chart.about.clone() })
            .collect();
        if !self.healths.is_empty() {
            let about = "the worse, the higher".into();
            captions.push(Caption { top: strips_top - CAPTION, title: "Health", about });
        }
        let names = names(&bands);
        let about = "shaded: faults, and the time until it worked again".into();
        Some(DrawnTogether {
            label: self.label(faults),
            captions,
            names_height: names.iter().map(|name| name.top + NAME).max().unwrap_or(0),
            names,
            height,
            drawn: Drawn {
                id: self.id,
                title: self.title,
                about,
                svg,
                legend: self.legend(),
                y_marks,
                x_marks: time_marks(self.end_ms),
                is_time: true,
                data: self.data(),
            },
        })
    }

    fn legend(&self) -> Vec<Legend> {
        let mut legend: Vec<Legend> = self.charts.iter().flat_map(Chart::legend).collect();
        let fault = |name: &str, strength| Legend { name: name.into(), class: "fault".into(), strength };
        legend.extend([fault("fault", 0.4), fault("until it worked again", 0.16)]);
        for it in self.healths.iter().flat_map(|health| &health.stretches) {
            let state = Legend { name: it.state.clone(), class: it.class.into(), strength: 1.0 };
            if !legend.iter().any(|known| (&known.name, &known.class) == (&state.name, &state.class)) {
                legend.push(state);
            }
        }
        legend
    }

    fn label(&self, faults: &[FaultRecord]) -> String {
        let of_charts = self.charts.iter().map(|chart| format!("{}, {}", chart.title, chart.about));
        let mut sentences =
            vec![format!("{} over {}.", of_charts.collect::<Vec<_>>().join("; "), duration(self.end_ms as f64))];
        let time = |ms: u64| duration(ms as f64);
        sentences.extend(faults.iter().map(|fault| match fault.until_ms {
            Some(until_ms) => format!("Fault {} from {} to {}.", fault.name, time(fault.at_ms), time(until_ms)),
            None => format!("Fault {} from {} to the end.", fault.name, time(fault.at_ms)),
        }));
        sentences.extend(self.healths.iter().map(|health| {
            let stretch = |it: &super::health::Stretch| format!("{} from {}", it.state, time(it.from_ms));
            let stretches: Vec<String> = health.stretches.iter().map(stretch).collect();
            format!("{}: {}.", health.of, stretches.join(", "))
        }));
        sentences.join(" ")
    }

    /// As that of a chart, but each line says what its numbers are, and a state is a word.
    fn data(&self) -> String {
        let positions = Positions::Time { at_ms: self.at_ms.clone(), end_ms: self.end_ms };
        let words: Vec<String> = self.at_ms.iter().map(|ms| clock(ms / 1000)).collect();
        let mut lines: Vec<_> = self.charts.iter().flat_map(Chart::line_data).collect();
        lines.extend(self.healths.iter().map(|health| {
            let values: Vec<Option<&str>> = self.at_ms.iter().map(|ms| health.at(*ms)).collect();
            json!({"name": health.of, "quantity": "state", "strength": 1, "values": values})
        }));
        script_safe(&json!({"at": positions.rounded(), "words": words, "lines": lines}).to_string())
    }
}

/// The worse, the higher, so that it needs no eye for colours.
fn draw_health(health: &Health, frame: Frame, svg: &mut String) {
    for it in &health.stretches {
        // A second in an hour is no pixel, and the one that is looked for.
        let (high, least) = match it.class {
            "healthy" => (0.4, 0.0),
            "unreachable" => (1.0, 2.0),
            _ => (0.7, 2.0),
        };
        let (x, y) = (it.left * WIDTH / 100.0, frame.y(high));
        let (width, height) = ((it.width * WIDTH / 100.0).max(least), frame.height * high);
        let _ = write!(
            svg,
            r#"<rect class="state {}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#,
            it.class
        );
    }
}

/// Each in the first row in which the one before it leaves room, as on a telephone, where a letter takes two percent.
fn names(bands: &[Band]) -> Vec<Name> {
    let mut taken = [f64::NEG_INFINITY; NAMES];
    let mut sorted: Vec<&Band> = bands.iter().collect();
    sorted.sort_by(|one, two| one.left.total_cmp(&two.left));
    sorted
        .into_iter()
        .map(|band| {
            let width = band.name.chars().count() as f64 * 2.0 + 3.0;
            let ends = band.left + width > 100.0 && band.left > 50.0;
            let (from, to) = if ends { (band.left - width, band.left) } else { (band.left, band.left + width) };
            let row = taken.iter().position(|taken| *taken <= from).unwrap_or(NAMES - 1);
            taken[row] = taken[row].max(to);
            Name { name: band.name.clone(), top: row as u32 * NAME, at: band.left, ends }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_stand_on_each_other() {
        let band = |left: f64, name: &str| Band { name: name.into(), left, width: 1.0, after: 1.0 };
        for (bands, expected) in [
            (vec![band(10.0, "kill"), band(60.0, "stall")], vec![(0, false), (0, false)]),
            (
                vec![band(10.0, "redis-away"), band(15.0, "kill"), band(40.0, "stall")],
                vec![(0, false), (18, false), (0, false)],
            ),
            (vec![band(92.0, "redis-away"), band(95.0, "kill")], vec![(0, true), (18, true)]),
            // A name longer than the page has no room anywhere.
            (vec![band(1.0, &"x".repeat(80))], vec![(0, false)]),
        ] {
            let names = names(&bands).into_iter().map(|name| (name.top, name.ends)).collect::<Vec<_>>();
            assert_eq!(names, expected, "{bands:?}");
        }
        let many: Vec<Band> = (0..20).map(|_| band(5.0, "kill")).collect();
        assert!(names(&many).iter().all(|name| name.top < 4 * NAME));
    }
}
