//! From a tree of settings to typed ones, through serde: knows which keys a group may have and what each should be, so
//! that every mistake is told with its place, what was expected and the nearest valid name.

use std::fmt::Display;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::origin::{ConfigError, Origin, hint};
use super::tree::{Entry, Node, Value};

/// Reads the tree as a `T`. `also` names groups of the root that somebody else reads.
pub(crate) fn read<T: de::DeserializeOwned>(root: &Node, also: &[&'static str]) -> Result<T, ConfigError> {
    read_at(root, "", also)
}

/// Reads a part of a tree that stands at `path` as a `T`.
pub(crate) fn read_at<T: de::DeserializeOwned>(
    node: &Node,
    path: &str,
    also: &[&'static str],
) -> Result<T, ConfigError> {
    T::deserialize(Reader { node, path: path.to_owned(), also }).map_err(|error| error.told(path, node.origin.as_ref()))
}

/// A mistake on its way up: the innermost reader that knows the place adds it.
#[derive(Debug)]
pub(crate) struct Mistake {
    kind: Kind,
    place: Option<(String, Option<Origin>)>,
}

#[derive(Debug)]
enum Kind {
    UnknownKey { key: String, valid: Vec<&'static str> },
    MissingKey(&'static str),
    Wrong { found: String, expected: String },
    UnknownWord { word: String, valid: &'static [&'static str] },
    Other(String),
}

impl Mistake {
    const fn new(kind: Kind) -> Self {
        Self { kind, place: None }
    }

    fn at(mut self, path: &str, origin: Option<&Origin>) -> Self {
        self.place.get_or_insert_with(|| (path.to_owned(), origin.cloned()));
        self
    }

    fn told(self, path: &str, origin: Option<&Origin>) -> ConfigError {
        let (path, origin) = self.place.unwrap_or_else(|| (path.to_owned(), origin.cloned()));
        let setting = setting(&path);
        let message = match self.kind {
            Kind::UnknownKey { key, valid } => format!("unknown key {key:?} {}{}", group(&path), hint(&key, &valid)),
            Kind::MissingKey(key) => format!("missing key {key:?} {}", group(&path)),
            Kind::Wrong { found, expected } => format!("{setting} is {found}; expected {expected}"),
            Kind::UnknownWord { word, valid } => {
                let list = valid.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
                match super::origin::nearest(&word, valid.iter().copied()) {
                    Some(near) => format!("{setting} is {word:?}; expected one of {list}; did you mean {near:?}?"),
                    None => format!("{setting} is {word:?}; expected one of {list}"),
                }
            }
            Kind::Other(message) => format!("{setting}: {message}"),
        };
        ConfigError { origin, message }
    }
}

/// `in [lanes.gpt4]`, or `at the top level`.
fn group(path: &str) -> String {
    if path.is_empty() { "at the top level".to_owned() } else { format!("in [{path}]") }
}

/// `concurrency in [lanes.gpt4]`.
fn setting(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((above, key)) => format!("{key} in [{above}]"),
        None if path.is_empty() => "the configuration".to_owned(),
        None => format!("[{path}]"),
    }
}

impl de::Error for Mistake {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Kind::Other(message.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Kind::Wrong { found: told_value(found), expected: told_type(&expected.to_string()) })
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, valid: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownWord { word: word.to_owned(), valid })
    }

    fn unknown_field(key: &str, valid: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey { key: key.to_owned(), valid: valid.to_vec() })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Kind::MissingKey(key))
    }
}

impl Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Mistake {}

fn told_value(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Str(text) => format!("{text:?}"),
        de::Unexpected::Bool(flag) => flag.to_string(),
        de::Unexpected::Unsigned(number) => number.to_string(),
        de::Unexpected::Signed(number) => number.to_string(),
        de::Unexpected::Float(number) => number.to_string(),
        de::Unexpected::Map => "a group of settings".to_owned(),
        de::Unexpected::Seq => "a list".to_owned(),
        other => other.to_string(),
    }
}

/// What serde calls `u32` is, to the one who writes the file, a whole number.
fn told_type(expected: &str) -> String {
    match expected {
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "string" => "text in quotes".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a group of settings".to_owned(),
        other if other.starts_with("struct ") => "a group of settings".to_owned(),
        other => other.to_owned(),
    }
}

/// Reads one node.
struct Reader<'a> {
    node: &'a Node,
    path: String,
    also: &'a [&'static str],
}

