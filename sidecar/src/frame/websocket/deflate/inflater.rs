//! Inflates one message, within bounds.
//!
//! Law: what comes out, and whether it is refused, depends on the bytes and not on how they were split.

use flate2::{Decompress, FlushDecompress, Status};

use super::{super::decoder::ProtocolError, TAIL};

/// How much comes out at once, on the stack.
const PIECE: usize = 4 * 1024;

/// How much a message may grow to, whatever it was.
const FREE: usize = 64 * 1024;

/// How many times its compressed size a message may have beyond that. Text has 3 to 20 times, a table of
/// one repeated row a hundred; a bomb has a thousand.
const MOST_RATIO: usize = 256;

/// Inflates one message of a peer that takes no context over.
#[derive(Debug)]
pub(in super::super) struct Inflater {
    inflate: Decompress,
    /// The most that may come out.
    limit: usize,
    taken: usize,
}

impl Inflater {
    /// An inflater for a message that has at most `limit` bytes.
    pub(in super::super) fn new(limit: usize) -> Self {
        Self { inflate: Decompress::new(false), limit, taken: 0 }
    }

    /// Takes compressed bytes, and appends what comes out of them.
    pub(in super::super) fn feed(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        self.taken += input.len();
        self.inflate(input, out)
    }

    /// Ends the message.
    pub(in super::super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        self.inflate(&TAIL, out)?;
        let most = self.taken.saturating_mul(MOST_RATIO).max(FREE);
        if out.len() > most { Err(ProtocolError::Bomb(MOST_RATIO)) } else { Ok(()) }
    }

    fn inflate(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let mut piece = [0; PIECE];
        loop {
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, &mut piece, FlushDecompress::None);
            let read = difference(self.inflate.total_in(), read);
            let written = difference(self.inflate.total_out(), written);
            input = input.get(read..).unwrap_or_default();
            let room = self.limit.saturating_sub(out.len());
            out.extend_from_slice(piece.get(..written.min(room)).unwrap_or_default());
            if written > room {
                return Err(ProtocolError::TooBig(self.limit));
            }
            let ended = match status {
                // A message may have several streams (section 7.2.3.4).
                Ok(Status::StreamEnd) => true,
                Ok(Status::Ok | Status::BufError) => false,
                Err(_) => return Err(ProtocolError::Deflate),
            };
            if ended {
                self.inflate.reset(false);
            }
            let stuck = read == 0 && written == 0 && !ended;
            if stuck || (input.is_empty() && written < PIECE) {
                return Ok(());
            }
        }
    }
}

/// How far a count has come; within one call it is less than a piece of memory.
fn difference(now: u64, before: u64) -> usize {
    usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX)
}
