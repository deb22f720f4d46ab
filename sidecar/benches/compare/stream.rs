//! Reads one subscriber's stream: the answer's head, then frames, however they are cut into reads.
//! Sans-I/O.

use std::{mem, net::SocketAddr};

use anyhow::{Result, bail, ensure};

use crate::{
    chunked::Chunked,
    frames::{self, Message},
    http::{NONCE, ResponseHead},
    payload,
    transport::Transport,
};

/// The most of a frame that is kept until its rest comes: twice the largest payload.
const MAX_PARTIAL: usize = 2 * payload::MAX as usize;

/// A stream that is being read.
#[derive(Debug)]
pub(crate) struct Stream {
    phase: Phase,
    frames: Frames,
}

#[derive(Debug)]
enum Phase {
    /// In the head, of which this has come.
    Head(Vec<u8>),
    Plain,
    Chunked(Chunked),
}

#[derive(Debug)]
struct Frames {
    transport: Transport,
    /// What has come of a frame that is not complete.
    partial: Vec<u8>,
}

/// The request that opens a pipeline's stream: behind the event of the cursor, if there is one.
pub(crate) fn request(
    transport: Transport,
    pipeline: &str,
    host: SocketAddr,
    cursor: Option<&str>,
) -> String {
    let asks = match (transport, cursor) {
        (Transport::Sse, None) => {
            format!("GET /{pipeline}/sse HTTP/1.1\r\naccept: text/event-stream\r\n")
        }
        (Transport::Sse, Some(cursor)) => format!(
            "GET /{pipeline}/sse HTTP/1.1\r\naccept: text/event-stream\r\n\
             last-event-id: {cursor}\r\n"
        ),
        (Transport::WebSocket, cursor) => {
            let query = cursor.map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
            format!(
                "GET /{pipeline}/ws{query} HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: {NONCE}\r\n"
            )
        }
    };
    format!("{asks}host: {host}\r\n\r\n")
}

impl Stream {
    pub(crate) const fn new(transport: Transport) -> Self {
        let frames = Frames { transport, partial: Vec::new() };
        Self { phase: Phase::Head(Vec::new()), frames }
    }

    /// Takes received bytes, and passes on the messages that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Message<'_>)) -> Result<()> {
        let mut bytes = bytes;
        match &mut self.phase {
            Phase::Head(head) => {
                head.extend_from_slice(bytes);
                let Some(parsed) = ResponseHead::parse(head)? else { return Ok(()) };
                check(self.frames.transport, &parsed, head)?;
                let body = head.split_off(parsed.size);
                self.phase = match parsed.chunked {
                    true => Phase::Chunked(Chunked::new()),
                    false => Phase::Plain,
                };
                sink(Message::Open);
                self.feed(&body, sink)
            }
            Phase::Plain => self.frames.feed(bytes, sink),
            Phase::Chunked(chunked) => {
                while let Some(part) = chunked.take(&mut bytes)? {
                    self.frames.feed(part, sink)?;
                }
                if chunked.is_over() {
                    sink(Message::End);
                }
                Ok(())
            }
        }
    }
}

impl Frames {
    fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Message<'_>)) -> Result<()> {
        // Most often frames come whole, and are read where they are.
        if self.partial.is_empty() {
            self.partial = self.pass_on(bytes, sink)?.to_vec();
        } else {
            let mut joined = mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            self.partial = self.pass_on(&joined, sink)?.to_vec();
        }
        ensure!(self.partial.len() <= MAX_PARTIAL, "a frame has no end");
        Ok(())
    }

    /// Passes on whole frames; returns what is left.
    fn pass_on<'a>(&self, bytes: &'a [u8], sink: &mut impl FnMut(Message<'_>)) -> Result<&'a [u8]> {
        let mut rest = bytes;
        while let Some((message, size)) = frames::first(self.transport, rest)? {
            sink(message);
            rest = rest.get(size..).unwrap_or_default();
        }
        Ok(rest)
    }
}

fn check(transport: Transport, head: &ResponseHead, received: &[u8]) -> Result<()> {
    match (transport, head.status) {
        (Transport::Sse, 200) => Ok(()),
        (Transport::WebSocket, 101) if head.accepts => Ok(()),
        (Transport::Sse | Transport::WebSocket, status) => bail!(
            "a {} subscriber was answered with {status}: {}",
            transport.name(),
            String::from_utf8_lossy(received)
        ),
    }
}
