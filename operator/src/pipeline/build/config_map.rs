//! Builds the ConfigMap: the manifests that the data plane reads, each under a key of its own.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_crds::manifest::Manifest;
use weir_crds::names::{self, Share, annotation};

use super::minimal::minimal;
use super::{BuildError, metadata};
use crate::pipeline::validate::ValidatedPipeline;

/// The key of the pipeline's own manifest.
pub(in crate::pipeline) const MANIFEST: &str = "pipeline.yaml";

/// Builds the ConfigMap.
pub(super) fn build(pipeline: &ValidatedPipeline) -> Result<ConfigMap, BuildError> {
    let mut data = BTreeMap::new();
    data.insert(MANIFEST.to_owned(), render(&pipeline.manifest)?);
    for slo in &pipeline.slos {
        data.insert(format!("slo-{}.yaml", slo.metadata.name), render(slo)?);
    }
    let noted = pipeline.last_share.as_ref().map(Share::to_string);
    let noted = noted.map(|share| (annotation::LAST_SHARE.to_owned(), share));
    Ok(ConfigMap {
        metadata: ObjectMeta {
            annotations: noted.map(|noted| BTreeMap::from([noted])),
            ..metadata(pipeline, names::config_map(&pipeline.name))
        },
        data: Some(data),
        ..ConfigMap::default()
    })
}

/// A manifest as it stands in the ConfigMap.
pub(in crate::pipeline) fn render<S>(manifest: &Manifest<S>) -> Result<String, BuildError>
where
    S: Serialize + DeserializeOwned + PartialEq,
{
    let failed = |source| BuildError {
        kind: manifest.kind.clone(),
        name: manifest.metadata.name.clone(),
        source,
    };
    let document = minimal(manifest).map_err(|source| failed(source.into()))?;
    serde_saphyr::to_string(&document).map_err(|source| failed(source.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde::Deserialize;
    use serde_json::Value;
    use weir_crds::v1alpha1::{StreamPipelineSpec, StreamSLOSpec};

    use super::*;
    use crate::pipeline::testing::{observed, valid, validated};
    use crate::testing::{pipeline, sidecar_pipeline, slo};

    #[test]
    fn the_data_plane_reads_back_exactly_what_the_user_applied() {
        let pipeline = sidecar_pipeline("orders");
        let config_map = build(&valid(&pipeline)).unwrap();
        assert_eq!(config_map.metadata.name.as_deref(), Some("orders-weir"));
        let text = &config_map.data.unwrap()["pipeline.yaml"];
        let read: Manifest<StreamPipelineSpec> = serde_yaml::from_str(text).unwrap();
        assert_eq!(read.spec, pipeline.spec);
        assert_eq!(read.kind, "StreamPipeline");
        assert_eq!(read.metadata.uid.as_deref(), Some("uid-of-orders"));
        assert_eq!(read.metadata.generation, Some(3));
    }

    #[test]
    fn each_slo_has_a_key_of_its_own_and_an_invalid_one_has_none() {
        let mut observed = observed(&pipeline("orders"));
        let mut broken = slo("broken", "orders");
        broken.spec.objectives.clear();
        observed.slos = vec![slo("speed", "orders"), broken, slo("loss", "orders")];
        let data = build(&validated(&observed)).unwrap().data.unwrap();
        let keys: Vec<_> = data.keys().map(String::as_str).collect();
        assert_eq!(keys, ["pipeline.yaml", "slo-loss.yaml", "slo-speed.yaml"]);
        let read: Manifest<StreamSLOSpec> = serde_yaml::from_str(&data["slo-loss.yaml"]).unwrap();
        assert_eq!(read.spec, observed.slos[2].spec);
        assert_eq!(read.metadata.generation, Some(7));
    }

    #[test]
    fn text_that_looks_like_something_else_stays_text() {
        let mut pipeline = sidecar_pipeline("orders");
        let selector = &mut pipeline.spec.placement.sidecar.as_mut().unwrap().selector;
        for (key, value) in [("a", "on"), ("b", "1_000"), ("c", "012"), ("d", "null"), ("e", "")] {
            selector.match_labels.insert(key.to_owned(), value.to_owned());
        }
        let data = build(&valid(&pipeline)).unwrap().data.unwrap();
        let read: Manifest<StreamPipelineSpec> =
            serde_yaml::from_str(&data["pipeline.yaml"]).unwrap();
        assert_eq!(read.spec, pipeline.spec);
    }

    /// The examples, as the sidecars of this version are given them. Those of the versions before stay where
    /// they are: `sidecar/tests/shipped.rs` reads them all.
    #[test]
    fn what_this_version_gives_its_sidecars_is_kept_for_the_next() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let version = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0;
        let kept = here.join("../sidecar/tests/shipped").join(format!("v{version}"));
        for (name, data) in examples(&here.join("../examples")) {
            let text = data.into_values().collect::<Vec<_>>().join("---\n");
            let path = kept.join(name);
            if std::env::var_os("WEIR_WRITE").is_some() {
                fs::create_dir_all(&kept).unwrap();
                fs::write(&path, &text).unwrap();
            }
            let written = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                text,
                written,
                "{}: WEIR_WRITE=1 cargo test -p weir-operator writes it anew",
                path.display()
            );
        }
    }

    /// What the operator makes of the manifests in each file.
    fn examples(folder: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let documents = serde_yaml::Deserializer::from_str(&text);
            let documents = documents.map(|document| Value::deserialize(document).unwrap());
            let documents: Vec<Value> = documents.filter(|document| !document.is_null()).collect();
            let data = documents.iter().filter(|document| document["kind"] == "StreamPipeline");
            let data = data.flat_map(|pipeline| given(pipeline, &documents)).collect();
            found.insert(path.file_name().unwrap().to_string_lossy().into_owned(), data);
        }
        found
    }

    fn given(pipeline: &Value, documents: &[Value]) -> BTreeMap<String, String> {
        let name = pipeline["metadata"]["name"].as_str().unwrap().to_owned();
        let applied = |document: &Value| {
            let mut document = document.clone();
            document["metadata"]["namespace"] = "shop".into();
            document["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into();
            document["metadata"]["generation"] = 1.into();
            document
        };
        let mut observed = observed(&serde_json::from_value(applied(pipeline)).unwrap());
        let slos = documents.iter().filter(|document| {
            document["kind"] == "StreamSLO" && document["spec"]["pipelineRef"]["name"] == name
        });
        observed.slos = slos.map(|slo| serde_json::from_value(applied(slo)).unwrap()).collect();
        let data = build(&validated(&observed)).unwrap().data.unwrap();
        data.into_iter().map(|(key, text)| (format!("{name}/{key}"), text)).collect()
    }
}
