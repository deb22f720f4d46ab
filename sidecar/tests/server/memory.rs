//! Whom a server lets in that is short of memory.

use std::{fs, net::SocketAddr, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{Frame, Request, Sse, WebSocket},
    endings::ended,
    fixture::{OPEN, PATIENCE, Server, config},
    program::Program,
    session::Client,
};

/// A control group, as far as a server looks at it.
struct Cgroup(TempDir);

impl Cgroup {
    fn new() -> Self {
        let cgroup = Self(tempfile::tempdir().unwrap());
        cgroup.write("memory.max", "1000000");
        cgroup.write("memory.stat", "inactive_file 0");
        cgroup.write("memory.current", "500000");
        cgroup
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        // In one step, so that nobody reads half of it.
        let new = self.path().join("new");
        fs::write(&new, format!("{text}\n")).unwrap();
        fs::rename(new, self.path().join(name)).unwrap();
    }

    /// Uses so much, and waits until the server knows.
    async fn uses(&self, server: &Server, bytes: u64) {
        self.write("memory.current", &bytes.to_string());
        server.metric_becomes("weir_memory_used_bytes ", bytes).await;
    }
}

async fn start() -> (Server, Cgroup) {
    let cgroup = Cgroup::new();
    let server = Server::start_in_cgroup(config(OPEN, None), cgroup.path()).await;
    assert_eq!(server.metric("weir_memory_limit_bytes ").await, Some(1_000_000));
    (server, cgroup)
}

async fn is_refused(server: &Server, query: &str) -> bool {
    let mut sse = server.sse(query).await;
    if !sse.head.to_ascii_lowercase().contains("content-length") {
        return false;
    }
    let told = sse.next().await.unwrap();
    assert!(told.name == "failure" && told.data.contains("memory_pressure"), "{told:?}");
    assert!(sse.retry.is_some_and(|retry| (5_000..15_000).contains(&retry)), "{:?}", sse.retry);
    true
}

#[tokio::test]
async fn when_memory_is_scarce_new_subscribers_wait_and_those_who_resume_do_not() {
    let (server, cgroup) = start().await;
    let cursor = server.post("1").await.json()["cursor"].as_str().unwrap().to_owned();
    let resume = format!("?cursor={cursor}");
    let mut early = server.sse("").await;
    cgroup.uses(&server, 900_000).await;
    assert!(is_refused(&server, "").await && is_refused(&server, "?from=earliest").await);
    assert!(is_refused(&server, "?cursor=forged").await);
    let script = Request::get("/orders/sse").send(server.public).await;
    let head = script.head.to_ascii_lowercase();
    let after = head.split_once("retry-after: ").unwrap().1.lines().next().unwrap();
    assert!((5..=15).contains(&after.parse::<u64>().unwrap()), "{head}");
    assert_eq!((script.status, script.text().contains("memory_pressure")), (503, true));
    let mut socket = server.web_socket_with(&[]).await;
    assert_eq!(socket.next_json().await["code"], "memory_pressure");
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1013))));
    // Who has a place goes on from there, as do those who are there.
    let mut resumed = server.sse(&resume).await;
    let by_header = [("last-event-id", cursor.as_str())];
    let mut by_header = Sse::open(server.public, "/orders/sse", &by_header).await;
    let mut socket = server.web_socket(&resume).await;
    server.post("2").await;
    assert_eq!((early.next_data().await, resumed.next_data().await), ("2".into(), "2".into()));
    assert_eq!(by_header.next_data().await, "2");
    assert_eq!(socket.next_json().await["data"], 2);
    let refused = |transport| {
        format!(
            "weir_connections_refused_total{{pipeline=\"orders\",transport=\"{transport}\",reason=\"memory_pressure\"}} "
        )
    };
    assert_eq!(server.metric(&refused("sse")).await, Some(4));
    assert_eq!(server.metric(&refused("websocket")).await, Some(1));
    cgroup.uses(&server, 700_000).await;
    assert!(!is_refused(&server, "").await);
}

#[tokio::test]
async fn when_it_is_very_scarce_all_wait_but_those_who_are_there() {
    let (server, cgroup) = start().await;
    let cursor = server.post("1").await.json()["cursor"].as_str().unwrap().to_owned();
    let mut early = server.sse("").await;
    cgroup.uses(&server, 960_000).await;
    assert!(is_refused(&server, &format!("?cursor={cursor}")).await);
    let language = [("sec-websocket-protocol", "weir.v1")];
    let mut socket = server.web_socket_with(&language).await;
    assert_eq!(socket.next_json().await["code"], "memory_pressure");
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1013))));
    server.post("2").await;
    assert_eq!(early.next_data().await, "2");
}

