//! Pages of other origins: what browsers are told, and what is refused in spite of them.

use serde_json::json;

use super::{House, bearer, header};
use crate::client::{Answer, Request, WebSocket};

const CORS: &str = ", cors: {allowedOrigins: ['https://shop.example'], allowCredentials: true}";
const COOKIE: &str = "  cookie: {name: session, allowedOrigins: ['https://shop.example']}";
const SHOP: (&str, &str) = ("origin", "https://shop.example");
const EVIL: (&str, &str) = ("origin", "https://evil.example");

async fn ask(house: &House, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::new(method, path);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    request.send(house.server.public).await
}

#[tokio::test]
async fn a_cookie_is_taken_only_of_pages_that_are_named() {
    let house = House::open_with(COOKIE, "").await;
    let cookie = format!("theme=dark; session={}", house.token(&json!({"scope": "read write"})));
    let cookie = ("cookie", cookie.as_str());
    let opened = house.sse("/orders/sse", &[cookie, SHOP]).await;
    assert!(opened.head.starts_with("HTTP/1.1 200"));
    let opened = house.sse("/orders/sse", &[cookie, ("sec-fetch-site", "same-origin")]).await;
    assert!(opened.head.starts_with("HTTP/1.1 200"));
    assert_eq!(house.publish(&[cookie, SHOP]).await.status, 200);
    for headers in [&[cookie, EVIL][..], &[cookie], &[cookie, ("origin", "null")]] {
        assert_eq!(ask(&house, "GET", "/orders/sse", headers).await.status, 403, "{headers:?}");
        assert_eq!(house.publish(headers).await.status, 403, "{headers:?}");
        let socket = WebSocket::open_with(house.server.public, "/orders/ws", headers).await;
        assert!(socket.head.starts_with("HTTP/1.1 403"), "{headers:?}: {}", socket.head);
    }
    let socket = WebSocket::open_with(house.server.public, "/orders/ws", &[cookie, SHOP]).await;
    assert!(socket.head.starts_with("HTTP/1.1 101"), "{}", socket.head);
    house.refused("origin_not_allowed", 9).await;
}

#[tokio::test]
async fn a_preflight_is_answered_on_every_path_and_for_named_origins_alone() {
    let house = House::open_with("", CORS).await;
    let method = ("access-control-request-method", "POST");
    let wanted = ("access-control-request-headers", "authorization,content-type");
    for path in ["/orders/sse", "/orders/ws", "/orders/events", "/orders/ticket", "/orders/nothing"]
    {
        let answer = ask(&house, "OPTIONS", path, &[SHOP, method, wanted]).await;
        assert_eq!(answer.status, 204, "{path}");
        for (name, value) in [
            ("access-control-allow-origin", "https://shop.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "authorization,content-type"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(header(&answer.head, name), Some(value), "{path}");
        }
        assert!(header(&answer.head, "access-control-allow-methods").unwrap().contains("POST"));
        let answer = ask(&house, "OPTIONS", path, &[EVIL, method]).await;
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(header(&answer.head, "access-control-allow-origin"), None);
        assert_eq!(header(&answer.head, "vary"), Some("origin"));
    }
    assert_eq!(ask(&house, "OPTIONS", "/orders/events", &[SHOP]).await.status, 405);
    assert_eq!(ask(&house, "OPTIONS", "/other/events", &[SHOP, method]).await.status, 405);
}

#[tokio::test]
async fn every_answer_says_which_page_may_read_it() {
    let house = House::open_with("", CORS).await;
    let token = bearer(&house.token(&json!({"scope": "read write"})));
    let token = ("authorization", token.as_str());
    let stream = house.sse("/orders/sse", &[token, SHOP]).await;
    assert!(stream.head.starts_with("HTTP/1.1 200"));
    let answers = [
        (200, house.publish(&[token, SHOP]).await.head),
        (401, ask(&house, "GET", "/orders/sse", &[SHOP]).await.head),
        (401, house.publish(&[SHOP]).await.head),
        (400, ask(&house, "GET", "/orders/sse?from=never", &[token, SHOP]).await.head),
        (404, ask(&house, "GET", "/orders/nothing", &[SHOP]).await.head),
        (405, ask(&house, "DELETE", "/orders/sse", &[SHOP]).await.head),
        (200, stream.head),
    ];
    for (status, head) in &answers {
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert_eq!(
            header(head, "access-control-allow-origin"),
            Some("https://shop.example"),
            "{head}"
        );
        assert_eq!(header(head, "access-control-allow-credentials"), Some("true"), "{head}");
        assert!(head.contains("vary: origin\r\n"), "{head}");
        assert!(header(head, "access-control-expose-headers").is_some(), "{head}");
    }
    let head = ask(&house, "GET", "/orders/sse", &[EVIL]).await.head;
    assert_eq!(header(&head, "access-control-allow-origin"), None);
    assert_eq!(header(&head, "vary"), Some("origin"));
}

#[tokio::test]
async fn a_page_that_is_not_named_opens_no_web_socket_whatever_token_it_has() {
    let house = House::open_with("", CORS).await;
    let token = bearer(&house.token(&json!({})));
    let token = ("authorization", token.as_str());
    let public = house.server.public;
    for (headers, status) in [(&[token, EVIL][..], 403), (&[token, SHOP], 101), (&[token], 101)] {
        let socket = WebSocket::open_with(public, "/orders/ws", headers).await;
        assert!(
            socket.head.starts_with(&format!("HTTP/1.1 {status}")),
            "{headers:?}: {}",
            socket.head
        );
    }
    house.refused("origin_not_allowed", 1).await;
}

#[tokio::test]
async fn without_rules_for_pages_browsers_are_told_nothing() {
    let house = House::open().await;
    let head = ask(&house, "GET", "/orders/sse", &[SHOP]).await.head;
    assert!(!head.to_lowercase().contains("access-control"), "{head}");
    let method = ("access-control-request-method", "POST");
    assert_eq!(ask(&house, "OPTIONS", "/orders/events", &[SHOP, method]).await.status, 405);
}
