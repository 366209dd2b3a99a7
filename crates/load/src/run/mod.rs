//! A run, from plan to verdict: starts target and cores, conducts them, waits for quiet, settles accounts, writes the record.

mod account;
mod conductor;
mod disturbance;
mod outcome;
mod settle;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use jiff::Timestamp;
use squall_client::{Endpoint, Endpoints, Options};
use squall_report::record::{DurationRecord, Ended, GatewayRecord, GeneratorRecord, ScenarioRecord, TargetRecord};
use squall_report::statistics::{Registry, Shard, Tally, Totals};
use squall_report::{RunDir, RunRecord, Verdict, durability};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::conductor::Conductor;
pub(crate) use self::conductor::Phase;
use crate::engine::{self, Clock, Comparison, Followers, Run, Ways};
use crate::error::{Error, Result};
use crate::experiment::Judge;
use crate::faults::Link;
use crate::live::Live;
use crate::metrics::{self, Ids};
use crate::rig::Rig;
use crate::scenario::{Overrides, Scenario, show_span, without_password};
use crate::target::{Fleet, Setup, Urls, is_process, machine};

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do.
    pub scenario: Scenario,
    /// What to do differently.
    pub overrides: Overrides,
    /// To whom.
    pub target: Target,
    /// Where the run directory goes.
    pub runs_dir: PathBuf,
    /// What is shown while it runs.
    pub terminal: Terminal,
    /// Fault proxies lie everywhere, and Toxiproxy's API to them listens here.
    pub proxy_api: Option<SocketAddr>,
    /// Of all random choices; absent: a new one, which is in the record.
    pub seed: Option<u64>,
}

/// Whom the storm hits.
#[derive(Clone, Debug)]
pub enum Target {
    /// Gateways of its own: child processes on free ports, with empty data directories. How many, and on which store, the scenario
    /// says.
    Own {
        /// The program; `<program> serve` must start a gateway.
        program: PathBuf,
        /// Leave the data behind.
        keep_data: bool,
        /// What all keys of this run begin with, if its store is a Redis: see [`key_prefix`].
        key_prefix: String,
    },
    /// Something that runs already.
    Url {
        /// `http://host:port`.
        url: String,
        /// Sent as a bearer token.
        token: Option<String>,
        /// Its process, if it is on this machine and its resources are to be watched.
        pid: Option<u32>,
    },
}

/// Keys of a run in a Redis. Whoever knows Redis removes them when the run is over; the storm does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysInRedis {
    /// Where; may hold a password.
    pub url: String,
    /// Who must have signed its certificate; empty: the system's authorities.
    pub ca_file: String,
    /// All of them begin with this and a colon, and nothing else does.
    pub prefix: String,
}

impl Plan {
    /// What the run will leave in a Redis, and is not meant to stay there.
    #[must_use]
    pub fn keys_in_redis(&self) -> Option<KeysInRedis> {
        let Target::Own { keep_data: false, key_prefix, .. } = &self.target else { return None };
        let url = self.overrides.store.as_deref().or_else(|| self.scenario.store_url())?;
        let ca_file = self.scenario.store_setting("ca_file").unwrap_or_default();
        Some(KeysInRedis { url: url.to_owned(), ca_file: ca_file.to_owned(), prefix: key_prefix.clone() })
    }
}

/// A prefix that no other run has. The braces keep all keys in one slot of a cluster.
#[must_use]
pub fn key_prefix() -> String {
    format!("{{squall-storm-{}}}", uuid::Uuid::new_v4().simple())
}

/// What is shown while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Terminal {
    /// A screen if stdout is a terminal, else lines.
    #[default]
    Auto,
    /// A line every few seconds.
    Plain,
    /// Nothing.
    None,
}

/// A run that has come to its end, whatever that was.
#[derive(Debug)]
pub struct Finished {
    /// Its directory.
    pub dir: PathBuf,
    /// The outcome; knows its exit code.
    pub verdict: Verdict,
    /// Everything about it.
    pub record: RunRecord,
}

/// The most cores that generate load. More than that is a matter for several machines.
const MOST_CORES: usize = 16;
/// Cores begin together, so long after they were started.
const RUN_UP: Duration = Duration::from_millis(100);
/// Events of the cores that may wait for the conductor. Cores drop what is only for show when it is full, and wait with
/// the rest.
const EVENTS: usize = 4_096;

