//! One proxy: its listener, its toxics, and the connections through it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chain::Ending;
use crate::config::Options;
use crate::draw::Seed;
use crate::error::Error;
use crate::link::{self, Signal};
use crate::metrics::{Counters, ProxyCounters, ProxyFigures};
use crate::schedule::Schedule;
use crate::spec::{Direction, ProxySpec, ProxyView, ToxicSpec, ToxicUpdate, ToxicView};
use crate::toxics::Attributes;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4_096;
/// Silence after which the system asks whether a peer is still there, as Go does.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The toxics that are on, for connections to read. Never changed, only replaced.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) epoch: u64,
    /// By direction, in order.
    pub(crate) toxics: [Vec<Planned>; 2],
}

/// A toxic that is on.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) id: u64,
    pub(crate) revision: u64,
    /// The epoch that it came with; for connections accepted before, it is new.
    pub(crate) since: u64,
    pub(crate) name: String,
    pub(crate) toxicity: f32,
    pub(crate) attributes: Attributes,
    pub(crate) counters: Counters,
}

impl Plan {
    /// Those of both directions that strike this connection.
    pub(crate) fn strikes(&self, shared: &Shared, number: u64) -> impl Iterator<Item = &Planned> {
        Direction::ALL.into_iter().flat_map(move |direction| {
            self.toxics[direction as usize].iter().filter(move |toxic| {
                shared.seed.of(&shared.name, &toxic.name, direction, number).strikes(toxic.toxicity)
            })
        })
    }
}

/// What a proxy's connections share with it.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) seed: Seed,
    pub(crate) connect_timeout: Duration,
    pub(crate) plan: ArcSwap<Plan>,
    epoch: AtomicU64,
    pub(crate) counters: ProxyCounters,
    links: Mutex<HashMap<u64, Arc<Signal>>>,
    max_connections: usize,
    accepted: AtomicU64,
}

impl Shared {
    /// Goes up with every change of toxics.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Other toxics from the next epoch on. Called by one at a time.
    fn replace(&self, toxics: [Vec<Planned>; 2]) {
        let epoch = self.epoch() + 1;
        self.plan.store(Arc::new(Plan { epoch, toxics }));
        self.epoch.store(epoch, Ordering::Release);
        self.links.lock().values().for_each(|signal| signal.wake());
    }

    fn end_all(&self, ending: Ending) {
        self.links.lock().values().for_each(|signal| signal.end(ending));
    }
}

/// A proxy. Changes come one at a time; its owner sees to that.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    state: Mutex<State>,
    max_toxics: usize,
    tracker: TaskTracker,
    stop: CancellationToken,
}

struct State {
    listen: String,
    upstream: String,
    running: Option<Running>,
    toxics: Vec<Toxic>,
    next_id: u64,
}

struct Running {
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

struct Toxic {
    spec: ToxicSpec,
    id: u64,
    revision: u64,
    active: bool,
    /// The epoch since which it is on.
    since: Option<u64>,
    counters: Counters,
    /// Of the task that obeys its schedule.
    scheduled: CancellationToken,
}

impl Drop for Toxic {
    fn drop(&mut self) {
        self.scheduled.cancel();
    }
}

impl Proxy {
    /// Not listening yet.
    pub(crate) fn new(spec: &ProxySpec, options: &Options, tracker: TaskTracker, stop: CancellationToken) -> Arc<Self> {
        let shared = Shared {
            name: spec.name.clone(),
            seed: options.seed,
            connect_timeout: options.connect_timeout,
            plan: ArcSwap::default(),
            epoch: AtomicU64::new(0),
            counters: ProxyCounters::default(),
            links: Mutex::default(),
            max_connections: options.max_connections,
            accepted: AtomicU64::new(0),
        };
        let state = State {
            listen: spec.listen.clone(),
            upstream: spec.upstream.clone(),
            running: None,
            toxics: Vec::new(),
            next_id: 1,
        };
        Arc::new(Self {
            shared: Arc::new(shared),
            state: Mutex::new(state),
            max_toxics: options.max_toxics,
            tracker,
            stop,
        })
    }

    pub(crate) fn listen(&self) -> String {
        self.state.lock().listen.clone()
    }

    pub(crate) fn upstream(&self) -> String {
        self.state.lock().upstream.clone()
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.state.lock().running.is_some()
    }

    /// Another place, from the next start on.
    pub(crate) fn move_to(&self, listen: Option<String>, upstream: Option<String>) {
        let mut state = self.state.lock();
        if let Some(listen) = listen {
            state.listen = listen;
        }
        if let Some(upstream) = upstream {
            state.upstream = upstream;
        }
    }

    /// Listens; does nothing if it does already.
    pub(crate) fn start(&self, address: SocketAddr) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.running.is_some() {
            return Ok(());
        }
        let listener = bind(address)?;
        let local = listener.local_addr().map_err(|error| listen_error(address, &error))?;
        state.listen = local.to_string();
        let stop = self.stop.child_token();
        let upstream: Arc<str> = state.upstream.as_str().into();
        tracing::info!(proxy = self.shared.name, listen = state.listen, upstream = &*upstream, "proxy started");
        let accepting = accept(Arc::clone(&self.shared), listener, upstream, stop.clone(), self.tracker.clone());
        state.running = Some(Running { stop, accepting: self.tracker.spawn(accepting) });
        Ok(())
    }

