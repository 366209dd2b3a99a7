//! Who calls, and what they may do. Only hashes of tokens are kept, and they are compared in constant time.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use sha2::{Digest, Sha256};
use squall_protocol::ErrorCode;
use subtle::{Choice, ConstantTimeEq};

use crate::config::{Auth, DEFAULT_TENANT, Scope};
use crate::error::Refusal;
use crate::ws::upgrade::words;

/// All tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    known: Vec<([u8; 32], Caller)>,
    anonymous: Option<Caller>,
}

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The token's name, or `anonymous`.
    pub(crate) name: Arc<str>,
    /// Whose tasks and sessions it makes.
    pub(crate) tenant: Arc<str>,
    scopes: Arc<[Scope]>,
}

impl Caller {
    /// A hook, which proved itself by a signature.
    pub(crate) fn hook(name: &str, tenant: &str) -> Self {
        Self { name: name.into(), tenant: tenant.into(), scopes: [Scope::Publish].as_slice().into() }
    }

    /// Whether it may.
    ///
    /// # Errors
    /// `Forbidden`, naming the scope that is missing.
    pub(crate) fn may(&self, scope: Scope) -> Result<(), Refusal> {
        if self.scopes.contains(&scope) || self.is_admin() {
            return Ok(());
        }
        let message = format!("token {:?} has no scope {:?}", self.name, scope.as_str());
        Err(Refusal::new(ErrorCode::Forbidden, message))
    }

    /// Whether it sees all tenants.
    pub(crate) fn is_admin(&self) -> bool {
        self.scopes.contains(&Scope::Admin)
    }

    /// The same when it asks for one tenant's: the administrator may choose, everybody else only has its own.
    ///
    /// # Errors
    /// `Forbidden` when it is another's.
    pub(crate) fn sees_of<'a>(&'a self, asked: Option<&'a str>) -> Result<Option<&'a str>, Refusal> {
        match (self.sees(), asked) {
            (Some(own), Some(asked)) if own != asked => {
                let message = format!("token {:?} sees what is {own:?}'s, not what is {asked:?}'s", self.name);
                Err(Refusal::new(ErrorCode::Forbidden, message))
            }
            (Some(own), _) => Ok(Some(own)),
            (None, asked) => Ok(asked),
        }
    }

    /// What restricts what it finds: its tenant, or nothing for the administrator.
    pub(crate) fn sees(&self) -> Option<&str> {
        if self.is_admin() { None } else { Some(&self.tenant) }
    }
}

impl Tokens {
    /// From a configuration that was validated; a hash that is none is left out, so that nothing matches it.
    pub(crate) fn new(auth: &Auth) -> Self {
        let known = auth
            .tokens
            .iter()
            .filter_map(|token| {
                let caller = Caller {
                    name: token.name.as_str().into(),
                    tenant: token.tenant.as_str().into(),
                    scopes: token.scopes.as_slice().into(),
                };
                Some((parse_hash(&token.sha256)?, caller))
            })
            .collect();
        let anonymous = auth.tokens.is_empty().then(|| Caller {
            name: "anonymous".into(),
            tenant: DEFAULT_TENANT.into(),
            scopes: [Scope::Admin].as_slice().into(),
        });
        Self { known, anonymous }
    }

    /// Who sent this request.
    ///
    /// # Errors
    /// `Unauthorized` when there is no token, or an unknown one.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if let Some(anonymous) = &self.anonymous {
            return Ok(anonymous.clone());
        }
        let refused = |message: &str| Refusal::new(ErrorCode::Unauthorized, message);
        let token = match headers.get(AUTHORIZATION) {
            Some(value) => value
                .to_str()
                .ok()
                .and_then(|value| value.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| Cow::Borrowed(token.trim()))
                .ok_or_else(|| refused("the Authorization header is not 'Bearer <token>'"))?,
            None => of_a_page(headers)
                .map(Cow::Owned)
                .ok_or_else(|| refused("send a token: Authorization: Bearer <token>"))?,
        };
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // All are compared, so that how long it takes says nothing about which one matched.
        let mut found = None;
        for (known, caller) in &self.known {
            let same: Choice = known.ct_eq(&hash);
            if bool::from(same) {
                found = Some(caller);
            }
        }
        found.cloned().ok_or_else(|| refused("the token is not known"))
    }
}

