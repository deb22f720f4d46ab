//! Takes from a pod what the pipeline needs to know of it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use weir_crds::names::{SIDECAR_CONTAINER, label};
use weir_crds::v1alpha1::{PlacementKind, StreamPipeline};

use crate::injection::{self, Lack, lacks};
use crate::labels;
use crate::sidecar::Image;
use crate::upgrade::Upgrade;

/// What keeps a container from its first start for a shorter time may pass: a registry that is down for a moment.
const PASSING: SignedDuration = SignedDuration::from_mins(5);

/// A pod that is, or should be, a replica of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pipeline) struct ObservedPod {
    /// The pod's name.
    pub(in crate::pipeline) name: String,
    /// Its identity.
    pub(in crate::pipeline) uid: String,
    /// Its address, once it has one.
    pub(in crate::pipeline) ip: Option<String>,
    /// Whether it is ready.
    pub(in crate::pipeline) ready: bool,
    /// Whether it is a gateway's, and the data plane is up in it, which says why it isn't ready where it isn't.
    pub(in crate::pipeline) up: bool,
    /// Whether the pipeline asks for it: a gateway's own pod, or one that the selector matches.
    pub(in crate::pipeline) selected: bool,
    /// Whether it carries the data plane with this pipeline's configuration.
    pub(in crate::pipeline) member: bool,
    /// What keeps it from being injected, however often it is made anew.
    pub(in crate::pipeline) obstacle: Option<Obstacle>,
    /// What a new pod would have that it has not.
    pub(in crate::pipeline) lacks: Vec<Lack>,
    /// The other pipelines that its sidecar serves.
    pub(in crate::pipeline) neighbours: Vec<String>,
    /// The pipeline that the application's variable of a URL leads to.
    pub(in crate::pipeline) publishes_to: Option<String>,
    /// What made it: `replicaset/web-5d`.
    pub(in crate::pipeline) owner: Option<String>,
    /// What a person would restart so that it is made anew: `deployment/web`.
    pub(in crate::pipeline) workload: Option<String>,
    /// Whether it is on a node, whose kubelet a changed configuration is announced to.
    pub(in crate::pipeline) has_node: bool,
    /// The hash of the configuration that was last announced to it.
    pub(in crate::pipeline) config_hash: Option<String>,
    /// Why the data plane's container does not run, or else one beside it: `ImagePullBackOff: …`.
    pub(in crate::pipeline) trouble: Option<String>,
    /// Whether that container has never run, and has waited too long for what may never come.
    pub(in crate::pipeline) unstarted: bool,
}

/// What keeps pods from being injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Obstacle {
    /// What it is, as a sentence that could follow a `because`.
    pub(in crate::pipeline) why: String,
    /// What is to be done, other than to make the pod anew.
    pub(in crate::pipeline) remedy: String,
}

impl Obstacle {
    /// One that stands in the pod itself.
    pub(in crate::pipeline) fn of_pod(why: String) -> Self {
        Self { why, remedy: "change the pod or the selector".to_owned() }
    }
}

