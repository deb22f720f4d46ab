//! Takes the chunked transfer coding (RFC 9112, section 7.1) off a body, as it arrives.

use anyhow::{Context as _, Result, ensure};

/// A chunk's size and extensions are shorter than this.
const MAX_SIZE_LINE: usize = 256;

/// Where in the coding the next byte is.
#[derive(Debug)]
pub(crate) enum Chunked {
    /// In the line with the size, of which this has come.
    Size(Vec<u8>),
    /// In the data, of which this much is to come.
    Data(u64),
    /// In the CRLF behind the data, of which this much is to come.
    LineEnd(u8),
    /// Behind the last chunk.
    Over,
}

impl Chunked {
    pub(crate) const fn new() -> Self {
        Self::Size(Vec::new())
    }

    /// Takes bytes off the front of `input`, and returns those of them that are the body's next; `None`
    /// once `input` is empty or the body is over.
    pub(crate) fn take<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
        while let Some((&first, rest)) = input.split_first() {
            match self {
                Self::Size(line) => {
                    *input = rest;
                    line.push(first);
                    if first == b'\n' {
                        *self = Self::behind_size(line)?;
                    }
                }
                Self::Data(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    let (data, rest) = input.split_at(count);
                    *input = rest;
                    *left -= count as u64;
                    if *left == 0 {
                        *self = Self::LineEnd(2);
                    }
                    return Ok(Some(data));
                }
                Self::LineEnd(left) => {
                    ensure!(matches!(first, b'\r' | b'\n'), "a chunk is longer than its size says");
                    *input = rest;
                    *left -= 1;
                    if *left == 0 {
                        *self = Self::new();
                    }
                }
                Self::Over => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Whether the body is over.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    fn behind_size(line: &[u8]) -> Result<Self> {
        // httparse takes an empty line for a 0.
        ensure!(line.first().is_some_and(u8::is_ascii_hexdigit), "a chunk has no size");
        ensure!(line.len() < MAX_SIZE_LINE, "a chunk's size line is too long");
        let parsed = httparse::parse_chunk_size(line).ok().context("a chunk has no valid size")?;
        match parsed {
            httparse::Status::Complete((_, 0)) => Ok(Self::Over),
            httparse::Status::Complete((_, size)) => Ok(Self::Data(size)),
            httparse::Status::Partial => anyhow::bail!("a chunk's size line ends too early"),
        }
    }
}
