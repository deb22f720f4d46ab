//! Changed configurations, drain and stop.

use crate::{
    client::{Frame, Request, Sse},
    fixture::{OPEN, Server, config},
};

#[tokio::test]
async fn a_changed_configuration_keeps_the_connections_and_the_log() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("").await;
    server.post("1").await;
    assert_eq!(sse.next_data().await, "1");
    let changed = OPEN.replace("sse: {}", "sse: {heartbeat: 1s}");
    server.app.apply(config(&changed, None));
    server.post("2").await;
    assert_eq!(sse.next_data().await, "2");
    sse.until_line(":").await;
    let mut replay = server.sse("?from=earliest").await;
    assert_eq!(replay.next_data().await, "1");
}

#[tokio::test]
async fn while_a_change_is_refused_who_asks_for_what_it_may_hold_is_to_come_back() {
    let server = Server::start(OPEN).await;
    let loaded = "weir_config_last_load_successful ";
    assert_eq!(server.metric(loaded).await, Some(1));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stock.yaml"), "kind: StreamPipeline\n").unwrap();
    let errors = weir_sidecar::config::load(&[folder.path().to_owned()]).unwrap_err();
    server.app.refuse(&errors);

    assert_eq!(server.metric(loaded).await, Some(0));
    let samples = server.admin("/samples").await.json();
    assert!(samples["refused"].as_str().unwrap().starts_with("stock.yaml:1:1:"), "{samples}");
    let events = ("accept", "text/event-stream");
    let mut source = Sse::open(server.public, "/stock/sse", &[events]).await;
    assert!(source.head.starts_with("HTTP/1.1 200 "), "{}", source.head);
    assert!(source.next().await.unwrap().data.contains("configuration_refused"));
    assert!(source.retry.is_some());
    for request in
        [Request::get("/stock/sse"), Request::get("/stock/events"), Request::post("/stock/events")]
    {
        let answer = request.send(server.public).await;
        assert_eq!(answer.status, 503);
        assert!(answer.head.to_ascii_lowercase().contains("\r\nretry-after: "), "{}", answer.head);
    }
    let mut held = server.sse("").await;
    server.post("1").await;
    assert_eq!(held.next_data().await, "1");

    server.app.apply(config(OPEN, None));
    assert_eq!(server.metric(loaded).await, Some(1));
    assert!(server.admin("/samples").await.json().get("refused").is_none());
    assert_eq!(Request::get("/stock/sse").send(server.public).await.status, 404);
}

#[tokio::test]
async fn a_removed_pipeline_sends_its_subscribers_away() {
    let server = Server::start(OPEN).await;
    let (mut sse, mut socket) = (server.sse("").await, server.web_socket("").await);
    server.app.apply(weir_sidecar::config::Config::default());
    assert_eq!(sse.next().await.unwrap().name, "draining");
    assert_eq!(sse.next().await, None);
    let draining = socket.next_json().await;
    assert_eq!(draining["control"], "draining");
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
    let hint = socket.close_hint();
    assert_eq!((&hint["retry"], &hint["cursor"]), (&draining["retry"], &draining["cursor"]));
    assert_eq!(server.sse("").await.head.split(' ').nth(1), Some("404"));
}

#[tokio::test]
async fn an_endpoint_that_is_withdrawn_sends_only_its_own_subscribers_away() {
    let server = Server::start(OPEN).await;
    let (mut sse, mut socket) = (server.sse("").await, server.web_socket("").await);
    server.app.apply(config(&OPEN.replace("websocket: {}, ", ""), None));
    assert_eq!(socket.next_json().await["control"], "draining");
    server.post("1").await;
    assert_eq!(sse.next_data().await, "1");
}

#[tokio::test]
async fn a_drain_sends_everybody_away_and_still_takes_events() {
    let server = Server::start(&format!("{OPEN}\ndelivery: {{drain: {{window: 2s}}}}")).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(server.sse("").await);
    }
    assert_eq!(server.admin("/readyz").await.status, 200);
    let from_a_page = Request::post("/drain").header("origin", "https://evil.example");
    assert_eq!(from_a_page.send(server.admin).await.status, 403);
    assert_eq!(server.admin("/drain").await.status, 404, "a GET, as an image on a page would send");
    let drained = Request::post("/drain").send(server.admin);
    let published = async {
        while server.admin("/readyz").await.status == 200 {
            tokio::task::yield_now().await;
        }
        server.post("\"last words\"").await.status
    };
    let (drained, published) = tokio::join!(drained, published);
    assert_eq!((drained.status, published), (200, 200));
    for sse in &mut streams {
        let mut event = sse.next().await.unwrap();
        if event.name == "message" {
            event = sse.next().await.unwrap();
        }
        assert_eq!(event.name, "draining");
        assert!(sse.retry.is_some());
        assert_eq!(sse.next().await, None);
    }
    // Whoever comes now is asked to come back.
    let mut late = server.sse("").await;
    assert!(late.next().await.unwrap().data.contains("draining"));
}

