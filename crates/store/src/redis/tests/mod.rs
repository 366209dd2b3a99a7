//! The store in Redis against the suite that the embedded one passes, and what only it must do.

pub(crate) mod model;
mod several;

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use squall_testkit::Redis;

use crate::config::Options;
use crate::suite::{Backend, store_test_suite};
use crate::{Store, redis};

/// A Redis of one's own, and the same store in it whenever it is opened.
struct OwnRedis(Redis);

impl Default for OwnRedis {
    fn default() -> Self {
        Self(Redis::start("everysec"))
    }
}

impl Backend for OwnRedis {
    fn open(&self, mut options: Options) -> BoxFuture<'_, Arc<dyn Store>> {
        options.store.url = self.0.url();
        async move {
            let store = redis::open(options).await.expect("a store in a Redis of our own");
            Arc::new(store) as Arc<dyn Store>
        }
        .boxed()
    }
}

store_test_suite!(OwnRedis);
