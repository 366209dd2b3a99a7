//! Bytes from a client as messages: RFC 6455, the server's side. Pure: no socket, no clock.
//!
//! tungstenite reads the header of a frame; the rest is here, because its own reader keeps a buffer for every connection,
//! and most connections say nothing most of the time. This one holds only what has come and is not yet a message.

use std::io::Cursor;

use bytes::{Buf, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{FrameHeader, Utf8Bytes};

use super::deflate::{self, Inflating};

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    Binary,
    Ping(Bytes),
    Pong,
    Close,
}

/// Why nothing more can be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// Larger than allowed.
    TooLarge(String),
    /// A text that is no UTF-8.
    NotUtf8,
    /// Against the protocol.
    Protocol(String),
    /// The peer has gone.
    Gone,
}

/// What has come so far.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Not yet a frame.
    bytes: BytesMut,
    /// The frames so far of a message in several frames, and what it is.
    fragments: Option<(Kind, Vec<u8>)>,
    max_message_bytes: usize,
    /// permessage-deflate was agreed on.
    deflated: bool,
}

/// What the first frame of a message says of it.
#[derive(Clone, Copy, Debug)]
struct Kind {
    is_text: bool,
    is_deflated: bool,
}

impl Decoder {
    pub(crate) fn new(already_read: Bytes, max_message_bytes: usize, deflated: bool) -> Self {
        Self { bytes: already_read.into(), fragments: None, max_message_bytes, deflated }
    }

    /// Takes what came.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message; none as long as it has not come in full. After an error there is no next.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, ReadError> {
        while let Some((header, payload)) = self.frame()? {
            if let Some(message) = self.message(&header, payload)? {
                return Ok(Some(message));
            }
        }
        if self.bytes.is_empty() {
            // An idle connection keeps nothing.
            self.bytes = BytesMut::new();
        }
        Ok(None)
    }

    fn frame(&mut self) -> Result<Option<(FrameHeader, BytesMut)>, ReadError> {
        let mut cursor = Cursor::new(&self.bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|error| ReadError::Protocol(error.to_string()))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let head = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let may_be_deflated = self.deflated && matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if (header.rsv1 && !may_be_deflated) || header.rsv2 || header.rsv3 {
            return Err(protocol("a frame with reserved bits that no extension was agreed on for"));
        }
        let Some(mask) = header.mask else {
            return Err(protocol("a frame that is not masked: clients mask"));
        };
        if matches!(header.opcode, OpCode::Control(_)) && (length > 125 || !header.is_final) {
            return Err(protocol("a control frame in parts, or of more than 125 bytes"));
        }
        let before = self.fragments.as_ref().map_or(0, |(_, fragments)| fragments.len());
        let most = self.max_message_bytes.saturating_sub(before);
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= most) else {
            return Err(ReadError::TooLarge(format!("a message of more than {} bytes", self.max_message_bytes)));
        };
        if self.bytes.len() - head < length {
            // Once, and not bit by bit as it comes.
            let missing = head + length - self.bytes.len();
            self.bytes.reserve(missing);
            return Ok(None);
        }
        self.bytes.advance(head);
        let mut payload = self.bytes.split_to(length);
        unmask(&mut payload, mask);
        Ok(Some((header, payload)))
    }

    /// What a frame completes, if anything.
    fn message(&mut self, header: &FrameHeader, payload: BytesMut) -> Result<Option<Incoming>, ReadError> {
        let data = match header.opcode {
            OpCode::Control(Control::Ping) => return Ok(Some(Incoming::Ping(payload.freeze()))),
            OpCode::Control(Control::Pong) => return Ok(Some(Incoming::Pong)),
            OpCode::Control(Control::Close) => return Ok(Some(Incoming::Close)),
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                return Err(protocol("a frame of a reserved kind"));
            }
            OpCode::Data(data) => data,
        };
        let (kind, whole) = match (data, self.fragments.take()) {
            (Data::Continue, None) => return Err(protocol("a continuation of nothing")),
            (Data::Continue, Some((kind, mut fragments))) => {
                fragments.extend_from_slice(&payload);
                if !header.is_final {
                    self.fragments = Some((kind, fragments));
                    return Ok(None);
                }
                (kind, Bytes::from(fragments))
            }
            (_, Some(_)) => return Err(protocol("a new message within another")),
            (data, None) => {
                let kind = Kind { is_text: matches!(data, Data::Text), is_deflated: header.rsv1 };
                if !header.is_final {
                    self.fragments = Some((kind, payload.into()));
                    return Ok(None);
                }
                (kind, payload.freeze())
            }
        };
        if !kind.is_text {
            return Ok(Some(Incoming::Binary));
        }
        let whole = if kind.is_deflated { self.inflate(&whole)?.into() } else { whole };
        Utf8Bytes::try_from(whole).map(|text| Some(Incoming::Text(text))).map_err(|_| ReadError::NotUtf8)
    }

    fn inflate(&self, message: &[u8]) -> Result<Vec<u8>, ReadError> {
        deflate::inflate(message, self.max_message_bytes).map_err(|why| match why {
            Inflating::Damaged => protocol("a message that cannot be decompressed"),
            Inflating::TooLarge => {
                ReadError::TooLarge(format!("a message of more than {} bytes", self.max_message_bytes))
            }
        })
    }
}

