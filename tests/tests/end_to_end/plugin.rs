//! `kubectl weir` on a cluster: a pipeline is published into and read through the API server, by port-forward
//! into its pods; and the installation is found to be sound.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use kubectl_weir::args::Args;
use kubectl_weir::output::Screen;
use kubectl_weir::{Ended, run};
use tokio::time::timeout;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::objects::{UP, apply, await_condition, ready_pods, restrict};

const PIPELINE: &str = include_str!("../../fixtures/end_to_end/pipeline.yaml");
const POD: &str = include_str!("../../fixtures/end_to_end/pod.yaml");

const PIPELINE_OBJECT: (&str, &str) = ("streampipeline", "shop");

/// A command that does not end by then hangs.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn story() -> Result<()> {
    with_namespace("plugin", async |shop| {
        restrict(&shop).await?;
        apply(&shop.kubectl, PIPELINE).await?;
        await_condition(
            &shop.kubectl,
            PIPELINE_OBJECT,
            ("Injected", "Unknown", "NoPodSelected"),
            UP,
        )
        .await?;
        apply(&shop.kubectl, POD).await?;
        ready_pods(&shop.kubectl, "app=shop", 1).await?;
        await_condition(&shop.kubectl, PIPELINE_OBJECT, ("Injected", "True", "AllInjected"), UP)
            .await?;
        is_published_and_read(&shop).await?;
        outlives_a_restart(&shop).await?;
        is_shown(&shop).await
    })
    .await
}

/// The port on which the application publishes is on the loopback interface of the pod alone.
async fn is_published_and_read(shop: &Namespace) -> Result<()> {
    let (told, _) = weir(shop, &["publish", "shop", "{\"n\":1}", "{\"n\":2}"]).await?;
    ensure!(told.starts_with("2 accepted, 0 duplicates"), "{told}");
    let read = ["tail", "shop", "--from=earliest", "--count=1", "--filter=event.data.n > 1"];
    let (read, _) = weir(shop, &read).await?;
    ensure!(read == "{\"n\":2}\n", "{read}");
    Ok(())
}

/// A reader whose sidecar is restarted goes on, and is told that the log in memory is another one.
async fn outlives_a_restart(shop: &Namespace) -> Result<()> {
    let (out, notes) = (Paper::default(), Paper::default());
    let mut screen = Screen::plain(out.clone(), notes.clone());
    let args = line(shop, &["tail", "shop", "--from=earliest", "--count=3"])?;
    let reading = tokio::spawn(async move { run(args, &mut screen).await });
    eventually("the reader has what is there", UP, async || {
        ensure!(out.text().lines().count() == 2, "{} {}", out.text(), notes.text());
        Ok(())
    })
    .await?;
    shop.kubectl.succeed(&["delete", "pod", "single", "--wait=true"]).await?;
    apply(&shop.kubectl, POD).await?;
    ready_pods(&shop.kubectl, "app=shop", 1).await?;
    eventually("an event is published", UP, async || {
        weir(shop, &["publish", "shop", "{\"n\":3}"]).await.map(drop)
    })
    .await?;
    timeout(LIMIT, reading).await.context("the reader does not end")???;
    ensure!(out.text().ends_with("{\"n\":3}\n"), "{}", out.text());
    ensure!(notes.text().contains("gap: "), "{}", notes.text());
    Ok(())
}

async fn is_shown(shop: &Namespace) -> Result<()> {
    let (check, ended) = weir(shop, &["check"]).await?;
    println!("$ kubectl weir check\n{check}");
    ensure!(ended == Ended::Well, "{check}");
    let status = eventually("the replica is shown", UP, async || {
        let (status, _) = weir(shop, &["status", "shop"]).await?;
        let row = status.lines().find(|line| line.starts_with("single ")).context("no replica")?;
        let cells: Vec<_> = row.split_whitespace().collect();
        ensure!(cells.get(1) == Some(&"True") && cells.get(3) == Some(&"1"), "{row}");
        Ok(status)
    })
    .await?;
    println!("$ kubectl weir status shop\n{status}");
    let (slo, _) = weir(shop, &["slo"]).await?;
    println!("$ kubectl weir slo\n{slo}");
    ensure!(slo.contains("no-loss"), "{slo}");
    Ok(())
}

fn line(namespace: &Namespace, words: &[&str]) -> Result<Args> {
    let kubeconfig = namespace.cluster.kubeconfig()?.to_string_lossy().into_owned();
    let cluster = ["kubectl-weir", "--kubeconfig", &kubeconfig, "--namespace", &namespace.name];
    Ok(Args::try_parse_from([&cluster, words].concat())?)
}

/// Runs `kubectl weir` in a namespace; answers what it printed, and how it ended.
async fn weir(namespace: &Namespace, words: &[&str]) -> Result<(String, Ended)> {
    let out = Paper::default();
    let mut screen = Screen::plain(out.clone(), Paper::default());
    let ended = timeout(LIMIT, run(line(namespace, words)?, &mut screen)).await;
    let ended = ended.with_context(|| format!("`kubectl weir {}` hangs", words.join(" ")))??;
    Ok((out.text(), ended))
}

/// A place to print to that can be read meanwhile.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
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
