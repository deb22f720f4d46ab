//! Reads a resource as it stands in a file: what a user applies with kubectl, without a server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A resource in a file. Of the metadata only what the sidecar uses is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest<S> {
    /// The API group and version.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Name, namespace and origin.
    pub metadata: Metadata,
    /// What is asked for.
    pub spec: S,
}

/// The part of a resource's metadata that matters outside a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The name, unique in its namespace.
    pub name: String,
    /// The namespace; where it is absent, `default` is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The identity in the cluster; absent from a manifest that no server has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The generation of the spec; absent from a manifest that no server has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Metadata {
    /// The namespace, `default` where none is given.
    #[must_use]
    pub fn namespace_or_default(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }
}
