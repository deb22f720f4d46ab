//! Offsets of a durable stream: the tokens that readers resume with.
//!
//! An offset names the stream's lineage and a position in it. A lineage is given to a stream when it is
//! created and passed on to its forks, so that an offset is good in both; a stream that is made anew at
//! the same path has another. So whoever comes back with an offset of what is gone is told so, and never
//! reads on in something else.

use std::{fmt, str::FromStr};

/// How many digits each half has: enough for the microseconds of 300 years, of which lineages are made.
/// Padded, because the protocol has readers compare offsets as texts.
const DIGITS: usize = 16;

/// A place in a stream: bytes before it, or where the stream holds JSON, messages before it.
pub(crate) type Position = u64;

/// A place in the stream of one lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offset {
    /// Who has such offsets: a stream and its forks.
    pub(crate) lineage: u64,
    /// The place.
    pub(crate) position: Position,
}

impl Offset {
    /// The beginning of every stream.
    const ZERO: Self = Self { lineage: 0, position: 0 };
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lineage, position } = self;
        write!(f, "{lineage:0DIGITS$}_{position:0DIGITS$}")
    }
}

/// The text is no offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoOffset;

impl FromStr for Offset {
    type Err = NoOffset;

    fn from_str(text: &str) -> Result<Self, NoOffset> {
        let (lineage, position) = text.split_once('_').ok_or(NoOffset)?;
        let number = |half: &str| {
            let plain = half.len() == DIGITS && half.bytes().all(|byte| byte.is_ascii_digit());
            if plain { half.parse().map_err(|_| NoOffset) } else { Err(NoOffset) }
        };
        Ok(Self { lineage: number(lineage)?, position: number(position)? })
    }
}

/// Where a reader asks to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// At the beginning.
    Start,
    /// Behind everything that is there.
    Now,
    /// At an offset that it was given.
    At(Offset),
}

impl FromStr for Anchor {
    type Err = NoOffset;

    fn from_str(text: &str) -> Result<Self, NoOffset> {
        match text {
            "-1" => Ok(Self::Start),
            "now" => Ok(Self::Now),
            token => {
                token.parse().map(|at| if at == Offset::ZERO { Self::Start } else { Self::At(at) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_sentinels_and_the_beginning_of_all_streams_are_understood() {
        assert_eq!("-1".parse(), Ok(Anchor::Start));
        assert_eq!("now".parse(), Ok(Anchor::Now));
        assert_eq!("0000000000000000_0000000000000000".parse(), Ok(Anchor::Start));
    }

    #[test]
    fn what_is_no_offset_is_refused() {
        for text in [
            "",
            "a",
            "0_0",
            "0,1",
            "0 1",
            "-2",
            "NOW",
            "000000000000000/_0000000000000000",
            "+000000000000001_0000000000000000",
            "0000000000000001_0000000000000000\n",
        ] {
            assert_eq!(text.parse::<Anchor>(), Err(NoOffset), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_offset_is_read_back_and_sorts_as_a_text(
            a in (0..10_u64.pow(16), 0..10_u64.pow(16)),
            b in (0..10_u64.pow(16), 0..10_u64.pow(16)),
        ) {
            let [a, b] = [a, b].map(|(lineage, position)| Offset { lineage, position });
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }
    }
}
