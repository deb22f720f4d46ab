//! The subscribers: many connections, read and checked by one thread.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    mem,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    frames::{Message, pong},
    publisher::Clock,
    sequence::{Faults, Sequence},
    server::pipeline,
    stream::{self, Stream},
    tally::Tally,
    transport::Transport,
};

/// How many connections are opened at once: fewer than the shortest queue of a listener.
pub(crate) const BATCH: u64 = 100;

/// How long a batch may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much is read at once: the frames of many events.
const SCRATCH: usize = 64 * 1024;

/// How long to wait for sockets before looking at what else may have changed.
const GLANCE: Duration = Duration::from_millis(20);

/// What the kernel keeps for a subscriber that doesn't read: as little as it grants.
const STALLED_BUFFER: usize = 4 * 1024;

/// Who subscribes to what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) count: u64,
    /// Each subscribes to one of these, in turn.
    pub(crate) pipelines: u64,
    /// So many of them read their answer, and nothing after it.
    pub(crate) stalled: u64,
    /// The subscribers break off at so many different places; 0 where they don't.
    pub(crate) places: u64,
}

/// The subscribers of one server.
pub(crate) struct Subscribers {
    crowd: Crowd,
    poll: Poll,
    members: Vec<Member>,
    scratch: Box<[u8]>,
    clock: Clock,
    tally: Tally,
}

/// One subscriber.
struct Member {
    socket: TcpStream,
    /// What it has yet to ask for; empty once it is sent.
    request: Vec<u8>,
    stream: Stream,
    /// Of its pipeline's events, which are numbered by themselves.
    sequence: Sequence,
    pipeline: u64,
    open: bool,
    over: bool,
    stalled: bool,
    /// The cursor of the last event before it breaks off, and that event's number.
    bookmark: Option<(u64, String)>,
}

impl Subscribers {
    /// Connects them, and returns when all of them have their answer.
    pub(crate) fn connect(crowd: Crowd, clock: Clock, tally: Tally) -> Result<Self> {
        let scratch = vec![0; SCRATCH].into_boxed_slice();
        let mut all =
            Self { crowd, poll: Poll::new()?, members: Vec::new(), scratch, clock, tally };
        for first in (0..crowd.count).step_by(usize::try_from(BATCH)?) {
            (first..crowd.count.min(first + BATCH)).try_for_each(|place| all.open(place))?;
            all.wait_until_open()?;
        }
        Ok(all)
    }

    /// Reads what comes, until all have their answer.
    pub(crate) fn wait_until_open(&mut self) -> Result<()> {
        let open = self.receive(PATIENCE, |all| all.members.iter().all(|member| member.open))?;
        ensure!(open, "subscribers were not answered within {} s", PATIENCE.as_secs());
        Ok(())
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

    /// Whether every subscriber that reads has all of the first `published` events.
    pub(crate) fn have_all(&self, published: u64) -> bool {
        let mut readers = self.members.iter().filter(|member| !member.stalled);
        readers.all(|member| member.sequence.has_all(self.own(member, published)))
    }

    /// What was wrong with what those that read received.
    pub(crate) fn faults(&self, published: u64) -> Faults {
        let readers = self.members.iter().filter(|member| !member.stalled);
        readers.map(|member| member.sequence.faults(self.own(member, published))).sum()
    }

    /// What they have received.
    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    /// Counts anew from here on; returns what they have received until here.
    pub(crate) fn begin_tally(&mut self, tally: Tally) -> Tally {
        mem::replace(&mut self.tally, tally)
    }

    /// Resets every connection, as though the network had broken, and connects all anew at once: each
    /// behind its bookmark. Of what it received after that, a subscriber knows nothing any more.
    pub(crate) fn break_and_return(&mut self) -> Result<()> {
        for member in &self.members {
            socket2::SockRef::from(&member.socket).set_linger(Some(Duration::ZERO))?;
        }
        let Self { crowd, members, poll, .. } = self;
        for (place, member) in members.iter_mut().enumerate() {
            let cursor = member.bookmark.as_ref().map(|(_, cursor)| cursor.as_str());
            let next = member.bookmark.as_ref().map_or(0, |(number, _)| number + 1);
            member.request = crowd.request(member.pipeline, cursor);
            member.stream = Stream::new(crowd.transport);
            member.sequence = Sequence::from(next);
            (member.open, member.over) = (false, false);
            // The old one closes here, and with that the connection is reset.
            member.socket = TcpStream::connect(crowd.address)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut member.socket, Token(place), interest)?;
        }
        Ok(())
    }

    /// How many of the first `published` events are of a member's pipeline.
    fn own(&self, member: &Member, published: u64) -> u64 {
        let pipelines = self.crowd.pipelines;
        (published + pipelines - 1 - member.pipeline) / pipelines
    }

    fn open(&mut self, place: u64) -> Result<()> {
        let Crowd { address, transport, count, pipelines, stalled, places } = self.crowd;
        let socket = std::net::TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("can't connect subscriber {}", place + 1))?;
        let stalled = place >= count - stalled;
        if stalled {
            socket2::SockRef::from(&socket).set_recv_buffer_size(STALLED_BUFFER)?;
        }
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        let token = Token(self.members.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, token, interest)?;
        let pipeline = place % pipelines;
        self.members.push(Member {
            socket,
            request: self.crowd.request(pipeline, None),
            stream: Stream::new(transport),
            sequence: Sequence::default(),
            pipeline,
            open: false,
            over: false,
            stalled,
            bookmark: place.checked_rem(places).map(|number| (number, String::new())),
        });
        Ok(())
    }

    fn hear(&mut self, token: Token) -> Result<()> {
        let Self { crowd, members, scratch, clock, tally, poll: _ } = self;
        let Some(member) = members.get_mut(token.0) else { return Ok(()) };
        member.ask();
        while !(member.over || member.is_deaf()) {
            match member.socket.read(scratch) {
                Ok(0) => member.over = true,
                Ok(count) => {
                    let received = scratch.get(..count).unwrap_or_default();
                    member.take(received, crowd.pipelines, clock.now(), tally)?;
                    // The kernel has no more: it will say so when it has.
                    if count < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::NotConnected => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => member.over = true,
            }
        }
        Ok(())
    }
}

impl Crowd {
    fn request(&self, place: u64, cursor: Option<&str>) -> Vec<u8> {
        stream::request(self.transport, &pipeline(place), self.address, cursor).into_bytes()
    }
}

impl Member {
    /// Whether it has its answer, and reads nothing more.
    const fn is_deaf(&self) -> bool {
        self.stalled && self.open
    }

    /// Sends its request, once the connection is there: a few bytes, for which it has room.
    fn ask(&mut self) {
        if !self.request.is_empty() && self.socket.write_all(&self.request).is_ok() {
            self.request = Vec::new();
        }
    }

    fn take(&mut self, bytes: &[u8], pipelines: u64, now: u64, tally: &mut Tally) -> Result<()> {
        let Self { socket, stream, sequence, open, over, bookmark, .. } = self;
        let mut answer = Vec::new();
        stream.feed(bytes, &mut |message| match message {
            Message::Open => *open = true,
            Message::Event(stamp, cursor) => {
                if sequence.receive(stamp.number / pipelines) {
                    tally.count(stamp, now);
                }
                if let Some((number, place)) = bookmark
                    && *number == stamp.number
                {
                    *place = String::from_utf8_lossy(cursor.unwrap_or_default()).into_owned();
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
