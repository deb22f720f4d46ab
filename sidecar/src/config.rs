//! Reads what a user applies: the manifests of pipelines and SLOs, from files.
//!
//! Laws: files are taken whole or not at all; every error is collected and has its place, so that a
//! user mends all of them at once; what no pipeline could mean is an error and never silently ignored,
//! except for kinds of other API groups, which may stand beside ours in the same files.

mod ability;
mod assemble;
mod error;
mod files;
mod places;
mod resource;
mod schema;
mod shape;
pub mod watch;

use std::{collections::BTreeMap, path::PathBuf};

use weir_crds::{
    names::Share,
    v1alpha1::{StreamPipelineSpec, StreamSLOSpec},
};

pub use error::{ConfigError, ConfigErrors};
use files::Files;

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
    /// How many connections this replica is to come down to, where it has more.
    pub share: Option<Share>,
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

/// Reads files, and directories with all `*.yaml`, `*.yml` and `*.json` in them. An empty directory
/// gives an empty configuration.
///
/// # Errors
///
/// Says everything that is wrong with them, each with file, line and column.
pub fn load(paths: &[PathBuf]) -> Result<Config, ConfigErrors> {
    assemble::assemble(&Files::read(paths))
}

#[cfg(test)]
mod tests;
