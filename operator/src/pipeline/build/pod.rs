//! Builds the template of a gateway's pods.
//!
//! Nothing of the configuration is in it but the Secrets that it names and what is said about the pods
//! themselves, so that no other change of it rolls a pod.

use k8s_openapi::api::core::v1::{
    Affinity, ConfigMapVolumeSource, EmptyDirVolumeSource, LocalObjectReference, PodAffinityTerm,
    PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Toleration,
    TopologySpreadConstraint, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use weir_crds::names::{CONFIG_DIR, config_map};
use weir_crds::v1alpha1::{
    GatewayPod, TaintEffect, Toleration as WantedToleration, TolerationOperator, TopologySpread,
    WhenUnsatisfiable,
};

use crate::labels;
use crate::pipeline::given::{Given, PodInputs, decide};
use crate::pipeline::validate::{Claim, ValidGateway, ValidatedPipeline};
use crate::resources;
use crate::secrets;
use crate::sidecar::{
    DATA_VOLUME, Image, Place, USER, container, data_mount, grace_seconds, resources as usual,
};

/// The volume that holds the manifests.
const CONFIG_VOLUME: &str = "config";

/// What pods are spread over where nothing is said.
const NODE: &str = "kubernetes.io/hostname";

/// And, where nodes have zones, over these.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The highest weight, so that a zone counts as much as anything may.
const WEIGHT: i32 = 100;

/// The template that the gateway's workload is given.
pub(super) fn give(pipeline: &ValidatedPipeline, gateway: &ValidGateway) -> Given {
    let ValidGateway { replicas: _, claim, inputs, noted } = gateway;
    let make = |inputs: &PodInputs| template(pipeline, inputs, claim.as_ref());
    decide(noted.as_ref(), inputs, &pipeline.upgrade, make)
}

/// Builds the template as this release does.
fn template(
    pipeline: &ValidatedPipeline,
    inputs: &PodInputs,
    claim: Option<&Claim>,
) -> PodTemplateSpec {
    let mut labels = inputs.pod.labels.clone();
    labels.extend(labels::of_object(&pipeline.name));
    labels.extend(labels::of_gateway(&pipeline.name));
    let annotations = Some(inputs.pod.annotations.clone()).filter(|noted| !noted.is_empty());
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), annotations, ..ObjectMeta::default() }),
        spec: Some(pod(pipeline, inputs, claim)),
    }
}

/// The label by which a StatefulSet, which has claims, or a Deployment tells the pods of its revisions apart.
const fn revision(claim: Option<&Claim>) -> &'static str {
    match claim {
        Some(_) => "controller-revision-hash",
        None => "pod-template-hash",
    }
}

fn pod(pipeline: &ValidatedPipeline, inputs: &PodInputs, claim: Option<&Claim>) -> PodSpec {
    let PodInputs { drain_window, log_bytes, keeps_data: _, secrets: _, resources, pod } = inputs;
    let GatewayPod {
        node_selector,
        tolerations,
        topology_spread,
        priority_class_name,
        labels: _,
        annotations: _,
    } = pod;
    let (volumes, mounts) = volumes(&pipeline.name, inputs, claim);
    let granted = resources::of(usual(*log_bytes), resources.as_ref());
    let container = container(&pipeline.image, Place::Gateway, granted, mounts);
    let tolerations: Vec<_> = tolerations.iter().map(toleration).collect();
    PodSpec {
        // The data plane never talks to the API server.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(grace_seconds([drain_window])),
        // Without it a volume belongs to root, and the data plane could not write to it.
        security_context: claim.is_some().then(|| PodSecurityContext {
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            ..PodSecurityContext::default()
        }),
        containers: vec![container],
        image_pull_secrets: Some(pull_secrets(&pipeline.image)).filter(|list| !list.is_empty()),
        volumes: Some(volumes),
        node_selector: Some(node_selector.clone()).filter(|labels| !labels.is_empty()),
        tolerations: Some(tolerations).filter(|tolerations| !tolerations.is_empty()),
        topology_spread_constraints: Some(spread(&pipeline.name, topology_spread, revision(claim))),
        affinity: topology_spread.is_empty().then(|| over_zones(&pipeline.name, revision(claim))),
        priority_class_name: priority_class_name.clone(),
        ..PodSpec::default()
    }
}

