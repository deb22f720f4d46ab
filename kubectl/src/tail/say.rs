//! Says in a line what a control, or an answer that is no stream, means.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::output::harmless;

/// What the server says about the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    /// Events are missing; the stream goes on.
    Gap(String),
    /// The connection is over; another one goes on, after this time.
    Away {
        /// Why.
        why: String,
        /// After which time.
        retry: Option<Duration>,
    },
    /// There is no stream any more.
    Over(String),
}

impl Control {
    /// The control that a named event is; `None` for an event of the pipeline.
    pub(super) fn of(name: &str, data: &str) -> Option<Self> {
        let is_control = matches!(name, "gap" | "draining" | "failure");
        let said: Value = serde_json::from_str(data).ok().filter(|_| is_control)?;
        let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or("?");
        let retry = said.get("retry").and_then(Value::as_u64).map(Duration::from_millis);
        match name {
            "gap" => Some(Self::Gap(gap(&said))),
            "draining" => {
                let why = "the server sends its subscribers away".to_owned();
                Some(Self::Away { why, retry })
            }
            "failure" => {
                let why = format!("{} ({})", text("message"), text("code"));
                Some(if retry.is_some() { Self::Away { why, retry } } else { Self::Over(why) })
            }
            _ => None,
        }
    }
}

/// What is missing, and why.
fn gap(said: &Value) -> String {
    let text = |key: &str| said.get(key).and_then(Value::as_str);
    let missed = said.get("missed").and_then(Value::as_u64);
    let missed = match missed {
        Some(1) => "1 event is missing".to_owned(),
        Some(many) => format!("{many} events are missing"),
        None => "events are missing".to_owned(),
    };
    let reason = match text("reason") {
        Some("evicted") => "the log no longer holds them",
        Some("unknown_log") => "the cursor is of another log, such as that of a pod that is gone",
        Some("malformed") => "the cursor is none that was ever given out",
        Some("slow_consumer") => "they weren't read fast enough",
        Some(other) => other,
        None => "no reason given",
    };
    let ends = [("after", text("from")), ("up to", text("to"))];
    let ends = ends.into_iter().filter_map(|(word, end)| Some(format!(" {word} {}", end?)));
    format!("gap: {missed}{}: {reason}", ends.collect::<String>())
}

/// That there are other pods with the rest of the stream, and why.
pub(super) fn partial(why: &str) -> String {
    format!(
        "this is the part of the stream that this pod has (--pod NAME reads another's): {}",
        harmless(why)
    )
}

/// What an answer says that is not what was asked for: a problem document's detail, or the beginning of
/// another text.
pub(crate) fn problem(status: StatusCode, body: &[u8]) -> String {
    const LONGEST: usize = 300;
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let detail = document.as_ref().and_then(|document| document.get("detail")?.as_str());
    let text = detail.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let text: String = text.trim().chars().take(LONGEST).collect();
    if text.is_empty() { format!("status {status}") } else { format!("{text} (status {status})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_says_what_is_missing_and_why() {
        let data = r#"{"control":"gap","from":"a-1","to":"a-9","missed":8,"reason":"evicted"}"#;
        let text = "gap: 8 events are missing after a-1 up to a-9: the log no longer holds them";
        assert_eq!(Control::of("gap", data), Some(Control::Gap(text.to_owned())));
        assert_eq!(gap(&Value::Null), "gap: events are missing: no reason given");
    }

    #[test]
    fn a_failure_that_passes_is_told_from_one_for_good() {
        let data = r#"{"code":"draining","message":"it stops","retry":1500}"#;
        let away = Control::Away {
            why: "it stops (draining)".to_owned(),
            retry: Some(Duration::from_millis(1500)),
        };
        assert_eq!(Control::of("failure", data), Some(away));
        let over = Control::of("failure", r#"{"code":"token_expired","message":"it is old"}"#);
        assert_eq!(over, Some(Control::Over("it is old (token_expired)".to_owned())));
    }

    #[test]
    fn an_event_of_the_pipeline_is_no_control() {
        assert_eq!(Control::of("", "{}"), None);
        assert_eq!(Control::of("order.placed", "{}"), None);
    }

    #[test]
    fn a_problem_is_told_by_its_detail_and_anything_else_by_its_beginning() {
        let document = br#"{"title":"Not Found","detail":"there is no pipeline x"}"#;
        let told = problem(StatusCode::NOT_FOUND, document);
        assert_eq!(told, "there is no pipeline x (status 404 Not Found)");
        assert_eq!(problem(StatusCode::BAD_GATEWAY, b""), "status 502 Bad Gateway");
        let long = problem(StatusCode::BAD_GATEWAY, "x".repeat(1_000).as_bytes());
        assert!(long.len() < 400, "{}", long.len());
    }
}
