//! What the chart makes of its values, and what it refuses.

use anyhow::{Result, ensure};
use serde::Deserialize as _;
use serde_json::{Value, json};
use weir_tests::{Cluster, Namespace, with_namespace};

pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/weir");

/// The objects that the chart makes with these values, or what it says against them.
pub(crate) async fn render(
    cluster: &Cluster,
    namespace: &str,
    values: &[&str],
) -> Result<Result<Vec<Value>, String>> {
    let set: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    Ok(match template(cluster, namespace, &set).await? {
        Ok(text) => Ok(objects(&text)?),
        Err(said) => Err(said),
    })
}

/// What Helm prints with these options, or says against them.
async fn template(
    cluster: &Cluster,
    namespace: &str,
    options: &[&str],
) -> Result<Result<String, String>> {
    let mut helm = tokio::process::Command::new(cluster.helm()?);
    helm.args(["template", "weir", CHART, "--namespace", namespace]);
    helm.args(["--set", "crds.install=false"]).args(options);
    let ended = helm.output().await?;
    if !ended.status.success() {
        return Ok(Err(String::from_utf8_lossy(&ended.stderr).into_owned()));
    }
    Ok(Ok(String::from_utf8(ended.stdout)?))
}

/// The objects of a text, in which no key stands twice: kubectl would take the last, and others refuse both.
pub(crate) fn objects(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        objects.push(serde_json::to_value(serde_yaml::Value::deserialize(document)?)?);
    }
    objects.retain(|object| !object.is_null());
    Ok(objects)
}

async fn rendered(namespace: &Namespace, values: &[&str]) -> Result<Vec<Value>> {
    let made = render(&namespace.cluster, "weir-system", values).await?;
    made.map_err(anyhow::Error::msg)
}

