//! Which web pages may talk to this gateway: its own, and those of `server.allowed_origins`.
//!
//! A browser lets any page open WebSockets and send simple requests to any address, a gateway on loopback included, which needs
//! no token; but it says whose page it is, in `Origin`, and a page cannot change that. Programs send no `Origin`.

use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use squall_protocol::ErrorCode;

use crate::error::Refusal;

/// Lets a request through that comes from no page, from one of this gateway's own address, or from one of `allowed`.
///
/// # Errors
/// `Forbidden`.
pub(super) fn check(headers: &HeaderMap, allowed: &[String]) -> Result<(), Refusal> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    for origin in headers.get_all(ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes());
        let own = host.is_some_and(|host| is_of(&origin, host));
        if !own && !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&origin)) {
            let message =
                format!("pages of {origin:?} may not use this gateway; server.allowed_origins names those that may");
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
    }
    Ok(())
}

/// Whether an origin is that of this host; a port that its scheme implies may be left out on either side.
fn is_of(origin: &str, host: &str) -> bool {
    let (authority, port) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(authority), _) => (authority, ":80"),
        (_, Some(authority)) => (authority, ":443"),
        // `null`, and the origins of extensions.
        _ => return false,
    };
    let plain = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
    plain(authority) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_pages_and_those_allowed_come_in() {
        let allowed = ["https://console.example".to_owned()];
        let cases = [
            (Some("127.0.0.1:8000"), None, true),
            (Some("127.0.0.1:8000"), Some("http://127.0.0.1:8000"), true),
            (Some("localhost:8000"), Some("http://LocalHost:8000"), true),
            (Some("gw.example"), Some("https://gw.example"), true),
            (Some("gw.example:443"), Some("https://gw.example"), true),
            (Some("127.0.0.1:8000"), Some("https://console.example"), true),
            (Some("127.0.0.1:8000"), Some("https://evil.example"), false),
            // Another port is another origin, and so is a name that only begins like ours.
            (Some("127.0.0.1:8000"), Some("http://127.0.0.1:3000"), false),
            (Some("gw.example"), Some("https://gw.example.evil"), false),
            (Some("gw.example:80"), Some("https://gw.example"), false),
            (Some("127.0.0.1:8000"), Some("null"), false),
            (None, Some("http://127.0.0.1:8000"), false),
        ];
        for (host, origin, comes_in) in cases {
            let mut headers = HeaderMap::new();
            if let Some(host) = host {
                headers.insert(HOST, host.parse().unwrap());
            }
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(check(&headers, &allowed).is_ok(), comes_in, "{host:?} {origin:?}");
        }
        let mut two = HeaderMap::new();
        two.append(ORIGIN, "https://console.example".parse().unwrap());
        two.append(ORIGIN, "https://evil.example".parse().unwrap());
        assert_eq!(check(&two, &allowed).unwrap_err().error.code, ErrorCode::Forbidden);
    }
}
