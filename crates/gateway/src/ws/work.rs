//! `/ws/work`: a worker, a pipelined producer, or both on one connection.
//!
//! One task per connection, polled: whatever has happened since it ran last (frames, answers of the store, deliveries)
//! is handled, all that is to be said is put into one buffer, and the buffer goes out in one write. A burst of frames
//! becomes one `publish` and one `settle` for the store.
//!
//! Bounds: unanswered publishes (`server.max_unanswered_publishes`), unanswered settlements, and bytes to send
//! (`server.max_unsent_bytes`). At any of them the connection reads no further, so that the peer's own socket fills up.
//! Deliveries are bounded by credit, and become bytes only while there is room to send.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Write;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use squall_protocol::frame::{Extend, Nack, Subscribe, Subscribed, close};
use squall_protocol::task::Published;
use squall_protocol::{ClientFrame, ConnectionId, ErrorCode, NewTask, ServerFrame, TaskId, WireError};
use squall_store::{
    Delivery, Holder, Reply, Result as StoreResult, SettleVerb, Settled, Settlement, TaskSpec, Worker, WorkerSpec,
};
use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::reader::{Incoming, ReadError, Reader};
use super::upgrade::{Socket, Terms, accept};
use super::{CLOSE_TIMEOUT, NORMAL, PONG, deliver, frame, parse};
use crate::app::App;
use crate::auth::Caller;
use crate::check;
use crate::config::Scope;
use crate::error::Refusal;
use crate::server::ConnectionSlot;

/// Credit that one connection may have outstanding.
const MAX_CREDIT: u32 = 65_536;
/// Acks, nacks and extends that the store may have to answer. Honest workers settle what they hold, which credit bounds.
const MAX_UNANSWERED_SETTLEMENTS: usize = 16_384;
/// Frames of one burst that go to the store together.
const MAX_BURST: usize = 1_024;
/// Room in a frame for everything that is not payload.
const FRAME_OVERHEAD: usize = 64 << 10;
/// A send buffer that grew beyond this is given back once it is empty.
const KEEP_BUFFER: usize = 64 << 10;

