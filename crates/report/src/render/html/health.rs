//! What the gateways said of their health, as stretches of time.

use std::collections::BTreeMap;

use crate::OpenedRun;

/// One gateway's health, or that of all of them.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// `gateway 2`, or `health` when there is only one.
    pub(super) of: String,
    pub(super) stretches: Vec<Stretch>,
}

/// Some time in which the same was said.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    /// As it was said; somebody else's word.
    pub(super) state: String,
    pub(super) class: &'static str,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    /// Percent of the time axis.
    pub(super) left: f64,
    pub(super) width: f64,
}

impl Stretch {
    fn new(state: &str, from_ms: u64, to_ms: u64, end_ms: u64) -> Self {
        let percent = |ms: u64| ms as f64 * 100.0 / end_ms.max(1) as f64;
        let (left, width) = (percent(from_ms), percent(to_ms) - percent(from_ms));
        Self { state: state.to_owned(), class: class(state), from_ms, to_ms, left, width }
    }
}

impl Health {
    /// At a moment; none before the first word.
    pub(super) fn at(&self, ms: u64) -> Option<&str> {
        let of = |it: &&Stretch| (it.from_ms..it.to_ms).contains(&ms);
        self.stretches.iter().find(of).map(|it| it.state.as_str())
    }
}

/// The class in the style sheet. A word that nobody knows is no good sign.
fn class(state: &str) -> &'static str {
    match state {
        "healthy" => "healthy",
        "degraded" => "degraded",
        "draining" => "draining",
        _ => "unreachable",
    }
}

/// All gateways together, the worst of each second.
pub(super) fn of_seconds(run: &OpenedRun, end_ms: u64) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for second in &run.series {
        let Some(state) = &second.health else { continue };
        let from_ms = match stretches.last() {
            Some(last) if last.state == *state => stretches.pop().map_or(0, |last| last.from_ms),
            _ => second.t_ms.saturating_sub(second.span_ms),
        };
        stretches.push(Stretch::new(state, from_ms, second.t_ms, end_ms));
    }
    stretches
}

/// Each gateway from change to change; where no changes were recorded, the seconds.
pub(super) fn of_gateways(run: &OpenedRun, end_ms: u64) -> Vec<Health> {
    let mut gateways: BTreeMap<u32, Vec<(u64, &str)>> = BTreeMap::new();
    for it in run.record.health.iter().filter(|it| it.at_ms < end_ms) {
        gateways.entry(it.gateway).or_default().push((it.at_ms, &it.status));
    }
    let only = gateways.len() == 1;
    let name = |number| if only { "health".to_owned() } else { format!("gateway {number}") };
    let mut healths: Vec<Health> = gateways
        .into_iter()
        .map(|(number, mut changes)| {
            changes.sort_by_key(|(at_ms, _)| *at_ms);
            let ends = changes.iter().skip(1).map(|(at_ms, _)| *at_ms).chain([end_ms]);
            let stretches =
                changes.iter().zip(ends).map(|((at_ms, state), to_ms)| Stretch::new(state, *at_ms, to_ms, end_ms));
            Health { of: name(number), stretches: stretches.filter(|it| it.to_ms > it.from_ms).collect() }
        })
        .collect();
    if healths.is_empty() {
        healths.push(Health { of: "health".into(), stretches: of_seconds(run, end_ms) });
        healths.retain(|it| !it.stretches.is_empty());
    }
    healths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunRecord, SecondSample, record::HealthChange};

    fn run(changes: &[(u64, u32, &str)], seconds: &[Option<&str>]) -> OpenedRun {
        let change = |(at_ms, gateway, status): &(u64, u32, &str)| HealthChange {
            at_ms: *at_ms,
            gateway: *gateway,
            status: (*status).into(),
            lost: Vec::new(),
        };
        let second = |(index, health): (usize, &Option<&str>)| SecondSample {
            t_ms: (index as u64 + 1) * 1000,
            span_ms: 1000,
            health: health.map(Into::into),
            ..SecondSample::default()
        };
        OpenedRun {
            path: "runs/one".into(),
            record: RunRecord { health: changes.iter().map(change).collect(), ..RunRecord::default() },
            series: seconds.iter().enumerate().map(second).collect(),
            problems: Vec::new(),
        }
    }

    fn told(healths: &[Health]) -> Vec<String> {
        let one = |health: &Health| {
            let stretch = |it: &Stretch| format!("{} {}-{}", it.state, it.from_ms, it.to_ms);
            format!("{}: {}", health.of, health.stretches.iter().map(stretch).collect::<Vec<_>>().join(", "))
        };
        healths.iter().map(one).collect()
    }

    #[test]
    fn from_change_to_change_and_by_the_seconds_where_there_are_none() {
        let (up, down) = ("healthy", "unreachable");
        let seconds = [Some(up), Some(up), None, Some(down)];
        for (changes, expected) in [
            (vec![], vec!["health: healthy 0-2000, unreachable 3000-4000"]),
            (vec![(0, 1, up), (1200, 1, down)], vec!["health: healthy 0-1200, unreachable 1200-4000"]),
            // Two at one moment, and one after the end of the axis.
            (
                vec![(0, 2, up), (0, 1, up), (900, 2, down), (900, 2, up), (5000, 2, down)],
                vec!["gateway 1: healthy 0-4000", "gateway 2: healthy 0-900, healthy 900-4000"],
            ),
        ] {
            assert_eq!(told(&of_gateways(&run(&changes, &seconds), 4000)), expected);
        }
        let healths = of_gateways(&run(&[(500, 1, up)], &[]), 1000);
        assert_eq!((healths[0].at(499), healths[0].at(500), healths[0].at(1000)), (None, Some(up), None));
    }
}
