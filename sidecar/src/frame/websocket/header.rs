//! The header of a client's frame, gathered byte by byte and checked as soon as it can be.

use super::{MAX_CONTROL, decoder::ProtocolError, mask::Mask};

/// Two bytes, eight of an extended length, four of the mask (RFC 6455, section 5.2).
const MAX: usize = 14;

/// The bit that marks a compressed message (RFC 7692, section 6), and the two that mean nothing.
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x30;

/// A header of which some bytes have come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial {
    bytes: [u8; MAX],
    have: usize,
    /// Whether compression is agreed on.
    inflating: bool,
}

/// A header that is whole and keeps the rules that concern it alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) last: bool,
    /// Whether this begins a compressed message.
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    pub(super) length: u64,
    pub(super) mask: Mask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Partial {
    /// A header of which no byte has come.
    pub(super) const fn new(inflating: bool) -> Self {
        Self { bytes: [0; MAX], have: 0, inflating }
    }

    /// Takes bytes off `input` until the header is whole; `None` where more are needed.
    pub(super) fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Header>, ProtocolError> {
        loop {
            let wanted = self.wanted()?;
            if self.have == wanted {
                return self.parse().map(Some);
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            if let Some(slot) = self.bytes.get_mut(self.have) {
                *slot = byte;
            }
            self.have += 1;
            *input = rest;
        }
    }

    /// How many bytes the header has, as far as that is known yet.
    fn wanted(&self) -> Result<usize, ProtocolError> {
        if self.have < 2 {
            return Ok(2);
        }
        self.check()?;
        Ok(match self.short_length() {
            126 => 2 + 2 + 4,
            127 => 2 + 8 + 4,
            _ => 2 + 4,
        })
    }

    /// The rules on the first two bytes.
    fn check(&self) -> Result<(), ProtocolError> {
        let [first, second, ..] = self.bytes;
        if first & RESERVED != 0 || (self.compressed() && !self.inflating) {
            return Err(ProtocolError::ReservedBits);
        }
        if second & 0x80 == 0 {
            return Err(ProtocolError::Unmasked);
        }
        let opcode = self.opcode()?;
        if self.compressed() && !opcode.begins_message() {
            return Err(ProtocolError::ReservedBits);
        }
        if !opcode.is_control() {
            return Ok(());
        }
        if !self.last() {
            return Err(ProtocolError::FragmentedControl);
        }
        if usize::from(self.short_length()) > MAX_CONTROL {
            return Err(ProtocolError::LongControl);
        }
        Ok(())
    }

    fn parse(&self) -> Result<Header, ProtocolError> {
        let (length, key) = match (self.short_length(), self.bytes) {
            (126, [_, _, a, b, key @ .., _, _, _, _, _, _]) => {
                (extended(u16::from_be_bytes([a, b]).into(), 126)?, key)
            }
            (127, [_, _, a, b, c, d, e, f, g, h, key @ ..]) => {
                (extended(u64::from_be_bytes([a, b, c, d, e, f, g, h]), 1 << 16)?, key)
            }
            (short, [_, _, key @ .., _, _, _, _, _, _, _, _]) => (short.into(), key),
        };
        let (last, compressed) = (self.last(), self.compressed());
        Ok(Header { last, compressed, opcode: self.opcode()?, length, mask: Mask::new(key) })
    }

    const fn compressed(&self) -> bool {
        self.bytes[0] & COMPRESSED != 0
    }

    const fn last(&self) -> bool {
        self.bytes[0] & 0x80 != 0
    }

    const fn short_length(&self) -> u8 {
        self.bytes[1] & 0x7f
    }

    const fn opcode(&self) -> Result<Opcode, ProtocolError> {
        Ok(match self.bytes[0] & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            other => return Err(ProtocolError::Opcode(other)),
        })
    }
}

impl Opcode {
    const fn begins_message(self) -> bool {
        match self {
            Self::Text | Self::Binary => true,
            Self::Continuation | Self::Close | Self::Ping | Self::Pong => false,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        match self {
            Self::Close | Self::Ping | Self::Pong => true,
            Self::Continuation | Self::Text | Self::Binary => false,
        }
    }
}

/// An extended length, which must not fit into a shorter form nor have its highest bit set.
const fn extended(length: u64, least: u64) -> Result<u64, ProtocolError> {
    if length < least || length >> 63 != 0 {
        return Err(ProtocolError::Length);
    }
    Ok(length)
}
