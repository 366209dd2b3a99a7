//! `squall run`: a storm, from what the user typed to the verdict.

use std::io::IsTerminal;
use std::time::Duration;

use squall_load::{KeysInRedis, Plan, Terminal, scenario};
use squall_report::OpenedRun;

use super::report::print_summary;
use crate::exit::{Exit, Usage};
use crate::{logging, shutdown};

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
pub(crate) fn run(plan: Plan) -> anyhow::Result<Exit> {
    let keys = plan.keys_in_redis();
    let screen = plan.terminal == Terminal::Auto && std::io::stdout().is_terminal();
    let log = logging::start_quietly(screen)?;
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
    match ended? {
        Ok(finished) => {
            print_summary(&OpenedRun::open(&finished.dir)?);
            Ok(Exit(finished.verdict.exit_code()))
        }
        Err(at_once) => Ok(at_once),
    }
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

fn told(error: squall_load::Error) -> anyhow::Error {
    if error.is_usage() { Usage(error.to_string()).into() } else { error.into() }
}
