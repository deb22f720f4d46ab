//! Builds the gateway's Deployment.
//!
//! Nothing of the configuration is in the pod template but the Secrets that it names, so that no other change of
//! it rolls a pod.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, PodSpec, PodTemplateSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_crds::names::{CONFIG_DIR, config_map};

use super::metadata;
use crate::labels;
use crate::pipeline::validate::ValidatedPipeline;
use crate::secrets;
use crate::sidecar::{DATA_VOLUME, Place, container, data_mount};

/// The volume that holds the manifests.
const CONFIG_VOLUME: &str = "config";

/// Builds the Deployment.
pub(super) fn build(pipeline: &ValidatedPipeline, replicas: i32) -> Deployment {
    let mut labels = labels::of_object(&pipeline.name);
    labels.extend(labels::of_gateway(&pipeline.name));
    Deployment {
        metadata: metadata(pipeline, pipeline.name.clone()),
        spec: DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector {
                match_labels: Some(labels::of_gateway(&pipeline.name)),
                ..LabelSelector::default()
            },
            strategy: Some(strategy()),
            // Enough to look back by hand; the operator never rolls back.
            revision_history_limit: Some(2),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(pod(pipeline)),
            },
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    }
}

/// A new pod first, then an old one less: subscribers that are sent away find room.
fn strategy() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(0)),
            max_surge: Some(IntOrString::Int(1)),
        }),
    }
}

fn pod(pipeline: &ValidatedPipeline) -> PodSpec {
    let mount = VolumeMount {
        name: CONFIG_VOLUME.to_owned(),
        mount_path: CONFIG_DIR.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let mut volumes = vec![Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map(&pipeline.name),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }];
    let mut mounts = vec![mount];
    if pipeline.keeps_data {
        mounts.push(data_mount());
        volumes.push(Volume {
            name: DATA_VOLUME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    for secret in secrets::named_by([&pipeline.manifest.spec]) {
        volumes.push(secrets::volume(secret));
        mounts.push(secrets::mount(secret));
    }
    PodSpec {
        // The data plane never talks to the API server.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(pipeline.grace_seconds),
        containers: vec![container(&pipeline.image, Place::Gateway, pipeline.log_bytes, mounts)],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pipeline::testing::{observed, valid, validated};
    use crate::testing::{gateway, slo};

    fn spec(pipeline: &ValidatedPipeline) -> Value {
        serde_json::to_value(build(pipeline, 2).spec).unwrap()
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
    fn a_rollout_never_has_fewer_replicas_than_asked_for() {
        let spec = spec(&valid(&gateway("orders", 2)));
        assert_eq!(spec["replicas"], 2);
        assert_eq!(
            spec["strategy"]["rollingUpdate"],
            json!({ "maxUnavailable": 0, "maxSurge": 1 })
        );
        assert_eq!(spec["template"]["spec"]["terminationGracePeriodSeconds"], 30);
    }

    #[test]
    fn the_pods_have_the_labels_that_the_deployment_selects() {
        let spec = spec(&valid(&gateway("orders", 2)));
        let labels = spec["template"]["metadata"]["labels"].as_object().unwrap();
        for (key, value) in spec["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(labels.get(key), Some(value));
        }
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
