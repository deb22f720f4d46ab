//! Durable streams on a disk: what is left of them when the program is killed, or ends in order.

use serde_json::Value;

use super::*;
use crate::client::Answer;

const STREAMS: [&str; 2] = ["/orders/streams/rooms/0", "/orders/streams/rooms/1"];

const ENDPOINT: &str = "durableStreams: {anonymous: true, longPoll: 1s}";

fn with_streams(durability: &str) -> String {
    on_disk(durability).replace("128Mi", "192Mi").replace("websocket: {}", ENDPOINT)
}

fn stream_of(publisher: usize) -> &'static str {
    STREAMS[publisher % STREAMS.len()]
}

/// Appends one numbered message as an idempotent producer; whether it was answered for.
async fn append(to: SocketAddr, publisher: usize, n: u64) -> bool {
    let body = format!("{{\"id\":\"{publisher}-{n}\",\"x\":\"{}\"}}", "x".repeat(100));
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
         producer-id: {publisher}\r\nproducer-epoch: 0\r\nproducer-seq: {n}\r\ncontent-length: {}\r\n\r\n{body}",
        stream_of(publisher),
        body.len()
    );
    let Some(answer) = exchange(to, &request).await else { return false };
    // 204 is a repetition: the append was stored before the kill, and not answered for.
    let taken = ["HTTP/1.1 200", "HTTP/1.1 204"].iter().any(|taken| answer.starts_with(taken));
    assert!(taken, "{answer}");
    true
}

async fn append_until_it_is_gone(to: SocketAddr, publisher: usize, acknowledged: Acknowledged) {
    loop {
        let next = acknowledged.lock().unwrap().entry(publisher).or_default().len() as u64;
        if !append(to, publisher, next).await {
            return;
        }
        acknowledged.lock().unwrap().get_mut(&publisher).unwrap().push(next);
    }
}

/// The streams, as soon as they are open, and each where it was or new.
async fn create(to: SocketAddr) {
    for stream in STREAMS {
        let created = async || {
            let request = Request::new("PUT", stream).header("content-type", "application/json");
            request.send(to).await.status
        };
        open(created).await;
    }
}

