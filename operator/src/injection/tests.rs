//! Applies the patches, and looks at the pods that come out.

use serde_json::{Value, json};
use weir_crds::v1alpha1::StreamPipeline;

use super::*;
use crate::testing::sidecar_pipeline;

fn image() -> Image {
    Image {
        reference: "registry.test/weir-sidecar:1".to_owned(),
        pull_policy: Some("IfNotPresent".to_owned()),
        pull_secrets: Vec::new(),
    }
}

/// A pod as a Deployment makes it: no labels of ours, no volumes, and a field that no type knows.
fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "generateName": "web-", "labels": { "app": "shop" } },
        "spec": {
            "containers": [{ "name": "app", "image": "app:1", "unheardOf": { "a": [1, 2.5, null] } }],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
        },
    })
}

fn decide(pod: &Value, pipelines: &[StreamPipeline]) -> Decision {
    let pipelines: Vec<&StreamPipeline> = pipelines.iter().collect();
    inject(pod, &pipelines, &image()).unwrap()
}

/// The pod after the injection; the pod itself where nothing is to be done.
fn injected(pod: &Value, pipelines: &[StreamPipeline]) -> Value {
    let mut pod = pod.clone();
    match decide(&pod.clone(), pipelines) {
        Decision::Patch(patch) => json_patch::patch(&mut pod, &patch).unwrap(),
        Decision::Complete => {}
        Decision::Refused { reason, note: _ } => panic!("{reason}"),
    }
    pod
}

fn orders() -> Vec<StreamPipeline> {
    vec![sidecar_pipeline("orders")]
}

fn two() -> Vec<StreamPipeline> {
    // Not in the order of their names.
    vec![sidecar_pipeline("orders"), sidecar_pipeline("audit")]
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn a_pod_gets_the_native_sidecar_at_the_front() {
    let mut pod = pod();
    pod["spec"]["initContainers"] = json!([{ "name": "migrate" }]);
    let pod = injected(&pod, &orders());
    assert_eq!(names(&pod["spec"]["initContainers"]), ["weir-sidecar", "migrate"]);
    let sidecar = &pod["spec"]["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(sidecar["image"], "registry.test/weir-sidecar:1");
    assert_eq!(sidecar["imagePullPolicy"], "IfNotPresent");
    let args = json!([
        "run",
        "/etc/weir/pipelines",
        "--data-dir=/var/lib/weir",
        "--public=[::]:7070",
        "--admin=[::]:7071",
        "--publish-socket=/run/weir/publish.sock",
        "--last-words=/dev/termination-log",
        "--log-format=json",
        "--status=never",
    ]);
    assert_eq!(sidecar["args"], args);
    assert_eq!(sidecar["startupProbe"]["httpGet"], json!({ "path": "/livez", "port": 7071 }));
    assert_eq!(sidecar["readinessProbe"]["httpGet"], json!({ "path": "/readyz", "port": 7071 }));
    assert_eq!(
        sidecar["lifecycle"]["preStop"]["exec"],
        json!({ "command": ["/usr/local/bin/weir-sidecar", "drain"] })
    );
    let mounts = json!([
        { "name": "weir-run", "mountPath": "/run/weir" },
        { "name": "weir-p-orders", "mountPath": "/etc/weir/pipelines/orders", "readOnly": true },
    ]);
    assert_eq!(sidecar["volumeMounts"], mounts);
}

#[test]
fn the_pod_is_marked_so_that_the_service_and_the_controller_find_it() {
    let pod = injected(&pod(), &orders());
    let labels = json!({
        "app": "shop", "weir.dev/injected": "true", "pipeline.weir.dev/orders": "true",
    });
    assert_eq!(pod["metadata"]["labels"], labels);
    let annotations = json!({
        "weir.dev/pipelines": "orders",
        "weir.dev/sidecar-image": "registry.test/weir-sidecar:1",
    });
    assert_eq!(pod["metadata"]["annotations"], annotations);
}

#[test]
fn the_volumes_hold_the_manifests_and_the_socket() {
    let volumes = injected(&pod(), &orders())["spec"]["volumes"].clone();
    let expected = json!([
        { "name": "weir-run", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
        { "name": "weir-p-orders", "configMap": { "name": "orders-weir", "optional": true } },
    ]);
    assert_eq!(volumes, expected);
}

#[test]
fn a_log_on_a_disk_has_a_volume_that_only_the_sidecar_sees() {
    let mut orders = orders();
    orders[0].spec.log.storage = serde_json::from_value(json!({ "disk": {} })).unwrap();
    let pod = injected(&pod(), &orders);
    let data = json!({ "name": "weir-data", "emptyDir": {} });
    assert!(pod["spec"]["volumes"].as_array().unwrap().contains(&data));
    let mount = json!({ "name": "weir-data", "mountPath": "/var/lib/weir" });
    let mounts = |container: &Value| container["volumeMounts"].as_array().unwrap().contains(&mount);
    assert!(mounts(&pod["spec"]["initContainers"][0]));
    assert!(!mounts(&pod["spec"]["containers"][0]));
}

#[test]
fn every_container_of_the_application_learns_where_to_publish() {
    let mut pod = pod();
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "worker" }));
    let pod = injected(&pod, &orders());
    for container in pod["spec"]["containers"].as_array().unwrap() {
        let env = json!([
            { "name": "WEIR_PUBLISH_URL", "value": "http://127.0.0.1:7072/orders/events" },
            { "name": "WEIR_PUBLISH_BASE", "value": "http://127.0.0.1:7072" },
            { "name": "WEIR_PUBLISH_SOCKET", "value": "/run/weir/publish.sock" },
        ]);
        assert_eq!(container["env"], env);
        let mounts = json!([{ "name": "weir-run", "mountPath": "/run/weir" }]);
        assert_eq!(container["volumeMounts"], mounts);
    }
}

