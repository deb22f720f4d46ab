//! `inject`: what it prints is what the API server takes.

use std::io::Write as _;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::with_namespace;

use crate::fixture::{command, pipeline, ran};

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: app.test/app:1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_manifest_is_shown_as_its_pods_would_run() -> Result<()> {
    with_namespace("inject", async |shop| {
        let sidecar = json!({ "sidecar": { "selector": { "matchLabels": { "app": "web" } } } });
        pipeline(&shop, "orders", sidecar, json!({})).await?;
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(MANIFEST.as_bytes())?;
        let path = file.path().to_string_lossy().into_owned();
        let image = "--sidecar-image=r.test/sidecar:9";

        let said = command(&shop, &["inject", "-f", &path, image]).await?;
        ensure!(said.notes.contains("Deployment web: injected, for orders"), "{}", said.notes);
        ensure!(said.out.contains("image: r.test/sidecar:9"), "{}", said.out);
        let taken = shop.kubectl.apply(&said.out, &["--dry-run=server"]).await?;
        taken.into_success(&["apply"])?;

        let said = command(&shop, &["inject", "-f", &path, image, "--diff"]).await?;
        ensure!(said.out.starts_with("--- Deployment web\n"), "{}", said.out);
        ensure!(said.out.contains("image: r.test/sidecar:9\n"), "{}", said.out);
        ensure!(!said.out.contains("Service"), "what is not injected is not shown: {}", said.out);

        // The manifest's own namespace counts, and another one that is given is refused.
        let own = MANIFEST.replacen(
            "{name: web}",
            &format!("{{name: web, namespace: {}}}", shop.name),
            1,
        );
        std::fs::write(file.path(), own)?;
        let kubeconfig = shop.cluster.kubeconfig()?.to_string_lossy().into_owned();
        let kubeconfig = ["kubectl-weir", "--kubeconfig", &kubeconfig];
        let said = ran(&[&kubeconfig[..], &["inject", "-f", &path, image]].concat()).await?;
        ensure!(said.notes.contains("Deployment web: injected, for orders"), "{}", said.notes);
        let words = ["-n", "default", "inject", "-f", &path, image];
        let error = ran(&[&kubeconfig[..], &words].concat()).await.err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        ensure!(error.contains("and -n says default"), "{error}");
        std::fs::write(file.path(), MANIFEST)?;

        let again = tempfile::NamedTempFile::new()?;
        let whole = command(&shop, &["inject", "-f", &path, image]).await?;
        std::fs::write(again.path(), whole.out)?;
        let path = again.path().to_string_lossy().into_owned();
        let said = command(&shop, &["inject", "-f", &path, image, "--diff"]).await?;
        ensure!(said.out.is_empty() && said.notes.contains("everything already"), "{}", said.notes);
        Ok(())
    })
    .await
}
