//! The subscribers: many connections, read and checked by one thread.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    frames::{Message, pong},
    publisher::Clock,
    sequence::{Faults, Sequence},
    stream::{self, Stream},
    tally::Tally,
    transport::Transport,
};

/// How many connections are opened at once: fewer than the shortest queue of a listener.
const BATCH: usize = 100;

/// How long a batch may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much is read at once: the frames of many events.
const SCRATCH: usize = 64 * 1024;

/// How long to wait for sockets before looking at what else may have changed.
const GLANCE: Duration = Duration::from_millis(20);

/// The subscribers of one server.
pub(crate) struct Subscribers {
    poll: Poll,
    members: Vec<Member>,
    scratch: Box<[u8]>,
    clock: Clock,
    tally: Tally,
}

/// One subscriber.
struct Member {
    socket: TcpStream,
    stream: Stream,
    sequence: Sequence,
    open: bool,
    over: bool,
}

impl Subscribers {
    /// Connects `count` subscribers, and returns when all of them have their answer.
    pub(crate) fn connect(
        address: SocketAddr,
        transport: Transport,
        count: usize,
        clock: Clock,
        tally: Tally,
    ) -> Result<Self> {
        let scratch = vec![0; SCRATCH].into_boxed_slice();
        let mut all = Self { poll: Poll::new()?, members: Vec::new(), scratch, clock, tally };
        while all.members.len() < count {
            for _ in 0..BATCH.min(count - all.members.len()) {
                all.open(address, transport)?;
            }
            let open = all.receive(PATIENCE, |all| all.members.iter().all(|member| member.open))?;
            ensure!(open, "subscribers were not answered within {} s", PATIENCE.as_secs());
        }
        Ok(all)
    }

    /// Reads what comes, until `done` or for as long as `patience` lasts; whether it is done.
    pub(crate) fn receive(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<bool> {
        let deadline = Instant::now() + patience;
        let mut events = Events::with_capacity(1024);
        loop {
            if done(self) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            match self.poll.poll(&mut events, Some(left.min(GLANCE))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                self.hear(event.token())?;
            }
        }
    }

    /// Whether every subscriber has all of the first `published` events.
    pub(crate) fn have_all(&self, published: u64) -> bool {
        self.members.iter().all(|member| member.sequence.has_all(published))
    }

    /// What was wrong with what they received.
    pub(crate) fn faults(&self, published: u64) -> Faults {
        self.members.iter().map(|member| member.sequence.faults(published)).sum()
    }

    /// What they have received.
    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    fn open(&mut self, address: SocketAddr, transport: Transport) -> Result<()> {
        let mut socket = std::net::TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("can't connect subscriber {}", self.members.len() + 1))?;
        socket.write_all(stream::request(transport, &address.to_string()).as_bytes())?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        let token = Token(self.members.len());
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        let (stream, sequence) = (Stream::new(transport), Sequence::default());
        self.members.push(Member { socket, stream, sequence, open: false, over: false });
        Ok(())
    }

    fn hear(&mut self, token: Token) -> Result<()> {
        let Self { members, scratch, clock, tally, poll: _ } = self;
        let Some(member) = members.get_mut(token.0) else { return Ok(()) };
        while !member.over {
            match member.socket.read(scratch) {
                Ok(0) => member.over = true,
                Ok(count) => {
                    let received = scratch.get(..count).unwrap_or_default();
                    member.take(received, clock.now(), tally)?;
                    // The kernel has no more: it will say so when it has.
                    if count < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => member.over = true,
            }
        }
        Ok(())
    }
}

impl Member {
    fn take(&mut self, bytes: &[u8], now: u64, tally: &mut Tally) -> Result<()> {
        let Self { socket, stream, sequence, open, over } = self;
        let mut answer = Vec::new();
        stream.feed(bytes, &mut |message| match message {
            Message::Open => *open = true,
            Message::Event(stamp) => {
                if sequence.receive(stamp.number) {
                    tally.count(stamp, now);
                }
            }
            Message::Ping(payload) => answer.extend(pong(payload)),
            Message::Other => {}
            Message::End => *over = true,
        })?;
        // A pong is a few bytes, for which a socket that is never written to has room.
        if !answer.is_empty() && socket.write_all(&answer).is_err() {
            *over = true;
        }
        Ok(())
    }
}
