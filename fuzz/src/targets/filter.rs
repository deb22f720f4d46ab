//! Filters: a text is refused, or is an expression that is evaluated within its bound, each time alike.

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::json;
use weir_sidecar::{
    event::Event,
    filter::{Claims, Evaluated, MAX_STEPS, Scope, compile},
};

static EVENT: LazyLock<Event> = LazyLock::new(|| Event {
    id: "7".into(),
    type_: "order.placed".into(),
    source: "/orders/app".into(),
    subject: None,
    time: "2026-01-02T03:04:05Z".into(),
    data_content_type: Some("application/json".into()),
    data_schema: None,
    extensions: Vec::new(),
    data: Bytes::from_static(
        br#"{"total":12.5,"items":[{"n":1},{"n":-2}],"who":"\u00e9","big":9223372036854775807}"#,
    ),
});

static CLAIMS: LazyLock<Claims> =
    LazyLock::new(|| json!({"sub": "ada", "roles": ["a", "b"], "exp": 1_900_000_000}));

pub(super) fn evaluate(input: &[u8]) {
    let Ok(source) = std::str::from_utf8(input) else { return };
    let Ok(expression) = compile(source) else { return };
    let evaluate = || expression.evaluate(&Scope::new(&EVENT, &CLAIMS));
    let first = evaluate();
    assert_eq!(first, evaluate(), "evaluated twice");
    let Evaluated { outcome: _, steps } = first;
    assert!(steps <= MAX_STEPS, "{steps} steps");
    // Its value as a key is bounded by the same.
    let _ = expression.key(&Scope::new(&EVENT, &CLAIMS));
}
