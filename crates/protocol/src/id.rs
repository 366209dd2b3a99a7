//! Identifiers. All are UUIDs (version 7 where they are handed out in time order), lower-case and hyphenated on the wire.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "uuid"))]
        pub struct $name(pub Uuid);

        impl $name {
            /// An id for `at`, whose other 74 bits come from `random`: ids sort by time.
            #[must_use]
            pub fn at(at: crate::Time, random: u128) -> Self {
                let mut bytes = [0_u8; 10];
                bytes.copy_from_slice(&random.to_le_bytes()[..10]);
                Self(uuid::Builder::from_unix_timestamp_millis(at.0, &bytes).into_uuid())
            }

            /// The time that it was made for; the epoch's beginning for one that was made otherwise.
            #[must_use]
            pub fn time(&self) -> crate::Time {
                let ms = self.0.get_timestamp().map_or(0, |at| {
                    let (seconds, nanos) = at.to_unix();
                    seconds.saturating_mul(1_000).saturating_add(u64::from(nanos) / 1_000_000)
                });
                crate::Time(ms)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// Names a task for its whole life, over retries and replays.
    TaskId
);
uuid_id!(
    /// Names one life of the store: a new, empty store has a new epoch, and offsets of one mean nothing in another.
    Epoch
);
uuid_id!(
    /// Names one worker's connection; a lease is held by a connection (or by a receipt, over HTTP).
    ConnectionId
);

/// Names a session. Chosen by the client or, if it does not choose, a UUID version 7.
///
/// 1 to 128 bytes of ASCII letters, digits, `-`, `_`, `.` and `:`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct SessionId(std::sync::Arc<str>);

impl SessionId {
    /// Checks and takes an id.
    ///
    /// # Errors
    /// When it is empty, longer than 128 bytes, or holds a character that is not allowed.
    pub fn new(text: &str) -> Result<Self, BadSessionId> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if text.is_empty() || text.len() > 128 || !text.bytes().all(fine) {
            return Err(BadSessionId);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for SessionId {
    type Error = BadSessionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl FromStr for SessionId {
    type Err = BadSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// A session id that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSessionId;

impl fmt::Display for BadSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session id is 1 to 128 ASCII letters, digits, '-', '_', '.' or ':'")
    }
}

impl std::error::Error for BadSessionId {}

/// Proof that one holds a lease: every lease of a task has another, so a late worker cannot finish what was given away.
///
/// Sixteen hexadecimal digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct Receipt(pub u64);

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Receipt {
    type Err = BadReceipt;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 16 {
            return Err(BadReceipt);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| BadReceipt)
    }
}

impl Serialize for Receipt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A receipt that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadReceipt;

impl fmt::Display for BadReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a receipt is sixteen hexadecimal digits, as the lease gave it")
    }
}

impl std::error::Error for BadReceipt {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;

    #[test]
    fn ids_sort_by_time() {
        let early = TaskId::at(Time(1_000), u128::MAX);
        let late = TaskId::at(Time(1_001), 0);
        assert!(early < late);
        assert_eq!((early.time(), late.time()), (Time(1_000), Time(1_001)));
        assert_eq!(early.0.get_version_num(), 7);
    }

    #[test]
    fn a_session_id_is_checked() {
        assert!(SessionId::new("sess_1699_ab.cd:ef-1").is_ok());
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(129)] {
            assert_eq!(SessionId::new(bad), Err(BadSessionId), "{bad:?}");
        }
    }

    #[test]
    fn a_receipt_reads_what_it_writes() {
        let receipt = Receipt(0xab);
        assert_eq!(receipt.to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(receipt));
        assert_eq!("ab".parse::<Receipt>(), Err(BadReceipt));
    }
}
