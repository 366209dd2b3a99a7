//! The OpenAPI document: committed, current, and closed in itself.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

fn document() -> Value {
    serde_json::from_slice(squall_gateway::openapi()).unwrap()
}

#[test]
fn the_committed_document_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = std::str::from_utf8(squall_gateway::openapi()).unwrap();
    if std::env::var_os("SQUALL_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/openapi.json is out of date: run SQUALL_BLESS=1 cargo test -p squall-gateway --test openapi"
    );
}

/// Every route comes into the router together with its description, so that none can be missing; this holds what they say
/// against the wire's table.
#[test]
fn every_area_of_the_wire_is_described() {
    let document = document();
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    let expected = [
        "get /health",
        "get /ready",
        "get /metrics",
        "get /v1/metrics",
        "get /openapi.json",
        "post /v1/sessions",
        "get /v1/sessions",
        "get /v1/sessions/{id}",
        "patch /v1/sessions/{id}",
        "post /v1/sessions/{id}/heartbeat",
        "post /v1/sessions/{id}/end",
        "get /v1/sessions/{id}/report",
        "post /v1/tasks",
        "get /v1/tasks",
        "get /v1/tasks/{id}",
        "delete /v1/tasks/{id}",
        "post /v1/tasks/{id}/ack",
        "post /v1/tasks/{id}/nack",
        "post /v1/tasks/{id}/extend",
        "get /v1/lanes",
        "get /v1/lanes/{lane}",
        "post /v1/lanes/{lane}/pause",
        "post /v1/lanes/{lane}/resume",
        "post /v1/lanes/{lane}/lease",
        "get /v1/dead-letters",
        "delete /v1/dead-letters",
        "get /v1/dead-letters/{id}",
        "delete /v1/dead-letters/{id}",
        "post /v1/dead-letters/{id}/replay",
        "post /v1/dead-letters/replay",
        "get /v1/events",
        "delete /api/graph/admin/reanalyze",
        "get /api/graph/admin/reanalyze",
        "get /api/graph/call-chain/{id}",
        "get /api/graph/categories/{category}",
        "get /api/graph/debug/files",
        "get /api/graph/nodes/search",
        "get /api/graph/nodes/{id}",
        "get /api/graph/query/{relation}",
        "get /api/graph/stats",
        "get /api/graph/subgraph",
        "get /api/graph/traverse",
        "post /api/graph/admin/reanalyze",
        "get /v1/runs",
        "get /v1/runs/{id}",
        "get /v1/runs/{id}/report",
        "get /v1/runs/{id}/series",
        "post /hooks/github",
        "post /v1/admin/drain",
    ];
    assert_eq!(described, expected.into_iter().map(Into::into).collect());
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 30, "only {} references", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let document = document();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let mut names = BTreeSet::new();
    for operation in operations {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} names two operations");
        assert!(operation["summary"].is_string(), "{name} has no summary");
    }
}
