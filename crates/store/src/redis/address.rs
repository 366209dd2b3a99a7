//! Where the Redis is, and whether it is ours to use: the address, its certificate authority, the node of a cluster that has our keys,
//! and in plain words what is wrong when it refuses.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionAddr, RedisError, TlsCertificates};

use super::{OpenError, driver, without_secrets};
use crate::config::Options;

/// Nodes that are asked one after the other, each of which knows another one that should have our keys.
pub(crate) const HOPS: usize = 4;

/// Whoever connects to the Redis at `url`, which is not done yet; with TLS, one that an authority in `ca_file` has signed, if there is such
/// a file.
///
/// # Errors
/// When the address makes no sense, or the file cannot be read.
pub(crate) fn client(url: &str, ca_file: &str) -> Result<Client, OpenError> {
    let wrong = |error| OpenError::Address { url: without_secrets(url), error };
    if !url.starts_with("rediss:") {
        return Client::open(url).map_err(wrong);
    }
    // Somebody else in this process may have chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if ca_file.is_empty() {
        return Client::open(url).map_err(wrong);
    }
    let path = ca_file.to_owned();
    match std::fs::read(&path) {
        Ok(pem) => {
            Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert: Some(pem) }).map_err(wrong)
        }
        Err(error) => Err(OpenError::Authority { path, error }),
    }
}

/// A connection to the Redis that has our keys, and whoever makes more of them.
///
/// # Errors
/// When it cannot be reached, refuses, or is a cluster and our keys would be in several places.
pub(crate) async fn reach(options: &Options) -> Result<(Client, MultiplexedConnection), OpenError> {
    let timeout = Duration::from_millis(options.store.timeout_ms);
    let mut client = client(&options.store.url, &options.store.ca_file)?;
    let mut hops = 0;
    loop {
        let failed = |error| failed(options, error);
        let mut connection = driver::connect(&client, timeout).await.map_err(failed)?;
        let epoch = format!("{}:epoch", options.store.key_prefix);
        let asked = redis::cmd("EXISTS").arg(epoch).query_async::<u64>(&mut connection).await;
        let Err(error) = asked else { return Ok((client, connection)) };
        match redirected(&client, &error) {
            Some(_) if !has_tag(&options.store.key_prefix) => return Err(scattered(options)),
            Some(other) if hops < HOPS => {
                hops += 1;
                client = other;
            }
            _ => return Err(failed(error)),
        }
    }
}

/// A client of the node that this one says has our keys.
pub(crate) fn redirected(client: &Client, error: &RedisError) -> Option<Client> {
    let (node, _) = error.redirect_node()?;
    let (name, port) = node.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let known = client.get_connection_info();
    let host_of = |before: &str| if name.is_empty() { before.to_owned() } else { name.to_owned() };
    let address = match known.addr() {
        ConnectionAddr::TcpTls { host, insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host_of(host), port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        ConnectionAddr::Tcp(host, _) => ConnectionAddr::Tcp(host_of(host), port),
        _ => return None,
    };
    Client::open(known.clone().set_addr(address)).ok()
}

/// Whether all keys of a prefix lie in one slot: what stands in braces decides.
fn has_tag(prefix: &str) -> bool {
    let inside = prefix.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    inside.is_some_and(|(tag, _)| !tag.is_empty())
}

fn scattered(options: &Options) -> OpenError {
    OpenError::Scattered { url: without_secrets(&options.store.url), prefix: options.store.key_prefix.clone() }
}

/// What Redis said, as an error of opening.
pub(crate) fn failed(options: &Options, error: RedisError) -> OpenError {
    let text = error.to_string();
    if (text.contains("slot") || text.contains("non local key")) && !has_tag(&options.store.key_prefix) {
        return scattered(options);
    }
    OpenError::Redis { url: without_secrets(&options.store.url), error }
}

/// What to do about it, where that can be said.
pub(super) fn advice(error: &RedisError) -> &'static str {
    let text = error.to_string();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["UnknownIssuer", "invalid peer certificate", "BadSignature"]) {
        "; its certificate is not trusted: store.ca_file names the authority that signed it"
    } else if says(&["NOAUTH", "WRONGPASS", "Authentication required", "authentication failed", "AuthenticationFailed"])
    {
        "; the password in store.url is missing or wrong"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_braces_decides() {
        for (prefix, tag) in
            [("{squall}", true), ("a{b}c", true), ("squall", false), ("{}squall", false), ("{s", false)]
        {
            assert_eq!(has_tag(prefix), tag, "{prefix}");
        }
    }
}
