//! Decides whether data planes that run may be replaced because the operator is of another release: only where
//! somebody has asked for it. Pure.

use clap::ValueEnum;
use kube::ResourceExt;
use sha2::{Digest as _, Sha256};
use weir_crds::names::annotation;
use weir_crds::v1alpha1::StreamPipeline;

use crate::context::Options;
use crate::sidecar::Image;

/// The value of the annotation that asks for every release there will be.
const EVERY: &str = "always";

/// Which pipelines follow the operator's release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Upgrades {
    /// Those that ask for it, by the annotation weir.dev/upgrade.
    #[value(name = "OnRequest")]
    OnRequest,
    /// All of them.
    #[value(name = "Always")]
    Always,
}

/// What the data plane of a pipeline could be brought to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The release of this operator.
    pub release: String,
    /// Its image of the data plane.
    pub image: String,
    /// Whether somebody has asked for it.
    pub is_asked: bool,
}

impl Upgrade {
    /// What the data plane of this pipeline could be brought to by an operator with these options.
    #[must_use]
    pub fn of(pipeline: &StreamPipeline, options: &Options) -> Self {
        let image = Image::of(options);
        let release = release(&image);
        let asked = pipeline.annotations().get(annotation::UPGRADE).map(|value| value.trim());
        let is_asked = match options.upgrades {
            Upgrades::OnRequest => asked == Some(EVERY) || asked == Some(release.as_str()),
            Upgrades::Always => true,
        };
        Self { release, image: image.reference, is_asked }
    }

    /// The command that asks for it.
    #[must_use]
    pub fn command(&self, pipeline: &StreamPipeline) -> String {
        let (name, namespace) = (pipeline.name_any(), pipeline.namespace().unwrap_or_default());
        format!(
            "kubectl annotate streampipeline {name} -n {namespace} {}={} --overwrite",
            annotation::UPGRADE,
            self.release
        )
    }
}

/// The operator's version, and six digits that stand for the image: it can be another one under the same version,
/// and who has asked for the one has not asked for the other.
fn release(Image { reference, pull_policy, pull_secrets }: &Image) -> String {
    let mut hasher = Sha256::new();
    hasher.update(reference);
    // No reference has this byte in it.
    hasher.update([0]);
    hasher.update(pull_policy.as_deref().unwrap_or_default());
    for secret in pull_secrets {
        hasher.update([0]);
        hasher.update(secret);
    }
    let digits: String =
        hasher.finalize().iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{digits}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gateway, options};

    /// The options of an operator with this image.
    fn with_image(reference: &str) -> Options {
        Options { sidecar_image: reference.to_owned(), ..options() }
    }

    fn is_asked(value: &str, options: &Options) -> bool {
        let mut pipeline = gateway("orders", 1);
        pipeline.annotations_mut().insert(annotation::UPGRADE.to_owned(), value.to_owned());
        Upgrade::of(&pipeline, options).is_asked
    }

    #[test]
    fn who_asks_for_a_release_has_not_asked_for_the_next_one() {
        let pipeline = gateway("orders", 1);
        let [one, two] = ["sidecar:1", "sidecar:2"].map(with_image);
        let offered = Upgrade::of(&pipeline, &one);
        assert!(!offered.is_asked, "nobody has asked for anything");
        assert!(is_asked(&offered.release, &one));
        assert!(!is_asked(&offered.release, &two));
        let pulled = Options { sidecar_image_pull_policy: Some("Always".to_owned()), ..one };
        assert!(!is_asked(&offered.release, &pulled), "its pods are others");
    }

    #[test]
    fn every_release_can_be_asked_for_by_a_pipeline_and_by_the_operator() {
        for image in ["sidecar:1", "sidecar:2"] {
            assert!(is_asked("always", &with_image(image)));
            assert!(!is_asked("Soon", &with_image(image)));
            let following = Options { upgrades: Upgrades::Always, ..with_image(image) };
            assert!(Upgrade::of(&gateway("orders", 1), &following).is_asked);
        }
    }

    #[test]
    fn the_command_names_the_pipeline_and_the_release() {
        let pipeline = gateway("orders", 1);
        let upgrade = Upgrade::of(&pipeline, &options());
        let expected = format!(
            "kubectl annotate streampipeline orders -n shop weir.dev/upgrade={} --overwrite",
            upgrade.release
        );
        assert_eq!(upgrade.command(&pipeline), expected);
        assert!(upgrade.release.starts_with(env!("CARGO_PKG_VERSION")), "{}", upgrade.release);
    }
}
