//! Which event becomes which task: what the rules of webhooks and of ingest have in common. Pure.

use squall_protocol::Priority;
use squall_store::TaskSpec;

/// Whether a name is the one that a rule wants; `*` wants any.
pub(crate) fn is_wanted(wanted: &str, name: &str) -> bool {
    wanted == "*" || wanted == name
}

/// What a rule says of the task; what it does not say, the event or the lane does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Becomes<'a> {
    pub(crate) lane: Option<&'a str>,
    pub(crate) kind: Option<&'a str>,
    pub(crate) priority: Option<Priority>,
}

impl Becomes<'_> {
    /// The task, which is stored once under its key.
    pub(crate) fn task(self, kind: String, payload: String, key: &str) -> TaskSpec {
        TaskSpec {
            lane: self.lane.map(Into::into),
            kind: kind.into(),
            priority: self.priority,
            payload: payload.into(),
            idempotency_key: Some(key.into()),
            ..TaskSpec::default()
        }
    }
}
