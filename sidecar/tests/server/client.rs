//! Clients that see every byte: HTTP with one answer, SSE by the HTML standard, WebSocket.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    fixture::PATIENCE,
    schema::{hold, hold_to_subprotocol},
};

/// What a subscriber reads from and writes to.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(crate) type Socket = Box<dyn Io>;

/// One HTTP request.
pub(crate) struct Request {
    head: String,
    body: Vec<u8>,
}

/// The answer to one.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    pub(crate) fn new(method: &str, path: &str) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        Self { head, body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn body(self, body: &str) -> Self {
        self.bytes(body.as_bytes())
    }

    pub(crate) fn bytes(mut self, body: &[u8]) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub(crate) async fn send(self, to: SocketAddr) -> Answer {
        self.send_over(TcpStream::connect(to).await.unwrap()).await
    }

    /// Asks on a connection that is open.
    pub(crate) async fn send_over(self, mut socket: impl Io) -> Answer {
        let Self { head, body } = self;
        let mut request = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(&body);
        socket.write_all(&request).await.unwrap();
        let mut bytes = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.unwrap().unwrap();
        let end = find(&bytes, b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// An event as an `EventSource` would dispatch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dispatched {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

/// A subscriber over SSE.
pub(crate) struct Sse {
    socket: Socket,
    /// The head of the response.
    pub(crate) head: String,
    raw: Vec<u8>,
    /// The body so far, out of its chunks, up to what is parsed.
    text: Vec<u8>,
    /// Every line of the body that was read.
    pub(crate) lines: Vec<String>,
    pub(crate) last_event_id: String,
    pub(crate) retry: Option<u64>,
    name: String,
    data: Vec<String>,
    ended: bool,
}

impl Sse {
    pub(crate) async fn open(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        Self::ask(Box::new(socket), path, headers).await
    }

    /// Subscribes over HTTP/1.1 on a connection.
    pub(crate) async fn ask(mut socket: Socket, path: &str, headers: &[(&str, &str)]) -> Self {
        let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n{headers}\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        Self::answered(socket).await
    }

    /// A subscriber whose request is sent.
    pub(crate) async fn answered(mut socket: Socket) -> Self {
        let mut raw = Vec::new();
        let end = loop {
            if let Some(end) = find(&raw, b"\r\n\r\n") {
                break end;
            }
            let read = timeout(PATIENCE, socket.read_buf(&mut raw)).await.unwrap().unwrap();
            assert!(read > 0, "the connection ended in the head");
        };
        let head = String::from_utf8(raw[..end].to_vec()).unwrap();
        raw.drain(..end + 4);
        Self { raw, ..Self::begun(socket, head) }
    }

    /// A subscriber whose response has begun with this head.
    pub(crate) fn begun(socket: Socket, head: String) -> Self {
        Self {
            socket,
            head,
            raw: Vec::new(),
            text: Vec::new(),
            lines: Vec::new(),
            last_event_id: String::new(),
            retry: None,
            name: String::new(),
            data: Vec::new(),
            ended: false,
        }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Dispatched> {
        loop {
            if let Some(line) = self.take_line() {
                if let Some(event) = self.interpret(&line) {
                    return Some(event);
                }
            } else if self.ended || !self.read().await {
                return None;
            }
        }
    }

    /// The next event's data, which must be an unnamed event.
    pub(crate) async fn next_data(&mut self) -> String {
        let event = self.next().await.expect("an event before the end of the stream");
        assert_eq!(event.name, "message", "{event:?}");
        event.data
    }

    /// Reads lines until one is exactly this.
    pub(crate) async fn until_line(&mut self, expected: &str) {
        while self.lines.last().is_none_or(|line| line != expected) {
            match self.take_line() {
                Some(line) => drop(self.interpret(&line)),
                None => assert!(self.read().await, "the stream ended before {expected:?}"),
            }
        }
    }

    async fn read(&mut self) -> bool {
        self.raw.reserve(16 * 1024);
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.raw)).await;
        let read = read.expect("bytes in time").unwrap_or(0);
        self.unchunk();
        read > 0
    }

    /// Takes whole chunks out of the transfer coding.
    fn unchunk(&mut self) {
        if !self.head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            self.text.append(&mut self.raw);
            return;
        }
        while let Some(end) = find(&self.raw, b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if self.raw.len() < end + 2 + size + 2 {
                return;
            }
            self.text.extend_from_slice(&self.raw[end + 2..end + 2 + size]);
            assert_eq!(&self.raw[end + 2 + size..end + 4 + size], b"\r\n");
            self.raw.drain(..end + 4 + size);
            self.ended |= size == 0;
        }
    }

    fn take_line(&mut self) -> Option<String> {
        if self.lines.is_empty() && self.text.is_empty() {
            self.unchunk();
        }
        let end = self.text.iter().position(|&byte| byte == b'\n')?;
        let line = String::from_utf8(self.text.drain(..=end).collect()).unwrap();
        let line = line.trim_end_matches('\n').to_owned();
        self.lines.push(line.clone());
        Some(line)
    }

    fn interpret(&mut self, line: &str) -> Option<Dispatched> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.push(value.to_owned()),
            "id" => value.clone_into(&mut self.last_event_id),
            "retry" => self.retry = value.parse().ok(),
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Dispatched> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return None;
        }
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(Dispatched { name, id: self.last_event_id.clone(), data: data.join("\n") })
    }
}