    /// Nobody listens any more when this returns, and all connections have been told to end.
    pub(crate) async fn stop(&self) {
        let running = self.state.lock().running.take();
        let Some(running) = running else { return };
        running.stop.cancel();
        // It never waits for anything else.
        let _ = running.accepting.await;
        tracing::info!(proxy = self.shared.name, "proxy stopped");
    }

    /// Connections of its own that are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.links.lock().len()
    }

    /// Ends all its connections with RST, now; it goes on listening.
    pub(crate) fn reset_connections(&self) {
        self.shared.end_all(Ending::Reset);
    }

    pub(crate) fn view(&self) -> ProxyView {
        let state = self.state.lock();
        ProxyView {
            name: self.shared.name.clone(),
            listen: state.listen.clone(),
            upstream: state.upstream.clone(),
            enabled: state.running.is_some(),
            toxics: views(&state),
        }
    }

    pub(crate) fn figures(&self) -> ProxyFigures {
        let state = self.state.lock();
        let toxics = state.toxics.iter().map(|toxic| {
            let spec = &toxic.spec;
            (spec.name.clone(), spec.attributes.type_name(), spec.direction.as_str(), toxic.counters.figures())
        });
        ProxyFigures {
            name: self.shared.name.clone(),
            listen: state.listen.clone(),
            upstream: state.upstream.clone(),
            open: self.open() as u64,
            toxics: toxics.collect(),
            ..self.shared.counters.figures()
        }
    }

    /// All or none.
    pub(crate) fn add_toxics(self: &Arc<Self>, specs: Vec<ToxicSpec>) -> Result<(), Error> {
        let mut state = self.state.lock();
        let mut names: Vec<_> = state.toxics.iter().map(|toxic| toxic.spec.name.clone()).collect();
        for spec in &specs {
            if names.contains(&spec.full_name()) {
                return Err(Error::ToxicExists);
            }
            if names.len() >= self.max_toxics {
                return Err(Error::TooMany { what: "toxics of this proxy", most: self.max_toxics });
            }
            spec.attributes.check().map_err(Error::BadBody)?;
            names.push(spec.full_name());
        }
        for mut spec in specs {
            spec.name = spec.full_name();
            let id = state.next_id;
            state.next_id += 1;
            let mut toxic = Toxic {
                spec,
                id,
                revision: 0,
                active: true,
                since: None,
                counters: Counters::default(),
                scheduled: CancellationToken::new(),
            };
            self.obey_schedule(&mut toxic);
            state.toxics.push(toxic);
        }
        self.replan(&mut state);
        Ok(())
    }

    pub(crate) fn update_toxic(self: &Arc<Self>, name: &str, update: ToxicUpdate) -> Result<ToxicView, Error> {
        let mut state = self.state.lock();
        let toxic = state.toxics.iter_mut().find(|toxic| toxic.spec.name == name).ok_or(Error::ToxicNotFound)?;
        let attributes =
            toxic.spec.attributes.with(&update.attributes).map_err(|why| Error::BadBody(format!("json: {why}")))?;
        if attributes != toxic.spec.attributes {
            toxic.revision += 1;
            toxic.spec.attributes = attributes;
        }
        toxic.spec.toxicity = update.toxicity.unwrap_or(toxic.spec.toxicity);
        if let Some(schedule) = update.schedule {
            toxic.spec.schedule = schedule;
            self.obey_schedule(toxic);
        }
        let view = view(toxic);
        self.replan(&mut state);
        Ok(view)
    }

    pub(crate) fn remove_toxic(&self, name: &str) -> Result<(), Error> {
        let mut state = self.state.lock();
        let nth = state.toxics.iter().position(|toxic| toxic.spec.name == name).ok_or(Error::ToxicNotFound)?;
        state.toxics.remove(nth);
        self.replan(&mut state);
        Ok(())
    }

    pub(crate) fn remove_toxics(&self) {
        let mut state = self.state.lock();
        if !state.toxics.is_empty() {
            state.toxics.clear();
            self.replan(&mut state);
        }
    }

    fn replan(&self, state: &mut State) {
        let next = self.shared.epoch() + 1;
        for toxic in &mut state.toxics {
            toxic.since = toxic.active.then(|| toxic.since.unwrap_or(next));
        }
        self.shared.replace(Direction::ALL.map(|direction| {
            let on = state.toxics.iter().filter(|toxic| toxic.active && toxic.spec.direction == direction);
            on.map(|toxic| Planned {
                id: toxic.id,
                revision: toxic.revision,
                since: toxic.since.unwrap_or(next),
                name: toxic.spec.name.clone(),
                toxicity: toxic.spec.toxicity,
                attributes: toxic.spec.attributes.clone(),
                counters: Arc::clone(&toxic.counters),
            })
            .collect()
        }));
    }

    /// Begins its schedule, from now; the one before is over.
    fn obey_schedule(self: &Arc<Self>, toxic: &mut Toxic) {
        toxic.scheduled.cancel();
        toxic.active = true;
        let Some(schedule) = toxic.spec.schedule.clone() else { return };
        toxic.scheduled = self.stop.child_token();
        toxic.active = schedule.at(Duration::ZERO).0;
        let (proxy, id, stop) = (Arc::clone(self), toxic.id, toxic.scheduled.clone());
        self.tracker.spawn(async move {
            let _ = stop.run_until_cancelled(proxy.switch(id, schedule, Instant::now())).await;
        });
    }

    /// Turns a toxic on and off, until its schedule has nothing more to say.
    async fn switch(&self, id: u64, schedule: Schedule, began: Instant) {
        loop {
            let (active, change) = schedule.at(began.elapsed());
            {
                let mut state = self.state.lock();
                let Some(toxic) = state.toxics.iter_mut().find(|toxic| toxic.id == id) else { return };
                if toxic.active != active {
                    toxic.active = active;
                    self.replan(&mut state);
                }
            }
            match change {
                Some(change) => tokio::time::sleep(change).await,
                None => return,
            }
        }
    }
}

