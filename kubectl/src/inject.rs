//! `kubectl weir inject`: what the webhook would add to the pods of a manifest.

mod diff;
mod manifest;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;
use weir_crds::manifest::Manifest;
use weir_crds::v1alpha1::{STREAM_PIPELINE, StreamPipeline, StreamPipelineSpec};
use weir_operator::failure::chain;
use weir_operator::injection::{self, Decision};
use weir_operator::sidecar::Image;

use self::manifest::Template;
use crate::args::{ClusterArgs, Inject};
use crate::check::operator;
use crate::cluster::Cluster;
use crate::output::{Paint, Screen};
use crate::pipelines;

/// What the chart installs, where nothing else is known.
const DEFAULT_IMAGE: &str = concat!("localhost/weir-sidecar:", env!("CARGO_PKG_VERSION"));

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no API server to ask for pipelines.
    #[error("{}; or give the pipelines with --pipeline FILE", chain(.0))]
    Cluster(crate::cluster::Error),
    /// The pipelines can't be read.
    #[error(transparent)]
    Pipelines(#[from] pipelines::Error),
    /// A file can't be read.
    #[error("can't read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A manifest is of another namespace than the one that was given.
    #[error(
        "{what} is of the namespace {namespace}, and -n says {given}: leave -n out, or give -n {namespace}"
    )]
    OtherNamespace {
        /// The object.
        what: String,
        /// Its namespace.
        namespace: String,
        /// What was given.
        given: String,
    },
    /// The result can't be rendered.
    #[error("can't render the manifest")]
    Render(#[from] serde_yaml::Error),
    /// A pod's template is no pod's.
    #[error("{what} can't be injected")]
    Inject {
        /// The object.
        what: String,
        /// Why.
        source: injection::PatchError,
    },
    /// The patch does not fit.
    #[error("{what} can't be injected")]
    Patch {
        /// The object.
        what: String,
        /// Why.
        source: json_patch::PatchError,
    },
    /// The result can't be printed.
    #[error("can't write the output")]
    Output(#[from] io::Error),
}

/// Prints the manifests as they would run, or what is different.
///
/// # Errors
///
/// Fails where something can't be read, or is no manifest.
pub async fn run<I, O, E>(
    reach: &ClusterArgs,
    asked: &Inject,
    input: I,
    screen: &mut Screen<O, E>,
) -> Result<(), Error>
where
    I: Read,
    O: Write,
    E: Write,
{
    let mut input = Some(input);
    let mut documents = Vec::new();
    for path in &asked.files {
        let text = read(path, &mut input)?;
        documents.extend(manifest::documents(&text).map_err(|error| parse(path, &error))?);
    }
    let terms = terms(reach, asked, &documents, screen).await?;
    let mut outputs = Vec::new();
    for before in documents {
        let mut after = before.clone();
        for template in manifest::templates(&after, &terms.namespace) {
            let note = inject(&mut after, &template, &terms)?;
            screen.note(&format!("{}: {note}", template.what));
        }
        outputs.push((before, after));
    }
    let text = if asked.diff {
        difference(&outputs, screen.paint)?
    } else {
        let texts: Result<Vec<_>, _> =
            outputs.iter().map(|(_, after)| serde_yaml::to_string(after)).collect();
        texts?.join("---\n")
    };
    Ok(screen.out.write_all(text.as_bytes())?)
}

/// By what it is decided.
struct Terms {
    /// The namespace of an object that names none.
    namespace: String,
    /// What holds in each namespace that pods are made in.
    places: BTreeMap<String, Place>,
}

/// By what it is decided in one namespace.
struct Place {
    pipelines: Vec<StreamPipeline>,
    image: Image,
    /// The operator's namespace, which is never injected.
    own: String,
    /// Why no pod of the namespace is injected, whatever it is like.
    off: Option<String>,
}

async fn terms<O: Write, E: Write>(
    reach: &ClusterArgs,
    asked: &Inject,
    documents: &[Value],
    screen: &mut Screen<O, E>,
) -> Result<Terms, Error> {
    let given = reach.namespace.as_deref();
    if !asked.pipelines.is_empty() {
        let namespace = given.unwrap_or("default").to_owned();
        let mut pipelines = Vec::new();
        for path in &asked.pipelines {
            pipelines.extend(from_file(path, &namespace)?);
        }
        let place = |there: String| {
            let image = image(asked.sidecar_image.clone(), None);
            let own = operator::USUAL_NAMESPACE.to_owned();
            (there, Place { pipelines: pipelines.clone(), image, own, off: None })
        };
        let places = namespaces(documents, &namespace, given)?.into_iter().map(place).collect();
        return Ok(Terms { namespace, places });
    }
    let cluster = Cluster::connect(reach).await.map_err(Error::Cluster)?;
    let mut places = BTreeMap::new();
    for namespace in namespaces(documents, &cluster.namespace, given)? {
        let there = Cluster { namespace: namespace.clone(), ..cluster.clone() };
        places.insert(namespace, place(&there, asked, screen).await?);
    }
    Ok(Terms { namespace: cluster.namespace, places })
}

/// The namespaces in which the manifests make pods: as for kubectl, none but the one that was given.
fn namespaces(
    documents: &[Value],
    usual: &str,
    given: Option<&str>,
) -> Result<BTreeSet<String>, Error> {
    let templates = documents.iter().flat_map(|document| manifest::templates(document, usual));
    let place = |Template { what, place: _, namespace }: Template| match given {
        Some(given) if given != namespace => {
            Err(Error::OtherNamespace { what, namespace, given: given.to_owned() })
        }
        Some(_) | None => Ok(namespace),
    };
    templates.map(place).collect()
}

/// What holds in the cluster's namespace.
async fn place<O: Write, E: Write>(
    cluster: &Cluster,
    asked: &Inject,
    screen: &mut Screen<O, E>,
) -> Result<Place, Error> {
    let given = asked.sidecar_image.clone();
    let pipelines = pipelines::all(cluster).await?;
    let installed = installed(cluster).await;
    if installed.is_none() && given.is_none() {
        let namespace = &cluster.namespace;
        screen.note(&format!(
            "no operator was found that watches {namespace}, so the sidecar's image is {DEFAULT_IMAGE}"
        ));
    }
    let own = installed.as_ref().and_then(|found| found.metadata.namespace.clone());
    let own = own.unwrap_or_else(|| operator::USUAL_NAMESPACE.to_owned());
    let image = image(given, installed.as_ref().and_then(operator::sidecar_image));
    let labels = labels(cluster).await;
    let off = select::off(&cluster.namespace, installed.as_ref(), &labels);
    Ok(Place { pipelines, image, own, off })
}

/// The image that was given, else that of the operator, else that of the chart.
fn image(given: Option<String>, known: Option<Image>) -> Image {
    let usual =
        Image { reference: DEFAULT_IMAGE.to_owned(), pull_policy: None, pull_secrets: Vec::new() };
    let known = known.unwrap_or(usual);
    Image { reference: given.unwrap_or_else(|| known.reference.clone()), ..known }
}

/// The Deployment of the operator that reconciles the namespace. Not everybody may look for it, and then its image is
/// not known.
async fn installed(cluster: &Cluster) -> Option<Deployment> {
    let api: Api<Deployment> = Api::all(cluster.client.clone());
    let found = api.list(&ListParams::default().labels(operator::SELECTOR)).await.ok()?;
    found.items.into_iter().find(|found| {
        let watched = operator::watched(found);
        watched.is_empty() || watched.contains(&cluster.namespace)
    })
}

/// The labels of the namespace, where one may look at it.
async fn labels(cluster: &Cluster) -> BTreeMap<String, String> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let found = api.get_metadata_opt(&cluster.namespace).await.ok().flatten();
    found.map(|found| found.labels().clone()).unwrap_or_default()
}

