//! Builds the gateway's StatefulSet, where each replica keeps its log on a persistent volume.
//!
//! A StatefulSet and no Deployment, because it gives each replica the same volume again, and never has two
//! pods of one replica at the same time: a log can be opened by one of them alone. So an update replaces one
//! replica after the other, each of which is away while its pod is made anew.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use weir_crds::v1alpha1::WhenDeleted;

use super::noted;
use crate::labels;
use crate::pipeline::given::Given;
use crate::pipeline::validate::{Claim, ValidGateway, ValidatedPipeline};
use crate::sidecar::DATA_VOLUME;

/// Builds the StatefulSet.
pub(super) fn build(
    pipeline: &ValidatedPipeline,
    gateway: &ValidGateway,
    claim: &Claim,
    given: &Given,
) -> StatefulSet {
    StatefulSet {
        metadata: noted(pipeline, given),
        spec: StatefulSetSpec {
            replicas: Some(gateway.replicas),
            selector: LabelSelector {
                match_labels: Some(labels::of_gateway(&pipeline.name)),
                ..LabelSelector::default()
            },
            // No replica waits for another: each has a log of its own.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            revision_history_limit: Some(2),
            template: given.template.clone(),
            volume_claim_templates: Some(vec![volume(pipeline, claim)]),
            persistent_volume_claim_retention_policy: Some(retention(claim.when_deleted)),
            ..StatefulSetSpec::default()
        },
        ..StatefulSet::default()
    }
}

/// A replica that is scaled away leaves its volume always: what it holds, nobody else has.
fn retention(when_deleted: WhenDeleted) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let when_deleted = match when_deleted {
        WhenDeleted::Retain => "Retain",
        WhenDeleted::Delete => "Delete",
    };
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(when_deleted.to_owned()),
        when_scaled: Some("Retain".to_owned()),
    }
}

fn volume(pipeline: &ValidatedPipeline, claim: &Claim) -> PersistentVolumeClaim {
    let Claim { size, class, when_deleted: _ } = claim;
    let storage = BTreeMap::from([("storage".to_owned(), Quantity(size.clone()))]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA_VOLUME.to_owned()),
            labels: Some(labels::of_object(&pipeline.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(storage),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pod;
    use super::*;
    use crate::pipeline::testing::{placed, valid};
    use crate::testing::gateway;

    fn spec(volume: &Value) -> Value {
        let mut pipeline = gateway("orders", 2);
        let disk = json!({ "disk": { "size": "1Gi" } });
        pipeline.spec.log.storage = serde_json::from_value(disk).unwrap();
        let gateway = pipeline.spec.placement.gateway.as_mut().unwrap();
        gateway.volume = serde_json::from_value(volume.clone()).unwrap();
        let valid = valid(&pipeline);
        let gateway = placed(&valid);
        let claim = gateway.claim.as_ref().unwrap();
        let given = pod::give(&valid, gateway);
        serde_json::to_value(build(&valid, gateway, claim, &given).spec).unwrap()
    }

    #[test]
    fn each_replica_has_a_volume_with_room_for_its_log() {
        let spec = spec(&json!({ "storageClassName": "fast" }));
        let claim = &spec["volumeClaimTemplates"][0];
        assert_eq!(claim["metadata"]["name"], "weir-data");
        let expected = json!({
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fast",
            "resources": { "requests": { "storage": "1152Mi" } },
        });
        assert_eq!(claim["spec"], expected);
        let pod = &spec["template"]["spec"];
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.contains(&json!({ "name": "weir-data", "mountPath": "/var/lib/weir" })));
        // The StatefulSet adds the volume; one of the same name in the template would be refused.
        assert!(!pod["volumes"].to_string().contains("weir-data"), "{}", pod["volumes"]);
        let user = json!({ "fsGroup": 65_532, "fsGroupChangePolicy": "OnRootMismatch" });
        assert_eq!(pod["securityContext"], user);
    }

    #[test]
    fn volumes_are_kept_unless_it_is_said_otherwise() {
        let policy = |volume| spec(&volume)["persistentVolumeClaimRetentionPolicy"].clone();
        let kept = json!({ "whenDeleted": "Retain", "whenScaled": "Retain" });
        assert_eq!(policy(json!({})), kept);
        let gone = json!({ "whenDeleted": "Delete", "whenScaled": "Retain" });
        assert_eq!(policy(json!({ "whenDeleted": "Delete" })), gone);
    }
}
