//! Publishers that each post the next request as soon as the last is answered (a closed loop): many
//! connections, driven by one thread.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::http::ResponseHead;

/// An answer on the same machine that takes this long doesn't come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The publishers.
pub(crate) struct Posters<'a> {
    poll: Poll,
    members: Vec<Poster>,
    /// What each of them posts, again and again.
    request: &'a [u8],
    answered: u64,
}

struct Poster {
    socket: TcpStream,
    /// How much of the request is sent.
    sent: usize,
    received: Vec<u8>,
}

impl<'a> Posters<'a> {
    /// Connects them. They post nothing yet.
    pub(crate) fn connect(address: SocketAddr, count: u32, request: &'a [u8]) -> Result<Self> {
        let poll = Poll::new()?;
        let mut members = Vec::new();
        for place in 0..count {
            let socket = std::net::TcpStream::connect_timeout(&address, PATIENCE)
                .with_context(|| format!("can't connect publisher {}", place + 1))?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut socket, Token(members.len()), interest)?;
            members.push(Poster { socket, sent: 0, received: Vec::new() });
        }
        Ok(Self { poll, members, request, answered: 0 })
    }

    /// Posts for a while; how many requests were answered, by 200, in that time.
    pub(crate) fn post_for(&mut self, length: Duration) -> Result<u64> {
        let before = self.answered;
        let end = Instant::now() + length;
        let mut heard = Instant::now();
        let mut events = Events::with_capacity(1024);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(self.answered - before);
            }
            match self.poll.poll(&mut events, Some(left)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if !events.is_empty() {
                heard = Instant::now();
            }
            ensure!(heard.elapsed() < PATIENCE, "no answer came");
            for event in &events {
                let Self { poll: _, members, request, answered } = self;
                if let Some(poster) = members.get_mut(event.token().0) {
                    *answered += poster.drive(request)?;
                }
            }
        }
    }
}

impl Poster {
    /// Sends and reads all that can be; how many answers came.
    fn drive(&mut self, request: &[u8]) -> Result<u64> {
        let mut answers = 0;
        loop {
            if !self.send(request)? || !self.receive()? {
                return Ok(answers);
            }
            answers += 1;
        }
    }

    /// Whether the request is sent.
    fn send(&mut self, request: &[u8]) -> Result<bool> {
        while self.sent < request.len() {
            match self.socket.write(request.get(self.sent..).unwrap_or_default()) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("can't send a request"),
            }
        }
        Ok(true)
    }

    /// Whether its answer has come; then the next request can be sent.
    fn receive(&mut self) -> Result<bool> {
        loop {
            if let Some(head) = ResponseHead::parse(&self.received)?
                && self.received.len() >= head.size + head.length
            {
                let answer = String::from_utf8_lossy(&self.received);
                ensure!(head.status == 200, "the server answered: {answer}");
                self.received.drain(..head.size + head.length);
                self.sent = 0;
                return Ok(true);
            }
            let mut bytes = [0; 4096];
            match self.socket.read(&mut bytes) {
                Ok(0) => bail!("the server closed a publisher's connection"),
                Ok(count) => {
                    self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("can't read an answer"),
            }
        }
    }
}
