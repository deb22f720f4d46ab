//! Injection by the API server's own policies: what becomes of a pod is what the webhook would make of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::sleep;
use weir_crds::v1alpha1::StreamPipeline;
use weir_operator::injection::{Decision, inject};
use weir_operator::sidecar::Image;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{LIMIT, change, condition, pipelines, told};
use crate::installation::{
    Replica, configurations, configure, free, injected_pod, is_injected, pod, with_system,
};

async fn create_pipeline(namespace: &Namespace, name: &str, spec: Value) -> Result<StreamPipeline> {
    let mut pipeline = json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamPipeline",
        "metadata": { "name": name },
        "spec": {
            "placement": { "sidecar": { "selector": { "matchLabels": { "app": "shop" } } } },
            "sources": [{ "name": "app", "http": {} }],
        },
    });
    for (key, value) in spec.as_object().context("no object")? {
        pipeline["spec"][key] = value.clone();
    }
    let pipeline = serde_json::from_value(pipeline)?;
    Ok(pipelines(namespace).create(&PostParams::default(), &pipeline).await?)
}

/// What the API server would make of a pod.
async fn tried(namespace: &Namespace, pod: &Value) -> Result<Value> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let pod: Pod = serde_json::from_value(pod.clone())?;
    let made = namespace.api::<Pod>().create(&dry_run, &pod).await?;
    Ok(serde_json::to_value(made)?)
}

/// Waits until new pods have the sidecar of this pipeline, or have it no more.
async fn in_force(namespace: &Namespace, pipeline: &str, wanted: bool) -> Result<()> {
    let label = format!("pipeline.weir.dev/{pipeline}");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually(&format!("the policy of {pipeline} is in force: {wanted}"), LIMIT, async || {
        let made = namespace.api::<Pod>().create(&dry_run, &pod("tried")).await?;
        ensure!(made.labels().contains_key(&label) == wanted, "{:?}", made.labels());
        Ok(())
    })
    .await
}

/// A pod of the application, with this in its spec.
fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = serde_json::to_value(pod("web")).unwrap();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    // Its volume has a random name.
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    change(&mut pod);
    pod
}

/// A pod that asks for so much as a whole, of which its containers take 100m and 64Mi.
fn whole(cpu: &str, memory: &str) -> Value {
    with(|pod| {
        let requests = json!({ "cpu": "0.05", "memory": "32Mi" });
        let first = &mut pod["spec"]["containers"][0];
        first["resources"] = json!({ "requests": requests });
        let second = json!({
            "name": "worker", "image": "app.test/w:1",
            "resources": { "requests": { "cpu": "50m", "memory": "33554432" } },
        });
        pod["spec"]["containers"].as_array_mut().unwrap().push(second);
        pod["spec"]["resources"] = json!({ "requests": { "cpu": cpu, "memory": memory } });
    })
}

fn pods() -> Vec<Value> {
    [plain_pods(), bounded_pods()].concat()
}

