//! What the kernel keeps for a client that isn't read for a while.

#![cfg(target_os = "linux")]

use std::{fs, net::SocketAddr, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::WebSocket,
    fixture::{OPEN, PATIENCE, Server},
    session::Client,
};

/// The most that a session may leave in the kernel.
const MOST: u64 = 1024 * 1024;

/// A ping of `weir.v1` of a mebibyte, masked with zeros.
fn large_ping() -> Vec<u8> {
    let text = format!("{{\"type\":\"ping\"{}}}", " ".repeat(1_000_000));
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend_from_slice(&(text.len() as u64).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// How many bytes of this client wait in the kernel for the server.
fn waiting(server: SocketAddr, client: SocketAddr) -> u64 {
    let ends = [server, client].map(|end| format!(":{:04X}", end.port()));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut of_both = fields.filter(|f| f[1].ends_with(&ends[0]) && f[2].ends_with(&ends[1]));
    let queues = of_both.next().unwrap()[4].to_owned();
    u64::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

#[tokio::test]
async fn a_session_that_is_held_back_leaves_little_in_the_kernel() {
    let spec = OPEN.replace("websocket: {}", "websocket: {maxMessageRate: 50}");
    let server = Server::start(&spec).await;
    let socket = TcpStream::connect(server.public).await.unwrap();
    let here = socket.local_addr().unwrap();
    let headers = [("sec-websocket-protocol", "weir.v1")];
    let mut client = Client(WebSocket::shake_hands(Box::new(socket), "/orders/ws", &headers).await);
    client.expect("hello").await;
    // What is read as fast as it comes has the kernel make room for more and more of it.
    for _ in 0..40 {
        client.0.socket.write_all(&large_ping()).await.unwrap();
        client.expect("pong").await;
    }
    // Far more than it may send: nothing is read until it has earned that.
    client.0.socket.write_all(&b"\x89\x80\0\0\0\0".repeat(2_000)).await.unwrap();
    let full = async {
        loop {
            client.0.socket.write_all(&large_ping()).await.unwrap();
        }
    };
    // It ends in that nothing more is taken.
    let _never = timeout(Duration::from_secs(2), full).await;
    let deadline = Instant::now() + PATIENCE;
    let mut most = 0;
    while most < MOST / 8 {
        most = most.max(waiting(server.public, here));
        assert!(Instant::now() < deadline, "{most} bytes wait");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(most <= MOST, "{most} bytes wait");
    let held = "weir_connections_refused_total{pipeline=\"orders\",transport=\"websocket\",reason=\"too_many_messages\"} ";
    assert!(server.metric(held).await > Some(0));
}
