//! What a pod's author has called as the sidecar's own parts are called. It would be taken for them, and serve
//! nothing.

use serde_json::Value;
use weir_crds::names::SIDECAR_CONTAINER;
use weir_crds::v1alpha1::StreamPipeline;

use super::{containers, inits, is_sidecar, name};
use crate::injection::parts;

/// What a pod is told that has a container of the sidecar's name.
pub(in crate::injection) const OWN_CONTAINER: &str =
    "it has a container of its own called weir-sidecar";
/// What a pod is told that has an init container of that name which is not the sidecar.
pub(in crate::injection) const OWN_INIT_CONTAINER: &str =
    "it has an init container of its own called weir-sidecar";

/// What can stand for a directory of ours, as its author may want another medium.
const WRITABLE: [&str; 3] = ["emptyDir", "persistentVolumeClaim", "ephemeral"];

pub(super) fn is_ours_by_name(container: &Value) -> bool {
    name(container) == SIDECAR_CONTAINER
}

/// A container of the sidecar's name that is none.
pub(super) fn container(spec: &Value) -> Option<String> {
    if containers(spec).any(is_ours_by_name) {
        return Some(OWN_CONTAINER.to_owned());
    }
    let mut ours = inits(spec).filter(|container| is_ours_by_name(container));
    ours.any(|container| !is_sidecar(container)).then(|| OWN_INIT_CONTAINER.to_owned())
}

/// A volume of one of our names that holds something else.
pub(super) fn volume(spec: &Value, pipelines: &[&StreamPipeline]) -> Option<String> {
    let there = spec.get("volumes").and_then(Value::as_array)?;
    let foreign = |wanted: &Value| {
        let same = there.iter().find(|found| name(found) == name(wanted))?;
        (!Wanted::of(wanted).is_met(same)).then(|| own_volume(name(wanted)))
    };
    parts::volumes(pipelines).iter().find_map(foreign)
}

/// What a pod is told about such a volume.
pub(in crate::injection) fn own_volume(name: &str) -> String {
    format!("its own volume {name} is not what the sidecar needs of that name")
}

/// What a volume of ours must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::injection) enum Wanted<'a> {
    /// This, with this in a field of it that says which.
    Named { source: &'static str, field: &'static str, is: &'a str },
    /// A directory that can be written, of one of these kinds.
    Directory([&'static str; 3]),
}

impl<'a> Wanted<'a> {
    /// What one of [`parts::volumes`] must be.
    pub(in crate::injection) fn of(volume: &'a Value) -> Self {
        let named = [("configMap", "name"), ("secret", "secretName")];
        let found = named.into_iter().find_map(|(source, field)| {
            let is = volume.get(source)?.get(field)?.as_str()?;
            Some(Self::Named { source, field, is })
        });
        found.unwrap_or(Self::Directory(WRITABLE))
    }

    fn is_met(&self, volume: &Value) -> bool {
        match self {
            Self::Named { source, field, is } => {
                let found = volume.get(source).and_then(|source| source.get(field));
                found.and_then(Value::as_str) == Some(is)
            }
            Self::Directory(kinds) => kinds.iter().any(|kind| volume.get(kind).is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::injection::{Decision, inject};
    use crate::sidecar::Image;
    use crate::testing::{options, sidecar_pipeline};

    fn pipeline() -> StreamPipeline {
        let mut pipeline = sidecar_pipeline("orders");
        pipeline.spec.log = from_value(json!({ "storage": { "disk": {} } })).unwrap();
        pipeline.spec.endpoints.tls = from_value(json!({ "secretName": "tls" })).unwrap();
        pipeline
    }

    fn found(spec: &Value) -> Option<String> {
        container(spec).or_else(|| volume(spec, &[&pipeline()]))
    }

    #[test]
    fn containers_of_the_sidecars_name_are_named() {
        let plain = json!({ "name": "weir-sidecar" });
        let native = json!({ "name": "weir-sidecar", "restartPolicy": "Always" });
        assert_eq!(found(&json!({ "containers": [plain] })).as_deref(), Some(OWN_CONTAINER));
        for init in [plain, native] {
            let told = found(&json!({ "initContainers": [init] }));
            assert_eq!(told.as_deref(), Some(OWN_INIT_CONTAINER));
        }
    }

    #[test]
    fn volumes_of_our_names_that_hold_something_else_are_named() {
        let secret = crate::secrets::volume("tls").name;
        for (volume, fits) in [
            (json!({ "name": "weir-run", "emptyDir": {} }), true),
            (json!({ "name": "weir-run", "configMap": { "name": "own" } }), false),
            (json!({ "name": "weir-p-orders", "configMap": { "name": "orders-weir" } }), true),
            (json!({ "name": "weir-p-orders", "configMap": { "name": "own" } }), false),
            (json!({ "name": "weir-p-orders", "emptyDir": {} }), false),
            (json!({ "name": "weir-p-audit", "emptyDir": {} }), true),
            (json!({ "name": "weir-data", "persistentVolumeClaim": { "claimName": "own" } }), true),
            (json!({ "name": "weir-data", "secret": { "secretName": "own" } }), false),
            (json!({ "name": secret, "secret": { "secretName": "tls" } }), true),
            (json!({ "name": secret, "secret": { "secretName": "own" } }), false),
        ] {
            let told = found(&json!({ "volumes": [volume] }));
            assert_eq!(told.is_none(), fits, "{volume}: {told:?}");
            let name = volume["name"].as_str().unwrap();
            assert!(told.is_none_or(|told| told.contains(name)));
        }
    }

    #[test]
    fn what_an_injection_adds_is_no_obstacle_to_the_next() {
        let mut pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "app" }] } });
        let decision = inject(&pod, &[&pipeline()], &Image::of(&options())).unwrap();
        let Decision::Patch(patch) = decision else { panic!("{decision:?}") };
        json_patch::patch(&mut pod, &patch).unwrap();
        assert_eq!(found(&pod["spec"]), None);
    }
}
