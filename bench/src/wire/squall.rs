//! Squall's `/ws/work`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

use super::{Inbox, WINDOW, Wire, websocket};
use crate::harness::ledger::PAYLOAD_BYTES;
use crate::harness::process::PATIENCE;

/// The lane that all benchmarks use.
pub const LANE: &str = "bench";

/// Squall's frames.
#[derive(Clone)]
pub struct Squall {
    address: SocketAddr,
    owed_credit: usize,
    prioritised: bool,
}

impl Squall {
    /// Of the gateway at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, owed_credit: 0, prioritised: false }
    }
}

/// Answers pings; says what a close frame says.
fn control(opcode: u8, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
    match opcode {
        websocket::PING => websocket::frame(out, websocket::PONG, &[payload]),
        websocket::CLOSE => bail!("closed: {:?}", String::from_utf8_lossy(payload.get(2..).unwrap_or_default())),
        _ => {}
    }
    Ok(())
}

impl Wire for Squall {
    fn producer(&mut self) -> Result<TcpStream> {
        websocket::connect(self.address, "/ws/work")
    }

    fn prioritise(&mut self) -> Result<()> {
        self.prioritised = true;
        Ok(())
    }

    fn publish(&self, out: &mut Vec<u8>, text: &[u8]) {
        if self.prioritised {
            // The last digit of its number.
            let priority: &[u8] = match text[39] % 3 {
                0 => br#""high","payload":""#,
                1 => br#""normal","payload":""#,
                _ => br#""low","payload":""#,
            };
            let head = br#"{"publish":{"lane":"bench","kind":"k","priority":"#;
            websocket::frame(out, websocket::TEXT, &[head, priority, &text[..PAYLOAD_BYTES - 2], br#""}}"#]);
            return;
        }
        // The quotes belong to the payload: 256 bytes as it lies on the wire.
        websocket::frame(
            out,
            websocket::TEXT,
            &[br#"{"publish":{"lane":"bench","kind":"k","payload":""#, &text[..PAYLOAD_BYTES - 2], br#""}}"#],
        );
    }

    fn acknowledged(&self, inbox: &mut Inbox, out: &mut Vec<u8>) -> Result<u64> {
        let (mut count, mut used) = (0, 0);
        while let Some((opcode, payload, size)) = websocket::next(&inbox.bytes()[used..]) {
            used += size;
            if opcode == websocket::TEXT {
                ensure!(
                    payload.starts_with(br#"{"published":"#),
                    "not acknowledged: {}",
                    String::from_utf8_lossy(payload)
                );
                count += 1;
            } else {
                control(opcode, payload, out)?;
            }
        }
        inbox.consume(used);
        Ok(count)
    }

    fn consumer(&mut self) -> Result<TcpStream> {
        let mut stream = websocket::connect(self.address, "/ws/work")?;
        let subscribe = format!(r#"{{"subscribe":{{"lanes":["{LANE}"],"credit":{WINDOW}}}}}"#);
        let mut out = Vec::new();
        websocket::frame(&mut out, websocket::TEXT, &[subscribe.as_bytes()]);
        stream.write_all(&out)?;
        self.owed_credit = 0;
        Ok(stream)
    }

    fn delivered(
        &mut self,
        inbox: &mut Inbox,
        out: &mut Vec<u8>,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut used = 0;
        while let Some((opcode, frame, size)) = websocket::next(&inbox.bytes()[used..]) {
            used += size;
            if opcode != websocket::TEXT {
                control(opcode, frame, out)?;
                continue;
            }
            if frame.starts_with(br#"{"subscribed":"#) {
                continue;
            }
            let other = || format!("not a delivery: {}", String::from_utf8_lossy(frame));
            ensure!(frame.starts_with(br#"{"deliver":"#), other());
            let id = memmem::find(frame, br#""id":""#).with_context(other)? + 6;
            let text = memmem::find(frame, br#""payload":""#).with_context(other)? + 11;
            each(frame.get(text..text + PAYLOAD_BYTES - 2).with_context(other)?)?;
            let id = frame.get(id..id + 36).with_context(other)?;
            websocket::frame(out, websocket::TEXT, &[br#"{"ack":""#, id, br#""}"#]);
            self.owed_credit += 1;
            if self.owed_credit >= WINDOW / 2 {
                let credit = format!(r#"{{"credit":{}}}"#, self.owed_credit);
                websocket::frame(out, websocket::TEXT, &[credit.as_bytes()]);
                self.owed_credit = 0;
            }
        }
        inbox.consume(used);
        Ok(())
    }

    fn unfinished(&self) -> Result<u64> {
        let lane: serde_json::Value = serde_json::from_str(&get(self.address, &format!("/v1/lanes/{LANE}"))?)?;
        let count = |value: &serde_json::Value| value.as_u64().with_context(|| format!("odd lane: {lane}"));
        let ready = &lane["ready"];
        Ok(count(&ready["high"])?
            + count(&ready["normal"])?
            + count(&ready["low"])?
            + count(&lane["delayed"])?
            + count(&lane["leased"])?
            + count(&lane["dead_letters"])?)
    }
}

/// The body of a GET that is answered with 200.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "GET {path}: {answer}");
    Ok(answer.split_once("\r\n\r\n").context("no body")?.1.to_owned())
}