fn protocol(words: &str) -> ReadError {
    ReadError::Protocol(words.into())
}

/// XOR with the mask, four bytes at a time, which the compiler makes into whole registers at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u32::from_ne_bytes(mask);
    let (chunks, rest) = payload.as_chunks_mut::<4>();
    for chunk in chunks {
        *chunk = (u32::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;

    use super::*;

    fn frame(opcode: OpCode, is_final: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        // Masks on its way out.
        Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        bytes
    }

    const TEXT: OpCode = OpCode::Data(Data::Text);
    const MORE: OpCode = OpCode::Data(Data::Continue);
    const PING: OpCode = OpCode::Control(Control::Ping);

    fn decode(bytes: &[u8]) -> Result<Vec<Incoming>, ReadError> {
        decode_with(bytes, false)
    }

    fn decode_with(bytes: &[u8], deflated: bool) -> Result<Vec<Incoming>, ReadError> {
        let mut decoder = Decoder::new(Bytes::copy_from_slice(bytes), 1_000, deflated);
        let mut messages = Vec::new();
        while let Some(message) = decoder.next()? {
            messages.push(message);
        }
        Ok(messages)
    }

    proptest! {
        /// However messages are cut into frames, and frames into reads, what was said is what is heard.
        #[test]
        fn what_was_said_is_heard(
            said in prop::collection::vec(("[a-zä]{0,300}", 1_usize..5, any::<[u8; 4]>(), any::<bool>()), 1..12),
            reads in prop::collection::vec(1_usize..200, 1..40),
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (text, parts, mask, ping) in &said {
                let size = text.len().div_ceil(*parts).max(1);
                let pieces: Vec<&[u8]> = if text.is_empty() { vec![b""] } else { text.as_bytes().chunks(size).collect() };
                for (i, piece) in pieces.iter().enumerate() {
                    bytes.extend(frame(if i == 0 { TEXT } else { MORE }, i + 1 == pieces.len(), *mask, piece));
                    if *ping && i + 1 < pieces.len() {
                        bytes.extend(frame(PING, true, *mask, b"between"));
                        expected.push(Incoming::Ping(Bytes::from_static(b"between")));
                    }
                }
                expected.push(Incoming::Text(text.as_str().into()));
            }
            let mut decoder = Decoder::new(Bytes::new(), 1_000, false);
            let mut heard = Vec::new();
            let (mut at, mut sizes) = (0, reads.iter().cycle());
            while at < bytes.len() {
                let end = bytes.len().min(at + sizes.next().unwrap());
                decoder.feed(&bytes[at..end]);
                at = end;
                while let Some(message) = decoder.next().unwrap() {
                    heard.push(message);
                }
            }
            prop_assert_eq!(heard, expected);
            prop_assert_eq!(decoder.bytes.capacity(), 0, "an idle decoder keeps a buffer");
        }

        /// Whatever comes, it does not panic, and does not hold more than a message.
        #[test]
        fn noise_is_no_message_of_more_than_allowed(noise in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(messages) = decode(&noise) {
                for message in messages {
                    prop_assert!(!matches!(message, Incoming::Text(text) if text.len() > 1_000));
                }
            }
        }
    }

    #[test]
    fn what_is_against_the_rules_is_refused() {
        let mask = [1, 2, 3, 4];
        let unmasked = vec![0x81, 1, b'a'];
        let reserved_bit = {
            let mut bytes = frame(TEXT, true, mask, b"a");
            bytes[0] |= 0x40;
            bytes
        };
        let long_ping = frame(PING, true, mask, &[0; 126]);
        let split_ping = frame(PING, false, mask, b"");
        let nothing_to_continue = frame(MORE, true, mask, b"a");
        let within = [frame(TEXT, false, mask, b"a"), frame(TEXT, true, mask, b"b")].concat();
        let reserved_kind = {
            let mut bytes = frame(TEXT, true, mask, b"a");
            bytes[0] = 0x83;
            bytes
        };
        for bytes in [unmasked, reserved_bit, long_ping, split_ping, nothing_to_continue, within, reserved_kind] {
            assert!(matches!(decode(&bytes), Err(ReadError::Protocol(_))), "{bytes:?}");
        }
        assert_eq!(decode(&frame(TEXT, true, mask, &[0xff])), Err(ReadError::NotUtf8));
        assert!(matches!(decode(&frame(TEXT, true, mask, &[b'a'; 1_001])), Err(ReadError::TooLarge(_))));
        let in_parts = [frame(TEXT, false, mask, &[b'a'; 600]), frame(MORE, true, mask, &[b'a'; 401])].concat();
        assert!(matches!(decode(&in_parts), Err(ReadError::TooLarge(_))));
        let huge = {
            let mut bytes = vec![0x81, 0xff];
            bytes.extend(u64::MAX.to_be_bytes());
            bytes.extend(mask);
            bytes
        };
        assert!(matches!(decode(&huge), Err(ReadError::TooLarge(_))));
        assert_eq!(decode(&frame(OpCode::Data(Data::Binary), true, mask, b"a")), Ok(vec![Incoming::Binary]));
        assert_eq!(decode(&frame(OpCode::Control(Control::Close), true, mask, b"")), Ok(vec![Incoming::Close]));
    }

    #[test]
    fn what_is_compressed_is_read_where_that_was_agreed_on() {
        let compressed = |is_final: bool, opcode: OpCode, payload: &[u8]| {
            let mut bytes = frame(opcode, is_final, [1, 2, 3, 4], payload);
            bytes[0] |= 0x40;
            bytes
        };
        let text = "ping ".repeat(100);
        let deflated = deflate::compress(text.as_bytes());
        let expected = Ok(vec![Incoming::Text(text.as_str().into())]);
        let whole = compressed(true, TEXT, &deflated);
        assert_eq!(decode_with(&whole, true), expected);
        assert!(matches!(decode_with(&whole, false), Err(ReadError::Protocol(_))));
        let (one, other) = deflated.split_at(deflated.len() / 2);
        let mask = [5, 6, 7, 8];
        assert_eq!(
            decode_with(&[compressed(false, TEXT, one), frame(MORE, true, mask, other)].concat(), true),
            expected
        );
        // Only the first frame of a message says it.
        let twice = [compressed(false, TEXT, one), compressed(true, MORE, other)].concat();
        assert!(matches!(decode_with(&twice, true), Err(ReadError::Protocol(_))));
        assert!(matches!(decode_with(&compressed(true, PING, b"a"), true), Err(ReadError::Protocol(_))));
        assert!(matches!(decode_with(&compressed(true, TEXT, &[0xff; 9]), true), Err(ReadError::Protocol(_))));
        let bomb = deflate::compress(&[b'a'; 1_001]);
        assert!(matches!(decode_with(&compressed(true, TEXT, &bomb), true), Err(ReadError::TooLarge(_))));
        assert_eq!(decode_with(&frame(TEXT, true, mask, b"plain"), true), Ok(vec![Incoming::Text("plain".into())]));
    }
}
