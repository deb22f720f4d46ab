//! A writer that knows whole frames only, and asks of each when its turn comes: the twin of those who keep bytes. It
//! says what goes over a WebSocket, whatever is said while a message is on its way, and however little the socket takes.

use std::collections::VecDeque;

use proptest::prelude::*;

/// What is said, or taken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A message of events begins: small or large, where there is none.
    Events(bool),
    /// A message of something else, of so many bytes.
    Message(u8),
    Pong,
    /// The stream ends behind all that waits.
    End,
    /// It ends as soon as it can.
    Close,
    /// Its end comes soon, where it is to come at all.
    Hurry,
    /// The socket takes so many bytes.
    Take(usize),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Events),
        2 => (1_u8..100).prop_map(Step::Message),
        6 => Just(Step::Pong),
        1 => Just(Step::End),
        1 => Just(Step::Close),
        1 => Just(Step::Hurry),
        6 => (1_usize..8).prop_map(Step::Take),
        4 => (1_usize..100).prop_map(Step::Take),
        6 => (1_usize..100_000).prop_map(Step::Take),
    ]
}

/// The frame of a pong.
pub(crate) fn pong(number: u8) -> Vec<u8> {
    vec![0x8a, 1, number]
}

/// A message in one frame.
pub(crate) fn message(size: u8) -> Vec<u8> {
    let mut frame = vec![0x81, size];
    frame.resize(2 + usize::from(size), b'm');
    frame
}

/// A close with this code.
pub(crate) fn close(code: u16) -> Vec<u8> {
    [&[0x88, 2], &code.to_be_bytes()[..]].concat()
}

/// The frames that these bytes are.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let [_, length, rest @ ..] = bytes {
        let size = match length {
            126 => 4 + usize::from(u16::from_be_bytes([rest[0], rest[1]])),
            short => 2 + usize::from(*short),
        };
        let (frame, rest) = bytes.split_at(size);
        frames.push(frame.to_vec());
        bytes = rest;
    }
    frames
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    /// The frame that is being written, how much of it is, and whether it is of the message of events.
    current: Option<(Vec<u8>, usize, bool)>,
    /// Those frames of the message of events that have not begun.
    events: VecDeque<Vec<u8>>,
    /// Whether one of them has.
    begun: bool,
    /// What goes before the next of them.
    within: VecDeque<Vec<u8>>,
    /// What goes before the next message of events; its last is the end, once there is one.
    others: VecDeque<Vec<u8>>,
    ended: bool,
    cut: bool,
    pub(crate) written: Vec<u8>,
}

impl Naive {
    pub(crate) const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Begins a message of events; there is no other.
    pub(crate) fn begin(&mut self, frames: Vec<Vec<u8>>) {
        self.events = frames.into();
    }

    /// Gives up a message of events of which nothing was written.
    pub(crate) fn take_back(&mut self) {
        if !self.begun {
            self.events.clear();
        }
    }

    pub(crate) fn push(&mut self, frame: Vec<u8>) {
        if !self.ended {
            self.others.push_back(frame);
        }
    }

    pub(crate) fn interject(&mut self, frame: Vec<u8>) {
        match (self.cut, self.begun, self.ended) {
            (true, _, _) => {}
            (false, true, _) => self.within.push_back(frame),
            (false, false, false) => self.others.push_back(frame),
            (false, false, true) => {
                if let Some(end) = self.others.pop_back() {
                    self.others.extend([frame, end]);
                }
            }
        }
    }

    pub(crate) fn end(&mut self, frame: Vec<u8>) {
        self.push(frame);
        self.ended = true;
    }

    pub(crate) fn end_now(&mut self, frame: Vec<u8>) {
        if self.begun && !self.cut {
            self.others = [frame].into();
            self.cut();
        } else if !self.ended {
            self.end(frame);
        }
    }

    pub(crate) fn hurry(&mut self) {
        let is_written = self.current.as_ref().is_some_and(|(_, _, of_events)| *of_events);
        let left = self.events.len() + usize::from(is_written);
        if self.begun && self.ended && !self.cut && left > 1 {
            self.cut();
        }
    }

    /// Lets the end go before the next frame of the message of events.
    fn cut(&mut self) {
        self.within.extend(self.others.pop_back());
        self.others.clear();
        (self.ended, self.cut) = (true, true);
    }

    pub(crate) fn take(&mut self, mut count: usize) {
        while count > 0 {
            let next = self.current.take().or_else(|| self.next());
            let Some((frame, sent, of_events)) = next else { return };
            let end = frame.len().min(sent.saturating_add(count));
            self.written.extend_from_slice(&frame[sent..end]);
            count -= end - sent;
            if end < frame.len() {
                self.current = Some((frame, end, of_events));
                return;
            }
            if self.cut && self.within.is_empty() {
                self.events.clear();
            }
            // Its last frame is written, or what is left of it is given up.
            self.begun &= !(self.events.is_empty() && (of_events || self.cut));
        }
    }

    fn next(&mut self) -> Option<(Vec<u8>, usize, bool)> {
        let first = self.within.pop_front();
        let first = first.or_else(|| if self.begun { None } else { self.others.pop_front() });
        if let Some(frame) = first {
            return Some((frame, 0, false));
        }
        let frame = self.events.pop_front()?;
        self.begun = true;
        Some((frame, 0, true))
    }
}

/// What holds of all that is written: messages are whole, but for one that is cut; pongs are in order; and nothing is
/// behind a close.
pub(crate) fn check(written: &[u8]) {
    let (mut open, mut last, mut closed) = (false, 0, false);
    for frame in frames(written) {
        assert!(!closed, "nothing comes behind a close");
        let is_first = frame[0] & 0x0f == 1;
        match frame[0] & 0x0f {
            0 | 1 => {
                assert_eq!(is_first, !open, "{:x}", frame[0]);
                open = frame[0] & 0x80 == 0;
            }
            8 => closed = true,
            10 => {
                assert!(frame[2] > last, "pongs are in order");
                last = frame[2];
            }
            other => panic!("a frame of {other:x}"),
        }
    }
    assert!(closed || !open, "a message has no end");
}
