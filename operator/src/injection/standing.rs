//! Compares the sidecar that a pod carries with the one that a new pod would get for a pipeline.
//!
//! # Laws
//!
//! - Only what a new pod would have, and no change of configuration brings, is a lack.
//! - What somebody else changed of the sidecar is no lack, or a restart would never end it: the image is
//!   compared with what was asked for, not with what a mirror made of it.
//! - More than a new pod would have is no lack either, but where no node has room for it.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use kube::ResourceExt;
use weir_crds::names::{DATA_DIR, PUBLISH_URL_ENV, SIDECAR_CONTAINER, annotation};
use weir_crds::scalar::{Cores, Quantity};
use weir_crds::v1alpha1::{Resources, StreamPipeline};

use super::granted::{asked, granted, memory_limit};
use super::parts::DEFAULT_GRACE_SECONDS;
use crate::labels;
use crate::resources::amount;
use crate::secrets;
use crate::sidecar::{Image, grace_seconds, keeps_data};

/// Something that a pod would have if it were made now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lack {
    /// The Secret of this name, mounted.
    Secret(String),
    /// A volume for the logs that are on a disk.
    Disk,
    /// So many mebibytes of memory.
    Memory(u64),
    /// An amount that the pipeline asks for, in words.
    Amount(String),
    /// Requests as small as these, in words: no node has room for what the pod requests.
    Room(String),
    /// A grace period of so many seconds, in which the drain fits.
    Grace(i64),
    /// A URL to publish at: the one it has leads to the pipeline of this name, which is gone.
    Url(String),
    /// This image.
    Image(String),
}

impl Lack {
    /// Whether the sidecar can't do what the pipeline asks for without it.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        match self {
            Self::Secret(_)
            | Self::Disk
            | Self::Memory(_)
            | Self::Amount(_)
            | Self::Room(_)
            | Self::Grace(_)
            | Self::Url(_) => true,
            Self::Image(_) => false,
        }
    }

    /// Whether the pod will never be on a node without it.
    #[must_use]
    pub const fn is_room(&self) -> bool {
        match self {
            Self::Room(_) => true,
            Self::Secret(_)
            | Self::Disk
            | Self::Memory(_)
            | Self::Amount(_)
            | Self::Grace(_)
            | Self::Url(_)
            | Self::Image(_) => false,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "the Secret {name}"),
            Self::Disk => f.write_str("a volume for the log"),
            Self::Memory(mebibytes) => write!(f, "a memory limit of {mebibytes}Mi"),
            Self::Amount(words) => f.write_str(words),
            Self::Room(words) => {
                write!(f, "requests as small as {words}, for which a node may have room")
            }
            Self::Grace(seconds) => {
                write!(f, "a terminationGracePeriodSeconds of {seconds}, in which the drain fits")
            }
            Self::Url(gone) => {
                write!(
                    f,
                    "a $WEIR_PUBLISH_URL that is served, as it leads to {gone}, which is gone"
                )
            }
            Self::Image(reference) => write!(f, "the image {reference}"),
        }
    }
}

/// What the sidecar of a pod lacks of what `pipeline` asks for; nothing where the pod has none. It serves `others`,
/// too.
#[must_use]
pub fn lacks(
    pod: &Pod,
    pipeline: &StreamPipeline,
    others: &[&StreamPipeline],
    image: &Image,
) -> Vec<Lack> {
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
    let all = [&[pipeline], others].concat();
    let needed = memory_limit(&granted(&all)).unwrap_or(0);
    let given = sidecar.resources.as_ref().and_then(memory_limit);
    if given.is_some_and(|given| given < needed) {
        lacks.push(Lack::Memory(needed.div_ceil(1 << 20)));
    }
    lacks.extend(amounts(pod, sidecar, asked(pipeline)));
    lacks.extend(room(pod, sidecar, &all));
    lacks.extend(grace(pod, pipeline));
    lacks.extend(url(pod, pipeline, others));
    let asked = pod.annotations().get(annotation::SIDECAR_IMAGE);
    if asked.is_some_and(|asked| *asked != image.reference) {
        lacks.push(Lack::Image(image.reference.clone()));
    }
    lacks
}

