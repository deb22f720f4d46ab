//! Traces: what a collector gets of an operator that is a process of its own, and what it can do to it.

mod collector;
mod process;

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use weir_tests::{Namespace, eventually};

use self::collector::{Collector, Taken};
use self::process::{PROGRAM, Process, Variables};
use crate::fixture::{LIMIT, change, condition, create_pipeline, gateway, sidecar};
use crate::installation::{configure, free, injected_pod, with_system};

/// Longer than any test: what is sent is sent because the operator ends.
const NEVER: &str = "600000";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_reconcile_is_a_trace_down_to_its_requests_and_its_lines_name_it() -> Result<()> {
    with_system("traces", async |watched, system| {
        let collector = Collector::secure().await?;
        let mut variables = collector.variables();
        variables.extend([
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20open-sesame".to_owned()),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=streams".to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", NEVER.to_owned()),
        ]);
        let operator = Process::start(&watched, &system, &[], &variables).await?;
        create_pipeline(&watched, "orders", gateway(1)).await?;
        condition(&watched, "orders", "Ready", "False", "NoReplicaReady").await?;
        let lines = operator.stop().await?;
        let spans = collector.taken();
        let reconcile = spans
            .iter()
            .find(|found| found.is("reconcile") && found.attribute("object") == "orders")
            .with_context(|| format!("no reconcile in {:?}", names(&spans)))?;
        is_whole(reconcile, &watched)?;
        phases_are_within(reconcile, &spans)?;
        ensure!(reconcile.resource("service.name") == "weir-operator");
        ensure!(reconcile.resource("service.instance.id") == "traced");
        ensure!(reconcile.resource("team") == "streams");
        ensure!(collector.authorization() == "Bearer open-sesame");
        let roots: BTreeSet<_> =
            spans.iter().filter(|found| found.is_root()).map(Taken::name).collect();
        ensure!(roots == BTreeSet::from(["reconcile"]), "{roots:?} are traces by themselves");
        lines_name(reconcile, &lines)
    })
    .await
}

fn names(spans: &[Taken]) -> Vec<&str> {
    spans.iter().map(Taken::name).collect()
}

fn is_whole(reconcile: &Taken, watched: &Namespace) -> Result<()> {
    ensure!(reconcile.is_root());
    ensure!(reconcile.attribute("kind") == "StreamPipeline");
    ensure!(reconcile.attribute("namespace") == watched.name.as_str());
    ensure!(reconcile.attribute("generation") == 1);
    ensure!(reconcile.attribute("outcome") == "ok", "{reconcile:?}");
    Ok(())
}

/// The phases in their order, each with the requests that it makes.
fn phases_are_within(reconcile: &Taken, spans: &[Taken]) -> Result<()> {
    let mut phases: Vec<_> = spans.iter().filter(|found| found.is_within(reconcile)).collect();
    phases.sort_by_key(|phase| phase.span.start_time_unix_nano);
    let found: Vec<_> = phases.iter().map(|phase| phase.name()).collect();
    ensure!(found == ["observe", "apply", "repair", "report"], "{found:?}");
    let request = |phase: &Taken, method: &str, path: &str| -> Result<Value> {
        let mut within = spans.iter().filter(|found| found.is_within(phase));
        let found = within.find(|found| {
            let url = found.attribute("http.url");
            found.attribute("http.method") == method
                && url.as_str().is_some_and(|url| url.contains(path))
        });
        let found = found.with_context(|| format!("no {method} of {path} in {}", phase.name()))?;
        ensure!(found.span.kind() == SpanKind::Client, "{found:?}");
        ensure!(found.span.trace_id == reconcile.span.trace_id, "{found:?}");
        Ok(found.attribute("http.status_code"))
    };
    ensure!(request(phases[1], "PATCH", "/deployments/orders")? == "201");
    ensure!(request(phases[3], "PATCH", "/streampipelines/orders/status")? == "200");
    Ok(())
}

