//! Decides what is to be renewed. Pure: time comes in.
//!
//! ```text
//! authority A ────────────────────────────┐ (in the bundle until it expires)
//! authority B                    ┌────────┼──────────────────
//! certificate  signed by A ──────┼──┐ signed by B ───────────
//!                            added  └ once B has settled
//! ```

use std::time::Duration;

use jiff::Timestamp;

/// How long an authority is valid.
pub(super) const AUTHORITY_LIFE: Duration = Duration::from_hours(365 * 24);
/// How long a certificate is valid.
pub(super) const CERTIFICATE_LIFE: Duration = Duration::from_hours(90 * 24);
/// How far before its making a certificate is valid already, for clocks that are behind.
pub(super) const BACKDATED: Duration = Duration::from_hours(1);
/// How long the API server is given to learn of an authority before a certificate of it is served.
const SETTLING: Duration = Duration::from_mins(10);

/// From when until when something is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Period {
    /// Whether the last third has begun: time enough for weeks of failed renewals.
    fn is_late(self, now: Timestamp) -> bool {
        let life = self.until.duration_since(self.from);
        now >= self.until - life / 3
    }
}

/// What stands in the Secret, if it is usable at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The newest authority.
    pub(super) authority: Period,
    /// The certificate.
    pub(super) certificate: Period,
    /// Whether the newest authority signed the certificate.
    pub(super) by_newest: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Make an authority and a certificate, without regard for what stands.
    Begin,
    /// Add an authority, and leave the certificate.
    AddAuthority,
    /// Make a certificate by the newest authority.
    IssueCertificate,
    /// Nothing.
    Keep,
}

/// Decides what is to be done.
pub(super) fn plan(standing: Option<Standing>, now: Timestamp) -> Plan {
    let Some(Standing { authority, certificate, by_newest }) = standing else {
        return Plan::Begin;
    };
    let settled = now >= authority.from + BACKDATED + SETTLING;
    if authority.is_late(now) {
        Plan::AddAuthority
    } else if (!by_newest && settled) || (by_newest && certificate.is_late(now)) {
        Plan::IssueCertificate
    } else {
        Plan::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn period(from: Timestamp, life: Duration) -> Period {
        Period { from: from - BACKDATED, until: from + life }
    }

    fn fresh() -> Standing {
        Standing {
            authority: period(start(), AUTHORITY_LIFE),
            certificate: period(start(), CERTIFICATE_LIFE),
            by_newest: true,
        }
    }

    #[test]
    fn without_anything_usable_all_is_made() {
        assert_eq!(plan(None, start()), Plan::Begin);
    }

    #[test]
    fn what_is_fresh_is_kept() {
        assert_eq!(plan(Some(fresh()), start()), Plan::Keep);
        assert_eq!(plan(Some(fresh()), start() + 59 * DAY), Plan::Keep);
    }

    #[test]
    fn a_certificate_is_renewed_in_its_last_third() {
        assert_eq!(plan(Some(fresh()), start() + 61 * DAY), Plan::IssueCertificate);
    }

    #[test]
    fn an_authority_is_followed_in_its_last_third_before_the_certificate_is_renewed() {
        let late = start() + 250 * DAY;
        let standing =
            Standing { certificate: period(late - 80 * DAY, CERTIFICATE_LIFE), ..fresh() };
        assert_eq!(plan(Some(standing), late), Plan::AddAuthority);
    }

    #[test]
    fn a_new_authority_signs_only_after_it_has_settled() {
        let added = start() + 250 * DAY;
        let standing = Standing {
            authority: period(added, AUTHORITY_LIFE),
            certificate: period(added - 10 * DAY, CERTIFICATE_LIFE),
            by_newest: false,
        };
        assert_eq!(plan(Some(standing), added + Duration::from_mins(9)), Plan::Keep);
        assert_eq!(plan(Some(standing), added + Duration::from_mins(10)), Plan::IssueCertificate);
    }

    #[test]
    fn over_ten_years_every_certificate_is_of_an_authority_that_was_known_before() {
        let (mut now, mut known_since) = (start(), start());
        let mut standing = fresh();
        while now < start() + 3_650 * DAY {
            assert!(now < standing.certificate.until && now < standing.authority.until);
            match plan(Some(standing), now) {
                Plan::Begin => panic!("began anew"),
                Plan::AddAuthority => {
                    standing.authority = period(now, AUTHORITY_LIFE);
                    standing.by_newest = false;
                    known_since = now;
                }
                Plan::IssueCertificate => {
                    assert!(known_since == start() || now >= known_since + SETTLING);
                    standing.certificate = period(now, CERTIFICATE_LIFE);
                    standing.by_newest = true;
                }
                Plan::Keep => {}
            }
            now += Duration::from_hours(1);
        }
    }
}
