//! Compares the sidecar that a pod carries with the one that a new pod would get for a pipeline.
//!
//! # Laws
//!
//! - Only what a new pod would have, and no change of configuration brings, is a lack.
//! - What somebody else changed of the sidecar is no lack, or a restart would never end it: the image is
//!   compared with what was asked for, not with what a mirror made of it.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use weir_crds::names::{DATA_DIR, SIDECAR_CONTAINER, annotation};
use weir_crds::scalar::Quantity;
use weir_crds::v1alpha1::StreamPipeline;

use crate::secrets;
use crate::sidecar::{Image, keeps_data, memory_mebibytes};

/// Something that a pod would have if it were made now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lack {
    /// The Secret of this name, mounted.
    Secret(String),
    /// A volume for the logs that are on a disk.
    Disk,
    /// So many mebibytes of memory.
    Memory(u64),
    /// This image.
    Image(String),
}

impl Lack {
    /// Whether the sidecar can't do what the pipeline asks for without it.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        match self {
            Self::Secret(_) | Self::Disk | Self::Memory(_) => true,
            Self::Image(_) => false,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "the Secret {name}"),
            Self::Disk => f.write_str("a volume for the log"),
            Self::Memory(mebibytes) => write!(f, "a memory limit of {mebibytes}Mi"),
            Self::Image(reference) => write!(f, "the image {reference}"),
        }
    }
}

/// What the sidecar of a pod lacks of what `pipeline` asks for; nothing where the pod has none.
#[must_use]
pub fn lacks(pod: &Pod, pipeline: &StreamPipeline, image: &Image) -> Vec<Lack> {
    let Some(sidecar) = sidecar(pod) else { return Vec::new() };
    let spec = &pipeline.spec;
    let mounted =
        |path: &str| sidecar.volume_mounts.iter().flatten().any(|mount| mount.mount_path == path);
    let secrets = secrets::named_by([spec]).into_iter();
    let unmounted = secrets.filter(|name| !mounted(&secrets::mount(name).mount_path));
    let mut lacks: Vec<Lack> = unmounted.map(|name| Lack::Secret(name.to_owned())).collect();
    if keeps_data([&spec.log]) && !mounted(DATA_DIR) {
        lacks.push(Lack::Disk);
    }
    let needed = memory_mebibytes(spec.log.retention.max_bytes.bytes());
    if limit(sidecar).is_some_and(|bytes| bytes < needed << 20) {
        lacks.push(Lack::Memory(needed));
    }
    let asked = pod.annotations().get(annotation::SIDECAR_IMAGE);
    if asked.is_some_and(|asked| *asked != image.reference) {
        lacks.push(Lack::Image(image.reference.clone()));
    }
    lacks
}

fn sidecar(pod: &Pod) -> Option<&Container> {
    let mut inits = pod.spec.as_ref()?.init_containers.iter().flatten();
    inits.find(|container| container.name == SIDECAR_CONTAINER)
}

/// The limit of memory in bytes, where it is written as ours is.
fn limit(container: &Container) -> Option<u64> {
    let limit = container.resources.as_ref()?.limits.as_ref()?.get("memory")?;
    limit.0.parse::<Quantity>().ok().map(|quantity| quantity.bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::super::{Decision, inject};
    use super::*;
    use crate::testing::sidecar_pipeline;

    fn image(reference: &str) -> Image {
        Image { reference: reference.to_owned(), pull_policy: None }
    }

    /// A pod as the webhook leaves it.
    fn injected(pipeline: &StreamPipeline) -> Value {
        let mut pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "app" }] } });
        let decision = inject(&pod, &[pipeline], &image("sidecar:1")).unwrap();
        let Decision::Patch(patch) = decision else { panic!("{decision:?}") };
        json_patch::patch(&mut pod, &patch).unwrap();
        pod
    }

    fn found(pod: &Value, pipeline: &StreamPipeline, reference: &str) -> Vec<Lack> {
        lacks(&from_value(pod.clone()).unwrap(), pipeline, &image(reference))
    }

    #[test]
    fn a_pod_that_was_injected_for_a_pipeline_lacks_nothing_of_it() {
        let mut pipeline = sidecar_pipeline("orders");
        pipeline.spec.log = from_value(json!({ "storage": { "disk": {} } })).unwrap();
        pipeline.spec.endpoints.tls = from_value(json!({ "secretName": "tls" })).unwrap();
        assert_eq!(found(&injected(&pipeline), &pipeline, "sidecar:1"), []);
    }

    #[test]
    fn a_pod_lacks_what_the_pipeline_has_come_to_ask_for() {
        let pod = injected(&sidecar_pipeline("orders"));
        let mut pipeline = sidecar_pipeline("orders");
        pipeline.spec.endpoints.tls = from_value(json!({ "secretName": "tls" })).unwrap();
        let log = json!({ "storage": { "disk": {} }, "retention": { "maxBytes": "1Gi" } });
        pipeline.spec.log = from_value(log).unwrap();
        let lacking = found(&pod, &pipeline, "sidecar:2");
        let image = Lack::Image("sidecar:2".to_owned());
        let secret = Lack::Secret("tls".to_owned());
        assert_eq!(lacking, [secret, Lack::Disk, Lack::Memory(2_176), image.clone()]);
        assert!(lacking.iter().all(|lack| lack.is_needed() == (*lack != image)));
    }

    #[test]
    fn an_image_that_comes_from_a_mirror_and_one_that_nobody_noted_are_no_lack() {
        let pipeline = sidecar_pipeline("orders");
        let mut pod = injected(&pipeline);
        pod["spec"]["initContainers"][0]["image"] = json!("mirror.test/sidecar:1");
        assert_eq!(found(&pod, &pipeline, "sidecar:1"), []);
        pod["metadata"]["annotations"] = json!({});
        assert_eq!(found(&pod, &pipeline, "sidecar:2"), []);
    }

    #[test]
    fn a_pod_without_a_sidecar_lacks_no_part_of_it() {
        let pod = json!({ "spec": { "containers": [{ "name": "app" }] } });
        assert_eq!(found(&pod, &sidecar_pipeline("orders"), "sidecar:2"), []);
    }
}
