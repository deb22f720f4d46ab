//! Judges what the API server has of an installed operator: is it rolled out, and does somebody lead?

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// Why a Deployment is not what it was last asked to be; `None` where it is. A replica of before that still runs is
/// one too many, as for `kubectl rollout status`: it may be the one that answers.
pub(super) fn unfinished(deployment: &Deployment) -> Option<String> {
    let DeploymentStatus {
        observed_generation,
        replicas,
        updated_replicas,
        available_replicas,
        ..
    } = deployment.status.clone().unwrap_or_default();
    if observed_generation < deployment.metadata.generation {
        return Some("its last change is still to be seen".to_owned());
    }
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let [all, updated, available] =
        [replicas, updated_replicas, available_replicas].map(Option::unwrap_or_default);
    if updated < wanted {
        return Some(format!("{updated} of {wanted} replicas are made as it was last asked"));
    }
    if all > updated {
        return Some(format!("{} replicas of before are still there", all - updated));
    }
    (available < wanted).then(|| format!("{available} of {wanted} replicas are available"))
}

/// Why nobody leads, as far as has been seen; `None` where somebody does. It is not asked what the clocks show: a
/// lease is held that is renewed while it is looked at. `first` keeps when it had been renewed at first.
pub(super) fn leaderless(lease: Option<&Lease>, first: &mut Option<MicroTime>) -> Option<String> {
    let Some(lease) = lease else { return Some("there is no lease".to_owned()) };
    let LeaseSpec { holder_identity, renew_time, .. } = lease.spec.clone().unwrap_or_default();
    let Some(holder) = holder_identity.filter(|holder| !holder.is_empty()) else {
        return Some("the lease was given back".to_owned());
    };
    let renewed = renew_time?;
    let before = first.get_or_insert_with(|| renewed.clone());
    (*before == renewed).then(|| format!("{holder} does not renew the lease"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(status: &Value) -> Option<String> {
        let deployment = json!({
            "metadata": { "name": "weir", "generation": 2 },
            "spec": { "replicas": 2, "selector": {}, "template": {} },
            "status": status,
        });
        unfinished(&serde_json::from_value(deployment).unwrap())
    }

    #[test]
    fn a_deployment_is_rolled_out_when_all_its_replicas_are_of_the_last_change_and_no_others_are_there()
     {
        let status = |seen: i64, all: i32, updated: i32, available: i32| {
            json!({
                "observedGeneration": seen, "replicas": all, "updatedReplicas": updated,
                "availableReplicas": available,
            })
        };
        assert_eq!(said(&status(2, 2, 2, 2)), None);
        for (status, words) in [
            (status(1, 2, 2, 2), "still to be seen"),
            (status(2, 3, 1, 2), "1 of 2 replicas are made"),
            (status(2, 3, 2, 3), "1 replicas of before"),
            (status(2, 2, 2, 1), "1 of 2 replicas are available"),
            (Value::Null, "still to be seen"),
        ] {
            let said = said(&status).unwrap();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn somebody_leads_who_renews_the_lease_while_it_is_looked_at() {
        let lease = |holder: &str, second: u32| -> Lease {
            let renewed = format!("2026-01-01T00:00:{second:02}.000000Z");
            let spec = json!({ "holderIdentity": holder, "renewTime": renewed });
            serde_json::from_value(json!({ "spec": spec })).unwrap()
        };
        let mut first = None;
        assert_eq!(leaderless(None, &mut first).unwrap(), "there is no lease");
        let free = leaderless(Some(&lease("", 1)), &mut first).unwrap();
        assert_eq!(free, "the lease was given back");
        for _ in 0..2 {
            let dead = leaderless(Some(&lease("a", 2)), &mut first).unwrap();
            assert_eq!(dead, "a does not renew the lease");
        }
        assert_eq!(leaderless(Some(&lease("a", 4)), &mut first), None);
    }
}
