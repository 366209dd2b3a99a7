//! Fault proxies, on a thread of their own: what goes through them waits for nothing that the storm does besides.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use squall_faultproxy::{FaultProxy, Options, ProxySpec, ProxyUpdate, Seed, ToxicSpec};
use squall_report::record::Struck;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, String>;

/// All of them. They close when this value goes.
pub(super) struct Proxies {
    faults: FaultProxy,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    stop: CancellationToken,
}

impl Proxies {
    pub(super) fn new(seed: u64) -> std::io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("storm-proxies").enable_all().build()?;
        let stop = CancellationToken::new();
        let faults = FaultProxy::new(Options { seed: Seed(seed), ..Options::default() }, &stop);
        Ok(Self { faults, runtime: Some(runtime), stop })
    }

    /// From now on they can be set through Toxiproxy's API too; answers where.
    pub(super) async fn serve(&self, address: SocketAddr) -> Result<SocketAddr> {
        let runtime = self.runtime.as_ref().ok_or("the fault proxies are closed")?;
        let bound = runtime.spawn(tokio::net::TcpListener::bind(address)).await.map_err(|error| error.to_string())?;
        let refused = |error: std::io::Error| format!("the fault proxies' API cannot listen on {address}: {error}");
        let listener = bound.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        runtime.spawn(squall_faultproxy::serve(listener, self.faults.clone(), self.stop.clone()));
        Ok(address)
    }

    /// Has it done by the proxies' own thread: sockets and timers belong to the runtime that makes them.
    async fn there<T: Send + 'static>(
        &self,
        work: impl Future<Output = std::result::Result<T, squall_faultproxy::Error>> + Send + 'static,
    ) -> Result<T> {
        let runtime = self.runtime.as_ref().ok_or("the fault proxies are closed")?;
        let done = runtime.spawn(work).await.map_err(|error| error.to_string())?;
        done.map_err(|error| format!("fault proxy: {error}"))
    }

    /// A new one; answers where it listens.
    pub(super) async fn create(&self, name: String, listen: String, upstream: String) -> Result<String> {
        let spec = ProxySpec { listen, ..ProxySpec::new(name, upstream) };
        let faults = self.faults.clone();
        Ok(self.there(async move { faults.create(spec).await }).await?.listen)
    }

    /// Adds toxics to a proxy.
    pub(super) async fn poison(&self, proxy: &str, toxics: &[ToxicSpec]) -> Result<()> {
        let (faults, proxy, toxics) = (self.faults.clone(), proxy.to_owned(), toxics.to_vec());
        self.there(async move { toxics.into_iter().try_for_each(|toxic| faults.add_toxic(&proxy, toxic).map(drop)) })
            .await
    }

    /// Removes these toxics; answers what they have struck: a connection that met several of them is one.
    pub(super) async fn cure(&self, proxy: &str, toxics: &[ToxicSpec]) -> Result<Struck> {
        let mut by_direction: BTreeMap<&str, u64> = BTreeMap::new();
        let mut struck = Struck::default();
        let figures = self.faults.figures().into_iter().find(|figures| figures.name == proxy);
        for (name, _, stream, figures) in figures.iter().flat_map(|figures| &figures.toxics) {
            if toxics.iter().any(|toxic| toxic.name == *name) {
                let connections = by_direction.entry(stream).or_default();
                *connections = figures.connections.max(*connections);
                struck.bytes += figures.bytes;
            }
        }
        struck.connections = by_direction.into_values().max().unwrap_or(0);
        let names: Vec<_> = toxics.iter().map(|toxic| toxic.name.clone()).collect();
        let (faults, proxy) = (self.faults.clone(), proxy.to_owned());
        self.there(async move { names.iter().try_for_each(|name| faults.remove_toxic(&proxy, name)) }).await?;
        Ok(struck)
    }

    /// Lets nobody through any more; answers how many connections that has cut.
    pub(super) async fn close(&self, proxy: &str) -> Result<u64> {
        let figures = self.faults.figures().into_iter().find(|figures| figures.name == proxy);
        self.enable(proxy, false).await?;
        Ok(figures.map_or(0, |figures| figures.open))
    }

    /// Lets everybody through again.
    pub(super) async fn open(&self, proxy: &str) -> Result<()> {
        self.enable(proxy, true).await
    }

    async fn enable(&self, proxy: &str, enabled: bool) -> Result<()> {
        let (faults, name) = (self.faults.clone(), proxy.to_owned());
        let update = ProxyUpdate { enabled: Some(enabled), ..ProxyUpdate::default() };
        self.there(async move { faults.update(&name, update).await.map(drop) }).await
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.stop.cancel();
        // A runtime must not be waited for where others run.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An address around its `host:port`: what stands before it, the place, and what comes after. `None` when it names no one place.
pub(super) fn split(url: &str, port: u16) -> Option<(String, String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let (user, place) = authority.rsplit_once('@').map_or(("", authority), |(user, place)| (user, place));
    let user = if user.is_empty() { String::new() } else { format!("{user}@") };
    let has_port =
        place.rsplit_once(':').is_some_and(|(host, port)| !host.ends_with(':') && port.parse::<u16>().is_ok());
    if place.is_empty() || place.contains(',') {
        return None;
    }
    let place = if has_port { place.to_owned() } else { format!("{place}:{port}") };
    Some((format!("{scheme}://{user}"), place, after.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split_around_its_place() {
        for (url, expected) in [
            ("redis://h:1/2", Some(("redis://", "h:1", "/2"))),
            ("redis://me:p%40ss@h", Some(("redis://me:p%40ss@", "h:6379", ""))),
            (
                "postgres://u@127.0.0.1:5/db?sslmode=disable",
                Some(("postgres://u@", "127.0.0.1:5", "/db?sslmode=disable")),
            ),
            ("redis://[::1]:7/", Some(("redis://", "[::1]:7", "/"))),
            ("postgres://a,b/db", None),
            ("redis:///", None),
            ("unix:/x", None),
        ] {
            let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
            assert_eq!(split(url, 6379), expected, "{url}");
        }
    }
}