/// A frame that the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

/// A subscriber over WebSocket.
pub(crate) struct WebSocket {
    pub(crate) socket: Socket,
    /// The head of the response.
    pub(crate) head: String,
    raw: Vec<u8>,
    /// The cursor of the opening message.
    pub(crate) opened_at: String,
    /// How many messages came compressed.
    pub(crate) compressed: usize,
    /// The reason of the close.
    close_reason: Vec<u8>,
    /// Of each frame that came, the first byte and how much of a message is in it.
    pub(crate) frames: Vec<(u8, usize)>,
    /// The message of which not all frames have come, with its first byte.
    open: Option<(u8, Vec<u8>)>,
}

/// The most of a message that may be in one frame: a pong waits for the end of one.
const MOST_IN_FRAME: usize = 65_535;

impl WebSocket {
    pub(crate) async fn open(to: SocketAddr, path: &str) -> Self {
        Self::open_with(to, path, &[]).await
    }

    pub(crate) async fn open_with(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        Self::ask_with(Box::new(socket), path, headers).await
    }

    /// Opens a WebSocket over HTTP/1.1 on a connection.
    pub(crate) async fn ask(socket: Socket, path: &str) -> Self {
        Self::ask_with(socket, path, &[]).await
    }

    async fn ask_with(socket: Socket, path: &str, headers: &[(&str, &str)]) -> Self {
        let opened = Self::shake_hands(socket, path, headers).await;
        if opened.head.starts_with("HTTP/1.1 101") { opened.opened().await } else { opened }
    }

    /// Opens a WebSocket over HTTP/1.1 with more headers, and reads nothing but the head.
    pub(crate) async fn shake_hands(
        mut socket: Socket,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {headers}\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Vec::new();
        let end = loop {
            if let Some(end) = find(&raw, b"\r\n\r\n") {
                break end;
            }
            let read = timeout(PATIENCE, socket.read_buf(&mut raw)).await.unwrap().unwrap();
            assert!(read > 0, "the connection ended in the head");
        };
        let head = String::from_utf8(raw[..end].to_vec()).unwrap();
        raw.drain(..end + 4);
        Self { head, raw, ..Self::bare(socket) }
    }

    /// A WebSocket of which nothing was read yet.
    pub(crate) fn bare(socket: Socket) -> Self {
        let (head, raw, opened_at) = (String::new(), Vec::new(), String::new());
        let (close_reason, frames, open) = (Vec::new(), Vec::new(), None);
        Self { socket, head, raw, opened_at, compressed: 0, close_reason, frames, open }
    }

    /// A WebSocket whose handshake is done.
    pub(crate) async fn begun(socket: Socket) -> Self {
        Self::bare(socket).opened().await
    }

    async fn opened(mut self) -> Self {
        let opening = self.next_json().await;
        assert_eq!(opening["control"], "open");
        opening["cursor"].as_str().unwrap().clone_into(&mut self.opened_at);
        self
    }

