//! Keys that change, and an issuer that is away.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::time::{Instant, sleep};
use weir_slo::{KeysSample, Samples};

use super::{
    House, PATIENCE, bearer, claims,
    issuer::{AUTHORITY, ISSUER, Issuer, Pair, set},
    manifest,
};
use crate::{
    client::{Frame, Request, Sse},
    fixture::Server,
};

/// Asks again until the stream opens.
async fn opens_in_time(server: &Server, token: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let opened =
            Sse::open(server.public, "/orders/sse", &[("authorization", &bearer(token))]).await;
        if opened.head.starts_with("HTTP/1.1 200") && opened.head.contains("chunked") {
            return;
        }
        assert!(Instant::now() < deadline, "{}", opened.head);
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_new_key_is_found_and_strangers_do_not_flood_the_issuer() {
    let house = House::open().await;
    assert!(house.subscribe(&house.token(&json!({}))).await.head.starts_with("HTTP/1.1 200"));
    let asked = house.issuer.asked();
    for n in 0..50 {
        let stranger = Pair::new(&format!("stranger-{n}"), Algorithm::EdDSA);
        assert_eq!(house.get(&stranger.sign(&claims(&json!({})))).await.status, 401);
    }
    assert!(house.issuer.asked() <= asked + 1, "{}", house.issuer.asked());
    let second = Pair::new("second", Algorithm::ES256);
    house.issuer.publish(&[&second]);
    opens_in_time(&house.server, &second.sign(&claims(&json!({})))).await;
    // The first key is withdrawn.
    assert_eq!(house.get(&house.token(&json!({}))).await.status, 401);
}

#[tokio::test]
async fn keys_stay_good_while_their_issuer_is_away() {
    let house = House::open().await;
    let token = house.token(&json!({}));
    assert!(house.subscribe(&token).await.head.starts_with("HTTP/1.1 200"));
    house.issuer.break_down();
    assert!(house.subscribe(&token).await.head.starts_with("HTTP/1.1 200"));
    house.server.metric_becomes("weir_auth_keys{pipeline=\"orders\"} ", 1).await;
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_ends_nobody_for_good() {
    let pair = Pair::new("first", Algorithm::EdDSA);
    let issuer = Issuer::start(&[&pair]).await;
    issuer.break_down();
    let server = Server::start(&manifest(&issuer, "", "")).await;
    let token = pair.sign(&claims(&json!({"scope": "read write"})));
    let mut waiting =
        Sse::open(server.public, "/orders/sse", &[("authorization", &bearer(&token))]).await;
    assert!(waiting.head.starts_with("HTTP/1.1 200"));
    let told = waiting.next().await.unwrap();
    assert_eq!(told.name, "failure");
    assert!(told.data.contains("keys_unavailable") && waiting.retry.is_some(), "{told:?}");
    let mut socket = server.web_socket_with(&[("authorization", &bearer(&token))]).await;
    assert_eq!(socket.next_json().await["code"], "keys_unavailable");
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1013))));
    let publish = Request::post("/orders/events").header("authorization", &bearer(&token));
    let answer = publish.body("1").send(server.public).await;
    assert_eq!(answer.status, 503);
    assert!(answer.head.to_lowercase().contains("\r\nretry-after: "), "{}", answer.head);
    // The operator is told so, and why.
    let KeysSample { healthy, message } = sampled(&server).await.unwrap();
    assert!(!healthy && message.as_ref().unwrap().contains("500"), "{message:?}");
    issuer.publish(&[&pair]);
    opens_in_time(&server, &token).await;
    assert_eq!(sampled(&server).await, Some(KeysSample { healthy: true, message: None }));
}

/// What the operator is told of the keys.
async fn sampled(server: &Server) -> Option<KeysSample> {
    let samples: Samples = serde_json::from_slice(&server.admin("/samples").await.body).unwrap();
    samples.pipelines[0].keys.clone()
}

