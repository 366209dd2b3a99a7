//! The server: accepts connections up to a bound, serves HTTP/1 on them, and stops within a deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use squall_protocol::{ErrorBody, ErrorCode, WireError};
use squall_store::{Archive, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::app::App;
use crate::config::Config;
use crate::error::Error;
use crate::{graph, health_file, http as routes, ingest};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4_096;
/// Refused connections that are being told so; beyond, they are only closed.
const MAX_FAREWELLS: usize = 64;

/// Counts a connection for as long as it, or one of its clones, lives.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSlot {
    _permit: Arc<Counted>,
}

#[derive(Debug)]
struct Counted {
    _permit: OwnedSemaphorePermit,
    connections: prometheus_client::metrics::gauge::Gauge,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

/// The server, before it has an address.
#[derive(Debug)]
pub struct Gateway;

impl Gateway {
    /// Checks the configuration and listens. Nothing is served before [`Bound::serve`]. Without an archive, history is what the store
    /// remembers.
    ///
    /// # Errors
    /// When the configuration makes no sense, or the address cannot be had.
    pub async fn bind(config: Config, store: Arc<dyn Store>, archive: Option<Arc<Archive>>) -> Result<Bound, Error> {
        config.validate()?;
        let readers = ingest::readers(&config)?;
        let address = config.server.listen;
        let listener = listen(address).map_err(|source| Error::Bind { address, source })?;
        let local_addr = listener.local_addr().map_err(|source| Error::Bind { address, source })?;
        let statuses = readers.iter().map(ingest::Reader::status).collect();
        // Finding the folders to watch takes a while in a large tree.
        let graph = match config.graph.root.as_os_str().is_empty() {
            true => None,
            false => {
                let settings = config.graph.clone();
                let prepared = tokio::task::spawn_blocking(move || graph::Service::prepare(&settings)).await;
                let ended = |error| Error::Io { what: "looking at the source tree", source: io::Error::other(error) };
                Some(prepared.map_err(ended)??)
            }
        };
        let (graph, prepared) = graph.unzip();
        Ok(Bound { app: App::new(config, store, archive, statuses, graph), readers, prepared, listener, local_addr })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restart does not wait for the connections of its predecessor to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A server that has its address.
pub struct Bound {
    app: Arc<App>,
    readers: Vec<ingest::Reader>,
    prepared: Option<graph::Prepared>,
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

impl Bound {
    /// Where it listens; with port 0 configured, the port that it got.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until it is told to stop, then drains: accepts no more, returns leases, closes WebSockets with 1001, and waits for
    /// what is being answered, up to `server.drain_timeout_ms` without what is kept for closing the store: that stays open, and
    /// closing it is its owner's business.
    ///
    /// # Errors
    /// When listening fails for good.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        let Self { app, readers, prepared, listener, .. } = self;
        let background = [
            tokio::spawn(Arc::clone(&app.hub).run(app.kill.clone())),
            tokio::spawn(health_file::keep(Arc::clone(&app), stop.clone())),
        ];
        for reader in readers {
            app.tracker.spawn(reader.run(Arc::clone(&app)));
        }
        if let (Some(graph), Some(prepared)) = (app.graph.clone(), prepared) {
            let (store, dir) = (Arc::clone(&app.store), app.config.server.data_dir.clone());
            app.tracker.spawn_blocking(move || graph.work(prepared, store, &dir));
        }
        accept_until(&app, listener, &stop).await;

        tracing::info!("draining");
        app.draining.cancel();
        app.stopping.cancel();
        if let Some(graph) = &app.graph {
            graph.stop();
        }
        app.tracker.close();
        let closing_time = app.config.server.closing_time();
        let patience = app.config.server.drain_timeout() - closing_time;
        if tokio::time::timeout(patience, app.tracker.wait()).await.is_err() {
            tracing::warn!(left = app.tracker.len(), "the drain took too long; what is left is dropped");
            app.kill.cancel();
            // Dropping is quick; whoever does not even do that is left to the end of the process.
            let _ = tokio::time::timeout(closing_time / 4, app.tracker.wait()).await;
        }
        app.kill.cancel();
        for task in background {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task failed");
            }
        }
        Ok(())
    }
}

async fn accept_until(app: &Arc<App>, listener: TcpListener, stop: &CancellationToken) {
    let slots = Arc::new(Semaphore::new(app.config.server.max_connections.min(Semaphore::MAX_PERMITS)));
    let farewells = Arc::new(Semaphore::new(MAX_FAREWELLS));
    let router = routes::router(Arc::clone(app));
    let mut http = http1::Builder::new();
    let head_timeout = Duration::from_millis(app.config.server.head_timeout_ms);
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_header_size(app.config.server.max_head_bytes);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly. Connections wait in the kernel until some are given back.
                tracing::warn!(%error, "cannot accept a connection");
                app.metrics.connection_refused("error");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Answers are written whole; waiting for more to send along only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it was served");
            continue;
        }
        let Ok(permit) = Arc::clone(&slots).try_acquire_owned() else {
            app.metrics.connection_refused("too_many");
            if let Ok(farewell) = Arc::clone(&farewells).try_acquire_owned() {
                app.tracker.spawn(refuse(stream, farewell, app.config.server.max_connections));
            }
            continue;
        };
        app.metrics.connections.inc();
        let counted = Counted { _permit: permit, connections: app.metrics.connections.clone() };
        serve_connection(app, &http, router.clone(), stream, ConnectionSlot { _permit: Arc::new(counted) });
    }
}

fn serve_connection(
    app: &Arc<App>,
    http: &http1::Builder,
    router: routes::Routes,
    stream: TcpStream,
    slot: ConnectionSlot,
) {
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        // A WebSocket takes it along when it leaves this server.
        request.extensions_mut().insert(slot.clone());
        router.clone().oneshot(request)
    });
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let (stopping, kill) = (app.stopping.clone(), app.kill.clone());
    app.tracker.spawn(async move {
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = kill.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended badly");
        }
    });
}

/// Tells a client that there is no room, and lets it read that before the connection ends.
async fn refuse(mut stream: TcpStream, _farewell: OwnedSemaphorePermit, most: usize) {
    let message = format!("{most} connections are open, which is all that may be");
    let mut error = WireError::new(ErrorCode::TooManyConnections, message);
    error.retry_after_ms = Some(1_000);
    let status = crate::error::status(error.code);
    let body = serde_json::to_string(&ErrorBody { error }).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What the client was sending is read and thrown away: closing over it would reset the connection, answer and all.
        let mut rest = [0; 1_024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
}
