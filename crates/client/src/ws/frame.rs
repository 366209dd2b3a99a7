//! Frames of RFC 6455, as a client writes and reads them. Pure.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with a message that was begun.
    Continuation,
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
    /// The end, with a code and a reason.
    Close,
    /// Wants a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

/// The head of a frame from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub opcode: Opcode,
    /// The last frame of its message.
    pub last: bool,
    /// Length of the head itself, bytes.
    pub head_bytes: usize,
    /// Length of what follows, bytes.
    pub body_bytes: u64,
}

/// Room that [`begin`] leaves for the head of a frame of 126 to 65,535 bytes, the mask included.
const RESERVED: usize = 8;

/// Reads the head of a server's frame; `None` while bytes are missing.
///
/// # Errors
/// When it breaks the RFC: in words.
pub fn read_head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let opcode = match first & 0x0f {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err("a frame of a kind that does not exist"),
    };
    if first & 0x70 != 0 {
        return Err("a frame with an extension that was not agreed on");
    }
    if second & 0x80 != 0 {
        return Err("a masked frame from a server");
    }
    let last = first & 0x80 != 0;
    let (head_bytes, body_bytes) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (10, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    if matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong) && (body_bytes > 125 || !last) {
        return Err("a control frame in pieces, or of more than 125 bytes");
    }
    Ok(Some(Head { opcode, last, head_bytes, body_bytes }))
}

/// Begins a frame at the end of `out`; its body is appended next, and [`finish`] is told what this answers.
pub fn begin(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; RESERVED]);
    at
}

/// Ends the frame that was begun at `at`: writes its head in front of its body.
///
/// The mask is zero, so the body goes out as it stands. The RFC wants it random to keep scripts in a browser from writing
/// bytes of their choice through a proxy; no such script is here, and the XOR over every byte would buy nothing.
pub fn finish(out: &mut Vec<u8>, at: usize, opcode: Opcode) {
    let body = at + RESERVED;
    let length = out.len() - body;
    let first = 0x80
        | match opcode {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        };
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        out[at] = first;
        out[at + 1] = 0x80 | short;
        // Four bytes of mask are zero already; the two that are too many go.
        out.copy_within(body.., body - 2);
        out.truncate(body - 2 + length);
    } else if let Ok(medium) = u16::try_from(length) {
        out[at] = first;
        out[at + 1] = 0x80 | 126;
        out[at + 2..at + 4].copy_from_slice(&medium.to_be_bytes());
    } else {
        let mut head = [0; 14];
        head[0] = first;
        head[1] = 0x80 | 127;
        head[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        out.splice(at..body, head);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

    use super::*;

    fn written(body: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let at = begin(&mut out);
        out.extend_from_slice(body);
        finish(&mut out, at, Opcode::Text);
        assert!(out.starts_with(b"before"));
        out.split_off(6)
    }

    #[test]
    fn what_is_written_another_implementation_reads() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let body: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let bytes = written(&body);
            let mut cursor = Cursor::new(&bytes);
            let (head, read) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            assert_eq!(read, length as u64);
            assert_eq!((head.is_final, head.opcode, head.mask), (true, OpCode::Data(Data::Text), Some([0; 4])));
            assert_eq!(&bytes[cursor.position() as usize..], body, "{length}");
        }
    }

    proptest! {
        #[test]
        fn what_another_implementation_writes_is_read(length in prop_oneof![0_u64..300, 65_000_u64..66_000, any::<u64>()]) {
            let head = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
            let mut bytes = Vec::new();
            head.format(length, &mut bytes).unwrap();
            for cut in 0..bytes.len() {
                prop_assert_eq!(read_head(&bytes[..cut]), Ok(None));
            }
            let expected = Head { opcode: Opcode::Binary, last: true, head_bytes: bytes.len(), body_bytes: length };
            prop_assert_eq!(read_head(&bytes), Ok(Some(expected)));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = read_head(&bytes);
        }
    }

    #[test]
    fn frames_that_break_the_rfc_are_refused() {
        for (bytes, why) in [
            (&[0x83, 0][..], "kind"),
            (&[0xc1, 0], "extension"),
            (&[0x81, 0x80], "masked"),
            (&[0x89, 126, 0, 200], "control"),
            (&[0x09, 0], "control"),
        ] {
            assert!(read_head(bytes).unwrap_err().contains(why), "{bytes:?}");
        }
    }
}
