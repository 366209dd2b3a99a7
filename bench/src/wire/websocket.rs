//! As much of RFC 6455 as a load generator needs: the upgrade, masked text frames out, whole frames in.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};

use crate::harness::process::PATIENCE;

/// A text frame.
pub const TEXT: u8 = 1;
/// A close frame.
pub const CLOSE: u8 = 8;
/// A ping.
pub const PING: u8 = 9;
/// A pong.
pub const PONG: u8 = 10;

/// A client masks what it sends; with one key for the whole run the server has as much work as with any other.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x99];

/// Connects and upgrades.
pub fn connect(address: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .as_bytes(),
    )?;
    // Byte by byte, so that nothing that follows the answer's head is swallowed. Once per connection.
    let (mut head, mut byte) = (Vec::new(), [0_u8]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).with_context(|| format!("no answer to the upgrade of {path}"))?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    ensure!(head.starts_with("HTTP/1.1 101"), "{path} was not upgraded: {head}");
    Ok(stream)
}

/// Appends one masked frame that consists of `parts`.
pub fn frame(out: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    out.push(0x80 | opcode);
    match u16::try_from(len) {
        Ok(short) if len < 126 => out.push(0x80 | u8::try_from(short).unwrap_or(0)),
        Ok(short) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&short.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    let mut words = out[start..].chunks_exact_mut(4);
    for word in &mut words {
        for (byte, mask) in word.iter_mut().zip(MASK) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(MASK) {
        *byte ^= mask;
    }
}

/// The size of a server frame's head and payload, or None when the head is not there yet.
pub fn head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (head, len) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    Some((first & 0x0f, head, len))
}

/// The next whole frame: its opcode, its payload, and how many bytes it takes in all.
pub fn next(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (opcode, start, len) = head(bytes)?;
    Some((opcode, bytes.get(start..start + len)?, start + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_is_found_again() {
        for len in [0, 1, 125, 126, 300, 70_000] {
            let text = vec![b'a'; len];
            let mut out = Vec::new();
            frame(&mut out, TEXT, &[&text]);
            let (opcode, start, size) = head(&out).unwrap();
            // The mask stands between a client's head and its payload.
            let unmasked: Vec<_> = out[start + 4..].iter().enumerate().map(|(i, b)| b ^ MASK[i % 4]).collect();
            assert_eq!((opcode, size, unmasked), (TEXT, len, text));
        }
    }

    #[test]
    fn a_frame_that_is_not_all_there_waits() {
        let whole = [0x81, 3, b'a', b'b', b'c', 0x81];
        assert_eq!(next(&whole), Some((TEXT, &b"abc"[..], 5)));
        for cut in 0..5 {
            assert_eq!(next(&whole[..cut]), None);
        }
    }
}
