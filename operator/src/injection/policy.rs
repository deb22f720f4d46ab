//! Writes what the webhook does as a MutatingAdmissionPolicy, which the API server carries out itself: no
//! certificates, nothing that could be away. Pure.
//!
//! # Laws
//!
//! - A pipeline has one policy. Where several select a pod, the first adds the sidecar, and each of the others
//!   joins it; so each adds only what is missing, and a second pass adds nothing.
//! - As with the webhook, what fails lets the pod through.

mod cel;
mod expression;
mod obstacle;
mod resources;

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    JSONPatch, MatchResources, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
    MutatingAdmissionPolicyBindingSpec, MutatingAdmissionPolicySpec, Mutation,
    NamedRuleWithOperations, Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector as Selector, LabelSelectorRequirement as Requirement, ObjectMeta,
};
use kube::ResourceExt;
use weir_crds::names::label;
use weir_crds::v1alpha1::{LabelSelector, Operator, StreamPipeline};

use crate::labels;
use crate::sidecar::Image;

/// The label on a policy that says for which release of the operator it was made.
const RELEASE: &str = "weir.dev/release";
/// The label on a policy that says in which namespace its pipeline is.
const NAMESPACE: &str = "weir.dev/namespace";

/// The name of a pipeline's policy, and of its binding. Neither part has a dot in it.
#[must_use]
pub fn name(release: &str, namespace: &str, pipeline: &str) -> String {
    format!("{release}.{namespace}.{pipeline}")
}

/// The selector, as text, of the policies of a release.
#[must_use]
pub fn of_release(release: &str) -> String {
    format!("{RELEASE}={release}")
}

/// The namespace and the name of the pipeline for which a policy was made.
#[must_use]
pub fn pipeline_of(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    let labels = metadata.labels.as_ref()?;
    Some((labels.get(NAMESPACE)?, labels.get(label::PIPELINE)?))
}

/// Whether both were made for the same pipeline by the same release of the operator.
#[must_use]
pub fn is_of_one(found: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    let release =
        |of: &ObjectMeta| of.labels.as_ref().and_then(|labels| labels.get(RELEASE)).cloned();
    release(wanted).is_some()
        && release(found) == release(wanted)
        && pipeline_of(found) == pipeline_of(wanted)
}

/// The policy of a pipeline with a sidecar, and the binding that puts it in force; `None` for a gateway.
#[must_use]
pub fn build(
    release: &str,
    pipeline: &StreamPipeline,
    image: &Image,
) -> Option<(MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding)> {
    let sidecar = pipeline.spec.placement.sidecar.as_ref()?;
    let namespace = pipeline.namespace().unwrap_or_default();
    let own = pipeline.name_any();
    let mut labels = labels::of_object(&own);
    labels.insert(RELEASE.to_owned(), release.to_owned());
    labels.insert(NAMESPACE.to_owned(), namespace.clone());
    let metadata = ObjectMeta {
        name: Some(name(release, &namespace, &own)),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    let binding = MutatingAdmissionPolicyBinding {
        spec: Some(MutatingAdmissionPolicyBindingSpec {
            policy_name: metadata.name.clone(),
            match_resources: Some(MatchResources {
                namespace_selector: Some(this_namespace(&namespace)),
                object_selector: Some(selected(&sidecar.selector)),
                ..MatchResources::default()
            }),
            param_ref: None,
        }),
        metadata: metadata.clone(),
    };
    Some((MutatingAdmissionPolicy { metadata, spec: Some(spec(pipeline, image)) }, binding))
}

fn spec(pipeline: &StreamPipeline, image: &Image) -> MutatingAdmissionPolicySpec {
    let variable =
        |(name, expression): (&str, String)| Variable { name: name.to_owned(), expression };
    let strings = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
    MutatingAdmissionPolicySpec {
        failure_policy: Some("Ignore".to_owned()),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        match_constraints: Some(MatchResources {
            resource_rules: Some(vec![NamedRuleWithOperations {
                api_groups: strings(&[""]),
                api_versions: strings(&["v1"]),
                operations: strings(&["CREATE"]),
                resources: strings(&["pods"]),
                scope: Some("Namespaced".to_owned()),
                resource_names: None,
            }]),
            ..MatchResources::default()
        }),
        variables: Some(expression::variables(pipeline).into_iter().map(variable).collect()),
        mutations: Some(vec![Mutation {
            patch_type: "JSONPatch".to_owned(),
            json_patch: Some(JSONPatch { expression: Some(expression::patch(pipeline, image)) }),
            apply_configuration: None,
        }]),
        ..MutatingAdmissionPolicySpec::default()
    }
}

fn not_disabled() -> Requirement {
    Requirement {
        key: label::INJECTION.to_owned(),
        operator: "NotIn".to_owned(),
        values: Some(vec!["disabled".to_owned()]),
    }
}

fn this_namespace(namespace: &str) -> Selector {
    let labels = [("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())];
    Selector {
        match_labels: Some(BTreeMap::from(labels)),
        match_expressions: Some(vec![not_disabled()]),
    }
}

fn selected(selector: &LabelSelector) -> Selector {
    let LabelSelector { match_labels, match_expressions } = selector;
    let requirement = |requirement: &weir_crds::v1alpha1::LabelSelectorRequirement| Requirement {
        key: requirement.key.clone(),
        operator: spelt(requirement.operator).to_owned(),
        values: (!requirement.values.is_empty()).then(|| requirement.values.clone()),
    };
    let own = match_expressions.iter().map(requirement);
    Selector {
        match_labels: Some(match_labels.clone()),
        match_expressions: Some(own.chain([not_disabled()]).collect()),
    }
}

const fn spelt(operator: Operator) -> &'static str {
    match operator {
        Operator::In => "In",
        Operator::NotIn => "NotIn",
        Operator::Exists => "Exists",
        Operator::DoesNotExist => "DoesNotExist",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::testing::{gateway, options, sidecar_pipeline};

    #[test]
    fn a_policy_concerns_the_selected_pods_of_its_namespace_that_have_not_opted_out() {
        let mut pipeline = sidecar_pipeline("orders");
        let tier = json!([{ "key": "tier", "operator": "Exists" }]);
        let sidecar = pipeline.spec.placement.sidecar.as_mut().unwrap();
        sidecar.selector.match_expressions = from_value(tier).unwrap();
        let (policy, binding) = build("weir", &pipeline, &Image::of(&options())).unwrap();
        assert_eq!(policy.metadata.name.as_deref(), Some("weir.shop.orders"));
        assert_eq!(pipeline_of(&policy.metadata), Some(("shop", "orders")));
        let disabled =
            json!({ "key": "weir.dev/injection", "operator": "NotIn", "values": ["disabled"] });
        let expected = json!({
            "policyName": "weir.shop.orders",
            "matchResources": {
                "namespaceSelector": {
                    "matchLabels": { "kubernetes.io/metadata.name": "shop" },
                    "matchExpressions": [disabled],
                },
                "objectSelector": {
                    "matchLabels": { "app": "shop" },
                    "matchExpressions": [{ "key": "tier", "operator": "Exists" }, disabled],
                },
            },
        });
        assert_eq!(serde_json::to_value(binding.spec).unwrap(), expected);
    }

    #[test]
    fn a_gateway_has_no_policy() {
        assert_eq!(build("weir", &gateway("orders", 1), &Image::of(&options())), None);
    }
}
