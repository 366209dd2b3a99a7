//! For programs: the record, with the verdict and its reasons worked out, and what could not be read.

use serde_json::{Map, Value, json};

use crate::{OpenedRun, Verdict};

/// One JSON object, pretty, ending with a newline: `run.json` as it was read, with `verdict`, `exit_code`, `reasons`,
/// `seconds` (how many the series has) and `problems` added.
#[must_use]
pub fn json(run: &OpenedRun) -> String {
    let verdict = run.verdict();
    let mut object = match serde_json::to_value(&run.record) {
        Ok(Value::Object(object)) => object,
        // A record holds strings, numbers and values that were read from JSON.
        _ => Map::new(),
    };
    object.insert("verdict".into(), json!(verdict));
    object.insert("exit_code".into(), json!(verdict.exit_code()));
    object.insert("reasons".into(), json!(Verdict::reasons(&run.record)));
    object.insert("seconds".into(), json!(run.series.len()));
    object.insert("problems".into(), json!(run.problems));
    format!("{:#}\n", Value::Object(object))
}