impl Reader<'_> {
    /// What the environment gave as text becomes what the reader expects, when it can be read so.
    fn parsed(&self) -> Option<Node> {
        match &self.node.value {
            Value::Raw(text) => Node::from_value(text, self.node.origin.as_ref()),
            _ => None,
        }
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        if let Some(node) = self.parsed()
            && matches!(node.value, Value::Integer(_) | Value::Float(_))
        {
            return Reader { node: &node, path: self.path, also: &[] }.deserialize_any(visitor);
        }
        self.deserialize_any(visitor)
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
            self.number(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let Self { node, path, also } = self;
        let outcome = match &node.value {
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Integer(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (_, Ok(number)) => visitor.visit_u64(number),
                (Ok(number), _) => visitor.visit_i64(number),
                _ => Err(de::Error::custom(format_args!("{number} is out of range"))),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::String(text) | Value::Raw(text) => visitor.visit_str(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), path: &path, index: 0 }),
            Value::Table(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), path: &path, value: None, skip: also })
            }
        };
        outcome.map_err(|mistake| mistake.at(&path, node.origin.as_ref()))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.parsed() {
            Some(node) if matches!(node.value, Value::Bool(_)) => {
                Reader { node: &node, path: self.path, also: &[] }.deserialize_any(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let Value::Raw(text) = &self.node.value else { return self.deserialize_any(visitor) };
        // A list may be TOML, or words with commas between them.
        let node = self.parsed().filter(|node| matches!(node.value, Value::Array(_))).unwrap_or_else(|| {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            let item = |word: &str| Node { origin: self.node.origin.clone(), value: Value::Raw(word.to_owned()) };
            Node { origin: self.node.origin.clone(), value: Value::Array(words.map(item).collect()) }
        });
        Reader { node: &node, path: self.path, also: &[] }.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.parsed() {
            Some(node) if matches!(node.value, Value::Table(_)) => {
                Reader { node: &node, path: self.path, also: &[] }.deserialize_any(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let parsed = self.parsed().filter(|node| matches!(node.value, Value::Table(_)));
        let reader = Reader { node: parsed.as_ref().unwrap_or(self.node), path: self.path, also: self.also };
        if let Value::Table(entries) = &reader.node.value {
            let known = |key: &str| fields.contains(&key) || reader.also.contains(&key);
            if let Some((key, entry)) = entries.iter().find(|(key, _)| !known(key)) {
                let valid = fields.iter().chain(reader.also).copied().collect();
                let mistake = Mistake::new(Kind::UnknownKey { key: key.clone(), valid });
                return Err(mistake.at(&reader.path, entry.key.as_ref()));
            }
        }
        reader.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let Self { node, path, .. } = self;
        let outcome = match &node.value {
            Value::String(word) | Value::Raw(word) => visitor.visit_enum(word.as_str().into_deserializer()),
            Value::Table(entries) if entries.len() == 1 => {
                visitor.visit_enum(de::value::MapAccessDeserializer::new(Entries {
                    entries: entries.iter(),
                    path: &path,
                    value: None,
                    skip: &[],
                }))
            }
            _ => {
                let list = variants.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
                let found = match &node.value {
                    Value::Integer(number) => number.to_string(),
                    Value::Float(number) => number.to_string(),
                    Value::Bool(flag) => flag.to_string(),
                    Value::Array(_) => "a list".to_owned(),
                    _ => "a group of settings".to_owned(),
                };
                Err(Mistake::new(Kind::Wrong { found, expected: format!("one of {list}") }))
            }
        };
        outcome.map_err(|mistake| mistake.at(&path, node.origin.as_ref()))
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    path: &'a str,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let path = format!("{}[{}]", self.path, self.index);
        self.index += 1;
        seed.deserialize(Reader { node, path, also: &[] }).map(Some)
    }
}

struct Entries<'a> {
    entries: std::collections::btree_map::Iter<'a, String, Entry>,
    path: &'a str,
    value: Option<(&'a str, &'a Entry)>,
    skip: &'a [&'static str],
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        let skip = self.skip;
        let Some((key, entry)) = self.entries.by_ref().find(|(key, _)| !skip.contains(&key.as_str())) else {
            return Ok(None);
        };
        self.value = Some((key, entry));
        let reader: de::value::StrDeserializer<'_, Mistake> = key.as_str().into_deserializer();
        seed.deserialize(reader).map(Some).map_err(|mistake| mistake.at(self.path, entry.key.as_ref()))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        let Some((key, entry)) = self.value.take() else {
            return Err(de::Error::custom("a value was read before its key"));
        };
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        seed.deserialize(Reader { node: &entry.node, path, also: &[] })
    }
}
