//! Runs commands as a user does, and makes what they look at.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kubectl_weir::args::Args;
use kubectl_weir::output::Screen;
use kubectl_weir::{Ended, run};
use serde_json::{Value, json};
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};
use weir_tests::{Namespace, definitions};

/// Generous on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A place to print to that can be read meanwhile.
#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a command ended, what it printed, and what it remarked.
pub(crate) struct Said {
    pub(crate) ended: Ended,
    pub(crate) out: String,
    pub(crate) notes: String,
}

/// A command line in a namespace of the cluster under test.
pub(crate) fn line(namespace: &Namespace, words: &[&str]) -> Result<Args> {
    let kubeconfig = namespace.cluster.kubeconfig()?.to_string_lossy().into_owned();
    let cluster = ["kubectl-weir", "--kubeconfig", &kubeconfig, "--namespace", &namespace.name];
    Ok(Args::try_parse_from([&cluster, words].concat())?)
}

/// Runs a command in a namespace.
pub(crate) async fn command(namespace: &Namespace, words: &[&str]) -> Result<Said> {
    said(line(namespace, words)?).await
}

/// Runs a whole command line.
pub(crate) async fn ran(words: &[&str]) -> Result<Said> {
    said(Args::try_parse_from(words)?).await
}

async fn said(args: Args) -> Result<Said> {
    let (out, notes) = (Paper::default(), Paper::default());
    let mut screen = Screen::plain(out.clone(), notes.clone());
    let ended = run(args, &mut screen);
    let ended = tokio::time::timeout(LIMIT, ended).await.context("no end")??;
    Ok(Said { ended, out: out.text(), notes: notes.text() })
}

/// A pipeline with a status such as the operator writes.
pub(crate) async fn pipeline(
    namespace: &Namespace,
    name: &str,
    placement: Value,
    status: Value,
) -> Result<()> {
    definitions::install(&namespace.cluster).await?;
    let pipeline = serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "StreamPipeline",
        "metadata": { "name": name },
        "spec": { "placement": placement, "sources": [{ "name": "app", "http": {} }],
                  "endpoints": { "sse": {}, "publish": { "anonymous": true } } },
    }))?;
    let api: Api<StreamPipeline> = namespace.api();
    api.create(&PostParams::default(), &pipeline).await?;
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// An SLO of the pipeline `orders` with a status such as the operator writes.
pub(crate) async fn slo(namespace: &Namespace, name: &str, status: Value) -> Result<()> {
    let slo = serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "StreamSLO",
        "metadata": { "name": name },
        "spec": {
            "pipelineRef": { "name": "orders" }, "timeWindow": { "duration": "28d" },
            "objectives": [{ "name": "speed", "target": "99", "latency": { "threshold": "50ms" } }],
        },
    }))?;
    let api: Api<StreamSLO> = namespace.api();
    api.create(&PostParams::default(), &slo).await?;
    report(namespace, name, status).await
}

/// Writes the status of an SLO.
pub(crate) async fn report(namespace: &Namespace, name: &str, status: Value) -> Result<()> {
    let api: Api<StreamSLO> = namespace.api();
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// What an operator writes of an SLO whose budget is spent to this percentage.
pub(crate) fn judged(remaining: &str) -> Value {
    json!({
        "conditions": [condition("Ready", "True", "all is evaluated")],
        "summary": { "met": "1/1", "worst": "speed", "data": "OK" },
        "objectives": [{
            "name": "speed", "met": "True", "sli": "99.90", "good": 999, "total": 1000, "coverage": "100.0",
            "errorBudget": { "total": 10, "consumed": 1, "remainingPercent": remaining },
            "burnRates": [{ "window": "1h", "rate": "0.5" }],
        }],
    })
}

/// A condition.
pub(crate) fn condition(type_: &str, status: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": "Why", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    })
}

/// A gateway.
pub(crate) fn gateway() -> Value {
    json!({ "gateway": { "replicas": 1 } })
}
