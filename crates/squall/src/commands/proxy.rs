//! `squall proxy`: starts the proxies of the configuration file, serves the API, and stops when it is told to.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use squall_faultproxy::{FaultProxy, Options, ProxySpec, Seed, config};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::ProxyArgs;
use crate::config::Log;
use crate::exit::{Exit, Usage};
use crate::{logging, open_files, shutdown};

/// Serves until SIGTERM or SIGINT. The ready line on standard output is `listening on http://ADDR`, and the seed comes
/// after it.
///
/// A configuration file that is wrong, or a proxy of it that cannot listen, is an error: Toxiproxy starts without them,
/// and a test that believes in faults that are not there proves nothing.
pub(crate) fn proxy(args: ProxyArgs) -> anyhow::Result<Exit> {
    let proxies = match &args.config {
        Some(path) => read(path)?,
        None => Vec::new(),
    };
    logging::start(&Log::default())?;
    // Two for each connection; there are as many as the system allows.
    open_files::raise_limit(0);
    let seed = Seed(args.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = shutdown::on_signal()?;
        shutdown::with_parent(&stop);
        run(&args.host, args.port, Options { seed, ..Options::default() }, proxies, stop).await
    })?;
    Ok(Exit::OK)
}

fn read(path: &Path) -> anyhow::Result<Vec<ProxySpec>> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
    Ok(config::read(&text, &file).map_err(|error| Usage(error.to_string()))?)
}

async fn run(
    host: &str,
    port: u16,
    options: Options,
    proxies: Vec<ProxySpec>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let seed = options.seed;
    let listener = TcpListener::bind((host, port)).await.with_context(|| format!("cannot listen on {host}:{port}"))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the API knows no passwords: whoever reaches it can reach what this machine can");
    }
    let faults = FaultProxy::new(options, &stop);
    let served = async {
        for spec in proxies {
            let name = spec.name.clone();
            faults.create(spec).await.with_context(|| format!("proxy {name:?}"))?;
        }
        announce(&format!("http://{address}"), seed);
        squall_faultproxy::serve(listener, faults.clone(), stop).await;
        anyhow::Ok(())
    };
    let served = served.await;
    faults.stop().await;
    served
}

/// A closed standard output must not keep it from serving.
fn announce(url: &str, seed: Seed) {
    tracing::info!(url, seed = seed.0, "listening");
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "listening on {url}\nseed {}", seed.0);
    let _ = out.flush();
}
