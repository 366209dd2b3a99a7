//! One screen: what comes in and goes out, how long it takes, what waits where, how much longer.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Gauge, Paragraph, Row, Sparkline, Table};

use super::{Phase, View, ms, per_second, total, trend};
use crate::scenario::{Scenario, show_span};

/// Seconds in the curves, and lines of what happened.
const SECONDS: usize = 120;
const LINES: usize = 4;

pub(crate) struct Screen {
    terminal: DefaultTerminal,
    title: String,
    duration: Duration,
    happened: VecDeque<String>,
    acknowledged: VecDeque<u64>,
    done: VecDeque<u64>,
    at: Duration,
}

impl Screen {
    pub(super) fn open(scenario: &Scenario, target: &str) -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        // Keys are not read, so Ctrl-C must stay a signal.
        crossterm::terminal::disable_raw_mode()?;
        Ok(Self {
            terminal,
            title: format!(" squall run {}  →  {target} ", scenario.name),
            duration: scenario.duration(),
            happened: VecDeque::new(),
            acknowledged: VecDeque::new(),
            done: VecDeque::new(),
            at: Duration::ZERO,
        })
    }

    pub(super) fn say(&mut self, text: &str) {
        if self.happened.len() == LINES {
            self.happened.pop_front();
        }
        self.happened.push_back(format!("{:>6}  {text}", show_span(Duration::from_secs(self.at.as_secs()))));
    }

    pub(super) fn second(&mut self, view: &View<'_>) {
        self.at = view.at;
        let tasks = total(view, "tasks_published") > 0;
        let (first, second) = if tasks { ("tasks_acknowledged", "tasks_acked") } else { ("http_reqs", "http_reqs") };
        for (curve, counter) in [(&mut self.acknowledged, first), (&mut self.done, second)] {
            if curve.len() == SECONDS {
                curve.pop_front();
            }
            curve.push_back(per_second(view, counter) as u64);
        }
        let Self { terminal, title, duration, happened, acknowledged, done, .. } = self;
        let picture = Picture { view, title, duration: *duration, happened, acknowledged, done, tasks };
        // A terminal that has gone away is no reason to end the run.
        let _ = terminal.draw(|frame| picture.draw(frame));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

struct Picture<'a> {
    view: &'a View<'a>,
    title: &'a str,
    duration: Duration,
    happened: &'a VecDeque<String>,
    acknowledged: &'a VecDeque<u64>,
    done: &'a VecDeque<u64>,
    tasks: bool,
}

const DIM: Style = Style::new().fg(Color::DarkGray);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

impl Picture<'_> {
    fn draw(&self, frame: &mut Frame<'_>) {
        let depths = self.depths();
        let heights = [
            Constraint::Length(3),
            Constraint::Length(6),
            Constraint::Min(4 + depths.len().min(12) as u16),
            Constraint::Length(LINES as u16 + 2),
        ];
        let [progress, curves, middle, bottom] = Layout::vertical(heights).areas(frame.area());
        self.draw_progress(frame, progress);
        let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(curves);
        let (first, second) = if self.tasks { ("acknowledged/s", "done/s") } else { ("requests/s", "requests/s") };
        draw_curve(frame, left, first, self.acknowledged, Color::Cyan);
        draw_curve(frame, right, second, self.done, Color::Green);
        let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(middle);
        self.draw_latency(frame, left);
        draw_depths(frame, right, &depths);
        let lines: Vec<_> = self.happened.iter().map(|line| Line::from(line.as_str())).collect();
        let block = Block::new().borders(Borders::TOP).title(" what happened ").border_style(DIM);
        frame.render_widget(Paragraph::new(lines).block(block), bottom);
    }

    fn draw_progress(&self, frame: &mut Frame<'_>, area: Rect) {
        let at = self.view.at.min(self.duration);
        let ratio = at.as_secs_f64() / self.duration.as_secs_f64().max(0.001);
        let whole = |span: Duration| show_span(Duration::from_secs(span.as_secs()));
        let label = match self.view.phase {
            Phase::Load => format!("{} of {}, {} left", whole(at), whole(self.duration), whole(self.view.left)),
            Phase::Settle => "load is over: waiting until the lanes are quiet".to_owned(),
        };
        let color = match self.view.sample.health.as_deref() {
            Some("healthy") | None => Color::Green,
            Some("degraded" | "draining") => Color::Yellow,
            Some(_) => Color::Red,
        };
        let block = Block::new().borders(Borders::TOP).title(Span::styled(self.title, BOLD)).border_style(DIM);
        let gauge = Gauge::default().block(block).gauge_style(Style::new().fg(color)).ratio(ratio.clamp(0.0, 1.0));
        frame.render_widget(gauge.label(label), area);
    }

    fn draw_latency(&self, frame: &mut Frame<'_>, area: Rect) {
        let shown = [
            ("task", "task_latency"),
            ("publish", "publish_latency"),
            ("delivery", "delivery_latency"),
            ("feed", "feed_latency"),
            ("request", "http_req_duration"),
            ("own lateness", "generator_lateness"),
        ];
        let mut rows = Vec::new();
        for (name, metric) in shown {
            if let Some(trend) = trend(self.view, metric) {
                let cells = [Some(0.5), Some(0.99), None].map(|q| ms(q.map_or(trend.max(), |q| trend.quantile(q))));
                let [p50, p99, max] = cells;
                rows.push(Row::new([name.to_owned(), p50, p99, max]));
            }
        }
        let sample = self.view.sample;
        let mut also = Vec::new();
        if let Some(active) = sample.sessions.get("active") {
            also.push(format!("sessions {active}"));
        }
        if let Some(vus) = sample.gauges.get("vus") {
            also.push(format!("VUs {vus}"));
        }
        if let Some(process) = &sample.target {
            also.push(format!("target {:.0} % CPU, {} MB", process.cpu_percent, process.rss_bytes >> 20));
        }
        let errors: u64 = sample.errors.values().sum();
        rows.push(Row::new([String::new()]));
        let style = if errors > 0 { Style::new().fg(Color::Red) } else { DIM };
        let header = Row::new(["latency ms", "p50", "p99", "max"]).style(BOLD);
        let widths = [Constraint::Length(14), Constraint::Length(9), Constraint::Length(9), Constraint::Length(9)];
        let [table, foot] = Layout::vertical([Constraint::Min(3), Constraint::Length(2)]).areas(area);
        frame.render_widget(Table::new(rows, widths).header(header), table);
        let foot_lines = vec![
            Line::from(also.join("   ")),
            Line::styled(format!("errors {errors}/s, {} in all", total(self.view, "errors")), style),
        ];
        frame.render_widget(Paragraph::new(foot_lines), foot);
    }

    /// Ready by priority, then delayed and leased, for each lane.
    fn depths(&self) -> BTreeMap<&str, [u64; 5]> {
        let mut lanes: BTreeMap<&str, [u64; 5]> = BTreeMap::new();
        for depth in &self.view.sample.depths {
            let row = lanes.entry(&depth.lane).or_default();
            let column = ["high", "normal", "low"].iter().position(|name| *name == depth.priority).unwrap_or(1);
            row[column] += depth.ready;
            row[3] += depth.delayed;
            row[4] += depth.leased;
        }
        lanes
    }
}

