//! Reads the resources of one file: from text to typed manifests, with every error on the way.

use std::path::Path;

use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;
use weir_crds::{
    manifest::Manifest,
    names::{API_VERSION, GROUP},
    v1alpha1::{STREAM_PIPELINE, STREAM_SLO, StreamPipelineSpec, StreamSLOSpec},
    validate::{self, Violation},
};

use super::{
    ability,
    error::ConfigError,
    places::{Place, Places, join, places},
    schema::{self, Schema},
    shape,
};

/// A resource of ours.
#[derive(Debug)]
pub(super) enum Resource {
    Pipeline(Box<Manifest<StreamPipelineSpec>>),
    Slo(Box<Manifest<StreamSLOSpec>>),
    /// A pipeline whose manifest has errors. Its name is known, so that no SLO is blamed for naming it.
    BrokenPipeline {
        namespace: String,
        name: String,
    },
}

/// Reads one file. What it finds wrong goes to `errors`.
pub(super) fn read(
    file: &Path,
    text: &str,
    errors: &mut Vec<ConfigError>,
) -> Vec<(Origin, Resource)> {
    let mut reader = Reader { file, text, errors, found: Vec::new() };
    if text.trim().is_empty() {
        let message = "the file is empty: delete it to end what it declared".to_owned();
        reader.fail(None, "", message);
        return reader.found;
    }
    let mut documents = places(text).into_iter();
    for (number, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let places = documents.next().unwrap_or_default();
        match serde_yaml::Value::deserialize(document) {
            Ok(value) => reader.document(value, &places),
            Err(error) => {
                let error = whole(error, text, number);
                reader.unreadable(&error, &places);
                // What follows can't be told apart: the iterator would give the same error forever, or panic.
                if !is_repetition(&error) {
                    break;
                }
            }
        }
    }
    reader.found
}

/// What is wrong with a document: a key that stands in it twice is found before what ends the reading of it.
fn whole(error: serde_yaml::Error, text: &str, number: usize) -> serde_yaml::Error {
    if !is_repetition(&error) {
        return error;
    }
    let until_here = serde_yaml::Deserializer::from_str(text).take(number + 1);
    until_here
        .filter_map(|document| IgnoredAny::deserialize(document).err())
        .next()
        .unwrap_or(error)
}

/// Whether a document was read but for a key that stands in it twice.
fn is_repetition(error: &serde_yaml::Error) -> bool {
    error.to_string().contains("duplicate entry")
}

/// Where a resource stands, for what is found wrong with it later.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) name: Option<Place>,
    pub(super) pipeline_ref: Option<Place>,
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    errors: &'a mut Vec<ConfigError>,
    found: Vec<(Origin, Resource)>,
}

