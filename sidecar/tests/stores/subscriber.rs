//! A subscriber that comes back with its cursor, to whichever replica answers.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{self, Instant},
};

use crate::PATIENCE;

/// What a subscriber has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The numbers of the events.
    pub(crate) numbers: Vec<u64>,
    /// The cursor behind each.
    pub(crate) cursors: Vec<String>,
    /// The `gap` controls.
    pub(crate) gaps: Vec<String>,
    /// How often it was connected.
    pub(crate) connections: usize,
}

/// Reads until it has seen the last number, or for too long nothing.
pub(crate) async fn read_until(
    last: u64,
    replicas: &[SocketAddr],
    prefers: usize,
    progress: watch::Sender<usize>,
) -> Seen {
    let mut seen = Seen::default();
    let mut cursor = None;
    let mut quiet_since = Instant::now();
    for attempt in prefers.. {
        let to = replicas[attempt % replicas.len()];
        let before = seen.numbers.len();
        drop(read_one(to, last, &mut cursor, &mut seen, &progress).await);
        if seen.numbers.last() >= Some(&last) {
            break;
        }
        if seen.numbers.len() > before {
            quiet_since = Instant::now();
        }
        assert!(quiet_since.elapsed() < PATIENCE, "nothing came after {:?}", seen.numbers.last());
        time::sleep(Duration::from_millis(fastrand::u64(5..50))).await;
    }
    seen
}

/// Reads one connection to its end.
async fn read_one(
    to: SocketAddr,
    last: u64,
    cursor: &mut Option<String>,
    seen: &mut Seen,
    progress: &watch::Sender<usize>,
) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(to).await?;
    let from = cursor.as_ref().map_or_else(String::new, |c| format!("last-event-id: {c}\r\n"));
    let path = "/orders/sse?from=earliest";
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: t\r\naccept: text/event-stream\r\n{from}\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut stream = Stream::default();
    loop {
        let read = time::timeout(PATIENCE, socket.read_buf(&mut stream.raw)).await;
        if read.is_ok_and(|read| read.is_ok_and(|size| size > 0)) {
            for event in stream.events() {
                if stream.is_counted {
                    stream.is_counted = false;
                    seen.connections += 1;
                }
                take(event, cursor, seen);
            }
            progress.send_replace(seen.numbers.len());
            if stream.is_over() || seen.numbers.last() >= Some(&last) {
                return Ok(());
            }
        } else {
            return Ok(());
        }
    }
}

fn take(Event { name, id, data }: Event, cursor: &mut Option<String>, seen: &mut Seen) {
    if let Some(id) = &id {
        *cursor = Some(id.clone());
    }
    match name.as_deref() {
        None if !data.is_empty() => {
            let data: serde_json::Value = serde_json::from_str(&data).unwrap();
            seen.numbers.push(data["n"].as_u64().unwrap());
            seen.cursors.push(id.expect("an event has a cursor"));
        }
        Some("gap") => seen.gaps.push(data),
        _ => {}
    }
}

#[derive(Debug, Default)]
struct Event {
    name: Option<String>,
    id: Option<String>,
    data: String,
}

/// A response of Server-Sent Events, out of its chunks.
struct Stream {
    raw: Vec<u8>,
    text: String,
    in_body: bool,
    is_counted: bool,
    ended: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            raw: Vec::new(),
            text: String::new(),
            in_body: false,
            is_counted: true,
            ended: false,
        }
    }
}

impl Stream {
    /// Whether the answer is whole: a replica whose log is not open yet says when to come back, and keeps
    /// the connection for another request.
    const fn is_over(&self) -> bool {
        self.ended
    }

    /// The events that are whole. What is cut off is not dispatched, as browsers do it.
    fn events(&mut self) -> Vec<Event> {
        if !self.in_body {
            let Some(end) = find(&self.raw, b"\r\n\r\n") else { return Vec::new() };
            // A refusal has another status, and no events.
            let head = String::from_utf8_lossy(&self.raw[..end]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 200") || !head.contains("transfer-encoding: chunked") {
                self.ended = true;
                return Vec::new();
            }
            self.raw.drain(..end + 4);
            self.in_body = true;
        }
        self.unchunk();
        let mut events = Vec::new();
        while let Some(end) = self.text.find("\n\n") {
            let block: String = self.text.drain(..end + 2).collect();
            events.push(parse(&block));
        }
        events
    }

    fn unchunk(&mut self) {
        while let Some(end) = find(&self.raw, b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            self.ended |= size == 0;
            if self.raw.len() < end + 2 + size + 2 || size == 0 {
                return;
            }
            self.text.push_str(std::str::from_utf8(&self.raw[end + 2..end + 2 + size]).unwrap());
            self.raw.drain(..end + 4 + size);
        }
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("event", name)) => event.name = Some(name.to_owned()),
            Some(("id", id)) => event.id = Some(id.to_owned()),
            Some(("data", data)) => event.data.push_str(data),
            _ => {}
        }
    }
    event
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
