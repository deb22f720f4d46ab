//! Holds the samples document to the golden file that every version must read and write.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails it by panicking")]

use serde_json::{Value, json};
use weir_slo::{
    Counts, Deliveries, LogSample, PipelineSample, Samples, Snapshot, Subscribers, Timestamp,
};

const GOLDEN: &str = include_str!("golden/samples.json");

fn golden() -> Samples {
    serde_json::from_str(GOLDEN).unwrap()
}

#[test]
fn the_golden_document_is_read_as_it_is_meant() {
    let samples = golden();
    assert!(samples.is_understood());
    assert!(samples.refused.as_ref().unwrap().starts_with("stock.yaml:7:5: "));
    let [pipeline] = samples.pipelines.as_slice() else { panic!("one pipeline") };
    assert_eq!(pipeline.generation, Some(3));
    assert_eq!(pipeline.subscribers, Subscribers { sse: 12, websocket: 3 });
    assert_eq!(pipeline.sources[1].message.as_deref(), Some("connection refused; retrying in 4s"));
    assert_eq!(pipeline.log, Some(LogSample { healthy: true, message: None }));
    let keys = pipeline.keys.as_ref().unwrap();
    assert!(!keys.healthy && keys.message.as_ref().unwrap().contains("404"), "{keys:?}");
    let expected = Deliveries {
        accepted: 410,
        due: 6150,
        written: 6100,
        filtered: 30,
        conflated: 10,
        dropped: 4,
        departed: 1,
        lagging: 5,
    };
    assert_eq!(pipeline.deliveries, expected);
    let latency = samples.objective("shop", "orders", "latency").unwrap();
    assert_eq!(latency.started_at, Some(Timestamp::from_millis(1_767_225_604_000)));
    assert_eq!(latency.current, Counts { good: 6100, total: 6145 });
    let newest = Snapshot {
        at: Timestamp::from_millis(1_767_225_615_000),
        counts: Counts { good: u64::MAX - 1, total: u64::MAX },
    };
    assert_eq!(latency.recent.last(), Some(&newest));
    assert_eq!(samples.objective("shop", "orders", "unheard-of"), None);
    assert_eq!(samples.objective("elsewhere", "orders", "latency"), None);
}

#[test]
fn the_golden_document_is_written_to_the_byte() {
    let written = serde_json::to_string_pretty(&golden()).unwrap();
    assert_eq!(written, GOLDEN.trim_end());
}

/// The document with a field that no version knows in every object.
fn with_unknown_fields(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.into_iter().map(|(name, value)| (name, with_unknown_fields(value)));
            Value::Object(known.chain([("fromTheFuture".into(), json!({"at": [1]}))]).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(with_unknown_fields).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let later = with_unknown_fields(serde_json::from_str(GOLDEN).unwrap());
    assert_eq!(serde_json::from_value::<Samples>(later).unwrap(), golden());
}

#[test]
fn optional_fields_of_an_earlier_version_may_be_missing() {
    let earlier = json!({
        "apiVersion": "weir.dev/samples/v1",
        "instance": {"id": "a", "startedAt": 1},
        "now": 2,
        "pipelines": [
            {"namespace": "n", "name": "p", "sources": [{"name": "s"}], "slos": [
                {"namespace": "n", "name": "o", "objectives": [{"name": "e", "fingerprint": "f"}]}
            ]}
        ]
    });
    let samples: Samples = serde_json::from_value(earlier).unwrap();
    let objective = samples.objective("n", "o", "e").unwrap();
    assert_eq!((objective.current, objective.recent.len()), (Counts::ZERO, 0));
    let PipelineSample { log, keys, deliveries, .. } = &samples.pipelines[0];
    assert_eq!((log, keys, deliveries), (&None, &None, &Deliveries::default()));
}

#[test]
fn a_document_without_what_counting_needs_is_refused() {
    for needed in ["apiVersion", "instance", "now"] {
        let mut document: Value = serde_json::from_str(GOLDEN).unwrap();
        document.as_object_mut().unwrap().remove(needed);
        let error = serde_json::from_value::<Samples>(document).unwrap_err().to_string();
        assert!(error.contains(needed), "{error}");
    }
}

#[test]
fn another_api_version_is_not_understood() {
    let samples = Samples { api_version: "weir.dev/samples/v2".into(), ..golden() };
    assert!(!samples.is_understood());
}