impl Reader<'_> {
    fn document(&mut self, document: serde_yaml::Value, places: &Places) {
        match value(document) {
            Ok(value) => self.resource("", &value, places),
            Err(error) => self.unreadable(&error, places),
        }
    }

    /// Reports a document that has no value. A key that stands twice is the one cause that has a better
    /// place than the parser gives.
    fn unreadable(&mut self, error: &serde_yaml::Error, places: &Places) {
        for (path, place) in &places.repeated {
            self.fail(Some(*place), path, "is given twice: remove one of them".into());
        }
        if places.repeated.is_empty() || !is_repetition(error) {
            let place = error.location().map(|l| Place { line: l.line(), column: l.column() });
            let message = self.plain(&error.to_string(), place);
            self.fail(place.or_else(|| places.of("")), "", message);
        }
    }

    /// What a parser says that stumbles at a place, in the words of who writes.
    fn plain(&self, said: &str, place: Option<Place>) -> String {
        let said = said.split(" at line ").next().unwrap_or_default();
        let line = place.and_then(|place| self.text.lines().nth(place.line.saturating_sub(1)));
        let indented_by_tab =
            line.is_some_and(|line| line.trim_start_matches(' ').starts_with('\t'));
        match said {
            "found character that cannot start any token" if indented_by_tab => {
                "a tab can't indent a line of YAML: use spaces".to_owned()
            }
            "unknown anchor" => {
                "an alias (*name) of an anchor (&name) that doesn't stand before it: quote a text that begins with *".to_owned()
            }
            "found unexpected end of stream" => {
                "the file ends inside of something that was opened and not closed, such as a quotation".to_owned()
            }
            other => other.to_owned(),
        }
    }

    /// Reads the value at `base`: a resource, a list of them as `kubectl get` prints it, or nothing.
    fn resource(&mut self, base: &str, value: &Value, places: &Places) {
        if value.is_null() {
            return;
        }
        let text = |name| value.get(name).and_then(Value::as_str);
        match (text("apiVersion"), text("kind"), value.get("items").and_then(Value::as_array)) {
            (Some("v1"), Some("List"), Some(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.resource(&join(base, &format!("items[{index}]")), item, places);
                }
            }
            (Some(API_VERSION), Some(STREAM_PIPELINE), _) => self.pipeline(base, value, places),
            (Some(API_VERSION), Some(STREAM_SLO), _) => self.slo(base, value, places),
            (Some(version), Some(kind), _) => self.other(base, version, kind, places),
            (version, _, _) => {
                let missing = if version.is_none() { "apiVersion" } else { "kind" };
                let message =
                    format!("missing field `{missing}`: a manifest needs apiVersion and kind");
                self.fail(places.of(base), base, message);
            }
        }
    }

    fn pipeline(&mut self, base: &str, value: &Value, places: &Places) {
        let read = self.typed(base, value, places, &schema::STREAM_PIPELINE, |manifest| {
            let mut found = validate::pipeline(&manifest.metadata.name, &manifest.spec);
            found.extend(ability::lacking(&manifest.spec));
            found.extend(ability::unreadable(&manifest.spec));
            found
        });
        if let Some(resource) =
            read.map(|read| Resource::Pipeline(Box::new(read))).or_else(|| broken(value))
        {
            self.push(base, resource, places);
        }
    }

    fn slo(&mut self, base: &str, value: &Value, places: &Places) {
        let read = self.typed(base, value, places, &schema::STREAM_SLO, |manifest| {
            validate::slo(&manifest.metadata.name, &manifest.spec)
        });
        if let Some(resource) = read.map(|read| Resource::Slo(Box::new(read))) {
            self.push(base, resource, places);
        }
    }

    fn push(&mut self, base: &str, resource: Resource, places: &Places) {
        let place = |path| places.of(&join(base, path));
        let origin =
            Origin { name: place("metadata.name"), pipeline_ref: place("spec.pipelineRef.name") };
        self.found.push((origin, resource));
    }

    /// A kind that is none of ours: ignored, unless it was meant to be.
    fn other(&mut self, base: &str, version: &str, kind: &str, places: &Places) {
        let kinds = [STREAM_PIPELINE, STREAM_SLO];
        let group = version.split('/').next().unwrap_or_default();
        if group == GROUP && version == API_VERSION {
            let message = format!("unknown kind `{kind}`{}", shape::hint(kind, kinds.into_iter()));
            self.fail(places.of(&join(base, "kind")), &join(base, "kind"), message);
        } else if group == GROUP || kinds.contains(&kind) {
            let message = format!("`{version}` is not known: use {API_VERSION}");
            self.fail(places.of(&join(base, "apiVersion")), &join(base, "apiVersion"), message);
        } else {
            let (file, line) = (self.file.display(), places.of(base).map(|place| place.line));
            tracing::info!(%file, line, kind, "ignored a resource of another API group");
        }
    }

    /// Reads a manifest whose kind is known. The schema says all that is wrong with its form; only a
    /// form without fault is read into its type, and only a typed manifest is held to the rules.
    fn typed<S: DeserializeOwned>(
        &mut self,
        base: &str,
        value: &Value,
        places: &Places,
        schema: &Schema,
        rules: impl Fn(&Manifest<S>) -> Vec<Violation>,
    ) -> Option<Manifest<S>> {
        let before = self.errors.len();
        // A server that knew the field has accepted it, and given the object its uid: then this program is
        // older than the manifest, and serves what it knows.
        let accepted = value.pointer("/metadata/uid").is_some();
        // A server leaves away what is null, and whoever wrote it may have meant something.
        let without_nulls = without_nulls(value);
        let written = if accepted { &without_nulls } else { value };
        for shape::Misfit { path, field, message, unknown } in
            shape::misfits(schema.root(), base, written)
        {
            if unknown && accepted {
                tracing::warn!(file = %self.file.display(), field, "ignored: {message}");
            } else {
                self.fail(places.of(&path), &field, message);
            }
        }
        if self.errors.len() > before {
            return None;
        }
        let manifest: Manifest<S> = match serde_path_to_error::deserialize(&without_nulls) {
            Ok(manifest) => manifest,
            Err(error) => {
                let path = error.path().to_string();
                let path = join(base, path.trim_start_matches('.'));
                self.fail(places.of(&path), &path, error.into_inner().to_string());
                return None;
            }
        };
        for Violation { field, message } in rules(&manifest) {
            let path = join(base, &field);
            self.fail(places.of(&path), &path, message);
        }
        (self.errors.len() == before).then_some(manifest)
    }

    fn fail(&mut self, place: Option<Place>, field: &str, message: String) {
        let (file, field) = (self.file.to_owned(), field.to_owned());
        self.errors.push(ConfigError { file, place, field, message });
    }
}

fn broken(value: &Value) -> Option<Resource> {
    let metadata = value.get("metadata")?;
    let text = |name| metadata.get(name).and_then(Value::as_str);
    let namespace = text("namespace").unwrap_or("default").to_owned();
    Some(Resource::BrokenPipeline { namespace, name: text("name")?.to_owned() })
}

/// The value of a document. Merge keys are applied, as the API server does.
fn value(mut document: serde_yaml::Value) -> Result<Value, serde_yaml::Error> {
    document.apply_merge()?;
    let mut value: Value = serde_yaml::from_value(document)?;
    // What is null outside of a spec is of tools, such as creationTimestamp, and means that it is absent.
    if let Value::Object(fields) = &mut value {
        fields.iter_mut().filter(|(name, _)| *name != "spec").for_each(|(_, of)| drop_nulls(of));
    }
    Ok(value)
}

/// The same as the API server would see it: a field that is null is absent.
fn without_nulls(value: &Value) -> Value {
    let mut value = value.clone();
    drop_nulls(&mut value);
    value
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