fn pull_secrets(image: &Image) -> Vec<LocalObjectReference> {
    let reference = |name: &String| LocalObjectReference { name: name.clone() };
    image.pull_secrets.iter().map(reference).collect()
}

fn volumes(
    pipeline: &str,
    inputs: &PodInputs,
    claim: Option<&Claim>,
) -> (Vec<Volume>, Vec<VolumeMount>) {
    let mut mounts = vec![VolumeMount {
        name: CONFIG_VOLUME.to_owned(),
        mount_path: CONFIG_DIR.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }];
    let mut volumes = vec![Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map(pipeline),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }];
    if inputs.keeps_data {
        mounts.push(data_mount());
    }
    // A claimed volume is added by the StatefulSet.
    if inputs.keeps_data && claim.is_none() {
        volumes.push(Volume {
            name: DATA_VOLUME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    for secret in &inputs.secrets {
        volumes.push(secrets::volume(secret));
        mounts.push(secrets::mount(secret));
    }
    (volumes, mounts)
}

/// How the pods are spread: those of one revision among themselves, as the others are about to go.
fn spread(
    pipeline: &str,
    wanted: &[TopologySpread],
    revision: &str,
) -> Vec<TopologySpreadConstraint> {
    let constraint =
        |key: &str, max_skew: i32, unsatisfiable: WhenUnsatisfiable| TopologySpreadConstraint {
            topology_key: key.to_owned(),
            max_skew,
            when_unsatisfiable: match unsatisfiable {
                WhenUnsatisfiable::ScheduleAnyway => "ScheduleAnyway",
                WhenUnsatisfiable::DoNotSchedule => "DoNotSchedule",
            }
            .to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(labels::of_gateway(pipeline)),
                ..LabelSelector::default()
            }),
            match_label_keys: Some(vec![revision.to_owned()]),
            ..TopologySpreadConstraint::default()
        };
    if wanted.is_empty() {
        return vec![constraint(NODE, 1, WhenUnsatisfiable::ScheduleAnyway)];
    }
    let one = |TopologySpread { topology_key, max_skew, when_unsatisfiable }: &TopologySpread| {
        constraint(topology_key, *max_skew, *when_unsatisfiable)
    };
    wanted.iter().map(one).collect()
}

