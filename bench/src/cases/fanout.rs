//! One publisher, 500 subscribers: how many messages arrive per second.
//!
//! One receiver program for all systems, with an event loop of its own: it reads frames' heads, counts, and skips what
//! they hold. A message is done when all subscribers have it; then the next is published.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{Bench, progress};
use crate::harness::ledger::{PAYLOAD_BYTES, stamp};
use crate::harness::process::{PATIENCE, Server};
use crate::harness::report::{Better::Higher, Report};
use crate::peers::jetstream::Sync;
use crate::peers::nchan;
use crate::peers::squall::Durability;
use crate::wire::{Inbox, Wire, jetstream, squall, websocket};

const SUBSCRIBERS: usize = 500;

/// As the measure stands in the table.
pub fn name(in_flight: usize) -> String {
    format!("feed fan-out to {SUBSCRIBERS} subscribers, {in_flight} in flight")
}

/// Centrifugo 6 with history, which no package brings: measured before, server and receiver on one core each, on a
/// machine of this kind. Not of this run, so its ratio says less than the others.
pub const REFERENCE: &str = "Centrifugo (reference)";

/// Adds the reference to a round.
pub fn add_reference(report: &mut Report) {
    report.add(&name(1), "deliveries/s", Higher, REFERENCE, 121_000.0);
    report.add(&name(64), "deliveries/s", Higher, REFERENCE, 760_000.0);
}

/// A system that fans out.
#[derive(Clone, Copy)]
pub enum System {
    /// A published task becomes an event of the feed.
    Squall(Durability),
    /// A published message is handed on.
    Nchan,
    /// The same, over NATS's own protocol and without JetStream: nothing is kept.
    Nats,
}

/// Where NATS's messages go.
const SUBJECT: &str = "fan";

impl System {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squall(durability) => durability.name(),
            Self::Nchan => "nchan",
            Self::Nats => "NATS, core",
        }
    }

    fn start(self, dir: &std::path::Path) -> Result<Server> {
        match self {
            Self::Squall(durability) => durability.ready(dir),
            Self::Nchan => nchan::start(dir),
            Self::Nats => {
                let mut server = Sync::Default.spawn(dir)?;
                server.wait_for_port()?;
                Ok(server)
            }
        }
    }

    fn publisher(self, address: SocketAddr) -> Result<std::net::TcpStream> {
        match self {
            Self::Squall(_) => websocket::connect(address, "/ws/work"),
            Self::Nchan => websocket::connect(address, nchan::PUBLISH),
            // It hears nothing there.
            Self::Nats => jetstream::subscribe(address, "nothing"),
        }
    }

    fn subscriber(self, address: SocketAddr) -> Result<(std::net::TcpStream, Counter)> {
        Ok(match self {
            Self::Squall(_) => {
                (websocket::connect(address, "/ws/events?topics=tasks&types=task_published")?, Counter::of_frames())
            }
            Self::Nchan => (websocket::connect(address, nchan::SUBSCRIBE)?, Counter::of_frames()),
            Self::Nats => (jetstream::subscribe(address, SUBJECT)?, Counter::of_lines()),
        })
    }

    fn message(self, address: SocketAddr, out: &mut Vec<u8>, text: &[u8]) {
        match self {
            Self::Squall(_) => squall::Squall::new(address).publish(out, text),
            Self::Nchan => websocket::frame(out, websocket::TEXT, &[text]),
            Self::Nats => jetstream::publish(out, SUBJECT, text),
        }
    }
}

/// One round with one window.
pub fn run(bench: &mut Bench, in_flight: usize, systems: &[System], round: usize) -> Result<()> {
    let name = name(in_flight);
    for system in bench.in_turn(systems, round, |s| s.name()) {
        let dir = bench.fresh_dir()?;
        let server = system.start(dir.path())?;
        let times = (bench.time(Duration::from_millis(500)), bench.time(Duration::from_millis(2_500)));
        let outcome =
            fan_out(system, &server, in_flight, times).with_context(|| format!("{name}: {}", system.name()))?;
        progress(
            &format!(
                "{name}: {} ({} bytes each, server {:.0} % busy)",
                system.name(),
                outcome.bytes_each,
                outcome.busy * 100.0
            ),
            outcome.per_s,
            "/s",
        );
        bench.report.add(&name, "deliveries/s", Higher, system.name(), outcome.per_s);
    }
    Ok(())
}

