//! The shared logs: those that all replicas of a pipeline append to, and that outlive them.

#[cfg(feature = "kube")]
use kube::KubeSchema;
#[cfg(not(feature = "kube"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKey;

/// A stream in Redis, 7.0 or later. It keeps what it was given as surely as the server's persistence does:
/// where no acknowledged event may be lost, the server needs `appendonly yes`, `appendfsync always` and
/// `maxmemory-policy noeviction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("!has(self.username) || has(self.password)").field_path(".password").message("must be set beside username"))
)]
#[serde(rename_all = "camelCase")]
pub struct RedisStorage {
    /// The server, as HOST:PORT.
    #[schemars(length(max = 260))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::host_and_port()))]
    pub address: String,
    /// What the keys begin with; the pipeline's namespace and name follow. Pipelines of one namespace and
    /// name in several clusters need different ones.
    #[serde(default = "default_key_prefix")]
    #[schemars(length(min = 1, max = 63))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label()))]
    pub key_prefix: String,
    /// The user, where the server knows users by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub username: Option<String>,
    /// The key of a Secret that holds the password. It may be changed at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretKey>,
}

/// A stream in NATS JetStream, 2.9 or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("!has(self.username) || has(self.password)").field_path(".password").message("must be set beside username"))
)]
#[serde(rename_all = "camelCase")]
pub struct NatsStorage {
    /// The server, as HOST:PORT.
    #[schemars(length(max = 260))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::host_and_port()))]
    pub address: String,
    /// The name of the stream; by default it is made of the pipeline's namespace and name. It is created
    /// where it is absent, and must be this pipeline's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label()))]
    pub stream: Option<String>,
    /// How many servers of the cluster keep the stream.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: i32,
    /// The user, where the server knows users by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub username: Option<String>,
    /// The key of a Secret that holds the password or, without a username, a token. It may be changed at any
    /// time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretKey>,
}

fn default_key_prefix() -> String {
    "weir".to_owned()
}

const fn default_replicas() -> i32 {
    1
}
