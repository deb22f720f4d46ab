//! What comes of a request over HTTP/2 and is read by nobody.

use std::time::Instant;

use crate::{
    fixture::{OPEN, PATIENCE},
    frames::{DATA, END_HEADERS, Frames, HEADERS, frame, streams},
    program::Program,
};

/// What a stream has room for, and a connection for as many streams.
const WINDOW: usize = 256 * 1024;
const STREAMS: usize = 4;

const CONNECTIONS: usize = 64;

#[tokio::test]
async fn what_nobody_reads_of_a_request_that_waits_is_thrown_away() {
    let open = OPEN.replace("endpoints: {", "endpoints: {read: {}, ");
    let program = Program::start(open.trim(), &["--memory-limit=128Mi"]).await;
    let before = program.peak_kib();
    // GET, http, the path, and the host.
    let head = b"\x82\x86\x04\x23/orders/events?from=latest&wait=50s\x01\x04test";
    let piece = [0; 16 * 1024];
    let mut waiting = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut frames = Frames::connect(program.public).await;
        for stream in streams(STREAMS) {
            frames.send(&frame(HEADERS, END_HEADERS, stream, head)).await;
            for _ in 0..WINDOW / piece.len() {
                frames.send(&frame(DATA, 0, stream, &piece)).await;
            }
        }
        frames.is_read().await;
        waiting.push(frames);
    }
    let all = format!("weir_readers_waiting{{pipeline=\"orders\"}} {}", CONNECTIONS * STREAMS);
    let deadline = Instant::now() + PATIENCE;
    while !program.metrics().await.lines().any(|line| line == all) {
        assert!(Instant::now() < deadline, "not all wait");
    }
    let took = program.peak_kib() - before;
    assert!(took < 24 * 1_024, "{took} KiB beside {before} KiB");
}