/// Carries a plan out. `cancel` ends the load early; what was measured is reported all the same.
///
/// # Errors
/// When there is nothing to report: the plan makes no sense, the target did not start, the directory cannot be written.
pub async fn run(plan: Plan, cancel: CancellationToken) -> Result<Finished> {
    let begun = std::time::Instant::now();
    let mut scenario = plan.scenario;
    plan.overrides.apply(&mut scenario)?;
    let needs_own = !scenario.services.is_empty() || scenario.fault.iter().any(|fault| fault.deed.needs_own_gateway());
    if needs_own && matches!(plan.target, Target::Url { .. }) {
        let message = "has faults or services that need a gateway which the storm starts itself: leave out --target";
        return Err(Error::Usage(format!("scenario {:?} {message}", scenario.name)));
    }
    if matches!(plan.target, Target::Own { .. }) {
        check_store(&scenario)?;
    }
    let lanes = lanes_of(&scenario);
    let loads: Vec<_> = scenario.load.iter().map(|load| load.name.clone()).collect();
    let mut registry = Registry::new();
    let ids = Ids::new(&mut registry, &lanes, &loads).map_err(|error| Error::Usage(error.to_string()))?;
    let registry = Arc::new(registry);
    let thresholds = metrics::thresholds(&scenario.thresholds, &registry);
    let thresholds = thresholds.map_err(|message| usage(&scenario, &message))?;
    let judge = scenario.experiment.clone().map(|experiment| Judge::new(experiment, &registry)).transpose();
    let judge = judge.map_err(|message| usage(&scenario, &message))?;
    if let Target::Url { url, token, .. } = &plan.target {
        endpoint(url, token.as_deref()).map_err(|error| Error::Usage(error.to_string()))?;
    }
    if let Target::Url { pid: Some(pid), .. } = plan.target
        && !is_process(pid)
    {
        return Err(Error::Usage(format!("--pid {pid}: there is no such process on this machine")));
    }

    let run_dir_error = |error: squall_report::Error| Error::RunDir(error.to_string());
    let mut dir = RunDir::create(&plan.runs_dir, &scenario.name, Timestamp::now()).map_err(run_dir_error)?;
    let seed = plan.seed.unwrap_or_else(|| fastrand::u64(..));
    let cores = cores_for(&scenario);
    let shared = matches!(&plan.target, Target::Own { .. }) || is_local(&plan.target);
    let mut record = RunRecord {
        id: dir.id(),
        scenario: scenario_record(&scenario, &plan.overrides),
        seed,
        started_at: Timestamp::now(),
        duration: DurationRecord { configured_ms: scenario.duration().as_millis() as u64, ..DurationRecord::default() },
        machine: machine(cores, shared),
        generator: GeneratorRecord {
            cores: cores as u32,
            lateness_limit_ms: Some(scenario.generator.max_lateness_p99_ms),
            dropped_limit: Some(scenario.generator.max_dropped),
            ..GeneratorRecord::default()
        },
        target: TargetRecord { own: matches!(plan.target, Target::Own { .. }), ..TargetRecord::default() },
        ..RunRecord::default()
    };
    dir.begin(&record).map_err(run_dir_error)?;

    for line in crate::rig::restore() {
        record.notes.push(line);
    }
    let connected = connect((&plan.target, plan.proxy_api), &mut scenario, &dir, &mut record).await;
    let Connected { fleet, rig, gateways, ways, feed_begun } = match connected {
        Ok(connected) => connected,
        Err(error) => {
            record.ended = Ended::Failed { message: error.to_string() };
            record.finished_at = Some(Timestamp::now());
            dir.finish(&mut record).map_err(run_dir_error)?;
            return Err(error);
        }
    };
    dir.begin(&record).map_err(run_dir_error)?;

    let run = Arc::new(Run {
        id: format!("{:08x}", seed as u32 ^ (seed >> 32) as u32 ^ std::process::id()),
        seed,
        clock: Clock::starting_in(RUN_UP),
        gateways,
        ways,
        own: record.target.own,
        options: Options { request_timeout: Duration::from_secs(10), ..Options::default() },
        lanes,
        loads: scenario.load.clone(),
        stop_load: CancellationToken::new(),
        stop_all: CancellationToken::new(),
        fault: AtomicU64::new(u64::MAX),
        fault_ended_us: AtomicU64::new(u64::MAX),
        feed_begun,
        followers: Followers::default(),
        comparison: Comparison::default(),
        came_back: watch::Sender::new(0),
        disturbed: AtomicBool::new(false),
    });
    let ids = Arc::new(ids);
    let shards = (0..cores).map(|_| (Shard::new(&registry), Tally::new(&registry))).collect();
    let (events, from_cores) = mpsc::channel(EVENTS);
    let handles = engine::start(&run, &ids, shards, &events)?;
    drop(events);
    let against = match run.gateways.all() {
        [only] => only.to_string(),
        several => format!("{} gateways on {}", several.len(), record.target.store.as_deref().unwrap_or("one store")),
    };
    let live = Live::new(plan.terminal, &scenario, &against, dir.path());
    let totals = Totals::new(registry);
    let conductor =
        Conductor::new(run, ids, scenario, thresholds, judge, totals, record, dir, live, handles, from_cores);
    conductor.conduct(fleet, rig, cancel, begun).await
}

