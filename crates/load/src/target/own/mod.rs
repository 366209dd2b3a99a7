//! The own gateways: child processes in a directory of their own, killed and restarted for real. One of them on its embedded
//! store, or several that share a Redis. `gateway` is the life of one, `recipe` how it is started.

mod gateway;
mod recipe;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway::Act;
pub(crate) use gateway::Heard;
use gateway::OwnGateway;
use recipe::Recipe;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::engine::Clock;
use crate::error::{Error, Result};
use crate::faults::{Deed, GatewayFault};
use crate::rig::{Journal, Rig, RigAct};
use crate::scenario::Scenario;

/// Acts that may wait for a gateway: more than there can be open at a time.
const ACTS: usize = 16;

/// What all of them are started with.
pub(crate) struct Setup<'a> {
    /// `<program> serve` must start a gateway.
    pub(crate) program: &'a Path,
    /// Leave their directory behind.
    pub(crate) keep: bool,
    /// With Redis: what all keys begin with.
    pub(crate) key_prefix: &'a str,
    pub(crate) scenario: &'a Scenario,
    /// The addresses by which each of them reaches its store and its archive.
    pub(crate) urls: Vec<Urls>,
    /// What must not be left behind.
    pub(crate) journal: Arc<Journal>,
}

/// Where a gateway finds what it depends on; may hold passwords.
#[derive(Clone, Debug, Default)]
pub(crate) struct Urls {
    /// The Redis that it shares with others.
    pub(crate) store: Option<String>,
    /// The PostgreSQL that history goes into.
    pub(crate) archive: Option<String>,
}

/// All own gateways, before the run.
pub(crate) struct Fleet {
    gateways: Vec<OwnGateway>,
    dir: Arc<tempfile::TempDir>,
}

impl Fleet {
    /// Starts all of them on free ports, with empty data directories, and waits until they listen. `log` says where the output of
    /// each goes: the only one has no number, others count from 1.
    pub(crate) async fn start(setup: &Setup<'_>, log: impl Fn(Option<u32>) -> PathBuf) -> Result<Self> {
        let system = |what| move |source| Error::System { what, source };
        let dir = tempfile::Builder::new().prefix("squall-storm-").tempdir();
        let mut dir = dir.map_err(system("making a directory for the own gateway"))?;
        dir.disable_cleanup(setup.keep);
        let config = dir.path().join("squall.toml");
        let settings = recipe::settings(setup.scenario, setup.key_prefix);
        let settings = toml::to_string(&settings).map_err(|error| Error::Target(error.to_string()))?;
        std::fs::write(&config, settings).map_err(system("writing the own gateway's configuration"))?;
        if !setup.keep {
            setup.journal.dir(dir.path());
        }
        let dir = Arc::new(dir);
        let (several, faults) = (setup.scenario.gateways > 1, &setup.scenario.fault);
        let meant = |fits: fn(&GatewayFault) -> bool, index: usize| {
            let fits = |deed: &Deed| deed.to_gateways().is_some_and(|(whom, fault)| whom.means(index) && fits(&fault));
            faults.iter().any(|fault| fits(&fault.deed))
        };
        let mut gateways = Vec::new();
        for (index, urls) in setup.urls.iter().enumerate() {
            let number = several.then_some(index as u32 + 1);
            let disk = meant(|fault| matches!(fault, GatewayFault::FillDisk(_)), index);
            let disk = if disk { Some(recipe::small_disk(&setup.journal).map_err(Error::Target)?) } else { None };
            let clock = meant(|fault| matches!(fault, GatewayFault::Clock(_)), index);
            let data = disk.as_ref().map_or_else(|| dir.path().to_owned(), |disk| disk.path().to_owned());
            let recipe = Recipe {
                program: setup.program.to_owned(),
                name: number.map_or_else(|| "the own gateway".to_owned(), |number| format!("own gateway {number}")),
                data: data.join(number.map_or_else(|| "data".to_owned(), |number| format!("data-{number}"))),
                config: config.clone(),
                urls: urls.clone(),
                log: log(number),
                disk,
                clock: clock.then(|| dir.path().join(format!("clock-{index}"))),
                journal: setup.journal.clone(),
                _dir: dir.clone(),
            };
            gateways.push(OwnGateway::start(recipe).await.map_err(Error::Target)?);
        }
        Ok(Self { gateways, dir })
    }

    /// Where each listens, and its process.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, Option<u32>)> {
        self.gateways.iter().map(|gateway| (gateway.url.as_str(), gateway.pid()))
    }

    /// Where their data is.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// They begin to hear acts. When the crew is dropped they are killed.
    pub(crate) fn live(self, clock: Clock, heard: &mpsc::Sender<Heard>) -> Crew {
        let mut crew = Crew::default();
        for (index, gateway) in self.gateways.into_iter().enumerate() {
            let (acts, to_gateway) = mpsc::channel(ACTS);
            crew.acts.push(acts);
            crew.lives.spawn(gateway.live(index, clock, to_gateway, heard.clone()));
        }
        crew
    }
}

