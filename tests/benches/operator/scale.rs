//! Hundreds of pipelines and SLOs from nothing, and again when nothing is to be done.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_tests::{Namespace, eventually, with_namespace};

use crate::operator::Operator;
use crate::report::Report;
use crate::{Bench, fleet};

/// The bars.
const SECONDS: u64 = 60;
const MEBIBYTES: u64 = 100;

/// What the cluster's own controllers do with the new objects takes them a while.
const SETTLE: Duration = Duration::from_secs(300);

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    with_namespace("bench-scale", async |namespace| {
        fleet::apply(&namespace, bench.objects, 1).await?;
        let refused = rejected(bench).await?;
        let began = Instant::now();
        let mut operator = Operator::start(bench, &namespace, "scale-1")?;
        fleet::until_reconciled(&namespace, bench.objects).await?;
        operator.check()?;
        let seconds = began.elapsed().as_secs_f64();
        let what = format!("{n} pipelines and {n} SLOs from nothing", n = bench.objects);
        report.hold(
            began.elapsed() < Duration::from_secs(SECONDS),
            &format!("{what}: {seconds:.1} s; less than {SECONDS} s"),
        );
        let refused = rejected(bench).await? - refused;
        report.hold(
            refused == 0,
            &format!("{what}: {refused} requests refused for their number; none"),
        );
        settled(&namespace).await?;
        let peak = operator.peak_mebibytes()?;
        report.hold(
            peak < MEBIBYTES,
            &format!("{what}: {peak} MiB at most; less than {MEBIBYTES} MiB"),
        );
        operator.kill()?;
        again(bench, &namespace, report).await
    })
    .await
}

/// Starts another operator, which finds everything done: it writes nothing.
async fn again(bench: &Bench, namespace: &Namespace, report: &mut Report) -> Result<()> {
    let before = fleet::versions(namespace).await?;
    let operator = Operator::start(bench, namespace, "scale-2")?;
    operator.until_it_leads().await?;
    let wanted = u64::try_from(bench.objects)?;
    for kind in ["StreamPipeline", "StreamSLO"] {
        let name = format!("weir_operator_reconcile_duration_seconds_count{{kind=\"{kind}\"");
        eventually("all were looked at again", SETTLE, async || {
            let looked = operator.metric(&name).await?;
            ensure!(looked >= wanted, "{looked} of {wanted} {kind}");
            Ok(())
        })
        .await?;
    }
    let after = fleet::versions(namespace).await?;
    let written = after.iter().filter(|(name, version)| before.get(*name) != Some(*version));
    let written: Vec<_> = written.map(|(name, _)| name.as_str()).take(5).collect();
    report.hold(
        before.len() == after.len() && written.is_empty(),
        &format!(
            "a look at {} objects that are as they should be writes none ({written:?})",
            before.len()
        ),
    );
    Ok(())
}

/// Waits until nothing has changed for a while: the cluster's own controllers write statuses, too.
async fn settled(namespace: &Namespace) -> Result<()> {
    const QUIET: Duration = Duration::from_secs(10);
    let mut last = (Instant::now(), fleet::versions(namespace).await?);
    eventually("nothing changes", SETTLE, async || {
        let now = fleet::versions(namespace).await?;
        if now != last.1 {
            last = (Instant::now(), now);
        }
        ensure!(last.0.elapsed() > QUIET, "it still changes");
        Ok(())
    })
    .await
}

/// How many requests the API server has refused because there were too many.
async fn rejected(bench: &Bench) -> Result<u64> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = bench.cluster.client.request_text(request).await.context("no metrics")?;
    let refused = text.lines().filter(|line| {
        line.starts_with("apiserver_request_total{") && line.contains("code=\"429\"")
    });
    let refused = refused.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Ok(refused.sum::<f64>() as u64)
}
