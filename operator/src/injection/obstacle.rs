//! Finds what keeps a pod from being injected. The pipeline's status asks the same, so that the remedy it
//! names is one that helps.

mod names;
mod room;
mod system;

use serde_json::Value;
use weir_crds::names::{SOCKET_DIR, port};
use weir_crds::v1alpha1::StreamPipeline;

pub(super) use self::names::{OWN_CONTAINER, OWN_INIT_CONTAINER, Wanted, own_volume};
pub(super) use self::room::{AFTER, BETWEEN, KINDS, before};
pub(super) use self::system::{LABEL as OS_LABEL, WINDOWS, WORDS as FOR_WINDOWS};

/// The ports that the sidecar opens.
pub(super) const PORTS: [u16; 3] = [port::PUBLIC, port::ADMIN, port::PUBLISH];

/// Why a pod of the node's network gets no sidecar.
pub(super) const HOST_NETWORK: &str =
    "it has hostNetwork, where the sidecar's ports would be the node's";

/// What keeps a pod from being injected for these pipelines, as a sentence that begins with the pod's part in it.
#[must_use]
pub fn obstacle(pod: &Value, pipelines: &[&StreamPipeline]) -> Option<String> {
    let spec = pod.get("spec")?;
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        return Some(HOST_NETWORK.to_owned());
    }
    if system::is_windows(spec) {
        return Some(FOR_WINDOWS.to_owned());
    }
    names::container(spec)
        .or_else(|| port(spec))
        .or_else(|| names::volume(spec, pipelines))
        .or_else(|| room::lacking(spec, pipelines))
}

fn port(spec: &Value) -> Option<String> {
    running(spec).find_map(taken_port).map(|(container, port)| {
        format!(
            "its container {container} has port {port}, which the sidecar needs: it takes 7070, 7071 and \
             7072"
        )
    })
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.get("containers").and_then(Value::as_array).into_iter().flatten()
}

fn inits(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.get("initContainers").and_then(Value::as_array).into_iter().flatten()
}

/// The containers that run for as long as the pod does, but for the sidecar.
fn running(spec: &Value) -> impl Iterator<Item = &Value> {
    containers(spec).chain(beside(spec))
}

/// The other native sidecars, which hold what they have for as long as the pod lives.
fn beside(spec: &Value) -> impl Iterator<Item = &Value> {
    inits(spec).filter(|container| is_native(container) && !names::is_ours_by_name(container))
}

fn is_native(container: &Value) -> bool {
    container.get("restartPolicy").and_then(Value::as_str) == Some("Always")
}

/// Whether a container of the sidecar's name is the one that an injection has added.
fn is_sidecar(container: &Value) -> bool {
    let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
    let mut paths = mounts.filter_map(|mount| mount.get("mountPath")?.as_str());
    is_native(container) && paths.any(|path| path == SOCKET_DIR)
}

fn taken_port(container: &Value) -> Option<(&str, u64)> {
    let ports = container.get("ports")?.as_array()?;
    let numbers = ports.iter().filter_map(|port| port.get("containerPort")?.as_u64());
    let mut taken = numbers.filter(|number| PORTS.iter().any(|&port| u64::from(port) == *number));
    taken.next().map(|number| (name(container), number))
}

fn name(container: &Value) -> &str {
    container.get("name").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::sidecar_pipeline;

    fn of(spec: &Value) -> Option<String> {
        obstacle(&json!({ "spec": spec }), &[&sidecar_pipeline("orders")])
    }

    #[test]
    fn an_ordinary_pod_has_no_obstacle() {
        let containers = json!([{ "name": "app", "ports": [{ "containerPort": 8080 }] }]);
        assert_eq!(of(&json!({ "containers": containers })), None);
    }

    #[test]
    fn a_port_of_an_init_container_that_ends_and_those_of_the_sidecar_itself_are_no_obstacle() {
        let ports = json!([{ "containerPort": 7070 }]);
        let inits = json!([
            { "name": "migrate", "ports": ports },
            {
                "name": "weir-sidecar", "restartPolicy": "Always", "ports": ports,
                "volumeMounts": [{ "name": "weir-run", "mountPath": "/run/weir" }],
            },
        ]);
        assert_eq!(of(&json!({ "initContainers": inits })), None);
    }

    #[test]
    fn each_obstacle_is_named() {
        for (spec, words) in [
            (json!({ "hostNetwork": true }), "hostNetwork"),
            (
                json!({ "containers": [
                    { "name": "app" }, { "name": "side", "ports": [{ "containerPort": 7071 }] },
                ] }),
                "side has port 7071",
            ),
            (
                json!({ "initContainers": [{
                    "name": "mesh", "restartPolicy": "Always", "ports": [{ "containerPort": 7070 }],
                }] }),
                "mesh has port 7070",
            ),
        ] {
            let found = of(&spec).unwrap();
            assert!(found.contains(words), "{found}");
        }
    }
}
