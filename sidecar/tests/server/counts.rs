//! The books balance, in samples and metrics.

use weir_slo::Samples;

use crate::{
    client::Request,
    fixture::{OPEN, PATIENCE, Server, config},
    session::Client,
};

const SLO: &str = "
pipelineRef: {name: orders}
timeWindow: {duration: 5m}
objectives:
- {name: fast, target: \"99\", latency: {threshold: 10s}}
- {name: never, target: \"99\", latency: {threshold: 1ms}}
- {name: errors, target: \"99.9\", errorRate: {}}
- {name: no-loss, delivery: {maxLost: 0}}
";

async fn samples(server: &Server) -> Samples {
    serde_json::from_slice(&server.admin("/samples").await.body).unwrap()
}

/// The samples once so many deliveries are counted as written: a subscriber may read an event before
/// the shard that wrote it has counted it.
async fn samples_after(server: &Server, written: u64) -> Samples {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let samples = samples(server).await;
        if samples.pipelines[0].deliveries.written == written {
            return samples;
        }
        assert!(tokio::time::Instant::now() < deadline, "{:?}", samples.pipelines[0].deliveries);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_counts_are_what_the_subscribers_saw() {
    let server = Server::start_with(config(OPEN, Some(SLO))).await;
    let (mut sse, mut socket) = (server.sse("").await, server.web_socket("").await);
    server.post_numbers(0..100).await;
    for _ in 0..100 {
        sse.next_data().await;
        socket.next_json().await;
    }
    let samples = samples_after(&server, 200).await;
    let pipeline = &samples.pipelines[0];
    assert_eq!((pipeline.subscribers.sse, pipeline.subscribers.websocket), (1, 1));
    let deliveries = pipeline.deliveries;
    assert_eq!((deliveries.accepted, deliveries.written, deliveries.dropped), (100, 200, 0));
    assert_eq!(pipeline.sources[0].accepted, 100);
    let counts = |name| {
        let counts = samples.objective("shop", "feed", name).unwrap().current;
        (counts.good, counts.total)
    };
    assert_eq!(
        (counts("fast"), counts("errors"), counts("no-loss")),
        ((200, 200), (200, 200), (200, 200))
    );
    assert_eq!(counts("never").1, 200);
    let metric =
        "weir_objective_good_events_total{pipeline=\"orders\",slo=\"feed\",objective=\"fast\"} ";
    assert_eq!(server.metric(metric).await, Some(200));
}

#[tokio::test]
async fn every_delivery_ends_in_one_place() {
    const EVENTS: u64 = 300;
    let server = Server::start_with(config(OPEN, Some(SLO))).await;
    let mut stays = server.sse("").await;
    let leaves = server.sse("").await;
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 2).await;
    server.post_numbers(0..EVENTS).await;
    for _ in 0..EVENTS {
        stays.next_data().await;
    }
    drop(leaves);
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 1).await;
    server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
    let deliveries = samples(&server).await.pipelines[0].deliveries;
    assert_eq!(deliveries.written + deliveries.dropped + deliveries.departed, 2 * EVENTS);
    assert_eq!(deliveries.due, 2 * EVENTS);
}

#[tokio::test]
async fn what_is_due_only_grows_and_the_books_balance_under_load() {
    let server = Server::start_with(config(OPEN, Some(SLO))).await;
    let churn = async {
        for _ in 0..40 {
            let mut streams = Vec::new();
            for _ in 0..5 {
                streams.push(server.sse("?from=earliest").await);
            }
            streams[0].next_data().await;
        }
    };
    let publish = async {
        for n in 0..200 {
            server.post_numbers(n * 20..(n + 1) * 20).await;
        }
    };
    let watch = async {
        let mut due = 0;
        for _ in 0..100 {
            let found = samples(&server).await.pipelines[0].deliveries;
            assert!(found.due >= due, "{found:?} after {due}");
            due = found.due;
        }
    };
    tokio::join!(churn, publish, watch);
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 0).await;
    let end = samples(&server).await.pipelines[0].deliveries;
    assert_eq!(end.due, end.written + end.dropped + end.departed, "{end:?}");
    assert!(end.due > end.accepted);
}

#[tokio::test]
async fn a_cursor_that_comes_too_late_is_told_but_breaches_nothing() {
    let open = OPEN.replace("endpoints:", "log: {retention: {maxEvents: 10}}\nendpoints:");
    let server = Server::start_with(config(&open, Some(SLO))).await;
    let cursor = server.post("0").await.json()["cursor"].as_str().unwrap().to_owned();
    server.post_numbers(0..20).await;
    let mut sse = server.sse(&format!("?cursor={cursor}")).await;
    assert_eq!(sse.next().await.unwrap().name, "gap");
    for _ in 0..10 {
        sse.next_data().await;
    }
    let samples = samples_after(&server, 10).await;
    for name in ["errors", "no-loss", "fast"] {
        let counts = samples.objective("shop", "feed", name).unwrap().current;
        assert_eq!((counts.good, counts.total), (10, 10), "{name}");
    }
    assert_eq!(
        server.metric("weir_gaps_total{pipeline=\"orders\",reason=\"evicted\"} ").await,
        Some(1)
    );
}

#[tokio::test]
async fn an_event_that_is_evicted_under_a_subscriber_counts_as_lost() {
    let few = OPEN.replace("endpoints:", "log: {retention: {maxEvents: 5}}\nendpoints:");
    let few = format!("{few}\ndelivery: {{maxLag: {{bytes: 1Gi}}}}");
    let server = Server::start_with(config(&few, Some(SLO))).await;
    // It doesn't read while more is posted than the kernel's buffers and the log hold.
    let mut sse = server.sse("").await;
    let filler = "x".repeat(64 * 1024);
    for n in 0..300 {
        server.post(&format!("\"{n} {filler}\"")).await;
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < 300 {
        let event = sse.next().await.unwrap();
        if event.name == "gap" {
            let gap: serde_json::Value = serde_json::from_str(&event.data).unwrap();
            missed += gap["missed"].as_u64().unwrap();
        } else {
            seen += 1;
        }
    }
    assert!(missed > 0);
    let samples = samples_after(&server, seen).await;
    assert_eq!(samples.pipelines[0].deliveries.dropped, missed);
    for name in ["errors", "no-loss"] {
        let counts = samples.objective("shop", "feed", name).unwrap().current;
        assert_eq!((counts.good, counts.total), (seen, 300), "{name}");
    }
    let fast = samples.objective("shop", "feed", "fast").unwrap().current;
    assert_eq!(fast.total, seen, "what was not written has no latency");
}

#[tokio::test]
async fn a_changed_threshold_starts_a_new_series_and_another_objective_goes_on() {
    let server = Server::start_with(config(OPEN, Some(SLO))).await;
    let mut sse = server.sse("").await;
    server.post("1").await;
    sse.next_data().await;
    let before = samples_after(&server, 1).await;
    server.app.apply(config(OPEN, Some(&SLO.replace("10s", "9s"))));
    let after = samples(&server).await;
    let objective = |samples: &Samples, name| {
        let objective = samples.objective("shop", "feed", name).unwrap().clone();
        (objective.fingerprint, objective.current.total)
    };
    assert_ne!(objective(&before, "fast").0, objective(&after, "fast").0);
    assert_eq!(objective(&after, "fast").1, 0);
    assert_eq!(objective(&before, "errors"), objective(&after, "errors"));
}

#[tokio::test]
async fn the_metrics_are_valid_openmetrics() {
    let server = Server::start_with(config(OPEN, Some(SLO))).await;
    let answer = server.admin("/metrics").await;
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"));
    let types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let unique: std::collections::BTreeSet<_> = types.iter().collect();
    assert_eq!(types.len(), unique.len(), "each family is described once");
}

#[tokio::test]
async fn each_refusal_is_counted_under_its_own_reason() {
    let server = Server::start(
        "
        placement: {sidecar: {selector: {matchLabels: {app: shop}}}}
        sources: [{name: app, http: {}}]
        endpoints: {sse: {}, websocket: {}}
        ",
    )
    .await;
    let post =
        |path: &str| Request::post(path).header("content-type", "application/json").body("1");
    let json = "application/json";
    let bad = Request::post("/orders/events").header("content-type", json).body("{");
    for (request, to, reason) in [
        (post("/orders/events"), server.public, "forbidden"),
        (post("/orders/events").header("origin", "https://a"), server.publish, "cross_site"),
        (bad, server.publish, "invalid_json"),
        (Request::get("/orders/events"), server.public, "not_found"),
        (Request::get("/orders/ws"), server.public, "handshake"),
        (Request::get("/orders/sse?from=x"), server.public, "query"),
    ] {
        let answer = request.send(to).await;
        let word = answer.json()["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        assert_eq!(word, reason, "{answer:?}");
        let line =
            format!("weir_requests_refused_total{{pipeline=\"orders\",reason=\"{reason}\"}} ");
        assert_eq!(server.metric(&line).await, Some(1), "{reason}");
    }
    assert_eq!(Request::get("/nothing/sse").send(server.public).await.status, 404);
    let unrouted = "weir_requests_unrouted_total{reason=\"not_found\"} ";
    assert_eq!(server.metric(unrouted).await, Some(1));
    let mut client = Client::open(&server).await;
    let publish = serde_json::json!({"type": "publish", "id": "p", "data": 1});
    client.ask(publish, "failure").await;
    let line = "weir_requests_refused_total{pipeline=\"orders\",reason=\"forbidden\"} ";
    assert_eq!(server.metric(line).await, Some(2));
}

#[tokio::test]
async fn a_log_that_takes_nothing_is_counted_as_what_refused_a_publish() {
    // There is no place for logs on a disk.
    let disk = OPEN.replace("endpoints:", "log: {storage: {disk: {size: 1Gi}}}\nendpoints:");
    let server = Server::start(&disk).await;
    let refused = server.post("1").await;
    assert_eq!(refused.status, 503);
    let word = refused.json()["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let line = format!("weir_requests_refused_total{{pipeline=\"orders\",reason=\"{word}\"}} ");
    assert_eq!(server.metric(&line).await, Some(1));
}
