//! From text to scenario: which keys there are, what they may be, and what fits together.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::built_in::names;
use super::source::{self, Located, Section, Source};
use super::{
    Generator, Load, MOST_GATEWAYS, Process, Proxy, Scenario, ScenarioError, Service, Sources, Threshold, built_in,
};
use crate::executors::Executor;
use crate::experiment::Experiment;
use crate::faults::{self, Deed, Fault, Link, Subject};
use crate::workloads::Workload;

type Result<T> = std::result::Result<T, ScenarioError>;

pub(super) fn read(file: &str, text: &str) -> Result<Scenario> {
    let source = Source { file, text };
    let syntax = |error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        source.error(at, error.message().to_owned())
    };
    let table = DeTable::parse(text).map_err(syntax)?;
    // Read once more without places: settings of the own gateway are handed on as they are.
    let plain: toml::Table = toml::from_str(text).map_err(syntax)?;
    let mut top = Section::new(source, "the scenario", 0, table.get_ref());

    let name = read_name(&mut top)?.ok_or_else(|| source.error(0, "`name` is missing"))?.value;
    let description = top.text("description")?.map(|it| it.value).unwrap_or_default();
    let base = read_base(&mut top)?;
    let settle = top.span("settle")?.unwrap_or_else(|| base.as_ref().map_or(SETTLE, |base| base.settle));

    let gateways = top.whole("gateways", 1, MOST_GATEWAYS.into())?.unwrap_or(1) as u32;
    let services = Service::read_all(&mut top)?;
    let sources = match top.section("sources")? {
        Some(section) => Some(Sources::read(section)?),
        None => base.as_ref().and_then(|base| base.sources),
    };
    let process = top.sections("process")?.into_iter().map(Process::read).collect::<Result<_>>()?;
    let proxy = top.sections("proxy")?.into_iter().map(Proxy::read).collect::<Result<_>>()?;

    let mut load = base.as_ref().map_or_else(Vec::new, |base| base.load.clone());
    for section in top.sections("load")? {
        load.push(read_load(section, &load)?);
    }
    if load.is_empty() {
        return Err(source.error(0, "there is no [[load]], so there is nothing to do"));
    }

    let own = match top.section("target")? {
        Some(section) => read_target(section, &plain)?,
        None => toml::Table::new(),
    };
    let target = over(base.as_ref().map_or_else(toml::Table::new, |base| base.target.clone()), own);

    let mut fault = Vec::new();
    for section in top.sections("fault")? {
        fault.push(Fault::read(section)?);
    }
    faults::in_reach(&fault, gateways).map_err(|(line, message)| ScenarioError {
        file: file.to_owned(),
        line,
        message,
    })?;
    faults::in_order(&mut fault).map_err(|message| source.error(top.place("fault"), message))?;

    let mut thresholds = match top.section("thresholds")? {
        Some(section) => read_conditions(source, &section)?,
        None => Vec::new(),
    };
    let own: Vec<_> = thresholds.iter().map(|it| it.metric.clone()).collect();
    let inherited = base.as_ref().into_iter().flat_map(|base| &base.thresholds);
    thresholds.extend(inherited.filter(|it| !own.contains(&it.metric)).cloned());

    let generator = match top.section("generator")? {
        Some(section) => read_generator(section)?,
        None => base.as_ref().map_or_else(Generator::default, |base| base.generator),
    };
    let experiment = match top.section("experiment")? {
        Some(section) => Some(Experiment::read(section, |section| read_conditions(source, &section))?),
        None => None,
    };
    let duration = top.span("duration")?;
    if duration.is_some() && base.is_none() {
        let message = "`duration` is how long the loads of `base` last; loads of one's own say it themselves";
        return Err(source.error(top.place("duration"), message));
    }
    top.finish()?;

    let mut scenario = Scenario {
        name,
        description,
        settle,
        gateways,
        target,
        services,
        sources,
        process,
        proxy,
        load,
        fault,
        thresholds,
        generator,
        experiment,
        file: file.to_owned(),
    };
    if let Some(duration) = duration {
        scenario.last(duration);
    }
    check(source, &scenario)?;
    Ok(scenario)
}

/// How long to wait for quiet if nothing is said.
const SETTLE: Duration = Duration::from_secs(30);

/// The built-in scenario whose loads, settings and thresholds are this one's too.
fn read_base(top: &mut Section<'_>) -> Result<Option<Scenario>> {
    let Some(name) = top.text("base")? else { return Ok(None) };
    match built_in(&name.value) {
        Some(base) => Ok(Some(base)),
        None => Err(top.error_at(name.at, source::unknown("scenario", &name.value, &names()))),
    }
}