/// `GET /ws/work`
pub(crate) async fn serve(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Result<Response, Refusal> {
    if caller.may(Scope::Work).is_err() {
        caller.may(Scope::Publish)?;
    }
    app.accepts_work()?;
    let max_message_bytes = app.config.tasks.max_payload_bytes.saturating_add(FRAME_OVERHEAD);
    let shared = Arc::clone(&app);
    accept(&app, request, Terms { max_message_bytes, deflate: false }, move |socket| {
        let mut connection = Connection::new(shared, caller, socket);
        poll_fn(move |cx| connection.poll(cx))
    })
}

struct Connection {
    app: Arc<App>,
    caller: Caller,
    id: ConnectionId,
    reader: Reader,
    write: OwnedWriteHalf,
    _slot: Option<ConnectionSlot>,
    /// What is to be sent; up to `sent` it has been.
    out: Vec<u8>,
    sent: usize,
    burst: Burst,
    publishes: VecDeque<Unanswered>,
    /// Publishes that the peer has no answer to, those of the burst included, and the size of their payloads.
    unanswered: usize,
    unanswered_bytes: usize,
    settles: VecDeque<Unsettled>,
    /// Settlements that the store has not answered, those of the burst included.
    unsettled: usize,
    worker: WorkerState,
    /// Deliveries that wait for room to be sent; the store has their payloads.
    pending: VecDeque<Delivery>,
    /// Credit that was granted and not used.
    credit: u32,
    stage: Stage,
    /// The peer has said its close.
    peer_closed: bool,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: Pin<Box<Sleep>>,
    /// Since the timer last fired: the peer said something; it was pinged.
    heard: bool,
    pinged: bool,
}

/// What came in since the store was last called.
#[derive(Default)]
struct Burst {
    tasks: Vec<TaskSpec>,
    bytes: usize,
    /// Tasks that were refused here, by their place among all of the burst.
    refused: Vec<(usize, WireError)>,
    settlements: Vec<Settlement>,
    credit: u32,
}

impl Burst {
    fn publishes(&self) -> usize {
        self.tasks.len() + self.refused.len()
    }
}

struct Unanswered {
    reply: Reply<Vec<StoreResult<Published>>>,
    refused: Vec<(usize, WireError)>,
    count: usize,
    bytes: usize,
}

struct Unsettled {
    reply: Reply<Vec<StoreResult<Settled>>>,
    ids: Vec<TaskId>,
}

enum WorkerState {
    None,
    Opening(Reply<StoreResult<Worker>>),
    Open(UnboundedReceiver<Vec<Delivery>>),
    Closed,
}

#[derive(Debug)]
enum Stage {
    Open,
    /// Reads no more; says this once everything that is owed has been answered.
    Finishing {
        error: Option<WireError>,
        code: u16,
        reason: &'static str,
    },
    /// The close is in the buffer; once it is out, the peer's is awaited.
    Closing,
}

impl Connection {
    fn new(app: Arc<App>, caller: Caller, socket: Socket) -> Self {
        app.metrics.work_connections.inc();
        let keepalive = Duration::from_millis(app.config.server.keepalive_ms);
        Self {
            id: app.connection_id(),
            caller,
            reader: socket.reader,
            write: socket.write,
            _slot: socket.slot,
            out: Vec::new(),
            sent: 0,
            burst: Burst::default(),
            publishes: VecDeque::new(),
            unanswered: 0,
            unanswered_bytes: 0,
            settles: VecDeque::new(),
            unsettled: 0,
            worker: WorkerState::None,
            pending: VecDeque::new(),
            credit: 0,
            stage: Stage::Open,
            peer_closed: false,
            draining: Box::pin(app.draining.clone().cancelled_owned()),
            timer: Box::pin(tokio::time::sleep(keepalive)),
            heard: false,
            pinged: false,
            app,
        }
    }

    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Continue(read_on) = self.poll_read(cx) else { return Poll::Ready(()) };
            self.poll_publishes(cx);
            self.poll_settles(cx);
            let deliver_on = self.poll_worker(cx);
            self.poll_draining(cx);
            if self.poll_timer(cx).is_break() {
                return Poll::Ready(());
            }
            self.close_when_all_is_answered();
            if self.poll_write(cx).is_break() {
                return Poll::Ready(());
            }
            // Whoever stopped at a bound, and not because there was nothing more, goes on if there is room again.
            if !(read_on && self.may_read() || deliver_on && self.has_room_to_send()) {
                return Poll::Pending;
            }
        }
    }

    fn has_room_to_send(&self) -> bool {
        self.out.len() - self.sent < self.app.config.server.max_unsent_bytes
    }

    fn has_room(&self) -> bool {
        let server = &self.app.config.server;
        self.has_room_to_send()
            && self.unanswered < server.max_unanswered_publishes
            && self.unanswered_bytes < server.max_unanswered_bytes
            && self.unsettled < MAX_UNANSWERED_SETTLEMENTS
    }

    fn may_read(&self) -> bool {
        match self.stage {
            Stage::Open => self.has_room(),
            Stage::Finishing { .. } => false,
            // To the end, so that what still comes does not turn our close into a reset.
            Stage::Closing => true,
        }
    }

    /// Reads what has come, up to the bounds, and hands it to the store. Says whether it stopped before there was nothing more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> ControlFlow<(), bool> {
        loop {
            if matches!(self.stage, Stage::Closing) {
                self.peer_closed = self.peer_closed || self.reader.poll_end(cx).is_ready();
                return Continue(false);
            }
            if !self.may_read() {
                self.flush_burst();
                return Continue(true);
            }
            match self.reader.poll_next(cx) {
                Poll::Pending => {
                    self.flush_burst();
                    return Continue(false);
                }
                Poll::Ready(Ok(incoming)) => {
                    self.heard = true;
                    self.incoming(incoming);
                }
                Poll::Ready(Err(ReadError::Gone)) => {
                    self.flush_burst();
                    return Break(());
                }
                Poll::Ready(Err(error)) => {
                    self.fail(match error {
                        ReadError::TooLarge(words) => Refusal::new(ErrorCode::TooLarge, words),
                        ReadError::NotUtf8 => Refusal::new(ErrorCode::InvalidJson, "a text frame is not UTF-8"),
                        ReadError::Protocol(words) => Refusal::new(ErrorCode::Policy, words),
                        ReadError::Gone => return Break(()),
                    });
                }
            }
            if self.burst.publishes() >= MAX_BURST || self.burst.settlements.len() >= MAX_BURST {
                self.flush_burst();
            }
        }
    }

    fn incoming(&mut self, incoming: Incoming) {
        match (incoming, &self.stage) {
            (Incoming::Close, stage) => {
                self.peer_closed = true;
                if matches!(stage, Stage::Open) {
                    self.finish(None, NORMAL, "");
                }
            }
            (Incoming::Ping(data), Stage::Open) => frame::pong(&mut self.out, &data),
            (Incoming::Text(text), Stage::Open) => {
                if let Err(refusal) = self.frame(&text) {
                    self.fail(refusal);
                }
            }
            (Incoming::Binary, Stage::Open) => {
                let message = "a binary frame: frames here are text, JSON objects with one key";
                self.fail(Refusal::new(ErrorCode::UnknownFrame, message));
            }
            _ => {}
        }
    }

    fn frame(&mut self, text: &str) -> Result<(), Refusal> {
        if let Some(id) = parse::bare_ack(text) {
            self.settle(id, SettleVerb::Ack);
            return Ok(());
        }
        if text == "ping" {
            frame::text(&mut self.out, PONG);
            return Ok(());
        }
        match parse::client_frame(text)? {
            ClientFrame::Publish(task) => self.publish(task),
            ClientFrame::Ack(id) => {
                self.settle(id, SettleVerb::Ack);
                Ok(())
            }
            ClientFrame::Nack(nack) => self.nack(&nack),
            ClientFrame::Extend(extend) => self.extend(extend),
            ClientFrame::Credit(more) => self.more_credit(more),
            ClientFrame::Subscribe(subscribe) => self.subscribe(&subscribe),
        }
    }

    fn publish(&mut self, task: NewTask<'_>) -> Result<(), Refusal> {
        self.caller.may(Scope::Publish)?;
        self.unanswered += 1;
        match check::task(task, self.app.config.tasks.max_payload_bytes) {
            Ok(spec) => {
                self.unanswered_bytes += spec.payload.len();
                self.burst.bytes += spec.payload.len();
                self.burst.tasks.push(spec);
            }
            Err(refusal) => self.burst.refused.push((self.burst.publishes(), refusal.error)),
        }
        Ok(())
    }

    fn nack(&mut self, nack: &Nack<'_>) -> Result<(), Refusal> {
        check::bound("delay_ms", nack.delay_ms, 0, check::YEAR_MS)?;
        check::bound("pause_lane_ms", nack.pause_lane_ms, 0, check::YEAR_MS)?;
        let verb = SettleVerb::Nack {
            mode: nack.mode,
            delay_ms: nack.delay_ms,
            reason: nack.reason.as_ref().map(|reason| check::cut(reason, check::REASON_BYTES).into()),
            pause_lane_ms: nack.pause_lane_ms.filter(|ms| *ms > 0),
        };
        self.settle(nack.id, verb);
        Ok(())
    }

    fn extend(&mut self, extend: Extend) -> Result<(), Refusal> {
        check::bound("for_ms", Some(extend.for_ms), 1, check::MAX_EXTEND_MS)?;
        self.settle(extend.id, SettleVerb::Extend { for_ms: extend.for_ms });
        Ok(())
    }

    fn settle(&mut self, id: TaskId, verb: SettleVerb) {
        self.unsettled += 1;
        self.burst.settlements.push(Settlement { id, receipt: None, verb });
    }

    fn more_credit(&mut self, more: u32) -> Result<(), Refusal> {
        if matches!(self.worker, WorkerState::None) {
            return Err(Refusal::new(ErrorCode::Policy, "credit before subscribe: say first which lanes"));
        }
        self.credit = checked_credit(self.credit, more)?;
        if matches!(self.worker, WorkerState::Open(_)) {
            self.burst.credit += more;
        }
        Ok(())
    }

    fn subscribe(&mut self, subscribe: &Subscribe<'_>) -> Result<(), Refusal> {
        self.caller.may(Scope::Work)?;
        if !matches!(self.worker, WorkerState::None) {
            return Err(Refusal::new(ErrorCode::Policy, "a second subscribe: once per connection"));
        }
        if subscribe.lanes.is_empty() {
            return Err(Refusal::invalid("subscribe: lanes is empty: name at least one"));
        }
        self.credit = checked_credit(0, subscribe.credit)?;
        self.worker = WorkerState::Opening(self.app.store.open_worker(WorkerSpec {
            id: self.id,
            tenant: self.caller.sees().map(Into::into),
            lanes: subscribe.lanes.iter().map(|lane| lane.as_str().into()).collect(),
        }));
        Ok(())
    }

    /// Hands what has come to the store: one call for all publishes, one for all settlements.
    fn flush_burst(&mut self) {
        if self.burst.publishes() > 0 {
            let tasks = std::mem::take(&mut self.burst.tasks);
            let refused = std::mem::take(&mut self.burst.refused);
            let count = tasks.len() + refused.len();
            let reply: Reply<_> = if tasks.is_empty() {
                Box::pin(std::future::ready(Vec::new()))
            } else {
                self.app.store.publish(&self.caller.tenant, tasks)
            };
            let bytes = std::mem::take(&mut self.burst.bytes);
            self.publishes.push_back(Unanswered { reply, refused, count, bytes });
        }
        if !self.burst.settlements.is_empty() {
            let settlements = std::mem::take(&mut self.burst.settlements);
            let ids = settlements.iter().map(|settlement| settlement.id).collect();
            let reply = self.app.store.settle(self.caller.sees(), Holder::Worker(self.id), settlements);
            self.settles.push_back(Unsettled { reply, ids });
        }
        // After what was acknowledged, because that may be what makes room for the next delivery.
        let credit = std::mem::take(&mut self.burst.credit);
        if credit > 0 {
            self.app.store.grant(self.id, credit);
        }
    }

    /// Answers publishes, in the order sent.
    fn poll_publishes(&mut self, cx: &mut Context<'_>) {
        while let Some(front) = self.publishes.front_mut() {
            let Poll::Ready(results) = front.reply.as_mut().poll(cx) else { return };
            let Some(done) = self.publishes.pop_front() else { return };
            self.unanswered -= done.count;
            self.unanswered_bytes -= done.bytes;
            let mut refused = done.refused.into_iter().peekable();
            let mut results = results.into_iter();
            for place in 0..done.count {
                let result = match refused.next_if(|(at, _)| *at == place) {
                    Some((_, error)) => Err(error),
                    None => match results.next() {
                        Some(result) => result.map_err(|error| Refusal::from(error).error),
                        None => Err(WireError::new(ErrorCode::Internal, "the store gave no answer to this task")),
                    },
                };
                match result {
                    Ok(published) => published_frame(&mut self.out, published),
                    Err(error) => frame::json(&mut self.out, &ServerFrame::Refused(error)),
                }
            }
        }
    }

    fn poll_settles(&mut self, cx: &mut Context<'_>) {
        while let Some(front) = self.settles.front_mut() {
            let Poll::Ready(results) = front.reply.as_mut().poll(cx) else { return };
            let Some(done) = self.settles.pop_front() else { return };
            self.unsettled -= done.ids.len();
            for (id, result) in done.ids.into_iter().zip(results) {
                match result {
                    Ok(Settled::Extended(lease_expires_at)) => {
                        frame::json(&mut self.out, &ServerFrame::Extended { id, lease_expires_at });
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let mut refusal = Refusal::from(error);
                        refusal.error.id = Some(id);
                        frame::json(&mut self.out, &ServerFrame::Error(refusal.error));
                    }
                }
            }
        }
    }

    /// Opens the worker, takes its deliveries. Says whether it stopped at a bound.
    fn poll_worker(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            match &mut self.worker {
                WorkerState::None | WorkerState::Closed => return false,
                WorkerState::Opening(reply) => {
                    let Poll::Ready(worker) = reply.as_mut().poll(cx) else { return false };
                    match worker {
                        Ok(worker) => {
                            self.worker = WorkerState::Open(worker.deliveries);
                            let subscribed = Subscribed { connection: self.id, credit: self.credit };
                            frame::json(&mut self.out, &ServerFrame::Subscribed(subscribed));
                            if self.credit > 0 {
                                self.app.store.grant(self.id, self.credit);
                            }
                        }
                        Err(error) => {
                            self.worker = WorkerState::Closed;
                            self.fail(error.into());
                            return false;
                        }
                    }
                }
                WorkerState::Open(deliveries) => {
                    while let Some(delivery) = self.pending.pop_front() {
                        if self.out.len() - self.sent >= self.app.config.server.max_unsent_bytes {
                            self.pending.push_front(delivery);
                            return true;
                        }
                        deliver::frame(&mut self.out, &delivery);
                    }
                    match deliveries.poll_recv(cx) {
                        Poll::Pending => return false,
                        Poll::Ready(Some(batch)) => {
                            #[cfg(debug_assertions)]
                            crate::weakness::ack_early(&self.app, self.caller.sees(), self.id, &batch);
                            self.credit = self.credit.saturating_sub(u32::try_from(batch.len()).unwrap_or(u32::MAX));
                            self.pending = batch.into();
                        }
                        Poll::Ready(None) => {
                            self.worker = WorkerState::Closed;
                            self.finish(None, close::DRAINING, "the store is closed");
                            return false;
                        }
                    }
                }
            }
        }
    }

    fn poll_draining(&mut self, cx: &mut Context<'_>) {
        if matches!(self.stage, Stage::Open) && self.draining.as_mut().poll(cx).is_ready() {
            self.finish(None, close::DRAINING, "the gateway drains");
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> ControlFlow<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if !matches!(self.stage, Stage::Open) || self.pinged && !self.heard {
                return Break(());
            }
            self.pinged = !self.heard;
            if self.pinged {
                frame::ping(&mut self.out);
            }
            self.heard = false;
            let keepalive = Duration::from_millis(self.app.config.server.keepalive_ms);
            self.timer.as_mut().reset(Instant::now() + keepalive);
        }
        Continue(())
    }

    /// Says what was wrong, and closes, once everything before it has been answered.
    fn fail(&mut self, refusal: Refusal) {
        let code = refusal.close_code().unwrap_or(close::POLICY);
        tracing::debug!(connection = %self.id, error = ?refusal.error, "a connection is refused");
        self.finish(Some(refusal.error), code, "see the error frame");
    }

    fn finish(&mut self, error: Option<WireError>, code: u16, reason: &'static str) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        self.flush_burst();
        self.close_worker(code == close::DRAINING);
        self.stage = Stage::Finishing { error, code, reason };
        self.timer.as_mut().reset(Instant::now() + CLOSE_TIMEOUT);
    }

    fn close_worker(&mut self, release: bool) {
        if matches!(self.worker, WorkerState::Opening(_) | WorkerState::Open(_)) {
            self.app.store.close_worker(self.id, release);
            self.worker = WorkerState::Closed;
        }
    }

    fn close_when_all_is_answered(&mut self) {
        if !self.publishes.is_empty() || !self.settles.is_empty() {
            return;
        }
        if let Stage::Finishing { error, code, reason } = &mut self.stage {
            if let Some(error) = error.take() {
                frame::json(&mut self.out, &ServerFrame::Error(error));
            }
            frame::close(&mut self.out, *code, reason);
            self.stage = Stage::Closing;
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> ControlFlow<()> {
        while self.sent < self.out.len() {
            match Pin::new(&mut self.write).poll_write(cx, &self.out[self.sent..]) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Break(()),
                Poll::Ready(Ok(n)) => self.sent += n,
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.out.shrink_to(KEEP_BUFFER);
            self.sent = 0;
            if matches!(self.stage, Stage::Closing) {
                if self.peer_closed {
                    return Break(());
                }
                if self.reader.is_broken() {
                    // The peer's close would not be recognised; our end tells it that nothing more comes.
                    let _ = Pin::new(&mut self.write).poll_shutdown(cx);
                }
            }
        } else if self.sent > KEEP_BUFFER {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        Continue(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close_worker(self.app.draining.is_cancelled());
        self.app.metrics.work_connections.dec();
    }
}

fn checked_credit(credit: u32, more: u32) -> Result<u32, Refusal> {
    credit.checked_add(more).filter(|sum| *sum <= MAX_CREDIT).ok_or_else(|| {
        let message = format!("{credit} credit and {more} more: at most {MAX_CREDIT} may be outstanding");
        Refusal::new(ErrorCode::Policy, message)
    })
}

fn published_frame(out: &mut Vec<u8>, published: Published) {
    frame::text_with(out, |out| {
        let duplicate = if published.duplicate { r#","duplicate":true"# } else { "" };
        // Writing to a vector cannot fail.
        let _ = write!(out, r#"{{"published":{{"id":"{}"{duplicate}}}}}"#, published.id);
    });
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{SinkExt, StreamExt};
    use http::HeaderMap;
    use serde_json::{Value, json};
    use squall_protocol::Time;
    use squall_store::Store;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::config::Config;

    type Client = WebSocketStream<TcpStream>;

    /// A connection that only moves when the test polls it, and its client. The kernel holds little for either.
    async fn pair(dir: &std::path::Path, change: impl FnOnce(&mut Config)) -> (Connection, Client) {
        let mut config = Config::default();
        config.lanes.insert("a".into(), squall_store::config::Lane::default());
        config.tasks.default_lane = Some("a".into());
        change(&mut config);
        let store: Arc<dyn Store> = Arc::new(squall_store::embedded::open(dir, config.store_options()).unwrap());
        let app = App::new(config, store, None, Vec::new(), None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(16 << 10).unwrap();
        let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        socket2::SockRef::from(&stream).set_send_buffer_size(16 << 10).unwrap();
        let (read, write) = stream.into_split();
        let caller = app.tokens.caller(&HeaderMap::new()).unwrap();
        let socket =
            Socket { reader: Reader::new(read, Bytes::new(), 1 << 20, false), write, deflated: false, slot: None };
        (Connection::new(app, caller, socket), WebSocketStream::from_raw_socket(client, Role::Client, None).await)
    }

    /// Polls the connection until the test has seen enough.
    async fn until(connection: &mut Connection, mut enough: impl FnMut(&Connection) -> bool) {
        let polled = poll_fn(|cx| {
            assert!(connection.poll(cx).is_pending(), "the connection is over");
            if enough(connection) { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(Duration::from_secs(20), polled).await.expect("it never came to that");
    }

    async fn next(client: &mut Client) -> Value {
        let Message::Text(text) = client.next().await.unwrap().unwrap() else { panic!("no text") };
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn deliveries_become_bytes_only_while_there_is_room() {
        const BOUND: usize = 65_536;
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, mut client) = pair(dir.path(), |config| config.server.max_unsent_bytes = BOUND).await;
        for n in 0..200 {
            let new = json!({"kind": "x", "payload": format!("{n:050000}")}).to_string();
            let spec = check::task(serde_json::from_str(&new).unwrap(), 1 << 20).unwrap();
            connection.app.store.publish(&"default".into(), vec![spec]).await.remove(0).unwrap();
        }
        client.send(json!({"subscribe": {"lanes": ["a"], "credit": 200}}).to_string().into()).await.unwrap();
        until(&mut connection, |connection| {
            let unsent = connection.out.len() - connection.sent;
            assert!(unsent < BOUND + 51_000, "{unsent} bytes for a peer that does not read");
            connection.pending.len() > 50
        })
        .await;
        tokio::spawn(async move { poll_fn(move |cx| connection.poll(cx)).await });
        assert_eq!(next(&mut client).await["subscribed"]["credit"], 200);
        for n in 0..200 {
            assert_eq!(next(&mut client).await["deliver"]["payload"], format!("{n:050000}"));
        }
    }

    #[tokio::test]
    async fn a_producer_has_only_so_much_unanswered() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, client) = pair(dir.path(), |config| config.server.max_unanswered_publishes = 4).await;
        let (mut say, mut hear) = client.split();
        tokio::spawn(async move {
            for n in 0..500 {
                say.feed(json!({"publish": {"kind": "x", "payload": n}}).to_string().into()).await.unwrap();
            }
            say.flush().await.unwrap();
        });
        let mut most = 0;
        let serving = tokio::spawn(async move {
            until(&mut connection, |connection| {
                most = most.max(connection.unanswered);
                assert!(most <= 4, "{most} unanswered");
                false
            })
            .await;
        });
        for _ in 0..500 {
            let Message::Text(text) = hear.next().await.unwrap().unwrap() else { panic!("no text") };
            assert!(text.contains("published"), "{text}");
        }
        serving.abort();
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_not_read() {
        const BOUND: usize = 65_536;
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, client) = pair(dir.path(), |config| config.server.max_unsent_bytes = BOUND).await;
        let (mut say, _hear) = client.split();
        let flood = tokio::spawn(async move { while say.feed("ping".into()).await.is_ok() {} });
        until(&mut connection, |connection| {
            let unsent = connection.out.len() - connection.sent;
            assert!(unsent < BOUND + 100, "{unsent} bytes for a peer that does not read");
            !connection.may_read()
        })
        .await;
        flood.abort();
    }

    #[tokio::test]
    async fn settlements_have_a_bound_and_are_counted_off() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, mut client) = pair(dir.path(), |_| {}).await;
        for n in 0..10 {
            client.send(json!({"ack": TaskId::at(Time(1), n)}).to_string().into()).await.unwrap();
        }
        let mut most = 0;
        until(&mut connection, |connection| {
            most = most.max(connection.unsettled);
            most > 0 && connection.unsettled == 0
        })
        .await;
        assert!(connection.may_read());
        connection.unsettled = MAX_UNANSWERED_SETTLEMENTS;
        assert!(!connection.may_read());
    }

    #[test]
    fn an_answer_is_what_serde_would_say() {
        for duplicate in [false, true] {
            let published = Published { id: TaskId::at(Time(1_795_243_200_123), 5), duplicate };
            let mut out = Vec::new();
            published_frame(&mut out, published);
            let mut expected = Vec::new();
            frame::json(&mut expected, &ServerFrame::Published(published));
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn credit_has_a_bound() {
        assert_eq!(checked_credit(1, MAX_CREDIT - 1).unwrap(), MAX_CREDIT);
        assert_eq!(checked_credit(1, MAX_CREDIT).unwrap_err().error.code, ErrorCode::Policy);
        assert_eq!(checked_credit(1, u32::MAX).unwrap_err().error.code, ErrorCode::Policy);
    }
}
