//! When a stream ends by itself: after a time without use, or at a moment.

use jiff::Timestamp;

use super::refusal::Refusal;
use crate::{event::is_rfc3339, log::Micros};

const SECOND: Micros = 1_000_000;

/// The longest time without use: more than a century.
const MOST_SECONDS: u64 = 4_000_000_000;

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

/// What the headers `Stream-TTL` and `Stream-Expires-At` ask for: a stream that is there for a while.
pub(crate) fn parse(
    ttl: Option<&str>,
    at: Option<&str>,
    now: Micros,
) -> Result<Option<Expiry>, Refusal> {
    match (ttl, at) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(Refusal::header("stream-ttl", "can't be given together with stream-expires-at"))
        }
        (Some(ttl), None) => {
            let in_range = |seconds: &u64| (1..=MOST_SECONDS).contains(seconds);
            let seconds = plain_number(ttl).filter(in_range).ok_or_else(|| {
                Refusal::header(
                    "stream-ttl",
                    "must be whole seconds such as 3600, from 1 to 4000000000, without sign or zeros \
                     before",
                )
            })?;
            Ok(Some(Expiry::Idle(seconds)))
        }
        (None, Some(at)) => {
            let refused = |rule| Refusal::header("stream-expires-at", rule);
            let moment = Some(at).filter(|at| is_rfc3339(at)).and_then(|at| at.parse().ok());
            let moment: Timestamp = moment
                .ok_or_else(|| refused("must be a time such as 2026-01-31T12:00:00Z (RFC 3339)"))?;
            match Micros::try_from(moment.as_microsecond()) {
                Ok(moment) if moment > now => Ok(Some(Expiry::At(moment))),
                Ok(_) | Err(_) => Err(refused("must be a time to come")),
            }
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
        assert_eq!(parse(None, None, 0), Ok(None));
        assert_eq!(parse(Some("2"), None, 0), Ok(Some(Expiry::Idle(2))));
        let at = Some(Expiry::At(1_500_000));
        assert_eq!(parse(None, Some("1970-01-01T00:00:01.5Z"), 0), Ok(at));
        assert_eq!(parse(None, Some("1970-01-01T01:00:01.5+01:00"), 0), Ok(at));
        assert!(parse(Some("2"), Some("1970-01-01T00:00:01Z"), 0).is_err());
    }

    #[test]
    fn an_end_that_is_no_time_or_over_is_refused_by_the_name_of_its_header() {
        let year = 31_536_000 * SECOND;
        for (ttl, at) in [
            (Some("0"), None),
            (Some("4000000001"), None),
            (Some("18446744073709551615"), None),
            (Some(""), None),
            (Some("60s"), None),
            (None, Some("")),
            (None, Some("tomorrow")),
            (None, Some("3600")),
            (None, Some("2026-01-31")),
            (None, Some("2026-01-31T12Z")),
            (None, Some("20260131T120000Z")),
            (None, Some("2026-02-30T12:00:00Z")),
            (None, Some("2026-01-31T12:00:00+00:00[UTC]")),
            (None, Some("1970-12-31T23:59:59Z")),
            (None, Some("1969-01-01T00:00:00Z")),
        ] {
            let name = if ttl.is_some() { "stream-ttl" } else { "stream-expires-at" };
            let refused = parse(ttl, at, year).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("the header {name} must be ")), "{refused}");
        }
        assert_eq!(parse(Some("4000000000"), None, year), Ok(Some(Expiry::Idle(4_000_000_000))));
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
