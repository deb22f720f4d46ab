//! What the chart makes of what it finds in a cluster, and what it tells who installs it. The cluster is made up, so that
//! no release of another test is in the way, and one can be older than that of the tests.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use weir_tests::Cluster;

use crate::chart::{CHART, objects, render};

/// What there is in the cluster.
#[derive(Clone, Copy)]
struct Found {
    /// The API server knows MutatingAdmissionPolicy.
    policies: bool,
    /// The configuration of the release's webhook is there.
    webhook: bool,
}

const NEW: Found = Found { policies: true, webhook: false };
const OLD: Found = Found { policies: false, webhook: false };
const WITH_WEBHOOK: Found = Found { policies: true, webhook: true };

/// The kinds that the cluster knows: where they are, what they are called, and whether they are in a namespace.
const KINDS: [(&str, &str, &str, bool); 14] = [
    ("v1", "serviceaccounts", "ServiceAccount", true),
    ("v1", "services", "Service", true),
    ("v1", "pods", "Pod", true),
    ("apps/v1", "deployments", "Deployment", true),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
    ("cert-manager.io/v1", "certificates", "Certificate", true),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", true),
    ("rbac.authorization.k8s.io/v1", "roles", "Role", true),
    ("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", true),
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", false),
    ("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", false),
    (ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false),
    (ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false),
    (ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", false),
];
const ADMISSION: &str = "admissionregistration.k8s.io/v1";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const WEBHOOK: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/weir-system-weir-injection";

/// What an API server answers to this.
fn answer(found: Found, path: &str) -> Option<Value> {
    let groups: BTreeSet<&str> =
        KINDS.iter().map(|kind| kind.0).filter(|at| at.contains('/')).collect();
    let group = |at: &&str| {
        let version = json!({ "groupVersion": at, "version": "v1" });
        let name = at.trim_end_matches("/v1");
        json!({ "name": name, "versions": [version], "preferredVersion": version })
    };
    let place = path.trim_start_matches("/apis/").trim_start_matches("/api/");
    match path {
        "/version" => Some(json!({ "major": "1", "minor": "36", "gitVersion": "v1.36.0" })),
        "/api" => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        "/apis" => {
            let groups: Vec<Value> = groups.iter().map(group).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ROLES => Some(json!({
            "kind": "ClusterRoleList", "apiVersion": "rbac.authorization.k8s.io/v1",
            "metadata": {}, "items": [{ "metadata": { "name": "view" }, "rules": [] }],
        })),
        WEBHOOK => found.webhook.then(|| {
            let metadata = json!({ "name": "weir-system-weir-injection" });
            json!({ "kind": "MutatingWebhookConfiguration", "apiVersion": ADMISSION, "metadata": metadata })
        }),
        _ if place == "v1" || groups.contains(place) => Some(kinds(found, place)),
        _ => None,
    }
}

fn kinds(found: Found, place: &str) -> Value {
    let known = KINDS.iter().filter(|(at, _, kind, _)| {
        *at == place && (found.policies || *kind != "MutatingAdmissionPolicy")
    });
    let resources: Vec<Value> = known
        .map(|(_, name, kind, namespaced)| {
            let verbs = ["get", "list", "create", "patch"];
            json!({ "name": name, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": verbs })
        })
        .collect();
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": place, "resources": resources })
}

async fn serve(found: Found, mut socket: TcpStream) -> Result<()> {
    let mut head = [0; 8192];
    let read = socket.read(&mut head).await?;
    let head = String::from_utf8_lossy(head.get(..read).unwrap_or_default()).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let none = || json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404 });
    let (line, body) = match answer(found, path) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", none()),
    };
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await?;
    Ok(())
}

/// Runs Helm on a cluster that is like this: what it prints, or says against it.
async fn helm(found: Found, arguments: &[&str], values: &[&str]) -> Result<Result<String, String>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(found, socket));
        }
    });
    let _serving = AbortOnDropHandle::new(task);
    let cache = tempfile::tempdir()?;
    let cluster = Cluster::connect().await?;
    let mut helm = tokio::process::Command::new(cluster.helm()?);
    helm.args(arguments).args(["weir", CHART, "--namespace", "weir-system"]);
    helm.args(["--kube-apiserver", &address, "--dry-run=server", "--disable-openapi-validation"]);
    helm.args(["--set", "crds.install=false"]);
    helm.args(values.iter().flat_map(|value| ["--set", value]));
    helm.env("KUBECONFIG", Path::new("/dev/null")).env("KUBECACHEDIR", cache.path());
    let ended = helm.output().await?;
    if !ended.status.success() {
        return Ok(Err(String::from_utf8_lossy(&ended.stderr).into_owned()));
    }
    Ok(Ok(String::from_utf8(ended.stdout)?))
}

