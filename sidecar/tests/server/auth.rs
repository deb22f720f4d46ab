//! Tokens, tickets and cookies; rights; pages of other origins. A real issuer publishes real keys.

mod expired;
mod filtered;
mod http2;
mod issuer;
mod keys;
mod pages;
mod reads;
mod sessions;
mod streams;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use self::issuer::{ISSUER, Issuer, Pair, claims, now};
use crate::{
    client::{Answer, Request, Sse},
    fixture::{PATIENCE, Server},
};

/// A pipeline whose subscribers may all read, and whose publishers must be allowed to write.
struct House {
    server: Server,
    issuer: Issuer,
    pair: Pair,
}

impl House {
    async fn open() -> Self {
        Self::open_with("", "").await
    }

    /// With more in `auth`, and in `endpoints`.
    async fn open_with(auth: &str, endpoints: &str) -> Self {
        let pair = Pair::new("first", Algorithm::EdDSA);
        let issuer = Issuer::start(&[&pair]).await;
        let server = Server::start(&manifest(&issuer, auth, endpoints)).await;
        Self { server, issuer, pair }
    }

    fn token(&self, changes: &Value) -> String {
        self.pair.sign(&claims(changes))
    }

    /// Asks for the stream. Only what is refused has an end.
    async fn get(&self, token: &str) -> Answer {
        let request = Request::get("/orders/sse").header("authorization", &bearer(token));
        request.send(self.server.public).await
    }

    async fn subscribe(&self, token: &str) -> Sse {
        self.sse("/orders/sse", &[("authorization", &bearer(token))]).await
    }

    async fn sse(&self, path: &str, headers: &[(&str, &str)]) -> Sse {
        Sse::open(self.server.public, path, headers).await
    }

    async fn publish(&self, headers: &[(&str, &str)]) -> Answer {
        let request = Request::post("/orders/events").header("content-type", "application/json");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.body("1").send(self.server.public).await
    }

    /// Waits until so many requests were refused for this reason.
    async fn refused(&self, reason: &str, count: u64) {
        let metric = format!("weir_auth_refused_total{{pipeline=\"orders\",reason=\"{reason}\"}} ");
        self.server.metric_becomes(&metric, count).await;
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn manifest(issuer: &Issuer, auth: &str, endpoints: &str) -> String {
    format!(
        "
placement: {{gateway: {{replicas: 1}}}}
sources: [{{name: app, http: {{}}}}]
endpoints: {{sse: {{}}, websocket: {{}}, publish: {{}}{endpoints}}}
auth:
  jwt:
    issuer: {ISSUER}
    audiences: [orders]
    jwksUrl: {}
    leeway: 0s
    subscribe: {{claim: scope, anyOf: [read]}}
    publish: {{claim: scope, anyOf: [write]}}
{auth}
",
        issuer.url()
    )
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value)
}

#[tokio::test]
async fn a_stream_opens_for_a_good_token_and_for_nothing_else() {
    let house = House::open().await;
    let good = house.token(&json!({}));
    assert!(house.subscribe(&good).await.head.starts_with("HTTP/1.1 200"));
    let nothing = Request::get("/orders/sse").send(house.server.public).await;
    assert_eq!(nothing.status, 401);
    assert_eq!(header(&nothing.head, "www-authenticate"), Some("Bearer realm=\"orders\""));
    let stranger = Pair::new("stranger", Algorithm::EdDSA);
    let (head, tail) = good.rsplit_once('.').unwrap();
    let other = house.token(&json!({"sub": "bob"}));
    for (token, reason) in [
        (house.token(&json!({"exp": now() - 1})), "token_expired"),
        (house.token(&json!({"exp": null})), "token_malformed"),
        (house.token(&json!({"nbf": now() + 60})), "token_not_yet_valid"),
        (house.token(&json!({"iss": "https://other.example"})), "token_issuer"),
        (house.token(&json!({"aud": ["bills"]})), "token_audience"),
        (stranger.sign(&claims(&json!({}))), "token_key_unknown"),
        (stranger.sign_as("first", &claims(&json!({}))), "token_signature"),
        (format!("{head}.{}", other.rsplit_once('.').unwrap().1), "token_signature"),
        (format!("{}.{tail}", other.rsplit_once('.').unwrap().0), "token_signature"),
        ("not.a.token".to_owned(), "token_malformed"),
        ("nonsense".to_owned(), "token_malformed"),
    ] {
        let answer = house.get(&token).await;
        assert_eq!(answer.status, 401, "{reason}");
        let challenge = header(&answer.head, "www-authenticate").unwrap();
        let expected = format!(
            "Bearer realm=\"orders\", error=\"invalid_token\", error_description=\"{reason}\""
        );
        assert_eq!(challenge, expected);
        assert_eq!(header(&answer.head, "cache-control"), Some("no-store"));
        let problem = answer.json();
        assert_eq!(problem["type"], format!("tag:weir.dev,2026:problem/{reason}"));
        assert!(!answer.text().contains(&token));
    }
    house.refused("token_signature", 3).await;
    house.refused("token_missing", 1).await;
    house.refused("token_key_unknown", 1).await;
}

#[tokio::test]
async fn a_key_verifies_its_own_algorithm_and_no_secret_is_a_key() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let all = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    let pairs = all.map(|algorithm| Pair::new(&format!("{algorithm:?}"), algorithm));
    let issuer = Issuer::start(&pairs.each_ref()).await;
    let server = Server::start(&manifest(&issuer, "", "")).await;
    let ask = async |token: String| {
        Sse::open(server.public, "/orders/sse", &[("authorization", &bearer(&token))]).await.head
    };
    for pair in &pairs {
        let head = ask(pair.sign(&claims(&json!({})))).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{:?}: {head}", pair.algorithm);
    }
    // Each signed as by another's key.
    for (pair, other) in pairs.iter().zip(pairs.iter().skip(1)) {
        let head = ask(pair.sign_as(&other.kid, &claims(&json!({})))).await;
        assert!(head.starts_with("HTTP/1.1 401"), "{:?}: {head}", pair.algorithm);
        assert!(head.contains("token_algorithm"), "{head}");
    }
    // What an attacker can make without a key: no signature, or one by what everybody knows.
    let payload = URL_SAFE_NO_PAD.encode(claims(&json!({})).to_string());
    for alg in ["none", "None", "HS256"] {
        let header = json!({"alg": alg, "kid": "RS256"}).to_string();
        let message = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
        let secret = pairs[0].public()["n"].as_str().unwrap().to_owned();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()));
        let head = ask(format!("{message}.{tag}")).await;
        assert!(head.contains("401") && head.contains("token_algorithm"), "{alg}: {head}");
        let head = ask(format!("{message}.")).await;
        assert!(head.contains("401") && head.contains("token_algorithm"), "{alg}: {head}");
    }
}