#[tokio::test]
async fn a_subscription_of_a_session_is_let_in_as_a_connection_is() {
    let (server, cgroup) = start().await;
    let cursor = server.post("1").await.json()["cursor"].as_str().unwrap().to_owned();
    cgroup.uses(&server, 900_000).await;
    let language = [("sec-websocket-protocol", "weir.v1")];
    let mut socket = server.web_socket_with(&language).await;
    assert_eq!(socket.next_json().await["type"], "hello");
    let new = json!({ "type": "subscribe", "id": "new" }).to_string();
    socket.send(1, new.as_bytes()).await;
    let answer = socket.next_json().await;
    crate::schema::hold("v1.failure", &answer);
    assert_eq!(answer["code"], "memory_pressure");
    let retry = answer["retry"].as_u64();
    assert!(retry.is_some_and(|retry| (5_000..15_000).contains(&retry)), "{answer}");
    let resuming = json!({ "type": "subscribe", "id": "old", "cursor": cursor }).to_string();
    socket.send(1, resuming.as_bytes()).await;
    assert_eq!(socket.next_json().await["type"], "subscribed");
}

#[tokio::test]
async fn what_the_kernel_can_take_back_is_not_scarce() {
    let (server, cgroup) = start().await;
    cgroup.write("memory.stat", "inactive_file 300000\nactive_file 100000");
    cgroup.write("memory.current", "990000");
    server.metric_becomes("weir_memory_used_bytes ", 590_000).await;
    assert!(!is_refused(&server, "").await);
}

/// A server of whose memory an eighth of `limit` is for bodies and for pages each, and a sixteenth for messages and
/// for heads.
async fn start_with_limit(spec: &str, limit: u64) -> (Server, Cgroup) {
    let cgroup = Cgroup::new();
    cgroup.write("memory.max", &limit.to_string());
    cgroup.write("memory.current", "1");
    let server = Server::start_in_cgroup(config(spec, None), cgroup.path()).await;
    (server, cgroup)
}

/// Sends this once and again until it is answered so.
async fn is_answered(server: &Server, request: impl Fn() -> Request, status: u16) -> String {
    let asking = async {
        loop {
            let answer = request().send(server.public).await;
            if answer.status == status {
                return answer.head.to_ascii_lowercase();
            }
        }
    };
    timeout(PATIENCE, asking).await.unwrap()
}

/// Whether an answer says that another try in one to three seconds may succeed.
fn comes_again_soon(head: &str) {
    let after = head.split_once("\r\nretry-after: ").unwrap().1.lines().next().unwrap();
    assert!((1..=3).contains(&after.parse::<u64>().unwrap()), "{head}");
    assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
}

#[tokio::test]
async fn bodies_that_never_end_leave_the_memory_to_others() {
    let (server, _cgroup) = start_with_limit(OPEN, 6_000_000).await;
    let half = "x".repeat(100_000);
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(server.public).await.unwrap();
        let head = "POST /orders/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
                    content-length: 200002\r\n\r\n\"";
        socket.write_all(format!("{head}{half}").as_bytes()).await.unwrap();
        slow.push(socket);
    }
    let post = || {
        let body = format!("\"{half}\"");
        Request::post("/orders/events").header("content-type", "application/json").body(&body)
    };
    comes_again_soon(&is_answered(&server, post, 503).await);
    // The application has memory of its own.
    assert_eq!(post().send(server.publish).await.status, 200);
    drop(slow);
    is_answered(&server, post, 200).await;
}

#[tokio::test]
async fn forms_that_never_end_take_nothing_from_publishers() {
    let (server, _cgroup) = start_with_limit(OPEN, 6_000_000).await;
    let form = "x".repeat(10_000);
    let mut asking = Vec::new();
    let head = "POST /orders/sse HTTP/1.1\r\nhost: t\r\ncontent-length: 10200\r\n\
                content-type: application/x-www-form-urlencoded\r\n\r\nfilter=";
    for _ in 0..40 {
        let mut socket = TcpStream::connect(server.public).await.unwrap();
        socket.write_all(format!("{head}{form}").as_bytes()).await.unwrap();
        asking.push(socket);
    }
    let ask = || {
        let kind = "application/x-www-form-urlencoded";
        Request::post("/orders/sse").header("content-type", kind).body(&format!("filter={form}"))
    };
    comes_again_soon(&is_answered(&server, ask, 503).await);
    let post = Request::post("/orders/events").header("content-type", "application/json");
    assert_eq!(post.body(&format!("\"{form}\"")).send(server.public).await.status, 200);
    drop(asking);
    is_answered(&server, ask, 400).await;
}