/// The pipeline into which the injected URL of the application leads.
#[must_use]
pub fn publishes_to(pod: &Pod) -> Option<&str> {
    let containers = &pod.spec.as_ref()?.containers;
    let mut variables = containers.iter().flat_map(|container| container.env.iter().flatten());
    let url = variables.find(|variable| variable.name == PUBLISH_URL_ENV)?.value.as_ref()?;
    Some(url.strip_suffix("/events")?.rsplit_once('/')?.1)
}

/// A URL for an application that published into a pipeline that is gone, and would now publish into this one. What
/// the pod's author set leads to no pipeline that the pod was made for, and is the author's.
fn url(pod: &Pod, pipeline: &StreamPipeline, others: &[&StreamPipeline]) -> Option<Lack> {
    let leads_to = publishes_to(pod)?;
    let is_there =
        pipeline.name_any() == leads_to || others.iter().any(|other| other.name_any() == leads_to);
    let was_given = labels::pipelines_of(pod.labels()).any(|name| name == leads_to);
    let takes_posts = pipeline.spec.sources.iter().any(|source| source.http.is_some());
    (takes_posts && was_given && !is_there).then(|| Lack::Url(leads_to.to_owned()))
}

fn sidecar(pod: &Pod) -> Option<&Container> {
    let mut inits = pod.spec.as_ref()?.init_containers.iter().flatten();
    inits.find(|container| container.name == SIDECAR_CONTAINER)
}

/// Which of the amounts that the pipeline asks for the sidecar has not: the limit of memory is looked at for all
/// pipelines together.
fn amounts(pod: &Pod, sidecar: &Container, asked: Option<&Resources>) -> Vec<Lack> {
    let Some(Resources { requests, limits }) = asked else { return Vec::new() };
    let cpu = |cores: Option<&Cores>| cores.map(Cores::to_string);
    let requested = requests.as_ref();
    let memory = requested.and_then(|amounts| amounts.memory.as_ref()).map(Quantity::to_string);
    let requests =
        [("cpu", cpu(requested.and_then(|amounts| amounts.cpu.as_ref()))), ("memory", memory)];
    let limit = cpu(limits.as_ref().and_then(|amounts| amounts.cpu.as_ref()));
    let resources = sidecar.resources.clone().unwrap_or_default();
    let (given_requests, given_limits) =
        (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
    // What a pod asks for as a whole counts for the node, and not what its containers do.
    let is_whole = pod.spec.as_ref().is_some_and(|spec| spec.resources.is_some());
    let requests = requests.into_iter().filter(|_| !is_whole);
    let lacking = |kind: &str, wanted: &str, given: Option<&str>| match given {
        None => true,
        Some(given) => amount(kind, given) < amount(kind, wanted),
    };
    let words = |what: &str, kind: &str, wanted: &str| {
        Lack::Amount(format!("{what} of {wanted} of {}", if kind == "cpu" { "CPU" } else { kind }))
    };
    let mut lacks = Vec::new();
    for (kind, wanted) in requests.filter_map(|(kind, wanted)| Some((kind, wanted?))) {
        if lacking(kind, &wanted, given_requests.get(kind).map(|given| given.0.as_str())) {
            lacks.push(words("a request", kind, &wanted));
        }
    }
    if let Some(wanted) = limit
        && lacking("cpu", &wanted, given_limits.get("cpu").map(|given| given.0.as_str()))
    {
        lacks.push(words("a limit", "cpu", &wanted));
    }
    lacks
}

/// Smaller requests, where no node has room for the pod, and a new one would ask for less.
fn room(pod: &Pod, sidecar: &Container, pipelines: &[&StreamPipeline]) -> Option<Lack> {
    let is_whole = pod.spec.as_ref().is_some_and(|spec| spec.resources.is_some());
    if is_whole || !is_unschedulable(pod) {
        return None;
    }
    let wanted = granted(pipelines).requests.unwrap_or_default();
    let given = sidecar.resources.as_ref()?.requests.clone().unwrap_or_default();
    let text = |kind: &str| wanted.get(kind).map_or("0", |wanted| wanted.0.as_str());
    let is_smaller = |kind: &str| {
        given.get(kind).is_some_and(|given| amount(kind, text(kind)) < amount(kind, &given.0))
    };
    let words = || format!("{} of CPU and {} of memory", text("cpu"), text("memory"));
    (is_smaller("cpu") || is_smaller("memory")).then(|| Lack::Room(words()))
}

/// Whether a scheduler has looked at the pod, and has found some node short of what it requests. One that waits at a
/// gate, or for a node that it tolerates, is not helped by requesting less.
fn is_unschedulable(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| {
        let PodCondition { type_, status, reason, message, .. } = condition;
        let lacks = |kind| message.as_deref().is_some_and(|message| message.contains(kind));
        type_ == "PodScheduled"
            && status == "False"
            && reason.as_deref() == Some("Unschedulable")
            && (lacks("Insufficient cpu") || lacks("Insufficient memory"))
    })
}