    /// Reads until so many frames have come, whatever they are.
    pub(crate) async fn read_frames(&mut self, count: usize) {
        while self.frames.len() < count {
            while self.take_frame().is_some() {}
            if self.frames.len() < count {
                let read = timeout(PATIENCE, self.socket.read_buf(&mut self.raw)).await;
                assert!(read.expect("bytes in time").unwrap() > 0, "the end");
            }
        }
    }

    /// The next message or control frame; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Some(frame);
            }
            let read = timeout(PATIENCE, self.socket.read_buf(&mut self.raw)).await;
            if read.expect("bytes in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// What the close said about coming back.
    pub(crate) fn close_hint(&self) -> serde_json::Value {
        let hint = serde_json::from_slice(&self.close_reason).unwrap();
        hold("close.hint", &hint);
        hint
    }

    /// The next frame, which must be a text of JSON.
    pub(crate) async fn next_json(&mut self) -> serde_json::Value {
        match self.next().await {
            Some(Frame::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected a text, got {other:?}"),
        }
    }

    /// Sends one masked frame.
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(payload.len()) {
            Ok(short @ ..126) => frame.push(0x80 | short),
            Ok(_) | Err(_) => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.socket.write_all(&frame).await.unwrap();
    }

    /// Reads what is there; `false` at the end.
    pub(crate) async fn read_more(&mut self) -> bool {
        self.socket.read_buf(&mut self.raw).await.unwrap_or(0) > 0
    }

    /// The message or the control frame that is whole with the next frames (RFC 6455, section 5.4).
    pub(crate) fn take_frame(&mut self) -> Option<Frame> {
        loop {
            let (first, payload) = self.take_raw()?;
            self.frames.push((first, payload.len()));
            let is_last = first & 0x80 != 0;
            let (begun, message) = match (first & 0x0f, self.open.take()) {
                (8..=10, open) => {
                    self.open = open;
                    assert!(is_last && payload.len() <= 125, "a control frame is one, and short");
                    (first, payload)
                }
                (0, Some((begun, message))) => {
                    assert_eq!(first & 0x70, 0, "no bit of a message that goes on");
                    (begun, [message, payload].concat())
                }
                (1, None) => (first, payload),
                (opcode, open) => {
                    panic!("opcode {opcode} while a message is open: {}", open.is_some())
                }
            };
            if is_last {
                return Some(self.read(begun, message));
            }
            self.open = Some((begun, message));
        }
    }

    /// The first byte of the next frame, and what is in it.
    fn take_raw(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second, rest @ ..] = &self.raw[..] else { return None };
        assert_eq!(second & 0x80, 0, "a server's frame is not masked");
        assert_eq!(first & 0x30, 0, "no reserved bits");
        let (first, (size, header)) = match second & 0x7f {
            126 => (*first, (u16::from_be_bytes(rest.get(..2)?.try_into().unwrap()).into(), 4)),
            127 => panic!("a frame has {MOST_IN_FRAME} bytes at most"),
            size => (*first, (usize::from(size), 2)),
        };
        assert!(header == 2 || size > 125, "the shortest length");
        let payload = self.raw.get(header..header + size)?.to_vec();
        self.raw.drain(..header + size);
        Some((first, payload))
    }

    fn read(&mut self, first: u8, mut payload: Vec<u8>) -> Frame {
        if first & 0x40 != 0 {
            assert!(self.head.contains("permessage-deflate"), "{}", self.head);
            self.compressed += 1;
            payload = inflate(&payload);
        }
        match first & 0x0f {
            1 => {
                let text = String::from_utf8(payload).unwrap();
                hold_to_subprotocol(&self.head, &text);
                Frame::Text(text)
            }
            8 => {
                self.close_reason = payload.get(2..).unwrap_or_default().to_vec();
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                if matches!(code, Some(1012 | 1013)) {
                    self.close_hint();
                }
                Frame::Close(code)
            }
            9 => Frame::Ping(payload),
            10 => Frame::Pong(payload),
            other => panic!("unexpected opcode {other}"),
        }
    }
}

/// What a compressed message says.
fn inflate(payload: &[u8]) -> Vec<u8> {
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut out = Vec::with_capacity(1 << 22);
    let mut inflate = flate2::Decompress::new(false);
    inflate.decompress_vec(&input, &mut out, flate2::FlushDecompress::Sync).unwrap();
    out
}
