//! Describes the data plane's container: the same in a gateway's pods and in injected ones.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler,
    Probe, ResourceRequirements, SeccompProfile, SecurityContext, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_crds::names::{CONFIG_DIR, DATA_DIR, PUBLISH_SOCKET, SIDECAR_CONTAINER, port};
use weir_crds::scalar::Duration;
use weir_crds::v1alpha1::Log;

use crate::context::Options;

/// The user that the image runs as, and that no account of a usual distribution has.
pub const USER: i64 = 65_532;
/// What a pod needs to stop beyond its drain window: for the last events and the last counters.
const STOPPING_SECONDS: u64 = 10;

// An injected pod that has less memory than it would be given now is restarted for it. So the two numbers below
// stay what they are from release to release, or an upgrade would restart what nobody asked it to.
/// What the data plane needs beside its logs, with thousands of subscribers.
const LEAST_MEBIBYTES: u64 = 128;
/// The limit for the default log of 64 MiB, and for all smaller ones, so that a change among those
/// restarts nothing.
const USUAL_MEBIBYTES: u64 = 256;
/// What the container asks for.
pub const REQUESTED: [(&str, &str); 2] = [("cpu", "20m"), ("memory", "64Mi")];
/// Where the kubelet looks for a container's last words, where its spec says nothing else.
const TERMINATION_MESSAGE: &str = "/dev/termination-log";
/// Where the image has the program.
const PROGRAM: &str = "/usr/local/bin/weir-sidecar";

/// The data plane's container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The image's reference.
    pub reference: String,
    /// When it is pulled; the cluster's default where absent.
    pub pull_policy: Option<String>,
    /// The Secrets of the pod's namespace with which it is pulled, beside those that the pod has anyway.
    pub pull_secrets: Vec<String>,
}

impl Image {
    /// The image that the operator was started with.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        Self {
            reference: options.sidecar_image.clone(),
            pull_policy: options.sidecar_image_pull_policy.clone(),
            pull_secrets: options.sidecar_image_pull_secrets.clone(),
        }
    }
}

/// Where the data plane's container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a Deployment of its own.
    Gateway,
    /// Beside an application, which publishes through a socket in a directory that both mount.
    BesideApplication,
}

/// The grace period, in seconds, of a pod that sends its subscribers away over these windows.
#[must_use]
pub fn grace_seconds<'a>(windows: impl IntoIterator<Item = &'a Duration>) -> i64 {
    let windows = windows.into_iter().map(Duration::millis);
    let longest = windows.max().unwrap_or(0).div_ceil(1_000);
    i64::try_from(longest.saturating_add(STOPPING_SECONDS)).unwrap_or(i64::MAX)
}

/// The most bytes of events that the logs of these pipelines hold.
#[must_use]
pub fn log_bytes<'a>(logs: impl IntoIterator<Item = &'a Log>) -> u64 {
    logs.into_iter().map(|log| log.retention.max_bytes.bytes()).sum()
}

/// The volume that holds the logs that are on a disk. It lives as long as the pod does, and so outlives each
/// of its containers.
pub const DATA_VOLUME: &str = "weir-data";

/// Whether any of these logs is on a disk.
#[must_use]
pub fn keeps_data<'a>(logs: impl IntoIterator<Item = &'a Log>) -> bool {
    logs.into_iter().any(|log| log.storage.disk.is_some())
}

/// Where the container has [`DATA_VOLUME`].
#[must_use]
pub fn data_mount() -> VolumeMount {
    VolumeMount {
        name: DATA_VOLUME.to_owned(),
        mount_path: DATA_DIR.to_owned(),
        ..VolumeMount::default()
    }
}

/// The container, which is granted these resources.
#[must_use]
pub fn container(
    image: &Image,
    place: Place,
    resources: ResourceRequirements,
    volume_mounts: Vec<VolumeMount>,
) -> Container {
    // The secrets are the pod's.
    let Image { reference, pull_policy, pull_secrets: _ } = image.clone();
    Container {
        name: SIDECAR_CONTAINER.to_owned(),
        image: Some(reference),
        image_pull_policy: pull_policy,
        args: Some(args(place)),
        ports: Some(vec![tcp("weir-public", port::PUBLIC), tcp("weir-admin", port::ADMIN)]),
        // The application of an injected pod waits for the sidecar's start, so it is looked for often.
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            failure_threshold: Some(60),
            ..probe("/livez")
        }),
        readiness_probe: Some(Probe { period_seconds: Some(2), ..probe(readiness(place)) }),
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            failure_threshold: Some(6),
            ..probe("/livez")
        }),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction {
                    command: Some(vec![PROGRAM.to_owned(), "drain".to_owned()]),
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        resources: Some(resources),
        security_context: Some(security_context()),
        // Where it ends before it has last words, the end of its log says why.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(volume_mounts),
        ..Container::default()
    }
}

