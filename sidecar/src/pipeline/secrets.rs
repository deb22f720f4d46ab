//! Finds the Secrets that a manifest names and that are not there.

use std::{fs, path::Path};

use weir_crds::v1alpha1::StreamPipelineSpec;

/// The Secrets of which there is no file in `directory`, where each has a directory of its own. One that is
/// still to be made has an empty one, because it is mounted as optional.
pub(super) fn missing(spec: &StreamPipelineSpec, directory: &Path) -> Vec<String> {
    let named = spec.secrets().into_iter();
    named.filter(|name| !has_keys(&directory.join(name))).map(str::to_owned).collect()
}

/// Whether a directory has files of a Secret, beside those by which the kubelet exchanges them.
fn has_keys(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| !name.to_string_lossy().starts_with(".."))
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_secret_is_missing_until_it_has_a_key() {
        let spec = json!({
            "placement": { "gateway": {} },
            "sources": [{ "name": "demo", "generator": { "rate": 1 } }],
            "endpoints": { "tls": { "secretName": "tls" } },
        });
        let spec: StreamPipelineSpec = from_value(spec).unwrap();
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(missing(&spec, directory.path()), ["tls"]);
        let mounted = directory.path().join("tls");
        fs::create_dir_all(mounted.join("..data")).unwrap();
        assert_eq!(missing(&spec, directory.path()), ["tls"]);
        fs::write(mounted.join("tls.crt"), "certificate").unwrap();
        assert!(missing(&spec, directory.path()).is_empty());
    }
}