/// The verbs that the operator's roles grant on a resource.
fn verbs(objects: &[Value], resource: &str) -> Vec<String> {
    let is_role = |object: &&Value| {
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        kind.ends_with("Role") && !name.ends_with("-view") && !name.ends_with("-edit")
    };
    let rules = objects.iter().filter(is_role).flat_map(|role| role["rules"].as_array());
    let of = |list: &Value| {
        let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    let about =
        rules.flatten().filter(|rule| of(&rule["resources"]).contains(&resource.to_owned()));
    let mut verbs: Vec<String> = about.flat_map(|rule| of(&rule["verbs"])).collect();
    verbs.sort();
    verbs.dedup();
    verbs
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_is_turned_off_takes_its_permissions_along() -> Result<()> {
    with_namespace("chart", async |namespace| {
        let all = rendered(&namespace, &[]).await?;
        ensure!(verbs(&all, "pods") == ["create", "get", "list", "patch", "watch"]);
        ensure!(verbs(&all, "daemonsets") == ["list", "patch"]);
        let still = rendered(&namespace, &["restarts.enabled=false"]).await?;
        ensure!(verbs(&still, "pods") == ["get", "list", "patch", "watch"]);
        ensure!(verbs(&still, "daemonsets") == ["list"]);
        let hidden = rendered(&namespace, &["exposure.enabled=false"]).await?;
        for resource in ["ingresses", "networkpolicies", "httproutes"] {
            ensure!(verbs(&all, resource).contains(&"patch".to_owned()), "{resource}");
            ensure!(verbs(&hidden, resource).is_empty(), "{resource}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn values_that_would_break_the_release_are_refused_in_words() -> Result<()> {
    with_namespace("chart", async |namespace| {
        for (value, words) in [
            ("log=null", "missing property 'log'"),
            ("webhook=null", "missing property 'webhook'"),
            ("webhook.certManager=null", "missing property 'certManager'"),
            ("metrics.podMonitor=null", "missing property 'podMonitor'"),
            ("log.level=loud", "'loud' does not match pattern"),
            ("log.level=INFORM", "does not match pattern"),
            ("log.level=weir_operator", "off|error|warn|info|debug|trace"),
            (r"commonLabels.app\.kubernetes\.io/name=other", "app.kubernetes.io/name"),
            (r"podLabels.app\.kubernetes\.io/component=other", "app.kubernetes.io/component"),
            (r"dashboards.labels.app\.kubernetes\.io/name=other", "app.kubernetes.io/name"),
        ] {
            let made = render(&namespace.cluster, "weir-system", &[value]).await?;
            let Err(said) = made else { anyhow::bail!("{value} is taken") };
            ensure!(said.contains(words), "{value}: {said}");
        }
        rendered(&namespace, &["commonLabels.team=shop,podLabels.tier=web"]).await?;
        for level in ["INFO", "Off", r"info\,weir_operator=debug", r"WARN\,weir_operator=Debug"] {
            rendered(&namespace, &[&format!("log.level={level}")]).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_api_server_takes_every_object_with_the_values_that_few_set() -> Result<()> {
    with_namespace("chart", async |namespace| {
        let values = [
            "replicaCount=2",
            "networkPolicy.enabled=true",
            "networkPolicy.webhookFrom[0].ipBlock.cidr=10.0.0.0/28",
            "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=metrics",
            "nodeSelector.disk=fast",
            "tolerations[0].operator=Exists",
            "imagePullSecrets[0].name=mirror",
            "sidecar.imagePullSecrets[0].name=mirror",
            "sidecar.imagePullSecrets[1].name=other",
            "restarts.enabled=false,exposure.enabled=false",
        ];
        let made = render(&namespace.cluster, &namespace.name, &values).await?;
        let made = made.map_err(anyhow::Error::msg)?;
        let find = |kind: &str| {
            made.iter().find(|object| object["kind"] == kind).cloned().unwrap_or_default()
        };
        let pod = find("Deployment")["spec"]["template"]["spec"].clone();
        ensure!(pod["terminationGracePeriodSeconds"] == 150, "{pod}");
        let container = &pod["containers"][0];
        for flag in ["--restarts=false", "--exposure=false"] {
            let args = container["args"].as_array().cloned().unwrap_or_default();
            ensure!(args.contains(&json!(flag)), "{args:?}");
        }
        let secrets = json!({ "name": "WEIR_SIDECAR_PULL_SECRETS", "value": "mirror,other" });
        ensure!(container["env"].as_array().is_some_and(|env| env.contains(&secrets)));
        let test = find("Pod")["spec"].clone();
        ensure!(test["nodeSelector"] == pod["nodeSelector"], "{test}");
        ensure!(test["tolerations"] == pod["tolerations"], "{test}");
        make_accounts(&namespace, &made).await?;
        for object in made.iter().filter(|object| !object["metadata"]["namespace"].is_null()) {
            let text = serde_json::to_string(object)?;
            let taken = namespace.kubectl.apply(&text, &["--dry-run=server"]).await?;
            taken.into_success(&["apply"])?;
        }
        Ok(())
    })
    .await
}

/// Makes the accounts for good, because a dry run of a pod looks for the pod's.
async fn make_accounts(namespace: &Namespace, made: &[Value]) -> Result<()> {
    for account in made.iter().filter(|object| object["kind"] == "ServiceAccount") {
        let text = serde_json::to_string(account)?;
        namespace.kubectl.apply(&text, &[]).await?.into_success(&["apply"])?;
    }
    Ok(())
}

/// Words that YAML takes for something else where they are not quoted, or that would end a line.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn odd_values_arrive_as_they_are() -> Result<()> {
    with_namespace("chart", async |namespace| {
        let annotations = json!({
            "a.test/a": "yes", "a.test/b": "1e3", "a.test/c": "x: y # z", "a.test/d": "one\ntwo",
            "a.test/e": "{{ fail \"me\" }}", "a.test/f": "\"quoted\"", "a.test/g": "",
        });
        let labels = json!({ "on": "off", "a.test/version": "1.10", "a.test/null": "null" });
        let selector = json!({ "zone": "012", "disk": "true" });
        let given = json!([{ "name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "a=b,c=\"d: e\"" }]);
        let tracing = json!({ "endpoint": "http://c.test:4318", "ratio": "0.5", "env": given });
        let long = "a".repeat(53);
        let options = [
            format!("podAnnotations={annotations}"),
            format!("serviceAccount.annotations={annotations}"),
            format!("commonLabels={labels}"),
            format!("podLabels={labels}"),
            format!("nodeSelector={selector}"),
            format!("tracing={tracing}"),
            format!("fullnameOverride={}", json!(long)),
            format!("log.level={}", json!("info,weir_operator=debug")),
            format!("image.repository={}", json!("registry.test:5000/team/weir-operator")),
            format!("webhook.excludedNamespaces={}", json!(["123", "null"])),
        ];
        let options: Vec<&str> =
            options.iter().flat_map(|option| ["--set-json", option.as_str()]).collect();
        let text = template(&namespace.cluster, &namespace.name, &options).await?;
        let text = text.map_err(anyhow::Error::msg)?;
        let made = objects(&text)?;
        make_accounts(&namespace, &made).await?;
        namespace.kubectl.apply(&text, &["--dry-run=server"]).await?.into_success(&["apply"])?;
        let find = |kind: &str| {
            made.iter().find(|object| object["kind"] == kind).cloned().unwrap_or_default()
        };
        let holds = |found: &Value, wanted: &Value| {
            wanted
                .as_object()
                .is_some_and(|all| all.iter().all(|(key, value)| found[key] == *value))
        };
        let (deployment, account) = (find("Deployment"), find("ServiceAccount"));
        let pod = &deployment["spec"]["template"];
        ensure!(deployment["metadata"]["name"] == long, "{}", deployment["metadata"]);
        ensure!(holds(&pod["metadata"]["annotations"], &annotations), "{}", pod["metadata"]);
        ensure!(holds(&account["metadata"]["annotations"], &annotations), "{account}");
        for labelled in [&pod["metadata"], &deployment["metadata"], &account["metadata"]] {
            ensure!(holds(&labelled["labels"], &labels), "{labelled}");
            ensure!(labelled["labels"]["app.kubernetes.io/name"] == "weir", "{labelled}");
        }
        ensure!(holds(&pod["spec"]["nodeSelector"], &selector), "{}", pod["spec"]);
        let container = &pod["spec"]["containers"][0];
        let variables = container["env"].as_array().cloned().unwrap_or_default();
        let level = json!({ "name": "WEIR_LOG", "value": "info,weir_operator=debug" });
        ensure!(variables.contains(&level) && variables.contains(&given[0]), "{variables:?}");
        let arguments = container["args"].as_array().cloned().unwrap_or_default();
        ensure!(arguments.contains(&json!("--excluded-namespace=123")), "{arguments:?}");
        Ok(())
    })
    .await
}
