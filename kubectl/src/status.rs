//! `kubectl weir status`: pipelines and SLOs with what is wrong with them; of one pipeline, its replicas.

mod details;
mod overview;
mod replica;

use std::io::Write;

use futures::StreamExt;
use futures::stream;
use kube::ResourceExt;

use crate::args::Status;
use crate::cluster::Cluster;
use crate::output::Screen;
use crate::{Error, pipelines};

/// How many replicas are asked at the same time: each costs the API server a connection.
const AT_ONCE: usize = 8;

/// Shows the namespace, or one pipeline.
///
/// # Errors
///
/// Fails where the resources can't be read, or nothing can be printed.
pub async fn run<O: Write, E: Write>(
    cluster: &Cluster,
    asked: &Status,
    screen: &mut Screen<O, E>,
) -> Result<(), Error> {
    let text = match &asked.name {
        Some(name) => one(cluster, name, screen).await?,
        None => all(cluster, screen).await?,
    };
    Ok(screen.out.write_all(text.as_bytes())?)
}

async fn all<O: Write, E: Write>(
    cluster: &Cluster,
    screen: &mut Screen<O, E>,
) -> Result<String, Error> {
    let (pipelines, slos) = futures::try_join!(pipelines::all(cluster), pipelines::slos(cluster))?;
    if pipelines.is_empty() && slos.is_empty() {
        screen.note(&format!("nothing of Weir in the namespace {}", cluster.namespace));
    }
    Ok(overview::render(&pipelines, &slos, screen.paint))
}

async fn one<O: Write, E: Write>(
    cluster: &Cluster,
    name: &str,
    screen: &Screen<O, E>,
) -> Result<String, Error> {
    let pipeline = pipelines::one(cluster, name).await?;
    let (pods, mut slos) =
        futures::try_join!(pipelines::replicas(cluster, &pipeline), pipelines::slos(cluster))?;
    slos.retain(|slo| slo.spec.pipeline_ref.name == pipeline.name_any());
    let asked = pods.into_iter().map(|pod| replica::ask(cluster, pod, name));
    let mut replicas: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    replicas.sort_by(|a, b| a.pod.cmp(&b.pod));
    Ok(details::render(&pipeline, &replicas, &slos, screen.paint))
}
