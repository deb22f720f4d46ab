//! The operator: is it there, once for each namespace, and does it run?

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Container, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use weir_operator::sidecar::Image;

use super::finding::{Finding, Verdict};
use super::namespaces::Watched;
use super::observe::Read;
use super::policies::Policies;
use super::rights::Scope;

/// What selects the Deployments of operators: the labels that the chart gives them.
pub const SELECTOR: &str = "app.kubernetes.io/part-of=weir";
/// Where it is installed as the README has it.
pub const USUAL_NAMESPACE: &str = "weir-system";

/// An installed operator, with what belongs to it.
pub(super) struct Installed {
    pub(super) deployment: Deployment,
    /// The lease as it was read first and last; `None` where there is none.
    pub(super) lease: Read<Option<(Lease, Lease)>>,
    /// Each namespace that it watches by name.
    pub(super) namespaces: Vec<Watched>,
    /// What it may do in each scope that it reconciles.
    pub(super) scopes: Vec<Scope>,
    /// The policies by which it injects, or did; `None` where the API server knows no such thing.
    pub(super) policies: Read<Option<Policies>>,
    /// The webhook's configuration; `None` where it isn't there, or the operator has none.
    pub(super) configuration: Read<Option<MutatingWebhookConfiguration>>,
    pub(super) service: Read<Option<Service>>,
    pub(super) slices: Read<Vec<EndpointSlice>>,
}

impl Installed {
    /// Namespace and name, for a person.
    pub(super) fn title(&self) -> String {
        let namespace = self.deployment.namespace().unwrap_or_default();
        format!("{namespace}/{}", self.deployment.name_any())
    }
}

fn container(deployment: &Deployment) -> Option<&Container> {
    let template = deployment.spec.template.spec.as_ref()?;
    template.containers.iter().find(|container| container.name == "operator")
}

/// The value of a flag of the operator.
pub(crate) fn flag(deployment: &Deployment, name: &str) -> Option<String> {
    flags(deployment, name).into_iter().next()
}

/// The values of a flag that may be given several times.
fn flags(deployment: &Deployment, name: &str) -> Vec<String> {
    let args = container(deployment).and_then(|container| container.args.as_ref());
    let prefix = format!("--{name}=");
    let values = args.into_iter().flatten().filter_map(|arg| arg.strip_prefix(&prefix));
    values.map(str::to_owned).collect()
}

/// The namespaces that it never injects, besides its own and that of Kubernetes.
pub(crate) fn excluded(deployment: &Deployment) -> Vec<String> {
    flags(deployment, "excluded-namespace")
}

/// Whether it injects pods at all.
pub(crate) fn injects(deployment: &Deployment) -> bool {
    ["webhook-config", "injection-policies"].iter().any(|name| flag(deployment, name).is_some())
}

/// The namespaces that it watches; all where there is none.
pub(crate) fn watched(deployment: &Deployment) -> Vec<String> {
    let lists = flags(deployment, "watch-namespace");
    lists.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect()
}

/// The sidecar's image, as the operator has it.
#[must_use]
pub fn sidecar_image(deployment: &Deployment) -> Option<Image> {
    let variable = |name: &str| {
        let variables = container(deployment)?.env.as_ref()?;
        variables.iter().find(|variable| variable.name == name)?.value.clone()
    };
    let secrets = variable("WEIR_SIDECAR_PULL_SECRETS").unwrap_or_default();
    let secrets = secrets.split(',').filter(|name| !name.is_empty());
    Some(Image {
        reference: variable("WEIR_SIDECAR_IMAGE")?,
        pull_policy: variable("WEIR_SIDECAR_PULL_POLICY"),
        pull_secrets: secrets.map(str::to_owned).collect(),
    })
}

/// What is to be said of the operators.
pub(super) fn judge(operators: &Read<Vec<Installed>>) -> Vec<Finding> {
    const SUBJECT: &str = "operator";
    let operators = match operators {
        Ok(operators) => operators,
        Err(reason) => return vec![Finding::unknown(SUBJECT, reason)],
    };
    if operators.is_empty() {
        let remedy = "install it with the chart, or say where it is with --operator-namespace";
        return vec![Finding::wrong(Verdict::Problem, SUBJECT, "there is none", remedy)];
    }
    let each = operators.iter().map(|installed| running(&installed.deployment, &installed.title()));
    let mut findings: Vec<_> = each.collect();
    findings.extend(operators.iter().filter_map(|installed| skew(&installed.deployment)));
    findings.extend(overlap(operators));
    findings
}

fn running(deployment: &Deployment, title: &str) -> Finding {
    let subject = format!("operator {title}");
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let available = status.available_replicas.unwrap_or_default();
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    if wanted == 0 {
        let message = "is scaled to nothing: nothing is reconciled, and no pod gets a sidecar";
        let remedy =
            format!("kubectl --namespace {namespace} scale deployment/{name} --replicas=2");
        return Finding::wrong(Verdict::Problem, subject, message, remedy);
    }
    let message = format!("{available} of {wanted} replicas are available");
    let remedy = || {
        format!(
            "see `kubectl --namespace {namespace} describe deployment/{name}` and the logs of its pods"
        )
    };
    match available {
        0 => Finding::wrong(Verdict::Problem, subject, message, remedy()),
        some if some < wanted => Finding::wrong(Verdict::Warning, subject, message, remedy()),
        _ if status.replicas > status.updated_replicas => {
            let message = format!(
                "{message}, of which some are as before: its newest pods don't take over, or not yet"
            );
            Finding::wrong(Verdict::Warning, subject, message, remedy())
        }
        _ => Finding::ok(subject, message),
    }
}

