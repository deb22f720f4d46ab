//! A wire that takes what it is told to, and whoever is at its other end: every byte that comes there is looked at.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    mem,
};

use crate::{
    engine::wire::Wire,
    frame::websocket::frame_end,
    log::{Cursor, Offset},
};

/// What a peer says: with the number of a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Ping(u32),
    Close,
    /// A frame that isn't masked.
    Breach,
}

/// A wire with room for so much.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) room: usize,
    pub(super) taken: Vec<u8>,
    /// How much of that the peer has looked at.
    looked: usize,
    /// What the peer has said, and nobody has read.
    said: VecDeque<u8>,
    pub(super) peer: Peer,
}

/// Whoever is at the other end.
#[derive(Debug, Default)]
pub(super) struct Peer {
    web_socket: bool,
    /// The events that have come whole.
    pub(super) events: u64,
    /// How far it is: at its last event, or where a control says.
    position: Offset,
    /// Whether it knows of all that it passes over.
    is_told_all: bool,
    /// A message that isn't whole.
    open: Option<Vec<u8>>,
    /// The numbers of the pings that were answered.
    pub(super) pongs: Vec<u32>,
    /// The server's pings: whether each came within a message.
    pub(super) pings: Vec<bool>,
    /// The payload of the close.
    pub(super) closed: Option<Vec<u8>>,
}

impl Pipe {
    /// A wire to a peer that is at this offset; `is_told_all` where it has no filter and nothing is conflated.
    pub(super) fn new(web_socket: bool, position: Offset, is_told_all: bool) -> Self {
        let peer = Peer { web_socket, position, is_told_all, ..Peer::default() };
        Self { peer, ..Self::default() }
    }

    pub(super) const fn is_web_socket(&self) -> bool {
        self.peer.web_socket
    }

    /// Lets the peer say something.
    pub(super) fn say(&mut self, word: Word) {
        match word {
            Word::Ping(number) => {
                self.said.extend([0x89, 0x84, 0, 0, 0, 0]);
                self.said.extend(number.to_be_bytes());
            }
            Word::Close => self.said.extend(b"\x88\x82\0\0\0\0\x03\xe8"),
            Word::Breach => self.said.extend(b"\x89\x00"),
        }
    }

    fn look(&mut self) {
        while let Some(size) = self.unit() {
            let unit = self.taken[self.looked..self.looked + size].to_vec();
            self.looked += size;
            if self.peer.web_socket {
                self.peer.hear_frame(&unit);
            } else {
                self.peer.hear_sse(std::str::from_utf8(&unit).unwrap());
            }
        }
    }

    /// How many bytes the next frame has, once it is whole.
    fn unit(&self) -> Option<usize> {
        let rest = &self.taken[self.looked..];
        if !self.peer.web_socket {
            return rest.windows(2).position(|two| two == b"\n\n").map(|at| at + 2);
        }
        let size = match rest {
            [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
            [_, 126, ..] | [_] | [] => return None,
            [_, length, ..] => 2 + usize::from(*length),
        };
        let is_whole = rest.len() >= size;
        assert!(!is_whole || frame_end(rest, 1) == size);
        is_whole.then_some(size)
    }
}

impl Peer {
    /// A control has a name.
    fn hear_sse(&mut self, frame: &str) {
        self.events += u64::from(frame.contains("\ndata: ") && !frame.contains("event: "));
    }

    fn hear_frame(&mut self, frame: &[u8]) {
        assert_eq!(self.closed, None, "nothing comes behind a close");
        let payload = &frame[if frame[1] == 126 { 4 } else { 2 }..];
        match (frame[0], &mut self.open) {
            (0x81, None) => self.hear_message(payload),
            (0x01, open @ None) => *open = Some(payload.to_vec()),
            (0x00, Some(open)) => open.extend_from_slice(payload),
            (0x80, Some(open)) => {
                let mut whole = mem::take(open);
                whole.extend_from_slice(payload);
                self.open = None;
                self.hear_message(&whole);
            }
            (0x88, _) => {
                self.cursor(payload, true);
                self.closed = Some(payload.to_vec());
            }
            (0x89, open) => self.pings.push(open.is_some()),
            (0x8a, _) => {
                let number = u32::from_be_bytes(payload.try_into().unwrap());
                assert!(self.pongs.last().is_none_or(|last| *last < number));
                self.pongs.push(number);
            }
            (other, open) => panic!("a frame of {other:x}, within a message: {}", open.is_some()),
        }
    }

    fn hear_message(&mut self, message: &[u8]) {
        let text = std::str::from_utf8(message).unwrap();
        if text.starts_with("{\"control\":") {
            let is_farewell =
                ["\"draining\"", "\"failure\""].iter().any(|name| text.contains(name));
            self.position = self.cursor(message, is_farewell).unwrap();
            return;
        }
        self.events += 1;
        let cursor = self.cursor(message, false).unwrap();
        assert!(cursor > self.position, "{cursor} behind {}", self.position);
        self.position = cursor;
    }

    /// Where a message, or a close, says that the peer is. Where it is the last, and the peer has been told of all
    /// that it passes over, it knows that.
    fn cursor(&self, message: &[u8], is_last: bool) -> Option<Offset> {
        let text = String::from_utf8_lossy(message);
        let mut names = ["\"cursor\":\"", "\"to\":\""].into_iter();
        let (_, rest) = names.find_map(|name| text.split_once(name))?;
        let offset = rest.split_once('"')?.0.parse::<Cursor>().unwrap().offset;
        assert!(offset >= self.position, "{offset} is before {}", self.position);
        assert!(!(is_last && self.is_told_all) || offset == self.position, "{text}");
        Some(offset)
    }
}

impl Wire for Pipe {
    const SAYS_WHEN_WRITABLE: bool = false;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.said.len());
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        buffer.iter_mut().zip(self.said.drain(..count)).for_each(|(place, byte)| *place = byte);
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>; 2]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let before = self.room;
        for slice in slices {
            let count = slice.len().min(self.room);
            self.taken.extend_from_slice(&slice[..count]);
            self.room -= count;
        }
        self.look();
        Ok(before - self.room)
    }

    fn end(&mut self) {}

    fn may_listen(&mut self) -> bool {
        false
    }
}
