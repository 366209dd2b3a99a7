//! `squall serve`: opens the store, listens, says so, serves until it is told to stop, drains and closes.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use squall_gateway::Gateway;
use squall_store::{Archive, Store};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::exit::Exit;
use crate::shutdown::Deadline;
use crate::{logging, open_files, shutdown};

/// How long threads that still read or write files may take when everything else has ended, unless the deadline is nearer.
const LAST_THREADS: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT. The ready line on standard output is `listening on http://ADDR`; whoever starts a gateway
/// from a program waits for it.
pub(crate) fn serve(settings: Settings) -> anyhow::Result<Exit> {
    logging::start(&settings.log)?;
    match &settings.file {
        Some(path) => tracing::info!(file = %path.display(), "configuration"),
        None => tracing::info!("configuration: the built-in one; `squall config show` prints it"),
    }
    open_files::raise_limit(settings.gateway.server.max_connections);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let drain_timeout = settings.gateway.server.drain_timeout();
    let deadline = Deadline::new(drain_timeout);
    let outcome = runtime.block_on(async {
        let stop = shutdown::on_signal()?;
        shutdown::with_parent(&stop);
        deadline.begins_with(stop.clone());
        run(settings.gateway, stop, &deadline).await
    });
    runtime.shutdown_timeout(deadline.left().min(LAST_THREADS));
    outcome.map(|()| Exit::OK)
}

async fn run(config: squall_gateway::Config, stop: CancellationToken, deadline: &Deadline) -> anyhow::Result<()> {
    let dir = config.server.data_dir.clone();
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make the data directory {}", dir.display()))?;
    let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
    let place = match config.store.url.as_str() {
        "" => dir.display().to_string(),
        url => squall_store::redis::without_secrets(url),
    };
    let store = open(&dir, config.store_options()).await?;
    let archive = archive(&config, &store)?;
    let served = async {
        let bound = Gateway::bind(config, Arc::clone(&store), archive.clone()).await?;
        announce(&format!("http://{}", bound.local_addr()), &place);
        bound.serve(stop).await?;
        anyhow::Ok(())
    };
    let served = served.await;
    if let Some(archive) = archive {
        archive.stop().await;
    }
    let closed = close(store, deadline).await;
    served.and(closed)
}

/// The store that the configuration names: the embedded one in `dir`, or a Redis that other gateways use too.
async fn open(dir: &Path, options: squall_store::config::Options) -> anyhow::Result<Arc<dyn Store>> {
    if !options.store.url.is_empty() {
        return Ok(Arc::new(squall_store::redis::open(options).await?));
    }
    // Recovery reads files; signals must be heard meanwhile.
    let opening = tokio::task::spawn_blocking({
        let dir = dir.to_owned();
        move || squall_store::embedded::open(&dir, options)
    });
    Ok(Arc::new(opening.await?.with_context(|| format!("data directory {}", dir.display()))?))
}

/// The archive that the configuration names, if it names one. It need not be there: what is to be archived waits in the feed.
fn archive(config: &squall_gateway::Config, store: &Arc<dyn Store>) -> anyhow::Result<Option<Arc<Archive>>> {
    if config.archive.url.is_empty() {
        return Ok(None);
    }
    let archive = Archive::start(&config.archive, Arc::clone(store)).map_err(anyhow::Error::msg)?;
    Ok(Some(Arc::new(archive)))
}

/// Closes the store before the deadline, whatever its disk does: half of what is left is for a snapshot, which can be left out.
async fn close(store: Arc<dyn Store>, deadline: &Deadline) -> anyhow::Result<()> {
    let left = deadline.left();
    let closing = tokio::spawn(store.close_within(left / 2));
    match tokio::time::timeout(left - left / 10, closing).await {
        Ok(closed) => closed?.context("closing the store"),
        Err(_) => {
            tracing::warn!("the store took too long to close; its log has all that was answered");
            // To drop it would be to wait for it.
            std::mem::forget(store);
            Ok(())
        }
    }
}

/// A closed standard output must not keep a gateway from serving.
fn announce(url: &str, place: &str) {
    tracing::info!(url, data = place, "listening");
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "listening on {url}\ndata in {place}");
    let _ = out.flush();
}
