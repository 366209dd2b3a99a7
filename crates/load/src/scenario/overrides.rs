//! What flags change about a scenario: `--concurrent`, `--duration`, `--events-per-min`, `--gateways`, `--store`. A flag that changes nothing is
//! refused, so that nobody believes that it did.

use std::time::Duration;

use serde::Serialize;

use super::{MOST_GATEWAYS, Scenario, ScenarioError, as_text, without_password};
use crate::error::{Error, Result};
use crate::workloads::Workload;

/// What the user wants differently.
#[derive(Clone, Debug, PartialEq, Default, Serialize)]
pub struct Overrides {
    /// Sessions at the same time; in a scenario without sessions, VUs of each load that has a fixed number of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// How long the load lasts. Stages, start times and faults keep their place in proportion.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_as_text")]
    pub duration: Option<Duration>,
    /// Events that each session makes per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_min: Option<f64>,
    /// How many own gateways there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<u32>,
    /// The Redis that they share, as `redis://…` or `rediss://…`.
    #[serde(skip)]
    pub store: Option<String>,
    /// How long each fault lasts. The load lasts so much longer or shorter.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_as_text")]
    pub fault_lasts: Option<Duration>,
}

fn some_as_text<S: serde::Serializer>(span: &Option<Duration>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match span {
        Some(span) => as_text(span, serializer),
        None => serializer.serialize_none(),
    }
}

impl Overrides {
    /// Applies them.
    ///
    /// # Errors
    /// When one of them has nothing to change in this scenario, or makes no sense.
    pub fn apply(&self, scenario: &mut Scenario) -> Result<()> {
        if let Some(gateways) = self.gateways {
            if !(1..=MOST_GATEWAYS).contains(&gateways) {
                return Err(Error::Usage(format!("--gateways must be from 1 to {MOST_GATEWAYS}, not {gateways}")));
            }
            scenario.gateways = gateways;
            crate::faults::in_reach(&scenario.fault, gateways).map_err(|(line, message)| {
                let file = scenario.file.clone();
                Error::Usage(format!("--gateways: {}", ScenarioError { file, line, message }))
            })?;
        }
        if let Some(url) = &self.store {
            set_store(scenario, url)?;
        }
        if let Some(lasts) = self.fault_lasts {
            set_fault_lasts(scenario, lasts)?;
        }
        if let Some(duration) = self.duration {
            self.stretch(scenario, duration)?;
        }
        if let Some(concurrent) = self.concurrent {
            set_concurrent(scenario, concurrent)?;
        }
        if let Some(events_per_min) = self.events_per_min {
            if !(0.0..=600_000.0).contains(&events_per_min) {
                return Err(Error::Usage(format!("--events-per-min must be from 0 to 600000, not {events_per_min}")));
            }
            let mut changed = false;
            for load in &mut scenario.load {
                if let Workload::Sessions(sessions) = &mut load.workload {
                    sessions.events_per_min = events_per_min;
                    changed = true;
                }
            }
            if !changed {
                return Err(nothing("--events-per-min", scenario, "sessions"));
            }
        }
        Ok(())
    }

    fn stretch(&self, scenario: &mut Scenario, duration: Duration) -> Result<()> {
        let usual = scenario.duration();
        if duration < Duration::from_millis(100) {
            return Err(Error::Usage("--duration must be at least 100ms".to_owned()));
        }
        let factor = duration.as_secs_f64() / usual.as_secs_f64();
        scenario.last(duration);
        for fault in &mut scenario.fault {
            fault.at = fault.at.mul_f64(factor);
        }
        for threshold in &mut scenario.thresholds {
            threshold.delay_abort_eval = threshold.delay_abort_eval.mul_f64(factor.min(1.0));
        }
        // How long a fault lasts is part of what it is, and stays; when that makes two of them overlap, it is said.
        crate::faults::in_order(&mut scenario.fault)
            .map_err(|message| Error::Usage(format!("--duration is too short for the faults: {message}")))
    }
}

fn set_fault_lasts(scenario: &mut Scenario, lasts: Duration) -> Result<()> {
    if lasts < Duration::from_secs(1) {
        return Err(Error::Usage("a fault must last a second at least".to_owned()));
    }
    let ms = |span: Duration| span.as_millis() as i64;
    let mut shift_ms = 0;
    let shifted = |span: Duration, by_ms: i64| Duration::from_millis((ms(span) + by_ms).max(0) as u64);
    for fault in &mut scenario.fault {
        fault.at = shifted(fault.at, shift_ms);
        if !fault.deed.ends_by_itself() {
            shift_ms += ms(lasts) - ms(fault.lasts);
            fault.lasts = lasts;
        }
    }
    let usual = scenario.duration();
    scenario.last(shifted(usual, shift_ms));
    Ok(())
}

fn set_store(scenario: &mut Scenario, url: &str) -> Result<()> {
    if !(url.starts_with("redis://") || url.starts_with("rediss://")) {
        let url = without_password(url);
        return Err(Error::Usage(format!("--store must be redis://HOST:PORT, or rediss:// for TLS, not {url:?}")));
    }
    scenario.set("store", "url", url.to_owned());
    Ok(())
}

