//! permessage-deflate (RFC 7692): what is agreed on in the handshake, and the two directions of it.
//!
//! Laws: no context is taken over in either direction, so a compressed message stands for itself: one is
//! made for all subscribers, and between messages a connection owns no compressor and no window. What a
//! compressor remembers never depends on an earlier message.

mod inflater;
mod offer;

use flate2::{Compress, Compression, FlushCompress, Status};
use parking_lot::Mutex;

pub(super) use inflater::Inflater;
pub use offer::{Agreement, Offer, OfferError};

/// How far back a compressed message refers: what the receiver must keep of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// 2^15 bytes, the most that there is.
    Full,
    /// 2^9 bytes: for whoever asked for less than the most. What is compressed for all must suit the
    /// least of them.
    Small,
}

/// How the payloads of data messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// As they are.
    Plain,
    /// Compressed, from a size on, where that makes them smaller.
    Deflate {
        /// How far back they refer.
        window: Window,
        /// The size from which on a payload is worth it.
        min_size: usize,
    },
}

/// What ends every flush, and is left out of a message (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How many idle compressors are kept: about as many as there are threads that encode. One of the full
/// window has a quarter of a mebibyte.
const MOST_IDLE: usize = 4;

/// Compressors that are not at work, by window.
static IDLE: [Mutex<Vec<Compress>>; 2] = [const { Mutex::new(Vec::new()) }; 2];

impl Window {
    /// The base-2 logarithm of the size, as it stands in a handshake.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Full => 15,
            Self::Small => 9,
        }
    }

    const fn idle(self) -> &'static Mutex<Vec<Compress>> {
        let [full, small] = &IDLE;
        match self {
            Self::Full => full,
            Self::Small => small,
        }
    }

    /// A compressor without a memory.
    fn compressor(self) -> Compress {
        if let Some(mut compressor) = self.idle().lock().pop() {
            compressor.reset();
            return compressor;
        }
        Compress::new_with_window_bits(Compression::default(), false, self.bits())
    }

    /// A payload as blocks of a compressed message. They end on a byte and refer to nothing before them, so
    /// that they can stand anywhere in one. `None` where they would not be smaller by far.
    #[must_use]
    pub fn blocks(self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut compressor = self.compressor();
        // There is no use in more than the payload, and its flush.
        let mut out = Vec::with_capacity(payload.len() + 16);
        let status = compressor.compress_vec(payload, &mut out, FlushCompress::Sync);
        let whole = compressor.total_in() == payload.len() as u64 && out.len() < out.capacity();
        self.give_back(compressor);
        match status {
            Ok(Status::Ok) if whole && out.ends_with(&TAIL) => Some(out),
            Ok(Status::Ok | Status::BufError | Status::StreamEnd) | Err(_) => None,
        }
    }

    fn give_back(self, compressor: Compress) {
        let mut idle = self.idle().lock();
        if idle.len() < MOST_IDLE {
            idle.push(compressor);
        }
    }
}

impl Coding {
    /// Whether a payload of this size is to be compressed.
    #[must_use]
    pub const fn is_worth(self, size: usize) -> bool {
        match self {
            Self::Plain => false,
            Self::Deflate { window: _, min_size } => size >= min_size,
        }
    }

    /// The payload compressed, where that is agreed on, worth it, and makes it smaller.
    #[must_use]
    pub fn compress(self, payload: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Deflate { window, min_size: _ } if self.is_worth(payload.len()) => {
                let compressed = deflate(window, payload)?;
                (compressed.len() < payload.len()).then_some(compressed)
            }
            Self::Plain | Self::Deflate { .. } => None,
        }
    }
}

/// Compresses a whole payload; `None` where it would not become smaller by far, or can't be compressed.
fn deflate(window: Window, payload: &[u8]) -> Option<Vec<u8>> {
    let mut blocks = window.blocks(payload)?;
    blocks.truncate(blocks.len() - TAIL.len());
    Some(blocks)
}

/// Appends bytes as a block that is not compressed (RFC 1951, section 3.2.4). It has 65,535 at most.
pub fn push_stored(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.push(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(bytes.get(..length.into()).unwrap_or(bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Window; 2] = [Window::Full, Window::Small];

    fn inflate(compressed: &[u8], limit: usize) -> Option<Vec<u8>> {
        let (mut inflater, mut out) = (Inflater::new(limit), Vec::new());
        inflater.feed(compressed, &mut out).ok()?;
        inflater.finish(&mut out).ok()?;
        Some(out)
    }

    #[test]
    fn a_payload_below_the_least_size_or_without_repetition_stays_as_it_is() {
        let coding = Coding::Deflate { window: Window::Full, min_size: 100 };
        assert_eq!(coding.compress(&[b'x'; 99]), None);
        assert!(coding.compress(&[b'x'; 100]).is_some_and(|short| short.len() < 20));
        let noise: Vec<u8> =
            (0..200_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(coding.compress(&noise), None);
        assert_eq!(Coding::Plain.compress(&[b'x'; 1000]), None);
    }

    #[test]
    fn a_small_window_refers_no_further_back_than_it_says() {
        // What repeats after a thousand bytes is within reach of the full window only.
        let noise: Vec<u8> =
            (0..1_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let twice = [&noise[..], &noise[..]].concat();
        let length = |window| deflate(window, &twice).map_or(usize::MAX, |out| out.len());
        assert!(length(Window::Full) < 1_200);
        assert!(length(Window::Small) > 1_800);
    }

    proptest! {
        #[test]
        fn blocks_make_a_message_wherever_they_stand(
            before in "[a-z]{0,300}", parts in prop::collection::vec("[a-d]{1,400}", 0..4), after in "[a-z]{0,9}",
        ) {
            for window in BOTH {
                let (mut message, mut plain) = (Vec::new(), before.clone());
                push_stored(before.as_bytes(), &mut message);
                for part in &parts {
                    if let Some(blocks) = window.blocks(part.as_bytes()) {
                        plain.push_str(part);
                        message.extend(blocks);
                    }
                }
                plain.push_str(&after);
                push_stored(after.as_bytes(), &mut message);
                // What is left of the flush at the end of a message.
                message.push(0);
                prop_assert_eq!(inflate(&message, 10_000).unwrap(), plain.as_bytes());
            }
        }


        #[test]
        fn what_is_compressed_comes_back(text in "[a-c]{0,3000}", noise in any::<Vec<u8>>()) {
            for payload in [text.as_bytes(), &noise] {
                for window in BOTH {
                    if let Some(compressed) = deflate(window, payload) {
                        let back = inflate(&compressed, payload.len());
                        prop_assert_eq!(back.as_deref(), Some(payload));
                    }
                }
            }
        }

        #[test]
        fn one_message_does_not_depend_on_the_one_before(first in "[a-z]{0,500}", second in "[a-z]{1,500}") {
            let alone = deflate(Window::Full, second.as_bytes());
            let _ = deflate(Window::Full, first.as_bytes());
            prop_assert_eq!(deflate(Window::Full, second.as_bytes()), alone);
        }
    }
}
