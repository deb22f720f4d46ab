//! By which signals the program ends, and how.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::{
    client::{Frame, Request, Sse, WebSocket},
    h2_client::Http2,
    program::Program,
    session::Client,
};

/// A pipeline whose subscribers leave over this time.
fn leaving_over(window: &str) -> String {
    format!(
        "placement: {{gateway: {{}}}}\nsources: [{{name: app, http: {{}}}}]\n\
         endpoints: {{sse: {{}}, publish: {{anonymous: true}}}}\n\
         delivery: {{drain: {{window: {window}}}}}"
    )
}

async fn subscribers(program: &Program, count: usize) -> Vec<Sse> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(program.sse().await);
    }
    all
}

/// When each of them was sent away.
async fn leave(subscribers: Vec<Sse>) -> Vec<Instant> {
    let mut leaving = JoinSet::new();
    for mut sse in subscribers {
        leaving.spawn(async move {
            while sse.next().await.unwrap().name != "draining" {}
            Instant::now()
        });
    }
    leaving.join_all().await
}

fn spread(moments: &[Instant]) -> Duration {
    let (first, last) = (moments.iter().min().unwrap(), moments.iter().max().unwrap());
    last.saturating_duration_since(*first)
}

#[tokio::test]
async fn who_is_told_to_end_sends_subscribers_away_one_after_the_other_and_still_takes_events() {
    let program = Program::start(&leaving_over("4s"), &[]).await;
    let all = subscribers(&program, 40).await;
    program.signal(Signal::TERM);
    let last = async {
        while program.takes_subscribers().await {}
        program.post("\"last words\"").await.status
    };
    let (left, published) = tokio::join!(leave(all), last);
    assert_eq!(published, 200);
    // Of forty, all in one second of the four are not seen in the life of this universe.
    assert!(spread(&left) > Duration::from_secs(1), "{:?}", spread(&left));
    program.ends().await;
}

#[tokio::test]
async fn it_takes_no_longer_for_that_than_it_has() {
    let program = Program::start(&leaving_over("10m"), &["--stop-window=2s"]).await;
    let all = subscribers(&program, 10).await;
    let told = Instant::now();
    program.signal(Signal::TERM);
    leave(all).await;
    assert!(told.elapsed() < Duration::from_secs(6), "{:?}", told.elapsed());
    program.ends().await;
}

/// A subscriber that reads no more than the head of the answer, and for which there is more than its socket takes.
async fn stalled(program: &Program) -> TcpStream {
    let mut socket = narrow(program).await;
    socket.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    let large = format!("\"{}\"", "x".repeat(900_000));
    for _ in 0..16 {
        assert_eq!(program.post(&large).await.status, 200);
    }
    socket
}

/// A session that is subscribed.
async fn session_over(socket: TcpStream) -> Client {
    let language = [("sec-websocket-protocol", "weir.v1")];
    let socket = WebSocket::shake_hands(Box::new(socket), "/orders/ws", &language).await;
    let mut session = Client(socket);
    session.expect("hello").await;
    session.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
    session
}

async fn narrow(program: &Program) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(program.public).await.unwrap()
}

#[tokio::test]
async fn it_ends_in_time_also_where_a_subscriber_takes_nothing_and_a_request_does_not_end() {
    let program = Program::start(&leaving_over("10m"), &["--stop-window=2s"]).await;
    let _stalled = stalled(&program).await;
    let mut endless = TcpStream::connect(program.publish).await.unwrap();
    let head = "POST /orders/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    endless.write_all(format!("{head}content-length: 9\r\n\r\n1").as_bytes()).await.unwrap();
    let told = Instant::now();
    program.signal(Signal::TERM);
    let words = program.ends().await;
    // The window, and the two seconds behind it.
    assert!(told.elapsed() < Duration::from_millis(4_500), "{:?}", told.elapsed());
    let counts = &words["pipelines"][0]["slos"][0]["objectives"][0]["current"];
    assert!(counts["good"].as_u64() < Some(16), "nobody got all of them: {words}");
}

/// Reads on, each over what it is connected over, until it is told to go, and to the end that belongs to that.
async fn read_to_the_end(program: &Program) -> JoinSet<()> {
    let mut reading = JoinSet::new();
    let client = Http2::connect(program.public).await;
    for mut sse in [program.sse().await, client.sse("/orders/sse", &[]).await] {
        sse.until_line("").await;
        reading.spawn(async move {
            while sse.next().await.unwrap().name != "draining" {}
            assert_eq!(sse.next().await, None);
        });
    }
    let plain = WebSocket::open(program.public, "/orders/ws").await;
    for mut socket in [plain, client.web_socket("/orders/ws").await] {
        reading.spawn(async move {
            while socket.next_json().await["control"] != "draining" {}
            assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
        });
    }
    let mut session = session_over(TcpStream::connect(program.public).await.unwrap()).await;
    reading.spawn(async move {
        while session.next().await["type"] != "draining" {}
        assert_eq!(session.0.next().await, Some(Frame::Close(Some(1012))));
        drop(client);
    });
    reading
}

#[tokio::test]
async fn whatever_a_subscriber_is_connected_over_it_is_told_and_closed_in_time() {
    let spec = leaving_over("10m")
        .replace("sse: {}", "sse: {}, websocket: {}")
        .replace("delivery: {", "delivery: {maxLag: {bytes: 64Mi}, ");
    let program = Program::start(&spec, &["--stop-window=2s"]).await;
    let reading = read_to_the_end(&program).await;
    // Two that read no more than that they are there.
    let _session = session_over(narrow(&program).await).await;
    let _stalled = stalled(&program).await;
    program.writes(5 * 16).await;
    let told = Instant::now();
    program.signal(Signal::TERM);
    let (words, _) = tokio::join!(program.ends(), reading.join_all());
    assert!(told.elapsed() < Duration::from_millis(4_500), "{:?}", told.elapsed());
    // The five who read have all sixteen events, and of the two who don't neither has one.
    let counts = &words["pipelines"][0]["slos"][0]["objectives"][0]["current"];
    assert_eq!(counts["good"], 5 * 16, "{words}");
}

#[tokio::test]
async fn without_an_slo_there_is_nothing_to_hand_over() {
    let program = Program::start_without_slo(&leaving_over("0s")).await;
    assert_eq!(program.post("1").await.status, 200);
    program.signal(Signal::TERM);
    assert_eq!(program.ends_with().await, None);
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_so_does_an_interrupt() {
    for signals in [&[Signal::TERM, Signal::TERM][..], &[Signal::INT]] {
        let program = Program::start(&leaving_over("10m"), &["--stop-window=10m"]).await;
        let all = subscribers(&program, 10).await;
        program.signal(signals[0]);
        for signal in &signals[1..] {
            // The same signal twice is one, until the first was taken.
            while program.takes_subscribers().await {}
            program.signal(*signal);
        }
        let left = leave(all).await;
        assert!(spread(&left) < Duration::from_secs(2), "{:?}", spread(&left));
        program.ends().await;
    }
}

#[tokio::test]
async fn what_was_drained_before_ends_at_once() {
    let program = Program::start(&leaving_over("10m"), &["--stop-window=10m"]).await;
    let all = subscribers(&program, 3).await;
    let drain = tokio::spawn(Request::post("/drain").send(program.admin));
    while program.takes_subscribers().await {}
    program.signal(Signal::TERM);
    leave(all).await;
    program.ends().await;
    drain.abort();
}
