//! Work that other programs leave in Redis lists and streams becomes tasks and session events.
//!
//! In the order in which an item passes through: `reader` fetches it and sees to it that it is stored, `map` says what it means, `status`
//! tells how it goes. What makes no sense becomes a dead letter with the reason; what cannot be stored now stays where it is.
//! How lists and streams are read is the store's.

mod map;
mod reader;
mod status;

use std::sync::Arc;
use std::time::Duration;

use squall_protocol::health::Dependency;
use squall_store::ingest::{Kind, Options, Source};
use squall_store::redis::without_secrets;

use self::map::Mapping;
pub(crate) use self::reader::Reader;
pub(crate) use self::status::Status;
use crate::config::{Config, ConfigError};

/// A reader for each list and stream that is configured.
///
/// # Errors
/// When the address of their Redis makes no sense.
pub(crate) fn readers(config: &Config) -> Result<Vec<Reader>, ConfigError> {
    let redis = &config.ingest.redis;
    let options = Options {
        url: url(config).to_owned(),
        ca_file: config.store.ca_file.clone(),
        group: redis.group.clone(),
        batch: redis.batch,
        max_item_bytes: config.tasks.max_payload_bytes,
        timeout: Duration::from_millis(config.store.timeout_ms),
    };
    let lane = redis.dead_letter_lane.as_ref().or(config.tasks.default_lane.as_ref());
    let mapping = Arc::new(Mapping {
        rules: redis.rules.clone(),
        max_payload_bytes: config.tasks.max_payload_bytes,
        dead_letter_lane: lane.cloned().unwrap_or_default(),
    });
    let lists = redis.lists.iter().map(|name| (Kind::List, name));
    let streams = redis.streams.iter().map(|name| (Kind::Stream, name));
    lists
        .chain(streams)
        .map(|(kind, name)| {
            let source = Source::new(&options, kind, name)
                .map_err(|error| ConfigError { path: "ingest.redis.url".into(), message: error.to_string() })?;
            let status = Arc::new(Status::new(kind, name));
            Ok(Reader::new(source, status, Arc::clone(&mapping), redis.tenant.as_str().into()))
        })
        .collect()
}

fn url(config: &Config) -> &str {
    let own = &config.ingest.redis.url;
    if own.is_empty() { &config.store.url } else { own }
}

/// How all of it goes; nothing when there is nothing to fetch.
pub(crate) fn health(sources: &[Arc<Status>], config: &Config) -> Option<Dependency> {
    if sources.is_empty() {
        return None;
    }
    let told: Vec<String> = sources.iter().map(|source| source.told()).collect();
    Some(Dependency {
        ok: sources.iter().all(|source| source.is_well()),
        // Each source is looked at twice a second, and this is what was found.
        checked_in_ms: 0,
        detail: format!("redis at {}; {}", without_secrets(url(config)), told.join("; ")),
    })
}
