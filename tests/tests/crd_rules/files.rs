//! Judges an object as one that stands in a file: by its type, then by the rules of `weir_crds::validate`.

use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_crds::manifest::Manifest;
use weir_crds::v1alpha1::{StreamPipelineSpec, StreamSLOSpec};
use weir_crds::validate::{self, Violation};

/// Every complaint about the object; none where it is valid.
pub(crate) fn judge(object: &Value) -> Vec<String> {
    match kind(object) {
        "StreamPipeline" => {
            of(object, |name, spec: &StreamPipelineSpec| validate::pipeline(name, spec))
        }
        "StreamSLO" => of(object, |name, spec: &StreamSLOSpec| validate::slo(name, spec)),
        other => panic!("no such kind: {other}"),
    }
}

/// The spec of a valid object, with every default in its place.
pub(crate) fn with_defaults(object: &Value) -> Value {
    match kind(object) {
        "StreamPipeline" => serde_json::to_value(read::<StreamPipelineSpec>(object).unwrap().spec),
        "StreamSLO" => serde_json::to_value(read::<StreamSLOSpec>(object).unwrap().spec),
        other => panic!("no such kind: {other}"),
    }
    .unwrap()
}

fn of<S: DeserializeOwned>(
    object: &Value,
    rules: impl Fn(&str, &S) -> Vec<Violation>,
) -> Vec<String> {
    match read::<S>(object) {
        Ok(manifest) => {
            let found = rules(&manifest.metadata.name, &manifest.spec);
            found.iter().map(ToString::to_string).collect()
        }
        Err(complaint) => vec![complaint],
    }
}

fn read<S: DeserializeOwned>(object: &Value) -> Result<Manifest<S>, String> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        match error.path().to_string().as_str() {
            "." => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        }
    })
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}
