//! `kubectl weir status`: pipelines and SLOs with what is wrong with them; of one pipeline, its replicas.

mod details;
mod document;
mod overview;
mod replica;

use std::io::Write;

use futures::StreamExt;
use futures::stream;
use kube::ResourceExt;

use crate::args::{Report, Status};
use crate::cluster::Cluster;
use crate::output::{Screen, for_a_program};
use crate::watching::{LeftOut, Watching};
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
    let watching = Watching::find(cluster).await;
    let left_out = watching.left_out(&cluster.namespace);
    let text = match &asked.name {
        Some(name) => one(cluster, name, asked.output, left_out, screen).await?,
        None => all(cluster, asked.output, left_out, screen).await?,
    };
    if watching.is_none() {
        screen.note("no operator is in the cluster: `kubectl weir check` says more; what is shown is of before");
    }
    Ok(screen.out.write_all(text.as_bytes())?)
}

async fn all<O: Write, E: Write>(
    cluster: &Cluster,
    report: Report,
    left_out: Option<LeftOut>,
    screen: &mut Screen<O, E>,
) -> Result<String, Error> {
    let (pipelines, slos) = futures::try_join!(pipelines::all(cluster), pipelines::slos(cluster))?;
    let namespace = &cluster.namespace;
    if pipelines.is_empty() && slos.is_empty() {
        screen.note(&format!("nothing of Weir in the namespace {namespace}"));
    }
    let document = for_a_program(report, || {
        document::render(namespace, &pipelines, None, &slos, left_out.as_ref())
    })?;
    let text = || overview::render(&pipelines, &slos, left_out.as_ref(), screen.paint);
    Ok(document.unwrap_or_else(text))
}

async fn one<O: Write, E: Write>(
    cluster: &Cluster,
    name: &str,
    report: Report,
    left_out: Option<LeftOut>,
    screen: &Screen<O, E>,
) -> Result<String, Error> {
    let pipeline = pipelines::one(cluster, name).await?;
    let (pods, mut slos) =
        futures::try_join!(pipelines::replicas(cluster, &pipeline), pipelines::slos(cluster))?;
    slos.retain(|slo| slo.spec.pipeline_ref.name == pipeline.name_any());
    let asked = pods.into_iter().map(|pod| replica::ask(cluster, pod, name));
    let mut replicas: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    replicas.sort_by(|a, b| a.pod.cmp(&b.pod));
    let document = for_a_program(report, || {
        let pipelines = std::slice::from_ref(&pipeline);
        document::render(&cluster.namespace, pipelines, Some(&replicas), &slos, left_out.as_ref())
    })?;
    let text = || details::render(&pipeline, &replicas, &slos, left_out.as_ref(), screen.paint);
    Ok(document.unwrap_or_else(text))
}
