//! Puts the resources of all files together: each pipeline once, each SLO at its pipeline.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
    path::{Path, PathBuf},
};

use weir_crds::manifest::{Manifest, Metadata};
use weir_crds::names::label;
use weir_crds::v1alpha1::{StreamPipelineSpec, StreamSLOSpec};

use super::{
    Config, ConfigError, ConfigErrors, PipelineConfig, SloConfig,
    files::Files,
    places::Place,
    resource::{self, Origin, Resource},
};

/// Makes the configuration of what the files say.
pub(super) fn assemble(files: &Files) -> Result<Config, ConfigErrors> {
    let mut assembly = Assembly::default();
    let mut slos = Vec::new();
    for (file, text) in &files.0 {
        match text {
            Ok(text) => {
                for (origin, resource) in resource::read(file, text, &mut assembly.errors) {
                    match resource {
                        Resource::Pipeline(manifest) => assembly.pipeline(file, &origin, *manifest),
                        Resource::Slo(manifest) => slos.push((file, origin, *manifest)),
                        Resource::BrokenPipeline { namespace, name } => {
                            assembly.broken.insert((namespace, name));
                        }
                    }
                }
            }
            Err(reason) => assembly.fail(file, None, "", reason.clone()),
        }
    }
    for (file, origin, manifest) in slos {
        assembly.slo(file, &origin, manifest);
    }
    assembly.finish()
}

/// Where a resource is declared.
#[derive(Debug, Clone)]
struct Declared {
    file: PathBuf,
    line: Option<usize>,
}

impl Declared {
    fn at(file: &Path, origin: &Origin) -> Self {
        Self { file: file.to_owned(), line: origin.name.map(|place| place.line) }
    }
}

impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line } = self;
        write!(f, "{}", file.display())?;
        line.map_or(Ok(()), |line| write!(f, ", line {line}"))
    }
}

#[derive(Default)]
struct Assembly {
    pipelines: BTreeMap<String, PipelineConfig>,
    /// Where each pipeline is declared, by its name, and each SLO, by its namespace and name.
    declared: BTreeMap<String, Declared>,
    promised: BTreeMap<(String, String), Declared>,
    /// Namespaces and names of pipelines that are declared and have errors.
    broken: BTreeSet<(String, String)>,
    errors: Vec<ConfigError>,
}

impl Assembly {
    fn pipeline(&mut self, file: &Path, at: &Origin, manifest: Manifest<StreamPipelineSpec>) {
        let Manifest { api_version: _, kind: _, metadata, spec } = manifest;
        let namespace = metadata.namespace_or_default().to_owned();
        let Metadata { name, namespace: _, uid, generation, labels } = metadata;
        // Of the operator's own making: what is none is left aside, and no reason to serve nobody.
        let share = labels.get(label::SHARE).and_then(|text| text.parse().ok());
        match self.pipelines.entry(name.clone()) {
            Entry::Vacant(vacant) => {
                let slos = Vec::new();
                self.declared.insert(name.clone(), Declared::at(file, at));
                vacant.insert(PipelineConfig {
                    namespace,
                    name,
                    uid,
                    generation,
                    share,
                    spec,
                    slos,
                });
            }
            Entry::Occupied(_) => {
                let first = self.declared.get(&name).map(ToString::to_string).unwrap_or_default();
                let message = format!(
                    "a pipeline named {name} is declared in {first}, too: rename one of them, because the \
                     name alone stands in the URL"
                );
                self.fail(file, at.name, "metadata.name", message);
            }
        }
    }

    fn slo(&mut self, file: &Path, at: &Origin, manifest: Manifest<StreamSLOSpec>) {
        let Manifest { api_version: _, kind: _, metadata, spec } = manifest;
        let namespace = metadata.namespace_or_default().to_owned();
        let Metadata { name, namespace: _, uid: _, generation, labels: _ } = metadata;
        let wanted = &spec.pipeline_ref.name;
        let key = (namespace.clone(), name.clone());
        if let Some(first) = self.promised.get(&key) {
            let message =
                format!("a StreamSLO named {name} is declared in {first}, too: rename one of them");
            return self.fail(file, at.name, "metadata.name", message);
        }
        self.promised.insert(key, Declared::at(file, at));
        match self.pipelines.get_mut(wanted) {
            Some(pipeline) if pipeline.namespace == namespace => {
                pipeline.slos.push(SloConfig { namespace, name, generation, spec });
                pipeline.slos.sort_by(|a, b| a.name.cmp(&b.name));
            }
            Some(_) | None if self.broken.contains(&(namespace.clone(), wanted.clone())) => {}
            Some(pipeline) => {
                let message = format!(
                    "the pipeline {wanted} is in the namespace {}, and this StreamSLO in {namespace}: \
                     they must be in the same",
                    pipeline.namespace
                );
                self.fail(file, at.pipeline_ref, "spec.pipelineRef.name", message);
            }
            None => {
                let message = format!(
                    "there is no StreamPipeline {wanted} in these files: correct the name, or add it"
                );
                self.fail(file, at.pipeline_ref, "spec.pipelineRef.name", message);
            }
        }
    }

    fn fail(&mut self, file: &Path, place: Option<Place>, field: &str, message: String) {
        let (file, field) = (file.to_owned(), field.to_owned());
        self.errors.push(ConfigError { file, place, field, message });
    }

    fn finish(self) -> Result<Config, ConfigErrors> {
        let Self { pipelines, declared: _, promised: _, broken: _, errors } = self;
        if errors.is_empty() { Ok(Config { pipelines }) } else { Err(ConfigErrors(errors)) }
    }
}
