//! Builds the ConfigMap: the manifests that the data plane reads, each under a key of its own.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use weir_crds::manifest::Manifest;
use weir_crds::names;

use super::{BuildError, metadata};
use crate::pipeline::validate::ValidatedPipeline;

/// Builds the ConfigMap.
pub(super) fn build(pipeline: &ValidatedPipeline) -> Result<ConfigMap, BuildError> {
    let mut data = BTreeMap::new();
    data.insert("pipeline.yaml".to_owned(), render(&pipeline.manifest)?);
    for slo in &pipeline.slos {
        data.insert(format!("slo-{}.yaml", slo.metadata.name), render(slo)?);
    }
    Ok(ConfigMap {
        metadata: metadata(pipeline, names::config_map(&pipeline.name)),
        data: Some(data),
        ..ConfigMap::default()
    })
}

fn render<S: Serialize>(manifest: &Manifest<S>) -> Result<String, BuildError> {
    serde_saphyr::to_string(manifest).map_err(|source| BuildError {
        kind: manifest.kind.clone(),
        name: manifest.metadata.name.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
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
}