/// A process that may have 64 MiB, and what the largest requests make of it.
#[tokio::test]
async fn a_body_takes_no_more_than_its_part_of_the_memory() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=64Mi"]).await;
    let post = async |media_type: &str, body: &[u8]| {
        let request = Request::post("/orders/events").header("content-type", media_type);
        let answer = request.bytes(body).send(program.publish).await;
        (answer.status, answer.text())
    };
    // What reads each kind is in memory before.
    for (media_type, body, statuses) in [
        ("application/json", "1", 200..=200),
        ("application/x-ndjson", "1\n2\n", 200..=200),
        ("application/x-ndjson", "1\n{\n", 400..=422),
        ("application/cloudevents-batch+json", "[1,1]", 400..=422),
        ("application/cloudevents+json", "{\"a\":1,\"b\":1}", 400..=422),
    ] {
        let (status, told) = post(media_type, body.as_bytes()).await;
        assert!(statuses.contains(&status), "{media_type}: {told}");
    }
    let before = program.peak_kib();
    let huge = format!("\"{}\"", "x".repeat(17 << 20));
    let (status, told) = post("application/json", huge.as_bytes()).await;
    assert_eq!(status, 413);
    assert!(told.contains("event_too_large") && told.contains("http.maxEventBytes"), "{told}");
    let lines = format!("\"{}\"\n", "x".repeat(1_000)).repeat(17 << 10);
    for (media_type, body) in [
        ("application/x-ndjson", lines.as_bytes()),
        ("application/cloudevents-batch+json", "[1,".repeat(6 << 20).as_bytes()),
    ] {
        let (status, told) = post(media_type, body).await;
        assert_eq!(status, 413, "{told}");
        assert!(told.contains("batch_too_large") && told.contains("split it"), "{told}");
    }
    // What fits makes as much of itself as it can.
    let elements = format!("[{}1]", "1,".repeat(1 << 20));
    let members = format!("{{{}\"b\":1}}", "\"a\":1,".repeat(300_000));
    for (media_type, body) in [
        ("application/cloudevents-batch+json", elements),
        ("application/cloudevents+json", members),
    ] {
        assert!(matches!(post(media_type, body.as_bytes()).await.0, 413 | 422), "{media_type}");
    }
    let lines = format!("\"{}\"\n", "x".repeat(1_000)).repeat(2 << 10);
    assert_eq!(post("application/x-ndjson", lines.as_bytes()).await.0, 200);
    let took = program.peak_kib() - before;
    // An eighth for bodies, as much that was freed and not given back yet, and what the log keeps of the lines. One
    // body that were kept whole, and what is made of it, would be twice that.
    assert!(took < 18 * 1_024, "{took} KiB beside {before} KiB");
}

