//! Cuts a message into frames (RFC 6455, section 5.4), so that control frames can stand between them.
//!
//! Laws: only the first frame says what the message is and whether it is compressed, only the last is final;
//! what fits into one frame is one.

use std::ops::Range;

/// The most of a message that goes into one frame: the most whose length takes two bytes. A pong or a close
/// waits for the end of one, and no longer.
pub(super) const MOST: usize = u16::MAX as usize;

/// The bit of a message's last frame.
const FINAL: u8 = 0x80;

/// The first byte of a frame that goes on with a message.
const CONTINUATION: u8 = 0;

/// How far a message is written, frame by frame.
#[derive(Debug, Clone)]
pub struct Fragments {
    /// How many bytes the message has, without headers.
    length: usize,
    /// Which of them are in the frame that is being written.
    payload: Range<usize>,
    header: Header,
    /// How many bytes of that frame are written.
    sent: usize,
}

/// The header of an unmasked frame, with the shortest form of its length (section 5.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    bytes: [u8; 4],
    size: usize,
}

impl Fragments {
    /// A message of so many bytes, of which nothing is written; `first` is the first byte of one that is a single
    /// frame.
    pub(super) fn new(first: u8, length: usize) -> Self {
        let end = length.min(MOST);
        let first = if end == length { first } else { first & !FINAL };
        Self { length, payload: 0..end, header: Header::new(first, end), sent: 0 }
    }

    /// Whether anything is written.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.payload.start > 0 || self.sent > 0
    }

    /// Whether it is within, and a frame has ended: a control frame may stand here.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.payload.start > 0 && self.sent == 0
    }

    /// Whether it is in its last frame.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.payload.end == self.length
    }

    /// Whether all is written.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_last() && self.sent == self.size()
    }

    /// What is left of the frame: of its header, and which bytes of the message.
    #[must_use]
    pub fn left(&self) -> (&[u8], Range<usize>) {
        let header = self.header.bytes().get(self.sent..).unwrap_or_default();
        let start = self.payload.start + self.sent.saturating_sub(self.header.size);
        (header, start..self.payload.end)
    }

    /// Takes note that so many bytes more are written. Returns how many of them are in this frame.
    pub fn advance(&mut self, count: usize) -> usize {
        let taken = count.min(self.size() - self.sent);
        self.sent += taken;
        if self.sent == self.size() && !self.is_last() {
            self.begin_next();
        }
        taken
    }

    fn begin_next(&mut self) {
        let start = self.payload.end;
        let end = self.length.min(start + MOST);
        let last = if end == self.length { FINAL } else { 0 };
        self.header = Header::new(CONTINUATION | last, end - start);
        self.payload = start..end;
        self.sent = 0;
    }

    /// How many bytes the frame has.
    const fn size(&self) -> usize {
        self.header.size + self.payload.end - self.payload.start
    }
}

impl Header {
    /// The header of a frame of so many bytes, [`MOST`] at most.
    pub(super) fn new(first: u8, length: usize) -> Self {
        let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        match length {
            ..126 => Self { bytes: [first, low, 0, 0], size: 2 },
            126.. => Self { bytes: [first, 126, high, low], size: 4 },
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or_default()
    }
}

/// Where the first of a server's frames ends that doesn't end before `at`.
#[must_use]
pub fn frame_end(frames: &[u8], at: usize) -> usize {
    let mut end = 0;
    while let [_, length, rest @ ..] = frames.get(end..).unwrap_or_default() {
        let (header, payload) = match (*length, rest) {
            (126, [high, low, ..]) => (4, u16::from_be_bytes([*high, *low])),
            (short, _) => (2, short.into()),
        };
        end += header + usize::from(payload);
        if end >= at {
            return end;
        }
    }
    frames.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of a message, written so many bytes at a time: the first byte and the payload's size of each.
    fn frames(length: usize, step: usize) -> Vec<(u8, usize)> {
        let mut fragments = Fragments::new(0x81, length);
        let (mut frames, mut payload) = (Vec::new(), 0);
        while !fragments.is_over() {
            if fragments.is_between() || !fragments.has_begun() {
                let (header, range) = fragments.left();
                assert_eq!(range.start, payload, "nothing is left out");
                frames.push((header[0], range.len()));
            }
            let (header, range) = fragments.left();
            let (header, left) = (header.len(), header.len() + range.len());
            let taken = fragments.advance(step);
            assert_eq!(taken, step.min(left), "no further than the frame");
            payload += taken.saturating_sub(header);
        }
        assert_eq!((payload, fragments.is_last()), (length, true));
        frames
    }

    #[test]
    fn a_message_is_cut_where_a_frame_is_full_however_it_is_written() {
        for step in [1, 3, 4, 5, 65_539, 1 << 20] {
            assert_eq!(frames(0, step), [(0x81, 0)]);
            assert_eq!(frames(125, step), [(0x81, 125)]);
            assert_eq!(frames(MOST, step), [(0x81, MOST)]);
            assert_eq!(frames(MOST + 1, step), [(0x01, MOST), (0x80, 1)]);
            let three = [(0x01, MOST), (0x00, MOST), (0x80, MOST)];
            assert_eq!(frames(3 * MOST, step), three);
        }
    }

    #[test]
    fn the_end_of_a_frame_is_found_from_within_it_and_at_it() {
        let long = [&[0x01, 126, 0x01, 0x00][..], &[b'x'; 256]].concat();
        let stream = [&b"\x81\x02ab"[..], &long, b"\x80\x00", b"\x8a\x01z"].concat();
        for (at, end) in [(1, 4), (4, 4), (5, 264), (263, 264), (264, 264), (265, 266), (267, 269)]
        {
            assert_eq!(frame_end(&stream, at), end, "from {at}");
        }
    }
}
