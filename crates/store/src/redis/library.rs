//! The verbs inside Redis: one function library, loaded once, under a name made from its text. Gateways of two versions can
//! therefore share a Redis while one is rolled out: each calls its own.

use std::sync::LazyLock;

use redis::aio::ConnectionLike;
use redis::{Cmd, RedisResult};

/// Version of what is stored: fields, keys and their meaning. A library that stores something else gets another number here and a
/// migration beside it.
pub(super) const FORMAT: u32 = 2;

const SOURCES: [&str; 8] = [
    include_str!("lua/1_context.lua"),
    include_str!("lua/2_queue.lua"),
    include_str!("lua/3_ends.lua"),
    include_str!("lua/4_tasks.lua"),
    include_str!("lua/5_sessions.lua"),
    include_str!("lua/6_dead_letters.lua"),
    include_str!("lua/7_schedule.lua"),
    include_str!("lua/8_calls.lua"),
];

static LIBRARY: LazyLock<Library> = LazyLock::new(Library::assemble);

/// The library and the names of its functions.
#[derive(Debug)]
pub(crate) struct Library {
    text: String,
    /// Commits a batch; refused as a whole when Redis is out of memory.
    pub step: String,
    /// The same for batches that only free memory.
    pub step_free: String,
    /// Makes the store, or joins it.
    pub open: String,
    /// Drops old events.
    pub trim: String,
}

/// The one library of this program.
pub(crate) fn library() -> &'static Library {
    &LIBRARY
}

impl Library {
    fn assemble() -> Self {
        let body = SOURCES.concat();
        let version = format!("{FORMAT}_{:08x}", crc32fast::hash(body.as_bytes()));
        let name = |function: &str| format!("squall_{version}_{function}");
        Self {
            text: format!("#!lua name=squall_{version}\n{}", body.replace("@VERSION@", &version)),
            step: name("step"),
            step_free: name("step_free"),
            open: name("open"),
            trim: name("trim"),
        }
    }

    /// Loads the library, unless it is there.
    ///
    /// # Errors
    /// When Redis has no functions (before 7), or refuses.
    pub(crate) async fn load(&self, connection: &mut impl ConnectionLike) -> RedisResult<()> {
        match self.loading().query_async::<()>(connection).await {
            Err(error) if error.to_string().contains("already exists") => Ok(()),
            loaded => loaded,
        }
    }

    fn loading(&self) -> Cmd {
        let mut load = Cmd::new();
        load.arg("FUNCTION").arg("LOAD").arg(&self.text);
        load
    }

    /// The same for a test that has no runtime.
    #[cfg(test)]
    pub(super) fn load_blocking(&self, connection: &mut redis::Connection) {
        self.loading().exec(connection).expect("loaded");
    }
}

/// Calls a function of the library. `key` says which shard of a cluster has the store: any key of the prefix will do.
pub(super) fn call(function: &str, prefix: &str) -> Cmd {
    // Arguments as many as a batch of one command has, and room for a small one.
    let mut call = Cmd::with_capacity(7, 1_024);
    call.arg("FCALL").arg(function).arg(1).arg(format!("{prefix}:feed")).arg(prefix);
    call
}