/// A batch of CloudEvents without data, whose attributes are as large as they may be.
fn attributes() -> String {
    let extensions: String =
        (0..32).map(|n| format!(",\"ext{n}\":\"{}\"", "x".repeat(2_000))).collect();
    let event =
        |n| format!(r#"{{"specversion":"1.0","id":"{n}","source":"/s","type":"t"{extensions}}}"#);
    format!("[{}]", (0..30).map(event).collect::<Vec<_>>().join(","))
}

/// Publishes half a megabyte, and gives the status that the answer would have over HTTP.
async fn publish_in_a_session(public: SocketAddr, n: usize) -> u16 {
    let data = "z".repeat(500_000);
    let message = json!({"type": "publish", "id": n.to_string(), "data": data}).to_string();
    let mut socket = open_session(public, &[]).await;
    let size = u64::try_from(message.len()).unwrap().to_be_bytes();
    let frame = [&[0x81, 0x80 | 127][..], &size, &[0; 4], message.as_bytes()].concat();
    // It may be told that there is no memory for it before it is whole.
    let _ = socket.socket.write_all(&frame).await;
    loop {
        match socket.next().await {
            Some(Frame::Text(text)) => {
                let told: Value = serde_json::from_str(&text).unwrap();
                match (told["type"].as_str().unwrap(), told["code"].as_str()) {
                    ("hello", None) => (),
                    ("published", None) => return 200,
                    ("failure", Some("busy")) => return 503,
                    _ => panic!("{text}"),
                }
            }
            Some(Frame::Close(Some(1013))) => return 503,
            other => panic!("{other:?} before an answer"),
        }
    }
}

/// Opens a session by a request with these headers besides.
async fn open_session(public: SocketAddr, headers: &[(&str, &str)]) -> WebSocket {
    let headers = [&[("sec-websocket-protocol", "weir.v1")], headers].concat();
    let socket = Box::new(TcpStream::connect(public).await.unwrap());
    WebSocket::shake_hands(socket, "/orders/ws", &headers).await
}

#[tokio::test]
async fn a_session_keeps_of_its_request_what_says_who_asks_and_no_more_than_there_is_memory_for() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=64Mi"]).await;
    let mut sessions = vec![open_session(program.public, &[]).await];
    let before = program.peak_kib();
    let large = "x".repeat(60_000);
    for _ in 0..300 {
        let mut session = open_session(program.public, &[("x-pad", &large)]).await;
        assert!(is_served(&mut session).await);
        sessions.push(session);
    }
    let took = program.peak_kib() - before;
    // Whole heads would be nineteen MiB.
    assert!(took < 4 * 1_024, "{took} KiB beside {before} KiB");
    // A sixteenth is for what sessions keep.
    let mut kept = 0;
    loop {
        let mut session = open_session(program.public, &[("cookie", &large)]).await;
        if !is_served(&mut session).await {
            break;
        }
        sessions.push(session);
        kept += 1;
    }
    assert!((40..=4 * 1_024 / 58).contains(&kept), "{kept} sessions with such a cookie");
    drop(sessions);
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_served(&mut open_session(program.public, &[("cookie", &large)]).await).await {
        assert!(std::time::Instant::now() < deadline, "there is no memory any more");
    }
}

/// Whether a session answers, and isn't told that there is no memory for it.
async fn is_served(session: &mut WebSocket) -> bool {
    session.send(9, b"you").await;
    loop {
        match session.next().await {
            Some(Frame::Pong(_)) => return true,
            Some(Frame::Text(text)) if text.contains("\"hello\"") => (),
            Some(Frame::Text(text)) if text.contains("\"busy\"") => return false,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn bodies_of_every_kind_that_wait_for_the_log_together_take_no_more_than_their_part() {
    let block = "\ndelivery: {slowConsumer: Block, maxLag: {events: 1}}";
    let spec = format!("{}{block}", OPEN.trim());
    let program = Program::start(&spec, &["--memory-limit=64Mi"]).await;
    // Whoever publishes waits for one that takes nothing.
    let mut stalled = TcpStream::connect(program.public).await.unwrap();
    stalled.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    stalled.read_u8().await.unwrap();
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    while program.post(&large).await.status == 200 {}
    let before = program.peak_kib();
    let lines = format!("\"{}\"\n", "y".repeat(1_000)).repeat(2_000);
    let minimal = "1\n".repeat(10_000);
    let base64 = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"image/png","data_base64":"{}"}}"#,
        "AAAA".repeat(300_000)
    );
    let kinds = [
        ("application/json", large),
        ("application/x-ndjson", lines),
        ("application/x-ndjson", minimal),
        ("application/cloudevents-batch+json", attributes()),
        ("application/cloudevents+json", base64),
    ];
    let mut publishing = tokio::task::JoinSet::new();
    for n in 0..60 {
        let (media_type, body) = kinds[n % kinds.len()].clone();
        let to = program.publish;
        publishing.spawn(async move {
            let request = Request::post("/orders/events").header("content-type", media_type);
            request.body(&body).send(to).await.status
        });
    }
    for n in 0..20 {
        publishing.spawn(publish_in_a_session(program.public, n));
    }
    let statuses = publishing.join_all().await;
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert!(statuses.contains(&503), "the log took all of it at once");
    let took = program.peak_kib() - before;
    // An eighth for bodies and a sixteenth for messages, what eighty connections read into, and what the log took at
    // last; together they are ten times that.
    assert!(took < 56 * 1_024, "{took} KiB beside {before} KiB");
    drop(stalled);
    let deadline = std::time::Instant::now() + PATIENCE;
    while program.post("1").await.status != 200 {
        assert!(std::time::Instant::now() < deadline, "nobody is served any more");
    }
}

