//! Decides which template the pods of a gateway are made of: the one that this release of the operator makes, or
//! the one that they have. Pure.
//!
//! # Laws
//!
//! - The template becomes another one when what the pipeline asks for would make another one, and when the upgrade
//!   was asked for; never because another release of the operator would make it otherwise.
//! - What was given stands in an annotation of the workload, and is written together with it. So a template that
//!   somebody has changed is put right by what was given, also where this release would not make it any more, and
//!   neither a crash nor another leader brings an upgrade about.
//! - The annotation is believed only where its hash stands in the pipeline's status, which who may write workloads
//!   may not write: what somebody wrote into it by hand, and what a watch still tells though another one was
//!   written since, is nothing to go by. A status without any hash, of a new pipeline or of an older release,
//!   believes it.
//! - A workload without an annotation that can be believed is given what this release makes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use weir_crds::names::{SIDECAR_CONTAINER, annotation};
use weir_crds::scalar::Duration;
use weir_crds::v1alpha1::{Gateway, GatewayPod, Resources, StreamPipelineSpec};

use super::build::text;
use crate::secrets;
use crate::sidecar::{keeps_data, log_bytes};
use crate::upgrade::Upgrade;

/// What of a pipeline a template is made of: what its author says, and nothing that a release makes of it.
///
/// Workloads keep it from release to release. A new field has a default, which stands for what it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodInputs {
    /// For how long subscribers are sent away.
    pub(super) drain_window: Duration,
    /// The most bytes of events that the log holds.
    pub(super) log_bytes: u64,
    /// Whether the log is on a disk.
    pub(super) keeps_data: bool,
    /// The Secrets that the manifest names.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) secrets: BTreeSet<String>,
    /// What each pod is granted, where that is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<Resources>,
    /// Where the pods run, and what is noted on them.
    #[serde(default)]
    pub(super) pod: GatewayPod,
}

impl PodInputs {
    /// What the template of this gateway is made of. How many there are, and on what volumes, is the workload's
    /// business.
    pub(super) fn of(spec: &StreamPipelineSpec, gateway: &Gateway) -> Self {
        let Gateway { replicas: _, autoscaling: _, rebalance: _, resources, volume: _, pod } =
            gateway;
        Self {
            drain_window: spec.delivery.drain.window.clone(),
            log_bytes: log_bytes([&spec.log]),
            keeps_data: keeps_data([&spec.log]),
            secrets: secrets::named_by([spec]).into_iter().map(str::to_owned).collect(),
            resources: resources.clone(),
            pod: pod.clone().unwrap_or_default(),
        }
    }
}

/// What stands in the annotation of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The release that made the template.
    release: String,
    /// What the pipeline asked for when it was last looked at.
    inputs: PodInputs,
    /// The template that was last given.
    template: PodTemplateSpec,
}

impl Note {
    /// Reads it from a workload; `None` where there is none that can be read and, by the hashes of what was `given`,
    /// believed.
    pub(super) fn of(workload: Option<&ObjectMeta>, given: &[String]) -> Option<Self> {
        let text = workload?.annotations.as_ref()?.get(annotation::POD_TEMPLATE)?;
        let is_believed = given.is_empty() || given.contains(&hash_of(text));
        is_believed.then(|| serde_json::from_str(text).ok()).flatten()
    }
}

/// What tells one note from any other, also from one that somebody would like to be taken for it.
pub(super) fn hash_of(note: &str) -> String {
    Sha256::digest(note).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The template that a workload is given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    /// The template.
    pub(super) template: PodTemplateSpec,
    /// What is to stand in the annotation.
    pub(super) note: String,
    /// What it is kept at, where this release would make another one.
    pub(super) held: Option<HeldBack>,
}

/// What pods are kept at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldBack {
    /// The release that made the template.
    pub(super) release: String,
    /// The image in it.
    pub(super) image: Option<String>,
}

impl HeldBack {
    fn at(Note { release, inputs: _, template }: &Note) -> Self {
        let mut containers = template.spec.iter().flat_map(|spec| &spec.containers);
        let container = containers.find(|container| container.name == SIDECAR_CONTAINER);
        let image = container.and_then(|container| container.image.clone());
        Self { release: release.clone(), image }
    }
}

