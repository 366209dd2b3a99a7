//! Removing a store that nobody needs any more: what a storm does with its own when it is over.

use super::address::{failed, reach};
use super::keys::Scan;
use super::{OpenError, without_secrets};
use crate::config::Options;

/// Removes every key of the store below [`crate::Config::key_prefix`] in the Redis at `options.store.url`; answers how many there were. No
/// gateway may use the store any more. The function library stays: other stores use it, and it keeps no data.
///
/// # Errors
/// When Redis cannot be reached, or refuses; then some keys may be left.
pub async fn remove(options: &Options) -> Result<u64, OpenError> {
    let prefix = options.store.key_prefix.as_str();
    if prefix.is_empty() {
        let (url, why) = (without_secrets(&options.store.url), "a store has a prefix".to_owned());
        return Err(OpenError::Foreign { url, prefix: String::new(), why });
    }
    let (_, mut connection) = reach(options).await?;
    let (mut scan, mut removed) = (Scan::below(prefix), 0);
    while let Some(keys) = scan.next(&mut connection).await.map_err(|error| failed(options, error))? {
        if !keys.is_empty() {
            let unlinked = redis::cmd("UNLINK").arg(keys).query_async::<u64>(&mut connection).await;
            removed += unlinked.map_err(|error| failed(options, error))?;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use redis::Client;
    use squall_testkit::Redis;

    use super::*;

    fn at(url: String, prefix: &str) -> Options {
        let mut options = Options::default();
        (options.store.url, options.store.key_prefix) = (url, prefix.to_owned());
        options
    }

    #[tokio::test]
    async fn only_keys_of_this_store_go() {
        let redis = Redis::start("no");
        let client = Client::open(redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let others = ["{a?}b:feed", "{a*}", "{a*}b:feed", "{ax}:feed", ":feed", "a*:feed", "{a*}:something-else"];
        let own = (0..2_500).map(|number| format!("{{a*}}:task:{number}"));
        let all: Vec<String> = others.iter().map(|&key| key.to_owned()).chain(own).collect();
        for key in &all {
            redis::cmd("SET").arg(key).arg(1).query_async::<()>(&mut connection).await.unwrap();
        }
        assert_eq!(remove(&at(redis.url(), "{a*}")).await.unwrap(), 2_500);
        assert_eq!(remove(&at(redis.url(), "{a*}")).await.unwrap(), 0);
        let left: usize = redis::cmd("DBSIZE").query_async(&mut connection).await.unwrap();
        assert_eq!(left, others.len());
        assert!(remove(&at(redis.url(), "")).await.is_err());
        let error = remove(&at("redis://:s3cret@127.0.0.1:1/".to_owned(), "x")).await.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:1") && !error.contains("s3cret"), "{error}");
    }
}