/// This program knows the objects of its own version.
fn skew(deployment: &Deployment) -> Option<Finding> {
    const OWN: &str = env!("CARGO_PKG_VERSION");
    let version = deployment.labels().get("app.kubernetes.io/version")?;
    (version != OWN).then(|| {
        let message = format!("the operator is {version}, and this program {OWN}");
        let remedy = format!("take the kubectl-weir of {version}: what is said below may be wrong");
        Finding::wrong(Verdict::Warning, "versions", message, remedy)
    })
}

/// Two operators that reconcile the same resources undo each other's work.
fn overlap(operators: &[Installed]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, one) in operators.iter().enumerate() {
        for other in operators.iter().skip(index + 1) {
            let shared = shared(&watched(&one.deployment), &watched(&other.deployment));
            let Some(shared) = shared else { continue };
            let message = format!(
                "{} and {} both reconcile {shared}, and undo each other's work",
                one.title(),
                other.title()
            );
            let remedy = "uninstall one, or give each its own namespaces with watchNamespaces";
            findings.push(Finding::wrong(Verdict::Problem, "operators", message, remedy));
        }
    }
    findings
}

/// What two lists of watched namespaces share, for a person.
fn shared(one: &[String], other: &[String]) -> Option<String> {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => Some("all namespaces".to_owned()),
        (true, false) => Some(other.join(", ")),
        (false, true) => Some(one.join(", ")),
        (false, false) => {
            let both: Vec<_> = one.iter().filter(|name| other.contains(name)).cloned().collect();
            (!both.is_empty()).then(|| both.join(", "))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::check) fn installed(namespace: &str, args: &[&str]) -> Installed {
        let deployment = serde_json::from_value(json!({
            "metadata": {
                "name": "weir", "namespace": namespace,
                "labels": { "app.kubernetes.io/version": env!("CARGO_PKG_VERSION") },
            },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": { "app": "weir" } },
                "template": { "spec": { "containers": [{
                    "name": "operator", "args": args,
                    "env": [{ "name": "WEIR_SIDECAR_IMAGE", "value": "r.test/sidecar:1" }],
                }] } },
            },
            "status": { "availableReplicas": 2 },
        }))
        .unwrap();
        Installed {
            deployment,
            lease: Ok(None),
            namespaces: Vec::new(),
            scopes: Vec::new(),
            policies: Ok(None),
            configuration: Ok(None),
            service: Ok(None),
            slices: Ok(Vec::new()),
        }
    }

    fn verdicts(operators: Vec<Installed>) -> Vec<Verdict> {
        judge(&Ok(operators)).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn an_operator_must_be_there_and_have_a_replica() {
        assert_eq!(verdicts(vec![]), [Verdict::Problem]);
        assert_eq!(verdicts(vec![installed("weir-system", &[])]), [Verdict::Ok]);
        for (available, verdict) in [(0, Verdict::Problem), (1, Verdict::Warning)] {
            let mut found = installed("weir-system", &[]);
            found.deployment.status.as_mut().unwrap().available_replicas = Some(available);
            assert_eq!(verdicts(vec![found]), [verdict], "{available}");
        }
        let mut halfway = installed("weir-system", &[]);
        let status = halfway.deployment.status.as_mut().unwrap();
        (status.replicas, status.updated_replicas) = (Some(3), Some(1));
        assert_eq!(verdicts(vec![halfway]), [Verdict::Warning]);
        let mut none = installed("weir-system", &[]);
        none.deployment.spec.replicas = Some(0);
        assert_eq!(verdicts(vec![none]), [Verdict::Problem]);
    }

    #[test]
    fn another_version_is_named() {
        let mut old = installed("weir-system", &[]);
        let labels = old.deployment.metadata.labels.as_mut().unwrap();
        labels.insert("app.kubernetes.io/version".to_owned(), "0.0.1".to_owned());
        assert_eq!(verdicts(vec![old]), [Verdict::Ok, Verdict::Warning]);
    }

    #[test]
    fn two_operators_of_the_same_namespace_are_a_problem() {
        let watching = |namespace: &str, list: &str| {
            installed(namespace, &[&format!("--watch-namespace={list}")])
        };
        let apart = vec![watching("a", "shop,till"), watching("b", "other")];
        assert_eq!(verdicts(apart), [Verdict::Ok, Verdict::Ok]);
        for (one, other, named) in [
            (watching("a", "shop,till"), watching("b", "till"), "reconcile till,"),
            (watching("a", "shop"), installed("b", &[]), "reconcile shop,"),
            (installed("a", &[]), installed("b", &[]), "reconcile all namespaces,"),
        ] {
            let findings = judge(&Ok(vec![one, other]));
            assert!(findings[2].message.contains(named), "{findings:?}");
            assert_eq!(findings[2].verdict, Verdict::Problem);
        }
    }

    #[test]
    fn the_sidecars_image_is_that_of_the_operators_environment() {
        let mut deployment = installed("a", &[]).deployment;
        let image = Image {
            reference: "r.test/sidecar:1".to_owned(),
            pull_policy: None,
            pull_secrets: Vec::new(),
        };
        assert_eq!(sidecar_image(&deployment), Some(image.clone()));
        let variable = json!({ "name": "WEIR_SIDECAR_PULL_SECRETS", "value": "a,b" });
        let spec = deployment.spec.template.spec.as_mut().unwrap();
        spec.containers[0].env.as_mut().unwrap().push(serde_json::from_value(variable).unwrap());
        let pull_secrets = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(sidecar_image(&deployment), Some(Image { pull_secrets, ..image }));
    }
}