/// Prefers zones without a pod of the same revision. Not as a constraint beside that of the nodes: a node that
/// lacks the label of one constraint is judged by none, so that without zones pods would not be spread at all.
fn over_zones(pipeline: &str, revision: &str) -> Affinity {
    let term = PodAffinityTerm {
        topology_key: ZONE.to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(labels::of_gateway(pipeline)),
            ..LabelSelector::default()
        }),
        match_label_keys: Some(vec![revision.to_owned()]),
        ..PodAffinityTerm::default()
    };
    let preferred = WeightedPodAffinityTerm { weight: WEIGHT, pod_affinity_term: term };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![preferred]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn toleration(wanted: &WantedToleration) -> Toleration {
    let WantedToleration { key, operator, value, effect, toleration_seconds } = wanted;
    let operator = match operator {
        TolerationOperator::Equal => "Equal",
        TolerationOperator::Exists => "Exists",
    };
    let effect = effect.map(|effect| match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    });
    Toleration {
        key: key.clone(),
        operator: Some(operator.to_owned()),
        value: value.clone(),
        effect: effect.map(str::to_owned),
        toleration_seconds: toleration_seconds.map(i64::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pipeline::observe::Observed;
    use crate::pipeline::testing::{observed, placed, valid, validated};
    use crate::testing::{gateway, slo};

    fn spec(pipeline: &ValidatedPipeline) -> Value {
        json!({ "template": give(pipeline, placed(pipeline)).template })
    }

    /// A gateway whose pods are as `pod` says.
    fn with_pod(pod: &Value) -> Value {
        let mut pipeline = gateway("orders", 2);
        pipeline.spec.placement.gateway.as_mut().unwrap().pod =
            serde_json::from_value(pod.clone()).unwrap();
        spec(&valid(&pipeline))["template"].clone()
    }

    #[test]
    fn pods_have_the_time_to_send_their_subscribers_away() {
        let spec = spec(&valid(&gateway("orders", 2)));
        assert_eq!(spec["template"]["spec"]["terminationGracePeriodSeconds"], 30);
        let stop = &spec["template"]["spec"]["containers"][0]["lifecycle"]["preStop"];
        assert_eq!(stop["exec"]["command"], json!(["/usr/local/bin/weir-sidecar", "drain"]));
    }

    #[test]
    fn pods_are_spread_over_zones_and_nodes_where_there_is_room() {
        let pod = with_pod(&json!({}))["spec"].clone();
        let selector = json!({ "matchLabels": {
            "weir.dev/pipeline": "orders", "app.kubernetes.io/component": "gateway",
        } });
        let nodes = json!([{
            "topologyKey": "kubernetes.io/hostname", "maxSkew": 1,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": selector, "matchLabelKeys": ["pod-template-hash"],
        }]);
        assert_eq!(pod["topologySpreadConstraints"], nodes);
        let zones = json!({ "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "podAffinityTerm": {
                "topologyKey": "topology.kubernetes.io/zone",
                "labelSelector": selector, "matchLabelKeys": ["pod-template-hash"],
            } }],
        } });
        assert_eq!(pod["affinity"], zones);
        for absent in ["nodeSelector", "tolerations", "priorityClassName", "securityContext"] {
            assert!(pod.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn pods_are_as_the_manifest_says() {
        let template = with_pod(&json!({
            "nodeSelector": { "disk": "fast" },
            "tolerations": [
                { "key": "edge", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 30 },
                { "operator": "Exists" },
            ],
            "topologySpread": [
                { "topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule" },
            ],
            "priorityClassName": "high",
            "labels": { "team": "shop" },
            "annotations": { "linkerd.io/inject": "enabled" },
        }));
        let pod = &template["spec"];
        assert_eq!(pod["nodeSelector"], json!({ "disk": "fast" }));
        let tolerations = json!([
            {
                "key": "edge", "operator": "Equal", "value": "yes", "effect": "NoExecute",
                "tolerationSeconds": 30,
            },
            { "operator": "Exists" },
        ]);
        assert_eq!(pod["tolerations"], tolerations);
        let spread = &pod["topologySpreadConstraints"];
        assert_eq!(spread.as_array().unwrap().len(), 1);
        assert!(pod.get("affinity").is_none(), "what is said is all that holds: {pod}");
        assert_eq!((&spread[0]["topologyKey"], &spread[0]["maxSkew"]), (&json!("rack"), &json!(2)));
        assert_eq!(spread[0]["whenUnsatisfiable"], "DoNotSchedule");
        assert_eq!(pod["priorityClassName"], "high");
        let metadata = &template["metadata"];
        assert_eq!(metadata["annotations"], json!({ "linkerd.io/inject": "enabled" }));
        let labels = &metadata["labels"];
        assert_eq!(
            (&labels["team"], &labels["weir.dev/pipeline"]),
            (&json!("shop"), &json!("orders"))
        );
    }

    #[test]
    fn the_manifests_are_mounted_where_the_data_plane_reads_them() {
        let spec = spec(&valid(&gateway("orders", 2)));
        let pod = &spec["template"]["spec"];
        assert_eq!(
            pod["volumes"],
            json!([{ "name": "config", "configMap": { "name": "orders-weir" } }])
        );
        let container = &pod["containers"][0];
        let mount =
            json!([{ "name": "config", "mountPath": "/etc/weir/pipelines", "readOnly": true }]);
        assert_eq!(container["volumeMounts"], mount);
        let args = json!([
            "run",
            "/etc/weir/pipelines",
            "--data-dir=/var/lib/weir",
            "--public=[::]:7070",
            "--admin=[::]:7071",
            "--last-words=/dev/termination-log",
            "--log-format=json",
            "--status=never",
        ]);
        assert_eq!(container["args"], args);
    }

    #[test]
    fn the_image_is_pulled_with_the_secrets_that_the_operator_was_told_of() {
        let mut pipeline = valid(&gateway("orders", 1));
        assert!(spec(&pipeline)["template"]["spec"].get("imagePullSecrets").is_none());
        pipeline.image.pull_secrets = vec!["mirror".to_owned()];
        let secrets = json!([{ "name": "mirror" }]);
        assert_eq!(spec(&pipeline)["template"]["spec"]["imagePullSecrets"], secrets);
    }

    #[test]
    fn a_log_on_a_disk_has_a_volume_that_outlives_the_container() {
        let mut pipeline = gateway("orders", 1);
        pipeline.spec.log.storage = serde_json::from_value(json!({ "disk": {} })).unwrap();
        let spec = spec(&valid(&pipeline));
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["volumes"][1], json!({ "name": "weir-data", "emptyDir": {} }));
        let mount = json!({ "name": "weir-data", "mountPath": "/var/lib/weir" });
        assert_eq!(pod["containers"][0]["volumeMounts"][1], mount);
    }

    #[test]
    fn the_secrets_that_the_manifest_names_are_mounted() {
        let mut pipeline = gateway("orders", 1);
        let auth = json!({ "jwt": {
            "issuer": "https://id", "audiences": ["orders"],
            "jwks": { "secretName": "id.keys", "key": "jwks.json" },
        }});
        pipeline.spec.auth = Some(serde_json::from_value(auth).unwrap());
        let tls = json!({ "secretName": "tls" });
        pipeline.spec.endpoints.tls = Some(serde_json::from_value(tls).unwrap());
        let spec = spec(&valid(&pipeline));
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["volumes"][2]["secret"]["secretName"], "tls");
        assert_eq!(pod["containers"][0]["volumeMounts"][2]["mountPath"], "/etc/weir/secrets/tls");
        let volume = &pod["volumes"][1];
        assert_eq!(volume["secret"], json!({ "secretName": "id.keys", "optional": true }));
        let mount = &pod["containers"][0]["volumeMounts"][1];
        assert_eq!(mount["mountPath"], "/etc/weir/secrets/id.keys");
        assert_eq!((&mount["name"], &mount["readOnly"]), (&volume["name"], &json!(true)));
    }

    #[test]
    fn what_a_template_is_noted_as_is_what_was_given() {
        let mut pipeline = gateway("orders", 1);
        pipeline.spec.log.storage = serde_json::from_value(json!({ "disk": {} })).unwrap();
        let pod = json!({ "tolerations": [{ "operator": "Exists" }], "annotations": { "a": "b" } });
        let placed = pipeline.spec.placement.gateway.as_mut().unwrap();
        placed.pod = serde_json::from_value(pod).unwrap();
        placed.resources =
            serde_json::from_value(json!({ "limits": { "memory": "2Gi" } })).unwrap();
        let give_to = |observed: &Observed| {
            let valid = validated(observed);
            give(&valid, self::placed(&valid))
        };
        let first = give_to(&observed(&pipeline));
        let mut again = observed(&pipeline);
        let annotations = json!({ "weir.dev/pod-template": first.note });
        again.existing.deployment = serde_json::from_value(json!({
            "metadata": {
                "annotations": annotations, "uid": "u",
                "ownerReferences": [{
                    "apiVersion": "weir.dev/v1alpha1", "kind": "StreamPipeline", "name": "orders",
                    "uid": "uid-of-orders", "controller": true,
                }],
            },
            "spec": { "selector": {}, "template": {} },
        }))
        .unwrap();
        assert_eq!(give_to(&again), first);
        again.upgrade.release = "another".to_owned();
        assert_eq!(give_to(&again).held, None, "it makes the same");
    }

    #[test]
    fn a_change_of_the_configuration_does_not_change_the_template() {
        let mut with_slo = observed(&gateway("orders", 2));
        with_slo.slos = vec![slo("speed", "orders")];
        with_slo.pipeline.metadata.generation = Some(99);
        with_slo.pipeline.spec.delivery.max_connections = 7;
        assert_eq!(spec(&validated(&with_slo)), spec(&valid(&gateway("orders", 2))));
    }
}