fn view(toxic: &Toxic) -> ToxicView {
    ToxicView {
        attributes: toxic.spec.attributes.clone(),
        name: toxic.spec.name.clone(),
        stream: toxic.spec.stream.clone(),
        toxicity: toxic.spec.toxicity,
        schedule: toxic.spec.schedule.clone(),
        active: toxic.active,
    }
}

fn views(state: &State) -> Vec<ToxicView> {
    let of = |direction| state.toxics.iter().filter(move |toxic| toxic.spec.direction == direction).map(view);
    Direction::ALL.into_iter().flat_map(of).collect()
}

/// Accepts until told to stop, then ends all connections. Never dials: a slow upstream must not keep others waiting.
async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    upstream: Arc<str>,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let client = match accepted {
            Ok((client, _)) => client,
            Err(error) => {
                // Out of file descriptors, mostly. Connections wait in the kernel until some are given back.
                tracing::warn!(proxy = shared.name, %error, "cannot accept a connection");
                let pause = tokio::time::sleep(Duration::from_millis(50));
                if stop.run_until_cancelled(pause).await.is_none() {
                    break;
                }
                continue;
            }
        };
        let signal = Arc::new(Signal::default());
        let number = {
            let mut links = shared.links.lock();
            if links.len() >= shared.max_connections {
                shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                let _ = client.set_zero_linger();
                continue;
            }
            let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
            links.insert(number, Arc::clone(&signal));
            number
        };
        let accepted = Accepted { number, epoch: shared.epoch() };
        shared.counters.connections.fetch_add(1, Ordering::Relaxed);
        let _ = client.set_nodelay(true);
        let _ = SockRef::from(&client).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        let link = Registered { shared: Arc::clone(&shared), number };
        let upstream = Arc::clone(&upstream);
        tracker.spawn(async move {
            link::carry(&link.shared, &signal, client, &upstream, accepted).await;
        });
    }
    drop(listener);
    shared.end_all(Ending::Close);
}

/// Which connection, and what held when it was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    /// Counted from 0 for each proxy; what draws are made with.
    pub(crate) number: u64,
    /// Toxics of a later epoch came to it when it was open.
    pub(crate) epoch: u64,
}

/// A connection's place among those of its proxy, for as long as it is there.
struct Registered {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.links.lock().remove(&self.number);
    }
}

/// Where `listen` is. Names are looked up; no host is every address of the machine; nothing at all is a free port of
/// loopback.
pub(crate) async fn resolve(listen: &str) -> Result<SocketAddr, Error> {
    if listen.is_empty() {
        return Ok((Ipv4Addr::LOCALHOST, 0).into());
    }
    let Some((host, port)) = listen.rsplit_once(':') else {
        return Err(Error::Listen(format!("listen tcp: address {listen}: missing port in address")));
    };
    if host.is_empty() {
        let port = port.parse().map_err(|_| Error::Listen(format!("listen tcp: address {listen}: invalid port")))?;
        return Ok((Ipv6Addr::UNSPECIFIED, port).into());
    }
    let lookup = tokio::time::timeout(Duration::from_secs(5), tokio::net::lookup_host(listen)).await;
    match lookup.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.collect();
            let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
            first.copied().ok_or_else(|| Error::Listen(format!("listen tcp: lookup {host}: no such host")))
        }
        Err(error) => Err(Error::Listen(format!("listen tcp: address {listen}: {error}"))),
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let listener = match listening(address) {
        // Every address of a machine without IPv6.
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => listening((Ipv4Addr::UNSPECIFIED, address.port()).into()),
        other => other,
    };
    listener.map_err(|error| listen_error(address, &error))
}

fn listening(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    // So that a proxy that was disabled can have its port again at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn listen_error(address: SocketAddr, error: &io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "bind: cannot assign requested address".to_owned(),
        io::ErrorKind::PermissionDenied => "bind: permission denied".to_owned(),
        _ => error.to_string(),
    };
    Error::Listen(format!("listen tcp {address}: {why}"))
}
