//! Uses the custom resources as a person with kubectl does.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use weir_tests::{Namespace, definitions, eventually, with_namespace};

use crate::pipeline::{HTTP, PIPELINE};
use crate::slo::SLO;

/// kubectl learns of a new resource from the server's OpenAPI, which follows within seconds.
const DISCOVERY: Duration = Duration::from_secs(60);

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_folder_of_definitions_can_be_applied_again_and_again() -> Result<()> {
    with_namespace("apply", async |namespace| {
        namespace.kubectl.apply_path(&definitions::folder()).await?;
        let again = namespace.kubectl.apply_path(&definitions::folder()).await?;
        assert_eq!(
            again,
            "customresourcedefinition.apiextensions.k8s.io/streampipelines.weir.dev unchanged\n\
             customresourcedefinition.apiextensions.k8s.io/streamslos.weir.dev unchanged\n"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn every_field_explains_itself() -> Result<()> {
    with_namespace("explain", async |namespace| {
        definitions::install(&namespace.cluster).await?;
        let http = explain(&namespace, "streampipeline.spec.sources.http").await?;
        ensure!(http.contains("The application posts its events"), "{http}");
        ensure!(http.contains("maxEventBytes\t<string>"), "{http}");
        let all = explain(&namespace, "spipe --recursive").await?;
        ensure!(all.contains("matchExpressions"), "{all}");
        let slo = explain(&namespace, "sslo.spec.objectives.latency.threshold").await?;
        ensure!(slo.contains("An event that took at most this long is good."), "{slo}");
        Ok(())
    })
    .await
}

#[test]
fn every_field_has_a_description() {
    let mut silent = Vec::new();
    for (file, definition) in weir_crds::definitions() {
        let definition = serde_json::to_value(definition).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        collect_silent(&schema["properties"], file, &mut silent);
    }
    assert!(silent.is_empty(), "no description: {silent:?}");
}

fn collect_silent(properties: &Value, path: &str, silent: &mut Vec<String>) {
    for (name, property) in properties.as_object().into_iter().flatten() {
        let path = format!("{path} {name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            silent.push(path.clone());
        }
        collect_silent(&property["properties"], &path, silent);
        collect_silent(&property["items"]["properties"], &path, silent);
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_misspelt_field_is_refused_by_its_name() -> Result<()> {
    with_namespace("strict", async |namespace| {
        definitions::install(&namespace.cluster).await?;
        let misspelt = PIPELINE.replace("generator: {rate", "generator: {rat: 1, rate")
            + "  endpoint: {sse: {}}\n";
        let refused = apply(&namespace, &misspelt).await.unwrap_err();
        let fields =
            r#"unknown field "spec.endpoint", unknown field "spec.sources[0].generator.rat""#;
        ensure!(refused.contains(&format!("strict decoding error: {fields}")), "{refused}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn all_faults_of_a_manifest_are_told_together() -> Result<()> {
    with_namespace("faults", async |namespace| {
        definitions::install(&namespace.cluster).await?;
        let faulty = HTTP.replace("http: {}", "http: {maxEventBytes: 5Ti}")
            + "  endpoints: {sse: {heartbeat: 10m}}\n";
        let refused = apply(&namespace, &faulty).await.unwrap_err();
        for said in [
            r#"spec.endpoints.sse.heartbeat: Invalid value: "10m": must be from 1s to 5m"#,
            r#"spec.sources[0].http.maxEventBytes: Invalid value: "5Ti": must be a number of bytes such as 4096, 64Ki, 256Mi or 1Gi"#,
        ] {
            ensure!(refused.contains(said), "{said} is not in {refused}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_columns_answer_the_first_question() -> Result<()> {
    with_namespace("columns", async |namespace| {
        definitions::install(&namespace.cluster).await?;
        apply(&namespace, PIPELINE).await.map_err(anyhow::Error::msg)?;
        apply(&namespace, SLO).await.map_err(anyhow::Error::msg)?;
        set_status(&namespace, "StreamPipeline", &pipeline_status()).await?;
        set_status(&namespace, "StreamSLO", &slo_status()).await?;
        let shown = table(&namespace, "spipe").await?;
        assert_eq!(shown[0], "NAME READY SOURCES ENDPOINTS REPLICAS AGE URL REASON");
        ensure!(shown[1].starts_with("orders True True False 2/3 "), "{}", shown[1]);
        ensure!(shown[1].ends_with(" http://orders:7070/orders/sse Serving"), "{}", shown[1]);
        let shown = table(&namespace, "sslo").await?;
        assert_eq!(
            shown[0],
            "NAME PIPELINE MET WORST SLI BUDGET BURN(1H) DATA AGE WINDOW READY REASON"
        );
        ensure!(
            shown[1].starts_with("orders orders 0/1 errors 99.41% -18% 21x OK "),
            "{}",
            shown[1]
        );
        ensure!(shown[1].ends_with(" 28d True BudgetSpent"), "{}", shown[1]);
        let both = namespace.kubectl.succeed(&["get", "weir", "--output=name"]).await?;
        assert_eq!(both, "streampipeline.weir.dev/orders\nstreamslo.weir.dev/orders\n");
        Ok(())
    })
    .await
}

fn pipeline_status() -> Value {
    json!({
        "conditions": [
            condition("Ready", "True", "Serving"),
            condition("SourcesHealthy", "True", "Healthy"),
            condition("EndpointsReady", "False", "NoAddress"),
        ],
        "replicas": {"desired": 3, "ready": 2, "outdated": 0, "current": 3, "summary": "2/3"},
        "endpoints": {"sse": "http://orders:7070/orders/sse"},
    })
}

fn slo_status() -> Value {
    json!({
        "conditions": [
            condition("Ready", "True", "Evaluated"),
            condition("Met", "False", "BudgetSpent"),
        ],
        "summary": {
            "met": "0/1", "worst": "errors", "sli": "99.41%", "budget": "-18%", "burn": "21x",
            "data": "OK",
        },
    })
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": "as the test says",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    })
}

async fn set_status(namespace: &Namespace, kind: &str, status: &Value) -> Result<()> {
    let api = namespace.custom(kind, &format!("{}s", kind.to_lowercase()));
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status("orders", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// `kubectl get -o wide`, each line with single spaces.
async fn table(namespace: &Namespace, resource: &str) -> Result<Vec<String>> {
    let text = namespace.kubectl.succeed(&["get", resource, "--output=wide"]).await?;
    Ok(text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}

async fn explain(namespace: &Namespace, what: &str) -> Result<String> {
    let arguments: Vec<_> = ["explain"].into_iter().chain(what.split(' ')).collect();
    let text = eventually("kubectl explains it", DISCOVERY, async || {
        namespace.kubectl.succeed(&arguments).await
    })
    .await?;
    // kubectl breaks lines at the width of a terminal.
    Ok(text.lines().map(str::trim).collect::<Vec<_>>().join(" "))
}

/// Applies a manifest once kubectl knows its kind; the error is what kubectl says.
async fn apply(namespace: &Namespace, manifest: &str) -> Result<(), String> {
    let applied = eventually("kubectl knows the kind", DISCOVERY, async || {
        let output = namespace.kubectl.apply(manifest, &[]).await?;
        let unknown = output.stderr.contains("no matches for kind")
            || output.stderr.contains("couldn't find resource");
        ensure!(!unknown, "{}", output.stderr);
        Ok(output)
    })
    .await;
    let output = applied.map_err(|error| error.to_string())?;
    if output.success { Ok(()) } else { Err(output.stderr) }
}
