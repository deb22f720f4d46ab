//! What keeps pods from being injected or admitted, and how it is said; and what the injection costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace as K8sNamespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weir_tests::{Namespace, eventually};

use crate::fixture::{LIMIT, change, condition, create_pipeline, gateway, sidecar};
use crate::installation::{Replica, configure, free, injected_pod, is_injected, pod, with_system};
use crate::restarts::quota;
use crate::workloads::{create, manifest};

async fn start(watched: &Namespace, system: &Namespace) -> Result<Replica> {
    let webhook = free().await?;
    configure(watched, system, webhook.port()).await?;
    let replica = Replica::start(watched, system, "one", webhook).await?;
    replica.ready().await?;
    create_pipeline(watched, "orders", sidecar()).await?;
    injected_pod(watched).await?;
    watched.api::<Pod>().delete_collection(&DeleteParams::default(), &Default::default()).await?;
    Ok(replica)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_port_that_is_taken_stands_on_the_pod_and_on_the_pipeline() -> Result<()> {
    with_system("ports", async |watched, system| {
        let replica = start(&watched, &system).await?;
        let mut taken = serde_json::to_value(pod("taken"))?;
        taken["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 7070 }]);
        let taken: Pod = serde_json::from_value(taken)?;
        let created = watched.api::<Pod>().create(&PostParams::default(), &taken).await?;
        ensure!(!is_injected(&created));
        let noted = created.annotations().get("weir.dev/not-injected").context("nothing noted")?;
        ensure!(noted.starts_with("its container app has port 7070"), "{noted}");
        let found =
            condition(&watched, "orders", "Injected", "False", "PodsWithoutSidecar").await?;
        ensure!(found.message.contains(&format!("taken can't be injected, because {noted}")));
        ensure!(found.message.ends_with("change the pod or the selector"), "{found:?}");
        replica.stop().await
    })
    .await
}

/// What the API server would refuse with the sidecar in it starts without, until the pipeline asks for less.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_pod_that_leaves_no_room_for_the_sidecar_is_created_without_it() -> Result<()> {
    with_system("room", async |watched, system| {
        let replica = start(&watched, &system).await?;
        let tight = |name: &str| -> Result<Pod> {
            let mut tight = serde_json::to_value(pod(name))?;
            let requests = json!({ "cpu": "100m", "memory": "128Mi" });
            tight["spec"]["containers"][0]["resources"] = json!({ "requests": requests });
            // By which it requests as much as its containers do.
            tight["spec"]["resources"] = json!({ "limits": { "cpu": "1", "memory": "256Mi" } });
            Ok(serde_json::from_value(tight)?)
        };
        let pods = watched.api::<Pod>();
        let created = pods.create(&PostParams::default(), &tight("tight")?).await?;
        ensure!(!is_injected(&created), "{created:?}");
        let noted = created.annotations().get("weir.dev/not-injected").context("nothing noted")?;
        let words = "its spec.resources.requests.cpu of 100m";
        ensure!(noted.starts_with(words), "{noted}");
        let found =
            condition(&watched, "orders", "Injected", "False", "PodsWithoutSidecar").await?;
        ensure!(found.message.contains(words), "{found:?}");
        ensure!(!found.message.contains("rollout restart"), "{found:?}");
        let mut roomy = serde_json::to_value(tight("roomy")?)?;
        roomy["spec"]["resources"]["requests"] = json!({ "cpu": "120m", "memory": "192Mi" });
        let roomy: Pod = serde_json::from_value(roomy)?;
        let created = pods.create(&PostParams::default(), &roomy).await?;
        ensure!(is_injected(&created), "{:?}", created.annotations());
        replica.stop().await
    })
    .await
}

/// No remedy is named that can't help.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn where_injection_is_off_that_is_said() -> Result<()> {
    with_system("off", async |watched, system| {
        let replica = start(&watched, &system).await?;
        let label = |value: Value| {
            Patch::Merge(json!({ "metadata": { "labels": { "weir.dev/injection": value } } }))
        };
        let namespaces: Api<K8sNamespace> = Api::all(watched.cluster.client.clone());
        let params = PatchParams::default();
        namespaces.patch(&watched.name, &params, &label(json!("disabled"))).await?;
        // As the chart's configuration has it.
        crate::installation::configurations(&watched)
            .delete(&watched.name, &DeleteParams::default())
            .await?;
        let mut number = 0;
        eventually("pods are created without the sidecar", LIMIT, async || {
            number += 1;
            let bare = pod(&format!("bare-{number}"));
            let made = watched.api::<Pod>().create(&PostParams::default(), &bare).await?;
            ensure!(!is_injected(&made), "it is injected still");
            Ok(())
        })
        .await?;
        let words =
            format!("the namespace {} is labelled weir.dev/injection=disabled", watched.name);
        let says = async |words: &str, not: &str| {
            eventually("the pipeline says so", LIMIT, async || {
                touch(&watched, &format!("{number}")).await?;
                let found =
                    condition(&watched, "orders", "Injected", "False", "PodsWithoutSidecar")
                        .await?;
                ensure!(found.message.contains(words) && !found.message.contains(not), "{found:?}");
                Ok(())
            })
            .await
        };
        says(&words, "delete these pods").await?;
        namespaces.patch(&watched.name, &params, &label(Value::Null)).await?;
        let words = format!("there is no MutatingWebhookConfiguration {} any more", watched.name);
        says(&words, "delete these pods").await?;
        replica.stop().await?;
        let replica = Replica::start_without_injection(&watched, &system).await?;
        says("this operator injects no pods", "delete these pods").await?;
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn pipelines_with_overlapping_selectors_share_one_sidecar_and_say_so() -> Result<()> {
    with_system("overlap", async |watched, system| {
        let replica = start(&watched, &system).await?;
        create_pipeline(&watched, "audit", sidecar()).await?;
        let pods = watched.api::<Pod>();
        let mut number = 0;
        let both = eventually("a new pod belongs to both", LIMIT, async || {
            number += 1;
            let made = pods.create(&PostParams::default(), &pod(&format!("both-{number}"))).await?;
            let noted = made.annotations().get("weir.dev/pipelines").cloned().unwrap_or_default();
            if noted != "audit,orders" {
                pods.delete(&made.name_any(), &DeleteParams::default()).await?;
            }
            ensure!(noted == "audit,orders", "{noted}");
            Ok(made)
        })
        .await?;
        let inits = both.spec.and_then(|spec| spec.init_containers).unwrap_or_default();
        ensure!(inits.len() == 1, "{inits:?}");
        for (name, other) in [("orders", "audit"), ("audit", "orders")] {
            eventually("the pipelines say that they share a sidecar", LIMIT, async || {
                let found = condition(&watched, name, "Injected", "True", "AllInjected").await?;
                let shared = format!("the sidecar serves {other}, too");
                ensure!(found.message.ends_with(&shared), "{found:?}");
                Ok(())
            })
            .await?;
        }
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_quota_without_room_for_the_sidecar_is_named_with_what_it_asks_for() -> Result<()> {
    with_system("quota", async |watched, system| {
        let replica = start(&watched, &system).await?;
        quota(&watched, "15m").await?;
        for (kind, id) in [("Deployment", "deployment/web"), ("StatefulSet", "statefulset/web")] {
            create(&watched, manifest(kind, "web", "10m")).await?;
            refused(&watched, &[id, "exceeded quota", "asks for 20m of CPU and 64Mi of memory"])
                .await?;
            let params = DeleteParams::background();
            crate::workloads::api(&watched, kind).delete("web", &params).await?;
            touch(&watched, kind).await?;
            condition(&watched, "orders", "Ready", "False", "NoPodSelected").await?;
        }
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_policy_that_refuses_the_sidecar_is_named_with_the_ways_out() -> Result<()> {
    with_system("policy", async |watched, system| {
        let replica = start(&watched, &system).await?;
        let (policies, bindings) = policies(&watched);
        forbid(&watched).await?;
        create(&watched, manifest("Deployment", "web", "10m")).await?;
        let told = refused(
            &watched,
            &["deployment/web", "no sidecars here", "admit the container weir-sidecar", "disabled"],
        )
        .await;
        bindings.delete(&watched.name, &DeleteParams::default()).await?;
        policies.delete(&watched.name, &DeleteParams::default()).await?;
        told?;
        replica.stop().await
    })
    .await
}

/// The remedy names the field that helps, for a sidecar and for a gateway.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_limit_range_below_what_the_data_plane_may_use_is_named_with_the_field() -> Result<()> {
    with_system("limits", async |watched, system| {
        let replica = start(&watched, &system).await?;
        let range = serde_json::from_value(json!({
            "metadata": { "name": "small" },
            "spec": { "limits": [{ "type": "Container", "max": { "memory": "128Mi" } }] },
        }))?;
        watched.api::<LimitRange>().create(&PostParams::default(), &range).await?;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        eventually("the limits are in force", LIMIT, async || {
            let tried = watched.api::<Pod>().create(&dry_run, &pod("tried")).await;
            ensure!(tried.is_err(), "it was admitted");
            Ok(())
        })
        .await?;
        create(&watched, manifest("Deployment", "web", "10m")).await?;
        refused(&watched, &["deployment/web", "placement.sidecar.resources.limits.memory"]).await?;
        create_pipeline(&watched, "live", gateway(1)).await?;
        eventually("the gateway says so, too", LIMIT, async || {
            let ready = condition(&watched, "live", "Ready", "False", "NoReplicaReady").await?;
            let field = "placement.gateway.resources.limits.memory";
            ensure!(ready.message.contains(field), "{ready:?}");
            Ok(())
        })
        .await?;
        replica.stop().await
    })
    .await
}

fn policies(
    namespace: &Namespace,
) -> (Api<ValidatingAdmissionPolicy>, Api<ValidatingAdmissionPolicyBinding>) {
    let client = || namespace.cluster.client.clone();
    (Api::all(client()), Api::all(client()))
}

/// Has the API server refuse pods with a sidecar, and waits until it does.
async fn forbid(namespace: &Namespace) -> Result<()> {
    let (policies, bindings) = policies(namespace);
    let name = &namespace.name;
    let policy = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["pods"],
            }] },
            "validations": [{
                "expression": "!has(object.spec.initContainers) || \
                               object.spec.initContainers.all(c, c.name != 'weir-sidecar')",
                "message": "no sidecars here",
            }],
        },
    }))?;
    policies.create(&PostParams::default(), &policy).await?;
    let binding = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": { "namespaceSelector": { "matchLabels": {
                "kubernetes.io/metadata.name": name,
            } } },
        },
    }))?;
    bindings.create(&PostParams::default(), &binding).await?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the policy is in force", LIMIT, async || {
        let tried = namespace.api::<Pod>().create(&dry_run, &pod("tried")).await;
        ensure!(tried.is_err(), "it was admitted");
        Ok(())
    })
    .await
}