#[tokio::test]
async fn pages_that_nobody_reads_leave_the_memory_to_others() {
    let open = OPEN.replace("endpoints: {", "endpoints: {read: {}, ");
    let (server, _cgroup) = start_with_limit(&open, 8_000_000).await;
    for n in 0..12 {
        server.post(&format!("\"{n}{}\"", "x".repeat(100_000))).await;
    }
    let page = || Request::get("/orders/events?limit=1000");
    let mut unread = TcpStream::connect(server.public).await.unwrap();
    let request = b"GET /orders/events?limit=1000 HTTP/1.1\r\nhost: t\r\n\r\n";
    unread.write_all(request).await.unwrap();
    comes_again_soon(&is_answered(&server, page, 503).await);
    // What readers hold is not the publishers'.
    let body = format!("\"{}\"", "x".repeat(200_000));
    let post = Request::post("/orders/events").header("content-type", "application/json");
    assert_eq!(post.body(&body).send(server.public).await.status, 200);
    drop(unread);
    is_answered(&server, page, 200).await;
}

/// A frame with this first byte and a payload of at most 64 KiB, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let size = u16::try_from(payload.len()).unwrap();
    let header = match u8::try_from(size) {
        Ok(short @ ..126) => vec![first, 0x80 | short],
        Ok(_) | Err(_) => [&[first, 0x80 | 126][..], &size.to_be_bytes()].concat(),
    };
    [&header[..], &[0; 4], payload].concat()
}

#[tokio::test]
async fn messages_that_never_end_leave_the_memory_to_others() {
    let (server, _cgroup) = start_with_limit(OPEN, 1_600_000).await;
    let (mut one, mut other) = (Client::open(&server).await, Client::open(&server).await);
    other.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
    let mut begun = b"{\"type\":\"ping\",\"id\":\"p\"".to_vec();
    begun.resize(60_000, b' ');
    // A ping behind the first fragment: the answer says that it was read.
    one.0.socket.write_all(&[frame(1, &begun), frame(0x89, b"")].concat()).await.unwrap();
    assert_eq!(one.0.next().await, Some(Frame::Pong(Vec::new())));
    other.0.socket.write_all(&frame(1, &begun)).await.unwrap();
    let told = other.expect("failure").await;
    assert_eq!((&told["of"], &told["code"]), (&json!("subscription"), &json!("busy")));
    assert!(told["cursor"].is_string() && told["retry"].is_u64(), "{told}");
    assert_eq!(other.0.next().await, Some(Frame::Close(Some(1013))));
    let refused = "weir_connections_refused_total{pipeline=\"orders\",transport=\"websocket\",reason=\"busy\"} ";
    assert_eq!(server.metric(refused).await, Some(1));
    drop(other);
    ended(&server, "websocket", "busy", 1).await;
    // Who says little is served, and who has begun may end.
    Client::open(&server).await.ask(json!({"type": "ping"}), "pong").await;
    one.0.socket.write_all(&frame(0x80, b"}")).await.unwrap();
    assert_eq!(one.expect("pong").await["id"], "p");
}

#[tokio::test]
async fn heads_that_never_end_leave_the_memory_to_others() {
    let (server, _cgroup) = start_with_limit(OPEN, 1_600_000).await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut socket = TcpStream::connect(server.public).await.unwrap();
        let head = format!("GET /nothing HTTP/1.1\r\nhost: t\r\nx: {}", "y".repeat(40_000));
        // The last may be closed by then.
        let _ = socket.write_all(head.as_bytes()).await;
        slow.push(socket);
    }
    server.metric_becomes("weir_handshakes_failed_total{reason=\"busy\"} ", 1).await;
    let mut sse = server.sse("").await;
    assert_eq!(server.post("1").await.status, 200);
    assert_eq!(sse.next_data().await, "1");
    drop(slow);
    let large = "y".repeat(40_000);
    let mut asked = 0;
    while asked < 3 {
        // As soon as the server sees that they are gone.
        let mut socket = TcpStream::connect(server.public).await.unwrap();
        let head = format!("GET /nothing HTTP/1.1\r\nhost: t\r\nx: {large}\r\n\r\n");
        let _ = socket.write_all(head.as_bytes()).await;
        let mut answer = [0; 12];
        let read = timeout(PATIENCE, socket.read_exact(&mut answer)).await.unwrap();
        asked += u64::from(read.is_ok() && &answer == b"HTTP/1.1 404");
    }
}