#[tokio::test]
async fn a_stop_says_good_bye_with_the_cursor_to_resume_from() {
    let server = Server::start(OPEN).await;
    let (mut sse, mut socket) = (server.sse("").await, server.web_socket("").await);
    let cursor = server.post("1").await.json()["cursor"].clone();
    sse.next_data().await;
    socket.next_json().await;
    server.app.stop().await;
    let farewell = sse.next().await.unwrap();
    assert_eq!((farewell.name.as_str(), &cursor), ("draining", &farewell.id.into()));
    assert_eq!(sse.next().await, None);
    assert_eq!(socket.next_json().await["cursor"], cursor);
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
}

#[tokio::test]
async fn a_connection_that_has_reached_its_age_leaves_with_its_cursor() {
    let server = Server::start(&format!("{OPEN}\ndelivery: {{maxConnectionAge: 10s}}")).await;
    let started = std::time::Instant::now();
    let (mut sse, mut socket) = (server.sse("").await, server.web_socket("").await);
    server.post("1").await;
    sse.next_data().await;
    let farewell = sse.next().await.unwrap();
    assert_eq!((farewell.name.as_str(), sse.next().await), ("draining", None));
    // From 80 percent of its age on; the grain of the time is a quarter of a second.
    assert!(started.elapsed() > std::time::Duration::from_millis(7_700), "{:?}", started.elapsed());
    assert_eq!(socket.next_json().await["data"], 1);
    assert_eq!(socket.next_json().await["control"], "draining");
    server.post("2").await;
    let resume = [("last-event-id", farewell.id.as_str())];
    let mut again = crate::client::Sse::open(server.public, "/orders/sse", &resume).await;
    assert_eq!(again.next_data().await, "2");
}

#[tokio::test]
async fn a_generator_feeds_its_pipeline() {
    let server = Server::start(
        "
        placement: {gateway: {}}
        sources: [{name: tick, generator: {rate: 100}}]
        ",
    )
    .await;
    let mut sse = server.sse("?from=earliest").await;
    for n in 0..50 {
        assert_eq!(sse.next_data().await, format!("{{\"number\":{n}}}"));
    }
}

#[tokio::test]
async fn a_subscriber_that_is_behind_when_it_is_sent_away_resumes_without_loss() {
    const EVENTS: u64 = 400;
    let server = Server::start(&format!(
        "{OPEN}\ndelivery: {{drain: {{window: 0s}}, maxLag: {{bytes: 1Gi}}}}"
    ))
    .await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push((server.sse("").await, server.web_socket("").await));
    }
    // Nobody reads: the kernel's buffers fill, at another byte for each.
    let filler = "x".repeat(20_011);
    for n in 0..EVENTS {
        server.post(&format!("{{\"n\":{n},\"x\":\"{filler}\"}}")).await;
    }
    let drained = tokio::spawn(Request::post("/drain").send(server.admin));
    for (sse, socket) in &mut streams {
        let (mut next, mut resume) = (0, String::new());
        while let Some(event) = sse.next().await {
            assert!(resume.is_empty(), "nothing comes behind the farewell");
            if event.name == "draining" {
                resume = event.id;
            } else {
                next += 1;
            }
        }
        assert!(resume.ends_with(&format!("-{next:x}")), "{resume} after {next} events");
        let (mut next, mut resume) = (0, None);
        loop {
            match socket.next().await.unwrap() {
                Frame::Close(code) => {
                    assert_eq!(code, Some(1012));
                    break;
                }
                Frame::Text(text) => {
                    let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(resume, None, "nothing comes behind the farewell");
                    if message["control"] == "draining" {
                        resume = Some(message["cursor"].as_str().unwrap().to_owned());
                    } else {
                        next += 1;
                    }
                }
                other @ (Frame::Ping(_) | Frame::Pong(_)) => panic!("{other:?}"),
            }
        }
        assert!(resume.unwrap().ends_with(&format!("-{next:x}")), "after {next} events");
    }
    assert_eq!(drained.await.unwrap().status, 200);
}
