//! The JSON Schemas in the guide against what is really written: nothing undocumented, nothing documented that is not.

#![allow(clippy::unwrap_used, reason = "the lint only knows functions with #[test]")]

#[allow(dead_code, reason = "shared with the renderings, which need more")]
mod common;

use std::collections::BTreeSet;

use serde_json::Value;

/// Checks a value against the part of JSON Schema that the two files use, strictly: an undocumented field is an error.
struct Validator<'s> {
    schema: &'s Value,
    /// Each documented field that was seen.
    seen: BTreeSet<String>,
}

impl<'s> Validator<'s> {
    fn new(schema: &'s Value) -> Self {
        Self { schema, seen: BTreeSet::new() }
    }

    fn check(&mut self, schema: &'s Value, value: &Value, place: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
            return self.check_named(&self.schema["$defs"][name], value, place, name);
        }
        self.check_named(schema, value, place, "run")
    }

    fn check_named(&mut self, schema: &'s Value, value: &Value, place: &str, name: &str) -> Result<(), String> {
        if let Some(choices) = schema["oneOf"].as_array() {
            let kind = choices.iter().position(|it| it["properties"]["kind"]["const"] == value["kind"]);
            let index = kind.ok_or_else(|| format!("{place}: no such kind"))?;
            return self.check_named(&choices[index], value, place, &format!("{name}/{index}"));
        }
        let allowed = schema["enum"].as_array();
        if allowed.is_some_and(|allowed| !allowed.contains(value))
            || (schema.get("const").is_some_and(|it| it != value))
        {
            return Err(format!("{place}: {value} is not allowed"));
        }
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(it) if it.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => vec![is],
        };
        if !types.iter().any(|it| *it == is || (*it == "number" && is == "integer")) {
            return Err(format!("{place}: {is}, and not {types:?}"));
        }
        if let Value::Array(items) = value {
            for (index, item) in items.iter().enumerate() {
                self.check(&schema["items"], item, &format!("{place}[{index}]"))?;
            }
        }
        if let Value::Object(fields) = value {
            if schema.get("type").is_none() {
                return Ok(());
            }
            for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !fields.contains_key(required) {
                    return Err(format!("{place}: {required} is missing"));
                }
            }
            for (field, value) in fields {
                let place = format!("{place}.{field}");
                match (schema["properties"].get(field), schema.get("additionalProperties")) {
                    (Some(inner), _) => {
                        self.seen.insert(format!("{name}.{field}"));
                        self.check(inner, value, &place)?;
                    }
                    (None, Some(inner)) => self.check(inner, value, &place)?,
                    (None, None) => return Err(format!("{place} is not documented")),
                }
            }
        }
        Ok(())
    }

    /// Every documented field.
    fn documented(&self) -> BTreeSet<String> {
        let fields = |name: &str, schema: &Value| -> Vec<String> {
            schema["properties"].as_object().into_iter().flatten().map(|(field, _)| format!("{name}.{field}")).collect()
        };
        let mut documented: BTreeSet<String> = fields("run", self.schema).into_iter().collect();
        for (name, schema) in self.schema["$defs"].as_object().unwrap() {
            documented.extend(fields(name, schema));
            for (index, choice) in schema["oneOf"].as_array().into_iter().flatten().enumerate() {
                documented.extend(fields(&format!("{name}/{index}"), choice));
            }
        }
        documented
    }

    fn everything_was_seen(&self) {
        let unseen: Vec<_> = self.documented().difference(&self.seen).cloned().collect();
        assert!(unseen.is_empty(), "documented, and in no run: {unseen:?}");
    }
}

fn schema(text: &str) -> Value {
    let schema: Value = serde_json::from_str(text).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    schema
}

#[test]
fn run_json_is_as_documented() {
    let schema = schema(include_str!("../../../docs/guide/run.schema.json"));
    let mut validator = Validator::new(&schema);
    for (name, run) in common::all() {
        let value = serde_json::to_value(&run.record).unwrap();
        validator.check(&schema, &value, name).unwrap();
    }
    validator.everything_was_seen();
}

#[test]
fn series_jsonl_is_as_documented() {
    let schema = schema(include_str!("../../../docs/guide/series.schema.json"));
    let mut validator = Validator::new(&schema);
    for (name, run) in common::all() {
        for second in &run.series {
            validator.check(&schema, &serde_json::to_value(second).unwrap(), name).unwrap();
        }
    }
    validator.everything_was_seen();
}

#[test]
fn the_check_can_fail() {
    let schema = schema(include_str!("../../../docs/guide/run.schema.json"));
    let good = serde_json::to_value(&common::lossy().record).unwrap();
    for (pointer, wrong, expected) in [
        ("/schema", serde_json::json!(2), "run.schema: 2 is not allowed"),
        ("/seed", serde_json::json!("7"), "run.seed: string, and not [\"integer\"]"),
        (
            "/ledger/findings/0/class",
            serde_json::json!("gone"),
            "run.ledger.findings[0].class: \"gone\" is not allowed",
        ),
        ("/target", serde_json::json!({}), "run.target: url is missing"),
        (
            "/sessions/by_outcome/completed",
            serde_json::json!([]),
            "run.sessions.by_outcome.completed: array, and not [\"integer\"]",
        ),
    ] {
        let mut value = good.clone();
        *value.pointer_mut(pointer).unwrap() = wrong;
        assert_eq!(Validator::new(&schema).check(&schema, &value, "run").unwrap_err(), expected);
    }
    let mut more = good;
    more["machine"]["colour"] = "blue".into();
    assert_eq!(
        Validator::new(&schema).check(&schema, &more, "run").unwrap_err(),
        "run.machine.colour is not documented"
    );
}
