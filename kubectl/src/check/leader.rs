//! The leader: does one replica hold the lease, and renew it?

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

use super::finding::{Finding, Verdict};
use super::operator::{Installed, flag};

/// Whether somebody holds the lease, and has renewed it within its duration.
pub(super) fn is_fresh(lease: &Lease, now: Timestamp) -> bool {
    let LeaseSpec { holder_identity, lease_duration_seconds, renew_time, .. } = spec(lease);
    let age = renew_time.map(|renewed| now.duration_since(renewed.0).as_secs());
    let duration = i64::from(lease_duration_seconds.unwrap_or_default());
    holder_identity.is_some_and(|holder| !holder.is_empty())
        && age.is_some_and(|age| age <= duration)
}

fn spec(lease: &Lease) -> LeaseSpec {
    lease.spec.clone().unwrap_or_default()
}

/// What is to be said of an operator's leader.
pub(super) fn judge(installed: &Installed, now: Timestamp) -> Finding {
    let subject = format!("leader of {}", installed.title());
    let remedy = "see the logs of the operator's pods: one of them says why it does not lead";
    let (first, last) = match &installed.lease {
        Err(reason) => return Finding::unknown(subject, reason),
        Ok(None) if flag(&installed.deployment, "leader-elect").as_deref() == Some("false") => {
            return Finding::ok(subject, "none is elected, as was asked for");
        }
        Ok(None) => {
            let message = "nobody has led yet: there is no lease";
            return Finding::wrong(Verdict::Problem, subject, message, remedy);
        }
        Ok(Some(leases)) => leases,
    };
    let holder = spec(last).holder_identity.filter(|holder| !holder.is_empty());
    let Some(holder) = holder else {
        let message = "nobody leads: the lease was given back";
        return Finding::wrong(Verdict::Problem, subject, message, remedy);
    };
    // A lease that was renewed while it was looked at is held, whatever the clocks say.
    if is_fresh(last, now) || spec(first).renew_time != spec(last).renew_time {
        return Finding::ok(subject, format!("{holder} leads"));
    }
    let message = format!("nobody leads: {holder} has ceased to renew the lease");
    Finding::wrong(Verdict::Problem, subject, message, remedy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::operator::tests::installed;

    fn lease(holder: &str, renewed: &str) -> Lease {
        serde_json::from_value(json!({ "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed,
        } }))
        .unwrap()
    }

    fn verdict(leases: Option<(Lease, Lease)>) -> Verdict {
        let mut operator = installed("weir-system", &["--lease=weir-leader"]);
        operator.lease = Ok(leases);
        judge(&operator, "2026-01-01T00:00:20Z".parse().unwrap()).verdict
    }

    #[test]
    fn a_lease_is_held_if_it_is_fresh_or_was_renewed_meanwhile() {
        let at = |second: u32| lease("weir-1", &format!("2026-01-01T00:00:{second:02}.000000Z"));
        assert_eq!(verdict(Some((at(6), at(6)))), Verdict::Ok);
        assert_eq!(verdict(Some((at(4), at(4)))), Verdict::Problem, "expired");
        assert_eq!(verdict(Some((at(1), at(3)))), Verdict::Ok, "the clocks differ");
    }

    #[test]
    fn a_lease_that_is_not_there_or_that_nobody_holds_is_a_problem() {
        assert_eq!(verdict(None), Verdict::Problem);
        let free = lease("", "2026-01-01T00:00:19.000000Z");
        assert_eq!(verdict(Some((free.clone(), free))), Verdict::Problem);
    }
}