fn draw_curve(frame: &mut Frame<'_>, area: Rect, name: &str, values: &VecDeque<u64>, color: Color) {
    let width = usize::from(area.width.saturating_sub(2));
    let shown: Vec<u64> = values.iter().skip(values.len().saturating_sub(width)).copied().collect();
    let title = format!(" {name}  {} ", shown.last().copied().unwrap_or(0));
    let block = Block::new().borders(Borders::TOP).title(title).border_style(DIM);
    frame.render_widget(Sparkline::default().block(block).data(&shown).style(Style::new().fg(color)), area);
}

fn draw_depths(frame: &mut Frame<'_>, area: Rect, depths: &BTreeMap<&str, [u64; 5]>) {
    let header = Row::new(["lane", "high", "normal", "low", "delayed", "leased"]).style(BOLD);
    let row = |(lane, counts): (&&str, &[u64; 5])| {
        Row::new(std::iter::once((*lane).to_owned()).chain(counts.iter().map(ToString::to_string)).collect::<Vec<_>>())
    };
    let widths = [
        Constraint::Min(10),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(6),
    ];
    frame.render_widget(Table::new(depths.iter().map(row), widths).header(header), area);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use squall_report::SecondSample;
    use squall_report::series::{DepthSample, ProcessSample};
    use squall_report::statistics::{Registry, Shard, Tally, Totals};

    use super::*;
    use crate::metrics::{ErrorKind, Ids};

    /// Half-way through a run that publishes: latencies, depths, sessions and errors.
    #[test]
    fn the_screen_says_rate_latency_depths_sessions_errors_and_time_left() {
        let mut registry = Registry::new();
        let ids = Ids::new(&mut registry, &["gpt4".to_owned()], &["steady".to_owned()]).unwrap();
        let registry = Arc::new(registry);
        let (mut totals, mut shard) = (Totals::new(registry.clone()), Shard::new(&registry));
        for ms in 1..=100 {
            shard.count(ids.tasks_published[0][1], 12);
            shard.trend(ids.task_latency[0][1], ms * 1_000);
        }
        shard.count(ids.error(ErrorKind::STATUS), 3);
        totals.absorb(&shard.take(Tally::new(&registry)));
        totals.close_second();
        let depth = |priority: &str, ready, delayed, leased| DepthSample {
            lane: "gpt4".to_owned(),
            priority: priority.to_owned(),
            ready,
            delayed,
            leased,
        };
        let sample = SecondSample {
            span_ms: 1_000,
            depths: vec![depth("high", 1, 0, 0), depth("normal", 22, 4, 5), depth("low", 333, 0, 0)],
            sessions: [("active".to_owned(), 7)].into(),
            gauges: [("vus".to_owned(), 64.0)].into(),
            errors: [("status".to_owned(), 3)].into(),
            health: Some("healthy".to_owned()),
            target: Some(ProcessSample { cpu_percent: 42.0, rss_bytes: 80 << 20, ..ProcessSample::default() }),
            ..SecondSample::default()
        };
        let (at, left) = (Duration::from_secs(9), Duration::from_secs(11));
        let view = View { phase: Phase::Load, at, left, sample: &sample, totals: &totals };
        let happened = VecDeque::from(["    9s  SIGKILL of the own gateway, restart after 1s".to_owned()]);
        let (acknowledged, done) = (VecDeque::from([800, 1_200]), VecDeque::from([700, 1_100]));
        let picture = Picture {
            view: &view,
            title: " squall run demo  →  http://127.0.0.1:4000 ",
            duration: Duration::from_secs(20),
            happened: &happened,
            acknowledged: &acknowledged,
            done: &done,
            tasks: true,
        };
        let mut terminal = Terminal::new(TestBackend::new(96, 26)).unwrap();
        terminal.draw(|frame| picture.draw(frame)).unwrap();
        insta::assert_snapshot!(terminal.backend());
        // However small the terminal is, drawing on it does not panic.
        for (width, height) in [(1, 1), (20, 5), (300, 3)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| picture.draw(frame)).unwrap();
        }
    }
}
