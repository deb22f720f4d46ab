//! Tries out what would become of a new pod, without making one: a dry run goes through the webhook, the
//! policies and the quotas of the namespace, and leaves nothing.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, PodCondition, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::PostParams;
use weir_crds::names::{FIELD_MANAGER, annotation};
use weir_crds::v1alpha1::StreamPipeline;

use crate::context::Context;
use crate::failure::explain;
use crate::injection::Lack;
use crate::pipeline::namespace;
use crate::pipeline::observe::{Observed, ObservedPod, Workload};
use crate::sidecar::Image;

/// What a trial showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trial {
    /// A new pod would have what is lacking; or it can't be tried out here.
    Passed,
    /// It would not, for this reason.
    Failed(String),
}

/// Tries out what would become of a new pod of the workload.
pub(super) async fn attempt(
    context: &Context,
    observed: &Observed,
    workload: &Workload,
    image: &Image,
    now: Timestamp,
) -> Trial {
    let Observed { pipeline, others, .. } = observed;
    let params = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
    let api = context.namespaced::<Pod>(&namespace(pipeline));
    match api.create(&params, &pod(workload)).await {
        Ok(mut pod) => {
            // A new one is none the better where something else makes its requests larger.
            if observed.pods.iter().any(|found| is_crowded_out(found, workload)) {
                pod.status.get_or_insert_default().conditions = Some(vec![unscheduled()]);
            }
            judge(&pod, pipeline, others, image, now)
        }
        // Some other webhook can't be asked without consequences; that says nothing about the pod.
        Err(kube::Error::Api(status)) if status.message.contains("does not support dry run") => {
            Trial::Passed
        }
        Err(error) => Trial::Failed(format!("a new pod would be refused: {}", explain(&error))),
    }
}

/// Whether a pod of the workload requests more than any node has, and more than a new one would.
fn is_crowded_out(pod: &ObservedPod, workload: &Workload) -> bool {
    pod.workload.as_ref() == Some(&workload.id()) && pod.lacks.iter().any(Lack::is_room)
}

/// What a pod is told of that no node has room for.
fn unscheduled() -> PodCondition {
    PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some("Insufficient cpu, Insufficient memory".to_owned()),
        ..PodCondition::default()
    }
}

/// A pod as the workload makes it.
fn pod(workload: &Workload) -> Pod {
    let template = workload.template.clone();
    let metadata = template.metadata.unwrap_or_default();
    let mut spec = template.spec.unwrap_or_default();
    let claim = |name: &String| Volume {
        name: name.clone(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let claims = workload.claims.iter().map(claim);
    spec.volumes.get_or_insert_default().extend(claims);
    Pod {
        metadata: ObjectMeta {
            generate_name: Some("weir-trial-".to_owned()),
            labels: metadata.labels,
            annotations: metadata.annotations,
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

fn judge(
    pod: &Pod,
    pipeline: &StreamPipeline,
    others: &[Arc<StreamPipeline>],
    image: &Image,
    now: Timestamp,
) -> Trial {
    let Some(observed) = ObservedPod::of(pod, pipeline, others, image, now) else {
        return Trial::Failed("a new pod would not be selected any more".to_owned());
    };
    if !observed.member {
        let noted = pod.annotations().get(annotation::NOT_INJECTED).cloned();
        let obstacle = observed.obstacle.map(|obstacle| obstacle.why);
        let why = noted.or(obstacle).unwrap_or_else(|| {
            "nothing injects the pods of this namespace: see whether the operator runs with \
             webhook.enabled, and whether the namespace is labelled weir.dev/injection=disabled"
                .to_owned()
        });
        return Trial::Failed(format!("a new pod would get no sidecar either: {why}"));
    }
    match observed.lacks.first() {
        None => Trial::Passed,
        Some(lack) => Trial::Failed(format!("a new pod would be without {lack}, too")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;
    use crate::injection::{Decision, inject};
    use crate::pipeline::observe::WorkloadKind;
    use crate::testing::{options, sidecar_pipeline};

    fn workload() -> Workload {
        let template = json!({
            "metadata": { "labels": { "app": "shop" }, "name": "ignored" },
            "spec": { "containers": [{ "name": "app" }] },
        });
        let set = Workload::named(WorkloadKind::StatefulSet, "db");
        Workload { template: from_value(template).unwrap(), claims: vec!["data".to_owned()], ..set }
    }

    fn judged(change: impl FnOnce(&mut Value)) -> Trial {
        let image = Image::of(&options());
        let pipeline = sidecar_pipeline("orders");
        let mut pod = serde_json::to_value(pod(&workload())).unwrap();
        change(&mut pod);
        judge(&from_value(pod).unwrap(), &pipeline, &[], &image, Timestamp::UNIX_EPOCH)
    }

    fn injected(pod: &mut Value) {
        let pipeline = sidecar_pipeline("orders");
        let decision = inject(pod, &[&pipeline], &Image::of(&options())).unwrap();
        let Decision::Patch(patch) = decision else { panic!("{decision:?}") };
        json_patch::patch(pod, &patch).unwrap();
    }

    #[test]
    fn a_trial_is_made_with_the_labels_and_volumes_of_a_real_pod() {
        let pod = pod(&workload());
        assert_eq!(pod.labels()["app"], "shop");
        assert_eq!(pod.metadata.name, None);
        assert_eq!(pod.spec.unwrap().volumes.unwrap()[0].name, "data");
    }

    #[test]
    fn a_pod_that_would_be_whole_passes() {
        assert_eq!(judged(injected), Trial::Passed);
    }

    #[test]
    fn a_pod_that_would_not_be_whole_says_what_is_to_be_looked_at() {
        for (trial, words) in [
            (judged(|_| {}), "webhook.enabled"),
            (
                judged(|pod| {
                    pod["metadata"]["annotations"] =
                        json!({ "weir.dev/not-injected": "of a port" });
                }),
                "no sidecar either: of a port",
            ),
            (
                judged(|pod| {
                    injected(pod);
                    pod["metadata"]["annotations"]["weir.dev/sidecar-image"] = json!("other:1");
                }),
                "without the image registry.test/weir-sidecar:1, too",
            ),
            (judged(|pod| pod["metadata"]["labels"] = json!({})), "not be selected"),
        ] {
            let Trial::Failed(why) = trial else { panic!("passed, instead of {words}") };
            assert!(why.contains(words), "{why}");
        }
    }
}
