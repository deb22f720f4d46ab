//! When a stream ends by itself: after a time without use, or at a moment.

use jiff::Timestamp;

use super::refusal::Refusal;
use crate::log::Micros;

const SECOND: Micros = 1_000_000;

/// When a stream ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// So many seconds after it was last read or written.
    Idle(u64),
    /// At this moment.
    At(Micros),
}

impl Expiry {
    /// Whether a stream that was last used at `used` has ended.
    pub(crate) fn is_past(self, used: Micros, now: Micros) -> bool {
        match self {
            Self::Idle(seconds) => now >= used.saturating_add(seconds.saturating_mul(SECOND)),
            Self::At(moment) => now >= moment,
        }
    }
}

/// What the headers `Stream-TTL` and `Stream-Expires-At` ask for.
pub(crate) fn parse(ttl: Option<&str>, at: Option<&str>) -> Result<Option<Expiry>, Refusal> {
    match (ttl, at) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(Refusal::header("stream-ttl", "can't be given together with stream-expires-at"))
        }
        (Some(ttl), None) => {
            let seconds = plain_number(ttl).ok_or_else(|| {
                Refusal::header(
                    "stream-ttl",
                    "must be whole seconds such as 3600, without sign or zeros before",
                )
            })?;
            Ok(Some(Expiry::Idle(seconds)))
        }
        (None, Some(at)) => {
            let moment = at.parse::<Timestamp>().map_err(|_| {
                Refusal::header("stream-expires-at", "must be a time such as 2026-01-31T12:00:00Z")
            })?;
            Ok(Some(Expiry::At(Micros::try_from(moment.as_microsecond()).unwrap_or(0))))
        }
    }
}

/// A number in decimal digits alone, without zeros before it.
pub(crate) fn plain_number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    (plain && shortest).then(|| text.parse().ok()).flatten()
}

/// The text of a moment.
pub(crate) fn moment(micros: Micros) -> String {
    let time =
        i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    time.unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(plain_number("0"), Some(0));
        assert_eq!(plain_number("3600"), Some(3_600));
        for text in ["", "-1", "+60", "00060", "60.5", "1e3", "abc", "99999999999999999999"] {
            assert_eq!(plain_number(text), None, "{text}");
        }
    }

    #[test]
    fn a_stream_has_one_kind_of_end() {
        assert_eq!(parse(None, None), Ok(None));
        assert_eq!(parse(Some("2"), None), Ok(Some(Expiry::Idle(2))));
        let at = Some(Expiry::At(1_500_000));
        assert_eq!(parse(None, Some("1970-01-01T00:00:01.5Z")), Ok(at));
        assert_eq!(parse(None, Some("1970-01-01T01:00:01.5+01:00")), Ok(at));
        assert!(parse(Some("2"), Some("1970-01-01T00:00:01Z")).is_err());
        assert!(parse(None, Some("tomorrow")).is_err());
    }

    #[test]
    fn use_postpones_the_one_end_and_not_the_other() {
        assert!(!Expiry::Idle(2).is_past(5 * SECOND, 7 * SECOND - 1));
        assert!(Expiry::Idle(2).is_past(5 * SECOND, 7 * SECOND));
        assert!(!Expiry::Idle(u64::MAX).is_past(5, u64::MAX - 1));
        assert!(Expiry::At(7).is_past(6, 7));
        assert!(!Expiry::At(7).is_past(6, 6));
    }
}
