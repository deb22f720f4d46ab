//! Leaves out of a manifest what it would say anyway.
//!
//! The API server fills every default in, those of fields, too, that a sidecar of the version before has never
//! heard of; and a sidecar refuses what it doesn't know, because it could not do it. So it is told only what
//! somebody has asked for: then sidecars stay as they are until somebody asks for something new.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use weir_crds::manifest::Manifest;

/// The manifest, as a document that reads back as the same, and has no field in its spec that could be absent.
pub(super) fn minimal<S>(manifest: &Manifest<S>) -> Result<Value, serde_json::Error>
where
    S: Serialize + DeserializeOwned + PartialEq,
{
    let mut document = serde_json::to_value(manifest)?;
    if let Some(spec) = document.get_mut("spec") {
        let mut spec_alone = spec.take();
        let means_the_same =
            |spec: &Value| S::deserialize(spec).is_ok_and(|read| read == manifest.spec);
        shrink(&mut spec_alone, "", &means_the_same);
        *spec = spec_alone;
    }
    Ok(document)
}

/// Takes every field out of the part of `whole` at a JSON pointer without which it means the same.
fn shrink(whole: &mut Value, pointer: &str, means_the_same: &impl Fn(&Value) -> bool) {
    for key in keys(whole, pointer) {
        let taken = fields(whole, pointer).and_then(|fields| fields.remove(&key));
        if let Some(value) = taken {
            if means_the_same(whole) {
                continue;
            }
            fields(whole, pointer).map(|fields| fields.insert(key.clone(), value));
        }
        // RFC 6901, section 3.
        let key = key.replace('~', "~0").replace('/', "~1");
        shrink(whole, &format!("{pointer}/{key}"), means_the_same);
    }
}

fn fields<'a>(whole: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    whole.pointer_mut(pointer)?.as_object_mut()
}

/// The names of the fields, or the numbers of the items, of the part at a JSON pointer.
fn keys(whole: &Value, pointer: &str) -> Vec<String> {
    match whole.pointer(pointer) {
        Some(Value::Object(fields)) => fields.keys().cloned().collect(),
        Some(Value::Array(items)) => (0..items.len()).map(|index| index.to_string()).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_crds::manifest::Metadata;
    use weir_crds::v1alpha1::{StreamPipelineSpec, StreamSLOSpec};

    use super::*;

    fn manifest<S: DeserializeOwned>(spec: &Value) -> Manifest<S> {
        Manifest {
            api_version: "weir.dev/v1alpha1".to_owned(),
            kind: "StreamPipeline".to_owned(),
            metadata: Metadata { name: "orders".to_owned(), ..Metadata::default() },
            spec: serde_json::from_value(spec.clone()).unwrap(),
        }
    }

    #[test]
    fn what_nobody_asked_for_is_left_out_and_what_somebody_did_is_not() {
        let asked = json!({
            "placement": { "sidecar": { "selector": { "matchLabels": { "a/b~c": "x" } } } },
            "sources": [{ "name": "app", "http": {} }, { "name": "demo", "generator": { "rate": 5 } }],
            "delivery": { "drain": { "window": "7s" } },
            "endpoints": { "sse": {} },
        });
        let full = manifest::<StreamPipelineSpec>(&asked);
        let written = serde_json::to_value(&full).unwrap();
        assert!(written["spec"]["log"].is_object(), "defaults are written: {written}");
        let document = minimal(&full).unwrap();
        assert_eq!(document["spec"], asked);
        assert_eq!(document["metadata"], json!({ "name": "orders" }));
    }

    #[test]
    fn what_is_asked_for_though_it_is_the_default_means_the_same_without() {
        let spelled_out = json!({
            "pipelineRef": { "name": "orders" },
            "timeWindow": { "duration": "28d", "isRolling": true },
            "objectives": [{ "name": "speed", "target": "99", "latency": { "threshold": "50ms" } }],
        });
        let document = minimal(&manifest::<StreamSLOSpec>(&spelled_out)).unwrap();
        assert_eq!(document["spec"]["timeWindow"], json!({ "duration": "28d" }));
    }
}
