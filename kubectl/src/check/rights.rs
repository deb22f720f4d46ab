//! What the operator may do, of what it needs in each scope that it reconciles, in its own namespace and in the cluster:
//! a role that is older than the operator, or that somebody has cut, is found here before a pipeline stumbles over it.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

use super::finding::{Finding, Verdict};
use super::observe::Read;
use super::operator::{self, Installed, flag};

/// Something that the operator needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    /// The one object, where it needs no other.
    pub(super) name: Option<String>,
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

/// Where an operator needs something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In all namespaces.
    All,
    /// In one that it watches.
    Watched(String),
    /// Where it is installed.
    Own(String),
    /// Of what no namespace holds.
    Cluster,
}

impl Place {
    /// The namespace, if it is one.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Self::Watched(namespace) | Self::Own(namespace) => Some(namespace),
            Self::All | Self::Cluster => None,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::All => "in all namespaces".to_owned(),
            Self::Watched(namespace) => format!("in {namespace}"),
            Self::Own(namespace) => format!("in its own namespace {namespace}"),
            Self::Cluster => "for injection".to_owned(),
        }
    }
}

/// What is asked of an operator in a place, and what it may not do there.
pub(super) struct Scope {
    pub(super) place: Place,
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

/// What an operator needs, place by place.
pub(super) fn needed(deployment: &Deployment) -> Vec<(Place, Vec<Right>)> {
    let reconciling = reconciling(has(deployment, "exposure"), has(deployment, "restarts"));
    let watched = operator::watched(deployment);
    let mut places: Vec<_> = if watched.is_empty() {
        vec![(Place::All, reconciling)]
    } else {
        let each = watched.into_iter().map(Place::Watched);
        each.map(|place| (place, reconciling.clone())).collect()
    };
    places.push((Place::Own(deployment.namespace().unwrap_or_default()), owning(deployment)));
    places.push((Place::Cluster, injecting(deployment)));
    places.retain(|(_, rights)| !rights.is_empty());
    places
}

/// What an operator needs that makes these things, wherever it reconciles.
fn reconciling(exposes: bool, restarts: bool) -> Vec<Right> {
    let is_needed = |need: Need| match need {
        Need::Always => true,
        Need::Exposure => exposes,
        Need::Restarts => restarts,
    };
    let rows = NEEDED.iter().filter(|(need, ..)| is_needed(*need));
    rows.flat_map(|(_, group, resource, verbs)| rights(group, resource, verbs, None)).collect()
}

/// What it needs where it is installed: its lease, and the certificate of its webhook.
fn owning(deployment: &Deployment) -> Vec<Right> {
    let elected = flag(deployment, "leader-elect").as_deref() != Some("false");
    let lease = flag(deployment, "lease").filter(|_| elected);
    let mut needed = Vec::new();
    if let Some(name) = &lease {
        let group = "coordination.k8s.io";
        needed.extend(rights(group, "leases", &["create"], None));
        needed.extend(rights(group, "leases", &["get", "update"], Some(name)));
    }
    if let Some(name) =
        flag(deployment, "webhook-secret").filter(|_| makes_certificates(deployment))
    {
        const VERBS: &[&str] = &["get", "list", "watch", "create", "patch"];
        needed.extend(rights("", "secrets", VERBS, Some(&name)));
    }
    needed
}

/// What it needs to have pods injected, of what no namespace holds.
fn injecting(deployment: &Deployment) -> Vec<Right> {
    const GROUP: &str = "admissionregistration.k8s.io";
    const POLICIES: [&str; 2] = ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"];
    let policies = |verbs: &'static [&'static str]| {
        POLICIES.into_iter().flat_map(move |of| rights(GROUP, of, verbs, None))
    };
    let mut needed = Vec::new();
    if let Some(name) = flag(deployment, "webhook-config") {
        let verbs: &[_] = if makes_certificates(deployment) { &["get", "patch"] } else { &["get"] };
        needed.extend(rights(GROUP, "mutatingwebhookconfigurations", verbs, Some(&name)));
        needed.extend(policies(&["get", "list", "delete"]));
    }
    if let Some(name) = flag(deployment, "injection-policies") {
        // The webhook's configuration of before is called as the policies are.
        needed.extend(rights(
            GROUP,
            "mutatingwebhookconfigurations",
            &["get", "delete"],
            Some(&name),
        ));
        needed.extend(policies(&["get", "list", "create", "patch", "delete"]));
        let owner = flag(deployment, "injection-policies-owner");
        let owner = owner.iter().flat_map(|name| {
            rights("rbac.authorization.k8s.io", "clusterroles", &["get"], Some(name))
        });
        needed.extend(owner);
    }
    needed
}

/// Whether it makes the certificate of its webhook, and writes whom the API server is to trust.
fn makes_certificates(deployment: &Deployment) -> bool {
    flag(deployment, "webhook-config").is_some()
        && flag(deployment, "webhook-certificate-dir").is_none()
}

fn rights(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    name: Option<&str>,
) -> Vec<Right> {
    let name = name.map(str::to_owned);
    verbs.iter().map(|verb| Right { verb, group, resource, name: name.clone() }).collect()
}

/// What is to be said of the rights of an operator.
pub(super) fn judge(installed: &Installed) -> Vec<Finding> {
    let subject = format!("permissions of {}", installed.title());
    installed.scopes.iter().map(|scope| one(&subject, scope)).collect()
}