fn from_file(path: &Path, namespace: &str) -> Result<Vec<StreamPipeline>, Error> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let documents = manifest::documents(&text).map_err(|error| parse(path, &error))?;
    let is_pipeline =
        |document: &Value| document.get("kind").and_then(Value::as_str) == Some(STREAM_PIPELINE);
    let documents = documents.into_iter().filter(is_pipeline);
    let pipelines: Vec<_> = documents
        .map(|document| pipeline(document, namespace).map_err(|error| parse(path, &error)))
        .collect::<Result<_, _>>()?;
    if pipelines.is_empty() {
        let reason = "it holds no StreamPipeline".to_owned();
        return Err(Error::Parse { path: path.to_owned(), reason });
    }
    Ok(pipelines)
}

fn pipeline(document: Value, namespace: &str) -> Result<StreamPipeline, serde_json::Error> {
    let manifest: Manifest<StreamPipelineSpec> = serde_json::from_value(document)?;
    let mut pipeline = StreamPipeline::new(&manifest.metadata.name, manifest.spec);
    let namespace = manifest.metadata.namespace.unwrap_or_else(|| namespace.to_owned());
    pipeline.metadata.namespace = Some(namespace);
    Ok(pipeline)
}

fn read(path: &Path, input: &mut Option<impl Read>) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    if path != Path::new("-") {
        return std::fs::read_to_string(path).map_err(failed);
    }
    let mut text = String::new();
    // Standard input is read once, however often it is named.
    if let Some(mut input) = input.take() {
        input.read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

fn parse(path: &Path, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Parse { path: path.to_owned(), reason: chain(error) }
}

/// Injects one template, and says in a sentence what became of it.
fn inject(document: &mut Value, template: &Template, terms: &Terms) -> Result<String, Error> {
    let Template { what, place, namespace } = template;
    let found = (document.pointer_mut(place), terms.places.get(namespace));
    let (Some(pod), Some(Place { pipelines, image, own, off })) = found else {
        return Ok("has no pod".to_owned());
    };
    if let Some(reason) = off {
        return Ok(format!("not injected: {reason}"));
    }
    let pipelines = match select::selecting(pod, namespace, pipelines, own) {
        Ok(pipelines) => pipelines,
        Err(reason) => return Ok(format!("not injected: {reason}")),
    };
    let names: Vec<_> =
        pipelines.iter().filter_map(|found| found.metadata.name.as_deref()).collect();
    let names = names.join(", ");
    let decision = injection::inject(pod, &pipelines, image);
    match decision.map_err(|source| Error::Inject { what: what.clone(), source })? {
        Decision::Patch(patch) => {
            let patched = json_patch::patch(pod, &patch);
            patched.map_err(|source| Error::Patch { what: what.clone(), source })?;
            Ok(format!("injected, for {names}"))
        }
        Decision::Complete => Ok(format!("has everything already that {names} needs")),
        Decision::Refused { reason, note: _ } => {
            Ok(format!("not injected for {names}, because {reason}"))
        }
    }
}

fn difference(outputs: &[(Value, Value)], paint: Paint) -> Result<String, Error> {
    let mut text = String::new();
    for (before, after) in outputs {
        if before == after {
            continue;
        }
        let (before, name) = (serde_yaml::to_string(before)?, manifest::title(before));
        let after = serde_yaml::to_string(after)?;
        text.push_str(&diff::unified(&name, &before, &after, paint));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
kind: Pod
metadata: {name: a, namespace: shop}
---
kind: Pod
metadata: {name: b}
---
kind: Service
metadata: {name: c, namespace: elsewhere}
";

    #[test]
    fn pods_are_made_where_their_manifests_say_and_else_where_kubectl_would() {
        let documents = manifest::documents(FILE).unwrap();
        let found = namespaces(&documents, "default", None).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), ["default", "shop"]);
        let error = namespaces(&documents, "till", Some("till")).unwrap_err().to_string();
        let said =
            "Pod a is of the namespace shop, and -n says till: leave -n out, or give -n shop";
        assert_eq!(error, said);
        assert_eq!(namespaces(&documents, "shop", Some("shop")).unwrap().len(), 1);
    }
}