#[tokio::test]
async fn keys_come_from_a_mounted_secret_and_change_with_it() {
    let secrets = tempfile::tempdir().unwrap();
    let [first, second] = ["a", "b"].map(|kid| Pair::new(kid, Algorithm::EdDSA));
    let file = secrets.path().join("orders-keys/jwks.json");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, set(&[&first])).unwrap();
    let spec = format!(
        "
placement: {{gateway: {{replicas: 1}}}}
sources: [{{name: app, http: {{}}}}]
endpoints: {{sse: {{}}, publish: {{anonymous: true}}}}
auth:
  jwt:
    issuer: {ISSUER}
    audiences: [orders]
    jwks: {{secretName: orders-keys, key: jwks.json}}
"
    );
    let server = Server::start_in(secrets.path(), &spec).await;
    opens_in_time(&server, &first.sign(&claims(&json!({})))).await;
    std::fs::write(&file, set(&[&second])).unwrap();
    opens_in_time(&server, &second.sign(&claims(&json!({})))).await;
}

#[tokio::test]
async fn an_issuer_is_believed_for_whom_the_named_authority_vouches_and_no_other() {
    let pair = Pair::new("first", Algorithm::EdDSA);
    let issuer = Issuer::start_over_tls(&[&pair]).await;
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("id-ca/ca.crt");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, include_str!("../certificates/other.crt")).unwrap();
    let url = format!("https://localhost:{}/jwks.json?v=1", issuer.address.port());
    let spec = |ca: &str| {
        format!(
            "
placement: {{gateway: {{replicas: 1}}}}
sources: [{{name: app, http: {{}}}}]
endpoints: {{sse: {{}}, publish: {{anonymous: true}}}}
auth:
  jwt: {{issuer: {ISSUER}, audiences: [orders], jwksUrl: '{url}'{ca}}}
"
        )
    };
    let named = spec(", ca: {secretName: id-ca, key: ca.crt}");
    let failed = "weir_auth_key_readings_total{pipeline=\"orders\",result=\"failed\"} ";
    let read = "weir_auth_key_readings_total{pipeline=\"orders\",result=\"read\"} ";
    // By whom browsers trust nobody vouches for it, and neither does another authority.
    for (spec, what) in [(spec(""), "browsers"), (named.clone(), "another")] {
        let server = Server::start_in(secrets.path(), &spec).await;
        let deadline = Instant::now() + PATIENCE;
        while server.metric(failed).await == Some(0) {
            assert!(Instant::now() < deadline, "{what}");
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(server.metric(read).await, Some(0), "{what}");
    }
    let server = Server::start_in(secrets.path(), &named).await;
    // The authority is exchanged, and the next reading sees it.
    std::fs::write(&file, AUTHORITY).unwrap();
    opens_in_time(&server, &pair.sign(&claims(&json!({})))).await;
}

#[tokio::test]
async fn an_issuer_that_never_ends_its_answer_is_given_up_and_the_last_keys_stay_good() {
    let house = House::open().await;
    let token = house.token(&json!({}));
    assert!(house.subscribe(&token).await.head.starts_with("HTTP/1.1 200"));
    let stranger = Pair::new("stranger", Algorithm::EdDSA).sign(&claims(&json!({})));
    let failed = "weir_auth_key_readings_total{pipeline=\"orders\",result=\"failed\"} ";
    // A stranger's token has the keys read again, as soon as that may be.
    let given_up = async |times: u64| {
        let deadline = Instant::now() + 2 * PATIENCE;
        while house.server.metric(failed).await < Some(times) {
            assert!(Instant::now() < deadline, "{times}");
            assert_eq!(house.get(&stranger).await.status, 401);
            sleep(Duration::from_millis(100)).await;
        }
    };
    house.issuer.dawdle();
    given_up(1).await;
    house.issuer.flood();
    let before = house.server.metric(failed).await.unwrap();
    // One more may have been slow.
    given_up(before + 2).await;
    let flooded = house.issuer.flooded.load(std::sync::atomic::Ordering::Relaxed);
    // What the sockets between the two hold, beside a quarter of a megabyte each time.
    assert!((1..32 << 20).contains(&flooded), "{flooded}");
    assert!(house.subscribe(&token).await.head.starts_with("HTTP/1.1 200"));
    assert_eq!(house.server.metric("weir_auth_keys{pipeline=\"orders\"} ").await, Some(1));
    let second = Pair::new("second", Algorithm::EdDSA);
    house.issuer.publish(&[&second]);
    opens_in_time(&house.server, &second.sign(&claims(&json!({})))).await;
}