impl ObservedPod {
    /// What matters of a pod; `None` for one that is finished, is leaving, or has opted out. Its sidecar may serve some
    /// of the `others`, too.
    pub(in crate::pipeline) fn of(
        pod: &Pod,
        pipeline: &StreamPipeline,
        others: &[Arc<StreamPipeline>],
        image: &Image,
        now: Timestamp,
    ) -> Option<Self> {
        let name = pipeline.name_any();
        let opted_out = pod.labels().get(label::INJECTION).is_some_and(|value| value == "disabled");
        let (selected, wanted) = match pipeline.spec.placement.kind()? {
            PlacementKind::Gateway(_) => (true, labels::of_gateway(&name)),
            PlacementKind::Sidecar(sidecar) => {
                let matches = sidecar.selector.matches(pod.labels());
                (matches && !opted_out, labels::of_sidecar(&name))
            }
        };
        let member = labels::contain(pod.labels(), &wanted) && has_data_plane(pod);
        let concerns = selected || member;
        let neighbours = neighbours(pod, &name);
        let sharing = || {
            let others = others.iter().filter(|other| neighbours.contains(&other.name_any()));
            others.map(Arc::as_ref).collect::<Vec<&StreamPipeline>>()
        };
        (concerns && !is_gone(pod)).then(|| Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            ip: pod.status.as_ref().and_then(|status| status.pod_ip.clone()),
            ready: is_ready(pod),
            up: pipeline.spec.placement.gateway.is_some() && is_up(pod),
            selected,
            member,
            obstacle: if member { None } else { obstacle(pod, pipeline) },
            lacks: if member && selected {
                lacks(pod, pipeline, &sharing(), image)
            } else {
                Vec::new()
            },
            neighbours: neighbours.clone(),
            publishes_to: injection::publishes_to(pod).map(str::to_owned),
            owner: owner(pod),
            workload: workload(pod),
            has_node: has_node(pod),
            config_hash: pod.annotations().get(&labels::config_hash(&name)).cloned(),
            trouble: trouble(pod),
            unstarted: is_unstarted(pod, now),
        })
    }

    /// Whether it has all that a new pod would have, or would not get it either.
    pub(in crate::pipeline) const fn is_whole(&self) -> bool {
        (self.member && self.lacks.is_empty()) || self.obstacle.is_some()
    }

    /// Whether it is to be made anew. What it lacks only because the operator is of another release can wait until
    /// somebody asks for that, if it serves or ever will.
    pub(in crate::pipeline) fn is_due(&self, upgrade: &Upgrade) -> bool {
        !self.is_whole() && (upgrade.is_asked || !self.member || self.is_incomplete())
    }

    /// Whether it carries the data plane without something that this can't do without.
    pub(in crate::pipeline) fn is_incomplete(&self) -> bool {
        self.lacks.iter().any(Lack::is_needed) || (self.unstarted && !self.lacks.is_empty())
    }

    /// Whether it can't come up as it is, so that a rollout that waits for it does not end.
    pub(in crate::pipeline) fn is_stuck(&self) -> bool {
        self.lacks.iter().any(Lack::is_room) || (self.unstarted && !self.lacks.is_empty())
    }

    /// Whether it serves the pipeline: it carries the data plane, and is ready.
    pub(in crate::pipeline) const fn serves(&self) -> bool {
        self.member && self.ready
    }

    /// Whether it would serve, is up, and says that it can't yet.
    pub(in crate::pipeline) const fn waits(&self) -> bool {
        self.member && self.up && !self.ready
    }
}

fn has_data_plane(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| {
        let inits = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(inits).any(|container| container.name == SIDECAR_CONTAINER)
    })
}

/// What the webhook would say to such a pod. It looks at JSON, as it is what it gets.
fn obstacle(pod: &Pod, pipeline: &StreamPipeline) -> Option<Obstacle> {
    let pod = serde_json::to_value(pod).ok()?;
    injection::obstacle(&pod, &[pipeline]).map(Obstacle::of_pod)
}

fn neighbours(pod: &Pod, pipeline: &str) -> Vec<String> {
    let all = labels::pipelines_of(pod.labels()).filter(|name| *name != pipeline);
    all.map(str::to_owned).collect()
}

/// Whether the pod is finished, or on its way out.
fn is_gone(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a kubelet has it, which reads the newest configuration when it gets it.
fn has_node(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    spec.is_some() || pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn controller(pod: &Pod) -> Option<&OwnerReference> {
    pod.owner_references().iter().find(|owner| owner.controller == Some(true))
}

fn owner(pod: &Pod) -> Option<String> {
    let OwnerReference { kind, name, .. } = controller(pod)?;
    Some(format!("{}/{name}", kind.to_lowercase()))
}

/// The owner of the owner, where that is a ReplicaSet of a Deployment; else the owner.
fn workload(pod: &Pod) -> Option<String> {
    let owner = controller(pod)?;
    let hash = pod.labels().get("pod-template-hash");
    let deployment = hash
        .filter(|_| owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match deployment {
        Some(deployment) => Some(format!("deployment/{deployment}")),
        None => self::owner(pod),
    }
}

/// Why the data plane's container waits, other than for its turn; or why a container beside it does.
fn trouble(pod: &Pod) -> Option<String> {
    let sidecar = data_plane(pod).and_then(waits_for);
    sidecar.or_else(|| unschedulable(pod)).or_else(|| containers(pod).find_map(fails_beside))
}

/// That a container of the application waits. Its words are its own.
fn fails_beside(status: &ContainerStatus) -> Option<String> {
    let (reason, _) = waiting(status)?;
    Some(format!("its container {}: {reason}", status.name))
}

/// What the kubelet says of the data plane's container.
fn data_plane(pod: &Pod) -> Option<&ContainerStatus> {
    containers(pod).find(|status| status.name == SIDECAR_CONTAINER)
}

/// What the kubelet says of all containers.
fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let statuses = pod.status.iter();
    statuses.flat_map(|status| {
        let inits = status.init_container_statuses.iter().flatten();
        status.container_statuses.iter().flatten().chain(inits)
    })
}

fn is_up(pod: &Pod) -> bool {
    data_plane(pod).is_some_and(|status| status.started == Some(true))
}

fn is_unstarted(pod: &Pod, now: Timestamp) -> bool {
    let status = data_plane(pod).filter(|status| status.restart_count == 0);
    let Some((reason, _)) = status.and_then(waiting) else { return false };
    is_hopeless(reason)
        || could_start_at(pod).is_some_and(|since| now.duration_since(since) >= PASSING)
}

/// Since when the container could have started, as nothing stands before it in its pod: since that has a node, and its
/// volumes and network there.
fn could_start_at(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let met = conditions.filter(|condition| {
        let type_ = condition.type_.as_str();
        condition.status == "True" && matches!(type_, "PodScheduled" | "PodReadyToStartContainers")
    });
    let met = met.filter_map(|condition| condition.last_transition_time.as_ref());
    met.chain(&pod.metadata.creation_timestamp).map(|time| time.0).max()
}

/// The reason for which a container waits, other than as every container does for a moment, and what is said of it.
fn waiting(status: &ContainerStatus) -> Option<(&str, Option<&str>)> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !is_underway(reason))?;
    Some((reason, waiting.message.as_deref()))
}