fn set_concurrent(scenario: &mut Scenario, concurrent: u32) -> Result<()> {
    if !(1..=100_000).contains(&concurrent) {
        return Err(Error::Usage(format!("--concurrent must be from 1 to 100000, not {concurrent}")));
    }
    let has_sessions = scenario.load.iter().any(|load| matches!(load.workload, Workload::Sessions(_)));
    let mut changed = false;
    for load in &mut scenario.load {
        let meant =
            if has_sessions { matches!(load.workload, Workload::Sessions(_)) } else { !load.workload.is_consumer() };
        changed |= meant && load.executor.set_vus(concurrent);
    }
    if !changed {
        return Err(nothing("--concurrent", scenario, "a load with a fixed number of VUs"));
    }
    // The own gateway must have room for what was asked for; a scenario that wants refusals says so in [target.sessions].
    if has_sessions {
        let sessions = scenario.target.entry("sessions").or_insert_with(|| toml::Table::new().into());
        if let Some(sessions) = sessions.as_table_mut() {
            for key in ["max_concurrent", "max_per_tenant"] {
                let room = sessions.get(key).and_then(toml::Value::as_integer).unwrap_or(10);
                sessions.insert(key.to_owned(), room.max(i64::from(concurrent)).into());
            }
        }
    }
    Ok(())
}

fn nothing(flag: &str, scenario: &Scenario, needed: &str) -> Error {
    Error::Usage(format!("{flag} changes nothing in scenario {:?}: it has no {needed}", scenario.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::built_in;

    #[test]
    fn a_shorter_light_is_still_light() {
        let mut scenario = built_in("light").unwrap();
        let overrides = Overrides {
            concurrent: Some(20),
            duration: Some(Duration::from_secs(30)),
            events_per_min: Some(120.0),
            ..Overrides::default()
        };
        overrides.apply(&mut scenario).unwrap();
        assert_eq!(scenario.duration(), Duration::from_secs(30));
        let sessions = scenario.load.iter().find(|load| load.name == "sessions").unwrap();
        assert_eq!(sessions.executor.most_vus(), 20);
        assert!(matches!(&sessions.workload, Workload::Sessions(it) if it.events_per_min == 120.0));
        assert_eq!(scenario.target["sessions"]["max_concurrent"].as_integer(), Some(20));
    }

    #[test]
    fn faults_keep_their_place() {
        let mut scenario = built_in("demo").unwrap();
        let (usual, at) = (scenario.duration(), scenario.fault[0].at);
        Overrides { duration: Some(usual / 2), ..Overrides::default() }.apply(&mut scenario).unwrap();
        assert_eq!(scenario.fault[0].at, at / 2);
    }

    #[test]
    fn a_longer_fault_makes_a_longer_load() {
        let mut scenario = built_in("redis-down").unwrap();
        let (usual, at, lasts) = (scenario.duration(), scenario.fault[0].at, scenario.fault[0].lasts);
        let longer = Overrides { fault_lasts: Some(lasts + Duration::from_secs(5)), ..Overrides::default() };
        longer.apply(&mut scenario).unwrap();
        assert_eq!(scenario.fault[0].at, at);
        assert_eq!(scenario.fault[0].lasts, lasts + Duration::from_secs(5));
        assert_eq!(scenario.duration(), usual + Duration::from_secs(5));
    }

    #[test]
    fn gateways_and_their_store() {
        let with = |gateways, store: &str| {
            let mut scenario = built_in("several").unwrap();
            let overrides = Overrides { gateways, store: Some(store.to_owned()), ..Overrides::default() };
            overrides.apply(&mut scenario).map(|()| scenario).map_err(|error| error.to_string())
        };
        let scenario = with(Some(5), "redis://h:1/").unwrap();
        assert_eq!((scenario.gateways, scenario.store_url()), (5, Some("redis://h:1/")));
        let error = with(Some(2), "redis://h:1/").unwrap_err();
        let expected = "the fault at 18s is done to gateway 3, and `gateways` is 2";
        assert!(error.starts_with("--gateways: built-in:") && error.ends_with(expected), "{error}");
        assert_eq!(with(Some(17), "redis://h:1/").unwrap_err(), "--gateways must be from 1 to 16, not 17");
        let error = with(None, "http://me:s3cret@h/").unwrap_err();
        assert_eq!(error, r#"--store must be redis://HOST:PORT, or rediss:// for TLS, not "http://…@h/""#);
    }

    #[test]
    fn a_flag_that_changes_nothing_is_refused() {
        let text = "name = \"x\"\n[[load]]\nworkload = \"tasks\"\nexecutor = \"constant-arrival-rate\"\nrate = 1\nduration = \"1s\"\n";
        let scenario = crate::scenario::parse("x.toml", text).unwrap();
        for overrides in [
            Overrides { concurrent: Some(3), ..Overrides::default() },
            Overrides { events_per_min: Some(3.0), ..Overrides::default() },
        ] {
            let error = overrides.apply(&mut scenario.clone()).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains("changes nothing"), "{error}");
        }
    }
}
