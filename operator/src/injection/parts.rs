//! The parts of an injection. Each adds what is missing of it, and nothing else.

use std::collections::BTreeSet;

use json_patch::jsonptr::PointerBuf;
use k8s_openapi::api::core::v1::VolumeMount;
use kube::ResourceExt;
use serde_json::{Value, json};
use weir_crds::names::{
    CONFIG_DIR, PUBLISH_BASE_ENV, PUBLISH_SOCKET, PUBLISH_SOCKET_ENV, PUBLISH_URL_ENV,
    SIDECAR_CONTAINER, SOCKET_DIR, annotation, config_map, label, port,
};
use weir_crds::v1alpha1::StreamPipeline;

use super::granted::granted;
use super::patch::{PatchError, PodPatch, at};
use crate::labels;
use crate::resources::amount;
use crate::secrets;
use crate::sidecar::{DATA_VOLUME, Image, Place, container, data_mount, grace_seconds, keeps_data};

/// The volume that holds the socket. No name of a volume below begins like it.
const SOCKET_VOLUME: &str = "weir-run";
/// What a pod has where it says nothing.
pub(super) const DEFAULT_GRACE_SECONDS: i64 = 30;

/// The volume that holds the manifests of a pipeline: at most 59 characters of the 63 there may be.
fn volume(pipeline: &str) -> String {
    format!("weir-p-{pipeline}")
}

fn names(pipelines: &[&StreamPipeline]) -> Vec<String> {
    pipelines.iter().map(|pipeline| pipeline.name_any()).collect()
}

fn secrets_of<'a>(pipelines: &[&'a StreamPipeline]) -> BTreeSet<&'a str> {
    secrets::named_by(pipelines.iter().map(|pipeline| &pipeline.spec))
}

/// Labels and annotations: by these the Service finds the pod, and the controller its pipelines.
pub(super) fn mark(patch: &mut PodPatch, pipelines: &[&StreamPipeline]) -> Result<(), PatchError> {
    let labels = at(["metadata", "labels"]);
    let annotations = at(["metadata", "annotations"]);
    patch.set_text(&labels, label::INJECTED, "true")?;
    for name in names(pipelines) {
        patch.set_text(&labels, &labels::member(&name), "true")?;
    }
    let noted = patch.get(&at(["metadata", "annotations", annotation::PIPELINES]));
    let noted = noted.and_then(Value::as_str).unwrap_or_default().split(',');
    let mut all: BTreeSet<String> =
        noted.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    all.extend(names(pipelines));
    let all: Vec<String> = all.into_iter().collect();
    patch.set_text(&annotations, annotation::PIPELINES, &all.join(","))
}

/// Notes on a pod why it is not injected: its author sees it there when the warning is long gone.
pub(super) fn note_refusal(patch: &mut PodPatch, reason: &str) -> Result<(), PatchError> {
    patch.set_text(&at(["metadata", "annotations"]), annotation::NOT_INJECTED, reason)
}