#[tokio::test]
async fn to_subscribe_and_to_publish_are_two_rights() {
    let house = House::open().await;
    let [reader, writer] =
        ["read", "openid write"].map(|scope| house.token(&json!({"scope": scope})));
    let mut stream = house.subscribe(&reader).await;
    assert_eq!(house.publish(&[("authorization", &bearer(&writer))]).await.status, 200);
    assert_eq!(stream.next_data().await, "1");
    let refused = house.get(&writer).await;
    assert_eq!(refused.status, 403);
    let expected = "Bearer realm=\"orders\", error=\"insufficient_scope\", error_description=\"no_right_to_subscribe\"";
    assert_eq!(header(&refused.head, "www-authenticate"), Some(expected));
    let refused = house.publish(&[("authorization", &bearer(&reader))]).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["type"], "tag:weir.dev,2026:problem/no_right_to_publish");
    assert_eq!(house.publish(&[]).await.status, 401);
    // The application needs no token, and shows none.
    assert_eq!(house.server.post("2").await.status, 200);
    assert_eq!(stream.next_data().await, "2");
    house.refused("no_right_to_publish", 1).await;
    house.refused("no_right_to_subscribe", 1).await;
}

#[tokio::test]
async fn a_token_in_a_url_is_refused_with_what_to_do_instead() {
    let house = House::open().await;
    let token = house.token(&json!({}));
    let url = format!("/orders/sse?access_token={token}");
    let answer = Request::get(&url).send(house.server.public).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("exchange it for a ticket"), "{}", answer.text());
    assert!(!answer.text().contains(&token));
    house.refused("token_in_url", 1).await;
    // Nor does it pass where nobody asks for one.
    let open = Server::start(crate::fixture::OPEN).await;
    for path in ["/orders/sse", "/orders/ws", "/orders/events"] {
        let url = format!("{path}?access_token={token}");
        let asked = Request::get(&url).send(open.public).await;
        assert_eq!(asked.status, if path == "/orders/events" { 404 } else { 400 }, "{asked:?}");
        assert!(!asked.text().contains(&token));
    }
    let publish = format!("/orders/events?access_token={token}");
    assert_eq!(Request::post(&publish).body("1").send(open.public).await.status, 400);
}