fn plain_pods() -> Vec<Value> {
    vec![
        with(|_| {}),
        with(|pod| {
            pod["metadata"]["annotations"] = json!({ "own": "yes" });
            pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
            pod["spec"]["volumes"] = json!([{ "name": "data", "emptyDir": {} }]);
            pod["spec"]["initContainers"] = json!([{ "name": "migrate", "image": "app.test/m:1" }]);
            let own = &mut pod["spec"]["containers"][0];
            own["env"] = json!([
                { "name": "OWN", "value": "$(WEIR_PUBLISH_URL)" },
                { "name": "WEIR_PUBLISH_BASE", "value": "http://elsewhere" },
            ]);
            own["volumeMounts"] = json!([{ "name": "data", "mountPath": "/run/weir" }]);
            let second = json!({ "name": "worker", "image": "app.test/w:1" });
            pod["spec"]["containers"].as_array_mut().unwrap().push(second);
        }),
        with(|pod| pod["spec"]["imagePullSecrets"] = json!([{ "name": "own" }])),
        with(|pod| pod["spec"]["hostNetwork"] = json!(true)),
        with(|pod| {
            pod["spec"]["containers"][0]["ports"] =
                json!([{ "containerPort": 80 }, { "containerPort": 7071 }]);
        }),
        with(|pod| {
            let ports = json!([{ "containerPort": 7072 }]);
            pod["spec"]["initContainers"] = json!([{
                "name": "mesh", "image": "m.test/m:1", "restartPolicy": "Always", "ports": ports,
            }]);
        }),
        with(|pod| pod["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "windows" })),
        with(|pod| {
            let windows =
                json!([{ "key": "kubernetes.io/os", "operator": "In", "values": ["windows"] }]);
            pod["spec"]["affinity"] = json!({ "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{ "matchExpressions": windows }],
                },
            } });
        }),
        with(|pod| {
            let own = json!({ "name": "weir-sidecar", "image": "own.test/own:1" });
            pod["spec"]["initContainers"] = json!([own]);
        }),
        with(|pod| {
            pod["spec"]["volumes"] =
                json!([{ "name": "weir-p-orders", "configMap": { "name": "own" } }]);
        }),
        with(|pod| {
            pod["spec"]["volumes"] = json!([
                { "name": "weir-run", "emptyDir": {} },
                { "name": "weir-data", "secret": { "secretName": "own" } },
            ]);
        }),
        with(|pod| {
            pod["metadata"]["labels"] = json!({ "app": "shop", "weir.dev/injection": "disabled" });
        }),
        with(|pod| pod["metadata"]["labels"] = json!({ "app": "other" })),
    ]
}

