//! Decides which generation the replicas are told that they run: that of the last change that concerns them. Pure.
//!
//! A number of replicas, which an autoscaler writes time and again, makes a new generation of the pipeline, and so does
//! how it is exposed. No replica has to take up anything for that, nor is one behind that hasn't.

use serde::Deserialize;

use super::build::{MANIFEST, render};
use super::observe::Observed;
use super::validate::for_replicas;

/// A manifest that was given, as far as it is read here.
#[derive(Deserialize)]
struct Standing {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    generation: Option<i64>,
}

/// The generation of what stands in the ConfigMap, where that says what this one would say.
pub(super) fn told(observed: &Observed) -> Option<i64> {
    let newest = observed.pipeline.metadata.generation?;
    let standing = observed.existing.config_map.as_ref()?.data.as_ref()?.get(MANIFEST)?;
    let Standing { metadata } = serde_saphyr::from_str(standing).ok()?;
    let told = metadata.generation.filter(|told| *told < newest)?;
    let same = render(&for_replicas(observed, Some(told))).ok()?;
    (same == *standing).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::build::build;
    use crate::pipeline::testing::{observed, validated};
    use crate::testing::gateway;

    /// A gateway whose replicas were given what it asked for as of generation 3.
    fn given() -> Observed {
        let mut observed = observed(&gateway("orders", 2));
        let mut config_map = build(&validated(&observed)).unwrap().config_map;
        config_map.metadata.uid = Some("a".to_owned());
        observed.existing.config_map = Some(config_map);
        observed
    }

    #[test]
    fn a_number_of_replicas_is_nothing_new_to_them() {
        let mut scaled = given();
        assert_eq!(told(&scaled), None, "it is the newest");
        scaled.pipeline.metadata.generation = Some(4);
        scaled.pipeline.spec.placement.gateway.as_mut().unwrap().replicas = 7;
        scaled.told = told(&scaled);
        assert_eq!(scaled.told, Some(3));
        let before = scaled.existing.config_map.clone();
        let after = build(&validated(&scaled)).unwrap().config_map;
        assert_eq!(Some(after.data), before.map(|before| before.data));
    }

    #[test]
    fn what_concerns_them_or_was_edited_is() {
        let mut changed = given();
        changed.pipeline.metadata.generation = Some(4);
        changed.pipeline.spec.delivery.max_connections = 7;
        assert_eq!(told(&changed), None);
        let mut edited = given();
        edited.pipeline.metadata.generation = Some(4);
        assert_eq!(told(&edited), Some(3));
        let data = edited.existing.config_map.as_mut().unwrap().data.as_mut().unwrap();
        let text = data.get_mut(MANIFEST).unwrap();
        *text = text.replace("generation: 3", "generation: 9");
        assert_eq!(told(&edited), None, "there has been no such generation");
        let data = edited.existing.config_map.as_mut().unwrap().data.as_mut().unwrap();
        data.insert(MANIFEST.to_owned(), "{".to_owned());
        assert_eq!(told(&edited), None);
    }
}
