//! Which events a subscriber gets.

use std::sync::Arc;

use squall_protocol::Topic;
use squall_protocol::event::EVENT_TYPES;

use crate::error::Refusal;

/// What restricts a subscriber. Nothing of it: all events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Only events of this tenant, and those that are nobody's.
    tenant: Option<Arc<str>>,
    /// One bit for each topic.
    topics: u8,
    /// Only these types.
    types: Option<Box<[Box<str>]>>,
}

const ALL_TOPICS: u8 = (1 << Topic::ALL.len()) - 1;

const fn bit(topic: Topic) -> u8 {
    1 << topic as u8
}

impl Filter {
    /// From what a client asked for: names with commas between them; absent or empty means all.
    ///
    /// # Errors
    /// `InvalidRequest` for a topic or a type that is none.
    pub(crate) fn parse(tenant: Option<&str>, topics: Option<&str>, types: Option<&str>) -> Result<Self, Refusal> {
        let mut mask = 0;
        for name in names(topics) {
            let topic = Topic::ALL.into_iter().find(|topic| topic.as_str() == name).ok_or_else(|| {
                let known = Topic::ALL.map(Topic::as_str).join(", ");
                Refusal::invalid(format!("topics: there is no topic {name:?}; topics are {known}"))
            })?;
            mask |= bit(topic);
        }
        let known = |name: &str| {
            if EVENT_TYPES.contains(&name) {
                return Ok(name.into());
            }
            let known = EVENT_TYPES.join(", ");
            Err(Refusal::invalid(format!("types: there is no event type {name:?}; types are {known}")))
        };
        let types = names(types).map(known).collect::<Result<Box<[Box<str>]>, _>>()?;
        Ok(Self {
            tenant: tenant.map(Into::into),
            topics: if mask == 0 { ALL_TOPICS } else { mask },
            types: (!types.is_empty()).then_some(types),
        })
    }

    /// Whether it lets everything through.
    pub(crate) fn is_all(&self) -> bool {
        self.tenant.is_none() && self.topics == ALL_TOPICS && self.types.is_none()
    }

    /// Whether it lets this event through.
    pub(crate) fn passes(&self, topic: Topic, event_type: &str, tenant: Option<&str>) -> bool {
        let mine = match (&self.tenant, tenant) {
            (Some(mine), Some(tenant)) => **mine == *tenant,
            // What is nobody's, a lane that was paused for example, concerns everybody.
            _ => true,
        };
        mine && self.topics & bit(topic) != 0
            && self.types.as_ref().is_none_or(|types| types.iter().any(|name| **name == *event_type))
    }
}

fn names(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or("").split(',').map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lets_through_what_was_asked_for() {
        let all = Filter::parse(None, None, Some("")).unwrap();
        assert!(all.is_all());
        let some = Filter::parse(Some("a"), Some("tasks, lanes"), Some("task_done,lane_paused")).unwrap();
        let cases = [
            (Topic::Tasks, "task_done", Some("a"), true),
            (Topic::Tasks, "task_done", Some("b"), false),
            (Topic::Tasks, "task_published", Some("a"), false),
            (Topic::Lanes, "lane_paused", None, true),
            (Topic::Sessions, "task_done", Some("a"), false),
        ];
        for (topic, event_type, tenant, expected) in cases {
            assert_eq!(some.passes(topic, event_type, tenant), expected, "{topic:?} {event_type} {tenant:?}");
            assert!(all.passes(topic, event_type, tenant));
        }
        assert!(
            Filter::parse(None, Some("taks"), None).unwrap_err().error.message.contains("topics are sessions, tasks")
        );
        let refused = Filter::parse(None, None, Some("task_done, task_dome")).unwrap_err().error.message;
        assert!(refused.contains("\"task_dome\"") && refused.contains("task_done, task_retry_scheduled"), "{refused}");
    }
}
