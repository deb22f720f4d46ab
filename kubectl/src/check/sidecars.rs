//! The data planes: do they run the image that the operator would give them today?

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use weir_crds::names::annotation;

use super::finding::{Finding, Verdict};
use super::observe::Read;
use super::operator::{self, Installed};
use crate::pipelines::sidecar;

const SUBJECT: &str = "sidecars";

/// What is to be said of the data planes.
pub(super) fn judge(pods: &Read<Vec<Pod>>, operators: &Read<Vec<Installed>>) -> Vec<Finding> {
    let pods = match pods {
        Ok(pods) => pods,
        Err(reason) => return vec![Finding::unknown(SUBJECT, reason)],
    };
    let current: Vec<String> = operators
        .iter()
        .flatten()
        .filter_map(|installed| operator::sidecar_image(&installed.deployment))
        .map(|image| image.reference)
        .collect();
    let mut images: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        images.entry(image(pod)).or_default().push(name);
    }
    if images.is_empty() {
        return vec![Finding::ok(SUBJECT, "there is none yet")];
    }
    images.iter().map(|(image, pods)| one(image, pods, &current)).collect()
}

/// The image that was asked for, where that is noted: another webhook may have it come from a mirror.
pub(super) fn image(pod: &Pod) -> &str {
    let noted = pod.annotations().get(annotation::SIDECAR_IMAGE).map(String::as_str);
    let running = || sidecar(pod)?.image.as_deref();
    noted.or_else(running).unwrap_or("none")
}

/// Whether two references may mean one image, of which one comes from a mirror: gateways note nothing.
fn is_same(one: &str, other: &str) -> bool {
    let last = |reference: &str| reference.rsplit('/').next().map(str::to_owned);
    one == other
        || (last(one).is_some_and(|name| name.contains([':', '@'])) && last(one) == last(other))
}

fn one(image: &str, pods: &[String], current: &[String]) -> Finding {
    let count = pods.len();
    if current.is_empty() || current.iter().any(|known| is_same(known, image)) {
        return Finding::ok(SUBJECT, format!("{count} run {image}"));
    }
    let some: Vec<_> = pods.iter().take(3).cloned().collect();
    let more = if count > some.len() { ", …" } else { "" };
    let message = format!(
        "{count} run {image}, and the operator gives {}: {}{more}",
        current.join(" and "),
        some.join(", ")
    );
    let remedy = "an upgrade leaves running pods alone: `kubectl weir status` says of each pipeline how its pods \
                  are brought to it when it suits you";
    Finding::wrong(Verdict::Warning, SUBJECT, message, remedy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::operator::tests::installed;

    fn pod(name: &str, image: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "shop" },
            "spec": {
                "initContainers": [{ "name": "weir-sidecar", "image": image }],
                "containers": [{ "name": "app", "image": "app" }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn images_that_the_operator_no_longer_gives_are_named() {
        let pods = vec![pod("a", "r.test/sidecar:1"), pod("b", "r.test/sidecar:0")];
        let findings = judge(&Ok(pods), &Ok(vec![installed("weir-system", &[])]));
        assert_eq!(findings[0].verdict, Verdict::Warning);
        assert!(findings[0].message.contains("shop/b"), "{findings:?}");
        assert_eq!(findings[1], Finding::ok(SUBJECT, "1 run r.test/sidecar:1"));
    }

    #[test]
    fn an_image_that_comes_from_a_mirror_is_that_of_the_operator() {
        let mut noted = pod("a", "mirror.test/other:1");
        let asked = ("weir.dev/sidecar-image".to_owned(), "r.test/sidecar:1".to_owned());
        noted.metadata.annotations = Some([asked].into());
        let pods = vec![noted, pod("b", "mirror.test/r.test/sidecar:1")];
        let findings = judge(&Ok(pods), &Ok(vec![installed("weir-system", &[])]));
        assert!(findings.iter().all(|found| found.verdict == Verdict::Ok), "{findings:?}");
    }

    #[test]
    fn where_no_operator_is_known_images_are_not_judged() {
        let findings = judge(&Ok(vec![pod("a", "x")]), &Err("forbidden".to_owned()));
        assert_eq!(findings, [Finding::ok(SUBJECT, "1 run x")]);
    }
}
