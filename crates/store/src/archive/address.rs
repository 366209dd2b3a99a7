//! The address of a PostgreSQL: what of it is secret, what it says of TLS, and what is wrong with it.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::redis;

/// An address that was understood.
#[derive(Clone)]
pub(super) struct Address {
    pub config: Config,
    /// The server's certificate is checked.
    pub verify: bool,
    /// By this authority; empty: by those that the system trusts.
    pub ca_file: String,
    /// Without what is secret in it.
    pub shown: String,
}

/// Reads an address; `Err` says what is wrong, without what is secret.
pub(super) fn read(url: &str, ca_file: &str, timeout: Duration) -> Result<Address, String> {
    let shown = without_secrets(url);
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        // What it is instead may be secret in any part.
        return Err(
            "this is not the address of a PostgreSQL: expected postgres://USER:PASSWORD@HOST/DATABASE".to_owned()
        );
    }
    // libpq knows more modes than the client; it checks certificates only when it is asked to, and so do we.
    let verify = url.contains("sslmode=verify-full");
    if url.contains("sslmode=verify-ca") || url.contains("sslmode=allow") {
        return Err(format!("{shown:?}: sslmode is one of disable, prefer, require and verify-full"));
    }
    let plain = url.replace("sslmode=verify-full", "sslmode=require");
    let mut config: Config = plain.parse().map_err(|error: tokio_postgres::Error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        format!("{shown:?} is not the address of a PostgreSQL: {why}")
    })?;
    if config.get_hosts().is_empty() {
        return Err(format!("{shown:?} names no host"));
    }
    if config.get_application_name().is_none() {
        config.application_name("squall");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(timeout);
    }
    if !ca_file.is_empty() && !verify {
        // Whoever names an authority believes that it is asked for.
        return Err(format!("{shown:?}: ca_file is for sslmode=verify-full"));
    }
    Ok(Address { config, verify, ca_file: ca_file.to_owned(), shown })
}

impl Address {
    /// Whether TLS may be used at all.
    pub(super) fn may_encrypt(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }
}

/// An address without what is secret in it: neither user and password, nor a password among its parameters.
#[must_use]
pub fn without_secrets(url: &str) -> String {
    let shown = redis::without_secrets(url);
    let Some((before, parameters)) = shown.split_once('?') else { return shown };
    let told = parameters.split('&').map(|one| match one.split_once('=') {
        Some((name, _)) if name.contains("pass") => format!("{name}=…"),
        _ => one.to_owned(),
    });
    format!("{before}?{}", told.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_secret_is_not_shown() {
        let cases = [
            ("postgres://u:s3cret@db/squall", "postgres://…@db/squall"),
            ("postgres://u:s3@cret@db:5/x?sslmode=require", "postgres://…@db:5/x?sslmode=require"),
            (
                "postgres://db/x?user=u&password=s3cret&sslmode=disable",
                "postgres://db/x?user=u&password=…&sslmode=disable",
            ),
            ("postgres://db/x", "postgres://db/x"),
            ("redis://:s3cret@r/", "redis://…@r/"),
        ];
        for (url, shown) in cases {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn an_address_that_makes_no_sense_is_refused_without_its_secrets() {
        for (url, why) in [
            ("mysql://u:s3cret@db/x", "expected postgres://"),
            ("host=db password=s3cret", "expected postgres://"),
            ("postgres://u:s3cret@db:port/x", "not the address"),
            ("postgres://u:s3cret@db/x?sslmode=maybe", "sslmode"),
            ("postgres://u:s3cret@db/x?sslmode=verify-ca", "verify-full"),
            ("postgres://u:s3cret@db/x?colour=red", "colour"),
        ] {
            let refused = read(url, "", SECOND).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(refused.contains(why) && !refused.contains("s3cret"), "{url}: {refused}");
        }
    }

    #[test]
    fn certificates_are_checked_when_that_is_asked_for() {
        let of = |mode| read(&format!("postgres://u@db/x?sslmode={mode}"), "", SECOND).ok().unwrap();
        assert!(!of("disable").may_encrypt() && of("prefer").may_encrypt());
        assert_eq!((of("require").verify, of("verify-full").verify), (false, true));
        assert!(read("postgres://u@db/x?sslmode=require", "ca.pem", SECOND).is_err());
        assert!(read("postgres://u@db/x?sslmode=verify-full", "ca.pem", SECOND).is_ok());
        assert_eq!(of("verify-full").config.get_ssl_mode(), SslMode::Require);
        assert_eq!(of("prefer").config.get_connect_timeout(), Some(&SECOND));
    }
}
