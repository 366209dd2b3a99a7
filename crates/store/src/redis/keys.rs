//! All keys of a store: found, without a list of them, by what they begin with.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult};

/// What all keys of ours begin with, behind the prefix. A store below `squall:other` has none of them in the eyes of `squall`.
const FAMILIES: [&str; 40] = [
    "config",
    "format",
    "epoch",
    "offset",
    "seq",
    "next",
    "feed",
    "marks",
    "lanes",
    "held",
    "due",
    "leases",
    "deadlines",
    "idle",
    "resume",
    "sessions",
    "slots",
    "ended",
    "dead",
    "dead-order",
    "session-seq",
    "finished",
    "done",
    "gateways",
    "peers",
    "migrating",
    "task:",
    "lane:",
    "queue:",
    "order:",
    "turn:",
    "keyed:",
    "flow:",
    "homes:",
    "home-of:",
    "session:",
    "session-tasks:",
    "idem:",
    "gateway:",
    "fence:",
];

/// All keys of ours below a prefix, some at a time.
pub(crate) struct Scan {
    prefix: String,
    cursor: Option<String>,
    /// How many the last answer had.
    pub(crate) found: u64,
}

impl Scan {
    pub(crate) fn below(prefix: &str) -> Self {
        Self { prefix: format!("{prefix}:"), cursor: Some("0".to_owned()), found: 0 }
    }

    /// Some more, each as a whole; `None`: there are no more. A key may come twice.
    pub(crate) async fn next(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<Option<Vec<String>>> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        // Braces mean nothing in a pattern; these do.
        let escaped: String =
            self.prefix.chars().flat_map(|c| if "*?[]\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
        let mut scan = Cmd::new();
        scan.arg("SCAN").arg(cursor).arg("MATCH").arg(format!("{escaped}*")).arg("COUNT").arg(2_000);
        let (next, mut keys): (String, Vec<String>) = scan.query_async(connection).await?;
        keys.retain(|key| {
            key.strip_prefix(&self.prefix).is_some_and(|rest| {
                FAMILIES
                    .iter()
                    .any(|family| if family.ends_with(':') { rest.starts_with(family) } else { rest == *family })
            })
        });
        self.found = keys.len() as u64;
        self.cursor = (next != "0").then_some(next);
        Ok(Some(keys))
    }
}
