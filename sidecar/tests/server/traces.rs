//! Exemplars: a latency leads to the trace of an event that took so long.

use serde_json::Value;

use crate::{
    client::Request,
    fixture::{OPEN, PATIENCE, Server},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-01")
}

/// The exemplars of a scrape, once there is one: the line up to it, the trace, the value, the time.
async fn exemplars(server: &Server) -> Vec<(String, String, f64, f64)> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let text = server.admin("/metrics").await.text();
        let found: Vec<_> = text.lines().filter_map(exemplar).collect();
        if !found.is_empty() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{text}");
        tokio::task::yield_now().await;
    }
}

fn exemplar(line: &str) -> Option<(String, String, f64, f64)> {
    let (bucket, exemplar) = line.split_once(" # {trace_id=\"")?;
    let (trace, numbers) = exemplar.split_once("\"} ").unwrap();
    let (value, time) = numbers.split_once(' ').unwrap();
    Some((bucket.into(), trace.into(), value.parse().unwrap(), time.parse().unwrap()))
}

#[tokio::test]
async fn an_event_with_a_trace_stands_for_the_latency_of_its_delivery() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("").await;
    server.post("1").await;
    sse.next_data().await;
    server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
    let text = server.admin("/metrics").await.text();
    assert!(!text.contains("trace_id"), "an event without a trace has none");
    let event = format!(
        r#"{{"specversion":"1.0","id":"a","source":"/a","type":"t","traceparent":"{}","data":2}}"#,
        traceparent(TRACE)
    );
    let request =
        Request::post("/orders/events").header("content-type", "application/cloudevents+json");
    assert_eq!(request.body(&event).send(server.publish).await.status, 200);
    sse.next_data().await;
    let found = exemplars(&server).await;
    let [(bucket, trace, value, time)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(trace, TRACE);
    let labels = "weir_delivery_latency_seconds_bucket{";
    assert!(bucket.starts_with(labels) && bucket.contains("pipeline=\"orders\""), "{bucket}");
    let bound = bucket.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(bound == "+Inf" || *value <= bound.parse().unwrap(), "{found:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!((now.as_secs_f64() - time).abs() < 60.0, "{found:?}");
}

#[tokio::test]
async fn the_trace_of_a_request_is_that_of_its_events_which_name_none() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("?format=cloudevents").await;
    let post = |body: &str, header: String, kind: &str| {
        let request = Request::post("/orders/events").header("content-type", kind);
        request.header("traceparent", &header).body(body).send(server.publish)
    };
    assert_eq!(post("1", traceparent(TRACE), "application/json").await.status, 200);
    let event: Value = serde_json::from_str(&sse.next_data().await).unwrap();
    assert_eq!(event["traceparent"], traceparent(TRACE));
    assert_eq!(exemplars(&server).await[0].1, TRACE);
    let own = format!(
        r#"{{"specversion":"1.0","id":"b","source":"/a","type":"t","traceparent":"{}"}}"#,
        traceparent(OTHER)
    );
    let answer = post(&own, traceparent(TRACE), "application/cloudevents+json").await;
    assert_eq!(answer.status, 200);
    let event: Value = serde_json::from_str(&sse.next_data().await).unwrap();
    assert_eq!(event["traceparent"], traceparent(OTHER), "what an event says is kept");
    assert_eq!(post("2", "nonsense".to_owned(), "application/json").await.status, 200);
    let event: Value = serde_json::from_str(&sse.next_data().await).unwrap();
    assert_eq!(event.get("traceparent"), None);
}
