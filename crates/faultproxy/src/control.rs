//! All proxies of one program: what can be done with them, from inside it or through the API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Options;
use crate::error::Error;
use crate::metrics::{self, ProxyFigures};
use crate::proxy::{Proxy, resolve};
use crate::spec::{ProxySpec, ProxyUpdate, ProxyView, ToxicSpec, ToxicUpdate, ToxicView};

/// Proxies with toxics. Clones are the same proxies.
///
/// Needs a tokio runtime with I/O and time. No call waits for a connection or an upstream.
#[derive(Clone)]
pub struct FaultProxy(Arc<Inner>);

struct Inner {
    options: Options,
    proxies: RwLock<BTreeMap<String, Arc<Proxy>>>,
    /// Changes of proxies come one at a time.
    changing: tokio::sync::Mutex<()>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultProxy").field("proxies", &self.0.proxies.read().keys()).finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// No proxy yet. When `stop` is cancelled, all of them close their listeners and connections.
    #[must_use]
    pub fn new(options: Options, stop: &CancellationToken) -> Self {
        Self(Arc::new(Inner {
            options,
            proxies: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            tracker: TaskTracker::new(),
            stop: stop.child_token(),
        }))
    }

    /// As it was set.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    fn find(&self, name: &str) -> Result<Arc<Proxy>, Error> {
        self.0.proxies.read().get(name).cloned().ok_or(Error::ProxyNotFound)
    }

    /// All proxies, by name.
    #[must_use]
    pub fn list(&self) -> BTreeMap<String, ProxyView> {
        self.0.proxies.read().iter().map(|(name, proxy)| (name.clone(), proxy.view())).collect()
    }

    /// One proxy.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn get(&self, name: &str) -> Result<ProxyView, Error> {
        Ok(self.find(name)?.view())
    }

    /// A new proxy, with its toxics there from the first connection on.
    ///
    /// # Errors
    /// When something is missing, taken, or cannot be had; then there is no such proxy.
    pub async fn create(&self, spec: ProxySpec) -> Result<ProxyView, Error> {
        let _changing = self.0.changing.lock().await;
        if self.0.proxies.read().contains_key(&spec.name) {
            return Err(Error::ProxyExists);
        }
        self.build(spec).await
    }

    async fn build(&self, spec: ProxySpec) -> Result<ProxyView, Error> {
        for (field, value) in [("name", &spec.name), ("upstream", &spec.upstream)] {
            if value.is_empty() {
                return Err(Error::MissingField(field.to_owned()));
            }
        }
        let most = self.0.options.max_proxies;
        if self.0.proxies.read().len() >= most {
            return Err(Error::TooMany { what: "proxies", most });
        }
        let (enabled, toxics) = (spec.enabled, spec.toxics.clone());
        let address = if enabled { Some(resolve(&spec.listen).await?) } else { None };
        if self.0.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let proxy = Proxy::new(&spec, &self.0.options, self.0.tracker.clone(), self.0.stop.clone());
        proxy.add_toxics(toxics)?;
        if let Some(address) = address {
            proxy.start(address)?;
        }
        let view = proxy.view();
        self.0.proxies.write().insert(spec.name, proxy);
        Ok(view)
    }

    /// Creates what is not there, replaces what is different, and leaves alone what has the same listener and upstream
    /// (whatever else differs, as Toxiproxy does), save that toxics which are given replace those there are.
    ///
    /// # Errors
    /// With what was done before the first that failed.
    pub async fn populate(&self, specs: Vec<ProxySpec>) -> Result<Vec<ProxyView>, (Error, Vec<ProxyView>)> {
        let _changing = self.0.changing.lock().await;
        let mut done = Vec::new();
        for spec in specs {
            match self.populate_one(spec).await {
                Ok(view) => done.push(view),
                Err(error) => return Err((error, done)),
            }
        }
        Ok(done)
    }

    async fn populate_one(&self, spec: ProxySpec) -> Result<ProxyView, Error> {
        if let Ok(there) = self.find(&spec.name) {
            let same_place = there.listen() == spec.listen
                || (there.is_enabled() && resolve(&spec.listen).await?.to_string() == there.listen());
            if same_place && there.upstream() == spec.upstream {
                if !spec.toxics.is_empty() {
                    there.remove_toxics();
                    there.add_toxics(spec.toxics)?;
                }
                return Ok(there.view());
            }
            self.0.proxies.write().remove(&spec.name);
            there.remove_toxics();
            there.stop().await;
        }
        self.build(spec).await
    }

    /// Changes a proxy. Its toxics stay; its connections end if it is moved or disabled.
    ///
    /// # Errors
    /// When there is none, or it cannot listen there; it is disabled then.
    pub async fn update(&self, name: &str, update: ProxyUpdate) -> Result<ProxyView, Error> {
        let _changing = self.0.changing.lock().await;
        let proxy = self.find(name)?;
        let enabled = update.enabled.unwrap_or_else(|| proxy.is_enabled());
        let listen = update.listen.filter(|listen| !listen.is_empty());
        let upstream = update.upstream.filter(|upstream| !upstream.is_empty() && *upstream != proxy.upstream());
        let moved = match &listen {
            Some(listen) => *listen != proxy.listen() && resolve(listen).await?.to_string() != proxy.listen(),
            None => false,
        };
        if moved || upstream.is_some() || !enabled {
            proxy.stop().await;
        }
        proxy.move_to(listen.filter(|_| moved), upstream);
        if enabled {
            proxy.start(resolve(&proxy.listen()).await?)?;
        }
        Ok(proxy.view())
    }

    /// Ends a proxy, its connections and its toxics.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let _changing = self.0.changing.lock().await;
        let proxy = self.0.proxies.write().remove(name).ok_or(Error::ProxyNotFound)?;
        proxy.stop().await;
        proxy.remove_toxics();
        Ok(())
    }

    /// Undoes every fault: all toxics go, all proxies listen.
    ///
    /// # Errors
    /// When one cannot listen; the others do all the same.
    pub async fn reset(&self) -> Result<(), Error> {
        let _changing = self.0.changing.lock().await;
        let proxies: Vec<_> = self.0.proxies.read().values().cloned().collect();
        let mut failed = None;
        for proxy in proxies {
            proxy.remove_toxics();
            let started = match resolve(&proxy.listen()).await {
                Ok(address) => proxy.start(address),
                Err(error) => Err(error),
            };
            failed = failed.or(started.err());
        }
        failed.map_or(Ok(()), Err)
    }

    /// Ends all connections of a proxy with RST, now, once; it goes on listening.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn reset_connections(&self, name: &str) -> Result<(), Error> {
        self.find(name)?.reset_connections();
        Ok(())
    }

    /// Adds a toxic, last in its direction. It strikes open connections at once.
    ///
    /// # Errors
    /// When there is no such proxy, or already such a toxic.
    pub fn add_toxic(&self, proxy: &str, spec: ToxicSpec) -> Result<ToxicView, Error> {
        let (proxy, name) = (self.find(proxy)?, spec.full_name());
        proxy.add_toxics(vec![spec])?;
        self.toxic_of(&proxy, &name)
    }

    fn toxic_of(&self, proxy: &Proxy, name: &str) -> Result<ToxicView, Error> {
        proxy.view().toxics.into_iter().find(|toxic| toxic.name == name).ok_or(Error::ToxicNotFound)
    }

    /// One toxic.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn toxic(&self, proxy: &str, name: &str) -> Result<ToxicView, Error> {
        self.toxic_of(&*self.find(proxy)?, name)
    }

    /// Changes a toxic on open connections, without ending them.
    ///
    /// # Errors
    /// When there is none of this name, or an attribute makes no sense; then nothing is changed.
    pub fn update_toxic(&self, proxy: &str, name: &str, update: ToxicUpdate) -> Result<ToxicView, Error> {
        self.find(proxy)?.update_toxic(name, update)
    }

    /// Removes a toxic. What it held back goes on its way; connections of which it threw something away are closed.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove_toxic(&self, proxy: &str, name: &str) -> Result<(), Error> {
        self.find(proxy)?.remove_toxic(name)
    }

    /// What was counted so far, of every proxy.
    #[must_use]
    pub fn figures(&self) -> Vec<ProxyFigures> {
        self.0.proxies.read().values().map(|proxy| proxy.figures()).collect()
    }

    /// The same in Prometheus' text format.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        metrics::render(&self.figures())
    }

    /// Closes everything, and waits for it.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tracker.close();
        // Links end at once; one whose thread is held up is left to the end of the process.
        if tokio::time::timeout(Duration::from_secs(5), self.0.tracker.wait()).await.is_err() {
            tracing::warn!(left = self.0.tracker.len(), "some connections took too long to end");
        }
    }
}
