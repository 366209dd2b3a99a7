//! What a run that was killed would have summed up: its totals, made again from its seconds.
//!
//! Thresholds are not evaluated and the ledger is not closed: both need an end, and this run has none.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    RunRecord, SecondSample,
    record::{LaneRecord, ProcessRecord},
    series::ProcessSample,
    statistics::{Gauge, Measured, MetricSummary, Rate, Registry, Trend},
};

/// Fills in what the record does not have and the seconds know; whole metrics only, since the seconds have no tags.
pub(crate) fn rebuild(record: &mut RunRecord, series: &[SecondSample]) {
    let Some(last) = series.last() else { return };
    record.duration.load_ms = record.duration.load_ms.max(last.t_ms);
    if record.metrics.is_empty() {
        record.metrics = metrics(series);
    }
    if record.lanes.is_empty() {
        record.lanes = lanes(series);
    }
    if record.errors.is_empty() {
        for (kind, number) in series.iter().flat_map(|second| &second.errors) {
            *record.errors.entry(kind.clone()).or_default() += number;
        }
    }
    let resources = &mut record.resources;
    if resources.target.is_none() {
        resources.target = process(series.iter().filter_map(|second| second.target));
    }
    if resources.gateways.is_empty() {
        let numbers: BTreeSet<u32> = series.iter().flat_map(|second| second.gateways.keys().copied()).collect();
        let of = |number: u32| process(series.iter().filter_map(|second| second.gateways.get(&number).copied()));
        resources.gateways = numbers.into_iter().filter_map(|number| Some((number, of(number)?))).collect();
    }
    if resources.storm.is_none() {
        resources.storm = process(series.iter().filter_map(|second| second.storm));
    }
}

fn metrics(series: &[SecondSample]) -> Vec<MetricSummary> {
    let mut measured: BTreeMap<&str, Measured> = BTreeMap::new();
    for second in series {
        for (name, count) in &second.counters {
            let it = measured.entry(name).or_insert(Measured::Counter(0));
            if let Measured::Counter(sum) = it {
                *sum += count;
            }
        }
        for (name, rate) in &second.rates {
            let it = measured.entry(name).or_insert(Measured::Rate(Rate::default()));
            if let Measured::Rate(sum) = it {
                sum.hits += rate.hits;
                sum.total += rate.total;
            }
        }
        for (name, level) in &second.gauges {
            let it = measured.entry(name).or_insert(Measured::Gauge(None));
            if let Measured::Gauge(gauge) = it {
                let before = gauge.unwrap_or(Gauge { last: *level, min: *level, max: *level });
                *gauge = Some(Gauge { last: *level, min: before.min.min(*level), max: before.max.max(*level) });
            }
        }
        for (name, sample) in &second.trends {
            let it = measured.entry(name).or_insert_with(|| Measured::Trend(Box::default()));
            if let (Measured::Trend(sum), Ok(trend)) = (it, Trend::from_base64(&sample.hdr)) {
                sum.merge(&trend);
            }
        }
    }
    let elapsed_ms = series.iter().map(|second| second.span_ms).sum();
    // In the order of the catalogue; a scenario's own metrics have units that the seconds do not tell.
    let registry = Registry::new();
    let known = registry.metrics().iter();
    known
        .filter_map(|metric| {
            MetricSummary::of(metric, BTreeMap::new(), measured.get(metric.name.as_str())?, elapsed_ms)
        })
        .collect()
}

fn lanes(series: &[SecondSample]) -> Vec<LaneRecord> {
    let mut lanes: Vec<LaneRecord> = Vec::new();
    for depth in series.iter().flat_map(|second| &second.depths) {
        let waiting = depth.ready + depth.delayed;
        match lanes.iter_mut().find(|it| it.lane == depth.lane && it.priority == depth.priority) {
            Some(lane) => (lane.depth_peak, lane.depth_final) = (lane.depth_peak.max(waiting), waiting),
            None => lanes.push(LaneRecord {
                lane: depth.lane.clone(),
                priority: depth.priority.clone(),
                depth_peak: waiting,
                depth_final: waiting,
                ..LaneRecord::default()
            }),
        }
    }
    lanes
}

fn process(samples: impl Iterator<Item = ProcessSample>) -> Option<ProcessRecord> {
    let mut record: Option<ProcessRecord> = None;
    for it in samples {
        let record = record.get_or_insert(ProcessRecord { rss_start_bytes: it.rss_bytes, ..ProcessRecord::default() });
        record.samples += 1;
        record.cpu_avg_percent += (it.cpu_percent - record.cpu_avg_percent) / record.samples as f64;
        record.cpu_max_percent = record.cpu_max_percent.max(it.cpu_percent);
        record.rss_max_bytes = record.rss_max_bytes.max(it.rss_bytes);
        record.rss_end_bytes = it.rss_bytes;
        record.threads_max = record.threads_max.max(it.threads);
        record.fds_max = record.fds_max.max(it.fds);
    }
    record
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::statistics::{Shard, Tally, Totals};

    #[test]
    fn seconds_add_up_to_what_the_run_would_have_said() {
        let mut registry = Registry::new();
        let published = registry.counter("tasks_published", &[]).unwrap();
        let latency = registry.trend("task_latency", &[]).unwrap();
        let success = registry.rate("session_success", &[]).unwrap();
        let vus = registry.gauge("vus", &[]).unwrap();
        let registry = Arc::new(registry);
        let (mut totals, mut shard, mut series) = (Totals::new(registry.clone()), Shard::new(&registry), Vec::new());
        for second in 1..=5 {
            for value in 0..100 {
                shard.count(published, 1);
                shard.trend(latency, second * 1000 + value * 17);
                shard.rate(success, value % 10 != 0);
            }
            shard.set(vus, second as f64);
            totals.absorb(&shard.take(Tally::new(&registry)));
            totals.close_second();
            let target =
                ProcessSample { cpu_percent: 10.0 * second as f64, rss_bytes: 100 * second, threads: 3, fds: 9 };
            let gateways = [(1, target), (2, target)].into();
            series.push(SecondSample { target: Some(target), gateways, ..totals.sample(second * 1000, 1000) });
        }
        let mut record = RunRecord::default();
        rebuild(&mut record, &series);

        let should = totals.summaries(5_000);
        assert_eq!(record.metrics.len(), should.len());
        for (is, should) in record.metrics.iter().zip(&should) {
            match (is.trend(), should.trend()) {
                // Minimum, maximum and mean come from buckets of three digits here, and are exact there.
                (Some(is), Some(should)) => {
                    assert_eq!((is.count, &is.hdr), (should.count, &should.hdr));
                    assert!((is.p99 - should.p99).abs() < 0.01 && (is.avg - should.avg).abs() < 0.01);
                }
                _ => assert_eq!(is, should),
            }
        }
        let target = record.resources.target.unwrap();
        assert_eq!(record.resources.gateways, [(1, target.clone()), (2, target.clone())].into());
        assert_eq!(
            (target.cpu_avg_percent, target.rss_start_bytes, target.rss_end_bytes, target.samples),
            (30.0, 100, 500, 5)
        );
        assert_eq!(record.duration.load_ms, 5_000);
    }
}