/// The token that a page sends with a WebSocket, where it can set no `Authorization`: as one of the subprotocols that it offers,
/// `bearer.<base64url of the token, without padding>`, beside `squall`.
fn of_a_page(headers: &HeaderMap) -> Option<String> {
    let encoded = words(headers, SEC_WEBSOCKET_PROTOCOL).find_map(|word| word.strip_prefix("bearer."))?;
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

/// 64 hexadecimal digits as 32 bytes.
pub(crate) fn parse_hash(text: &str) -> Option<[u8; 32]> {
    parse_hex(text)?.try_into().ok()
}

/// Hexadecimal digits as bytes.
pub(crate) fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::Token;

    fn hash_of(token: &str) -> String {
        Sha256::digest(token.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
    }

    fn tokens() -> Tokens {
        let token = |name: &str, scopes: Vec<Scope>| Token {
            name: name.into(),
            sha256: hash_of(&format!("{name}-secret")),
            tenant: format!("{name}-tenant"),
            scopes,
        };
        Tokens::new(&Auth { tokens: vec![token("reader", vec![Scope::Read]), token("root", vec![Scope::Admin])] })
    }

    fn with(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_token_may_what_its_scopes_say() {
        let reader = tokens().caller(&with("Bearer reader-secret")).unwrap();
        assert!(reader.may(Scope::Read).is_ok());
        assert_eq!(reader.may(Scope::Publish).unwrap_err().error.code, ErrorCode::Forbidden);
        assert_eq!(reader.sees(), Some("reader-tenant"));
        let root = tokens().caller(&with("bearer root-secret")).unwrap();
        assert!(root.may(Scope::Publish).is_ok());
        assert_eq!(root.sees(), None);
        assert_eq!(reader.sees_of(None).unwrap(), Some("reader-tenant"));
        assert_eq!(reader.sees_of(Some("reader-tenant")).unwrap(), Some("reader-tenant"));
        assert_eq!(reader.sees_of(Some("other")).unwrap_err().error.code, ErrorCode::Forbidden);
        assert_eq!((root.sees_of(None).unwrap(), root.sees_of(Some("other")).unwrap()), (None, Some("other")));
    }

    #[test]
    fn a_page_brings_its_token_as_a_subprotocol() {
        let offers = |words: String| HeaderMap::from_iter([(SEC_WEBSOCKET_PROTOCOL, words.parse().unwrap())]);
        let encoded = BASE64_URL_SAFE_NO_PAD.encode("reader-secret");
        assert_eq!(&*tokens().caller(&offers(format!("squall, bearer.{encoded}"))).unwrap().name, "reader");
        for bad in ["squall".to_owned(), "bearer.reader-secret".to_owned(), format!("bearer.{encoded}=")] {
            assert_eq!(tokens().caller(&offers(bad)).unwrap_err().error.code, ErrorCode::Unauthorized);
        }
        let mut both = offers(format!("bearer.{encoded}"));
        both.insert(AUTHORIZATION, "Bearer nobody".parse().unwrap());
        assert_eq!(tokens().caller(&both).unwrap_err().error.code, ErrorCode::Unauthorized, "the header counts");
    }

    #[test]
    fn without_a_known_token_nobody_is_let_in() {
        let bad = [
            HeaderMap::new(),
            with("Bearer nobody"),
            with("Basic reader-secret"),
            with("reader-secret"),
            with("Bearer "),
        ];
        for headers in bad {
            assert_eq!(tokens().caller(&headers).unwrap_err().error.code, ErrorCode::Unauthorized, "{headers:?}");
        }
    }

    #[test]
    fn without_tokens_everybody_is_the_administrator() {
        let caller = Tokens::new(&Auth::default()).caller(&HeaderMap::new()).unwrap();
        assert_eq!((&*caller.name, &*caller.tenant, caller.is_admin()), ("anonymous", "default", true));
    }
}
