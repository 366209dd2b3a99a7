//! How many files the process may have open. Each connection is one, and systems give a process far fewer than it may have if it
//! asks: 1,024 as a rule, which would make `server.max_connections` an empty promise.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are no connections: the log, snapshots, the runtime's own, and what comes and goes.
const RESERVE: u64 = 64;

/// Asks for as many as the system allows, and warns when that is too few for so many connections.
pub(crate) fn raise_limit(max_connections: usize) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(limit) => {
            if let Some(needed) = shortage(limit, max_connections) {
                tracing::warn!(
                    limit,
                    needed,
                    "server.max_connections is more than the system's limit of open files allows; raise that limit \
                     (ulimit -Hn, LimitNOFILE=), or lower server.max_connections"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

/// How many files so many connections need, if that is more than the limit.
fn shortage(limit: u64, max_connections: usize) -> Option<u64> {
    let needed = u64::try_from(max_connections).unwrap_or(u64::MAX).saturating_add(RESERVE);
    (needed > limit).then_some(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_the_reserve_must_fit() {
        assert_eq!(shortage(1_064, 1_000), None);
        assert_eq!(shortage(1_063, 1_000), Some(1_064));
        assert_eq!(shortage(u64::MAX, usize::MAX), None);
    }
}