/// Waits until the pipeline says that a workload can't make pods, in these words.
async fn refused(namespace: &Namespace, words: &[&str]) -> Result<()> {
    let mut looked = 0;
    eventually("the refusal stands on the pipeline", LIMIT, async || {
        // Workloads are not watched: the next look would be half a minute away.
        looked += 1;
        touch(namespace, &looked.to_string()).await?;
        let status = crate::fixture::pipelines(namespace).get("orders").await?.status;
        let conditions = status.context("no status")?.conditions;
        let ready = conditions.iter().find(|found| found.type_ == "Ready").context("not yet")?;
        ensure!(ready.reason == "PodsRefused", "{ready:?}");
        for word in words {
            ensure!(ready.message.contains(word), "no {word:?}: {ready:?}");
        }
        Ok(())
    })
    .await
}

async fn touch(namespace: &Namespace, again: &str) -> Result<()> {
    let again = json!({ "metadata": { "annotations": { "again": again } } });
    change(namespace, "orders", again).await
}

const SAMPLES: usize = 200;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_webhook_answers_well_within_what_a_creation_may_take_longer() -> Result<()> {
    with_system("cost", async |watched, system| {
        let replica = start(&watched, &system).await?;
        // Alternating, so that whatever else the machine does hits both alike. The namespace of the system
        // has no webhook.
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for number in 0..SAMPLES {
            let name = format!("pod-{number}");
            with.push(creation(&watched, &name, true).await?);
            without.push(creation(&system, &name, false).await?);
        }
        for percent in [50, 95] {
            let [with, without] = [&mut with, &mut without].map(|times| quantile(times, percent));
            println!("creation of a pod: p{percent} {with:?} with injection, {without:?} without");
        }
        let [quick, all] = [answered(&replica, "0.05").await?, answered(&replica, "+Inf").await?];
        ensure!(quick * 100 >= all * 95, "{quick} of {all} answers within 50 ms");
        replica.stop().await
    })
    .await
}

/// How many answers of the webhook took at most so many seconds.
async fn answered(replica: &Replica, seconds: &str) -> Result<u64> {
    let (_, metrics) = replica.get("/metrics").await?;
    let name = format!("weir_operator_webhook_duration_seconds_bucket{{le=\"{seconds}\"}} ");
    let found = metrics.lines().find_map(|line| line.strip_prefix(name.as_str()));
    Ok(found.with_context(|| format!("no {name}: {metrics}"))?.parse()?)
}

async fn creation(namespace: &Namespace, name: &str, injected: bool) -> Result<Duration> {
    let pods = namespace.api::<Pod>();
    let started = Instant::now();
    let made = pods.create(&PostParams::default(), &pod(name)).await?;
    let took = started.elapsed();
    ensure!(is_injected(&made) == injected, "{name} in {}", namespace.name);
    Ok(took)
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[times.len() * percent / 100]
}