/// Whether the own gateways can be started on the store that the scenario names.
fn check_store(scenario: &Scenario) -> Result<()> {
    let several = scenario.gateways > 1;
    match scenario.store_url() {
        None if several && !scenario.has_redis() => {
            let message = "gateways need a store that they share, and the embedded store belongs to one process: name a Redis \
                           with --store redis://HOST:PORT";
            Err(usage(scenario, &format!("{} {message}", scenario.gateways)))
        }
        Some(_) if scenario.target.get("store").is_some_and(|store| store.get("key_prefix").is_some()) => {
            Err(usage(scenario, "store.key_prefix is chosen by the storm, so that it touches no keys but its own"))
        }
        _ => Ok(()),
    }
}

fn usage(scenario: &Scenario, message: &str) -> Error {
    Error::Usage(format!("{}: {message}", scenario.file))
}

/// All lanes that the scenario names, and one more that stands for the others.
fn lanes_of(scenario: &Scenario) -> Vec<String> {
    let mut lanes: Vec<String> = Vec::new();
    for lane in scenario.load.iter().flat_map(|load| load.workload.lanes()) {
        if !lanes.iter().any(|known| known == lane) {
            lanes.push(lane.to_owned());
        }
    }
    lanes.truncate(usize::from(u8::MAX) - 1);
    lanes.push("(other)".to_owned());
    lanes
}

/// No more cores than the machine has, and no more than there is something to do for.
fn cores_for(scenario: &Scenario) -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let vus: u64 = scenario.load.iter().map(|load| u64::from(load.executor.most_vus())).sum();
    available.min(MOST_CORES).min(usize::try_from(vus).unwrap_or(MOST_CORES)).max(1)
}

fn is_local(target: &Target) -> bool {
    let Target::Url { url, pid, .. } = target else { return true };
    let local = |host: &str| host == "localhost" || host == "::1" || host.starts_with("127.");
    pid.is_some() || Endpoint::parse(url).is_ok_and(|endpoint| local(endpoint.host()))
}

fn endpoint(url: &str, token: Option<&str>) -> std::result::Result<Endpoint, squall_client::endpoint::BadEndpoint> {
    let endpoint = Endpoint::parse(url)?;
    token.map_or(Ok(endpoint.clone()), |token| endpoint.with_token(token))
}

fn scenario_record(scenario: &Scenario, overrides: &Overrides) -> ScenarioRecord {
    let mut changed = std::collections::BTreeMap::new();
    let mut note = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            changed.insert(flag.to_owned(), value);
        }
    };
    note("--concurrent", overrides.concurrent.map(|it| it.to_string()));
    note("--duration", overrides.duration.map(show_span));
    note("--events-per-min", overrides.events_per_min.map(|it| it.to_string()));
    note("--gateways", overrides.gateways.map(|it| it.to_string()));
    note("--store", overrides.store.as_deref().map(without_password));
    note("SECONDS", overrides.fault_lasts.map(show_span));
    ScenarioRecord {
        name: scenario.name.clone(),
        description: scenario.description.clone(),
        source: scenario.file.clone(),
        overrides: changed,
        resolved: without_secrets(serde_json::to_value(scenario).unwrap_or_default()),
    }
}

/// A record is passed around: what looks like a secret does not belong in it.
fn without_secrets(mut value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    const SECRET: [&str; 4] = ["secret", "token", "password", "sha256"];
    match &mut value {
        Value::Object(fields) => {
            for (key, field) in fields {
                let secret = field.is_string() && SECRET.iter().any(|word| key.to_lowercase().contains(word));
                *field = if secret { Value::from("(secret)") } else { without_secrets(field.take()) };
            }
        }
        Value::String(text) => *text = without_password(text),
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_secrets(item.take())),
        _ => {}
    }
    value
}

/// Somebody to storm.
struct Connected {
    fleet: Option<Fleet>,
    rig: Rig,
    gateways: Endpoints,
    ways: Ways,
    /// Where the feed stands; 0 when nobody asked.
    feed_begun: u64,
}