#[test]
fn a_pipeline_that_joins_an_older_one_leaves_it_what_the_application_publishes() {
    let mut pipelines = [sidecar_pipeline("audit"), sidecar_pipeline("orders")];
    for (pipeline, created) in
        pipelines.iter_mut().zip(["2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"])
    {
        pipeline.metadata.creation_timestamp =
            Some(serde_json::from_value(json!(created)).unwrap());
    }
    let pod = injected(&pod(), &pipelines);
    let url = json!({ "name": "WEIR_PUBLISH_URL", "value": "http://127.0.0.1:7072/orders/events" });
    assert_eq!(pod["spec"]["containers"][0]["env"][0], url);
}

#[test]
fn what_the_author_set_is_untouched() {
    let mut before = pod();
    before["metadata"]["annotations"] = json!({ "own": "yes" });
    before["spec"]["volumes"] = json!([{ "name": "data", "emptyDir": {} }]);
    before["spec"]["initContainers"] = json!([{ "name": "migrate", "restartPolicy": "Always" }]);
    let container = &mut before["spec"]["containers"][0];
    container["env"] = json!([{ "name": "WEIR_PUBLISH_URL", "value": "http://elsewhere" }]);
    container["volumeMounts"] = json!([{ "name": "data", "mountPath": "/run/weir" }]);
    let after = injected(&before, &orders());
    assert_eq!(after["metadata"]["annotations"]["own"], "yes");
    assert_eq!(after["metadata"]["generateName"], "web-");
    assert_eq!(names(&after["spec"]["volumes"]), ["data", "weir-run", "weir-p-orders"]);
    assert_eq!(after["spec"]["initContainers"][1], before["spec"]["initContainers"][0]);
    let container = &after["spec"]["containers"][0];
    let own = [
        (&container["unheardOf"], &before["spec"]["containers"][0]["unheardOf"]),
        (&container["volumeMounts"], &before["spec"]["containers"][0]["volumeMounts"]),
        (&after["spec"]["restartPolicy"], &before["spec"]["restartPolicy"]),
        (&after["spec"]["terminationGracePeriodSeconds"], &json!(30)),
    ];
    for (after, before) in own {
        assert_eq!(after, before);
    }
    let env = names(&container["env"]);
    assert_eq!(env, ["WEIR_PUBLISH_BASE", "WEIR_PUBLISH_SOCKET", "WEIR_PUBLISH_URL"]);
    assert_eq!(container["env"][2]["value"], "http://elsewhere");
}

#[test]
fn a_second_pass_adds_nothing() {
    for pipelines in [orders(), two()] {
        let once = injected(&pod(), &pipelines);
        assert_eq!(decide(&once, &pipelines), Decision::Complete);
    }
}

