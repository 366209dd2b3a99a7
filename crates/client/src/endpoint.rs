//! Where the gateway is, read from text such as `http://127.0.0.1:8000`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderValue;

/// A gateway's address and the token to show it. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    host: String,
    port: u16,
    host_header: HeaderValue,
    authorization: Option<HeaderValue>,
}

/// An address that is not one; says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a gateway's address: {why}; it looks like http://127.0.0.1:8000")]
pub struct BadEndpoint {
    /// As given.
    pub text: String,
    /// What is wrong.
    pub why: &'static str,
}

impl Endpoint {
    /// Reads an address: `http://HOST[:PORT]`, with or without the scheme, without a path. The port is 80 when absent.
    ///
    /// # Errors
    /// When it is something else; `https` among them, which needs a proxy in front.
    pub fn parse(text: &str) -> Result<Self, BadEndpoint> {
        let bad = |why| BadEndpoint { text: text.to_owned(), why };
        let rest = match text.split_once("://") {
            Some(("http" | "ws", rest)) => rest,
            Some(("https" | "wss", _)) => {
                return Err(bad("TLS is not spoken here; point it at the proxy's plain side"));
            }
            Some(_) => return Err(bad("the scheme must be http")),
            None => text,
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(bad("it must not have a path"));
        }
        if authority.contains('@') {
            return Err(bad("a user or password does not belong there; pass a token"));
        }
        let parsed: http::uri::Authority = authority.parse().map_err(|_| bad("host or port cannot be read"))?;
        // Not parsed.port(): that takes a port it cannot read for none.
        let port = match authority[parsed.host().len()..].strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| bad("the port must be 1 to 65535"))?,
            None => 80_u16,
        };
        if port == 0 {
            return Err(bad("the port must be 1 to 65535"));
        }
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        let host_header = HeaderValue::from_str(authority).map_err(|_| bad("host or port cannot be read"))?;
        Ok(Self(Arc::new(Inner { host, port, host_header, authorization: None })))
    }

    /// The same address, with a token that goes out as `Authorization: Bearer`.
    ///
    /// # Errors
    /// When the token holds a character that no header may hold.
    pub fn with_token(&self, token: &str) -> Result<Self, BadEndpoint> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| BadEndpoint {
            // The token itself is a secret and stays out of the message.
            text: self.to_string(),
            why: "the token holds a character that cannot stand in a header",
        })?;
        value.set_sensitive(true);
        let Inner { host, port, host_header, .. } = &*self.0;
        Ok(Self(Arc::new(Inner {
            host: host.clone(),
            port: *port,
            host_header: host_header.clone(),
            authorization: Some(value),
        })))
    }

    /// The host, without brackets when it is an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub(crate) fn host_header(&self) -> HeaderValue {
        self.0.host_header.clone()
    }

    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        self.0.authorization.clone()
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.host.contains(':') {
            return write!(f, "http://[{}]:{}", self.0.host, self.0.port);
        }
        write!(f, "http://{}:{}", self.0.host, self.0.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}{}", if self.0.authorization.is_some() { " (with a token)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_fine() {
        for (text, shown) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
            ("localhost:9", "http://localhost:9"),
            ("ws://gateway.example", "http://gateway.example:80"),
            ("http://[::1]:8000", "http://[::1]:8000"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn addresses_that_are_not_say_why() {
        for (text, why) in [
            ("https://x:1", "TLS"),
            ("ftp://x:1", "scheme"),
            ("http://x:1/v1", "path"),
            ("http://x:0", "port"),
            ("http://x:70000", "port"),
            ("http://x:", "port"),
            ("http://me:secret@x:1", "token"),
            ("", "host"),
            ("http://", "host"),
        ] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let endpoint = Endpoint::parse("http://x:1").unwrap().with_token("s3cret").unwrap();
        assert!(!format!("{endpoint:?} {endpoint}").contains("s3cret"));
        let error = endpoint.with_token("s3cret\n").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("s3cret"));
    }
}