async fn rendered(found: Found, arguments: &[&str], values: &[&str]) -> Result<Vec<Value>> {
    let made = helm(found, &[&["template"], arguments].concat(), values).await?;
    objects(&made.map_err(anyhow::Error::msg)?)
}

/// What is told at the end of an installation.
async fn notes(found: Found, values: &[&str]) -> Result<Result<String, String>> {
    let printed = helm(found, &["install"], values).await?;
    Ok(printed.map(|text| text.split("\nNOTES:\n").nth(1).unwrap_or_default().to_owned()))
}

fn find(made: &[Value], kind: &str, name: &str) -> Value {
    let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    made.iter().find(is).cloned().unwrap_or_default()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn helm_test_asks_what_its_account_may_ask() -> Result<()> {
    let own = ["rbac.create=false"];
    let named = ["rbac.create=false", "rbac.testAccount=tester"];
    let none_made = ["rbac.create=false", "rbac.testAccount=tester", "serviceAccount.create=false"];
    let ignored = ["rbac.testAccount=tester"];
    for (values, account, made_by_chart) in [
        (&[][..], json!("weir-test"), vec!["weir", "weir-test"]),
        (&ignored, json!("weir-test"), vec!["weir", "weir-test"]),
        (&own, Value::Null, vec!["weir"]),
        (&named, json!("tester"), vec!["weir"]),
        (&none_made, json!("tester"), vec![]),
    ] {
        let made = rendered(NEW, &[], values).await?;
        let pod = find(&made, "Pod", "weir-test")["spec"].clone();
        ensure!(pod["serviceAccountName"] == account, "{values:?}: {pod}");
        ensure!(pod["automountServiceAccountToken"] == !account.is_null(), "{values:?}: {pod}");
        let arguments = texts(&pod["containers"][0]["args"]);
        let asks = ["--deployment=weir", "--lease=weir-leader", "--namespace=weir-system"];
        let all = asks.iter().filter(|ask| arguments.contains(ask)).count();
        ensure!(all == if account.is_null() { 0 } else { 3 }, "{values:?}: {arguments:?}");
        let names = |kind: &str| -> Vec<String> {
            let of_kind = made.iter().filter(|object| object["kind"] == kind);
            let names = of_kind.filter_map(|object| object["metadata"]["name"].as_str());
            names.map(str::to_owned).collect()
        };
        let accounts: BTreeSet<String> = names("ServiceAccount").into_iter().collect();
        ensure!(accounts.iter().eq(&made_by_chart), "{values:?}: {accounts:?}");
        let roles = names("Role");
        let is_own = account == "weir-test";
        ensure!(roles.contains(&"weir-test".to_owned()) == is_own, "{values:?}: {roles:?}");
    }
    let refused = helm(NEW, &["template"], &["rbac.testAccount=A_b"]).await?;
    ensure!(refused.as_ref().is_err_and(|said| said.contains("testAccount")), "{refused:?}");
    Ok(())
}

const CERT_MANAGER: [&str; 2] =
    ["webhook.certManager.enabled=true", "webhook.certManager.issuerRef.name=ca"];

/// What of the webhook is there, by the objects of the chart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Webhook {
    retires: bool,
    injected_by_cert_manager: bool,
    certificate: bool,
    /// By the Service, and the NetworkPolicy.
    reached: bool,
    /// By the replicas of this release.
    answered: bool,
    /// Where it asks, if not everywhere.
    namespaces: Vec<String>,
}

