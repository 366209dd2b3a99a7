//! `squall run`: a storm, from what the user typed to the verdict.

use squall_load::{Plan, scenario};
use squall_report::OpenedRun;

use super::report::print_summary;
use crate::exit::{Exit, Usage};
use crate::shutdown;

/// Says what a scenario does, and does nothing.
pub(crate) fn explain(plan: &Plan) -> anyhow::Result<Exit> {
    let mut scenario = plan.scenario.clone();
    plan.overrides.apply(&mut scenario).map_err(told)?;
    print!("{}", scenario::explain(&scenario));
    Ok(Exit::OK)
}

/// Runs the storm and prints its verdict. SIGINT ends the load early and still reports, a second one stops at once.
pub(crate) fn run(plan: Plan) -> anyhow::Result<Exit> {
    // The storm brings a thread for each core that generates load; this one only conducts.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let finished = runtime.block_on(async {
        let stop = shutdown::on_signal()?;
        squall_load::run(plan, stop).await.map_err(told)
    })?;
    print_summary(&OpenedRun::open(&finished.dir)?);
    Ok(Exit(finished.verdict.exit_code()))
}

fn told(error: squall_load::Error) -> anyhow::Error {
    if error.is_usage() { Usage(error.to_string()).into() } else { error.into() }
}
