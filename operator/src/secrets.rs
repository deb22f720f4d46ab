//! Mounts the Secrets that manifests name, so that the data plane reads them as files.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{SecretVolumeSource, Volume, VolumeMount};
use sha2::{Digest as _, Sha256};
use weir_crds::names::SECRETS_DIR;
use weir_crds::v1alpha1::StreamPipelineSpec;

/// The Secrets that these pipelines name.
#[must_use]
pub fn named_by<'a>(specs: impl IntoIterator<Item = &'a StreamPipelineSpec>) -> BTreeSet<&'a str> {
    specs.into_iter().flat_map(StreamPipelineSpec::secrets).collect()
}

/// The volume of a Secret. Optional: a pod starts also where the Secret is still to be made, and its files
/// appear when it is.
#[must_use]
pub fn volume(secret: &str) -> Volume {
    Volume {
        name: volume_name(secret),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            optional: Some(true),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Where the data plane finds the Secret.
#[must_use]
pub fn mount(secret: &str) -> VolumeMount {
    VolumeMount {
        name: volume_name(secret),
        mount_path: format!("{SECRETS_DIR}/{secret}"),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// A Secret's name may be longer than a volume's, and have dots in it.
fn volume_name(secret: &str) -> String {
    let hash = Sha256::digest(secret);
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("weir-s-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_makes_a_valid_volume() {
        let longest = format!("{}.{}", "a".repeat(126), "b".repeat(126));
        let name = volume_name(&longest);
        assert!(name.len() <= 63 && !name.contains('.'), "{name}");
        assert_ne!(name, volume_name("a"));
        assert_eq!(mount("keys").mount_path, "/etc/weir/secrets/keys");
        assert_eq!(mount("keys").name, volume("keys").name);
    }
}
