//! Subscribers whose wishes stand in the body of the request: what they get, and what is refused.

use http::Method;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    client::{Request, Sse},
    fixture::{OPEN, Server},
    h2_client::{Http2, request},
};

const FORM: &str = "application/x-www-form-urlencoded";

/// The last of ten events, by an expression that is longer than it need be, as `URLSearchParams` writes it.
fn last(length: usize) -> String {
    let filter =
        format!("event.data.n+%3D%3D+9{}", "+%7C%7C+event.data.n+%3D%3D+99".repeat(length));
    format!("from=earliest&filter={filter}")
}

async fn with_ten() -> Server {
    let server = Server::start(OPEN).await;
    server.post_numbers(0..10).await;
    server
}

/// Subscribes over HTTP/1.1 by these pieces of a request, each sent by itself.
async fn subscribe(server: &Server, pieces: &[&str]) -> Sse {
    let mut socket = TcpStream::connect(server.public).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for piece in pieces {
        socket.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    Sse::answered(Box::new(socket)).await
}

#[tokio::test]
async fn a_form_asks_for_what_a_query_does() {
    let server = with_ten().await;
    let form = last(50);
    for method in ["POST", "QUERY"] {
        let head = format!(
            "{method} /orders/sse HTTP/1.1\r\nhost: t\r\ncontent-type: {FORM};charset=UTF-8\r\n"
        );
        let sized = format!("{head}content-length: {}\r\n\r\n", form.len());
        let (half, rest) = form.split_at(form.len() / 2);
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
        let chunk = |piece: &str| format!("{:x}\r\n{piece}\r\n", piece.len());
        for pieces in [
            &[&*format!("{sized}{form}")][..],
            &[&sized, half, rest],
            &[&chunked, &chunk(half), &chunk(rest), "0\r\nx-trailer: 1\r\n\r\n"],
        ] {
            let mut sse = subscribe(&server, pieces).await;
            assert!(sse.head.contains("200"), "{}", sse.head);
            assert_eq!(sse.next_data().await, "{\"n\":9}", "{method}");
        }
        let over = Http2::connect(server.public).await;
        let asking = request(Method::from_bytes(method.as_bytes()).unwrap(), "/orders/sse");
        let asking = asking.header("content-type", FORM).body(()).unwrap();
        let mut sse = over.subscribe(asking, Some(form.clone().into())).await;
        assert_eq!(sse.next_data().await, "{\"n\":9}", "{method} over HTTP/2");
    }
    // They go on with what comes.
    let form = "filter=event.data.n+%3E%3D+9&_=1";
    let asking = format!(
        "POST /orders/sse?from=earliest HTTP/1.1\r\nhost: t\r\ncontent-type: {FORM}\r\n\
         content-length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut sse = subscribe(&server, &[&asking]).await;
    assert_eq!(sse.next_data().await, "{\"n\":9}");
    server.post_numbers(10..12).await;
    for n in 10..12 {
        assert_eq!(sse.next_data().await, format!("{{\"n\":{n}}}"));
    }
    assert!(sse.head.to_ascii_lowercase().contains("text/event-stream"), "{}", sse.head);
}

/// A client need send nothing more.
#[tokio::test]
async fn who_has_sent_a_form_and_says_no_more_is_served() {
    let server = with_ten().await;
    for _ in 0..20 {
        let form = "from=earliest";
        let asking = format!(
            "POST /orders/sse HTTP/1.1\r\nhost: t\r\ncontent-type: {FORM}\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        let mut socket = TcpStream::connect(server.public).await.unwrap();
        socket.write_all(asking.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut sse = Sse::answered(Box::new(socket)).await;
        assert_eq!(sse.next_data().await, "{\"n\":0}");
    }
}

#[tokio::test]
async fn a_form_that_can_not_be_read_is_refused_by_name() {
    let server = with_ten().await;
    for (path, kind, body, status, told) in [
        ("/orders/sse", "application/json", "{}", 415, FORM),
        ("/orders/sse", FORM, "filtre=true", 400, "perhaps filter"),
        ("/orders/sse?filter=true", FORM, "filter=false", 400, "filter twice"),
        ("/orders/sse", FORM, "filter=event.(", 400, "filter"),
        ("/orders/sse", FORM, &*last(1_000), 413, "shorten the filter"),
        ("/nothing/sse", FORM, "", 404, "served are: orders"),
    ] {
        for method in ["POST", "QUERY"] {
            let asking = Request::new(method, path).header("content-type", kind).body(body);
            let answer = asking.send(server.public).await;
            assert_eq!(answer.status, status, "{}", answer.text());
            assert!(answer.text().contains(told), "{}", answer.text());
        }
    }
    let odd = Request::post("/orders/sse").header("content-type", FORM).bytes(b"filter=\xff");
    assert_eq!(odd.send(server.public).await.status, 400);
    // Nobody who was refused holds a place.
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 0).await;
}