/// `None` where there is no configuration.
fn webhook(made: &[Value]) -> Result<Option<Webhook>> {
    let configuration = find(made, "MutatingWebhookConfiguration", "weir-system-weir-injection");
    let certificate = !find(made, "Certificate", "weir-webhook").is_null();
    let ports = find(made, "Service", "weir")["spec"]["ports"].clone();
    let reached =
        ports.as_array().is_some_and(|ports| ports.iter().any(|port| port["port"] == 443));
    let admitted = find(made, "NetworkPolicy", "weir")["spec"]["ingress"].to_string();
    ensure!(admitted.contains("9443") == reached, "{admitted}");
    let container = &find(made, "Deployment", "weir")["spec"]["template"]["spec"]["containers"][0];
    let arguments = texts(&container["args"]);
    let answered = arguments.iter().any(|argument| argument.starts_with("--webhook-config="));
    let by_policies = arguments.iter().any(|each| each.starts_with("--injection-policies="));
    ensure!(!(answered && by_policies), "{arguments:?}");
    ensure!(container["ports"].to_string().contains("9443") == answered, "{container}");
    ensure!(container["volumeMounts"].is_array() == certificate, "{container}");
    if configuration.is_null() {
        ensure!(!certificate && !reached && !answered, "nobody asks");
        return Ok(None);
    }
    let noted = &configuration["metadata"]["annotations"];
    let asks = &configuration["webhooks"][0]["namespaceSelector"]["matchExpressions"][0];
    let namespaces = if asks["operator"] == "In" { texts(&asks["values"]) } else { Vec::new() };
    Ok(Some(Webhook {
        retires: noted["weir.dev/retires"] == "true",
        injected_by_cert_manager: !noted["cert-manager.io/inject-ca-from"].is_null(),
        certificate,
        reached,
        answered,
        namespaces: namespaces.into_iter().map(str::to_owned).collect(),
    }))
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_webhook_of_before_stays_while_policies_take_its_place() -> Result<()> {
    let upgrade = ["--is-upgrade"];
    let policy = ["injection.mode=policy"];
    let off = ["injection.mode=policy", "webhook.enabled=false"];
    let signed = [&policy[..], &CERT_MANAGER].concat();
    let watched = [&policy[..], &["watchNamespaces={shop,till}"]].concat();
    let both = [&watched[..], &CERT_MANAGER].concat();
    let leaving = || Webhook { retires: true, reached: true, ..Webhook::default() };
    let in_some = || {
        let namespaces = vec!["shop".to_owned(), "till".to_owned()];
        Some(Webhook { namespaces, ..leaving() })
    };
    let by_cert_manager = Webhook {
        injected_by_cert_manager: true,
        certificate: true,
        reached: true,
        answered: true,
        ..Webhook::default()
    };
    for (found, arguments, values, expected) in [
        (WITH_WEBHOOK, &upgrade[..], &policy[..], Some(leaving())),
        (WITH_WEBHOOK, &upgrade, &signed, Some(leaving())),
        (WITH_WEBHOOK, &upgrade, &watched, in_some()),
        (WITH_WEBHOOK, &upgrade, &both, in_some()),
        (WITH_WEBHOOK, &upgrade, &CERT_MANAGER, Some(by_cert_manager)),
        (WITH_WEBHOOK, &upgrade, &off, None),
        (WITH_WEBHOOK, &[], &policy, None),
        (NEW, &upgrade, &policy, None),
        (NEW, &upgrade, &both, None),
        (NEW, &[], &signed, None),
    ] {
        let values = [values, &["networkPolicy.enabled=true"]].concat();
        let seen = webhook(&rendered(found, arguments, &values).await?)?;
        ensure!(seen == expected, "{arguments:?} {values:?}: {seen:?}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn policies_that_the_api_server_does_not_know_are_refused_or_told_of() -> Result<()> {
    let policy = "injection.mode=policy";
    let remedy = "set injection.mode=webhook";
    for verb in ["install", "template"] {
        let refused = helm(OLD, &[verb], &[policy]).await?;
        ensure!(refused.as_ref().is_err_and(|said| said.contains(remedy)), "{verb}: {refused:?}");
    }
    let upgraded = helm(OLD, &["template", "--is-upgrade"], &[policy]).await?;
    ensure!(upgraded.as_ref().is_err_and(|said| said.contains(remedy)), "{upgraded:?}");
    for values in [&[][..], &[policy, "webhook.enabled=false"]] {
        let taken = helm(OLD, &["template"], values).await?;
        ensure!(taken.is_ok(), "{values:?}: {taken:?}");
    }
    // Where there is no cluster to look at, as for GitOps tools, what Helm knows of it is a guess.
    let blind = render(&Cluster::connect().await?, "weir-system", &[policy]).await?;
    ensure!(blind.is_ok(), "{blind:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_notes_say_what_is_left_to_do() -> Result<()> {
    let unknown = "serves no MutatingAdmissionPolicy";
    let single = "One replica of the operator runs";
    let roles = "Its roles are yours to make";
    let test = "helm test finds out whether the operator is ready, not";
    let own = ["rbac.create=false"];
    let tested = ["rbac.create=false", "rbac.testAccount=tester"];
    let policies = ["rbac.create=false", "injection.mode=policy"];
    let off = ["webhook.enabled=false", "replicaCount=1"];
    for (found, values, told) in [
        (NEW, &[][..], &[single][..]),
        (NEW, &["replicaCount=2"], &[]),
        (NEW, &["injection.mode=policy"], &[]),
        (NEW, &off, &[]),
        (NEW, &own, &[single, roles, test]),
        (NEW, &tested, &[single, roles]),
        (NEW, &policies, &[roles, test]),
        (OLD, &policies, &[roles, test, unknown]),
    ] {
        let notes = notes(found, values).await?.map_err(anyhow::Error::msg)?;
        ensure!(notes.contains("rollout status deployment/weir"), "{values:?}: {notes}");
        for words in [unknown, single, roles, test] {
            ensure!(notes.contains(words) == told.contains(&words), "{values:?}: {notes}");
        }
    }
    Ok(())
}