/// What is logged in a reconcile names its trace and its object.
fn lines_name(reconcile: &Taken, lines: &[Value]) -> Result<()> {
    let trace = reconcile.trace();
    let mut of_trace = lines.iter().filter(|line| line["trace_id"] == trace);
    let line = of_trace.find(|line| line["message"] == "reconciled").context("no such line")?;
    ensure!(line["span"]["object"] == "orders", "{line}");
    let outside = lines.iter().find(|line| line["message"] == "started").context("not started")?;
    ensure!(outside.get("trace_id").is_none(), "{outside}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn an_admission_is_a_span() -> Result<()> {
    with_system("traces-admit", async |watched, system| {
        let collector = Collector::start().await?;
        let mut variables = collector.variables();
        variables.push(("OTEL_BSP_SCHEDULE_DELAY", NEVER.to_owned()));
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let arguments = [
            format!("--webhook-config={}", watched.name),
            "--webhook-service=webhook".to_owned(),
            format!("--webhook-address={webhook}"),
        ];
        let operator = Process::start(&watched, &system, &arguments, &variables).await?;
        create_pipeline(&watched, "orders", sidecar()).await?;
        injected_pod(&watched).await?;
        operator.stop().await?;
        let spans = collector.taken();
        let injected =
            |found: &&Taken| found.is("admit") && found.attribute("verdict") == "injected";
        let admit = spans.iter().find(injected).context("no admission")?;
        ensure!(admit.span.kind() == SpanKind::Server, "{admit:?}");
        ensure!(admit.attribute("namespace") == watched.name.as_str(), "{admit:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_collector_that_refuses_is_told_of_once_until_it_takes_spans_again() -> Result<()> {
    with_system("traces-refused", async |watched, system| {
        let collector = Collector::start().await?;
        collector.refuse(true);
        let mut variables = collector.variables();
        variables.push(("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()));
        let operator = Process::start(&watched, &system, &[], &variables).await?;
        create_pipeline(&watched, "orders", gateway(1)).await?;
        condition(&watched, "orders", "Ready", "False", "NoReplicaReady").await?;
        let refused = async || {
            touch(&watched).await?;
            ensure!(collector.asked() >= 5, "asked {} times", collector.asked());
            Ok(())
        };
        eventually("several batches are refused", LIMIT, refused).await?;
        ensure!(collector.taken().is_empty());
        collector.refuse(false);
        let taken = async || {
            touch(&watched).await?;
            ensure!(!collector.taken().is_empty(), "nothing taken");
            Ok(())
        };
        eventually("spans are taken", LIMIT, taken).await?;
        let lines = operator.stop().await?;
        let told: Vec<_> = lines
            .iter()
            .filter(|line| line.get("endpoint").is_some() && line["message"] != "sending traces")
            .map(|line| (line["level"].as_str(), line["error"].as_str()))
            .collect();
        let expected = [(Some("WARN"), Some("answered with status 503")), (Some("INFO"), None)];
        ensure!(told == expected, "{told:?}");
        Ok(())
    })
    .await
}

/// Leads to another reconcile.
async fn touch(watched: &Namespace) -> Result<()> {
    let number = fastrand::u32(..).to_string();
    change(watched, "orders", json!({ "metadata": { "annotations": { "touched": number } } })).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_collector_that_never_answers_holds_up_neither_the_work_nor_the_end() -> Result<()> {
    with_system("traces-silent", async |watched, system| {
        // Connections come about, as the system takes them.
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", silent.local_addr()?);
        let variables: Variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", NEVER.to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "8".to_owned()),
        ];
        let operator = Process::start(&watched, &system, &[], &variables).await?;
        create_pipeline(&watched, "orders", gateway(1)).await?;
        condition(&watched, "orders", "Ready", "False", "NoReplicaReady").await?;
        let lines = operator.stop().await?;
        let told = lines.iter().any(|line| line["message"] == "the last spans were not delivered");
        ensure!(told, "{lines:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn nothing_is_sent_where_traces_are_switched_off() -> Result<()> {
    with_system("traces-off", async |watched, system| {
        let collector = Collector::start().await?;
        let mut variables = collector.variables();
        variables.push(("OTEL_TRACES_EXPORTER", "none".to_owned()));
        let operator = Process::start(&watched, &system, &[], &variables).await?;
        create_pipeline(&watched, "orders", gateway(1)).await?;
        condition(&watched, "orders", "Ready", "False", "NoReplicaReady").await?;
        let lines = operator.stop().await?;
        ensure!(collector.asked() == 0);
        ensure!(lines.iter().all(|line| line.get("trace_id").is_none()), "{lines:?}");
        Ok(())
    })
    .await
}

#[test]
fn what_the_environment_can_not_have_ends_the_operator_with_one_line() {
    let mut operator = Command::new(PROGRAM);
    operator.env_clear().args(["run", "--sidecar-image=i"]);
    operator.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    operator.env("OTEL_TRACES_SAMPLER", "xray");
    let output = operator.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    let expected =
        "weir-operator: traces can't be sent: OTEL_TRACES_SAMPLER is to be always_on, always_off,";
    assert!(line.starts_with(expected), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(!output.status.success());
}
