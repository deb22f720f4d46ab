//! Finds what keeps a pod from being injected. The pipeline's status asks the same, so that the remedy it
//! names is one that helps.

use serde_json::Value;
use weir_crds::names::{SIDECAR_CONTAINER, port};

/// The ports that the sidecar opens.
pub(super) const PORTS: [u16; 3] = [port::PUBLIC, port::ADMIN, port::PUBLISH];

/// What keeps a pod from being injected, as a sentence that begins with the pod's part in it.
#[must_use]
pub fn obstacle(pod: &Value) -> Option<String> {
    let spec = pod.get("spec")?;
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        return Some(
            "it has hostNetwork, where the sidecar's ports would be the node's".to_owned(),
        );
    }
    if spec.pointer("/os/name").and_then(Value::as_str) == Some("windows") {
        return Some("it is for Windows, for which there is no sidecar".to_owned());
    }
    let containers = || spec.get("containers").and_then(Value::as_array).into_iter().flatten();
    if containers().any(|container| name(container) == SIDECAR_CONTAINER) {
        return Some(format!("it has a container of its own called {SIDECAR_CONTAINER}"));
    }
    let beside = inits(spec).filter(|container| runs_beside(container));
    containers().chain(beside).find_map(taken_port).map(|(container, port)| {
        format!(
            "its container {container} has port {port}, which the sidecar needs: it takes 7070, 7071 and \
             7072"
        )
    })
}

fn inits(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.get("initContainers").and_then(Value::as_array).into_iter().flatten()
}

/// Whether an init container is another native sidecar, which holds its ports for as long as the pod lives.
fn runs_beside(container: &Value) -> bool {
    let restarts = container.get("restartPolicy").and_then(Value::as_str) == Some("Always");
    restarts && name(container) != SIDECAR_CONTAINER
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

    #[test]
    fn an_ordinary_pod_has_no_obstacle() {
        let containers = json!([{ "name": "app", "ports": [{ "containerPort": 8080 }] }]);
        assert_eq!(obstacle(&json!({ "spec": { "containers": containers } })), None);
    }

    #[test]
    fn a_port_of_an_init_container_that_ends_and_those_of_the_sidecar_itself_are_no_obstacle() {
        let ports = json!([{ "containerPort": 7070 }]);
        let inits = json!([
            { "name": "migrate", "ports": ports },
            { "name": "weir-sidecar", "restartPolicy": "Always", "ports": ports },
        ]);
        assert_eq!(obstacle(&json!({ "spec": { "initContainers": inits } })), None);
    }

    #[test]
    fn each_obstacle_is_named() {
        for (spec, words) in [
            (json!({ "hostNetwork": true }), "hostNetwork"),
            (json!({ "os": { "name": "windows" } }), "Windows"),
            (json!({ "containers": [{ "name": "weir-sidecar" }] }), "of its own"),
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
            let found = obstacle(&json!({ "spec": spec })).unwrap();
            assert!(found.contains(words), "{found}");
        }
    }
}
