//! Follows the frames of HTTP/2 in what is read, as far as it takes to know which heads it is of. Sans-I/O.
//!
//! Law: of a head that is counted before it is read nothing is read before it is known how much comes of it: no more
//! is to be taken at once than up to the end of such a head, or else of the next frame's header.

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

/// The flag of the last frame of a head.
const END_HEADERS: u8 = 4;

/// The bits of a stream's number; one more is reserved.
const STREAM: u32 = u32::MAX >> 1;

/// A head that is counted before it is read, because the request that it is of is not looked at when it has come: one
/// of several frames, or the trailers of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Its stream.
    pub stream: u32,
    /// What comes of it with the frames that have begun.
    pub bytes: usize,
    /// Whether its stream has a head already.
    pub trailers: bool,
}

/// How far a connection is read.
#[derive(Debug)]
pub struct Scan {
    /// What of a frame's header has come.
    header: [u8; 9],
    have: usize,
    /// What has yet to come of what is behind the header.
    skip: usize,
    /// The last stream that was opened.
    newest: u32,
    /// The head that has begun and is not whole.
    block: Option<Block>,
    /// Whether its last frame has begun.
    ends: bool,
}

impl Default for Scan {
    fn default() -> Self {
        let (header, have, skip) = ([0; 9], 0, PREFACE);
        Self { header, have, skip, newest: 0, block: None, ends: false }
    }
}

impl Scan {
    /// How many bytes may be read at once: the rest of a frame and, unless a head that is counted ends with it, the
    /// header of the next. So no two of these are whole at once.
    #[must_use]
    pub const fn ahead(&self) -> usize {
        if self.ends && self.skip > 0 && self.block.is_some() {
            return self.skip;
        }
        self.skip + self.header.len() - self.have
    }

    /// The head that is to be counted and is not whole.
    #[must_use]
    pub const fn block(&self) -> Option<Block> {
        self.block
    }

    /// Takes what was read. Returns the head that is whole now.
    pub fn read(&mut self, bytes: &[u8]) -> Option<Block> {
        debug_assert!(bytes.len() <= self.ahead(), "{} bytes are too many at once", bytes.len());
        let (payload, header) = bytes.split_at(bytes.len().min(self.skip));
        self.skip -= payload.len();
        let whole = self.whole();
        self.read_header(header);
        whole.or_else(|| self.whole())
    }

    /// The head whose last byte has come.
    fn whole(&mut self) -> Option<Block> {
        if self.skip > 0 || !self.ends {
            return None;
        }
        self.ends = false;
        self.block.take()
    }

    fn read_header(&mut self, bytes: &[u8]) {
        let places = self.header.iter_mut().skip(self.have);
        self.have += places.zip(bytes).map(|(place, byte)| *place = *byte).count();
        if self.have == self.header.len() {
            self.have = 0;
            self.begin_frame();
        }
    }

    fn begin_frame(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let bytes = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & STREAM;
        let ends = flags & END_HEADERS != 0;
        self.skip = bytes;
        match kind {
            HEADERS => {
                let trailers = stream <= self.newest;
                self.newest = self.newest.max(stream);
                let is_counted = trailers || !ends;
                self.block = is_counted.then_some(Block { stream, bytes, trailers });
                self.ends = ends;
            }
            // No client may, but it is found out only when it is whole.
            PUSH_PROMISE => {
                self.block = (!ends).then_some(Block { stream, bytes, trailers: false });
                self.ends = ends;
            }
            CONTINUATION => {
                self.block = self.block.map(|block| Block { bytes: block.bytes + bytes, ..block });
                self.ends = ends;
            }
            // There is none within a head that goes on: either the connection is over, or that head is, as malformed.
            _ => self.block = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, size: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, size, kind, flags, 0, 0, 0, stream];
        frame.resize(9 + usize::from(size), 0xff);
        frame
    }

    /// The heads that are counted in all of this, read in such pieces, and the one that isn't whole at the end.
    fn counted(mut bytes: &[u8], step: usize) -> (Vec<Block>, Option<Block>) {
        let (mut scan, mut whole) = (Scan::default(), Vec::new());
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(step).min(scan.ahead()));
            whole.extend(scan.read(piece));
            bytes = rest;
        }
        (whole, scan.block())
    }

    #[test]
    fn heads_of_several_frames_and_trailers_are_told_however_they_are_cut() {
        let block = |stream, bytes, trailers| Block { stream, bytes, trailers };
        let frames = [
            frame(4, 0, 0, 0),
            // A head of three frames, one of one, and trailers of one and of two.
            [frame(HEADERS, 1, 1, 20), frame(CONTINUATION, 0, 1, 0)].concat(),
            frame(CONTINUATION, END_HEADERS, 1, 3),
            frame(0, 1, 1, 200),
            frame(HEADERS, END_HEADERS, 3, 1),
            frame(0, 0, 3, 0),
            frame(HEADERS, END_HEADERS | 1, 3, 7),
            [frame(HEADERS, 1, 1, 5), frame(CONTINUATION, END_HEADERS, 1, 5)].concat(),
            // Trailers of nothing.
            frame(HEADERS, END_HEADERS | 1, 1, 0),
            frame(HEADERS, 0, 5, 5),
        ];
        let sent = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames.concat()].concat();
        for step in [1, 2, 9, 1_000] {
            let (whole, begun) = counted(&sent, step);
            let expected =
                [block(1, 23, false), block(3, 7, true), block(1, 10, true), block(1, 0, true)];
            assert_eq!(whole, expected, "by {step}");
            assert_eq!(begun, Some(block(5, 5, false)), "by {step}");
        }
    }

    #[test]
    fn trailers_of_nothing_are_told_with_their_last_byte() {
        let opened = [frame(HEADERS, END_HEADERS, 1, 1), frame(HEADERS, END_HEADERS, 3, 1)];
        let ends = END_HEADERS | 1;
        let trailers = [frame(HEADERS, ends, 1, 5), frame(HEADERS, ends, 3, 0)];
        let sent = [&[b'p'; PREFACE][..], &opened.concat(), &trailers.concat()].concat();
        let block = |stream, bytes| Block { stream, bytes, trailers: true };
        for step in [1, 2, 9, 1_000] {
            assert_eq!(counted(&sent, step), (vec![block(1, 5), block(3, 0)], None), "by {step}");
        }
    }

    #[test]
    fn a_head_is_whole_with_its_last_byte_and_not_before() {
        let mut scan = Scan::default();
        assert_eq!(scan.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), None);
        let head = frame(HEADERS, 0, 1, 4);
        assert_eq!(scan.read(&head[..9]), None);
        let begun = Block { stream: 1, bytes: 4, trailers: false };
        assert_eq!(scan.block(), Some(begun), "it is known by its header");
        let last = frame(CONTINUATION, END_HEADERS, 1, 2);
        assert_eq!(scan.read(&[&head[9..], &last[..9]].concat()), None);
        let all = Block { bytes: 6, ..begun };
        assert_eq!((scan.read(&last[9..10]), scan.block()), (None, Some(all)));
        assert_eq!((scan.read(&last[10..]), scan.block()), (Some(all), None));
    }
}
