//! The gateway's frames, read only as far as a load generator looks at them.

use serde::Deserialize;
use serde_json::value::RawValue;
use squall_protocol::frame::Subscribed;
use squall_protocol::task::Published;
use squall_protocol::{Priority, TaskId, Text, WireError};

use crate::{Error, Result};

/// A frame from the gateway, in part.
#[derive(Debug)]
pub enum Light<'a> {
    /// The subscription holds.
    Subscribed(Subscribed),
    /// A task.
    Deliver(LightDelivery<'a>),
    /// A publish is on disk.
    Published {
        /// Its number.
        sequence: u64,
        /// The task's id.
        id: TaskId,
    },
    /// A publish was refused.
    Refused {
        /// Its number.
        sequence: u64,
        /// Why.
        error: WireError,
    },
    /// A lease was extended.
    Extended {
        /// The task.
        id: TaskId,
    },
    /// A frame was wrong.
    Error(WireError),
}

/// A delivery, its times unread.
#[derive(Debug, Deserialize)]
pub struct LightDelivery<'a> {
    /// The task.
    pub id: TaskId,
    /// The lane it came over.
    #[serde(borrow)]
    pub lane: Text<'a>,
    /// The priority that it was queued with.
    pub priority: Priority,
    /// From 1.
    pub attempt: u32,
    /// When the lease ends; read it with [`squall_protocol::Time`] if it matters.
    #[serde(borrow)]
    pub lease_expires_at: Text<'a>,
    /// The ordering key.
    #[serde(borrow, default)]
    pub key: Option<Text<'a>>,
    /// The payload, as published.
    #[serde(borrow)]
    pub payload: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Frame<'a> {
    Subscribed(Subscribed),
    #[serde(borrow)]
    Deliver(LightDelivery<'a>),
    Published(Published),
    Refused(WireError),
    Extended {
        id: TaskId,
    },
    Error(WireError),
}

const PUBLISHED: &str = "{\"published\":{\"id\":\"";

/// Reads one frame; `sequence` is asked for the number of the publish that it answers.
pub(super) fn light(text: &str, sequence: impl FnOnce() -> Result<u64>) -> Result<Light<'_>> {
    // The most frequent frame of all has one shape only, unless it is a duplicate.
    if let Some(rest) = text.strip_prefix(PUBLISHED)
        && let Some((id, "\"}}")) = rest.split_at_checked(36)
        && let Ok(id) = id.parse()
    {
        return Ok(Light::Published { sequence: sequence()?, id });
    }
    let frame = serde_json::from_str(text).map_err(|why| Error::Protocol(format!("{why} in {text:?}")))?;
    Ok(match frame {
        Frame::Subscribed(subscribed) => Light::Subscribed(subscribed),
        Frame::Deliver(delivery) => Light::Deliver(delivery),
        Frame::Published(published) => Light::Published { sequence: sequence()?, id: published.id },
        Frame::Refused(error) => Light::Refused { sequence: sequence()?, error },
        Frame::Extended { id } => Light::Extended { id },
        Frame::Error(error) => Light::Error(error),
    })
}

#[cfg(test)]
mod tests {
    use squall_protocol::frame::ServerFrame;
    use squall_protocol::{Delivery, Priority, Receipt, Time};

    use super::*;

    fn id() -> TaskId {
        TaskId::at(Time(1_795_243_200_000), 7)
    }

    #[test]
    fn the_short_way_and_the_long_way_agree() {
        for duplicate in [false, true] {
            let text = serde_json::to_string(&ServerFrame::Published(Published { id: id(), duplicate })).unwrap();
            match light(&text, || Ok(3)).unwrap() {
                Light::Published { sequence: 3, id: read } => assert_eq!(read, id()),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_delivery_is_read_from_what_the_protocol_writes() {
        let payload = RawValue::from_string(r#"{"n":1}"#.into()).unwrap();
        let delivery = Delivery {
            id: id(),
            receipt: Receipt(9),
            lane: "gpt4".into(),
            kind: "build".into(),
            priority: Priority::High,
            attempt: 2,
            key: Some("k".into()),
            session: None,
            created_at: Time(1),
            lease_expires_at: Time(2),
            payload: &payload,
        };
        let text = serde_json::to_string(&ServerFrame::Deliver(delivery)).unwrap();
        let Light::Deliver(light) = light(&text, || unreachable!()).unwrap() else { panic!("{text}") };
        assert_eq!((light.id, light.lane.as_str(), light.attempt), (id(), "gpt4", 2));
        assert_eq!((light.key.unwrap().as_str(), light.payload.get()), ("k", r#"{"n":1}"#));
    }

    #[test]
    fn an_unknown_frame_is_an_error() {
        assert!(matches!(light(r#"{"hello":1}"#, || Ok(0)), Err(Error::Protocol(_))));
    }
}
