//! Paths with queries.

use std::fmt::Write as _;

use squall_protocol::DeadLetterFilter;

/// A path with its query.
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn dead_letters(filter: &DeadLetterFilter) -> Self {
        let mut query = Self::new("/v1/dead-letters");
        query.add("lane", filter.lane.as_deref());
        query.add("kind", filter.kind.as_deref());
        query.add("reason", filter.reason.map(squall_protocol::DeadReason::as_str));
        query.add("session", filter.session.as_ref());
        query.add("before", filter.before);
        query.add("since", filter.since);
        query
    }

    pub(crate) fn target(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_target(self) -> String {
        self.0
    }

    pub(crate) fn add(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            let between = if self.0.contains('?') { '&' } else { '?' };
            let value = value.to_string();
            let _ = write!(self.0, "{between}{name}={}", escaped(&value));
        }
    }

    pub(crate) fn add_list<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        let joined = values.collect::<Vec<_>>().join(",");
        self.add(name, (!joined.is_empty()).then_some(joined));
    }
}

/// A text as a segment of a path or a value of a query (RFC 3986: all but the unreserved is escaped).
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' | b':' => out.push(byte.into()),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use squall_protocol::Cursor;

    use super::*;

    #[test]
    fn a_query_is_escaped() {
        let filter = DeadLetterFilter {
            lane: Some("a lane&b".into()),
            reason: Some(squall_protocol::DeadReason::Fatal),
            ..DeadLetterFilter::default()
        };
        assert_eq!(Query::dead_letters(&filter).0, "/v1/dead-letters?lane=a%20lane%26b&reason=fatal");
        let mut query = Query::new("/v1/events");
        query.add("after", None::<Cursor>);
        query.add_list("topics", [].into_iter());
        query.add_list("types", ["a", "b"].into_iter());
        assert_eq!(query.0, "/v1/events?types=a,b");
    }
}
