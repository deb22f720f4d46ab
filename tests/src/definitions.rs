//! Puts the custom resources' definitions into the cluster, from the very files that a user applies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};

use crate::{Cluster, eventually};

/// It takes a second, unless the machine is busy.
const LIMIT: Duration = Duration::from_secs(60);

/// The folder of the definitions.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds")
}

/// Applies every definition and waits until its resources are served. It may be called side by side.
///
/// # Errors
/// When one is refused, or not served in time.
pub async fn install(cluster: &Cluster) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for (path, text) in files()? {
        let definition: CustomResourceDefinition = serde_yaml::from_str(&text)?;
        let name = definition.metadata.name.clone().context("a definition has a name")?;
        let apply = PatchParams::apply("weir-tests").force();
        let applied = api.patch(&name, &apply, &Patch::Apply(&definition)).await;
        applied.with_context(|| format!("{} is refused", path.display()))?;
        eventually(&format!("{name} is served"), LIMIT, async || {
            served(cluster, &definition).await
        })
        .await?;
    }
    Ok(())
}

/// Every definition with its text.
///
/// # Errors
/// When one cannot be read, or there is none.
pub fn files() -> Result<Vec<(PathBuf, String)>> {
    let entries = folder().read_dir()?.collect::<Result<Vec<_>, _>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension() == Some("yaml".as_ref())).collect();
    paths.sort();
    ensure!(!paths.is_empty(), "no definition in {}", folder().display());
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path)?;
        Ok((path, text))
    };
    paths.into_iter().map(read).collect()
}

async fn served(cluster: &Cluster, definition: &CustomResourceDefinition) -> Result<()> {
    let spec = &definition.spec;
    let version = spec.versions.first().context("a definition has a version")?;
    let resource = ApiResource {
        group: spec.group.clone(),
        version: version.name.clone(),
        api_version: format!("{}/{}", spec.group, version.name),
        kind: spec.names.kind.clone(),
        plural: spec.names.plural.clone(),
    };
    let objects: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    objects.list(&ListParams::default().limit(1)).await?;
    Ok(())
}