/// The socket's directory, that of logs on a disk, each pipeline's manifests, and the Secrets that they name.
pub(super) fn volumes(pipelines: &[&StreamPipeline]) -> Vec<Value> {
    // In memory: a directory on disk keeps a cluster autoscaler from removing the node. It holds one
    // socket, which takes no space.
    let mut volumes = vec![
        json!({ "name": SOCKET_VOLUME, "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }),
    ];
    if keep_data(pipelines) {
        volumes.push(json!({ "name": DATA_VOLUME, "emptyDir": {} }));
    }
    for name in names(pipelines) {
        // Optional: a pod starts also where its pipeline was deleted a moment ago.
        volumes.push(json!({
            "name": volume(&name),
            "configMap": { "name": config_map(&name), "optional": true },
        }));
    }
    for secret in secrets_of(pipelines) {
        volumes.push(serde_json::to_value(secrets::volume(secret)).unwrap_or_default());
    }
    volumes
}

/// Adds the volumes that are missing.
pub(super) fn add_volumes(
    patch: &mut PodPatch,
    pipelines: &[&StreamPipeline],
) -> Result<(), PatchError> {
    let list = at(["spec", "volumes"]);
    volumes(pipelines).into_iter().try_for_each(|volume| add_named(patch, &list, volume))
}

/// The native sidecar.
pub(super) fn sidecar(pipelines: &[&StreamPipeline], image: &Image) -> Value {
    let mut mounts = vec![socket_mount()];
    mounts.extend(sidecar_mounts(pipelines));
    let container = container(image, Place::BesideApplication, granted(pipelines), mounts);
    let mut container = serde_json::to_value(container).unwrap_or_default();
    if let Value::Object(container) = &mut container {
        container.insert("restartPolicy".to_owned(), "Always".into());
    }
    container
}

/// What the sidecar mounts for these pipelines, beside the socket's directory.
pub(super) fn sidecar_mounts(pipelines: &[&StreamPipeline]) -> Vec<VolumeMount> {
    let data = keep_data(pipelines).then(data_mount);
    let manifests = names(pipelines);
    let manifests = manifests.iter().map(|name| manifests_mount(name));
    let secrets = secrets_of(pipelines).into_iter().map(secrets::mount);
    data.into_iter().chain(manifests).chain(secrets).collect()
}

/// Adds the native sidecar, at the front of the init containers, so that all others may publish.
pub(super) fn add_sidecar(
    patch: &mut PodPatch,
    pipelines: &[&StreamPipeline],
    image: &Image,
) -> Result<(), PatchError> {
    let list = at(["spec", "initContainers"]);
    let place = patch.items(&list)?.iter().position(|item| is_named(item, SIDECAR_CONTAINER));
    let Some(index) = place else {
        // What was asked for: another webhook may have the image come from a mirror.
        let annotations = at(["metadata", "annotations"]);
        patch.set_text(&annotations, annotation::SIDECAR_IMAGE, &image.reference)?;
        return patch.prepend(&list, sidecar(pipelines, image));
    };
    let list = at(["spec", "initContainers", &index.to_string(), "volumeMounts"]);
    sidecar_mounts(pipelines).iter().try_for_each(|mount| add_mount(patch, &list, mount))
}

/// Whether pipelines join those of an earlier pass: the webhook is asked again about a pod that something else changed
/// after it, as what mounts the token of the pod's account does, and may have heard of a pipeline meanwhile.
pub(super) fn are_joined(patch: &PodPatch, pipelines: &[&StreamPipeline]) -> bool {
    let noted = patch.get(&at(["metadata", "annotations", annotation::PIPELINES]));
    let noted = noted.and_then(Value::as_str).unwrap_or_default();
    let is_noted = |name: &String| noted.split(',').any(|noted| noted == name);
    !noted.is_empty() && !names(pipelines).iter().all(is_noted)
}

/// Grants the sidecar that is there what these pipelines need together; no amount becomes smaller.
pub(super) fn raise_resources(
    patch: &mut PodPatch,
    pipelines: &[&StreamPipeline],
) -> Result<(), PatchError> {
    let inits = patch.items(&at(["spec", "initContainers"]))?;
    let place = inits.iter().position(|item| is_named(item, SIDECAR_CONTAINER));
    let Some(index) = place.map(|index| index.to_string()) else { return Ok(()) };
    let granted = granted(pipelines);
    for (field, amounts) in [("requests", granted.requests), ("limits", granted.limits)] {
        let object = at(["spec", "initContainers", &index, "resources", field]);
        for (kind, wanted) in amounts.into_iter().flatten() {
            let mut address = object.clone();
            address.push_back(kind.as_str());
            let given = patch.get(&address).and_then(Value::as_str);
            // What somebody has taken away is not given back.
            if given.is_some_and(|given| amount(&kind, given) < amount(&kind, &wanted.0)) {
                patch.set_text(&object, &kind, &wanted.0)?;
            }
        }
    }
    Ok(())
}

/// How the Secrets stand in a pod with which the sidecar's image is pulled.
pub(super) fn pull_secrets(image: &Image) -> Vec<Value> {
    image.pull_secrets.iter().map(|name| json!({ "name": name })).collect()
}

/// Adds those that the pod has not, which it may have of its account.
pub(super) fn add_pull_secrets(patch: &mut PodPatch, image: &Image) -> Result<(), PatchError> {
    let list = at(["spec", "imagePullSecrets"]);
    pull_secrets(image).into_iter().try_for_each(|secret| add_named(patch, &list, secret))
}

/// What each container of the application needs to publish.
pub(super) fn connect_application(
    patch: &mut PodPatch,
    pipelines: &[&StreamPipeline],
) -> Result<(), PatchError> {
    let count = patch.items(&at(["spec", "containers"]))?.len();
    for index in 0..count {
        let index = index.to_string();
        let list = |field| at(["spec", "containers", index.as_str(), field]);
        add_mount(patch, &list("volumeMounts"), &socket_mount())?;
        // In reverse: each goes to the front, where the container's own variables may refer to it.
        for (name, value) in environment(pipelines).into_iter().rev() {
            if !patch.has(&list("env"), "name", name)? {
                patch.prepend(&list("env"), json!({ "name": name, "value": value }))?;
            }
        }
    }
    Ok(())
}

/// A grace period in which the longest drain fits.
pub(super) fn raise_grace_period(
    patch: &mut PodPatch,
    pipelines: &[&StreamPipeline],
) -> Result<(), PatchError> {
    let address = at(["spec", "terminationGracePeriodSeconds"]);
    let needed =
        grace_seconds(pipelines.iter().map(|pipeline| &pipeline.spec.delivery.drain.window));
    let granted = patch.get(&address).and_then(Value::as_i64).unwrap_or(DEFAULT_GRACE_SECONDS);
    if granted < needed { patch.add(address, needed.into()) } else { Ok(()) }
}

/// The variables; the first, of those that are oldest first, into which the application can publish gives the URL.
pub(super) fn environment(pipelines: &[&StreamPipeline]) -> Vec<(&'static str, String)> {
    let base = format!("http://127.0.0.1:{}", port::PUBLISH);
    let posted = |pipeline: &&&StreamPipeline| {
        pipeline.spec.sources.iter().any(|source| source.http.is_some())
    };
    let first = pipelines.iter().find(posted).or(pipelines.first());
    let url = first.map(|pipeline| format!("{base}/{}/events", pipeline.name_any()));
    let url = url.map(|url| (PUBLISH_URL_ENV, url));
    let others = [(PUBLISH_BASE_ENV, base), (PUBLISH_SOCKET_ENV, PUBLISH_SOCKET.to_owned())];
    url.into_iter().chain(others).collect()
}

fn keep_data(pipelines: &[&StreamPipeline]) -> bool {
    keeps_data(pipelines.iter().map(|pipeline| &pipeline.spec.log))
}

pub(super) fn socket_mount() -> VolumeMount {
    VolumeMount {
        name: SOCKET_VOLUME.to_owned(),
        mount_path: SOCKET_DIR.to_owned(),
        ..VolumeMount::default()
    }
}

/// A directory for each pipeline: whole ConfigMaps in one directory would overwrite each other.
pub(super) fn manifests_mount(pipeline: &str) -> VolumeMount {
    VolumeMount {
        name: volume(pipeline),
        mount_path: format!("{CONFIG_DIR}/{pipeline}"),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn is_named(item: &Value, name: &str) -> bool {
    item.get("name").and_then(Value::as_str) == Some(name)
}

/// Appends an item, if none of its name is there.
fn add_named(patch: &mut PodPatch, list: &PointerBuf, item: Value) -> Result<(), PatchError> {
    let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
    if patch.has(list, "name", name)? { Ok(()) } else { patch.append(list, item) }
}

/// Appends a mount, if nothing is mounted at its path.
fn add_mount(
    patch: &mut PodPatch,
    list: &PointerBuf,
    mount: &VolumeMount,
) -> Result<(), PatchError> {
    if patch.has(list, "mountPath", &mount.mount_path)? {
        return Ok(());
    }
    patch.append(list, serde_json::to_value(mount).unwrap_or_default())
}
