//! Follows the frames of HTTP/2 in what is read, as far as it takes to know whether a head has begun and isn't
//! whole. Sans-I/O.

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// The flag of the last frame of a head.
const END_HEADERS: u8 = 4;

/// How far a connection is read.
#[derive(Debug)]
pub(super) struct Scan {
    /// What of a frame's header has come.
    header: [u8; 9],
    have: usize,
    /// What has yet to come of what is behind the header.
    skip: usize,
    within_head: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self { header: [0; 9], have: 0, skip: PREFACE, within_head: false }
    }
}

impl Scan {
    /// Whether the last head that has begun goes on in another frame.
    pub(super) const fn is_within_head(&self) -> bool {
        self.within_head
    }

    /// Takes what was read.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.skip == 0 {
                bytes = self.read_header(bytes);
            }
        }
    }

    /// Takes the bytes of a frame's header. Returns what is behind them.
    fn read_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (here, rest) = bytes.split_at(bytes.len().min(self.header.len() - self.have));
        let places = self.header.iter_mut().skip(self.have);
        places.zip(here).for_each(|(place, byte)| *place = *byte);
        self.have += here.len();
        if self.have == self.header.len() {
            let [a, b, c, kind, flags, ..] = self.header;
            self.have = 0;
            self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
            if matches!(kind, HEADERS | CONTINUATION) {
                self.within_head = flags & END_HEADERS == 0;
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, size: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, size, kind, flags, 0, 0, 0, 1];
        frame.resize(9 + usize::from(size), 0xff);
        frame
    }

    #[test]
    fn a_head_is_followed_however_its_frames_are_cut() {
        let frames = [
            (frame(4, 0, 0), false),
            (frame(HEADERS, 1, 20), true),
            (frame(CONTINUATION, 0, 0), true),
            (frame(CONTINUATION, END_HEADERS, 3), false),
            (frame(0, 1, 200), false),
            (frame(HEADERS, END_HEADERS | 1, 1), false),
            (frame(HEADERS, 0, 5), true),
        ];
        for step in [1, 2, 9, 1_000] {
            let mut scan = Scan::default();
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".chunks(step).for_each(|piece| scan.read(piece));
            for (frame, within) in &frames {
                frame.chunks(step).for_each(|piece| scan.read(piece));
                assert_eq!(scan.is_within_head(), *within, "{frame:?} by {step}");
            }
        }
    }
}