/// Pods that ask for resources as a whole.
fn bounded_pods() -> Vec<Value> {
    vec![
        whole("119m", "1Gi"),
        whole("120m", "128Mi"),
        whole("0.12", "129Mi"),
        whole("1", "127Mi"),
        // What the containers ask for becomes what the pod asks for, and leaves nothing.
        with(|pod| {
            pod["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "100m" } });
            pod["spec"]["resources"] = json!({ "limits": { "cpu": "1" } });
        }),
        // Some of them start one after the other.
        with(|pod| {
            let one = |name: &str, cpu: &str| {
                let requests = json!({ "requests": { "cpu": cpu } });
                json!({ "name": name, "image": "app.test/i:1", "resources": requests })
            };
            let mut beside = one("beside", "50m");
            beside["restartPolicy"] = json!("Always");
            pod["spec"]["initContainers"] =
                json!([beside, one("first", "430m"), one("second", "80m")]);
            pod["spec"]["resources"] = json!({ "requests": { "cpu": "500m" } });
        }),
    ]
}

/// What the webhook would make of a pod, and the API server of that.
async fn as_by_webhook(plain: &Namespace, pod: &Value, by: &StreamPipeline) -> Result<Value> {
    let mut made = tried(plain, pod).await?;
    let labels = pod["metadata"]["labels"].clone();
    if labels["app"] == "shop" && labels["weir.dev/injection"] != "disabled" {
        let image = Image {
            reference: "registry.test/weir-sidecar:1".to_owned(),
            pull_policy: None,
            pull_secrets: vec!["mirror".to_owned()],
        };
        match inject(&made, &[by], &image)? {
            Decision::Patch(patch) | Decision::Refused { reason: _, note: Some(patch) } => {
                json_patch::patch(&mut made, &patch)?;
            }
            Decision::Complete | Decision::Refused { reason: _, note: None } => {}
        }
    }
    made["metadata"] = json!({
        "name": "web", "labels": made["metadata"]["labels"], "annotations": made["metadata"]["annotations"],
    });
    made["status"] = Value::Null;
    tried(plain, &made).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_policy_makes_of_every_pod_what_the_webhook_does() -> Result<()> {
    with_system("policies", async |watched, system| {
        let secrets = ["--sidecar-image-pull-secret=mirror".to_owned()];
        let replica = Replica::start_with_policies(&watched, &system, &secrets).await?;
        replica.ready().await?;
        let spec = json!({
            "log": { "storage": { "disk": {} } },
            "delivery": { "drain": { "window": "1m" } },
            "endpoints": { "sse": {}, "tls": { "secretName": "tls" } },
        });
        let pipeline = create_pipeline(&watched, "orders", spec).await?;
        in_force(&watched, "orders", true).await?;
        for pod in pods() {
            let (found, expected) =
                (tried(&watched, &pod).await?, as_by_webhook(&system, &pod, &pipeline).await?);
            for part in ["/spec", "/metadata/labels", "/metadata/annotations"] {
                let [found, expected] = [&found, &expected].map(|pod| pod.pointer(part));
                ensure!(found == expected, "{part} of {pod}\n found {found:?}\n not {expected:?}");
            }
        }
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_second_policy_joins_the_sidecar_and_goes_with_its_pipeline() -> Result<()> {
    with_system("joined", async |watched, system| {
        let replica = Replica::start_with_policies(&watched, &system, &[]).await?;
        replica.ready().await?;
        create_pipeline(&watched, "audit", json!({})).await?;
        create_pipeline(&watched, "orders", json!({})).await?;
        in_force(&watched, "orders", true).await?;
        in_force(&watched, "audit", true).await?;
        let pod = tried(&watched, &with(|_| {})).await?;
        let noted = pod["metadata"]["annotations"]["weir.dev/pipelines"].as_str();
        ensure!(noted.is_some_and(|all| all.contains("audit") && all.contains("orders")), "{pod}");
        let inits = pod["spec"]["initContainers"].as_array().context("no sidecar")?;
        ensure!(inits.len() == 1, "{inits:?}");
        let mounts = inits[0]["volumeMounts"].to_string();
        for name in ["audit", "orders"] {
            ensure!(mounts.contains(&format!("/etc/weir/pipelines/{name}")), "{mounts}");
        }
        // 256 MiB for the one, and twice the log of 64 MiB for the other.
        ensure!(inits[0]["resources"]["limits"]["memory"] == "384Mi", "{}", inits[0]);

        pipelines(&watched).delete("audit", &DeleteParams::default()).await?;
        in_force(&watched, "audit", false).await?;
        // A gateway has no sidecars.
        let gateway = json!({ "spec": {
            "placement": { "sidecar": null, "gateway": {} },
            "sources": [{ "name": "demo", "generator": { "rate": 1 } }],
        } });
        change(&watched, "orders", gateway).await?;
        in_force(&watched, "orders", false).await?;
        for left in left(&watched).await? {
            ensure!(!left.starts_with(&format!("{}.", watched.name)), "{left} is left");
        }
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_policy_that_somebody_changes_and_a_binding_that_somebody_deletes_are_put_right()
-> Result<()> {
    with_system("policy-drift", async |watched, system| {
        let replica = Replica::start_with_policies(&watched, &system, &[]).await?;
        replica.ready().await?;
        create_pipeline(&watched, "orders", json!({})).await?;
        in_force(&watched, "orders", true).await?;
        let names = left(&watched).await?;
        let own = names.iter().find(|name| name.starts_with(&format!("{}.", watched.name)));
        let own = own.context("it has no policy")?;
        let client = || watched.cluster.client.clone();
        let policies = Api::<MutatingAdmissionPolicy>::all(client());
        let before = policies.get(own).await?.spec;
        let label = "Object{metadata: Object.metadata{labels: {'other': 'true'}}}";
        let other = json!({
            "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": label },
        });
        let other = Patch::Merge(json!({ "spec": { "mutations": [other] } }));
        policies.patch(own, &PatchParams::default(), &other).await?;
        let bindings = Api::<MutatingAdmissionPolicyBinding>::all(client());
        bindings.delete(own, &DeleteParams::default()).await?;
        in_force(&watched, "orders", false).await?;
        in_force(&watched, "orders", true).await?;
        ensure!(policies.get(own).await?.spec == before, "it is another one");
        let edited = format!("MutatingAdmissionPolicy {own}: ");
        told(&watched, "ChangeUndone", &edited).await?;
        let deleted = format!("MutatingAdmissionPolicyBinding {own}: somebody deleted it");
        told(&watched, "ChangeUndone", &deleted).await?;
        replica.stop().await
    })
    .await
}

/// The names of all policies and bindings.
async fn left(namespace: &Namespace) -> Result<Vec<String>> {
    let client = || -> Client { namespace.cluster.client.clone() };
    let policies = Api::<MutatingAdmissionPolicy>::all(client()).list(&Default::default()).await?;
    let bindings = Api::<MutatingAdmissionPolicyBinding>::all(client());
    let bindings = bindings.list(&Default::default()).await?;
    let mut names: Vec<String> = policies.iter().map(ResourceExt::name_any).collect();
    names.extend(bindings.iter().map(ResourceExt::name_any));
    Ok(names)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_pipelines_ask_for_is_granted_by_policies_as_by_the_webhook() -> Result<()> {
    with_system("granted", async |watched, system| {
        let replica = Replica::start_with_policies(&watched, &system, &[]).await?;
        replica.ready().await?;
        let asking = |resources: Value| {
            let selector = json!({ "matchLabels": { "app": "shop" } });
            json!({ "placement": { "sidecar": { "selector": selector, "resources": resources } } })
        };
        let first = json!({
            "requests": { "cpu": "5m" }, "limits": { "cpu": "10m", "memory": "1Gi" },
        });
        create_pipeline(&watched, "audit", asking(first)).await?;
        in_force(&watched, "audit", true).await?;
        let granted = async || -> Result<Value> {
            let pod = tried(&watched, &with(|_| {})).await?;
            Ok(pod["spec"]["initContainers"][0]["resources"].clone())
        };
        let expected = json!({
            "requests": { "cpu": "5m", "memory": "64Mi" },
            "limits": { "cpu": "10m", "memory": "1Gi" },
        });
        let found = granted().await?;
        ensure!(found == expected, "{found}");
        let second = json!({ "requests": { "cpu": "500m", "memory": "96Mi" } });
        create_pipeline(&watched, "orders", asking(second)).await?;
        in_force(&watched, "orders", true).await?;
        // The largest of each, and room for the log of whoever joined: the policies may come in any order.
        let found = granted().await?;
        ensure!(found["requests"] == json!({ "cpu": "500m", "memory": "96Mi" }), "{found}");
        ensure!(found["limits"]["cpu"] == "500m", "{found}");
        let memory = found["limits"]["memory"].as_str().context("no limit")?;
        ensure!(["1207959552", "1Gi", "1152Mi"].contains(&memory), "{found}");
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_policy_of_somebody_else_is_left_alone_and_the_pipeline_says_so() -> Result<()> {
    with_system("taken", async |watched, system| {
        let policies = Api::<MutatingAdmissionPolicy>::all(watched.cluster.client.clone());
        let name = format!("{0}.{0}.orders", watched.name);
        let foreign: MutatingAdmissionPolicy = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "failurePolicy": "Ignore",
                "reinvocationPolicy": "Never",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                    "resources": ["configmaps"],
                }] },
                "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression":
                    "[JSONPatch{op: 'add', path: '/immutable', value: true}].filter(x, false)" } }],
            },
        }))?;
        let made = policies.create(&PostParams::default(), &foreign).await?;
        let replica = Replica::start_with_policies(&watched, &system, &[]).await?;
        replica.ready().await?;
        create_pipeline(&watched, "orders", json!({})).await?;
        let found = condition(&watched, "orders", "Ready", "False", "NameTaken").await?;
        ensure!(found.message.contains(&name), "{found:?}");
        let left = policies.get(&name).await?;
        ensure!(left.metadata.resource_version == made.metadata.resource_version, "{left:?}");
        policies.delete(&name, &DeleteParams::default()).await?;
        in_force(&watched, "orders", true).await?;
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn policies_do_not_outlive_their_mode_or_the_watch_of_their_namespace() -> Result<()> {
    with_system("modes", async |watched, system| {
        with_namespace("modes-other", async |other| {
            let besides = [format!("--watch-namespace={}", other.name)];
            let replica = Replica::start_with_policies(&watched, &system, &besides).await?;
            replica.ready().await?;
            for namespace in [&watched, &other] {
                create_pipeline(namespace, "orders", json!({})).await?;
                in_force(namespace, "orders", true).await?;
            }
            replica.stop().await?;
            // A namespace is taken out of watchNamespaces.
            let replica = Replica::start_with_policies(&watched, &system, &[]).await?;
            replica.ready().await?;
            in_force(&other, "orders", false).await?;
            in_force(&watched, "orders", true).await?;
            replica.stop().await?;
            // The mode is changed to that of a webhook, which the API server is told of later.
            let replica = Replica::start(&watched, &system, "two", free().await?).await?;
            replica.ready().await?;
            sleep(Duration::from_secs(3)).await;
            in_force(&watched, "orders", true).await?;
            // It asks the webhook about other pods. The operator writes the caBundle.
            create_configuration(&watched).await?;
            in_force(&watched, "orders", false).await?;
            for left in left(&watched).await? {
                ensure!(!left.starts_with(&format!("{}.", watched.name)), "{left} is left");
            }
            replica.stop().await
        })
        .await
    })
    .await
}

/// A webhook's configuration that concerns no pod.
async fn create_configuration(namespace: &Namespace) -> Result<()> {
    let configuration = serde_json::from_value(json!({
        "metadata": { "name": namespace.name },
        "webhooks": [{
            "name": "injection.weir.dev", "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "failurePolicy": "Ignore",
            "clientConfig": { "url": "https://localhost/inject" },
            "objectSelector": { "matchLabels": { "app": "none" } },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["pods"], "scope": "Namespaced",
            }],
        }],
    }))?;
    configurations(namespace).create(&PostParams::default(), &configuration).await?;
    Ok(())
}

/// What the chart does when `injection.mode` becomes `policy`: it gives the webhook up, and replaces the replicas.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_webhook_is_answered_until_the_policies_are_in_force_and_goes_then() -> Result<()> {
    with_system("handover", async |watched, system| {
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let before = Replica::start(&watched, &system, "before", webhook).await?;
        before.ready().await?;
        create_pipeline(&watched, "orders", json!({})).await?;
        injected_pod(&watched).await?;
        let retires = json!({ "metadata": { "annotations": { "weir.dev/retires": "true" } } });
        let configurations = configurations(&watched);
        let params = PatchParams::default();
        configurations.patch(&watched.name, &params, &Patch::Merge(retires)).await?;
        let after = Replica::start_with_policies(&watched, &system, &[]).await?;
        let (mut bare, ending) = (0, tokio::spawn(before.stop()));
        eventually("the configuration is gone", LIMIT, async || {
            let made = tried(&watched, &with(|_| {})).await?;
            bare += usize::from(made["spec"].get("initContainers").is_none());
            let found = configurations.get_opt(&watched.name).await?;
            ensure!(found.is_none(), "it is there");
            Ok(())
        })
        .await?;
        in_force(&watched, "orders", true).await?;
        ensure!(bare == 0, "{bare} pods would have slipped through");
        ending.await??;
        after.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_pod_is_injected_for_good_and_the_pipeline_says_so() -> Result<()> {
    with_system("policied", async |watched, system| {
        let roles = Api::<ClusterRole>::all(watched.cluster.client.clone());
        let role = serde_json::from_value(json!({ "metadata": { "name": watched.name } }))?;
        roles.create(&PostParams::default(), &role).await?;
        let owner = format!("--injection-policies-owner={}", watched.name);
        let replica = Replica::start_with_policies(&watched, &system, &[owner]).await?;
        replica.ready().await?;
        create_pipeline(&watched, "orders", json!({})).await?;
        in_force(&watched, "orders", true).await?;
        let made = watched.api::<Pod>().create(&PostParams::default(), &pod("web")).await?;
        ensure!(is_injected(&made), "{made:?}");
        condition(&watched, "orders", "Injected", "True", "AllInjected").await?;
        // The operator is removed, and with it all that gives it rights; the pipeline stays.
        replica.stop().await?;
        roles.delete(&watched.name, &DeleteParams::background()).await?;
        in_force(&watched, "orders", false).await
    })
    .await
}
