//! Decides what is to be renewed. Pure: time comes in.
//!
//! ```text
//! authority A ────────────────────────────┐ (in the bundle until it expires)
//! authority B                    ┌────────┼──────────────────
//! certificate  signed by A ──────┼──┐ signed by B ───────────
//!                            added  └ once B has settled
//! ```

use jiff::Timestamp;

use super::lives::Lives;

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
    /// Whether the newest authority's key is there; it isn't where somebody else made the certificate, as cert-manager
    /// does.
    pub(super) has_key: bool,
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
pub(super) fn plan(standing: Option<Standing>, lives: Lives, now: Timestamp) -> Plan {
    let Some(Standing { authority, certificate, by_newest, has_key }) = standing else {
        return Plan::Begin;
    };
    let settled = now >= authority.from + lives.backdated() + lives.settling();
    if authority.is_late(now) || !has_key {
        Plan::AddAuthority
    } else if (!by_newest && settled) || (by_newest && certificate.is_late(now)) {
        Plan::IssueCertificate
    } else {
        Plan::Keep
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn lives() -> Lives {
        Lives::default()
    }

    fn authority_life() -> Duration {
        lives().authority()
    }

    fn certificate_life() -> Duration {
        lives().certificate()
    }

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn period(from: Timestamp, life: Duration) -> Period {
        Period { from: from - lives().backdated(), until: from + life }
    }

    fn fresh() -> Standing {
        Standing {
            authority: period(start(), authority_life()),
            certificate: period(start(), certificate_life()),
            by_newest: true,
            has_key: true,
        }
    }

    #[test]
    fn without_anything_usable_all_is_made() {
        assert_eq!(plan(None, lives(), start()), Plan::Begin);
    }

    #[test]
    fn what_is_fresh_is_kept() {
        assert_eq!(plan(Some(fresh()), lives(), start()), Plan::Keep);
        assert_eq!(plan(Some(fresh()), lives(), start() + 59 * DAY), Plan::Keep);
    }

    #[test]
    fn a_certificate_is_renewed_in_its_last_third() {
        assert_eq!(plan(Some(fresh()), lives(), start() + 61 * DAY), Plan::IssueCertificate);
    }

    #[test]
    fn an_authority_is_followed_in_its_last_third_before_the_certificate_is_renewed() {
        let late = start() + 250 * DAY;
        let standing =
            Standing { certificate: period(late - 80 * DAY, certificate_life()), ..fresh() };
        assert_eq!(plan(Some(standing), lives(), late), Plan::AddAuthority);
    }

    #[test]
    fn what_somebody_else_has_made_is_served_until_an_own_authority_is_known() {
        let foreign = Standing { has_key: false, ..fresh() };
        assert_eq!(plan(Some(foreign), lives(), start()), Plan::AddAuthority);
        let known = Standing { by_newest: false, has_key: true, ..foreign };
        assert_eq!(plan(Some(known), lives(), start()), Plan::Keep);
    }

    #[test]
    fn a_new_authority_signs_only_after_it_has_settled() {
        let added = start() + 250 * DAY;
        let standing = Standing {
            authority: period(added, authority_life()),
            certificate: period(added - 10 * DAY, certificate_life()),
            by_newest: false,
            has_key: true,
        };
        assert_eq!(plan(Some(standing), lives(), added + Duration::from_mins(9)), Plan::Keep);
        assert_eq!(
            plan(Some(standing), lives(), added + Duration::from_mins(10)),
            Plan::IssueCertificate
        );
    }

    /// Lets the time of many lives pass, in steps of the keeper.
    fn pass(lives: Lives, start: Timestamp) {
        let period = |from: Timestamp, life: Duration| Period {
            from: from - lives.backdated(),
            until: from + life,
        };
        let (mut now, mut known_since) = (start, start);
        let mut standing = Standing {
            authority: period(start, lives.authority()),
            certificate: period(start, lives.certificate()),
            by_newest: true,
            has_key: true,
        };
        let mut signer = standing.authority;
        while now < start + 10 * lives.authority() {
            assert!(now < standing.certificate.until && now < signer.until);
            match plan(Some(standing), lives, now) {
                Plan::Begin => panic!("began anew"),
                Plan::AddAuthority => {
                    standing.authority = period(now, lives.authority());
                    standing.by_newest = false;
                    known_since = now;
                }
                Plan::IssueCertificate => {
                    assert!(known_since == start || now >= known_since + lives.settling());
                    standing.certificate = period(now, lives.certificate());
                    standing.by_newest = true;
                    signer = standing.authority;
                }
                Plan::Keep => {}
            }
            now += lives.interval().max(lives.certificate() / 200);
        }
        assert!(known_since > start);
    }

    #[test]
    fn every_certificate_is_of_an_authority_that_was_known_before_and_outlives_it() {
        pass(lives(), start());
        let second = Duration::from_secs(1);
        for (authority, certificate) in [(30, 10), (36, 12), (3_600, 600)] {
            pass(Lives::new(authority * second, certificate * second).unwrap(), start());
        }
    }
}
