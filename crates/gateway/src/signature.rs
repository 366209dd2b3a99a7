//! Whether a webhook was signed with our secret: HMAC-SHA-256 over the body, compared in constant time.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Whether a header `sha256=<64 hexadecimal digits>` is this body's signature.
pub(crate) fn is_signed(secret: &str, body: &[u8], header: &str) -> bool {
    let Some(signature) = header.strip_prefix("sha256=").and_then(crate::auth::parse_hash) else { return false };
    // A key of any length will do for HMAC, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own example, from "Validating webhook deliveries".
    const SECRET: &str = "It's a Secret to Everybody";
    const SIGNED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn only_our_signature_of_this_body_counts() {
        assert!(is_signed(SECRET, b"Hello, World!", SIGNED));
        let bad = [
            (SECRET, "Hello, World?", SIGNED.to_owned()),
            ("another", "Hello, World!", SIGNED.to_owned()),
            (SECRET, "Hello, World!", SIGNED.replace("sha256=", "sha1=")),
            (SECRET, "Hello, World!", SIGNED.replace('7', "8")),
            (SECRET, "Hello, World!", SIGNED[..40].to_owned()),
            (SECRET, "Hello, World!", String::new()),
        ];
        for (secret, body, header) in bad {
            assert!(!is_signed(secret, body.as_bytes(), &header), "{header}");
        }
    }
}
