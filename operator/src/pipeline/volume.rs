//! Says how large the volumes of a gateway are, and whether they may still be chosen. Pure.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaimSpec;

use super::validate::{Claim, Rejection};

/// The size of a volume that holds a log of `log` bytes: an eighth more, because a file system needs room for
/// itself, in whole mebibytes, as Kubernetes would write it.
pub(super) fn size(log: u64) -> String {
    let mebibytes = (log + log / 8).div_ceil(1 << 20);
    if mebibytes.is_multiple_of(1_024) {
        format!("{}Gi", mebibytes / 1_024)
    } else {
        format!("{mebibytes}Mi")
    }
}

/// Refuses a claim that is not the one of the StatefulSet that there is: Kubernetes does not change those.
pub(super) fn reject_change(
    claim: &Claim,
    existing: Option<&StatefulSet>,
    name: &str,
) -> Result<(), Rejection> {
    let Claim { size, class, when_deleted: _ } = claim;
    let templates = existing.and_then(|found| found.spec.volume_claim_templates.as_ref());
    let made = templates.and_then(|templates| templates.first()?.spec.as_ref());
    let Some(made) = made else { return Ok(()) };
    let mut changes = Vec::new();
    let (before, after) = (made.storage_class_name.as_deref(), class.as_deref());
    if before != after {
        changes.push(format!("StorageClass {} to {}", called(before), called(after)));
    }
    let before = requested(made).unwrap_or_default();
    if before != size {
        changes.push(format!("{before} to {size}"));
    }
    if changes.is_empty() {
        return Ok(());
    }
    Err(Rejection::VolumeFixed(format!(
        "the volumes can't be changed from {} while StatefulSet {name} is there. Set \
         spec.placement.gateway.volume and spec.log.storage.disk.size back; or run `kubectl delete \
         statefulset {name} --cascade=orphan`, which leaves pods and volumes, and it is made anew: volumes \
         that there are already stay as they are, and can be grown by a patch of their claims \
         (weir-data-{name}-0 and so on)",
        changes.join(" and from ")
    )))
}

fn called(class: Option<&str>) -> &str {
    class.unwrap_or("(default)")
}

fn requested(spec: &PersistentVolumeClaimSpec) -> Option<&str> {
    let requests = spec.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| size.0.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_crds::v1alpha1::WhenDeleted;

    use super::*;

    fn claim(size: &str, class: Option<&str>) -> Claim {
        Claim {
            size: size.to_owned(),
            class: class.map(str::to_owned),
            when_deleted: WhenDeleted::Retain,
        }
    }

    fn made(spec: &serde_json::Value) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": { "name": "orders" },
            "spec": { "selector": {}, "template": {}, "volumeClaimTemplates": [{ "spec": spec }] },
        }))
        .unwrap()
    }

    #[test]
    fn a_volume_has_room_for_the_log_and_an_eighth_more() {
        assert_eq!([size(16 << 20), size(1 << 30), size(8 << 30)], ["18Mi", "1152Mi", "9Gi"]);
        assert_eq!(size((16 << 20) + 1), "19Mi");
    }

    #[test]
    fn a_claim_that_stays_as_it_is_is_taken_and_so_is_the_first_one() {
        let found = made(&json!({ "resources": { "requests": { "storage": "18Mi" } } }));
        assert_eq!(reject_change(&claim("18Mi", None), Some(&found), "orders"), Ok(()));
        assert_eq!(reject_change(&claim("18Mi", Some("fast")), None, "orders"), Ok(()));
    }

    #[test]
    fn another_size_and_another_class_are_refused_together_with_what_to_do() {
        let found = made(&json!({
            "storageClassName": "fast", "resources": { "requests": { "storage": "18Mi" } },
        }));
        let refused = reject_change(&claim("36Mi", None), Some(&found), "orders").unwrap_err();
        let Rejection::VolumeFixed(said) = refused else { panic!("{refused:?}") };
        let both = "from StorageClass fast to (default) and from 18Mi to 36Mi";
        assert!(said.contains(both), "{said}");
        assert!(said.contains("kubectl delete statefulset orders --cascade=orphan"), "{said}");
    }
}
