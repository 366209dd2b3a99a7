//! NATS's client protocol, with JetStream's subjects on top: publishes with a reply subject, a durable pull consumer.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, Result, bail, ensure};
use memchr::memchr;
use serde_json::{Value, json};

use super::{Inbox, WINDOW, Wire};
use crate::harness::process::PATIENCE;

const CONNECT: &str = r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"lang":"rust","version":"0","protocol":1}"#;

/// So that every connection has an inbox of its own, and gets only its own answers.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// JetStream's messages.
#[derive(Clone)]
pub struct JetStream {
    address: SocketAddr,
    /// What the running pulls may still bring.
    pulled: usize,
    /// The inbox of this connection.
    reply_to: String,
}

/// One line of the protocol, with what it carries.
enum Message<'a> {
    Msg {
        reply: &'a [u8],
        body: &'a [u8],
    },
    /// With headers: a status, such as "this pull is over".
    Status(&'a [u8]),
    Ping,
    /// PONG, INFO, +OK.
    Other,
}

/// The next whole message, and how many bytes it takes.
fn next(bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>> {
    let Some(end) = memchr(b'\n', bytes) else { return Ok(None) };
    let line = bytes[..end].strip_suffix(b"\r").context("a line without CR")?;
    let after = end + 1;
    let with_headers = line.starts_with(b"HMSG ");
    if with_headers || line.starts_with(b"MSG ") {
        let mut words = line.split(|b| *b == b' ').skip(3);
        let mut rest: [&[u8]; 3] = [&[]; 3];
        let mut n = 0;
        for word in words.by_ref().take(3) {
            rest[n] = word;
            n += 1;
        }
        let size: usize = std::str::from_utf8(rest[n - 1])?.parse()?;
        let Some(body) = bytes.get(after..after + size) else { return Ok(None) };
        if bytes.len() < after + size + 2 {
            return Ok(None);
        }
        let message = if with_headers {
            Message::Status(body)
        } else {
            Message::Msg { reply: if n == 2 { rest[0] } else { b"" }, body }
        };
        return Ok(Some((message, after + size + 2)));
    }
    if line.starts_with(b"-ERR") {
        bail!("{}", String::from_utf8_lossy(line));
    }
    Ok(Some((if line == b"PING" { Message::Ping } else { Message::Other }, after)))
}

impl JetStream {
    /// Of the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, pulled: 0, reply_to: String::new() }
    }

    /// Makes the stream and its consumer. Everything that is not said here is the server's default.
    pub fn create_stream(&self) -> Result<()> {
        self.request(
            "$JS.API.STREAM.CREATE.bench",
            &json!({"name": "bench", "subjects": ["bench.t"], "storage": "file"}),
        )?;
        self.request(
            "$JS.API.CONSUMER.DURABLE.CREATE.bench.c",
            &json!({"stream_name": "bench", "config": {
                "durable_name": "c", "ack_policy": "explicit", "deliver_policy": "all",
                "max_ack_pending": 4 * WINDOW, "ack_wait": 30_000_000_000_u64}}),
        )?;
        Ok(())
    }

    /// A connection, and the subject at which it gets its answers.
    fn connect(&self) -> Result<(TcpStream, String)> {
        let inbox_subject = format!("_INBOX.{:06}", CONNECTIONS.fetch_add(1, Relaxed));
        Ok((subscribe(self.address, &inbox_subject)?, inbox_subject))
    }

    /// A request to the API, and its answer.
    pub fn request(&self, subject: &str, body: &Value) -> Result<Value> {
        let (mut stream, reply_to) = self.connect()?;
        let mut inbox = Inbox::default();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        stream.write_all(format!("PUB {subject} {reply_to} {}\r\n{body}\r\n", body.len()).as_bytes())?;
        loop {
            let answered = match next(inbox.bytes())? {
                Some((Message::Msg { body, .. }, _)) => {
                    let answer: Value = serde_json::from_slice(body)?;
                    ensure!(answer["error"].is_null(), "{subject}: {answer}");
                    return Ok(answer);
                }
                Some((Message::Status(status), _)) => bail!("{subject}: {}", String::from_utf8_lossy(status)),
                Some((_, used)) => used,
                None => 0,
            };
            inbox.consume(answered);
            if answered == 0 {
                inbox.fill(&mut stream)?;
            }
        }
    }

    fn pull(&mut self, out: &mut Vec<u8>, batch: usize) {
        let reply_to = &self.reply_to;
        let request = format!(r#"{{"batch":{batch},"expires":30000000000}}"#);
        out.extend_from_slice(
            format!("PUB $JS.API.CONSUMER.MSG.NEXT.bench.c {reply_to} {}\r\n{request}\r\n", request.len()).as_bytes(),
        );
        self.pulled += batch;
    }
}

/// A connection that is subscribed to a subject, without JetStream: what is published there is handed on and not kept.
pub fn subscribe(address: SocketAddr, subject: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{CONNECT}\r\nSUB {subject} 1\r\nPING\r\n").as_bytes())?;
    let mut inbox = Inbox::default();
    loop {
        inbox.fill(&mut stream)?;
        if let Some(at) = memchr::memmem::find(inbox.bytes(), b"PONG\r\n") {
            inbox.consume(at + 6);
            ensure!(inbox.bytes().is_empty(), "more than a greeting");
            return Ok(stream);
        }
    }
}

/// Appends one publish to a subject, without JetStream: it is not acknowledged.
pub fn publish(out: &mut Vec<u8>, subject: &str, text: &[u8]) {
    out.extend_from_slice(format!("PUB {subject} {}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

impl Wire for JetStream {
    fn producer(&mut self) -> Result<TcpStream> {
        let (stream, reply_to) = self.connect()?;
        self.reply_to = reply_to;
        Ok(stream)
    }

    fn publish(&self, out: &mut Vec<u8>, text: &[u8]) {
        out.extend_from_slice(b"PUB bench.t ");
        out.extend_from_slice(self.reply_to.as_bytes());
        out.extend_from_slice(b" 256\r\n");
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }

    fn acknowledged(&self, inbox: &mut Inbox, out: &mut Vec<u8>) -> Result<u64> {
        let (mut count, mut used) = (0, 0);
        while let Some((message, size)) = next(&inbox.bytes()[used..])? {
            used += size;
            match message {
                Message::Msg { body, .. } => {
                    ensure!(
                        body.starts_with(br#"{"stream":"bench","#)
                            || memchr::memmem::find(body, b"\"error\"").is_none(),
                        "not acknowledged: {}",
                        String::from_utf8_lossy(body)
                    );
                    count += 1;
                }
                Message::Status(status) => bail!("not acknowledged: {}", String::from_utf8_lossy(status)),
                Message::Ping => out.extend_from_slice(b"PONG\r\n"),
                Message::Other => {}
            }
        }
        inbox.consume(used);
        Ok(count)
    }

    fn consumer(&mut self) -> Result<TcpStream> {
        let (mut stream, reply_to) = self.connect()?;
        self.reply_to = reply_to;
        self.pulled = 0;
        // Two pulls of half a window each, so that the next is asked for while the other still brings.
        let mut out = Vec::new();
        self.pull(&mut out, WINDOW / 2);
        self.pull(&mut out, WINDOW / 2);
        stream.write_all(&out)?;
        Ok(stream)
    }

    fn delivered(
        &mut self,
        inbox: &mut Inbox,
        out: &mut Vec<u8>,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut used = 0;
        while let Some((message, size)) = next(&inbox.bytes()[used..])? {
            used += size;
            match message {
                Message::Msg { reply, body } => {
                    each(body)?;
                    out.extend_from_slice(b"PUB ");
                    out.extend_from_slice(reply);
                    out.extend_from_slice(b" 4\r\n+ACK\r\n");
                    self.pulled -= 1;
                    if self.pulled <= WINDOW / 2 {
                        self.pull(out, WINDOW / 2);
                    }
                }
                Message::Status(status) => bail!("a pull ended: {}", String::from_utf8_lossy(status)),
                Message::Ping => out.extend_from_slice(b"PONG\r\n"),
                Message::Other => {}
            }
        }
        inbox.consume(used);
        Ok(())
    }

    fn unfinished(&self) -> Result<u64> {
        let consumer = self.request("$JS.API.CONSUMER.INFO.bench.c", &Value::Null)?;
        let count = |field: &str| consumer[field].as_u64().with_context(|| format!("odd consumer: {consumer}"));
        Ok(count("num_pending")? + count("num_ack_pending")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let bytes = b"MSG bench.t 1 $JS.ACK.x 3\r\nabc\r\nMSG inbox.load 1 2\r\nok\r\nPING\r\nHMSG inbox.load 1 4 4\r\nNATS\r\n";
        let mut at = 0;
        let mut seen = Vec::new();
        while let Some((message, used)) = next(&bytes[at..]).unwrap() {
            at += used;
            seen.push(match message {
                Message::Msg { reply, body } => [b"msg ", reply, b" ", body].concat(),
                Message::Status(status) => [b"status ", status].concat(),
                Message::Ping => b"ping".to_vec(),
                Message::Other => b"other".to_vec(),
            });
        }
        let expected: [&[u8]; 4] = [b"msg $JS.ACK.x abc", b"msg  ok", b"ping", b"status NATS"];
        assert_eq!(seen, expected);
        assert!(next(b"MSG inbox.load 1 2\r\no").unwrap().is_none());
        assert!(next(b"-ERR 'no'\r\n").is_err());
    }
}