#[tokio::test]
async fn a_ticket_that_opened_no_stream_is_as_good_as_before() {
    let house =
        House::open_with("  tickets: {ttl: 30s}\ndelivery: {maxConnections: 1}", ", read: {}")
            .await;
    let request = Request::post("/orders/ticket");
    let request = request.header("authorization", &bearer(&house.token(&json!({}))));
    let ticket = request.send(house.server.public).await.json()["ticket"].clone();
    let url = |rest: &str| format!("/orders/sse?ticket={}{rest}", ticket.as_str().unwrap());
    let first = house.subscribe(&house.token(&json!({}))).await;
    for (rest, status) in
        [("&filter=%29", 400), ("&from=yesterday", 400), ("&filtr=true", 400), ("", 503)]
    {
        let refused = Request::get(&url(rest)).send(house.server.public).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    // An EventSource that was told to come back comes with the same URL.
    let mut told = house.sse(&url(""), &[]).await;
    assert!(told.next().await.unwrap().data.contains("too_many_connections"));
    let socket = url("").replace("/sse", "/ws");
    let socket = crate::client::WebSocket::shake_hands(
        Box::new(tokio::net::TcpStream::connect(house.server.public).await.unwrap()),
        &socket,
        &[],
    );
    assert_eq!(socket.await.next_json().await["code"], "too_many_connections");
    drop(first);
    house
        .server
        .metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 0)
        .await;
    let all = (0..8).map(|_| {
        let (public, url) = (house.server.public, url(""));
        tokio::spawn(async move { Sse::open(public, &url, &[]).await })
    });
    let mut statuses = Vec::new();
    for one in all.collect::<Vec<_>>() {
        let head = one.await.unwrap().head;
        statuses.push(head.split(' ').nth(1).unwrap().to_owned());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, ["200", "401", "401", "401", "401", "401", "401", "401"]);
}

#[tokio::test]
async fn a_ticket_opens_one_stream() {
    let house = House::open_with("  tickets: {ttl: 30s}", "").await;
    let public = house.server.public;
    let ask = async |token: &str| {
        Request::post("/orders/ticket").header("authorization", &bearer(token)).send(public).await
    };
    let answer = ask(&house.token(&json!({}))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(header(&answer.head, "cache-control"), Some("no-store"));
    assert_eq!(answer.json()["expires_in"], 30);
    let url = format!("/orders/sse?ticket={}", answer.json()["ticket"].as_str().unwrap());
    let mut stream = house.sse(&url, &[]).await;
    house.server.post("1").await;
    assert_eq!(stream.next_data().await, "1");
    let again = Request::get(&url).send(public).await;
    assert_eq!(again.status, 401);
    house.refused("ticket_invalid", 1).await;
    // A ticket is no token: it publishes nothing.
    let ticket = ask(&house.token(&json!({"scope": "read write"}))).await.json()["ticket"].clone();
    let url = format!("/orders/events?ticket={}", ticket.as_str().unwrap());
    assert_eq!(Request::post(&url).body("1").send(public).await.status, 401);
    // Whoever may not subscribe gets none, nor does who shows nothing.
    assert_eq!(ask(&house.token(&json!({"scope": "write"}))).await.status, 403);
    assert_eq!(Request::post("/orders/ticket").send(public).await.status, 401);
    assert_eq!(Request::get("/orders/ticket").send(public).await.status, 405);
}

#[tokio::test]
async fn without_tickets_there_is_no_way_to_get_one() {
    let house = House::open().await;
    let request = Request::post("/orders/ticket");
    let answer = request.header("authorization", &bearer(&house.token(&json!({}))));
    let answer = answer.send(house.server.public).await;
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("spec.auth.tickets"));
}

#[tokio::test]
async fn whoever_needs_no_token_gets_in_and_one_that_is_shown_is_verified() {
    let house = House::open_with("  anonymous: true", "").await;
    let opened = house.sse("/orders/sse", &[]).await;
    assert!(opened.head.starts_with("HTTP/1.1 200"));
    assert_eq!(house.get("a.b.c").await.status, 401);
    let writer = house.token(&json!({"scope": "write"}));
    assert!(house.subscribe(&writer).await.head.starts_with("HTTP/1.1 200"));
    assert_eq!(house.publish(&[]).await.status, 401);
}

#[tokio::test]
async fn who_publishes_much_without_a_right_reads_why() {
    let house = House::open_with("", ", durableStreams: {}").await;
    let reader = bearer(&house.token(&json!({"scope": "read"})));
    let large = "x".repeat(5 << 20);
    for (method, path) in [("POST", "/orders/events"), ("PUT", "/orders/streams/a")] {
        let ask = || Request::new(method, path).header("content-type", "application/json");
        let nothing = ask().body(&large).send(house.server.public).await;
        assert_eq!(nothing.status, 401, "{path}");
        assert!(nothing.text().contains("token_missing"), "{}", nothing.text());
        let reader = ask().header("authorization", &reader).body(&large);
        assert_eq!(reader.send(house.server.public).await.status, 403, "{path}");
    }
}
