//! The listener of the API: connections up to a bound, HTTP/1 on them, until it is told to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Request;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::route;
use crate::control::FaultProxy;
use crate::error::Error;

/// How long a client may take for a request's head, and again for its body; an idle connection is closed after it, too.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long answers that are under way may take when it is told to stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves the API until it is told to stop. The proxies go on: they have their own token. A connection that cannot be
/// accepted is told to the log, and tried again.
pub async fn serve(listener: TcpListener, proxies: FaultProxy, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(proxies.options().max_api_connections.min(Semaphore::MAX_PERMITS)));
    let (tracker, requests) = (TaskTracker::new(), Arc::new(RequestIds::new()));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    loop {
        let next = async {
            // Before the connection is accepted: who finds no room waits in the kernel.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let Some((slot, accepted)) = stop.run_until_cancelled(next).await else { break };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the API");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (proxies, requests, http, stop) = (proxies.clone(), Arc::clone(&requests), http.clone(), stop.clone());
        tracker.spawn(async move {
            connection(&http, stream, proxies, requests, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    tracker.close();
    let _ = tokio::time::timeout(FAREWELL, tracker.wait()).await;
}

async fn connection(
    http: &http1::Builder,
    stream: TcpStream,
    proxies: FaultProxy,
    requests: Arc<RequestIds>,
    stop: CancellationToken,
) {
    let service = service_fn(move |request| {
        let (proxies, requests) = (proxies.clone(), Arc::clone(&requests));
        async move { Ok::<_, Infallible>(respond(&proxies, &requests, request).await) }
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API ended badly");
    }
}

async fn respond(proxies: &FaultProxy, requests: &RequestIds, request: Request<hyper::body::Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let from_browser = is_from_browser(&head.headers);
    let body = read(body, proxies.options().max_body_bytes).await;
    let body = body.as_ref().map(AsRef::as_ref).map_err(Clone::clone);
    let answer = match route::answer(proxies, &head.method, head.uri.path(), from_browser, body).await {
        Ok(mut answer) => {
            if let Ok(id) = HeaderValue::from_str(&requests.next()) {
                answer.headers_mut().insert("x-toxiproxy-request-id", id);
            }
            answer
        }
        Err(answer) => answer,
    };
    tracing::debug!(method = %head.method, path = head.uri.path(), status = answer.status().as_u16(), "answered");
    answer
}

/// A browser lets any page send simple requests to any address, this one included. It says so: with its name, as
/// Toxiproxy has it, and with the page's origin.
fn is_from_browser(headers: &hyper::HeaderMap) -> bool {
    headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"))
        || headers.contains_key("origin")
}

async fn read(body: hyper::body::Incoming, most: usize) -> Result<Bytes, Error> {
    match tokio::time::timeout(PATIENCE, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Error::TooLarge(most)),
        Ok(Err(error)) => Err(Error::BadBody(error.to_string())),
        Err(_) => Err(Error::BadBody("it did not come in time".to_owned())),
    }
}

/// Names of requests, for whoever looks for one in a log.
struct RequestIds {
    since: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { since, next: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        format!("{:08x}{:012x}", self.since & 0xffff_ffff, self.next.fetch_add(1, Ordering::Relaxed))
    }
}