/// One table of settings over another, section by section.
fn over(mut below: toml::Table, above: toml::Table) -> toml::Table {
    for (key, value) in above {
        let merged = match (below.remove(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => toml::Value::Table(over(below, above)),
            (_, value) => value,
        };
        below.insert(key, merged);
    }
    below
}

fn read_conditions(source: Source<'_>, section: &Section<'_>) -> Result<Vec<Threshold>> {
    let mut thresholds = Vec::new();
    for (metric, conditions) in section.entries() {
        read_thresholds(source, &metric, conditions, &mut thresholds)?;
    }
    Ok(thresholds)
}

/// A name goes into a path: letters, digits, `-`, `_` and `.`.
pub(super) fn read_name(section: &mut Section<'_>) -> Result<Option<Located<String>>> {
    let Some(name) = section.text("name")? else { return Ok(None) };
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.value.is_empty() || name.value.len() > 64 || !name.value.chars().all(fine) || name.value.starts_with('.') {
        let message = format!("`name` must be 1 to 64 letters, digits, `-`, `_` or `.`, not {:?}", name.value);
        return Err(section.error_at(name.at, message));
    }
    Ok(Some(name))
}

fn read_load(mut section: Section<'_>, before: &[Load]) -> Result<Load> {
    let name = read_name(&mut section)?;
    let start_time = section.span("start_time")?.unwrap_or_default();
    let graceful_stop = section.span("graceful_stop")?.unwrap_or(Duration::from_secs(30));
    let workload = Workload::read(&mut section)?;
    let executor = Executor::read(&mut section)?;
    if workload.is_consumer() && !executor.counts_vus() {
        let message = format!(
            "`{}` stay connected, so they need to know how many: executor \"constant-vus\" or \"ramping-vus\", not {:?}",
            workload.name(),
            executor.name()
        );
        return Err(section.error_at(section.place("executor"), message));
    }
    let name = match name {
        Some(name) => {
            if before.iter().any(|load| load.name == name.value) {
                return Err(section.error_at(name.at, format!("a second load with the name {:?}", name.value)));
            }
            name.value
        }
        None => {
            let same = before.iter().filter(|load| load.workload.name() == workload.name()).count();
            if same == 0 { workload.name().to_owned() } else { format!("{}-{}", workload.name(), same + 1) }
        }
    };
    section.finish()?;
    Ok(Load { name, start_time, graceful_stop, workload, executor })
}

/// `[target]` holds the sections of `squall.toml`. Which keys those have, the gateway checks when it starts.
fn read_target(section: Section<'_>, plain: &toml::Table) -> Result<toml::Table> {
    const SECTIONS: [&str; 11] =
        ["server", "log", "auth", "store", "feed", "archive", "sessions", "tasks", "lanes", "hooks", "graph"];
    const OURS: [(&str, &str); 3] = [("server", "listen"), ("server", "data_dir"), ("store", "key_prefix")];
    for (key, value) in section.entries() {
        if !SECTIONS.contains(&key.value) {
            return Err(section.error_at(key.at, source::unknown("key in [target]", key.value, &SECTIONS)));
        }
        let own = value.get_ref().as_table().into_iter().flat_map(|table| table.keys());
        let mut own = own.filter(|own| OURS.contains(&(key.value, own.get_ref().as_ref())));
        if let Some(own) = own.next() {
            let message = format!("`{}` of the own gateway is chosen by the storm", own.get_ref());
            return Err(section.error_at(own.span().start, message));
        }
    }
    Ok(plain.get("target").and_then(toml::Value::as_table).cloned().unwrap_or_default())
}

/// A condition, or a list of conditions; each a text, or a table as k6 has it.
fn read_thresholds(
    source: Source<'_>,
    metric: &Located<&str>,
    value: &Spanned<DeValue<'_>>,
    thresholds: &mut Vec<Threshold>,
) -> Result<()> {
    let items: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    for item in items {
        let metric = metric.value.to_owned();
        let threshold = match item.get_ref() {
            DeValue::String(condition) => Threshold {
                metric,
                condition: condition.to_string(),
                abort_on_fail: false,
                delay_abort_eval: Duration::ZERO,
            },
            DeValue::Table(table) => {
                let mut section = Section::new(source, format!("threshold `{metric}`"), item.span().start, table);
                let condition = section.text("threshold")?.ok_or_else(|| section.error("`threshold` is missing"))?;
                let threshold = Threshold {
                    metric,
                    condition: condition.value,
                    abort_on_fail: section.flag("abort_on_fail")?.unwrap_or(false),
                    delay_abort_eval: section.span("delay_abort_eval")?.unwrap_or_default(),
                };
                section.finish()?;
                threshold
            }
            _ => {
                let message = format!("threshold `{metric}` must be a text such as \"p(99)<500\", or a list of them");
                return Err(source.error(item.span().start, message));
            }
        };
        crate::metrics::check_threshold(&threshold.metric, &threshold.condition)
            .map_err(|message| source.error(item.span().start, message))?;
        if threshold.abort_on_fail && crate::metrics::is_after_load(&threshold.metric) {
            let message = format!(
                "`{}` is known only after the load, so it cannot end it: leave out `abort_on_fail`, or choose a metric of \
                 the load such as errors or session_success",
                threshold.metric
            );
            return Err(source.error(item.span().start, message));
        }
        thresholds.push(threshold);
    }
    Ok(())
}

fn read_generator(mut section: Section<'_>) -> Result<Generator> {
    let fallback = Generator::default();
    let generator = Generator {
        max_lateness_p99_ms: section
            .number("max_lateness_p99_ms", 0.0, 3_600_000.0)?
            .unwrap_or(fallback.max_lateness_p99_ms),
        max_dropped: section.share("max_dropped")?.unwrap_or(fallback.max_dropped),
    };
    section.finish()?;
    Ok(generator)
}

/// What each key allows, and all together do not.
fn check(source: Source<'_>, scenario: &Scenario) -> Result<()> {
    let end = scenario.duration();
    if end.is_zero() {
        return Err(source.error(0, "it lasts no time at all: give a load a `duration` or `stages`"));
    }
    if !scenario.accounts_for_tasks()
        && let Some(threshold) = scenario.thresholds.iter().find(|it| crate::metrics::is_of_ledger(&it.metric))
    {
        let message = format!(
            "the threshold on `{}` would pass unmeasured: tasks are accounted for only where a load publishes them and \
             `workers` consume them",
            threshold.metric
        );
        return Err(source.error(0, message));
    }
    if scenario.sources.is_some() && scenario.setting("graph", "root").is_some() {
        return Err(source.error(
            0,
            "[sources] makes the tree that the gateway reads, and graph.root names another: leave one of them out",
        ));
    }
    for fault in &scenario.fault {
        check_place(scenario, &fault.deed).map_err(|message| ScenarioError {
            file: scenario.file.clone(),
            line: fault.line,
            message,
        })?;
    }
    if scenario.experiment.is_some() && scenario.fault.is_empty() {
        return Err(source.error(0, "an experiment without a [[fault]] supposes something about nothing"));
    }
    if let Some(fault) = scenario.fault.iter().find(|fault| fault.at >= end) {
        let message = format!(
            "the fault at {} comes after the end of the load at {}",
            super::show_span(fault.at),
            super::show_span(end)
        );
        return Err(source.error(0, message));
    }
    Ok(())
}

/// Whether there is what a fault is done to.
fn check_place(scenario: &Scenario, deed: &Deed) -> std::result::Result<(), String> {
    let meant = |name: &str, known: &[&str]| {
        source::nearest(name, known).map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
    };
    if let Deed::Process(_, Subject::Process(name)) = deed {
        let services = scenario.services.iter().map(|service| service.as_str());
        let known: Vec<_> = scenario.process.iter().map(|process| process.name.as_str()).chain(services).collect();
        if !known.contains(&name.as_str()) {
            let what = "that the storm would start: name a [[process]] or a service";
            return Err(format!("there is no process {name:?} {what}{}", meant(name, &known)));
        }
    }
    let proxies: Vec<_> = scenario.proxy.iter().map(|proxy| proxy.name.as_str()).collect();
    for link in deed.links() {
        match link {
            Link::Named(name) if !proxies.contains(&name.as_str()) => {
                let known: Vec<_> = Link::KNOWN.iter().map(|(known, _)| *known).chain(proxies).collect();
                return Err(format!("there is no [[proxy]] {name:?}{}", meant(name, &known)));
            }
            Link::Redis if !scenario.has_redis() => {
                return Err("there is no Redis: services = [\"redis\"], or store.url in [target]".to_owned());
            }
            Link::Postgres if scenario.archive_url().is_none() && !scenario.services.contains(&Service::Postgres) => {
                return Err("there is no PostgreSQL: services = [\"postgres\"], or archive.url in [target]".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: &str = "[[load]]\nworkload = \"tasks\"\nexecutor = \"constant-vus\"\nduration = \"1s\"\n";

    #[track_caller]
    fn refused(text: &str, message: &str) {
        match read("x.toml", text) {
            Ok(_) => panic!("was read: {text}"),
            Err(error) => assert_eq!(error.to_string(), message),
        }
    }

    fn after_name(text: &str) -> String {
        format!("name = \"x\"\n{text}")
    }

    #[test]
    fn mistakes_are_told_with_line_and_nearest_word() {
        let constant_rate = LOAD.replace("constant-vus", "constant-rate");
        refused(
            &after_name(&constant_rate),
            r#"x.toml:4: unknown executor "constant-rate"; did you mean "constant-arrival-rate"?"#,
        );
        refused(
            &after_name(&LOAD.replace("tasks", "task")),
            r#"x.toml:3: unknown workload "task"; did you mean "tasks"?"#,
        );
        refused(
            &after_name(&format!("{LOAD}vuss = 3\n")),
            r#"x.toml:6: unknown key in [[load]] "vuss"; did you mean "vus"?"#,
        );
        refused(
            &after_name(&format!("{LOAD}preAllocatedVUs = 3\n").replace("constant-vus", "constant-arrival-rate")),
            r#"x.toml:2: [[load]]: `rate` is missing"#,
        );
        refused(
            &after_name(
                &format!("{LOAD}rate = 1\npreAllocatedVUs = 3\n").replace("constant-vus", "constant-arrival-rate"),
            ),
            r#"x.toml:7: unknown key in [[load]] "preAllocatedVUs"; did you mean "pre_allocated_vus"?"#,
        );
        refused(
            &after_name(&format!("{LOAD}vus = 0\n")),
            "x.toml:6: `vus` in [[load]] must be a whole number from 1 to 100000, not 0",
        );
        refused(
            &after_name(&LOAD.replace("\"1s\"", "30")),
            "x.toml:5: `duration` in [[load]] must be a length of time such as \"500ms\", \"30s\" or \"1m30s\", not 30",
        );
        refused("name = \"x\"\n", "x.toml:1: there is no [[load]], so there is nothing to do");
        refused(LOAD, "x.toml:1: `name` is missing");
        refused(&after_name("a/b"), "x.toml:2: key with no value, expected `=`");
        refused(
            "name = \"../x\"\n",
            r#"x.toml:1: `name` must be 1 to 64 letters, digits, `-`, `_` or `.`, not "../x""#,
        );
        refused(
            &after_name(&format!("{LOAD}[target.session]\nmax_concurrent = 3\n")),
            r#"x.toml:6: unknown key in [target] "session"; did you mean "sessions"?"#,
        );
        refused(
            &after_name(&format!("{LOAD}[target.server]\nlisten = \"0.0.0.0:1\"\n")),
            "x.toml:7: `listen` of the own gateway is chosen by the storm",
        );
        refused(
            &after_name(&format!("{LOAD}[target.store]\nkey_prefix = \"mine\"\n")),
            "x.toml:7: `key_prefix` of the own gateway is chosen by the storm",
        );
        refused(
            &after_name(&format!("gateways = 17\n{LOAD}")),
            "x.toml:2: `gateways` in the scenario must be a whole number from 1 to 16, not 17",
        );
        let on_third = "[[fault]]\nkind = \"kill\"\nat = \"500ms\"\ngateway = 3\n";
        refused(
            &after_name(&format!("gateways = 2\n{LOAD}{on_third}")),
            "x.toml:10: the fault at 500ms is done to gateway 3, and `gateways` is 2",
        );
        refused(
            &after_name(&format!("{LOAD}{on_third}").replace("= 3", "= \"every\"")),
            r#"x.toml:9: `gateway` in [[fault]] must be a whole number from 1 to 16, or "all", not "every""#,
        );
        refused(
            &after_name(&format!("{LOAD}[[fault]]\nkind = \"kil\"\nat = \"500ms\"\n")),
            r#"x.toml:7: unknown fault "kil"; did you mean "kill"?"#,
        );
        refused(
            &after_name(&format!("{LOAD}[[fault]]\nkind = \"kill\"\nat = \"3s\"\n")),
            "x.toml: the fault at 3s comes after the end of the load at 1s".replace("x.toml:", "x.toml:1:").as_str(),
        );
        refused(
            &after_name(&LOAD.replace("tasks", "workers").replace("constant-vus", "per-vu-iterations")),
            "x.toml:4: `workers` stay connected, so they need to know how many: executor \"constant-vus\" or \"ramping-vus\", not \"per-vu-iterations\"",
        );
        refused(
            &after_name(&format!("{LOAD}name = \"a\"\n{LOAD}name = \"a\"\n")),
            r#"x.toml:11: a second load with the name "a""#,
        );
    }

    #[test]
    fn what_is_known_only_after_the_load_cannot_end_it() {
        let workers = LOAD.replace("tasks", "workers");
        for (metric, fine) in [("lost", false), ("feed_shortfall", false), ("errors", true)] {
            let abort = format!("{metric} = {{ threshold = \"count==0\", abort_on_fail = true }}\n");
            let text = after_name(&format!("{LOAD}{workers}[thresholds]\n{abort}"));
            match read("x.toml", &text) {
                Ok(_) => assert!(fine, "{metric}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(
                        !fine && said.starts_with("x.toml:11: ") && said.contains("known only after the load"),
                        "{said}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_scenario_may_stand_on_a_built_in_one() {
        let text = "base = \"baseline\"\nduration = \"12s\"\n[target.lanes.gpt4]\nlease_ms = 7\n[thresholds]\nlost = \"count<5\"\n";
        let scenario = read("x.toml", &after_name(text)).unwrap();
        let base = built_in("baseline").unwrap();
        assert_eq!((scenario.load.len(), scenario.duration()), (base.load.len(), Duration::from_secs(12)));
        let lane = &scenario.target["lanes"]["gpt4"];
        assert_eq!((lane["lease_ms"].as_integer(), lane["retry"]["max"].as_integer()), (Some(7), Some(8)));
        let of_lost: Vec<_> = scenario.thresholds.iter().filter(|it| it.metric == "lost").collect();
        assert_eq!((of_lost.len(), of_lost[0].condition.as_str()), (1, "count<5"));
        assert_eq!(scenario.thresholds.len(), base.thresholds.len());
        refused(
            &after_name("base = \"basline\"\n"),
            r#"x.toml:2: unknown scenario "basline"; did you mean "baseline"?"#,
        );
        refused(
            &after_name(&format!("duration = \"1s\"\n{LOAD}")),
            "x.toml:2: `duration` is how long the loads of `base` last; loads of one's own say it themselves",
        );
    }

    #[test]
    fn what_is_around_is_read_and_checked() {
        let around = "services = [\"redis\"]\n[[process]]\nname = \"helper\"\ncommand = [\"sleep\", \"9\"]\nready = \"127.0.0.1:1\"\n\
            [[proxy]]\nname = \"db\"\nlisten = \"127.0.0.1:2\"\nupstream = \"127.0.0.1:3\"\n";
        let scenario = read("x.toml", &after_name(&format!("{around}{LOAD}"))).unwrap();
        assert_eq!(
            (scenario.services.as_slice(), scenario.process[0].name.as_str()),
            (&[Service::Redis][..], "helper")
        );
        assert_eq!(scenario.proxy[0].upstream, "127.0.0.1:3");
        for (text, message) in [
            ("services = [\"redis\", \"redis\"]\n", "x.toml:2: redis is named twice"),
            ("services = [\"reddis\"]\n", r#"x.toml:2: unknown service "reddis"; did you mean "redis"?"#),
            (
                "[[process]]\nname = \"a\"\n",
                "x.toml:2: [[process]]: `command` is missing: [\"program\", \"argument\", …]",
            ),
            (
                "[[process]]\nname = \"redis\"\n",
                "x.toml:3: \"redis\" is what the service of this name is called: take another",
            ),
            (
                "[[proxy]]\nname = \"workers\"\n",
                "x.toml:3: `name` must be a name that no proxy has by itself, not \"workers\"",
            ),
            ("[[proxy]]\nname = \"a\"\nlisten = \"x\"\n", "x.toml:4: `listen` must be host:port, not \"x\""),
            ("[experiment]\n", "x.toml:2: [experiment]: `hypothesis` is missing"),
            (
                "[experiment]\nhypothesis = \"x\"\nlost = [\"feed\"]\n",
                "x.toml:4: `lost` is what /health names when it is `degraded`",
            ),
            (
                "[experiment]\nhypothesis = \"x\"\n[experiment.steady_state]\nlost = \"count==0\"\n",
                "an experiment without a [[fault]] supposes something about nothing",
            ),
        ] {
            let error = read("x.toml", &after_name(&format!("{text}{LOAD}"))).unwrap_err().to_string();
            assert!(error.ends_with(message), "{error}\n{message}");
        }
    }

    #[test]
    fn loads_without_a_name_get_one() {
        let scenario = read("x.toml", &after_name(&format!("{LOAD}{LOAD}"))).unwrap();
        let names: Vec<_> = scenario.load.iter().map(|load| load.name.as_str()).collect();
        assert_eq!(names, ["tasks", "tasks-2"]);
    }
}
