//! Reads JSON as Go does, because Toxiproxy's clients are used to it: names in letters of any size, `null` as if it
//! were not there, only the first value of a text. What goes wrong is said with the name of the field.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::schedule::Schedule;
use crate::spec::{Direction, ProxySpec, ProxyUpdate, ToxicSpec, ToxicUpdate};
use crate::toxics::Attributes;

/// Whether names that nobody knows are errors. Toxiproxy ignores them in requests; in a file they are most likely
/// misspelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    Ignored,
    Refused,
}

/// The first value of a text.
pub(crate) fn first_value(text: &[u8]) -> Result<Value, Error> {
    match serde_json::Deserializer::from_slice(text).into_iter().next() {
        None => Err(Error::BadBody("EOF".to_owned())),
        Some(value) => value.map_err(|error| Error::BadBody(error.to_string())),
    }
}

/// A proxy that may lack what it needs; its owner says so with the right words.
pub(crate) fn proxy(value: &Value, unknown: Unknown) -> Result<ProxySpec, Error> {
    let fields = Fields::of(value)?;
    // What Toxiproxy shows of a proxy may be sent back to it.
    fields.only(&["name", "listen", "upstream", "enabled", "toxics", "logger"], unknown)?;
    let toxics = match fields.get("toxics") {
        None => Vec::new(),
        Some(Value::Array(toxics)) => toxics.iter().map(|value| toxic(value, unknown)).collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong("toxics", other, "an array")),
    };
    Ok(ProxySpec {
        name: fields.string("name")?.unwrap_or_default(),
        listen: fields.string("listen")?.unwrap_or_default(),
        upstream: fields.string("upstream")?.unwrap_or_default(),
        enabled: fields.boolean("enabled")?.unwrap_or(true),
        toxics,
    })
}

/// Several proxies, every one with what it needs.
pub(crate) fn proxies(value: &Value) -> Result<Vec<ProxySpec>, Error> {
    let Value::Array(values) = value else {
        return Err(Error::BadBody(format!("json: cannot unmarshal {} into an array of proxies", kind(value))));
    };
    let proxies = values.iter().map(|value| proxy(value, Unknown::Ignored)).collect::<Result<Vec<_>, _>>()?;
    for (nth, proxy) in proxies.iter().enumerate() {
        for (field, value) in [("name", &proxy.name), ("upstream", &proxy.upstream)] {
            if value.is_empty() {
                return Err(Error::MissingField(format!("{field} at proxy {}", nth + 1)));
            }
        }
    }
    Ok(proxies)
}

pub(crate) fn proxy_update(value: &Value) -> Result<ProxyUpdate, Error> {
    let fields = Fields::of(value)?;
    Ok(ProxyUpdate {
        listen: fields.string("listen")?,
        upstream: fields.string("upstream")?,
        enabled: fields.boolean("enabled")?,
    })
}

pub(crate) fn toxic(value: &Value, unknown: Unknown) -> Result<ToxicSpec, Error> {
    let fields = Fields::of(value)?;
    fields.only(&["name", "type", "stream", "toxicity", "attributes", "schedule", "active"], unknown)?;
    let stream = fields.string("stream")?.filter(|stream| !stream.is_empty());
    let stream = stream.unwrap_or_else(|| Direction::Downstream.as_str().to_owned());
    let direction = Direction::parse(&stream).ok_or(Error::InvalidStream)?;
    let kind = fields.string("type")?.unwrap_or_default();
    let attributes = Attributes::of_type(&kind).ok_or(Error::InvalidToxicType)?;
    let over = fields.object("attributes")?;
    if unknown == Unknown::Refused {
        only(over.keys(), attributes.names(), "attribute")?;
    }
    Ok(ToxicSpec {
        name: fields.string("name")?.unwrap_or_default(),
        direction,
        stream,
        toxicity: fields.number("toxicity")?.unwrap_or(1.0),
        attributes: attributes.with(&over).map_err(bad)?,
        schedule: fields.schedule()?.flatten(),
    })
}

pub(crate) fn toxic_update(value: &Value) -> Result<ToxicUpdate, Error> {
    let fields = Fields::of(value)?;
    Ok(ToxicUpdate {
        toxicity: fields.number("toxicity")?,
        attributes: fields.object("attributes")?,
        schedule: fields.schedule()?,
    })
}

struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    fn of(value: &'a Value) -> Result<Self, Error> {
        match value {
            Value::Object(map) => Ok(Self(Some(map))),
            Value::Null => Ok(Self(None)),
            other => Err(Error::BadBody(format!("json: cannot unmarshal {} into an object", kind(other)))),
        }
    }

    /// The field, as it is spelled or in letters of another size; `null` is not there.
    fn get(&self, name: &str) -> Option<&'a Value> {
        let map = self.0?;
        let found = map
            .get(name)
            .or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value));
        found.filter(|value| !value.is_null())
    }

    fn only(&self, names: &[&str], unknown: Unknown) -> Result<(), Error> {
        match (self.0, unknown) {
            (Some(map), Unknown::Refused) => only(map.keys(), names, "field"),
            _ => Ok(()),
        }
    }

    fn string(&self, name: &str) -> Result<Option<String>, Error> {
        self.get(name)
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, value, "a string")))
            .transpose()
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>, Error> {
        self.get(name).map(|value| value.as_bool().ok_or_else(|| wrong(name, value, "true or false"))).transpose()
    }

    fn number(&self, name: &str) -> Result<Option<f32>, Error> {
        let number = |value: &Value| value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        self.get(name).map(|value| number(value).ok_or_else(|| wrong(name, value, "a number"))).transpose()
    }

    fn object(&self, name: &str) -> Result<Map<String, Value>, Error> {
        match self.get(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(other) => Err(wrong(name, other, "an object")),
        }
    }

    /// An empty one is none.
    fn schedule(&self) -> Result<Option<Option<Schedule>>, Error> {
        let Some(text) = self.string("schedule")? else { return Ok(None) };
        if text.is_empty() {
            return Ok(Some(None));
        }
        Schedule::parse(&text).map(|schedule| Some(Some(schedule))).map_err(bad)
    }
}

fn only<'a>(mut keys: impl Iterator<Item = &'a String>, names: &[&str], what: &str) -> Result<(), Error> {
    match keys.find(|key| !names.iter().any(|name| name.eq_ignore_ascii_case(key))) {
        None => Ok(()),
        Some(key) if names.is_empty() => Err(Error::BadBody(format!("unknown {what} {key:?}; there are none here"))),
        Some(key) => Err(Error::BadBody(format!("unknown {what} {key:?}; there are {}", names.join(", ")))),
    }
}

fn wrong(name: &str, value: &Value, should: &str) -> Error {
    Error::BadBody(format!("json: cannot unmarshal {} into field {name}: it must be {should}", kind(value)))
}

fn bad(why: String) -> Error {
    Error::BadBody(format!("json: {why}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
