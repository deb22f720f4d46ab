//! `weir.v1`: each pipeline that a session asks for judges its client by its own terms.

use serde_json::{Value, json};
use tokio::net::TcpStream;
use weir_sidecar::config::Config;

use super::{
    House, bearer,
    issuer::{Issuer, Pair, claims, now},
    manifest,
};
use crate::{
    client::{Frame, Request, WebSocket},
    fixture::{OPEN, Server, config},
    session::Client,
};

/// A second pipeline, whose terms differ by its audience.
fn beside(mut first: Config, name: &str, spec: &str) -> Config {
    let mut other = config(spec, None).pipelines["orders"].clone();
    name.clone_into(&mut other.name);
    first.pipelines.insert(name.to_owned(), other);
    first
}

/// `orders` and, for the audience `bills`, `bills`.
async fn two(auth: &str, auth_of_bills: &str) -> House {
    let pair = Pair::new("first", jsonwebtoken::Algorithm::EdDSA);
    let issuer = Issuer::start(&[&pair]).await;
    let bills = manifest(&issuer, auth_of_bills, "").replace("[orders]", "[bills]");
    let config = beside(config(&manifest(&issuer, auth, ""), None), "bills", &bills);
    House { server: Server::start_with(config).await, issuer, pair }
}

/// A session, whose first message was the right one.
pub(super) async fn open(server: &Server, path: &str, headers: &[(&str, &str)]) -> Client {
    let headers = [&[("sec-websocket-protocol", "weir.v1")], headers].concat();
    let socket = TcpStream::connect(server.public).await.unwrap();
    let socket = WebSocket::shake_hands(Box::new(socket), path, &headers).await;
    assert!(socket.head.starts_with("HTTP/1.1 101"), "{}", socket.head);
    let mut client = Client(socket);
    client.expect("hello").await;
    client
}

async fn with_token(house: &House, changes: &Value) -> Client {
    let token = bearer(&house.token(changes));
    open(&house.server, "/orders/ws", &[("authorization", &token)]).await
}

fn subscribe(id: &str, pipeline: &str) -> Value {
    json!({"type": "subscribe", "id": id, "pipeline": pipeline})
}

fn publish(pipeline: &str) -> Value {
    json!({"type": "publish", "id": "p", "pipeline": pipeline, "data": 1})
}

async fn refused(client: &mut Client, message: Value, code: &str) {
    let of = message["type"].clone();
    let failure = client.ask(message, "failure").await;
    assert_eq!((&failure["of"], &failure["code"]), (&of, &json!(code)), "{failure}");
}

