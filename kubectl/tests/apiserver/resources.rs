//! `status` and `slo`.

use anyhow::{Result, ensure};
use clap::Parser as _;
use kubectl_weir::output::Screen;
use kubectl_weir::run;
use serde_json::json;
use weir_tests::{eventually, with_namespace};

use crate::fixture::{
    LIMIT, Paper, command, condition, gateway, judged, line, pipeline, report, slo,
};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn pipelines_are_shown_with_what_is_wrong_with_them() -> Result<()> {
    with_namespace("status", async |shop| {
        let well = json!({
            "observedGeneration": 1,
            "conditions": [condition("Ready", "True", "it serves")],
            "replicas": { "desired": 1, "ready": 1, "outdated": 0, "summary": "1/1" },
        });
        pipeline(&shop, "orders", gateway(), well).await?;
        let ill = json!({ "conditions": [condition("Ready", "False", "do this")] });
        pipeline(&shop, "carts", gateway(), ill).await?;
        slo(&shop, "fast", judged("90.0")).await?;
        let said = command(&shop, &["status"]).await?;
        let rows: Vec<_> = said.out.lines().map(|line| line.split_whitespace()).collect();
        let row = |name: &str| {
            rows.iter()
                .cloned()
                .map(Iterator::collect::<Vec<_>>)
                .find(|row| row.first() == Some(&name))
        };
        ensure!(
            row("orders") == Some(vec!["orders", "True", "gateway", "1/1", "0", "-", "-"]),
            "{}",
            said.out
        );
        ensure!(
            said.out.contains("pipeline carts: Ready is False (Why)\n  do this\n"),
            "{}",
            said.out
        );
        ensure!(row("fast").is_some(), "{}", said.out);

        let one = command(&shop, &["status", "orders"]).await?;
        ensure!(one.out.starts_with("orders, gateway, generation 1\n"), "{}", one.out);
        let error = command(&shop, &["status", "order"]).await.err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        ensure!(
            error.contains("no StreamPipeline order ") && error.contains("there is carts, orders"),
            "{error}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn an_empty_namespace_is_said_to_be_empty() -> Result<()> {
    with_namespace("empty", async |shop| {
        weir_tests::definitions::install(&shop.cluster).await?;
        let said = command(&shop, &["status"]).await?;
        ensure!(said.out.is_empty() && said.notes.contains("nothing of Weir"), "{}", said.notes);
        let said = command(&shop, &["slo"]).await?;
        ensure!(said.out.is_empty() && said.notes.contains("no StreamSLO"), "{}", said.notes);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn budgets_are_drawn_anew_while_they_are_watched() -> Result<()> {
    with_namespace("slo", async |shop| {
        pipeline(&shop, "orders", gateway(), json!({})).await?;
        slo(&shop, "fast", judged("90.0")).await?;
        let said = command(&shop, &["slo", "fast"]).await?;
        ensure!(said.out.contains("99.90% of 99%") && said.out.contains("90.0%"), "{}", said.out);

        let (out, notes) = (Paper::default(), Paper::default());
        let mut screen = Screen::plain(out.clone(), notes.clone());
        let args = line(&shop, &["slo", "--watch"])?;
        let watching = tokio::spawn(async move { run(args, &mut screen).await });
        let shows = async |budget: &str| {
            eventually("it is drawn", LIMIT, async || {
                ensure!(out.text().contains(budget), "{} {}", out.text(), notes.text());
                Ok(())
            })
            .await
        };
        shows("90.0%").await?;
        report(&shop, "fast", judged("-5.0")).await?;
        shows("-5.0%").await?;
        watching.abort();
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn names_are_completed_from_the_cluster() -> Result<()> {
    with_namespace("complete", async |shop| {
        pipeline(&shop, "orders", gateway(), json!({})).await?;
        pipeline(&shop, "others", gateway(), json!({})).await?;
        let kubeconfig = shop.cluster.kubeconfig()?.to_string_lossy().into_owned();
        let words = [
            "kubectl-weir",
            "__complete",
            "--kubeconfig",
            &kubeconfig,
            "-n",
            &shop.name,
            "tail",
            "or",
        ];
        // Whoever presses Tab does not wait for an API server that is busy.
        eventually("the name is completed", LIMIT, async || {
            let args = kubectl_weir::args::Args::try_parse_from(words)?;
            let out = Paper::default();
            run(args, &mut Screen::plain(out.clone(), Paper::default())).await?;
            ensure!(out.text() == "orders\n:4\n", "{}", out.text());
            Ok(())
        })
        .await
    })
    .await
}