/// Starts the own gateways, or looks whether the other one is there.
async fn connect(
    (target, proxy_api): (&Target, Option<SocketAddr>),
    scenario: &mut Scenario,
    dir: &RunDir,
    record: &mut RunRecord,
) -> Result<Connected> {
    let bad = |error: squall_client::endpoint::BadEndpoint| Error::Target(error.to_string());
    let mut rig = Rig::build(scenario, record.seed, proxy_api, |process| dir.process_log_path(process)).await?;
    let scenario = &*scenario;
    let (fleet, gateways) = match target {
        Target::Own { program, keep_data, key_prefix } => {
            let store = scenario.store_url().map(without_password);
            record.target.store =
                Some(store.as_ref().map_or_else(|| "embedded".to_owned(), |url| format!("Redis at {url}")));
            record.target.key_prefix = store.as_ref().map(|_| key_prefix.clone());
            // Written down before there are any keys: of a run that is killed this is all that tells which they are.
            dir.begin(record).map_err(|error| Error::RunDir(error.to_string()))?;
            let mut urls = Vec::new();
            for gateway in 1..=scenario.gateways {
                let store = rig.url_for(scenario, Link::Redis, gateway).await?;
                let archive = rig.url_for(scenario, Link::Postgres, gateway).await?;
                urls.push(Urls { store, archive });
            }
            let journal = rig.journal();
            let setup = Setup { program, keep: *keep_data, key_prefix, scenario, urls, journal };
            let fleet = Fleet::start(&setup, |number| dir.target_log_path(number)).await?;
            let endpoints =
                fleet.each().map(|(url, _)| Endpoint::parse(url)).collect::<std::result::Result<Vec<_>, _>>();
            let endpoints = endpoints.map_err(bad)?;
            record.target.pid = fleet.each().next().and_then(|(_, pid)| pid);
            if endpoints.len() > 1 {
                let each = fleet.each().map(|(url, pid)| GatewayRecord { url: url.to_owned(), pid, restarts: 0 });
                record.target.gateways = each.collect();
            }
            if *keep_data {
                record.notes.push(format!("the gateway's data stays in {}", fleet.dir().display()));
                if let Some(url) = store {
                    record.notes.push(format!("the keys of this run stay in the Redis at {url}, below {key_prefix}"));
                }
            }
            let none = || Error::Target("there is no gateway".to_owned());
            (Some(fleet), Endpoints::new(endpoints).ok_or_else(none)?)
        }
        Target::Url { url, token, pid } => {
            record.target.pid = *pid;
            (None, endpoint(url, token.as_deref()).map_err(bad)?.into())
        }
    };
    let endpoint = gateways.current();
    record.target.url = endpoint.to_string();
    let mut http = squall_client::Http::new(endpoint.clone(), Options::default());
    let mut feed_begun = 0;
    if scenario.needs_gateway() {
        let health = http.health().await.map_err(|error| Error::Target(format!("{endpoint}: {error}")))?;
        record.target.version = Some(health.version);
        record.target.may_lose = durability::may_lose(&health.durability);
        record.target.durability = Some(health.durability);
        // The token must be good for the figures as well, and the lanes must be there.
        let stats = http.stats().await.map_err(|error| Error::Target(format!("{endpoint}: {error}")))?;
        feed_begun = stats.feed_offset;
        let known: Vec<_> = stats.lanes.iter().map(|lane| lane.lane.as_str()).collect();
        let served = scenario.load.iter().filter(|load| load.workload.is_consumer());
        let missing = served.flat_map(|load| load.workload.lanes()).find(|lane| !known.contains(lane));
        if let Some(missing) = missing {
            let message = crate::scenario::source::unknown("lane", missing, &known);
            return Err(Error::Usage(format!("{}: the target has no such lane to work for: {message}", scenario.file)));
        }
    } else {
        http.connect().await.map_err(|error| Error::Target(error.to_string()))?;
    }
    let clients = rig.way(scenario, Link::Clients, &gateways).await?.unwrap_or_else(|| gateways.clone());
    let workers = rig.way(scenario, Link::Workers, &gateways).await?.unwrap_or_else(|| clients.clone());
    let subscribers = rig.way(scenario, Link::Subscribers, &gateways).await?.unwrap_or_else(|| clients.clone());
    Ok(Connected { fleet, rig, gateways, ways: Ways { clients, workers, subscribers }, feed_begun })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::without_secrets;

    #[test]
    fn secrets_stay_out_of_the_record() {
        let scenario = json!({"target": {"hooks": {"github": {"secret": "s3cret", "rules": [{"lane": "ci"}]}},
                "store": {"url": "redis://me:s3cret@h:1/"}}, "seed": 7});
        let expected = json!({"target": {"hooks": {"github": {"secret": "(secret)", "rules": [{"lane": "ci"}]}},
                "store": {"url": "redis://…@h:1/"}}, "seed": 7});
        assert_eq!(without_secrets(scenario), expected);
    }
}
