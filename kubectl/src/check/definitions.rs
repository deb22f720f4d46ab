//! The definitions: are they there, are they served, and are they those of this version?

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;

use super::finding::{Finding, Verdict};
use super::observe::Read;

const APPLY: &str =
    "upgrade the chart (crds.install=true), or `kubectl apply --server-side -f crds/`";

/// What is to be said of each definition.
pub(super) fn judge(found: &[(String, Read<Option<CustomResourceDefinition>>)]) -> Vec<Finding> {
    let wanted = weir_crds::definitions();
    let wanted = |name: &str| wanted.iter().map(|(_, it)| it).find(|it| it.name_any() == name);
    found.iter().map(|(name, read)| one(name, read, wanted(name))).collect()
}

fn one(
    name: &str,
    read: &Read<Option<CustomResourceDefinition>>,
    wanted: Option<&CustomResourceDefinition>,
) -> Finding {
    let subject = format!("definition {name}");
    let found = match read {
        Err(reason) => return Finding::unknown(subject, reason),
        Ok(None) => return Finding::wrong(Verdict::Problem, subject, "is not there", APPLY),
        Ok(Some(found)) => found,
    };
    if let Some(why) = not_established(found) {
        let remedy = format!("see `kubectl describe crd {name}`");
        return Finding::wrong(Verdict::Problem, subject, why, remedy);
    }
    if wanted.is_some_and(|wanted| !is_same(found, wanted)) {
        let message = format!("is of another version than {}", env!("CARGO_PKG_VERSION"));
        return Finding::wrong(Verdict::Warning, subject, message, APPLY);
    }
    Finding::ok(subject, format!("is that of {}", env!("CARGO_PKG_VERSION")))
}

fn not_established(found: &CustomResourceDefinition) -> Option<String> {
    let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut conditions = conditions.filter(|condition| condition.type_ == "Established");
    let Some(established) = conditions.next() else { return Some("is not served yet".to_owned()) };
    (established.status != "True").then(|| {
        let why = established.message.as_deref().unwrap_or("no reason given");
        format!("is not served: {why}")
    })
}

/// Whether the versions, with all their fields and rules, are the same. The rest of a spec is filled up by
/// the API server.
fn is_same(found: &CustomResourceDefinition, wanted: &CustomResourceDefinition) -> bool {
    let versions = |definition: &CustomResourceDefinition| {
        let schemas = definition.spec.versions.iter();
        schemas.map(|version| (version.name.clone(), version.schema.clone())).collect::<Vec<_>>()
    };
    versions(found) == versions(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn established() -> Vec<(String, Read<Option<CustomResourceDefinition>>)> {
        let definitions = weir_crds::definitions().into_iter().map(|(_, mut definition)| {
            let status = json!({
                "conditions": [{ "type": "Established", "status": "True", "lastTransitionTime": null }],
            });
            definition.status = Some(serde_json::from_value(status).unwrap());
            (definition.name_any(), Ok(Some(definition)))
        });
        definitions.collect()
    }

    fn verdicts(found: &[(String, Read<Option<CustomResourceDefinition>>)]) -> Vec<Verdict> {
        judge(found).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn the_definitions_of_this_version_are_as_they_should_be() {
        assert!(verdicts(&established()).iter().all(|verdict| *verdict == Verdict::Ok));
    }

    #[test]
    fn one_that_is_missing_or_not_served_is_a_problem_and_another_version_a_warning() {
        let mut found = established();
        found[0].1 = Ok(None);
        assert_eq!(verdicts(&found)[0], Verdict::Problem);
        found[0].1 = Err("forbidden".to_owned());
        assert_eq!(verdicts(&found)[0], Verdict::Unknown);
        let Ok(Some(definition)) = &mut found[1].1 else { panic!("it is there") };
        definition.spec.versions[0].name = "v1alpha0".to_owned();
        assert_eq!(verdicts(&found)[1], Verdict::Warning);
        let Ok(Some(definition)) = &mut found[1].1 else { panic!("it is there") };
        definition.status = None;
        assert_eq!(verdicts(&found)[1], Verdict::Problem);
    }
}
