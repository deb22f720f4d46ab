//! Times as RFC 3339 has them, and no other form.

/// Whether a text is a date-time of RFC 3339, section 5.6. The date is checked by jiff, which also
/// takes forms that RFC 3339 doesn't have, and fewer digits of a second; so the shape is checked first.
pub(crate) fn is_rfc3339(text: &str) -> bool {
    const DATE_TIME: &str = "0000-00-00T00:00:00";
    let Some((date_time, rest)) = text.split_at_checked(DATE_TIME.len()) else { return false };
    let Some(offset) = after_fraction(rest) else { return false };
    matches(date_time, DATE_TIME)
        && ["Z", "+00:00", "-00:00"].iter().any(|shape| matches(offset, shape))
        && format!("{date_time}{offset}").parse::<jiff::Timestamp>().is_ok()
}

/// What follows the fraction of a second, where there is one; `None` where it has no digits.
fn after_fraction(text: &str) -> Option<&str> {
    let Some(fraction) = text.strip_prefix('.') else { return Some(text) };
    let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < fraction.len()).then_some(rest)
}

/// Whether each character of `text` is the one of `shape`, where a zero stands for any digit.
fn matches(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte.eq_ignore_ascii_case(&shape),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_of_rfc_3339() {
        for time in [
            "1985-04-12T23:20:50.52Z",
            "1996-12-19T16:39:57-08:00",
            "1990-12-31T23:59:60Z",
            "1937-01-01T12:00:27.87+00:20",
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:05.123456789123Z",
        ] {
            assert!(is_rfc3339(time), "{time}");
        }
    }

    #[test]
    fn a_time_that_only_resembles_one_of_rfc_3339_is_none() {
        for time in [
            "",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05Z",
            "2026-13-02T03:04:05Z",
            "2026-02-30T03:04:05Z",
            "2026-01-02T03:04Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+0100",
            "2026-01-02T03:04:05Z[UTC]",
            "+02026-01-02T03:04:05Z",
            "2026-01-02T03:04:05é",
            "1767323045",
        ] {
            assert!(!is_rfc3339(time), "{time}");
        }
    }
}