#[tokio::test]
async fn a_token_for_one_pipeline_opens_no_other() {
    let house = two("", "").await;
    let mut client = with_token(&house, &json!({"scope": "read write"})).await;
    client.ask(subscribe("a", "orders"), "subscribed").await;
    refused(&mut client, subscribe("b", "bills"), "token_audience").await;
    refused(&mut client, publish("bills"), "token_audience").await;
    // What was refused took nothing away, and the name is free.
    client.ask(json!({"type": "unsubscribe", "id": "a"}), "unsubscribed").await;
    client.ask(subscribe("b", "orders"), "subscribed").await;
    let counted = "weir_auth_refused_total{pipeline=\"bills\",reason=\"token_audience\"} ";
    house.server.metric_becomes(counted, 2).await;
    let connections = "weir_connections{pipeline=\"bills\",transport=\"websocket\"}";
    assert_eq!(house.server.metric(connections).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_token_for_both_has_the_rights_that_each_gives() {
    let house = two("", "").await;
    let both = json!(["orders", "bills"]);
    let mut reader = with_token(&house, &json!({"aud": both, "scope": "read"})).await;
    reader.ask(subscribe("a", "orders"), "subscribed").await;
    reader.ask(subscribe("b", "bills"), "subscribed").await;
    refused(&mut reader, publish("orders"), "no_right_to_publish").await;
    refused(&mut reader, publish("bills"), "no_right_to_publish").await;
    let mut writer = with_token(&house, &json!({"aud": both, "scope": "read write"})).await;
    writer.ask(publish("bills"), "published").await;
    let told = reader.expect("events").await;
    assert_eq!((&told["id"], &told["events"][0]["data"]), (&json!("b"), &json!(1)));
}

#[tokio::test]
async fn from_an_open_pipeline_the_token_that_was_shown_leads_to_a_closed_one() {
    let pair = Pair::new("first", jsonwebtoken::Algorithm::EdDSA);
    let issuer = Issuer::start(&[&pair]).await;
    let config = beside(config(OPEN, None), "closed", &manifest(&issuer, "", ""));
    let server = Server::start_with(config).await;
    let mut stranger = open(&server, "/orders/ws", &[]).await;
    stranger.ask(subscribe("a", "orders"), "subscribed").await;
    refused(&mut stranger, subscribe("b", "closed"), "token_missing").await;
    refused(&mut stranger, publish("closed"), "token_missing").await;
    let forged = Pair::new("first", jsonwebtoken::Algorithm::EdDSA).sign(&claims(&json!({})));
    let mut forger = open(&server, "/orders/ws", &[("authorization", &bearer(&forged))]).await;
    refused(&mut forger, subscribe("b", "closed"), "token_signature").await;
    let token = bearer(&pair.sign(&claims(&json!({"exp": now() + 2}))));
    let mut known = open(&server, "/orders/ws", &[("authorization", &token)]).await;
    known.ask(subscribe("b", "closed"), "subscribed").await;
    // What was granted by the token ends with it.
    ends_with_the_token(&mut known, "b").await;
}

async fn ends_with_the_token(client: &mut Client, id: &str) {
    let told = client.expect("failure").await;
    assert_eq!((&told["of"], &told["code"]), (&json!("subscription"), &json!("token_expired")));
    assert_eq!(told["id"], id);
    assert!(told["cursor"].is_string() && told["retry"].is_u64(), "{told}");
    assert_eq!(client.0.next().await, Some(Frame::Close(Some(1008))));
    assert_eq!(client.0.close_hint()["retry"], told["retry"]);
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_a_new_one_goes_on_from_there() {
    let house = House::open().await;
    let mut client = with_token(&house, &json!({"exp": now() + 2})).await;
    client.ask(subscribe("a", "orders"), "subscribed").await;
    house.server.post("1").await;
    let (_, cursor) = client.events("a", 1).await;
    let told = client.expect("failure").await;
    assert_eq!((&told["code"], &told["cursor"]), (&json!("token_expired"), &json!(cursor)));
    assert_eq!(client.0.next().await, Some(Frame::Close(Some(1008))));
    house.server.post("2").await;
    let mut again = with_token(&house, &json!({})).await;
    again.ask(json!({"type": "subscribe", "id": "a", "cursor": cursor}), "subscribed").await;
    assert_eq!(again.events("a", 1).await.0, [2]);
    house.server.metric_becomes("weir_connections_expired_total{pipeline=\"orders\"} ", 1).await;
}

#[tokio::test]
async fn a_page_that_one_pipeline_trusts_is_a_stranger_to_the_other() {
    let cookie = |origin| format!("  cookie: {{name: session, allowedOrigins: ['{origin}']}}");
    let house = two(&cookie("https://shop.example"), &cookie("https://bank.example")).await;
    let token = house.token(&json!({"aud": ["orders", "bills"], "scope": "read write"}));
    let session = format!("session={token}");
    let headers = [("cookie", session.as_str()), ("origin", "https://shop.example")];
    let mut client = open(&house.server, "/orders/ws", &headers).await;
    client.ask(subscribe("a", "orders"), "subscribed").await;
    refused(&mut client, subscribe("b", "bills"), "origin_not_allowed").await;
    refused(&mut client, publish("bills"), "origin_not_allowed").await;
}

#[tokio::test]
async fn a_ticket_lets_in_to_its_own_pipeline_and_publishes_nothing() {
    let house = two("  tickets: {}", "  tickets: {}").await;
    let all = json!({"aud": ["orders", "bills"], "scope": "read write"});
    let request = Request::post("/orders/ticket");
    let request = request.header("authorization", &bearer(&house.token(&all)));
    let ticket = request.send(house.server.public).await.json()["ticket"].clone();
    let path = format!("/orders/ws?ticket={}", ticket.as_str().unwrap());
    let mut client = open(&house.server, &path, &[]).await;
    client.ask(subscribe("a", "orders"), "subscribed").await;
    client.ask(subscribe("b", "orders"), "subscribed").await;
    refused(&mut client, subscribe("c", "bills"), "token_missing").await;
    refused(&mut client, publish("orders"), "token_missing").await;
    let again = WebSocket::open_with(house.server.public, &path, &[]).await;
    assert!(again.head.starts_with("HTTP/1.1 401"), "{}", again.head);
}

#[tokio::test]
async fn other_terms_of_one_pipeline_end_the_subscriptions_to_it_alone() {
    let house = two("", "").await;
    let both = json!({"aud": ["orders", "bills"]});
    let mut client = with_token(&house, &both).await;
    client.ask(subscribe("a", "orders"), "subscribed").await;
    client.ask(subscribe("b", "bills"), "subscribed").await;
    let bills = manifest(&house.issuer, "", "").replace("[orders]", "[accounts]");
    let changed = beside(config(&manifest(&house.issuer, "", ""), None), "bills", &bills);
    house.server.app.apply(changed);
    assert_eq!(client.expect("draining").await["id"], "b");
    refused(&mut client, subscribe("b", "bills"), "token_audience").await;
    house.server.post("1").await;
    assert_eq!(client.events("a", 1).await.0, [1]);
}
