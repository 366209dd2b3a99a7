//! What the storm sets up around the target: servers for own gateways, programs of the scenario, fault proxies between all of them;
//! what is done to these while a run goes on; and the journal of everything that must not be left behind.
//!
//! `servers` are processes, `sources` a tree for the gateways to read, `proxies` lie between, `journal` outlives a crash of the storm itself. Which fault is due is decided
//! elsewhere; own gateways have a life of their own (`target::own`).

mod journal;
mod proxies;
mod servers;
mod sources;

use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) use journal::Journal;
pub use journal::restore;
use squall_client::{Endpoint, Endpoints};
use squall_report::record::Struck;
use tokio::sync::mpsc;

use self::proxies::Proxies;
use self::servers::Server;
use crate::engine::Clock;
use crate::error::{Error, Result};
use crate::faults::{Deed, Link, Links, ProcessFault, Subject, Toxic};
use crate::scenario::{Proxy, Scenario, Service};
use crate::target::Heard;

/// Everything around the target.
pub(crate) struct Rig {
    /// None until a proxy is needed.
    proxies: Option<Proxies>,
    servers: Vec<Server>,
    journal: Arc<Journal>,
    /// Of servers that keep something.
    dir: tempfile::TempDir,
    seed: u64,
    gateways: u32,
    /// Proxies lie everywhere, because somebody wants to set them while the run goes on.
    everywhere: bool,
    /// Connections that were cut when the proxies of the fault that goes on were closed.
    cut: u64,
}

/// What is to be done to it.
#[derive(Debug)]
pub(crate) enum RigAct {
    /// The fault with this index begins.
    Begin(usize, Deed),
    /// It is taken back.
    End(usize, Deed),
}

impl Rig {
    /// Starts what the scenario wants before the target, and writes into it where that is. With `api` there is a proxy in every place,
    /// and all of them can be set through Toxiproxy's API, on that address, while the run goes on.
    ///
    /// # Errors
    /// When something does not start, or a fault is meant for a server that somebody else has started.
    pub(crate) async fn build(
        scenario: &mut Scenario,
        seed: u64,
        api: Option<SocketAddr>,
        log: impl Fn(&str) -> std::path::PathBuf,
    ) -> Result<Self> {
        let system = |what| move |source| Error::System { what, source };
        let journal = Arc::new(Journal::open().map_err(system("opening the journal of what must not be left behind"))?);
        let dir = tempfile::Builder::new().prefix("squall-rig-").tempdir();
        let dir = dir.map_err(system("making a directory for what is around the gateways"))?;
        journal.dir(dir.path());
        let mut rig = Self {
            proxies: None,
            servers: Vec::new(),
            journal,
            dir,
            seed,
            gateways: scenario.gateways,
            everywhere: api.is_some(),
            cut: 0,
        };
        if let Some(api) = api {
            rig.proxies()?.serve(api).await.map_err(Error::Target)?;
        }
        for service in scenario.services.clone() {
            let given = match service {
                Service::Redis => scenario.store_url(),
                Service::Postgres => scenario.archive_url(),
            };
            if given.is_none() {
                let server = Server::service(service, rig.dir.path()).await.map_err(Error::Target)?;
                let (section, url) = (if service == Service::Redis { "store" } else { "archive" }, server.url());
                rig.serve(server);
                scenario.set(section, "url", url);
            }
        }
        if let Some(sources) = scenario.sources {
            let root = rig.dir.path().join("sources");
            sources::make(&root, sources).map_err(system("making the source tree"))?;
            scenario.set("graph", "root", root.display().to_string());
        }
        for process in &scenario.process {
            let server = Server::program(process, &log(&process.name)).await.map_err(Error::Target)?;
            rig.serve(server);
        }
        for fault in &scenario.fault {
            if let Deed::Process(_, Subject::Process(name)) = &fault.deed
                && !rig.servers.iter().any(|server| server.name() == name)
            {
                let message = format!(
                    "a fault is done to {name}, and an address is given for it: the storm does not touch what others started"
                );
                return Err(Error::Usage(format!("{}: {message}", scenario.file)));
            }
        }
        for Proxy { name, listen, upstream } in scenario.proxy.clone() {
            rig.proxies()?.create(name, listen, upstream).await.map_err(Error::Target)?;
        }
        Ok(rig)
    }

