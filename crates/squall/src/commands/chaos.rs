//! `squall chaos`: experiments, one or all of them, and what undoes what was left behind.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use squall_client::{Endpoint, Http, Options};
use squall_load::{Plan, scenario};
use squall_report::record::Ended;
use squall_report::{RunRecord, Verdict, render};

use super::run::{on_screen, storm};
use crate::cli::Chaos;
use crate::exit::Exit;
use crate::logging;

/// A fault proxy of this machine that takes longer to answer is none.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Does what was asked for.
pub(crate) fn chaos(what: Chaos) -> anyhow::Result<Exit> {
    match what {
        Chaos::List => Ok(list()),
        Chaos::Explain(plans) => {
            for plan in &plans {
                super::run::explain(plan)?;
            }
            Ok(Exit::OK)
        }
        Chaos::Do(plans) => experiments(plans),
        Chaos::Clear(api) => clear(&api),
    }
}

fn list() -> Exit {
    for (name, description) in scenario::experiments() {
        println!("{name:<17} {description}");
    }
    println!(
        "\nsquall chaos NAME [SECONDS] does one, squall chaos all does all of them, squall chaos clear undoes what was left behind; a path\n\
         of a TOML file with [experiment] is one too."
    );
    Exit::OK
}

/// One after the other; Ctrl-C ends the one that runs, and there are no more.
fn experiments(plans: Vec<Plan>) -> anyhow::Result<Exit> {
    let several = plans.len() > 1;
    let screen = plans.first().is_some_and(on_screen);
    let log = logging::start_quietly(screen && !several)?;
    let mut done = Vec::new();
    let mut code = Exit::OK;
    for plan in plans {
        let name = plan.scenario.name.clone();
        if several {
            println!("== {name}");
        }
        match storm(plan, &log) {
            Ok(Ok(finished)) => {
                let interrupted = finished.record.ended == Ended::Interrupted;
                code = worse(code, Exit(finished.verdict.exit_code()));
                done.push(line(&name, &finished.record, finished.verdict));
                if interrupted {
                    break;
                }
            }
            Ok(Err(at_once)) => return Ok(at_once),
            // One that cannot be done, because a server is missing for example, keeps nobody from doing the others.
            Err(error) if several => {
                eprintln!("squall: {name}: {error:#}");
                code = worse(code, Exit(1));
                done.push(format!("FAILED  {name:<17} could not run: {error:#}"));
            }
            Err(error) => return Err(error),
        }
    }
    if several {
        println!("\n{}", done.join("\n"));
    }
    Ok(code)
}

/// A loss is worse than what did not hold, and that is worse than what could not be done.
fn worse(one: Exit, other: Exit) -> Exit {
    const FROM_BAD_TO_GOOD: [u8; 4] = [98, 99, 1, 0];
    let rank = |exit: Exit| FROM_BAD_TO_GOOD.iter().position(|code| *code == exit.0).unwrap_or(0);
    if rank(one) <= rank(other) { one } else { other }
}

/// What came of one, in a line: there is no third way.
fn line(name: &str, record: &RunRecord, verdict: Verdict) -> String {
    let passed = if verdict == Verdict::Passed { "passed" } else { "FAILED" };
    let Some(experiment) = &record.experiment else { return format!("{passed}  {name:<17}") };
    let time = |ms: Option<u64>| ms.map_or_else(|| "never".to_owned(), |ms| render::duration(ms as f64));
    let detected = experiment.detected;
    let noticed = [detected.health_ms, detected.metrics_ms, detected.clients_ms].into_iter().flatten().min();
    format!(
        "{passed}  {name:<17} noticed after {}, steady again after {}; {}",
        time(noticed),
        time(experiment.recovered_after_ms),
        Verdict::reasons(record).first().map_or("everything held", String::as_str)
    )
}

/// Undoes everything: what runs that were killed have left, and what is set in the fault proxy that listens there.
fn clear(api: &Endpoint) -> anyhow::Result<Exit> {
    let mut restored = squall_load::restore();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    restored.extend(runtime.block_on(reset(api))?);
    if restored.is_empty() {
        println!("nothing was left behind");
    }
    for line in restored {
        println!("{line}");
    }
    Ok(Exit::OK)
}

/// Opens all proxies and removes all toxics; answers what that was. Nothing when no fault proxy listens there.
async fn reset(api: &Endpoint) -> anyhow::Result<Vec<String>> {
    let options = Options { connect_timeout: ANSWERS_WITHIN, request_timeout: ANSWERS_WITHIN, ..Options::default() };
    let mut http = Http::new(api.clone(), options);
    if http.connect().await.is_err() {
        return Ok(Vec::new());
    }
    let before = proxies(&mut http, api).await?;
    let answer = http.request(Method::POST, "/reset", &[], Default::default()).await?;
    if answer.status != StatusCode::NO_CONTENT {
        let why = String::from_utf8_lossy(&answer.body).trim().to_owned();
        anyhow::bail!("{api}: the fault proxy could not be reset: {}: {why}", answer.status);
    }
    // What is said to be restored was looked at.
    let after = proxies(&mut http, api).await?;
    let left: Vec<_> = after.iter().flat_map(faults).collect();
    anyhow::ensure!(left.is_empty(), "{api}: after a reset there is still: {}", left.join(", "));
    Ok(before.iter().flat_map(faults).map(|fault| format!("restored in the fault proxy at {api}: {fault}")).collect())
}

async fn proxies(http: &mut Http, api: &Endpoint) -> anyhow::Result<serde_json::Map<String, Value>> {
    let answer = http.request(Method::GET, "/proxies", &[], Default::default()).await?;
    let told = serde_json::from_slice::<Value>(&answer.body).ok();
    match told {
        Some(Value::Object(proxies)) if answer.status == StatusCode::OK => Ok(proxies),
        _ => anyhow::bail!("{api} is no fault proxy: GET /proxies answers {}", answer.status),
    }
}

/// What is not as it was made.
fn faults((name, proxy): (&String, &Value)) -> Vec<String> {
    let mut faults = Vec::new();
    if proxy["enabled"] == false {
        faults.push(format!("proxy {name} was disabled"));
    }
    for toxic in proxy["toxics"].as_array().into_iter().flatten() {
        let text = |field: &str| toxic[field].as_str().unwrap_or("?").to_owned();
        faults.push(format!("proxy {name} had the toxic {} ({}, {})", text("name"), text("type"), text("stream")));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_all_is_the_exit_code() {
        for (one, other, expected) in [(0, 99, 99), (99, 98, 98), (1, 0, 1), (99, 1, 99), (0, 0, 0)] {
            assert_eq!(worse(Exit(one), Exit(other)), Exit(expected));
        }
    }
}
