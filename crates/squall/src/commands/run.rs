//! `squall run`: a storm, from what the user typed to the verdict.

use std::io::IsTerminal;
use std::time::Duration;

use squall_load::{Finished, KeysInRedis, Plan, Terminal, scenario};
use squall_protocol::Time;
use squall_report::OpenedRun;
use squall_report::record::RunRecord;
use squall_store::archive::runs::Run;
use squall_store::config::Archive;

use super::report::print_summary;
use crate::exit::{Exit, Usage};
use crate::logging::{self, Lines};
use crate::shutdown;

/// Says what a scenario does, and does nothing.
pub(crate) fn explain(plan: &Plan) -> anyhow::Result<Exit> {
    let mut scenario = plan.scenario.clone();
    plan.overrides.apply(&mut scenario).map_err(told)?;
    print!("{}", scenario::explain(&scenario));
    Ok(Exit::OK)
}

/// How long threads that still generate load may take when the run was given up.
const LAST_THREADS: Duration = Duration::from_secs(2);

/// How long Redis may take to answer when the keys of the run are removed.
const REDIS_WITHIN_MS: u64 = 10_000;
/// How long that may take in all, whatever there is.
const REMOVED_WITHIN: Duration = Duration::from_secs(60);

/// Runs the storm and prints its verdict. SIGINT ends the load early and still reports. A second one stops at once: there is
/// no report, but the terminal is given back, and the own gateway with its directory and its keys in Redis is gone.
///
/// With an archive the record is written there too, when everything else is done. That this fails changes no verdict.
pub(crate) fn run(plan: Plan, archive: Option<Archive>) -> anyhow::Result<Exit> {
    let log = logging::start_quietly(on_screen(&plan))?;
    match storm(plan, &log)? {
        Ok(finished) => {
            if let Some(archive) = archive {
                keep(&archive, &finished.record);
            }
            Ok(Exit(finished.verdict.exit_code()))
        }
        Err(at_once) => Ok(at_once),
    }
}

/// Whether progress is shown on a screen, which lines of a log would tear.
pub(super) fn on_screen(plan: &Plan) -> bool {
    plan.terminal == Terminal::Auto && std::io::stdout().is_terminal()
}

/// One storm, from its plan to its printed summary; or the exit code of a second signal.
pub(super) fn storm(plan: Plan, log: &Lines) -> anyhow::Result<Result<Finished, Exit>> {
    let keys = plan.keys_in_redis();
    // The storm brings a thread for each core that generates load; this one only conducts.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let (stop, second) = shutdown::on_signals()?;
        tokio::select! {
            finished = squall_load::run(plan, stop) => anyhow::Ok(Ok(finished.map_err(told)?)),
            Ok(code) = second => Ok(Err(Exit(code))),
        }
    });
    // With its tasks goes the own gateway.
    runtime.shutdown_timeout(LAST_THREADS);
    log.show();
    if let Some(keys) = keys {
        remove(&keys);
    }
    let ended = ended?;
    if let Ok(finished) = &ended {
        print_summary(&OpenedRun::open(&finished.dir)?);
    }
    Ok(ended)
}

/// Removes what the gateways kept in Redis, now that they are gone. That some of it stays is said, and changes no verdict.
fn remove(KeysInRedis { url, ca_file, prefix }: &KeysInRedis) {
    let mut options = squall_store::config::Options::default();
    options.store.url = url.clone();
    options.store.ca_file = ca_file.clone();
    options.store.key_prefix = prefix.clone();
    options.store.timeout_ms = REDIS_WITHIN_MS;
    let removing = async {
        let removing = squall_store::redis::remove(&options);
        tokio::time::timeout(REMOVED_WITHIN, removing).await.map_err(anyhow::Error::from)?.map_err(anyhow::Error::from)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(removing)) {
        Ok(removed) => tracing::debug!(removed, prefix, "removed the keys of this run"),
        Err(error) => eprintln!("squall: the keys of this run stay in Redis, below {prefix}: {error:#}"),
    }
}

/// Writes the record to the archive, and says what became of it on standard error: what a program reads is the verdict.
fn keep(archive: &Archive, record: &RunRecord) {
    let written = || -> Result<(), String> {
        let run = run_of(record)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(squall_store::archive::runs::write(archive, &run))
    };
    match written() {
        Ok(()) => eprintln!("archived as {}", record.id),
        Err(why) => eprintln!("squall: the run {} was not archived: {why}", record.id),
    }
}

/// A run as the archive keeps it.
fn run_of(record: &RunRecord) -> Result<Run, String> {
    let time = |at: jiff::Timestamp| Time(u64::try_from(at.as_millisecond()).unwrap_or(0));
    let verdict = record.verdict.map(serde_json::to_value).transpose().map_err(|error| error.to_string())?;
    Ok(Run {
        id: record.id.clone(),
        scenario: record.scenario.name.clone(),
        verdict: verdict.as_ref().and_then(serde_json::Value::as_str).map(str::to_owned),
        started_at: time(record.started_at),
        finished_at: record.finished_at.map(time),
        record: Some(serde_json::to_string(record).map_err(|error| error.to_string())?),
    })
}

fn told(error: squall_load::Error) -> anyhow::Error {
    if error.is_usage() { Usage(error.to_string()).into() } else { error.into() }
}