    /// What must not be left behind.
    pub(crate) fn journal(&self) -> Arc<Journal> {
        self.journal.clone()
    }

    fn serve(&mut self, server: Server) {
        self.journal.process(server.name(), server.pid());
        if let Some(dir) = server.own_dir() {
            self.journal.dir(&dir);
        }
        self.servers.push(server);
    }

    fn proxies(&mut self) -> Result<&mut Proxies> {
        if self.proxies.is_none() {
            self.proxies = Some(
                Proxies::new(self.seed)
                    .map_err(|source| Error::System { what: "starting the fault proxies", source })?,
            );
        }
        self.proxies.as_mut().ok_or_else(|| Error::Target("there are no fault proxies".to_owned()))
    }

    /// The address by which the gateway with this number, from 1, reaches its Redis or PostgreSQL: through a proxy if a fault is in
    /// one.
    ///
    /// # Errors
    /// When the address names no place that a proxy could lie before.
    pub(crate) async fn url_for(&mut self, scenario: &Scenario, link: Link, gateway: u32) -> Result<Option<String>> {
        let (url, port) = match link {
            Link::Redis => (scenario.store_url(), 6379),
            _ => (scenario.archive_url(), 5432),
        };
        let Some(url) = url else { return Ok(None) };
        if !self.is_wanted(scenario, &link) {
            return Ok(Some(url.to_owned()));
        }
        let no_place = || {
            Error::Usage(format!(
                "{}: a fault proxy cannot lie before {}",
                scenario.file,
                crate::scenario::without_password(url)
            ))
        };
        let (before, upstream, after) = proxies::split(url, port).ok_or_else(no_place)?;
        let listen = self.put_before(upstream, &link, gateway).await?;
        Ok(Some(format!("{before}{listen}{after}")))
    }

    /// The gateways as clients of this kind reach them: through proxies if a fault is in them. `None`: as everybody does.
    ///
    /// # Errors
    /// When a proxy cannot be had.
    pub(crate) async fn way(
        &mut self,
        scenario: &Scenario,
        link: Link,
        gateways: &Endpoints,
    ) -> Result<Option<Endpoints>> {
        if !self.is_wanted(scenario, &link) {
            return Ok(None);
        }
        let mut through = Vec::new();
        for (gateway, endpoint) in (1..).zip(gateways.all()) {
            let upstream = format!("{}:{}", endpoint.host(), endpoint.port());
            let listen = self.put_before(upstream, &link, gateway).await?;
            let endpoint =
                Endpoint::parse(&format!("http://{listen}")).map_err(|error| Error::Target(error.to_string()))?;
            through.push(endpoint);
        }
        Ok(Endpoints::new(through))
    }

    /// Whether proxies are to lie in this place.
    fn is_wanted(&self, scenario: &Scenario, link: &Link) -> bool {
        self.everywhere || scenario.has_faults_in(link)
    }

    /// A new proxy before `upstream`, for the gateway with this number; answers where it listens.
    async fn put_before(&mut self, upstream: String, link: &Link, gateway: u32) -> Result<String> {
        let name = name_of(link, gateway);
        self.proxies()?.create(name, String::new(), upstream).await.map_err(Error::Target)
    }