/// Where the kubelet asks whether the pod is ready. A gateway's is not before it serves, so that a rollout leaves those
/// that do; an application is ready without its streams. A sidecar of an older release looks at the path alone.
const fn readiness(place: Place) -> &'static str {
    match place {
        Place::Gateway => "/readyz?serving=true",
        Place::BesideApplication => "/readyz",
    }
}

fn args(place: Place) -> Vec<String> {
    // On every address of the pod: alone, the program listens on the loopback interface only.
    let everywhere = |flag, port| format!("--{flag}=[::]:{port}");
    let mut args = vec![
        "run".to_owned(),
        CONFIG_DIR.to_owned(),
        format!("--data-dir={DATA_DIR}"),
        everywhere("public", port::PUBLIC),
        everywhere("admin", port::ADMIN),
    ];
    match place {
        Place::Gateway => {}
        Place::BesideApplication => args.push(format!("--publish-socket={PUBLISH_SOCKET}")),
    }
    args.push(format!("--last-words={TERMINATION_MESSAGE}"));
    args.extend(["--log-format=json".to_owned(), "--status=never".to_owned()]);
    args
}

/// The names are ours alone: a Service or a monitor of the application that looks for a port `http` in
/// its pods is not to find the sidecar's.
fn tcp(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe { http_get: Some(get(path)), timeout_seconds: Some(3), ..Probe::default() }
}

/// A request to the admin port, by its number: a named port of a native sidecar is not resolved by
/// Kubernetes before 1.32.
fn get(path: &str) -> HTTPGetAction {
    HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::Int(i32::from(port::ADMIN)),
        ..HTTPGetAction::default()
    }
}

/// The container's limit of memory in MiB: it leaves room for logs of `log_bytes` in all twice over, for
/// what an allocator loses to fragments, and for the events that are being read and written.
#[must_use]
pub fn memory_mebibytes(log_bytes: u64) -> u64 {
    (LEAST_MEBIBYTES + 2 * log_bytes.div_ceil(1 << 20)).max(USUAL_MEBIBYTES)
}

/// What the container is granted where nobody says otherwise, for logs of `log_bytes` in all: requests, without which
/// an autoscaler of the application could not compute its utilization; and a limit of memory alone, because one of
/// CPU would throttle bursts.
#[must_use]
pub fn resources(log_bytes: u64) -> ResourceRequirements {
    let limit = format!("{}Mi", memory_mebibytes(log_bytes));
    let amounts = |pairs: &[(&str, &str)]| {
        let pair = |&(name, amount): &(&str, &str)| (name.to_owned(), Quantity(amount.to_owned()));
        Some(pairs.iter().map(pair).collect::<BTreeMap<_, _>>())
    };
    ResourceRequirements {
        requests: amounts(&REQUESTED),
        limits: amounts(&[("memory", &limit)]),
        ..ResourceRequirements::default()
    }
}

/// What the restricted level of the Pod Security Standards asks for, and a read-only root.
fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..SecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_grace_period_outlasts_the_longest_drain_window() {
        let grace = |windows: &[&str]| {
            let windows: Vec<Duration> = windows.iter().map(|text| text.parse().unwrap()).collect();
            grace_seconds(&windows)
        };
        assert_eq!(grace(&["20s", "1m"]), 70);
        assert_eq!(grace(&["1500ms"]), 12);
    }

    #[test]
    fn only_beside_an_application_there_is_a_socket() {
        let socket = "--publish-socket=/run/weir/publish.sock".to_owned();
        assert!(args(Place::BesideApplication).contains(&socket));
        assert!(!args(Place::Gateway).contains(&socket));
    }

    #[test]
    fn a_gateway_is_ready_once_it_serves_and_an_application_without() {
        assert_eq!(readiness(Place::Gateway), "/readyz?serving=true");
        assert_eq!(readiness(Place::BesideApplication), "/readyz");
    }

    #[test]
    fn the_memory_limit_has_room_for_the_log() {
        let limit =
            |bytes| serde_json::to_value(resources(bytes)).unwrap()["limits"]["memory"].clone();
        assert_eq!([limit(0), limit(64 << 20), limit(1 << 30)], ["256Mi", "256Mi", "2176Mi"]);
    }

    #[test]
    fn the_container_passes_the_restricted_level() {
        let image = Image {
            reference: "weir-sidecar:1".to_owned(),
            pull_policy: None,
            pull_secrets: Vec::new(),
        };
        let container =
            serde_json::to_value(container(&image, Place::Gateway, resources(0), vec![])).unwrap();
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": 65_532,
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        assert_eq!(container["securityContext"], expected);
        assert!(container.get("imagePullPolicy").is_none());
    }
}