fn waits_for(status: &ContainerStatus) -> Option<String> {
    let (reason, message) = waiting(status)?;
    // That it is about to be started again says less than why it ended.
    Some(match last_words(status).or(message) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    })
}

/// The last line that the container wrote before it failed.
fn last_words(status: &ContainerStatus) -> Option<&str> {
    let ended = status.last_state.as_ref()?.terminated.as_ref()?;
    let line = ended.message.as_deref()?.trim_end().lines().last()?;
    // The counters that it leaves where all is well are for machines.
    (ended.exit_code != 0 && !line.is_empty() && !line.starts_with('{')).then_some(line)
}

/// Whether a container waits as every container does for a moment.
fn is_underway(reason: &str) -> bool {
    matches!(reason, "ContainerCreating" | "PodInitializing")
}

/// Whether no time mends what the container waits for.
fn is_hopeless(reason: &str) -> bool {
    reason == "InvalidImageName"
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    let message = scheduled.message.clone().unwrap_or_default();
    (scheduled.status == "False").then(|| format!("Unschedulable: {message}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{gateway, options, pipeline, sidecar_pipeline};

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": "web-5d-x", "uid": "pod-uid",
                "namespace": "shop",
                "labels": {
                    "app": "shop", "pod-template-hash": "5d",
                    "weir.dev/injected": "true", "pipeline.weir.dev/orders": "true",
                },
                "annotations": { "config-hash.weir.dev/orders": "abc" },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "u",
                    "controller": true,
                }],
            },
            "spec": {
                "containers": [{ "name": "app", "env": [
                    { "name": "WEIR_PUBLISH_URL", "value": "http://127.0.0.1:7072/audit/events" },
                ] }],
                "initContainers": [{ "name": "weir-sidecar" }],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1",
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn observe(pod: &Pod, pipeline: &StreamPipeline) -> Option<ObservedPod> {
        observe_at(pod, pipeline, at(0))
    }

    fn observe_at(pod: &Pod, pipeline: &StreamPipeline, now: Timestamp) -> Option<ObservedPod> {
        ObservedPod::of(pod, pipeline, &[], &Image::of(&options()), now)
    }

    /// So many seconds after the pod was created.
    fn at(second: u64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(second)
    }

    #[test]
    fn an_injected_pod_is_a_selected_member_that_serves() {
        let observed = observe(&pod(|_| {}), &sidecar_pipeline("orders")).unwrap();
        let expected = ObservedPod {
            name: "web-5d-x".to_owned(),
            uid: "pod-uid".to_owned(),
            ip: Some("10.0.0.1".to_owned()),
            ready: true,
            up: false,
            selected: true,
            member: true,
            obstacle: None,
            lacks: Vec::new(),
            neighbours: Vec::new(),
            publishes_to: Some("audit".to_owned()),
            owner: Some("replicaset/web-5d".to_owned()),
            workload: Some("deployment/web".to_owned()),
            has_node: true,
            config_hash: Some("abc".to_owned()),
            trouble: None,
            unstarted: false,
        };
        assert_eq!(observed, expected);
        assert!(observed.serves());
    }

    #[test]
    fn a_gateways_pod_that_is_up_and_not_ready_can_say_why_and_an_applications_is_not_asked() {
        let up = |started: bool| {
            pod(|pod| {
                pod["metadata"]["labels"] = json!({
                    "app": "shop", "weir.dev/injected": "true", "pipeline.weir.dev/orders": "true",
                    "weir.dev/pipeline": "orders", "app.kubernetes.io/component": "gateway",
                });
                pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "False" }]);
                pod["status"]["initContainerStatuses"] = json!([{
                    "name": "weir-sidecar", "image": "i", "imageID": "", "ready": false,
                    "restartCount": 0, "started": started,
                }]);
            })
        };
        let waits = |pod: &Pod, pipeline| observe(pod, &pipeline).unwrap().waits();
        assert!(waits(&up(true), gateway("orders", 1)));
        assert!(!waits(&up(false), gateway("orders", 1)), "it has not come up yet");
        assert!(!waits(&up(true), sidecar_pipeline("orders")));
    }

    #[test]
    fn a_pod_without_the_container_is_no_member_whatever_its_labels_say() {
        let bare = pod(|pod| pod["spec"]["initContainers"] = json!([]));
        let observed = observe(&bare, &sidecar_pipeline("orders")).unwrap();
        assert!(observed.selected && !observed.member);
    }

    #[test]
    fn a_pod_that_cannot_be_injected_says_why() {
        let node = pod(|pod| {
            pod["spec"] = json!({ "containers": [{ "name": "app" }], "hostNetwork": true });
        });
        let observed = observe(&node, &sidecar_pipeline("orders")).unwrap();
        assert!(observed.obstacle.unwrap().why.contains("hostNetwork"));
    }

    #[test]
    fn a_pod_with_the_sidecar_of_another_pipeline_is_no_member() {
        let observed = observe(&pod(|_| {}), &sidecar_pipeline("other")).unwrap();
        assert!(observed.selected && !observed.member);
    }

    #[test]
    fn a_pod_that_is_finished_leaving_or_opted_out_does_not_count() {
        let pipeline = sidecar_pipeline("orders");
        for phase in ["Succeeded", "Failed"] {
            assert!(
                observe(&pod(|pod| pod["status"]["phase"] = json!(phase)), &pipeline).is_none()
            );
        }
        let leaving =
            pod(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
        assert!(observe(&leaving, &pipeline).is_none());
        let opted_out = pod(|pod| {
            pod["metadata"]["labels"] = json!({ "app": "shop", "weir.dev/injection": "disabled" });
        });
        assert!(observe(&opted_out, &pipeline).is_none());
    }

    /// A pod of an older image whose sidecar waits.
    fn waiting_pod(reason: &str, restarts: i32, conditions: &Value) -> Pod {
        pod(|pod| {
            pod["metadata"]["creationTimestamp"] = json!(at(0).to_string());
            pod["metadata"]["annotations"]["weir.dev/sidecar-image"] = json!("registry.test/old:1");
            pod["status"]["conditions"] = conditions.clone();
            pod["status"]["initContainerStatuses"] = json!([{
                "name": "weir-sidecar", "image": "i", "imageID": "", "ready": false,
                "restartCount": restarts, "state": { "waiting": { "reason": reason } },
            }]);
        })
    }

    #[test]
    fn a_sidecar_that_has_never_run_is_unstarted_when_it_has_waited_for_longer_than_trouble_takes()
    {
        let pipeline = sidecar_pipeline("orders");
        let upgrade = Upgrade::of(&pipeline, &options());
        let is_unstarted = |pod: &Pod, second: u64| {
            let observed = observe_at(pod, &pipeline, at(second)).unwrap();
            assert_eq!(observed.is_due(&upgrade), observed.unstarted, "an image can wait");
            observed.unstarted
        };
        for reason in ["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"] {
            let pod = waiting_pod(reason, 0, &json!([]));
            assert!(!is_unstarted(&pod, 299) && is_unstarted(&pod, 300), "{reason}");
        }
        assert!(is_unstarted(&waiting_pod("InvalidImageName", 0, &json!([])), 0));
        assert!(!is_unstarted(&waiting_pod("PodInitializing", 0, &json!([])), 9_999));
        let has_run = waiting_pod("CrashLoopBackOff", 1, &json!([]));
        assert!(!is_unstarted(&has_run, 9_999), "it may run again");
    }

    #[test]
    fn a_sidecar_waits_since_its_pod_has_a_node_and_what_it_needs_there() {
        let condition = |type_: &str, status: &str, second: u64| {
            let since = at(second).to_string();
            json!({ "type": type_, "status": status, "lastTransitionTime": since })
        };
        let scheduled = condition("PodScheduled", "True", 1_000);
        let unready = condition("Ready", "False", 2_000);
        for (conditions, since) in [
            (json!([scheduled, unready]), 1_000),
            (json!([scheduled, condition("PodReadyToStartContainers", "True", 1_200)]), 1_200),
            (json!([scheduled, condition("PodReadyToStartContainers", "False", 1_200)]), 1_000),
        ] {
            let pod = waiting_pod("ImagePullBackOff", 0, &conditions);
            let unstarted = |second: u64| {
                observe_at(&pod, &sidecar_pipeline("orders"), at(second)).unwrap().unstarted
            };
            assert!(!unstarted(since + 299) && unstarted(since + 300), "{conditions}");
        }
    }

    #[test]
    fn a_pod_names_the_pipelines_that_share_its_sidecar_and_what_it_lacks() {
        let shared =
            pod(|pod| pod["metadata"]["labels"]["pipeline.weir.dev/audit"] = json!("true"));
        let mut pipeline = sidecar_pipeline("orders");
        pipeline.spec.endpoints.tls =
            serde_json::from_value(json!({ "secretName": "tls" })).unwrap();
        let observed = observe(&shared, &pipeline).unwrap();
        assert_eq!(observed.neighbours, ["audit"]);
        // The application publishes into `audit`, and there is no such pipeline.
        assert_eq!(observed.lacks, [Lack::Secret("tls".to_owned()), Lack::Url("audit".to_owned())]);
    }

    #[test]
    fn a_member_that_the_selector_ceased_to_match_still_counts_as_member() {
        let moved = pod(|pod| pod["metadata"]["labels"]["app"] = json!("elsewhere"));
        let observed = observe(&moved, &sidecar_pipeline("orders")).unwrap();
        assert!(!observed.selected && observed.member);
    }

    #[test]
    fn the_pod_of_a_gateway_is_known_by_its_own_labels() {
        let gateway = pod(|pod| {
            pod["metadata"]["labels"] =
                json!({ "weir.dev/pipeline": "orders", "app.kubernetes.io/component": "gateway" });
        });
        assert!(observe(&gateway, &pipeline("orders")).unwrap().member);
        assert!(!observe(&gateway, &pipeline("other")).unwrap().member);
    }

    #[test]
    fn the_workload_to_restart_is_the_one_that_a_person_knows() {
        let set = pod(|pod| {
            pod["metadata"]["ownerReferences"][0]["kind"] = json!("StatefulSet");
            pod["metadata"]["ownerReferences"][0]["name"] = json!("db");
        });
        assert_eq!(workload(&set).as_deref(), Some("statefulset/db"));
        let bare = pod(|pod| pod["metadata"]["ownerReferences"] = json!([]));
        assert_eq!(workload(&bare), None);
    }

    #[test]
    fn a_container_that_cannot_start_says_why() {
        let failing = pod(|pod| {
            pod["status"]["initContainerStatuses"] = json!([{
                "name": "weir-sidecar", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } },
            }]);
        });
        assert_eq!(trouble(&failing).as_deref(), Some("ImagePullBackOff: no such image"));
        let crashing = pod(|pod| {
            pod["status"]["initContainerStatuses"] = json!([{
                "name": "weir-sidecar", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
                "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } },
                "lastState": { "terminated": {
                    "exitCode": 1, "message": "starting\ncan't listen on port 7070\n",
                } },
            }]);
        });
        let words = "CrashLoopBackOff: can't listen on port 7070";
        assert_eq!(trouble(&crashing).as_deref(), Some(words));
        let beside = pod(|pod| {
            pod["status"]["containerStatuses"] = json!([{
                "name": "web", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
                "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } },
                "lastState": { "terminated": { "exitCode": 1, "message": "password: hunter2" } },
            }]);
        });
        assert_eq!(trouble(&beside).as_deref(), Some("its container web: CrashLoopBackOff"));
        let pending = pod(|pod| {
            pod["status"]["conditions"] =
                json!([{ "type": "PodScheduled", "status": "False", "message": "no nodes" }]);
        });
        assert_eq!(trouble(&pending).as_deref(), Some("Unschedulable: no nodes"));
    }
}
