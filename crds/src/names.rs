//! Names every string on which the operator, the sidecar, the chart and a user must agree.

mod share;

pub use share::{NoShare, Share};

/// The API group.
pub const GROUP: &str = "weir.dev";
/// The API version.
pub const API_VERSION: &str = "weir.dev/v1alpha1";

/// The field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "weir-operator";
/// The value of `app.kubernetes.io/managed-by` on everything that the operator applies.
pub const MANAGED_BY: &str = "weir-operator";

/// Labels that the operator sets.
pub mod label {
    /// The pipeline that an emitted object, or an injected pod, belongs to.
    pub const PIPELINE: &str = "weir.dev/pipeline";
    /// `true` on a pod that carries the sidecar.
    pub const INJECTED: &str = "weir.dev/injected";
    /// A pod, or a namespace, that says `disabled` here is never injected.
    pub const INJECTION: &str = "weir.dev/injection";
    /// Beside the manifest that the data plane reads: the [`Share`](super::Share) of each replica.
    pub const SHARE: &str = "weir.dev/share";
    /// The recommended label that names the tool that manages an object.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// The recommended label that names the application.
    pub const NAME: &str = "app.kubernetes.io/name";
    /// The recommended label that names the instance of the application.
    pub const INSTANCE: &str = "app.kubernetes.io/instance";
    /// The recommended label that names the role within the architecture.
    pub const COMPONENT: &str = "app.kubernetes.io/component";
}

/// Annotations that the operator sets, and one that it obeys.
pub mod annotation {
    /// On a StreamPipeline, set by whoever answers for it: the release of the operator that its data plane may be
    /// brought to, or `always`.
    pub const UPGRADE: &str = "weir.dev/upgrade";
    /// On the webhook's configuration, by the chart: it goes once policies inject in its place.
    pub const RETIRES: &str = "weir.dev/retires";
    /// On a gateway's workload: the pod template that it was last given, and what that was made of.
    pub const POD_TEMPLATE: &str = "weir.dev/pod-template";
    /// On a pipeline's ConfigMap: the [`Share`](super::Share) that its replicas were told last.
    pub const LAST_SHARE: &str = "weir.dev/last-share";
    /// The pipelines whose configuration an injected pod mounts, separated by commas.
    pub const PIPELINES: &str = "weir.dev/pipelines";
    /// The image of the sidecar that a pod was injected with, as the operator named it.
    pub const SIDECAR_IMAGE: &str = "weir.dev/sidecar-image";
    /// Why a pod that a pipeline selects could not be injected.
    pub const NOT_INJECTED: &str = "weir.dev/not-injected";
    /// When a workload was last restarted so that its pods get what they lack; on its pod template.
    pub const RESTARTED_AT: &str = "weir.dev/restartedAt";
}

/// Reasons of conditions that other parts look for.
pub mod reason {
    /// Of `UpToDate`: data planes are of another release than the operator would make now.
    pub const UPGRADE_AVAILABLE: &str = "UpgradeAvailable";
}

/// Ports of the sidecar. An application often has 8080 itself, hence these.
pub mod port {
    /// Subscribers: SSE, WebSocket and, where opened, publishing.
    pub const PUBLIC: u16 = 7070;
    /// Probes, metrics, samples and drain.
    pub const ADMIN: u16 = 7071;
    /// Where the application publishes, on the loopback interface only.
    pub const PUBLISH: u16 = 7072;
}

/// The name of the injected container.
pub const SIDECAR_CONTAINER: &str = "weir-sidecar";
/// Where the sidecar finds its manifests.
pub const CONFIG_DIR: &str = "/etc/weir/pipelines";
/// Where the sidecar keeps the logs that are on a disk.
pub const DATA_DIR: &str = "/var/lib/weir";
/// Where the sidecar finds the Secrets that manifests name: each key is a file in a directory with the
/// Secret's name.
pub const SECRETS_DIR: &str = "/etc/weir/secrets";
/// Says where else that may be, where a sidecar misses one. The operator, whose sidecars are told by no command line,
/// leaves it out of what it tells.
pub const OF_SECRETS_DIR: &str = ", in the directory that --secrets-dir names";
/// The directory, shared with the application, that holds [`PUBLISH_SOCKET`].
pub const SOCKET_DIR: &str = "/run/weir";
/// The Unix socket on which the application publishes.
pub const PUBLISH_SOCKET: &str = "/run/weir/publish.sock";
/// The environment variable that gives the application the address to publish to.
pub const PUBLISH_URL_ENV: &str = "WEIR_PUBLISH_URL";
/// The environment variable that gives the application the address of the publish port, without a
/// pipeline's path.
pub const PUBLISH_BASE_ENV: &str = "WEIR_PUBLISH_BASE";
/// The environment variable that gives the application the path of the Unix socket.
pub const PUBLISH_SOCKET_ENV: &str = "WEIR_PUBLISH_SOCKET";

/// The name of the ConfigMap that holds a pipeline's manifests.
#[must_use]
pub fn config_map(pipeline: &str) -> String {
    format!("{pipeline}-weir")
}
