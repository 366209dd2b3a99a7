//! What a process uses, from `/proc`; and the machine it runs on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use procfs::process::Process;
use procfs::{Current, WithCurrentSystemInfo};
use squall_report::record::{MachineRecord, ProcessRecord};
use squall_report::series::ProcessSample;

/// Looks at one process, also when it is replaced by another.
pub(crate) struct Sampler {
    pid: Option<u32>,
    last: Option<(Instant, u64)>,
    pub(crate) usage: Usage,
}

/// What it used in all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    record: ProcessRecord,
    cpu_percent_sum: f64,
    cpu_samples: u64,
}

/// All gateways of a target, each for itself and together as if they were one process.
pub(crate) struct Samplers {
    each: Vec<Sampler>,
    together: Usage,
    /// Memory of all of them, sample by sample; a run of a day has some 700 KB of it.
    rss_bytes: Vec<u64>,
}

/// Memory is said to grow or not only where there are so many samples.
const LEAST_SAMPLES: usize = 4;

/// By the gateway's number, from 1.
type ByNumber<T> = BTreeMap<u32, T>;

impl Samplers {
    /// Of gateways with these processes.
    pub(crate) fn new(pids: impl IntoIterator<Item = Option<u32>>) -> Self {
        Self { each: pids.into_iter().map(Sampler::new).collect(), together: Usage::default(), rss_bytes: Vec::new() }
    }

    /// The gateway with this index is another process now, or none.
    pub(crate) fn follow(&mut self, gateway: usize, pid: Option<u32>) {
        if let Some(sampler) = self.each.get_mut(gateway) {
            sampler.follow(pid);
        }
    }

    /// All together, and each; the latter is empty when there is only one.
    pub(crate) fn sample(&mut self) -> (Option<ProcessSample>, ByNumber<ProcessSample>) {
        let samples = (1..).zip(&mut self.each).filter_map(|(number, each)| Some((number, each.sample()?)));
        let samples: ByNumber<ProcessSample> = samples.collect();
        let mut together: Option<ProcessSample> = None;
        for sample in samples.values() {
            *together.get_or_insert_default() += *sample;
        }
        if let Some(together) = &together {
            self.together.cpu(together.cpu_percent);
            self.together.add(together);
            self.rss_bytes.push(together.rss_bytes);
        }
        (together, if self.each.len() > 1 { samples } else { ByNumber::new() })
    }

    /// By how many percent their memory was larger in the last quarter than in the second: the first is for warming up. `None` with too
    /// few samples.
    pub(crate) fn memory_growth_percent(&self) -> Option<f64> {
        growth_percent(&self.rss_bytes)
    }

    /// What they used in all, as [`Samplers::sample`].
    pub(crate) fn usage(&self) -> (Option<ProcessRecord>, ByNumber<ProcessRecord>) {
        match self.each.as_slice() {
            [only] => (only.usage.record(), ByNumber::new()),
            several => {
                let each = (1..).zip(several).filter_map(|(number, each)| Some((number, each.usage.record()?)));
                (self.together.record(), each.collect())
            }
        }
    }
}

impl Sampler {
    pub(crate) fn new(pid: Option<u32>) -> Self {
        let mut sampler = Self { pid, last: None, usage: Usage::default() };
        // The first look only sets the mark from which CPU time is counted.
        sampler.last = sampler.look().map(|(ticks, _)| (Instant::now(), ticks));
        sampler
    }

    /// It is another process now, or none.
    pub(crate) fn follow(&mut self, pid: Option<u32>) {
        self.pid = pid;
        self.last = self.look().map(|(ticks, _)| (Instant::now(), ticks));
    }

    /// CPU since the last sample, and the rest as it is. `None` when there is no process, or none that may be seen.
    pub(crate) fn sample(&mut self) -> Option<ProcessSample> {
        let Some((ticks, mut sample)) = self.look() else {
            self.last = None;
            return None;
        };
        let now = Instant::now();
        if let Some((then, before)) = self.last.replace((now, ticks)) {
            sample.cpu_percent = percent(ticks.saturating_sub(before), procfs::ticks_per_second(), now - then);
            self.usage.cpu(sample.cpu_percent);
        }
        self.usage.add(&sample);
        Some(sample)
    }

    fn look(&self) -> Option<(u64, ProcessSample)> {
        let process = Process::new(self.pid? as i32).ok()?;
        let stat = process.stat().ok()?;
        if matches!(stat.state, 'Z' | 'X') {
            return None;
        }
        let sample = ProcessSample {
            cpu_percent: 0.0,
            rss_bytes: stat.rss_bytes().get(),
            threads: stat.num_threads.max(0) as u64,
            fds: process.fd_count().unwrap_or(0) as u64,
        };
        Some((stat.utime + stat.stime, sample))
    }
}

