//! How many connections each replica is to come down to, as the operator tells it.

use std::fmt;
use std::str::FromStr;

/// The share of a replica, and until when it is to be reached. As a text it can be a label's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many connections it may keep.
    pub connections: u64,
    /// In seconds since 1970.
    pub until: u64,
}

/// What is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a share is CONNECTIONS.SECONDS, such as 5000.1800000000")]
pub struct NoShare;

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, until } = self;
        write!(f, "{connections}.{until}")
    }
}

impl FromStr for Share {
    type Err = NoShare;

    fn from_str(text: &str) -> Result<Self, NoShare> {
        let (connections, until) = text.split_once('.').ok_or(NoShare)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| NoShare);
        Ok(Self { connections: number(connections)?, until: number(until)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_as_it_is_written() {
        let share = Share { connections: 5_000, until: 1_800_000_000 };
        assert_eq!(share.to_string().parse(), Ok(share));
        for text in ["", "5", "5.", ".5", "a.5", "5.6.7"] {
            assert_eq!(text.parse::<Share>(), Err(NoShare), "{text}");
        }
    }
}