fn one(subject: &str, Scope { place, rights }: &Scope) -> Finding {
    let place = place.words();
    if let Some(reason) = rights.iter().find_map(|(_, read)| read.as_ref().err()) {
        let reason = format!("what it may do {place} can't be asked: {reason}");
        return Finding::unknown(subject, &reason);
    }
    let lacking = rights.iter().filter(|(_, read)| read == &Ok(false));
    let lacking: Vec<String> = lacking.map(|(right, _)| words(right)).collect();
    if lacking.is_empty() {
        return Finding::ok(subject, format!("{place} are all that it needs"));
    }
    if lacking.len() == rights.len() {
        let message = format!("it may do nothing of what it needs {place}");
        let remedy = "see whether its role is bound to it: upgrade the chart with rbac.create=true, which \
                      does that, and with Helm 4 also --force-conflicts, where somebody has edited one of the two";
        return Finding::wrong(Verdict::Problem, subject, message, remedy);
    }
    let message = format!("it may not {} {place}", lacking.join(", nor "));
    let remedy = "upgrade the chart with rbac.create=true, and with Helm 4 also --force-conflicts, where somebody has edited \
         the role; or grant it to the operator's role yourself";
    Finding::wrong(Verdict::Problem, subject, message, remedy)
}

fn words(Right { verb, group, resource, name }: &Right) -> String {
    let name = name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    if group.is_empty() {
        format!("{verb} {resource}{name}")
    } else {
        format!("{verb} {resource}.{group}{name}")
    }
}

/// Whether an operator was told to make or do something.
fn has(installed: &Deployment, feature: &str) -> bool {
    flag(installed, feature).is_none_or(|value| value != "false")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::check::operator::tests::installed;

    /// The plain manifests, which are made from the chart with all that it has.
    const MANIFESTS: &str = include_str!("../../../deploy/weir.yaml");

    fn scope(read: impl Fn(&Right) -> Read<bool>) -> Scope {
        let all = reconciling(true, true).into_iter();
        let rights = all.map(|right| (right.clone(), read(&right))).collect();
        Scope { place: Place::Watched("shop".to_owned()), rights }
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
        let lease = rights("coordination.k8s.io", "leases", &["get", "update"], Some("leader"));
        let own = |may: &[&str]| {
            let read = |right: Right| (right.clone(), Ok(may.contains(&right.verb)));
            let rights = lease.clone().into_iter().map(read).collect();
            judged(Scope { place: Place::Own("weir-system".to_owned()), rights }).message
        };
        let place = "in its own namespace weir-system";
        let said = format!("it may not update leases.coordination.k8s.io leader {place}");
        assert_eq!(own(&["get"]), said);
        assert_eq!(own(&[]), format!("it may do nothing of what it needs {place}"));
    }

    #[test]
    fn what_is_turned_off_is_not_asked_for() {
        let of = |exposes, restarts| reconciling(exposes, restarts).len();
        assert!(of(false, false) < of(true, false) && of(false, false) < of(false, true));
        let places = |args: &[&str]| {
            let needed = needed(&installed("weir-system", args).deployment);
            needed.into_iter().map(|(place, _)| place).collect::<Vec<_>>()
        };
        let own = || Place::Own("weir-system".to_owned());
        assert_eq!(places(&["--exposure=false"]), [Place::All]);
        assert_eq!(places(&["--lease=l", "--leader-elect=false"]), [Place::All]);
        let watched = ["--watch-namespace=shop,till", "--lease=l"];
        let each = ["shop", "till"].map(|name| Place::Watched(name.to_owned()));
        assert_eq!(places(&watched), [&each[..], &[own()]].concat());
        let own_certificates = ["--webhook-config=w", "--webhook-secret=s"];
        assert_eq!(places(&own_certificates), [Place::All, own(), Place::Cluster]);
        let theirs = [&own_certificates[..], &["--webhook-certificate-dir=d"]].concat();
        assert_eq!(places(&theirs), [Place::All, Place::Cluster]);
        assert_eq!(places(&["--injection-policies=w"]), [Place::All, Place::Cluster]);
    }

    /// Verb, group, resource and name of what a role grants.
    fn granted(role: &Value) -> Vec<(String, String, String, Option<String>)> {
        let mut granted = Vec::new();
        for rule in role["rules"].as_array().unwrap() {
            let texts = |key: &str| -> Vec<String> {
                serde_json::from_value(rule[key].clone()).unwrap_or_default()
            };
            let names = texts("resourceNames");
            let names: Vec<_> =
                if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
            for (group, resource) in
                texts("apiGroups").iter().zip(std::iter::repeat(texts("resources"))).flat_map(
                    |(group, all)| all.into_iter().map(move |resource| (group.clone(), resource)),
                )
            {
                let of = |verb: &String| {
                    let named = |name: &Option<String>| {
                        (verb.clone(), group.clone(), resource.clone(), name.clone())
                    };
                    names.iter().map(named).collect::<Vec<_>>()
                };
                granted.extend(texts("verbs").iter().flat_map(of));
            }
        }
        granted
    }

    #[test]
    fn what_is_asked_for_is_what_the_chart_grants() {
        let documents = MANIFESTS.split("\n---\n");
        let documents: Vec<Value> =
            documents.map(|text| serde_yaml::from_str(text).unwrap()).collect();
        let is_own = |object: &&Value| {
            let labels = &object["metadata"]["labels"];
            let kind = object["kind"].as_str().unwrap_or_default();
            kind.ends_with("Role") && !labels.to_string().contains("aggregate-to")
        };
        let granted: BTreeSet<_> = documents.iter().filter(is_own).flat_map(granted).collect();
        let operator = documents.iter().find(|object| object["kind"] == "Deployment");
        let operator: Deployment = serde_json::from_value(operator.unwrap().clone()).unwrap();
        let asked = needed(&operator).into_iter().flat_map(|(_, rights)| rights);
        let asked: BTreeSet<_> = asked
            .map(|Right { verb, group, resource, name }| {
                (verb.to_owned(), group.to_owned(), resource.to_owned(), name)
            })
            .collect();
        assert_eq!(asked, granted);
    }
}