/// Waits until a request is no longer answered that the streams are not open.
async fn open(mut status: impl AsyncFnMut() -> u16) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match status().await {
            200 | 201 => return,
            503 => assert!(Instant::now() < deadline, "the streams do not open"),
            other => panic!("answered with {other}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn next_offset(answer: &Answer) -> String {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("stream-next-offset: "));
    line.unwrap().to_owned()
}

/// All that a reader who goes on from `offset` gets, and where it is then.
async fn read(to: SocketAddr, stream: &str, offset: &str) -> (Vec<(usize, u64)>, String) {
    let (mut messages, mut offset) = (Vec::new(), offset.to_owned());
    loop {
        let page = Request::get(&format!("{stream}?offset={offset}")).send(to).await;
        assert_eq!(page.status, 200, "{page:?}");
        let Value::Array(found) = page.json() else { panic!("{page:?}") };
        messages.extend(found.iter().map(|message| number(&message.to_string())));
        offset = next_offset(&page);
        if page.head.contains("stream-up-to-date: true") {
            return (messages, offset);
        }
    }
}

/// Each publisher's messages are there once each and in order, and all that were answered for.
fn check(messages: &[(usize, u64)], stream: &str, acknowledged: &Acknowledged) {
    let mut next = BTreeMap::<usize, u64>::new();
    for (publisher, n) in messages {
        assert_eq!(stream_of(*publisher), stream);
        let expected = next.entry(*publisher).or_default();
        assert_eq!(n, expected, "of publisher {publisher}: once each, in order");
        *expected += 1;
    }
    for (publisher, answered) in acknowledged.lock().unwrap().iter() {
        let seen = next.get(publisher).copied().unwrap_or_default();
        let is_of_stream = stream_of(*publisher) == stream;
        assert!(!is_of_stream || seen >= answered.len() as u64, "publisher {publisher} lost some");
    }
}

async fn killed_again_and_again(durability: &str) {
    let directory = TempDir::new().unwrap();
    let manifest = with_streams(durability);
    let acknowledged = Acknowledged::default();
    let mut followers = STREAMS.map(|stream| (stream, Vec::new(), "-1".to_owned()));
    for round in 0..=KILLS {
        let program = Program::start(directory.path(), &manifest).await;
        create(program.public).await;
        for (stream, seen, offset) in &mut followers {
            let (all, _) = read(program.public, stream, "-1").await;
            check(&all, stream, &acknowledged);
            // And who was there before goes on with its offset.
            let (more, end) = read(program.public, stream, offset).await;
            seen.extend(more);
            *offset = end;
            assert_eq!(*seen, all, "round {round}");
        }
        if round == KILLS {
            break;
        }
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let acknowledged = Arc::clone(&acknowledged);
                tokio::spawn(append_until_it_is_gone(program.public, publisher, acknowledged))
            })
            .collect();
        let count =
            || acknowledged.lock().unwrap().values().map(|all| all.len() as u64).sum::<u64>();
        let moment = count() + fastrand::u64(1..80);
        while count() < moment {
            sleep(Duration::from_micros(fastrand::u64(100..3_000))).await;
        }
        program.kill();
        for publisher in publishers {
            publisher.await.unwrap();
        }
    }
    assert!(acknowledged.lock().unwrap().values().map(Vec::len).sum::<usize>() >= KILLS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_and_doubles_no_append_with_fsync() {
    killed_again_and_again("Fsync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_and_doubles_no_append_with_an_interval() {
    killed_again_and_again("Interval").await;
}

async fn until_streams_are_open(server: &Server) {
    open(async || {
        let created = Request::new("PUT", STREAMS[0]).header("content-type", "application/json");
        created.send(server.public).await.status
    })
    .await;
}

#[tokio::test]
async fn streams_outlive_a_restart_and_a_closed_endpoint_but_not_their_deletion() {
    let directory = TempDir::new().unwrap();
    let manifest = with_streams("Interval");
    let start = async || start_in(config(&manifest, None), directory.path()).await;
    let server = start().await;
    create(server.public).await;
    for n in 0..3 {
        assert!(append(server.public, 0, n).await);
    }
    let deleted = Request::new("DELETE", STREAMS[1]).send(server.public).await;
    assert_eq!(deleted.status, 204);
    server.app.stop().await;
    let server = start().await;
    until_streams_are_open(&server).await;
    let (messages, offset) = read(server.public, STREAMS[0], "-1").await;
    assert_eq!(messages, [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(Request::get(STREAMS[1]).send(server.public).await.status, 404);
    // A producer that repeats itself is known.
    assert!(append(server.public, 0, 2).await);
    assert_eq!(read(server.public, STREAMS[0], &offset).await.0, []);
    server.app.apply(config(&manifest.replace(ENDPOINT, "websocket: {}"), None));
    assert_eq!(Request::get(STREAMS[0]).send(server.public).await.status, 404);
    server.app.apply(config(&manifest, None));
    until_streams_are_open(&server).await;
    assert_eq!(read(server.public, STREAMS[0], "-1").await, (messages, offset));
    // Another promise is kept by the same files.
    server.app.apply(config(&with_streams("Fsync"), None));
    until_streams_are_open(&server).await;
    assert!(append(server.public, 0, 3).await);
    assert_eq!(server.metric("weir_durable_streams{pipeline=\"orders\"}").await, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_streams_the_log_still_takes_events() {
    let directory = TempDir::new().unwrap();
    let program = Program::start(directory.path(), &with_streams("Fsync")).await;
    create(program.public).await;
    program.limit_files(Some(64 * 1_024));
    let large = format!("\"{}\"", "x".repeat(100_000));
    let refused = Request::post(STREAMS[0]).header("content-type", "application/json");
    let refused = refused.body(&large).send(program.public).await;
    assert_eq!(
        (refused.status, refused.json()["type"].as_str().unwrap().ends_with("disk_full")),
        (507, true)
    );
    assert!(append(program.public, 0, 0).await, "what fits is taken");
    assert!(post(program.publish, "0-0", 10).await);
    assert_eq!(read(program.public, STREAMS[0], "-1").await.0, [(0, 0)]);
}
