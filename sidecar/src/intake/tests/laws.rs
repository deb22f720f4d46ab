//! Laws that hold for every request, however odd.

use proptest::prelude::*;

use super::*;

const CONTENT_TYPES: [&str; 8] = [
    "application/json",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/x-ndjson",
    "application/octet-stream",
    "text/plain",
    "application/problem+json; charset=utf-8",
    "application/avro",
];

const NAMES: [&str; 10] = [
    "ce-specversion",
    "ce-id",
    "ce-source",
    "ce-type",
    "ce-time",
    "ce-data",
    "ce-x-y",
    "ce-",
    "idempotency-key",
    "content-encoding",
];

/// Pieces of which JSON is made, so that random bodies get beyond the first byte.
const PIECES: [&str; 18] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"id\"",
    "\"specversion\"",
    "\"1.0\"",
    "\"source\"",
    "\"type\"",
    "\"data\"",
    "\"data_base64\"",
    "null",
    "-1",
    "1e999",
    r#""\ud800""#,
    "\n",
];

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..32)
            .prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let value =
        prop::collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8, Just(b'%')], 0..12);
    let named = (prop::sample::select(&NAMES[..]), prop_oneof![value, Just(b"1.0".to_vec())]);
    let content_type = prop::option::of(prop::sample::select(&CONTENT_TYPES[..]));
    (content_type, prop::collection::vec(named, 0..6)).prop_map(|(content_type, named)| {
        let content_type = content_type.map(|value| ("content-type", value.as_bytes().to_vec()));
        let named = named.into_iter().chain(content_type);
        let pair = |(name, value): (&'static str, Vec<u8>)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_bytes(&value).unwrap())
        };
        named.map(pair).collect()
    })
}

proptest! {
    #[test]
    fn no_request_panics_and_every_answer_is_json(headers in any_headers(), body in body()) {
        match decode(&headers, &body, &CONTEXT) {
            Ok(decoded) => {
                for Posted { event, .. } in decoded.events {
                    prop_assert!(event.data.len() <= CONTEXT.max_event_bytes);
                    let mut json = Vec::new();
                    event.to_json(&mut json);
                    serde_json::from_slice::<serde_json::Value>(&json).unwrap();
                }
            }
            Err(rejection) => {
                serde_json::from_slice::<serde::de::IgnoredAny>(&rejection.problem()).unwrap();
                prop_assert!([400, 413, 415, 422].contains(&rejection.status().as_u16()));
            }
        }
    }

    #[test]
    fn a_structured_event_comes_back_from_its_own_json(headers in any_headers(), body in body()) {
        let Ok(decoded) = decode(&headers, &body, &CONTEXT) else { return Ok(()) };
        for Posted { event, .. } in decoded.events {
            let mut json = Vec::new();
            event.to_json(&mut json);
            let again = post_as("application/cloudevents+json", &json).unwrap().remove(0).event;
            prop_assert_eq!(again, event);
        }
    }
}
