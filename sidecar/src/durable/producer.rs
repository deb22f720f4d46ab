//! Idempotent producers: a retried append is taken once, and a producer that was replaced is fenced off.

use super::refusal::Refusal;

/// Larger numbers are not exact in JavaScript.
const MOST: u64 = (1 << 53) - 1;

/// The longest id.
const MOST_ID_BYTES: usize = 256;

/// What a producer says of one append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    /// Who it is.
    pub(crate) id: Box<str>,
    /// How often it was restarted.
    pub(crate) epoch: u64,
    /// The number of the append within the epoch, from 0.
    pub(crate) seq: u64,
}

/// How far a producer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The newest epoch.
    pub(crate) epoch: u64,
    /// The number of its last append that was taken.
    pub(crate) seq: u64,
}

/// What an append of a producer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The next one.
    Next,
    /// One that was taken already.
    Repeated(Progress),
}

impl Producer {
    /// Reads the three headers, which come together or not at all.
    pub(crate) fn parse(
        id: Option<&str>,
        epoch: Option<&str>,
        seq: Option<&str>,
    ) -> Result<Option<Self>, Refusal> {
        let (id, epoch, seq) = match (id, epoch, seq) {
            (None, None, None) => return Ok(None),
            (Some(id), Some(epoch), Some(seq)) => (id, epoch, seq),
            _ => {
                let rule = "producer-id, producer-epoch and producer-seq must be given together";
                return Err(Refusal::header("producer-id", rule));
            }
        };
        if id.is_empty() || id.len() > MOST_ID_BYTES {
            return Err(Refusal::header("producer-id", "must have 1 to 256 bytes"));
        }
        let number = |name, text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| text.parse().ok()).flatten();
            let rule = "must be a whole number from 0 to 9007199254740991";
            number.filter(|number| *number <= MOST).ok_or_else(|| Refusal::header(name, rule))
        };
        let (epoch, seq) = (number("producer-epoch", epoch)?, number("producer-seq", seq)?);
        Ok(Some(Self { id: id.into(), epoch, seq }))
    }

    /// What this append is to a producer that has come so far.
    pub(crate) fn turn(&self, progress: Option<Progress>) -> Result<Turn, Refusal> {
        let Self { id: _, epoch, seq } = *self;
        let expected = match progress {
            Some(progress) if epoch < progress.epoch => {
                return Err(Refusal::StaleEpoch { current: progress.epoch });
            }
            Some(progress) if epoch == progress.epoch && seq <= progress.seq => {
                return Ok(Turn::Repeated(progress));
            }
            Some(progress) if epoch == progress.epoch => progress.seq + 1,
            Some(_) if seq != 0 => return Err(Refusal::EpochStart),
            Some(_) | None => 0,
        };
        if seq == expected {
            Ok(Turn::Next)
        } else {
            Err(Refusal::SequenceGap { expected, received: seq })
        }
    }

    /// How far it has come when this append is taken.
    pub(crate) const fn progress(&self) -> Progress {
        Progress { epoch: self.epoch, seq: self.seq }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn producer(epoch: u64, seq: u64) -> Producer {
        Producer { id: "a".into(), epoch, seq }
    }

    #[test]
    fn the_headers_come_together_and_are_plain_numbers() {
        assert_eq!(Producer::parse(None, None, None), Ok(None));
        assert_eq!(Producer::parse(Some("a"), Some("1"), Some("2")), Ok(Some(producer(1, 2))));
        for (id, epoch, seq) in [
            (Some("a"), None, None),
            (None, Some("0"), None),
            (Some("a"), Some("0"), None),
            (Some(""), Some("0"), Some("0")),
            (Some("a"), Some("0xyz"), Some("0")),
            (Some("a"), Some("-1"), Some("0")),
            (Some("a"), Some("0"), Some("1e3")),
            (Some("a"), Some("0"), Some("")),
            (Some("a"), Some("0"), Some("9007199254740992")),
        ] {
            assert!(Producer::parse(id, epoch, seq).is_err(), "{id:?} {epoch:?} {seq:?}");
        }
    }

    #[test]
    fn a_replaced_producer_is_fenced_off_and_a_new_epoch_begins_at_0() {
        let progress = Some(Progress { epoch: 3, seq: 5 });
        assert_eq!(producer(2, 9).turn(progress), Err(Refusal::StaleEpoch { current: 3 }));
        assert_eq!(producer(4, 1).turn(progress), Err(Refusal::EpochStart));
        assert_eq!(producer(4, 0).turn(progress), Ok(Turn::Next));
        let gap = Refusal::SequenceGap { expected: 0, received: 1 };
        assert_eq!(producer(4, 1).turn(None), Err(gap));
    }

    proptest! {
        /// A naive twin: the list of all that was taken.
        #[test]
        fn whatever_is_retried_each_append_is_taken_once_and_in_order(
            attempts in prop::collection::vec((0_u64..3, 0_u64..4), 0..40),
        ) {
            let mut progress = None;
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for (epoch, seq) in attempts {
                let attempt = producer(epoch, seq);
                let known = taken.contains(&(epoch, seq));
                let newest = taken.last().copied();
                match attempt.turn(progress) {
                    Ok(Turn::Next) => {
                        prop_assert!(!known);
                        let first_of_epoch = newest.is_none_or(|(last, _)| epoch > last);
                        let before = seq.checked_sub(1).map(|seq| (epoch, seq));
                        prop_assert!(first_of_epoch == before.is_none());
                        prop_assert!(first_of_epoch || newest == before);
                        taken.push((epoch, seq));
                        progress = Some(attempt.progress());
                    }
                    Ok(Turn::Repeated(_)) => prop_assert!(known),
                    Err(_) => prop_assert!(!known || newest.is_some_and(|(last, _)| last > epoch)),
                }
            }
        }
    }
}
