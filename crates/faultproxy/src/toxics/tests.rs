//! Attributes as clients send them and get them back.

use serde_json::json;

use super::*;

fn with(kind: &str, over: Value) -> Result<Value, String> {
    let Value::Object(over) = over else { panic!("attributes are an object") };
    Attributes::of_type(kind).unwrap().with(&over).map(|attributes| attributes.to_json())
}

/// Old clients must see exactly what Toxiproxy shows them.
#[test]
fn toxiproxys_toxics_show_its_attributes_and_no_more() {
    let cases = [
        ("latency", json!({"latency": 0, "jitter": 0})),
        ("bandwidth", json!({"rate": 0})),
        ("slow_close", json!({"delay": 0})),
        ("timeout", json!({"timeout": 0})),
        ("reset_peer", json!({"timeout": 0})),
        ("slicer", json!({"average_size": 0, "size_variation": 0, "delay": 0})),
        ("limit_data", json!({"bytes": 0})),
        ("noop", json!({})),
    ];
    for (kind, shown) in cases {
        assert_eq!(with(kind, json!({})).unwrap(), shown, "{kind}");
        assert_eq!(Attributes::of_type(kind).unwrap().type_name(), kind);
    }
    assert!(Attributes::of_type("Latency").is_none());
}

#[test]
fn attributes_are_merged_whatever_the_size_of_letters() {
    let merged = with("latency", json!({"LATENCY": -5, "jitter": null, "unknown": [1]})).unwrap();
    assert_eq!(merged, json!({"latency": -5, "jitter": 0}));
    let spread = with("latency", json!({"distribution": "histogram", "histogram": [[10, 3], [20, 1]]})).unwrap();
    assert_eq!(spread["histogram"], json!([[10.0, 3.0], [20.0, 1.0]]));
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("latency", json!({"latency": 100.5}), "attributes.latency: invalid type: floating point"),
        ("latency", json!({"jitter": "5"}), "attributes.jitter: invalid type: string"),
        ("latency", json!({"distribution": "gauss"}), "attributes.distribution: unknown variant `gauss`"),
        ("latency", json!({"distribution": "histogram"}), "histogram: nothing was recorded"),
        ("latency", json!({"tail": 0}), "tail is 0"),
        ("bandwidth", json!({"rate": u64::MAX}), "attributes.rate"),
        ("corrupt", json!({"rate": 1.5}), "rate is 1.5; it must be 0 to 1"),
        ("drop_connection", json!({"probability": -0.1}), "probability is -0.1"),
    ];
    for (kind, over, part) in cases {
        let error = with(kind, over.clone()).unwrap_err();
        assert!(error.contains(part), "{kind} {over}: {error}");
    }
}
