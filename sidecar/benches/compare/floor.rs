//! The floor: the least that a server can do to deliver events. One thread writes the same bytes to
//! every socket, one write for each event and socket. It checks nothing, remembers nothing, and drops
//! a subscriber whose socket is full.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    ops::ControlFlow,
};

use anyhow::{Context as _, Result};
use mio::{
    Events, Interest, Poll, Registry, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::{
    http::{ACCEPT, Asks, RequestHead},
    transport::Transport,
};

/// The token of the listener; callers have the keys of a slab, which grow from 0.
const LISTENER: Token = Token(usize::MAX);

/// As many connections wait to be accepted as at the sidecar: none of a storm is turned away.
const BACKLOG: i32 = 4_096;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const SSE_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

struct Floor {
    poll: Poll,
    listener: TcpListener,
    callers: Slab<Caller>,
    /// By pipeline.
    subscribers: HashMap<String, Vec<(Transport, TcpStream)>>,
}

/// A connection that is no stream yet, or never will be.
struct Caller {
    socket: TcpStream,
    received: Vec<u8>,
}

/// Serves until the process is killed.
pub(crate) fn serve(address: SocketAddr) -> Result<Infallible> {
    let mut listener = listen(address).with_context(|| format!("can't listen on {address}"))?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut floor = Floor { poll, listener, callers: Slab::new(), subscribers: HashMap::new() };
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            done => done?,
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept()?,
                Token(key) => floor.hear(key)?,
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Floor {
    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut socket, _)) => {
                    socket.set_nodelay(true)?;
                    let entry = self.callers.vacant_entry();
                    let token = Token(entry.key());
                    self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
                    entry.insert(Caller { socket, received: Vec::new() });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn hear(&mut self, key: usize) -> Result<()> {
        let Self { poll, callers, subscribers, listener: _ } = self;
        let Some(caller) = callers.get_mut(key) else { return Ok(()) };
        let open = caller.read();
        while let Some((RequestHead { asks, pipeline, lines, .. }, body)) = caller.next_request()? {
            let transport = match asks {
                Asks::Publish => {
                    // The publisher first, so that it needn't wait for the subscribers.
                    caller.socket.write_all(OK)?;
                    let Some(subscribers) = subscribers.get_mut(&pipeline) else { continue };
                    if lines {
                        body.split(|&byte| byte == b'\n').for_each(|it| fan_out(subscribers, it));
                    } else {
                        fan_out(subscribers, &body);
                    }
                    continue;
                }
                Asks::Probe => {
                    caller.socket.write_all(OK)?;
                    continue;
                }
                Asks::Sse => Transport::Sse,
                Asks::WebSocket => Transport::WebSocket,
            };
            let stream = callers.remove(key).into_stream(transport, poll.registry())?;
            subscribers.entry(pipeline).or_default().push((transport, stream));
            return Ok(());
        }
        if open.is_break() {
            callers.remove(key);
        }
        Ok(())
    }
}

impl Caller {
    /// Reads all there is; breaks at the end of the connection.
    fn read(&mut self) -> ControlFlow<()> {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return ControlFlow::Break(()),
                Ok(count) => {
                    self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return ControlFlow::Continue(());
                }
                Err(_) => return ControlFlow::Break(()),
            }
        }
    }

    /// Takes the first whole request: its head and its body.
    fn next_request(&mut self) -> Result<Option<(RequestHead, Vec<u8>)>> {
        let Some(head) = RequestHead::parse(&self.received)? else { return Ok(None) };
        if self.received.len() < head.size + head.length {
            return Ok(None);
        }
        let rest = self.received.split_off(head.size + head.length);
        let mut request = std::mem::replace(&mut self.received, rest);
        let body = request.split_off(head.size);
        Ok(Some((head, body)))
    }

    /// Answers as the transport wants it. From here on the socket is only written to.
    fn into_stream(mut self, transport: Transport, registry: &Registry) -> Result<TcpStream> {
        registry.deregister(&mut self.socket)?;
        let websocket_head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {ACCEPT}\r\n\r\n"
        );
        self.socket.write_all(match transport {
            Transport::Sse => SSE_HEAD,
            Transport::WebSocket => websocket_head.as_bytes(),
        })?;
        Ok(self.socket)
    }
}

/// Writes an event to every subscriber, and drops those who have gone or don't keep up.
fn fan_out(subscribers: &mut Vec<(Transport, TcpStream)>, body: &[u8]) {
    let [sse, websocket] = [sse_frame(body), websocket_frame(body)];
    subscribers.retain_mut(|(transport, socket)| {
        let frame = match transport {
            Transport::Sse => &sse,
            Transport::WebSocket => &websocket,
        };
        socket.write(frame).is_ok_and(|count| count == frame.len())
    });
}

fn sse_frame(body: &[u8]) -> Vec<u8> {
    [b"data: ", body, b"\n\n"].concat()
}

fn websocket_frame(body: &[u8]) -> Vec<u8> {
    let length = body.len() as u64;
    let mut frame = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => vec![0x81, short],
        (_, Ok(medium)) => [&[0x81, 126], medium.to_be_bytes().as_slice()].concat(),
        (_, Err(_)) => [&[0x81, 127], length.to_be_bytes().as_slice()].concat(),
    };
    frame.extend_from_slice(body);
    frame
}