fn growth_percent(samples: &[u64]) -> Option<f64> {
    let quarter = samples.len() / 4;
    if samples.len() < LEAST_SAMPLES {
        return None;
    }
    let sum = |samples: &[u64]| samples.iter().map(|bytes| *bytes as f64).sum::<f64>();
    let (then, last) = (sum(&samples[quarter..2 * quarter]), sum(&samples[samples.len() - quarter..]));
    (then > 0.0).then(|| ((last / then - 1.0) * 1000.0).round() / 10.0)
}

/// CPU in percent of one core, with one decimal.
fn percent(ticks: u64, ticks_per_s: u64, span: Duration) -> f64 {
    let used_s = ticks as f64 / ticks_per_s as f64;
    (used_s / span.as_secs_f64().max(0.001) * 1000.0).round() / 10.0
}

impl Usage {
    fn cpu(&mut self, percent: f64) {
        self.cpu_percent_sum += percent;
        self.cpu_samples += 1;
        self.record.cpu_max_percent = self.record.cpu_max_percent.max(percent);
    }

    fn add(&mut self, sample: &ProcessSample) {
        let record = &mut self.record;
        if record.samples == 0 {
            record.rss_start_bytes = sample.rss_bytes;
        }
        record.samples += 1;
        record.rss_max_bytes = record.rss_max_bytes.max(sample.rss_bytes);
        record.rss_end_bytes = sample.rss_bytes;
        record.threads_max = record.threads_max.max(sample.threads);
        record.fds_max = record.fds_max.max(sample.fds);
    }

    /// `None` without a sample.
    pub(crate) fn record(&self) -> Option<ProcessRecord> {
        let mut record = self.record.clone();
        if self.cpu_samples > 0 {
            record.cpu_avg_percent = (self.cpu_percent_sum / self.cpu_samples as f64 * 10.0).round() / 10.0;
        }
        (record.samples > 0).then_some(record)
    }
}

/// Whether there is such a process, and it has not ended.
pub(crate) fn is_process(pid: u32) -> bool {
    started(pid).is_some()
}

/// When a process was started, in ticks since the machine was; `None` when there is none that lives.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = Process::new(pid as i32).ok()?.stat().ok()?;
    (!matches!(stat.state, 'Z' | 'X')).then_some(stat.starttime)
}

/// The machine that the storm runs on.
pub(crate) fn machine(cores: usize, shared_with_target: bool) -> MachineRecord {
    let kernel = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    let cpu = procfs::CpuInfo::current().ok();
    MachineRecord {
        cores: cores as u32,
        memory_bytes: procfs::Meminfo::current().map_or(0, |memory| memory.mem_total),
        kernel: format!("{} {} {}", kernel("ostype"), kernel("osrelease"), std::env::consts::ARCH),
        cpu_model: cpu.and_then(|cpu| cpu.model_name(0).map(str::to_owned)).unwrap_or_default(),
        shared_with_target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_from_the_second_quarter_to_the_last() {
        assert_eq!(growth_percent(&[1, 1, 100, 100, 5, 5, 150, 150]), Some(50.0));
        assert_eq!(growth_percent(&[9, 9, 100, 100, 100, 100, 100, 100, 100]), Some(0.0));
        assert_eq!(growth_percent(&[1; 3]), None);
        assert_eq!(growth_percent(&[0; 8]), None);
    }

    #[test]
    fn sees_itself_and_nothing_where_nothing_is() {
        let mut own = Sampler::new(Some(std::process::id()));
        let sample = own.sample().unwrap();
        assert!(sample.rss_bytes > 100_000 && sample.threads >= 1 && sample.fds >= 3, "{sample:?}");
        assert_eq!(own.usage.record().unwrap().samples, 1);
        own.follow(None);
        assert_eq!(own.sample(), None);
        assert!(is_process(std::process::id()) && !is_process(u32::MAX / 2));
    }

    #[test]
    fn several_processes_count_together_and_each() {
        let own = Some(std::process::id());
        let mut several = Samplers::new([own, None, own]);
        let (together, each) = several.sample();
        assert_eq!(each.keys().copied().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(together.unwrap().rss_bytes, each[&1].rss_bytes + each[&3].rss_bytes);
        several.follow(2, None);
        assert_eq!(several.sample().1.len(), 1);
        let (together, each) = several.usage();
        assert_eq!((together.unwrap().samples, each[&1].samples, each[&3].samples), (2, 2, 1));
        let mut only = Samplers::new([own]);
        assert!(matches!(only.sample(), (Some(_), each) if each.is_empty()));
        assert!(matches!(only.usage(), (Some(_), each) if each.is_empty()));
    }

    #[test]
    fn cpu_is_in_percent_of_one_core() {
        assert_eq!(percent(50, 100, Duration::from_secs(1)), 50.0);
        assert_eq!(percent(300, 100, Duration::from_secs(2)), 150.0);
        assert_eq!(percent(1, 100, Duration::from_secs(3)), 0.3);
        assert_eq!(percent(0, 100, Duration::ZERO), 0.0);
    }
}
