//! Who comes before the process knows what it serves.

use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use weir_sidecar::config::ConfigErrors;

use crate::{
    client::{Answer, Request, Sse},
    fixture::{OPEN, Server, config},
    session::Client,
};

/// Gives whoever would answer the time to do so: as many answers as these the probes have got meanwhile.
async fn probe(server: &Server) {
    for _ in 0..20 {
        assert_eq!(server.admin("/readyz").await.status, 503);
    }
}

fn errors() -> ConfigErrors {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stock.yaml"), "kind: StreamPipeline\n").unwrap();
    weir_sidecar::config::load(&[folder.path().to_owned()]).unwrap_err()
}

#[tokio::test]
async fn who_comes_while_the_process_starts_is_served_and_not_told_that_there_is_nothing() {
    let server = Server::start_without().await;
    let events = [("accept", "text/event-stream")];
    let subscribe = Sse::open(server.public, "/orders/sse", &events);
    let publish = async {
        let request = Request::post("/orders/events").header("content-type", "application/json");
        request.body("1").send(server.publish).await
    };
    let apply = async {
        probe(&server).await;
        server.app.apply(config(OPEN, None));
    };
    let (sse, published, ()): (Sse, Answer, ()) = tokio::join!(subscribe, publish, apply);
    assert!(sse.head.starts_with("HTTP/1.1 200 "), "{}", sse.head);
    assert_eq!(published.status, 200, "{published:?}");
    assert_eq!(server.admin("/readyz").await.status, 200);
}

#[tokio::test]
async fn who_comes_while_a_process_starts_whose_configuration_is_refused_is_to_come_back() {
    let server = Server::start_without().await;
    let events = [("accept", "text/event-stream")];
    let subscribe = Sse::open(server.public, "/orders/sse", &events);
    let refuse = async {
        probe(&server).await;
        server.app.refuse(&errors());
    };
    let (mut sse, ()) = tokio::join!(subscribe, refuse);
    assert!(sse.next().await.unwrap().data.contains("configuration_refused"));
    assert!(sse.retry.is_some());
    let post = Request::post("/orders/events").header("content-type", "application/json");
    let post = post.body("1").send(server.publish).await;
    assert_eq!(post.status, 503, "{post:?}");
}

#[tokio::test]
async fn a_pod_that_is_there_to_serve_is_ready_once_it_has_and_one_with_an_application_at_once() {
    const SERVING: &str = "/readyz?serving=true";
    let server = Server::start_without().await;
    assert_eq!(server.admin(SERVING).await.status, 503);
    server.app.refuse(&errors());
    let answer = server.admin(SERVING).await;
    let why = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 503, "{why}");
    let said = "the configuration is refused, and there is none before it: stock.yaml";
    assert!(why.starts_with(said), "{why}");
    assert_eq!(server.admin("/readyz").await.status, 200);
    server.app.apply(config(OPEN, None));
    assert_eq!(server.admin(SERVING).await.status, 200);
    server.app.refuse(&errors());
    assert_eq!(server.admin(SERVING).await.status, 200, "what was good last is served on");
}

#[tokio::test]
async fn a_process_that_ends_before_it_serves_ends() {
    let server = Server::start_without().await;
    let mut early = TcpStream::connect(server.public).await.unwrap();
    early.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    server.app.stop().await;
}

#[tokio::test]
async fn a_session_is_told_to_come_back_for_what_a_refused_configuration_may_hold() {
    let server = Server::start(OPEN).await;
    server.app.refuse(&errors());
    let mut client = Client::open(&server).await;
    for request in [
        json!({"type": "subscribe", "id": "a", "pipeline": "stock"}),
        json!({"type": "publish", "id": "a", "pipeline": "stock", "data": 1}),
    ] {
        let failure = client.ask(request, "failure").await;
        assert_eq!(failure["code"], "configuration_refused");
        assert!(failure["retry"].as_u64().is_some_and(|retry| retry > 0), "{failure}");
    }
    server.app.apply(config(OPEN, None));
    let unknown = json!({"type": "subscribe", "id": "a", "pipeline": "stock"});
    let failure = client.ask(unknown, "failure").await;
    assert_eq!(
        (failure["code"].as_str(), &failure["retry"]),
        (Some("unknown_pipeline"), &json!(null))
    );
}
