//! What the operator may do, of what it needs in each scope that it reconciles: a role that is older than the operator,
//! or that somebody has cut, is found here before a pipeline stumbles over it.

use super::finding::{Finding, Verdict};
use super::observe::Read;
use super::operator::{self, Installed};

/// Something that the operator needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
}

/// For what it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// By every operator.
    Always,
    /// Where pipelines may be exposed.
    Exposure,
    /// Where workloads may be restarted.
    Restarts,
}

/// What is asked of an operator in a scope, and what it may not do there.
pub(super) struct Scope {
    /// The namespace; all of them where absent.
    pub(super) namespace: Option<String>,
    /// Each thing that it needs, and whether it may.
    pub(super) rights: Vec<(Right, Read<bool>)>,
}

const READ: &[&str] = &["get", "list", "watch"];
const OWN: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// What the chart's role grants, by group and resource.
const NEEDED: &[(Need, &str, &str, &[&str])] = &[
    (Need::Always, "weir.dev", "streampipelines", READ),
    (Need::Always, "weir.dev", "streamslos", READ),
    (Need::Always, "weir.dev", "streampipelines/status", &["patch"]),
    (Need::Always, "weir.dev", "streamslos/status", &["patch"]),
    (Need::Always, "weir.dev", "streampipelines/finalizers", &["update"]),
    (Need::Always, "", "configmaps", OWN),
    (Need::Always, "", "services", OWN),
    (Need::Always, "apps", "deployments", OWN),
    (Need::Always, "apps", "statefulsets", OWN),
    (Need::Always, "policy", "poddisruptionbudgets", OWN),
    (Need::Exposure, "networking.k8s.io", "ingresses", OWN),
    (Need::Exposure, "networking.k8s.io", "networkpolicies", OWN),
    (
        Need::Exposure,
        "gateway.networking.k8s.io",
        "httproutes",
        &["get", "list", "create", "patch", "delete"],
    ),
    (Need::Always, "", "pods", &["get", "list", "watch", "patch"]),
    (Need::Always, "", "namespaces", &["get"]),
    (Need::Always, "apps", "daemonsets", &["list"]),
    (Need::Restarts, "apps", "daemonsets", &["patch"]),
    (Need::Restarts, "", "pods", &["create"]),
    (Need::Always, "events.k8s.io", "events", &["list", "create", "patch"]),
];

/// What an operator needs that makes these things, wherever it reconciles.
pub(super) fn needed(exposes: bool, restarts: bool) -> Vec<Right> {
    let is_needed = |need: Need| match need {
        Need::Always => true,
        Need::Exposure => exposes,
        Need::Restarts => restarts,
    };
    let rows = NEEDED.iter().filter(|(need, ..)| is_needed(*need));
    let rights = rows.flat_map(|(_, group, resource, verbs)| {
        verbs.iter().map(|verb| Right { verb, group, resource })
    });
    rights.collect()
}

/// What is to be said of the rights of an operator.
pub(super) fn judge(installed: &Installed) -> Vec<Finding> {
    let subject = format!("permissions of {}", installed.title());
    installed.scopes.iter().map(|scope| one(&subject, scope)).collect()
}

fn one(subject: &str, Scope { namespace, rights }: &Scope) -> Finding {
    let place = namespace.as_deref().unwrap_or("all namespaces");
    if let Some(reason) = rights.iter().find_map(|(_, read)| read.as_ref().err()) {
        let reason = format!("what it may do in {place} can't be asked: {reason}");
        return Finding::unknown(subject, &reason);
    }
    let lacking = rights.iter().filter(|(_, read)| read == &Ok(false));
    let lacking: Vec<String> = lacking.map(|(right, _)| words(*right)).collect();
    if lacking.is_empty() {
        return Finding::ok(subject, format!("in {place} are all that it needs"));
    }
    let message = format!("it may not {} in {place}", lacking.join(", nor "));
    let remedy =
        "upgrade the chart with rbac.create=true, or grant it to the operator's role yourself";
    Finding::wrong(Verdict::Problem, subject, message, remedy)
}

fn words(Right { verb, group, resource }: Right) -> String {
    if group.is_empty() {
        format!("{verb} {resource}")
    } else {
        format!("{verb} {resource}.{group}")
    }
}

/// Whether an operator was told to make or do something.
pub(super) fn has(installed: &k8s_openapi::api::apps::v1::Deployment, feature: &str) -> bool {
    operator::flag(installed, feature).is_none_or(|value| value != "false")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::check::operator::tests::installed;

    /// The plain manifests, which are made from the chart with all that it has.
    const MANIFESTS: &str = include_str!("../../../deploy/weir.yaml");

    fn scope(read: impl Fn(Right) -> Read<bool>) -> Scope {
        let rights = needed(true, true).into_iter().map(|right| (right, read(right))).collect();
        Scope { namespace: Some("shop".to_owned()), rights }
    }

    fn judged(scope: Scope) -> Finding {
        judge(&Installed { scopes: vec![scope], ..installed("weir-system", &[]) }).remove(0)
    }

    #[test]
    fn what_the_operator_may_not_do_is_named_with_the_place() {
        assert_eq!(judged(scope(|_| Ok(true))).verdict, Verdict::Ok);
        let found =
            judged(scope(|right| Ok(right.resource != "statefulsets" || right.verb == "get")));
        assert_eq!(found.verdict, Verdict::Problem);
        assert!(found.message.contains("nor delete statefulsets.apps in shop"), "{found:?}");
        let found = judged(scope(|_| Err("you may not".to_owned())));
        assert_eq!(found.verdict, Verdict::Unknown);
    }

    #[test]
    fn what_is_turned_off_is_not_asked_for() {
        let of = |exposes, restarts| needed(exposes, restarts).len();
        assert!(of(false, false) < of(true, false) && of(false, false) < of(false, true));
        let deployment = installed("weir-system", &["--exposure=false"]).deployment;
        assert!(!has(&deployment, "exposure") && has(&deployment, "restarts"));
    }

    #[test]
    fn what_is_asked_for_is_what_the_chart_grants() {
        let documents = MANIFESTS.split("\n---\n");
        let mut role = documents.filter(|text| {
            text.contains("kind: ClusterRole\n") && text.contains("component: reconciler")
        });
        let role: serde_json::Value = serde_yaml::from_str(role.next().unwrap()).unwrap();
        let texts = |rule: &serde_json::Value, key: &str| -> Vec<String> {
            serde_json::from_value(rule[key].clone()).unwrap()
        };
        let mut granted = BTreeSet::new();
        for rule in role["rules"].as_array().unwrap() {
            for group in texts(rule, "apiGroups") {
                for resource in texts(rule, "resources") {
                    let of = |verb| (verb, group.clone(), resource.clone());
                    granted.extend(texts(rule, "verbs").into_iter().map(of));
                }
            }
        }
        let own = |text: &str| text.to_owned();
        let asked: BTreeSet<_> = needed(true, true)
            .into_iter()
            .map(|Right { verb, group, resource }| (own(verb), own(group), own(resource)))
            .collect();
        assert_eq!(asked, granted);
    }
}
