//! The policies of an operator that injects by them: has every pipeline one that is in force? And has one that
//! doesn't left any behind?

use std::collections::BTreeSet;

use kube::ResourceExt;
use weir_crds::v1alpha1::StreamPipeline;
use weir_crds::validate;
use weir_operator::injection::{is_protected, policy};

use super::finding::{Finding, Verdict};
use super::observe::Read;
use super::operator::{Installed, excluded, flag, watched};

/// The names of the policies of a release, and of the bindings that put them in force.
#[derive(Debug, Clone, Default)]
pub(super) struct Policies {
    pub(super) policies: BTreeSet<String>,
    pub(super) bindings: BTreeSet<String>,
}

/// What is to be said; `None` where there is no policy, and none is wanted.
pub(super) fn judge(
    installed: &Installed,
    pipelines: &Read<Vec<StreamPipeline>>,
) -> Option<Finding> {
    let subject = format!("policies of {}", installed.title());
    let Some(release) = flag(&installed.deployment, "injection-policies") else {
        return left(installed, subject);
    };
    let found = match &installed.policies {
        Err(reason) => return Some(Finding::unknown(subject, reason)),
        Ok(None) => {
            let message = "the API server knows no MutatingAdmissionPolicy (admissionregistration.k8s.io/v1); new \
                           pods start without a sidecar";
            let remedy =
                "upgrade Kubernetes to 1.36, or install the chart with injection.mode=webhook";
            return Some(Finding::wrong(Verdict::Problem, subject, message, remedy));
        }
        Ok(Some(found)) => found,
    };
    let pipelines = match pipelines {
        Ok(pipelines) => pipelines,
        Err(reason) => return Some(Finding::unknown(subject, reason)),
    };
    let wanted = pipelines.iter().filter(|pipeline| is_injected(installed, pipeline));
    let name = |pipeline: &StreamPipeline| {
        policy::name(&release, &pipeline.namespace().unwrap_or_default(), &pipeline.name_any())
    };
    let in_force = |name: &String| found.policies.contains(name) && found.bindings.contains(name);
    let missing = wanted.filter(|pipeline| !in_force(&name(pipeline)));
    let missing: Vec<String> = missing
        .map(|found| format!("{}/{}", found.namespace().unwrap_or_default(), found.name_any()))
        .collect();
    if missing.is_empty() {
        let message = format!("{} are in force", found.bindings.len());
        return Some(Finding::ok(subject, message));
    }
    let message =
        format!("there is none for {}; its new pods start without a sidecar", missing.join(", "));
    let remedy = "the leader writes them: see the condition Ready of these pipelines, and its logs";
    Some(Finding::wrong(Verdict::Problem, subject, message, remedy))
}

/// Policies that injection.mode=policy has left in force.
fn left(installed: &Installed, subject: String) -> Option<Finding> {
    // Who may not look, or an API server that knows none, has none to tell of.
    let found = installed.policies.as_ref().ok()?.as_ref()?;
    let first = found.bindings.iter().next()?;
    let message = format!(
        "{} are in force, such as {first}, though the operator does not inject by them",
        found.bindings.len()
    );
    let remedy = "the leader removes them: see its logs, and whether its role may list and delete them; or \
                  `kubectl delete mutatingadmissionpolicybindings,mutatingadmissionpolicies -l weir.dev/release`";
    Some(Finding::wrong(Verdict::Warning, subject, message, remedy))
}

pub(super) fn is_injected(installed: &Installed, pipeline: &StreamPipeline) -> bool {
    let deployment = &installed.deployment;
    let namespace = pipeline.namespace().unwrap_or_default();
    let (watched, own) = (watched(deployment), deployment.namespace().unwrap_or_default());
    pipeline.spec.placement.sidecar.is_some()
        && pipeline.metadata.deletion_timestamp.is_none()
        && (watched.is_empty() || watched.contains(&namespace))
        && !is_protected(&namespace, &own)
        && !excluded(deployment).contains(&namespace)
        && validate::pipeline(&pipeline.name_any(), &pipeline.spec).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::operator::tests::installed;

    fn pipelines() -> Read<Vec<StreamPipeline>> {
        let pipeline = |namespace: &str, placement: serde_json::Value| {
            serde_json::from_value(json!({
                "apiVersion": "weir.dev/v1alpha1", "kind": "StreamPipeline",
                "metadata": { "name": "orders", "namespace": namespace },
                "spec": { "placement": placement, "sources": [{ "name": "app", "generator": { "rate": 1 } }] },
            }))
            .unwrap()
        };
        let sidecar = json!({ "sidecar": { "selector": { "matchLabels": { "app": "web" } } } });
        Ok(vec![
            pipeline("shop", sidecar.clone()),
            pipeline("gate", json!({ "gateway": {} })),
            pipeline("kube-system", sidecar.clone()),
            pipeline("spared", sidecar),
        ])
    }

    fn policies(names: &[&str]) -> Option<Policies> {
        let names: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
        Some(Policies { policies: names.clone(), bindings: names })
    }

    fn found(args: &[&str], policies: Option<Policies>) -> Option<Finding> {
        let operator = Installed { policies: Ok(policies), ..installed("weir-system", args) };
        judge(&operator, &pipelines())
    }

    #[test]
    fn a_pipeline_without_a_policy_in_force_is_named() {
        let args = ["--injection-policies=weir", "--excluded-namespace=spared"];
        let fine = found(&args, policies(&["weir.shop.orders"])).unwrap();
        assert_eq!((fine.verdict, fine.message.as_str()), (Verdict::Ok, "1 are in force"));
        let missing = found(&args, policies(&["weir.other.orders"])).unwrap();
        assert_eq!(missing.verdict, Verdict::Problem);
        assert!(missing.message.starts_with("there is none for shop/orders;"), "{missing:?}");
        let unbound =
            Policies { bindings: BTreeSet::new(), ..policies(&["weir.shop.orders"]).unwrap() };
        assert_eq!(found(&args, Some(unbound)).unwrap().verdict, Verdict::Problem);
        let unknown = found(&args, None).unwrap();
        assert!(unknown.message.contains("knows no MutatingAdmissionPolicy"), "{unknown:?}");
    }

    #[test]
    fn policies_that_another_mode_left_are_a_warning() {
        let args = ["--webhook-config=weir"];
        let left = found(&args, policies(&["weir.shop.orders"])).unwrap();
        assert_eq!(left.verdict, Verdict::Warning);
        assert_eq!(found(&args, policies(&[])), None);
        assert_eq!(found(&args, None), None);
    }
}
