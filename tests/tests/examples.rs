//! Holds every manifest in `examples/` to what a reader does with it: serve it on this machine, or apply it.

// Tells the lints that all of it is a test.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_sidecar::config;
use weir_tests::{definitions, eventually, with_namespace};

/// What `kubectl apply` takes where there is no Helm.
const PLAIN: &str = include_str!("../../deploy/weir.yaml");

/// kubectl learns of a new resource from the server's OpenAPI, which follows within seconds.
const DISCOVERY: Duration = Duration::from_secs(60);

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

#[test]
fn every_example_is_taken_without_a_cluster() {
    for file in examples() {
        let config = config::load(std::slice::from_ref(&file));
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!config.pipelines.is_empty(), "{} declares no pipeline", file.display());
    }
}

#[test]
fn the_quick_start_takes_events_from_everybody_and_promises_something() {
    let file = examples().into_iter().find(|file| file.ends_with("quickstart.yaml")).unwrap();
    let orders = config::load(&[file]).unwrap().pipelines.remove("orders").unwrap();
    assert!(orders.spec.endpoints.publish.is_some_and(|publish| publish.anonymous));
    let promised: Vec<_> = orders.slos.iter().flat_map(|slo| &slo.spec.objectives).collect();
    assert_eq!(promised.len(), 3);
    // Whoever posts three events by hand is to get a verdict, which a slice of time would not give.
    assert!(promised.iter().all(|objective| objective.time_slice.is_none()));
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_plain_manifests_are_taken_by_the_api_server() -> Result<()> {
    with_namespace("plain", async |namespace| {
        // Everything but the namespace itself, which is not made when it is only tried.
        let (_, rest) = PLAIN.split_once("\n---\n").context("more than one object")?;
        let local = rest.replace("weir-system", &namespace.name);
        let options = ["--dry-run=server", "--validate=strict"];
        let output = namespace.kubectl.apply(&local, &options).await?;
        ensure!(output.success, "{}", output.stderr);
        let made = output.stdout.lines().any(|line| line.starts_with("deployment.apps/weir "));
        ensure!(made, "{}", output.stdout);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn every_example_is_taken_by_the_api_server() -> Result<()> {
    with_namespace("examples", async |namespace| {
        definitions::install(&namespace.cluster).await?;
        for file in examples() {
            let text = std::fs::read_to_string(&file)?;
            eventually(&format!("{} is taken", file.display()), DISCOVERY, async || {
                let options = ["--dry-run=server", "--validate=strict"];
                let output = namespace.kubectl.apply(&text, &options).await?;
                ensure!(output.success, "{}", output.stderr);
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
    .await
}