/// Decides; `make` makes a template as this release does.
pub(super) fn decide(
    noted: Option<&Note>,
    inputs: &PodInputs,
    upgrade: &Upgrade,
    make: impl Fn(&PodInputs) -> PodTemplateSpec,
) -> Given {
    let made = make(inputs);
    let is_kept = |note: &&Note| {
        // Whether the wish is another one is asked of this release, as it alone can be asked.
        !upgrade.is_asked
            && text(&note.template) != text(&made)
            && (note.inputs == *inputs || text(&make(&note.inputs)) == text(&made))
    };
    let kept = noted.filter(is_kept);
    let held = kept.map(HeldBack::at);
    let release = held.as_ref().map_or(&upgrade.release, |held| &held.release).clone();
    let template = kept.map_or(made, |note| note.template.clone());
    let note = text(&Note { release, inputs: inputs.clone(), template: template.clone() });
    Given { template, note, held }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::{Value, from_value, json};
    use weir_crds::v1alpha1::StreamPipeline;

    use super::*;
    use crate::context::Options;
    use crate::testing::{gateway, options};

    /// The pipeline, with this in its spec besides.
    fn with(change: &Value) -> StreamPipeline {
        let mut pipeline = serde_json::to_value(gateway("orders", 1)).unwrap();
        json_patch::merge(&mut pipeline["spec"], change);
        from_value(pipeline).unwrap()
    }

    fn inputs(pipeline: &StreamPipeline) -> PodInputs {
        PodInputs::of(&pipeline.spec, pipeline.spec.placement.gateway.as_ref().unwrap())
    }

    fn upgrade(pipeline: &StreamPipeline, image: &str) -> Upgrade {
        let options = Options { sidecar_image: image.to_owned(), ..options() };
        Upgrade::of(pipeline, &options)
    }

    /// What a release makes that brings this image: the window, the log in whole GiB, and the Secrets.
    fn made(image: &str, inputs: &PodInputs) -> PodTemplateSpec {
        let volumes: Vec<_> = inputs.secrets.iter().map(|name| json!({ "name": name })).collect();
        from_value(json!({ "spec": {
            "terminationGracePeriodSeconds": inputs.drain_window.millis() / 1_000,
            "priority": inputs.log_bytes >> 30,
            "containers": [{ "name": "weir-sidecar", "image": image }],
            "volumes": volumes,
        } }))
        .unwrap()
    }

    fn given(before: Option<&Given>, pipeline: &StreamPipeline, image: &str) -> Given {
        let note = before.map(|given| serde_json::from_str(&given.note).unwrap());
        let make = |inputs: &PodInputs| made(image, inputs);
        decide(note.as_ref(), &inputs(pipeline), &upgrade(pipeline, image), make)
    }

    #[test]
    fn the_first_template_is_that_of_this_release_and_stays_as_it_is() {
        let pipeline = with(&json!({}));
        let first = given(None, &pipeline, "sidecar:1");
        assert_eq!(first.template, made("sidecar:1", &inputs(&pipeline)));
        assert_eq!(first.held, None);
        assert_eq!(given(Some(&first), &pipeline, "sidecar:1"), first);
    }

    #[test]
    fn another_release_changes_nothing_until_it_is_asked_for() {
        let mut pipeline = with(&json!({}));
        let first = given(None, &pipeline, "sidecar:1");
        let kept = given(Some(&first), &pipeline, "sidecar:2");
        let release = upgrade(&pipeline, "sidecar:1").release;
        let held = HeldBack { release, image: Some("sidecar:1".to_owned()) };
        assert_eq!((&kept.template, &kept.note), (&first.template, &first.note));
        assert_eq!(kept.held, Some(held.clone()));
        // The one after that holds it at the same.
        assert_eq!(given(Some(&kept), &pipeline, "sidecar:3").held, Some(held));
        let wanted = upgrade(&pipeline, "sidecar:3").release;
        pipeline.metadata.annotations = Some([(annotation::UPGRADE.to_owned(), wanted)].into());
        let asked = given(Some(&kept), &pipeline, "sidecar:3");
        assert_eq!(asked.template, made("sidecar:3", &inputs(&pipeline)));
        assert_eq!(asked.held, None);
        // What was asked for once is not asked for ever.
        assert!(given(Some(&asked), &pipeline, "sidecar:4").held.is_some());
    }

    #[test]
    fn a_template_is_made_once_where_the_wish_is_the_same() {
        let pipeline = with(&json!({}));
        let first = given(None, &pipeline, "sidecar:1");
        let note = serde_json::from_str(&first.note).unwrap();
        for image in ["sidecar:1", "sidecar:2"] {
            let count = Cell::new(0);
            let make = |inputs: &PodInputs| {
                count.set(count.get() + 1);
                made(image, inputs)
            };
            decide(Some(&note), &inputs(&pipeline), &upgrade(&pipeline, image), make);
            assert_eq!(count.get(), 1, "{image}");
        }
    }

    #[test]
    fn a_release_that_takes_the_image_back_holds_the_newer_one() {
        let pipeline = with(&json!({}));
        let newer = given(None, &pipeline, "sidecar:2");
        let kept = given(Some(&newer), &pipeline, "sidecar:1");
        assert_eq!(kept.held.unwrap().image.as_deref(), Some("sidecar:2"));
    }

    #[test]
    fn a_wish_for_other_pods_takes_the_release_along() {
        let first = given(None, &with(&json!({})), "sidecar:1");
        for change in [
            json!({ "delivery": { "drain": { "window": "7s" } } }),
            json!({ "log": { "retention": { "maxBytes": "1Gi" } } }),
            json!({ "endpoints": { "tls": { "secretName": "tls" } } }),
        ] {
            let pipeline = with(&change);
            let next = given(Some(&first), &pipeline, "sidecar:2");
            assert_eq!(next.template, made("sidecar:2", &inputs(&pipeline)), "{change}");
            assert_eq!(next.held, None);
        }
    }

    #[test]
    fn a_change_that_makes_no_other_pods_takes_nothing_along_and_is_noted() {
        let first = given(None, &with(&json!({})), "sidecar:1");
        let larger = with(&json!({ "log": { "retention": { "maxBytes": "65Mi" } } }));
        let kept = given(Some(&first), &larger, "sidecar:2");
        assert_eq!(kept.template, first.template);
        assert!(kept.held.is_some());
        // A release to which it makes a difference does not find it later, as if it had been made just now.
        let noted: Note = serde_json::from_str(&kept.note).unwrap();
        assert_eq!(noted.inputs, inputs(&larger));
    }

    #[test]
    fn a_workload_whose_annotation_is_gone_or_broken_is_given_what_this_release_makes() {
        let annotated = |text: &str| ObjectMeta {
            annotations: Some([(annotation::POD_TEMPLATE.to_owned(), text.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let first = given(None, &with(&json!({})), "sidecar:1");
        assert!(Note::of(Some(&annotated(&first.note)), &[]).is_some());
        for unread in [None, Some(ObjectMeta::default()), Some(annotated("{}"))] {
            assert_eq!(Note::of(unread.as_ref(), &[]), None);
        }
    }

    #[test]
    fn an_annotation_is_believed_only_where_the_status_has_its_hash() {
        let first = given(None, &with(&json!({})), "sidecar:1");
        let annotations = Some([(annotation::POD_TEMPLATE.to_owned(), first.note.clone())].into());
        let workload = ObjectMeta { annotations, ..ObjectMeta::default() };
        let noted = |hashes: &[&str]| {
            let hashes: Vec<_> = hashes.iter().copied().map(str::to_owned).collect();
            Note::of(Some(&workload), &hashes).is_some()
        };
        let hash = hash_of(&first.note);
        assert_eq!(hash.len(), 32);
        assert!(noted(&[&hash]) && noted(&["the one after", &hash]));
        assert!(noted(&[]), "the release before knew no hashes");
        assert!(!noted(&["another"]));
    }

    /// Workloads out there have it: a release that could not read it would restart them all.
    #[test]
    fn the_annotation_of_the_first_release_is_read() {
        let golden = r#"{"release":"0.1.0-1f3c9a","inputs":{"drainWindow":"20s","logBytes":67108864,"keepsData":false,
            "pod":{}},"template":{"spec":{"containers":[{"name":"weir-sidecar","image":"sidecar:1"}]}}}"#;
        let note: Note = serde_json::from_str(golden).unwrap();
        assert_eq!(note.inputs, inputs(&with(&json!({}))));
        assert_eq!(HeldBack::at(&note).image.as_deref(), Some("sidecar:1"));
        let full = with(&json!({
            "placement": { "gateway": {
                "resources": { "limits": { "memory": "2Gi" } },
                "pod": { "nodeSelector": { "disk": "fast" } },
            } },
            "log": { "storage": { "disk": {} } },
            "endpoints": { "tls": { "secretName": "tls" } },
        }));
        let golden = json!({
            "drainWindow": "20s", "logBytes": 67_108_864, "keepsData": true, "secrets": ["tls"],
            "resources": { "limits": { "memory": "2Gi" } },
            "pod": { "nodeSelector": { "disk": "fast" } },
        });
        assert_eq!(serde_json::to_value(inputs(&full)).unwrap(), golden);
        assert_eq!(from_value::<PodInputs>(golden).unwrap(), inputs(&full));
    }
}
