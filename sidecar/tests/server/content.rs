//! What comes of a request over HTTP/2 and is read by nobody.

use std::time::Instant;

use crate::{
    fixture::{OPEN, PATIENCE},
    frames::{DATA, END_HEADERS, Frames, HEADERS, SETTINGS, WINDOW_UPDATE, frame, streams},
    program::Program,
};

/// What a stream has room for, and a connection for as many streams.
const WINDOW: usize = 256 * 1024;
const STREAMS: usize = 4;

/// The largest frame.
const PIECE: usize = 16 * 1024;

const CONNECTIONS: usize = 64;

#[tokio::test]
async fn what_nobody_reads_of_a_request_that_waits_is_thrown_away() {
    let open = OPEN.replace("endpoints: {", "endpoints: {read: {}, ");
    let program = Program::start(open.trim(), &["--memory-limit=128Mi"]).await;
    let before = program.peak_kib();
    // GET, http, the path, and the host.
    let head = b"\x82\x86\x04\x23/orders/events?from=latest&wait=50s\x01\x04test";
    let mut waiting = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut frames = Frames::connect(program.public).await;
        for stream in streams(STREAMS) {
            frames.send(&frame(HEADERS, END_HEADERS, stream, head)).await;
            for _ in 0..WINDOW / PIECE {
                frames.send(&frame(DATA, 0, stream, &[0; PIECE])).await;
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

#[tokio::test]
async fn what_is_sent_while_an_answer_is_not_read_is_thrown_away() {
    let open = OPEN.replace("endpoints: {", "endpoints: {read: {}, ");
    let program = Program::start(open.trim(), &[]).await;
    let mut frames = Frames::connect(program.public).await;
    // SETTINGS_INITIAL_WINDOW_SIZE: nothing of an answer may come but its head.
    frames.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    // A page, and a publish whose type is none of those that are taken.
    let page = b"\x82\x86\x04\x0e/orders/events\x01\x04test";
    let publish = b"\x83\x86\x04\x0e/orders/events\x01\x04test\x0f\x10\x09image/png";
    for (stream, head) in [(1, &page[..]), (3, publish)] {
        frames.send(&frame(HEADERS, END_HEADERS, stream, head)).await;
        frames.until(1, |frame| frame.kind == HEADERS && frame.stream == stream).await;
        for _ in 0..3 {
            for _ in 0..WINDOW / 2 / PIECE {
                frames.send(&frame(DATA, 0, stream, &[0; PIECE])).await;
            }
            // There is room for as much again.
            frames.until(1, |frame| frame.kind == WINDOW_UPDATE && frame.stream == stream).await;
        }
    }
}