/// All own gateways during the run, and what is around them.
#[derive(Default)]
pub(crate) struct Crew {
    acts: Vec<mpsc::Sender<Act>>,
    rig: Option<mpsc::Sender<RigAct>>,
    lives: JoinSet<()>,
}

impl Crew {
    /// What is around them hears acts too.
    pub(crate) fn with(mut self, rig: Rig, clock: Clock, heard: &mpsc::Sender<Heard>) -> Self {
        let (acts, to_rig) = mpsc::channel(ACTS);
        self.rig = Some(acts);
        self.lives.spawn(rig.live(clock, to_rig, heard.clone()));
        self
    }

    /// A fault begins, or is taken back: has it done to those who are meant; answers how many will tell what became of it.
    pub(crate) async fn act(&self, fault: usize, deed: &Deed, begins: bool) -> usize {
        tracing::debug!(fault, ?deed, begins, "act");
        // The channels hold more acts than there can be open at a time.
        let Some((whom, what)) = deed.to_gateways() else {
            let act = if begins { RigAct::Begin(fault, deed.clone()) } else { RigAct::End(fault, deed.clone()) };
            let Some(rig) = &self.rig else { return 0 };
            let _ = rig.send(act).await;
            return 1;
        };
        let act = if begins { Act::Begin(fault, what) } else { Act::End(fault, what) };
        let meant = self.acts.iter().enumerate().filter(|(index, _)| whom.means(*index));
        let mut told = 0;
        for (_, acts) in meant {
            let _ = acts.send(act).await;
            told += 1;
        }
        told
    }

    /// Stops all of them, and waits until they are gone; what is around them goes last.
    pub(crate) async fn stop(mut self) {
        for acts in &self.acts {
            let _ = acts.send(Act::Stop).await;
        }
        let around = usize::from(self.rig.is_some());
        // Each ends with its last act; a panic in it is in the log.
        while self.lives.len() > around && self.lives.join_next().await.is_some() {}
        drop(self.rig.take());
        while self.lives.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::faults::{ProcessFault, Subject, Whom};
    use crate::scenario::parse;

    /// Says that it listens, notes every SIGTERM, and takes its time to stop after the first.
    const SLOW_TO_STOP: &str = "#!/bin/sh\n\
        trap 'echo told >&2; trap \"echo told again >&2; exit 143\" TERM; sleep 0.4 & wait $!; echo clean >&2; exit 0' TERM\n\
        echo listening on http://127.0.0.1:1\n\
        while :; do sleep 0.01; done\n";

    #[tokio::test]
    async fn a_gateway_that_was_told_to_stop_is_told_once() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (program, log) = (dir.path().join("gateway"), dir.path().join("log"));
        std::fs::write(&program, SLOW_TO_STOP).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let scenario = parse(
            "x",
            "name = \"x\"\n[[load]]\nworkload = \"tasks\"\nexecutor = \"constant-vus\"\nduration = \"1s\"\n",
        );
        let scenario = Scenario { gateways: 2, ..scenario.unwrap() };
        let journal = Arc::new(Journal::open().unwrap());
        let urls = vec![Urls::default(); 2];
        let setup = Setup { program: &program, keep: false, key_prefix: "", scenario: &scenario, urls, journal };
        let fleet =
            Fleet::start(&setup, |number| if number == Some(1) { log.clone() } else { dir.path().join("other") });
        let fleet = fleet.await.unwrap();
        let data = fleet.dir().to_owned();
        let (heard, mut from_gateway) = mpsc::channel(4);
        let mut crew = fleet.live(Clock::starting_in(Duration::ZERO), &heard);
        let drain = Deed::Process(ProcessFault::Drain, Subject::Gateway(Whom::One(1)));
        assert_eq!(crew.act(0, &drain, true).await, 1);
        assert!(matches!(from_gateway.recv().await, Some(Heard::Begun { fault: 0, down: Some(0), .. })));
        while !std::fs::read_to_string(&log).unwrap().contains("told") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        crew.act(0, &drain, false).await;
        let ended = from_gateway.recv().await;
        assert!(matches!(ended, Some(Heard::Ended { fault: 0, back: Some((0, _)), blemish: None, .. })), "{ended:?}");
        let (log, other) =
            (std::fs::read_to_string(&log).unwrap(), std::fs::read_to_string(dir.path().join("other")).unwrap());
        assert_eq!(other, "", "nothing was done to the other one");
        assert!(log.contains("clean") && !log.contains("again"), "{log}");

        // And a run that is given up leaves neither process nor directory.
        assert!(data.exists());
        crew.lives.abort_all();
        while crew.lives.join_next().await.is_some() {}
        assert!(!data.exists());
    }
}