/// The grace period, where the pipeline's drain does not fit into the pod's.
fn grace(pod: &Pod, pipeline: &StreamPipeline) -> Option<Lack> {
    let given = pod.spec.as_ref()?.termination_grace_period_seconds;
    let needed = grace_seconds([&pipeline.spec.delivery.drain.window]);
    (given.unwrap_or(DEFAULT_GRACE_SECONDS) < needed).then_some(Lack::Grace(needed))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::super::{Decision, inject};
    use super::*;
    use crate::testing::sidecar_pipeline;

    fn image(reference: &str) -> Image {
        Image { reference: reference.to_owned(), pull_policy: None, pull_secrets: Vec::new() }
    }

    /// A pod as the webhook leaves it.
    fn injected(pipeline: &StreamPipeline) -> Value {
        injected_by(&[pipeline])
    }

    fn injected_by(pipelines: &[&StreamPipeline]) -> Value {
        let mut pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "app" }] } });
        let decision = inject(&pod, pipelines, &image("sidecar:1")).unwrap();
        let Decision::Patch(patch) = decision else { panic!("{decision:?}") };
        json_patch::patch(&mut pod, &patch).unwrap();
        pod
    }

    fn found(pod: &Value, pipeline: &StreamPipeline, reference: &str) -> Vec<Lack> {
        lacks(&from_value(pod.clone()).unwrap(), pipeline, &[], &image(reference))
    }

    #[test]
    fn a_log_that_has_grown_lacks_room_beside_those_that_share_the_sidecar() {
        let (orders, mut audit) = (sidecar_pipeline("orders"), sidecar_pipeline("audit"));
        let pod: Pod = from_value(injected_by(&[&orders, &audit])).unwrap();
        let found = |pipeline: &StreamPipeline, other: &StreamPipeline| {
            lacks(&pod, pipeline, &[other], &image("sidecar:1"))
        };
        assert_eq!(found(&orders, &audit), []);
        // 128 MiB and twice both logs; by itself it would fit into the 384 MiB that there are.
        audit.spec.log.retention.max_bytes = "128Mi".parse().unwrap();
        assert_eq!(found(&audit, &orders), [Lack::Memory(512)]);
        assert_eq!(found(&orders, &audit), [Lack::Memory(512)]);
    }

    #[test]
    fn an_application_that_publishes_into_what_is_gone_lacks_a_url_and_one_of_its_own_choice_does_not()
     {
        let (orders, audit) = (sidecar_pipeline("orders"), sidecar_pipeline("audit"));
        let mut pod = injected_by(&[&orders, &audit]);
        let lacking = |pod: &Value, others: &[&StreamPipeline]| {
            lacks(&from_value(pod.clone()).unwrap(), &orders, others, &image("sidecar:1"))
        };
        assert_eq!(lacking(&pod, &[&audit]), []);
        assert_eq!(lacking(&pod, &[]), [Lack::Url("audit".to_owned())]);
        let env = &mut pod["spec"]["containers"][0]["env"];
        let is_url = |variable: &&mut Value| variable["name"] == "WEIR_PUBLISH_URL";
        let url = env.as_array_mut().unwrap().iter_mut().find(is_url).unwrap();
        url["value"] = json!("http://proxy.shop/elsewhere/events");
        assert_eq!(lacking(&pod, &[]), []);
    }

    #[test]
    fn a_pod_lacks_the_time_that_a_longer_drain_takes() {
        let mut pipeline = sidecar_pipeline("orders");
        let pod = injected(&pipeline);
        pipeline.spec.delivery.drain.window = "2m".parse().unwrap();
        assert_eq!(found(&pod, &pipeline, "sidecar:1"), [Lack::Grace(130)]);
        assert_eq!(found(&injected(&pipeline), &pipeline, "sidecar:1"), []);
        let mut patient = pod;
        patient["spec"]["terminationGracePeriodSeconds"] = json!(130);
        assert_eq!(found(&patient, &pipeline, "sidecar:1"), []);
    }

    #[test]
    fn a_pod_lacks_the_amounts_that_the_pipeline_has_come_to_ask_for() {
        let mut pipeline = sidecar_pipeline("orders");
        let pod = injected(&pipeline);
        let resources = json!({
            "requests": { "cpu": "0.5", "memory": "128Mi" },
            "limits": { "cpu": "1", "memory": "512Mi" },
        });
        pipeline.spec.placement.sidecar.as_mut().unwrap().resources =
            from_value(resources).unwrap();
        let words: Vec<String> =
            found(&pod, &pipeline, "sidecar:1").iter().map(ToString::to_string).collect();
        let expected = [
            "a memory limit of 512Mi",
            "a request of 0.5 of CPU",
            "a request of 128Mi of memory",
            "a limit of 1 of CPU",
        ];
        assert_eq!(words, expected);
        assert_eq!(found(&injected(&pipeline), &pipeline, "sidecar:1"), []);
    }

    #[test]
    fn a_pod_that_no_node_has_room_for_lacks_the_smaller_requests_of_a_new_one() {
        let mut pipeline = sidecar_pipeline("orders");
        let ask = |pipeline: &mut StreamPipeline, resources: Value| {
            pipeline.spec.placement.sidecar.as_mut().unwrap().resources =
                from_value(resources).unwrap();
        };
        let large = json!({ "requests": { "memory": "100Gi" }, "limits": { "memory": "100Gi" } });
        ask(&mut pipeline, large);
        let mut pod = injected(&pipeline);
        let told = |status: &str, reason: &str, message: &str| {
            json!({ "conditions": [{
                "type": "PodScheduled", "status": status, "reason": reason, "message": message,
            }] })
        };
        let crowded =
            "0/2 nodes are available: 1 node(s) had untolerated taint, 1 Insufficient memory.";
        let scheduled = |status: &str| told(status, "Unschedulable", crowded);
        pod["status"] = scheduled("False");
        assert_eq!(found(&pod, &pipeline, "sidecar:1"), [], "a new one would be as large");
        ask(&mut pipeline, Value::Null);
        let lacking = found(&pod, &pipeline, "sidecar:1");
        let words = "20m of CPU and 64Mi of memory".to_owned();
        assert_eq!(lacking, [Lack::Room(words.clone())]);
        assert!(lacking[0].is_needed() && lacking[0].is_room());
        assert!(lacking[0].to_string().contains(&words), "{}", lacking[0]);
        // Less would help neither who waits at a gate nor whom a taint keeps away.
        let tainted = "0/2 nodes are available: 2 node(s) had untolerated taint {a: b}.";
        for status in [
            told(
                "False",
                "SchedulingGated",
                "Scheduling is blocked due to non-empty scheduling gates",
            ),
            told("False", "Unschedulable", tainted),
        ] {
            pod["status"] = status;
            assert_eq!(found(&pod, &pipeline, "sidecar:1"), [], "{}", pod["status"]);
        }
        // One that has a node was granted it, and keeps it.
        pod["status"] = scheduled("True");
        assert_eq!(found(&pod, &pipeline, "sidecar:1"), []);
        // Of one that says what it needs as a whole the scheduler looks at that.
        pod["status"] = scheduled("False");
        pod["spec"]["resources"] = json!({ "requests": { "memory": "200Gi" } });
        assert_eq!(found(&pod, &pipeline, "sidecar:1"), []);
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