    /// Hears acts until there will be none; then everything is undone and ended.
    pub(crate) async fn live(mut self, clock: Clock, mut acts: mpsc::Receiver<RigAct>, heard: mpsc::Sender<Heard>) {
        while let Some(act) = acts.recv().await {
            let told = match act {
                RigAct::Begin(fault, deed) => {
                    let at_us = clock.now_us();
                    self.begin(fault, &deed).await.map(|()| Heard::Begun { fault, at_us, down: None })
                }
                RigAct::End(fault, deed) => {
                    let ended = self.end(fault, &deed).await;
                    ended.map(|struck| Heard::Ended { fault, at_us: clock.now_us(), back: None, blemish: None, struck })
                }
            };
            if heard.send(told.unwrap_or_else(Heard::Broken)).await.is_err() {
                // Nobody listens any more: the run is over.
                return;
            }
        }
    }

    async fn begin(&mut self, fault: usize, deed: &Deed) -> std::result::Result<(), String> {
        match deed {
            Deed::Process(what, Subject::Process(name)) => self.server(name, fault, *what, true).await,
            Deed::Toxic(links, toxics) => {
                let specs = specs(fault, toxics);
                for proxy in self.names(links) {
                    self.through()?.poison(&proxy, &specs).await?;
                }
                Ok(())
            }
            Deed::Down(links) => {
                self.cut = 0;
                for proxy in self.names(links) {
                    self.cut += self.through()?.close(&proxy).await?;
                }
                Ok(())
            }
            Deed::Process(..) | Deed::FillDisk(..) | Deed::Clock(..) => Ok(()),
        }
    }

    async fn end(&mut self, fault: usize, deed: &Deed) -> std::result::Result<Option<Struck>, String> {
        match deed {
            Deed::Process(what, Subject::Process(name)) => self.server(name, fault, *what, false).await.map(|()| None),
            Deed::Toxic(links, toxics) => {
                let (specs, mut struck) = (specs(fault, toxics), Struck::default());
                for proxy in self.names(links) {
                    let of_one = self.through()?.cure(&proxy, &specs).await?;
                    struck.connections += of_one.connections;
                    struck.bytes += of_one.bytes;
                }
                Ok(Some(struck))
            }
            Deed::Down(links) => {
                for proxy in self.names(links) {
                    self.through()?.open(&proxy).await?;
                }
                Ok(Some(Struck { connections: self.cut, bytes: 0 }))
            }
            Deed::Process(..) | Deed::FillDisk(..) | Deed::Clock(..) => Ok(None),
        }
    }

    /// A fault of a server begins, or is taken back.
    async fn server(
        &mut self,
        name: &str,
        fault: usize,
        what: ProcessFault,
        begins: bool,
    ) -> std::result::Result<(), String> {
        let at = self.servers.iter().position(|server| server.name() == name);
        let at = at.ok_or_else(|| format!("fault {}: there is no process {name}", fault + 1))?;
        let mut server = self.servers.swap_remove(at);
        // Ends and starts of servers block; they are done by a thread that may.
        let done = tokio::task::spawn_blocking(move || {
            let done = if begins { server.begin(what) } else { server.end(what) };
            (server, done)
        });
        let (server, done) = done.await.map_err(|error| error.to_string())?;
        self.journal.process(server.name(), server.pid());
        self.servers.push(server);
        done
    }

    fn through(&self) -> std::result::Result<&Proxies, String> {
        self.proxies.as_ref().ok_or_else(|| "there are no fault proxies".to_owned())
    }

    /// The proxies that are meant.
    fn names(&self, links: &Links) -> Vec<String> {
        let of_link = |link: &Link| match link {
            Link::Named(name) => vec![name.clone()],
            link => {
                let meant = (1..=self.gateways).filter(|gateway| links.whom.means(*gateway as usize - 1));
                meant.map(|gateway| name_of(link, gateway)).collect()
            }
        };
        links.links.iter().flat_map(of_link).collect()
    }
}

fn name_of(link: &Link, gateway: u32) -> String {
    format!("{}-{gateway}", link.as_str())
}

fn specs(fault: usize, toxics: &[Toxic]) -> Vec<squall_faultproxy::ToxicSpec> {
    let named = |(nth, toxic): (usize, &Toxic)| toxic.specs(&format!("fault-{}-{}", fault + 1, nth + 1));
    toxics.iter().enumerate().flat_map(named).collect()
}
