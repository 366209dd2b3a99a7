//! The store in Redis against the suite that the embedded one passes, and what only it must do.

pub(crate) mod model;
mod places;
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

/// Some of the same in a cluster, whose nodes refuse whatever touches two slots: those that together touch every key. Each takes two
/// seconds, because a node that begins waits for so long.
mod on_a_cluster {
    use super::*;

    struct OwnCluster(Redis);

    impl Default for OwnCluster {
        fn default() -> Self {
            Self(Redis::start_cluster().0)
        }
    }

    impl Backend for OwnCluster {
        fn open(&self, mut options: Options) -> BoxFuture<'_, Arc<dyn Store>> {
            options.store.url = self.0.url();
            options.store.key_prefix = "{squall}".to_owned();
            async move {
                let store = redis::open(options).await.expect("a store in a cluster of our own");
                Arc::new(store) as Arc<dyn Store>
            }
            .boxed()
        }
    }

    store_test_suite!(OwnCluster:
        a_key_keeps_its_order_over_a_retry,
        a_drained_worker_loses_no_attempt,
        a_nack_may_pause_the_lane,
        replays_are_capped_and_leave_a_trail,
        dead_letters_are_listed_filtered_and_purged,
        a_delayed_task_waits,
        sessions_have_a_life,
        the_tasks_of_an_ended_session_follow_the_policy,
        session_affinity_keeps_one_worker,
        everything_survives_a_restart,
        figures_add_up,
    );
}