#[test]
fn a_second_pass_adds_only_what_another_webhook_left_without() {
    let mut once = injected(&pod(), &orders());
    once["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "mesh" }));
    let Decision::Patch(patch) = decide(&once, &orders()) else { panic!("nothing to do") };
    assert!(
        patch.iter().all(|operation| operation
            .path()
            .starts_with(json_patch::jsonptr::Pointer::from_static("/spec/containers/1"))),
        "{patch}"
    );
    let twice = injected(&once, &orders());
    assert_eq!(twice["spec"]["containers"][1]["env"][0]["name"], "WEIR_PUBLISH_URL");
    assert_eq!(decide(&twice, &orders()), Decision::Complete);
}

#[test]
fn several_pipelines_share_one_sidecar_and_the_first_by_name_has_the_url() {
    let pod = injected(&pod(), &two());
    assert_eq!(names(&pod["spec"]["initContainers"]), ["weir-sidecar"]);
    let mounts = &pod["spec"]["initContainers"][0]["volumeMounts"];
    assert_eq!(names(mounts), ["weir-run", "weir-p-audit", "weir-p-orders"]);
    assert_eq!(pod["metadata"]["annotations"]["weir.dev/pipelines"], "audit,orders");
    let url = &pod["spec"]["containers"][0]["env"][0]["value"];
    assert_eq!(url, "http://127.0.0.1:7072/audit/events");
}

#[test]
fn a_pipeline_that_takes_no_events_from_the_application_does_not_get_its_url() {
    let mut pipelines = two();
    pipelines[1].spec.sources =
        serde_json::from_value(json!([{ "name": "demo", "generator": { "rate": 1 } }])).unwrap();
    let pod = injected(&pod(), &pipelines);
    let url = &pod["spec"]["containers"][0]["env"][0]["value"];
    assert_eq!(url, "http://127.0.0.1:7072/orders/events");
}

#[test]
fn a_pipeline_that_came_between_two_passes_is_added_to_the_same_sidecar() {
    let once = injected(&pod(), &orders());
    let twice = injected(&once, &two());
    assert_eq!(names(&twice["spec"]["initContainers"]), ["weir-sidecar"]);
    let mounts = names(&twice["spec"]["initContainers"][0]["volumeMounts"]);
    assert_eq!(mounts, ["weir-run", "weir-p-orders", "weir-p-audit"]);
    assert_eq!(twice["metadata"]["annotations"]["weir.dev/pipelines"], "audit,orders");
}

#[test]
fn a_pod_without_labels_and_annotations_gets_them() {
    for metadata in [json!({}), json!({ "labels": null, "annotations": null })] {
        let mut pod = pod();
        pod["metadata"] = metadata;
        let pod = injected(&pod, &orders());
        assert_eq!(pod["metadata"]["labels"]["weir.dev/injected"], "true");
        assert_eq!(pod["metadata"]["annotations"]["weir.dev/pipelines"], "orders");
    }
}

#[test]
fn a_slash_in_a_key_is_escaped() {
    let Decision::Patch(patch) = decide(&pod(), &orders()) else { panic!("nothing to do") };
    let paths: Vec<_> = patch.iter().map(|operation| operation.path().to_string()).collect();
    assert!(paths.contains(&"/metadata/labels/weir.dev~1injected".to_owned()), "{paths:?}");
}

#[test]
fn a_grace_period_is_raised_to_the_longest_drain_and_never_lowered() {
    let mut pipelines = two();
    pipelines[0].spec.delivery.drain.window = "2m".parse().unwrap();
    let grace = |given: Value, pipelines: &[StreamPipeline]| {
        let mut pod = pod();
        pod["spec"]["terminationGracePeriodSeconds"] = given;
        injected(&pod, pipelines)["spec"]["terminationGracePeriodSeconds"].clone()
    };
    assert_eq!(grace(json!(30), &pipelines), 130);
    assert_eq!(grace(Value::Null, &pipelines), 130);
    assert_eq!(grace(json!(600), &pipelines), 600);
    assert_eq!(grace(json!(5), &orders()), 30);
    assert_eq!(grace(Value::Null, &orders()), Value::Null);
}

#[test]
fn a_pod_that_cannot_be_injected_is_refused_with_the_reason() {
    let mut pod = pod();
    pod["spec"]["hostNetwork"] = json!(true);
    let Decision::Refused { reason, note } = decide(&pod, &orders()) else { panic!("injected") };
    assert!(reason.contains("hostNetwork"), "{reason}");
    let mut noted = pod.clone();
    json_patch::patch(&mut noted, &note.unwrap()).unwrap();
    assert_eq!(noted["metadata"]["annotations"], json!({ "weir.dev/not-injected": reason }));
    assert_eq!(noted["spec"], pod["spec"]);
    let again = decide(&noted, &orders());
    assert_eq!(again, Decision::Refused { reason, note: None });
}

#[test]
fn what_is_no_pod_is_an_error_that_names_the_place() {
    let mut pod = pod();
    pod["spec"]["containers"] = json!("none");
    let pipelines = orders();
    let error = inject(&pod, &[&pipelines[0]], &image()).unwrap_err();
    assert!(error.to_string().starts_with("/spec/containers of the pod"), "{error}");
}

#[test]
fn the_secrets_of_the_image_are_added_to_the_pods_own() {
    let mut before = pod();
    before["spec"]["imagePullSecrets"] = json!([{ "name": "own" }, { "name": "both" }]);
    let secrets = ["both", "mirror"].map(str::to_owned).to_vec();
    let image = Image { pull_secrets: secrets, ..image() };
    let add = |pod: &Value| {
        let mut pod = pod.clone();
        match inject(&pod, &[&sidecar_pipeline("orders")], &image).unwrap() {
            Decision::Patch(patch) => json_patch::patch(&mut pod, &patch).unwrap(),
            Decision::Complete => {}
            Decision::Refused { reason, note: _ } => panic!("{reason}"),
        }
        pod
    };
    let after = add(&before);
    assert_eq!(names(&after["spec"]["imagePullSecrets"]), ["own", "both", "mirror"]);
    assert_eq!(names(&add(&pod())["spec"]["imagePullSecrets"]), ["both", "mirror"]);
    assert_eq!(add(&after), after);
    assert_eq!(injected(&pod(), &orders())["spec"].get("imagePullSecrets"), None);
}

#[test]
fn the_longest_name_still_makes_valid_volumes() {
    let name = "a".repeat(52);
    let pod = injected(&pod(), &[sidecar_pipeline(&name)]);
    let volumes = names(&pod["spec"]["volumes"]);
    assert!(volumes.iter().all(|name| name.len() <= 63), "{volumes:?}");
}

#[test]
fn the_secrets_that_a_pipeline_names_are_mounted_once() {
    let mut both = two();
    for pipeline in &mut both {
        let auth = json!({ "jwt": {
            "issuer": "https://id", "audiences": ["orders"],
            "jwks": { "secretName": "id.keys", "key": "jwks.json" },
        }});
        pipeline.spec.auth = Some(serde_json::from_value(auth).unwrap());
    }
    let first = injected(&pod(), &both[..1]);
    for after in [injected(&pod(), &both), injected(&first, &both)] {
        let volumes = after["spec"]["volumes"].as_array().unwrap();
        let secrets: Vec<_> =
            volumes.iter().filter(|volume| volume["secret"].is_object()).collect();
        assert_eq!(secrets.len(), 1);
        assert_eq!(secrets[0]["secret"]["secretName"], "id.keys");
        let mounts = &after["spec"]["initContainers"][0]["volumeMounts"];
        let paths: Vec<_> =
            mounts.as_array().unwrap().iter().map(|mount| &mount["mountPath"]).collect();
        assert_eq!(paths.iter().filter(|path| **path == "/etc/weir/secrets/id.keys").count(), 1);
    }
}

/// Between two passes over one pod the webhook may hear of a pipeline.
#[test]
fn a_second_pass_that_knows_of_one_more_pipeline_leaves_nothing_to_be_desired() {
    let first = injected(&pod(), &orders());
    let both = injected(&first, &two());
    let at_once = injected(&pod(), &two());
    assert_eq!(both["metadata"], at_once["metadata"]);
    let sidecar = |pod: &Value| pod["spec"]["initContainers"][0]["resources"].clone();
    assert_ne!(sidecar(&first), sidecar(&at_once));
    assert_eq!(sidecar(&both), sidecar(&at_once));
    let [orders, audit] = [sidecar_pipeline("orders"), sidecar_pipeline("audit")];
    let typed = serde_json::from_value(both.clone()).unwrap();
    assert_eq!(lacks(&typed, &orders, &[&audit], &image()), []);
    assert_eq!(lacks(&typed, &audit, &[&orders], &image()), []);
    assert_eq!(decide(&both, &two()), Decision::Complete);
    // What another webhook makes of the amounts meanwhile is its own where no pipeline joins.
    let mut smaller = at_once;
    smaller["spec"]["initContainers"][0]["resources"]["limits"]["memory"] = json!("100Mi");
    assert_eq!(decide(&smaller, &two()), Decision::Complete);
}
