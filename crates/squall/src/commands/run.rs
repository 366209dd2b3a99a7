//! `squall run`: a storm, from what the user typed to the verdict.

use std::io::IsTerminal;
use std::time::Duration;

use squall_load::{Plan, Terminal, scenario};
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

/// Runs the storm and prints its verdict. SIGINT ends the load early and still reports. A second one stops at once: there is
/// no report, but the terminal is given back, and the own gateway and its directory are gone.
pub(crate) fn run(plan: Plan) -> anyhow::Result<Exit> {
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
    match ended? {
        Ok(finished) => {
            print_summary(&OpenedRun::open(&finished.dir)?);
            Ok(Exit(finished.verdict.exit_code()))
        }
        Err(at_once) => Ok(at_once),
    }
}

fn told(error: squall_load::Error) -> anyhow::Error {
    if error.is_usage() { Usage(error.to_string()).into() } else { error.into() }
}