struct Outcome {
    per_s: f64,
    bytes_each: u64,
    busy: f64,
}

/// Counts messages without keeping them: what of a head has come, and how much of a payload is still to be skipped.
struct Counter {
    head_of: HeadOf,
    head: Vec<u8>,
    skip: usize,
    text: bool,
    messages: u64,
    bytes: u64,
}

/// Reads a head, if it is whole: whether it is of a message, and how many bytes follow it.
type HeadOf = fn(&[u8]) -> Result<Option<(bool, usize)>>;

/// Of a WebSocket frame.
fn frame_head(bytes: &[u8]) -> Result<Option<(bool, usize)>> {
    let Some((opcode, _, len)) = websocket::head(bytes) else { return Ok(None) };
    ensure!(opcode != websocket::CLOSE, "a subscriber was closed");
    Ok(Some((opcode == websocket::TEXT, len)))
}

/// Of a line of NATS's protocol. Its pings need no answer within the two minutes that they leave.
fn line_head(bytes: &[u8]) -> Result<Option<(bool, usize)>> {
    if !bytes.ends_with(b"\r\n") {
        return Ok(None);
    }
    let line = std::str::from_utf8(bytes)?.trim_end();
    ensure!(!line.starts_with("-ERR"), "a subscriber was told {line}");
    let Some(message) = line.strip_prefix("MSG ") else { return Ok(Some((false, 0))) };
    let size: usize = message.rsplit(' ').next().unwrap_or_default().parse().context("a message without a size")?;
    Ok(Some((true, size + 2)))
}

impl Counter {
    fn of_frames() -> Self {
        Self { head_of: frame_head, head: Vec::new(), skip: 0, text: false, messages: 0, bytes: 0 }
    }

    fn of_lines() -> Self {
        Self { head_of: line_head, ..Self::of_frames() }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.skip == 0 {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                let Some((message, len)) = (self.head_of)(&self.head)? else { continue };
                self.text = message;
                self.skip = len;
                self.head.clear();
                if len == 0 {
                    self.end_of_frame();
                }
            } else {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                self.bytes += n as u64;
                bytes = &bytes[n..];
                if self.skip == 0 {
                    self.end_of_frame();
                }
            }
        }
        Ok(())
    }

    fn end_of_frame(&mut self) {
        self.messages += u64::from(self.text);
    }
}

