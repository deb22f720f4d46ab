//! How far apart the parts of an installation are: they understand each other one minor version apart, and no further.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;

use super::finding::{Finding, Verdict};
use super::observe::Read;
use super::operator::Installed;
use super::sidecars;

/// The label that says of which version something is.
const LABEL: &str = "app.kubernetes.io/version";
/// The version of this program.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// What of a version decides whether two understand each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    major: u64,
    minor: u64,
}

impl Version {
    /// Reads `0.1.0`, `v0.1` or `0.1.0-rc.1`; `None` where it is none of these.
    fn read(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix('v').unwrap_or(text).split(['.', '-', '+']);
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { major: next()?, minor: next()? })
    }

    /// Reads the tag of an image.
    fn of_image(reference: &str) -> Option<Self> {
        let name = reference.split('@').next()?.rsplit('/').next()?;
        Self::read(name.split_once(':')?.1)
    }

    const fn is_near(self, other: Self) -> bool {
        self.major == other.major && self.minor.abs_diff(other.minor) <= 1
    }
}

/// What is to be said of each operator: nothing where all that is known of is near.
pub(super) fn judge(
    installed: &Installed,
    pods: &Read<Vec<Pod>>,
    definitions: &[(String, Read<Option<CustomResourceDefinition>>)],
) -> Vec<Finding> {
    let Some(text) = installed.deployment.labels().get(LABEL) else { return Vec::new() };
    let Some(version) = Version::read(text) else { return Vec::new() };
    let program = Version::read(OWN).filter(|own| !own.is_near(version)).map(|_| {
        let remedy = format!("take the kubectl-weir of {text}");
        (format!("this program is {OWN}"), remedy)
    });
    let found = [program, definitions_apart(definitions, version), pods_apart(pods, version)];
    let subject = format!("versions of {}", installed.title());
    let finding = |(what, remedy): (String, String)| {
        let message = format!(
            "the operator is {text}, and {what}: the two understand each other one minor version apart, and no further"
        );
        Finding::wrong(Verdict::Warning, subject.clone(), message, remedy)
    };
    found.into_iter().flatten().map(finding).collect()
}

fn definitions_apart(
    definitions: &[(String, Read<Option<CustomResourceDefinition>>)],
    version: Version,
) -> Option<(String, String)> {
    let label = |definition: &CustomResourceDefinition| definition.labels().get(LABEL).cloned();
    let known = definitions.iter().filter_map(|(name, read)| {
        let text = label(read.as_ref().ok()?.as_ref()?)?;
        Some((name, Version::read(&text)?, text))
    });
    let mut apart = known.filter(|(_, found, _)| !found.is_near(version));
    let (name, _, text) = apart.next()?;
    let remedy = "upgrade the chart with crds.install=true, one minor version at a time";
    Some((format!("the definition {name} is {text}"), remedy.to_owned()))
}

/// The sidecars whose image says of which version it is.
fn pods_apart(pods: &Read<Vec<Pod>>, version: Version) -> Option<(String, String)> {
    let pods = pods.as_ref().ok()?;
    let mut apart: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let image = sidecars::image(pod);
        if Version::of_image(image).is_some_and(|found| !found.is_near(version)) {
            let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
            apart.entry(image).or_default().push(name);
        }
    }
    let (image, pods) = apart.into_iter().next()?;
    let some = pods.first()?;
    let what = format!("{} sidecars run {image}, such as that of {some}", pods.len());
    let remedy = "bring them to the operator's release, as `kubectl weir status` says of each pipeline, before the next \
                  upgrade of the operator";
    Some((what, remedy.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::operator::tests::installed;

    #[test]
    fn a_version_is_read_from_a_label_and_from_a_tag() {
        let version = |major, minor| Some(Version { major, minor });
        assert_eq!(Version::read("0.12.3"), version(0, 12));
        assert_eq!(Version::read("v1.2-rc.1"), version(1, 2));
        assert_eq!(Version::read("main"), None);
        assert_eq!(Version::of_image("r.test:5000/weir-sidecar:0.3.1"), version(0, 3));
        assert_eq!(Version::of_image("weir-sidecar:0.3.1@sha256:ab"), version(0, 3));
        assert_eq!(Version::of_image("r.test:5000/weir-sidecar@sha256:ab"), None);
        let near = |one, other| Version::read(one).unwrap().is_near(Version::read(other).unwrap());
        assert!(near("0.1.9", "0.2.0") && near("0.2.0", "0.1.0"));
        assert!(!near("0.1.0", "0.3.0") && !near("0.9.0", "1.0.0"));
    }

    /// The findings about an operator of this version, beside sidecars and definitions of this one.
    fn found(operator: &str, others: &str) -> Vec<String> {
        let mut installed = installed("weir-system", &[]);
        installed.deployment.labels_mut().insert(LABEL.to_owned(), operator.to_owned());
        let pod = serde_json::from_value(json!({
            "metadata": { "name": "a", "namespace": "shop" },
            "spec": {
                "initContainers": [{ "name": "weir-sidecar", "image": format!("weir-sidecar:{others}") }],
                "containers": [{ "name": "app", "image": "app" }],
            },
        }))
        .unwrap();
        let (_, mut definition) = weir_crds::definitions().into_iter().next().unwrap();
        definition.labels_mut().insert(LABEL.to_owned(), others.to_owned());
        let definitions = [(definition.name_any(), Ok(Some(definition)))];
        let findings = judge(&installed, &Ok(vec![pod]), &definitions);
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn what_is_more_than_a_minor_version_apart_is_named() {
        let own = Version::read(OWN).unwrap();
        let minor = |minor: u64| format!("{}.{minor}.7", own.major);
        assert_eq!(found(&minor(own.minor), &minor(own.minor + 1)), Vec::<String>::new());
        let apart = found(&minor(own.minor + 2), &minor(own.minor));
        assert_eq!(apart.len(), 3, "{apart:?}");
        assert!(apart[0].contains(&format!("this program is {OWN}")), "{apart:?}");
        assert!(apart[1].contains("the definition stream"), "{apart:?}");
        assert!(apart[2].contains("such as that of shop/a"), "{apart:?}");
    }
}
