//! Frames as bytes, server to client: never masked, never fragmented, encoded straight into the buffer they are sent from.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The room that [`text_with`] leaves for a header; right for texts of 126 to 65,535 bytes, so that those never move.
const USUAL_HEADER: usize = 4;

fn put_header(opcode: OpCode, length: usize, out: &mut Vec<u8>) {
    put(FrameHeader { opcode, ..FrameHeader::default() }, length, out);
}

fn put(header: FrameHeader, length: usize, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = header.format(length as u64, out);
}

/// Appends one text frame.
pub(crate) fn text(out: &mut Vec<u8>, text: &[u8]) {
    put_header(OpCode::Data(Data::Text), text.len(), out);
    out.extend_from_slice(text);
}

/// Appends one text frame whose text [`super::deflate`] compressed.
pub(crate) fn deflated_text(out: &mut Vec<u8>, compressed: &[u8]) {
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), rsv1: true, ..FrameHeader::default() };
    put(header, compressed.len(), out);
    out.extend_from_slice(compressed);
}

/// Appends one text frame whose text `write` appends, without a copy in the usual case. Says where the text begins.
pub(crate) fn text_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; USUAL_HEADER]);
    write(out);
    let length = out.len() - start - USUAL_HEADER;
    let mut header = Vec::new();
    let mut small = [0_u8; 10];
    put_header(OpCode::Data(Data::Text), length, &mut header);
    let header_length = header.len();
    small[..header_length].copy_from_slice(&header);
    let (text, end) = (start + USUAL_HEADER, out.len());
    if header_length < USUAL_HEADER {
        out.copy_within(text..end, start + header_length);
        out.truncate(start + header_length + length);
    } else if header_length > USUAL_HEADER {
        out.resize(start + header_length + length, 0);
        out.copy_within(text..end, start + header_length);
    }
    out[start..start + header_length].copy_from_slice(&small[..header_length]);
    start + header_length
}

/// Appends one text frame with a value as JSON.
pub(crate) fn json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    text_with(out, |out| {
        // What is serialized here are our own types: no map with keys that are not strings, no I/O.
        if let Err(error) = serde_json::to_writer(out, value) {
            tracing::error!(%error, "a frame could not be serialized");
        }
    });
}

/// Appends a ping.
pub(crate) fn ping(out: &mut Vec<u8>) {
    put_header(OpCode::Control(Control::Ping), 0, out);
}

/// Appends the pong to a ping.
pub(crate) fn pong(out: &mut Vec<u8>, data: &Bytes) {
    put_header(OpCode::Control(Control::Pong), data.len(), out);
    out.extend_from_slice(data);
}

/// Appends a close. The reason is cut to the 123 bytes that a control frame has room for.
pub(crate) fn close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = crate::check::cut(reason, 123);
    put_header(OpCode::Control(Control::Close), 2 + reason.len(), out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::protocol::Role;
    use tokio_tungstenite::tungstenite::{Message, WebSocket};

    use super::*;

    /// What a client reads from these bytes.
    fn read(bytes: Vec<u8>) -> Message {
        let mut client = WebSocket::from_raw_socket(Cursor::new(bytes), Role::Client, None);
        client.read().unwrap()
    }

    #[test]
    fn a_client_reads_what_was_written_at_every_header_length() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let expected = "x".repeat(length);
            let mut out = b"before".to_vec();
            let at = text_with(&mut out, |out| out.extend_from_slice(expected.as_bytes()));
            assert_eq!(&out[at..], expected.as_bytes());
            assert_eq!(read(out.split_off(6)), Message::text(expected.clone()), "{length}");
            let mut out = Vec::new();
            text(&mut out, expected.as_bytes());
            assert_eq!(read(out), Message::text(expected), "{length}");
        }
    }

    #[test]
    fn a_close_has_its_code_and_a_reason_that_fits() {
        let mut out = Vec::new();
        close(&mut out, 1013, &"ä".repeat(100));
        let Message::Close(Some(frame)) = read(out) else { panic!("no close") };
        assert_eq!(u16::from(frame.code), 1013);
        assert_eq!(frame.reason.as_str(), "ä".repeat(61));
    }
}
