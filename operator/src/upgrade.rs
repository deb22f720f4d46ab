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
/// As many characters of what can be no release are told.
const LONGEST_TOLD: usize = 64;

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
    /// What the annotation says, where that can be no release.
    pub odd: Option<String>,
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
        let odd = asked.filter(|value| !value.is_empty() && *value != EVERY && !is_release(value));
        let odd = odd.map(|value| value.chars().take(LONGEST_TOLD).collect());
        Self { release, image: image.reference, is_asked, odd }
    }

    /// What is said where the annotation can be no release.
    #[must_use]
    pub fn misspelt(&self) -> Option<String> {
        let odd = self.odd.as_ref()?;
        Some(format!(
            "the annotation {} is {odd:?}, which asks for nothing: it can be {}, the operator's release, or {EVERY}",
            annotation::UPGRADE,
            self.release
        ))
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

/// Whether a text could be some operator's release, such as an older one's.
fn is_release(text: &str) -> bool {
    let Some((version, digits)) = text.rsplit_once('-') else { return false };
    let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    let begins = version.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    begins && version.contains('.') && digits.len() == 6 && digits.bytes().all(is_digit)
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
    fn what_can_be_no_release_is_told_from_another_one() {
        let odd = |value: &str| {
            let mut pipeline = gateway("orders", 1);
            pipeline.annotations_mut().insert(annotation::UPGRADE.to_owned(), value.to_owned());
            let upgrade = Upgrade::of(&pipeline, &options());
            assert_eq!(upgrade.odd.is_some(), upgrade.misspelt().is_some());
            upgrade.misspelt()
        };
        let release = Upgrade::of(&gateway("orders", 1), &options()).release;
        for value in
            ["always", "", " always ", release.as_str(), "0.1.0-4e0d21", "1.0.0-rc.1-4e0d21"]
        {
            assert_eq!(odd(value), None, "{value}");
        }
        for value in ["nonsense", "Always", "0.1.0", "true", "0.1.0-4e0d2", "0.1.0-4E0D21"] {
            let said = odd(value).unwrap();
            assert!(said.contains(&format!("{value:?}")) && said.contains(&release), "{said}");
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
