//! permessage-deflate (RFC 7692), as far as a subscriber needs it: each message stands for itself, in both directions
//! (`no_context_takeover`), so that what is compressed once can be sent to everybody, and no connection holds a window.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::HeaderMap;
use http::header::SEC_WEBSOCKET_EXTENSIONS;

use super::upgrade::words;

/// What is answered to an offer that can be taken.
pub(crate) const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// A message below this many bytes hardly gets smaller.
pub(crate) const WORTH_BYTES: usize = 512;

/// What ends a block, and is left out on the wire.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Whether a client offers it in a way that we can do. Offers with parameters that we do not know are not taken, as the RFC wants
/// it; nor is a smaller window of ours.
pub(crate) fn is_offered(headers: &HeaderMap) -> bool {
    words(headers, SEC_WEBSOCKET_EXTENSIONS).any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        name.eq_ignore_ascii_case("permessage-deflate")
            && parts.all(|parameter| {
                let (name, value) =
                    parameter.split_once('=').map_or((parameter, None), |(name, value)| (name, Some(value)));
                match (name.trim(), value.map(|value| value.trim().trim_matches('"'))) {
                    ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => {
                        true
                    }
                    ("client_max_window_bits", Some(bits)) => matches!(bits.parse(), Ok(8..=15)),
                    ("server_max_window_bits", Some("15")) => true,
                    _ => false,
                }
            })
    })
}

/// A message as it goes over the wire.
pub(crate) fn compress(message: &[u8]) -> Vec<u8> {
    // The fastest level: JSON of many like records shrinks to a tenth with any.
    let mut deflate = Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(message.len() / 6 + 64);
    loop {
        let rest = &message[usize::try_from(deflate.total_in()).unwrap_or(usize::MAX).min(message.len())..];
        // A flush is done when it leaves room.
        let done = deflate.compress_vec(rest, &mut out, FlushCompress::Sync).is_err()
            || (deflate.total_in() == message.len() as u64 && out.len() < out.capacity());
        if done {
            break;
        }
        out.reserve(out.capacity());
    }
    if out.ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
    out
}

/// Why a message cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inflating {
    /// It is no deflated data.
    Damaged,
    /// It becomes larger than allowed.
    TooLarge,
}

/// A message as it was before it was compressed.
///
/// # Errors
/// When it is damaged, or becomes larger than `max_bytes`; no more than that is ever held.
pub(crate) fn inflate(compressed: &[u8], max_bytes: usize) -> Result<Vec<u8>, Inflating> {
    let mut inflate = Decompress::new(false);
    let mut out = Vec::with_capacity((compressed.len() * 4).max(64).min(max_bytes + 1));
    for piece in [compressed, &TAIL] {
        let begun = inflate.total_in();
        loop {
            let taken = usize::try_from(inflate.total_in() - begun).unwrap_or(usize::MAX);
            let before = (inflate.total_in(), out.len());
            let status = inflate.decompress_vec(&piece[taken.min(piece.len())..], &mut out, FlushDecompress::Sync);
            let status = status.map_err(|_| Inflating::Damaged)?;
            if out.len() > max_bytes {
                return Err(Inflating::TooLarge);
            }
            if status == Status::StreamEnd {
                return Ok(out);
            }
            let stuck = before == (inflate.total_in(), out.len());
            if out.len() == out.capacity() {
                out.reserve_exact(out.len().min(max_bytes + 1 - out.len()).max(1));
            } else if stuck || inflate.total_in() - begun == piece.len() as u64 {
                break;
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offers_are_taken_that_can_be_kept() {
        let cases = [
            ("permessage-deflate", true),
            ("permessage-deflate; client_max_window_bits", true),
            ("permessage-deflate; client_max_window_bits=10; server_no_context_takeover", true),
            ("permessage-deflate; server_max_window_bits=10, permessage-deflate", true),
            ("permessage-deflate; server_max_window_bits=10", false),
            ("permessage-deflate; client_max_window_bits=7", false),
            ("permessage-deflate; unheard_of", false),
            ("x-webkit-deflate-frame", false),
            ("", false),
        ];
        for (offer, taken) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap());
            assert_eq!(is_offered(&headers), taken, "{offer}");
        }
        assert!(!is_offered(&HeaderMap::new()));
    }

    #[test]
    fn a_bomb_is_not_blown_up() {
        let bomb = compress(&vec![b'a'; 16 << 20]);
        assert!(bomb.len() < 200_000);
        assert_eq!(inflate(&bomb, 4_096), Err(Inflating::TooLarge));
        assert_eq!(inflate(&[0xff; 20], 4_096), Err(Inflating::Damaged));
        // The RFC's own example, 7.2.3.1.
        assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 5).unwrap(), b"Hello");
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(message in prop::collection::vec(any::<u8>(), 0..5_000), times in 1_usize..40) {
            let message = message.repeat(times);
            let compressed = compress(&message);
            prop_assert_eq!(inflate(&compressed, message.len()).unwrap(), message);
        }

        #[test]
        fn noise_does_no_harm(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = inflate(&noise, 1_000) {
                prop_assert!(message.len() <= 1_000);
            }
        }
    }
}