fn fan_out(
    system: System,
    server: &Server,
    in_flight: usize,
    (warm_up, measured): (Duration, Duration),
) -> Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut subscribers = Vec::with_capacity(SUBSCRIBERS);
    for i in 0..SUBSCRIBERS {
        let (stream, counter) = system.subscriber(server.address)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(i), Interest::READABLE)?;
        subscribers.push((stream, counter));
    }
    let publisher = system.publisher(server.address)?;
    publisher.set_nonblocking(true)?;
    let mut publisher = TcpStream::from_std(publisher);
    poll.registry().register(&mut publisher, Token(SUBSCRIBERS), Interest::READABLE)?;
    // A subscription is there a moment after its upgrade was answered.
    std::thread::sleep(Duration::from_millis(200));

    let start = Instant::now();
    let (mut published, mut done) = (0_u64, 0_u64);
    // How many subscribers still wait for message `done`, `done + 1` and so on.
    let mut missing: VecDeque<usize> = VecDeque::new();
    let (mut first, mut last) = (None, None);
    let mut events = Events::with_capacity(1_024);
    let (mut buffer, mut out, mut text) = (vec![0_u8; 256 << 10], Vec::new(), [0_u8; PAYLOAD_BYTES]);
    let (mut answers, mut inbox) = (Counter::of_frames(), Inbox::default());
    let cpu = server.cpu()?;
    loop {
        let now = start.elapsed();
        if now >= warm_up && first.is_none() {
            first = Some((total(&subscribers), now));
        }
        if now >= warm_up + measured && last.is_none() {
            last = Some((total(&subscribers), now));
        }
        while last.is_none() && missing.len() < in_flight {
            stamp(&mut text, 0, published, 0);
            system.message(server.address, &mut out, &text);
            published += 1;
            missing.push_back(SUBSCRIBERS);
        }
        // 64 short frames fit into any socket's buffer, as the last ones were read before these were written.
        if !out.is_empty() {
            publisher.write_all(&out)?;
            out.clear();
        }
        if last.is_some() && missing.is_empty() {
            break;
        }
        ensure!(now < PATIENCE, "messages are missing after {PATIENCE:?}: {} not done", missing.len());
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            if event.token().0 == SUBSCRIBERS {
                check_answers(system, server.address, &mut publisher, &mut inbox, &mut answers)?;
                continue;
            }
            let (stream, counter) = &mut subscribers[event.token().0];
            loop {
                let before = counter.messages;
                let n = match stream.read(&mut buffer) {
                    Ok(0) => bail!("a subscriber was disconnected"),
                    Ok(n) => n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                counter.read(&buffer[..n])?;
                for message in before..counter.messages {
                    let at = usize::try_from(message.checked_sub(done).context("a message came twice")?)?;
                    *missing.get_mut(at).context("a message came that was not published")? -= 1;
                }
                if n < buffer.len() {
                    break;
                }
            }
            while missing.front() == Some(&0) {
                missing.pop_front();
                done += 1;
            }
        }
    }
    let busy = (server.cpu()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let bytes = subscribers[0].1.bytes;
    for (i, (_, counter)) in subscribers.iter().enumerate() {
        ensure!(counter.messages == published, "subscriber {i} got {} of {published} messages", counter.messages);
        ensure!(counter.bytes == bytes, "subscriber {i} got {} bytes, another {bytes}", counter.bytes);
    }
    let ((a, from), (b, to)) = (first.context("too short")?, last.context("too short")?);
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let per_s = (b - a) as f64 / (to - from).as_secs_f64();
    Ok(Outcome { per_s, bytes_each: bytes / published.max(1), busy })
}

fn total(subscribers: &[(TcpStream, Counter)]) -> u64 {
    subscribers.iter().map(|(_, counter)| counter.messages).sum()
}

/// Reads what the publisher is answered; Squall's answers are checked.
fn check_answers(
    system: System,
    address: SocketAddr,
    publisher: &mut TcpStream,
    inbox: &mut Inbox,
    answers: &mut Counter,
) -> Result<()> {
    let mut buffer = [0_u8; 64 << 10];
    loop {
        let n = match publisher.read(&mut buffer) {
            Ok(0) => bail!("the publisher was disconnected"),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match system {
            System::Squall(_) => {
                inbox.fill(&mut &buffer[..n])?;
                squall::Squall::new(address).acknowledged(inbox, &mut Vec::new())?;
            }
            System::Nchan => answers.read(&buffer[..n])?,
            // Nothing is acknowledged; that all subscribers got all messages is checked.
            System::Nats => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let mut bytes = Vec::new();
        for len in [5_usize, 0, 200, 300] {
            bytes.push(0x81);
            if len < 126 {
                bytes.push(u8::try_from(len).unwrap());
            } else {
                bytes.push(126);
                bytes.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            }
            bytes.extend(std::iter::repeat_n(b'x', len));
        }
        for size in [1, 2, 3, 7, 100, bytes.len()] {
            let mut counter = Counter::of_frames();
            for part in bytes.chunks(size) {
                counter.read(part).unwrap();
            }
            assert_eq!((counter.messages, counter.bytes), (4, 505), "in parts of {size}");
        }
    }

    #[test]
    fn messages_of_nats_are_counted_however_they_are_cut() {
        let bytes = b"PING\r\nMSG fan 1 5\r\na\r\nbc\r\nMSG fan 1 0\r\n\r\n+OK\r\n";
        for size in [1, 2, 3, 7, bytes.len()] {
            let mut counter = Counter::of_lines();
            for part in bytes.chunks(size) {
                counter.read(part).unwrap();
            }
            assert_eq!((counter.messages, counter.bytes), (2, 9), "in parts of {size}");
        }
        assert!(Counter::of_lines().read(b"-ERR 'Slow Consumer'\r\n").is_err());
    }
}
