//! The webhook's certificate over many lives, and one that somebody else makes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::time::Instant;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{LIMIT, create_pipeline, sidecar};
use crate::installation::{
    Replica, configurations, configure, free, injected_pod, is_injected, pod, with_system,
};

/// A replica whose certificates and authorities live for seconds, once it injects the pods of a pipeline.
async fn injecting(
    watched: &Namespace,
    system: &Namespace,
    webhook: SocketAddr,
) -> Result<Replica> {
    let lives = ["--webhook-certificate-life=10s", "--webhook-authority-life=30s"];
    let lives = lives.map(str::to_owned);
    let replica = Replica::start_with(watched, system, "one", webhook, &lives).await?;
    replica.ready().await?;
    create_pipeline(watched, "orders", sidecar()).await?;
    injected_pod(watched).await?;
    Ok(replica)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn while_authorities_and_certificates_change_every_pod_is_injected() -> Result<()> {
    with_system("rotation", async |watched, system| {
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let replica = injecting(&watched, &system, webhook).await?;
        let (mut certificates, mut authorities) = (BTreeSet::new(), BTreeSet::new());
        let (dry_run, started) =
            (PostParams { dry_run: true, ..Default::default() }, Instant::now());
        // By then the first authority has expired, too.
        while authorities.len() < 3 || certificates.len() < 6 {
            ensure!(started.elapsed() < 3 * LIMIT, "{} {}", certificates.len(), authorities.len());
            let made = watched.api::<Pod>().create(&dry_run, &pod("tried")).await?;
            ensure!(is_injected(&made), "a pod slipped through after {:?}", started.elapsed());
            let secret = system.api::<Secret>().get("weir-webhook-tls").await?;
            let data = secret.data.context("no data")?;
            certificates.insert(data["tls.crt"].0.clone());
            authorities.insert(data["ca.crt"].0.clone());
        }
        let (status, body) = replica.get("/readyz").await?;
        ensure!(status == 200, "{body}");
        replica.stop().await
    })
    .await
}

/// An authority, and how it signs certificates for the webhook.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn make() -> Result<Self> {
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// A new certificate for the webhook, which is valid until a year begins, and its key.
    fn certificate(&self, system: &Namespace, year: i32) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([format!("webhook.{}.svc", system.name)])?;
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// Puts a new certificate where it would be mounted.
    fn sign(&self, system: &Namespace, directory: &Path, year: i32) -> Result<()> {
        let (certificate, key) = self.certificate(system, year)?;
        std::fs::write(directory.join("tls.crt"), certificate)?;
        std::fs::write(directory.join("tls.key"), key)?;
        Ok(())
    }

    /// Has the API server trust it, as cert-manager's injector does.
    async fn inject(&self, watched: &Namespace) -> Result<()> {
        let bundle = k8s_openapi::ByteString(self.pem.clone().into_bytes());
        let path = "/webhooks/0/clientConfig/caBundle";
        let told = json!([{ "op": "add", "path": path, "value": bundle }]);
        let told: Patch<()> = Patch::Json(serde_json::from_value(told)?);
        configurations(watched).patch(&watched.name, &PatchParams::default(), &told).await?;
        Ok(())
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_certificate_that_somebody_else_makes_is_served_and_followed() -> Result<()> {
    with_system("mounted", async |watched, system| {
        let directory = tempfile::tempdir()?;
        let authority = Authority::make()?;
        authority.sign(&system, directory.path(), 2100)?;
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        authority.inject(&watched).await?;
        let before = configurations(&watched).get(&watched.name).await?;
        let mounted = [format!("--webhook-certificate-dir={}", directory.path().display())];
        let replica = Replica::start_with(&watched, &system, "one", webhook, &mounted).await?;
        replica.ready().await?;
        create_pipeline(&watched, "orders", sidecar()).await?;
        injected_pod(&watched).await?;
        let served = expiry(&replica).await?;
        authority.sign(&system, directory.path(), 2101)?;
        eventually("the renewed certificate is served", LIMIT, async || {
            ensure!(expiry(&replica).await? != served, "it is the old one");
            Ok(())
        })
        .await?;
        injected_pod(&watched).await?;
        let after = configurations(&watched).get(&watched.name).await?;
        ensure!(after.resource_version() == before.resource_version(), "the operator wrote");
        let secrets = system.api::<Secret>().list(&ListParams::default()).await?.items;
        ensure!(secrets.is_empty(), "{secrets:?}");
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_cert_manager_has_left_is_served_until_an_own_authority_is_known() -> Result<()> {
    with_system("taken-over", async |watched, system| {
        let authority = Authority::make()?;
        let (certificate, key) = authority.certificate(&system, 2100)?;
        // As cert-manager leaves it.
        let left = json!({
            "metadata": { "name": "weir-webhook-tls" },
            "type": "kubernetes.io/tls",
            "stringData": { "ca.crt": authority.pem.trim_end(), "tls.crt": certificate, "tls.key": key },
        });
        let secrets = system.api::<Secret>();
        secrets.create(&PostParams::default(), &serde_json::from_value(left)?).await?;
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        authority.inject(&watched).await?;
        let replica = injecting(&watched, &system, webhook).await?;
        let (dry_run, started) =
            (PostParams { dry_run: true, ..Default::default() }, Instant::now());
        let mut seen = Vec::<(bool, bool)>::new();
        while seen.last() != Some(&(true, true)) {
            ensure!(started.elapsed() < LIMIT, "{seen:?}");
            let made = watched.api::<Pod>().create(&dry_run, &pod("tried")).await?;
            ensure!(is_injected(&made), "a pod slipped through after {:?}", started.elapsed());
            let data = secrets.get("weir-webhook-tls").await?.data.context("no data")?;
            let is_other = data["tls.crt"].0 != certificate.as_bytes();
            let now = (data.contains_key("ca.key"), is_other);
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        // The authority first, and then what it has signed.
        ensure!(seen.ends_with(&[(true, false), (true, true)]), "{seen:?}");
        replica.stop().await
    })
    .await
}

async fn expiry(replica: &Replica) -> Result<String> {
    let (_, metrics) = replica.get("/metrics").await?;
    let name = "weir_operator_webhook_certificate_expiry_timestamp_seconds ";
    let found = metrics.lines().find_map(|line| line.strip_prefix(name));
    Ok(found.context("not shown")?.to_owned())
}

/// Runs Helm in a namespace.
async fn helm(namespace: &Namespace, arguments: &[&str]) -> Result<()> {
    let mut helm = tokio::process::Command::new(namespace.cluster.helm()?);
    helm.args(["--namespace", &namespace.name]).args(arguments);
    helm.env("KUBECONFIG", namespace.cluster.kubeconfig()?);
    let ended = helm.output().await?;
    let line = arguments.join(" ");
    ensure!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(())
}

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/weir");

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn an_upgrade_of_the_chart_leaves_the_authorities_alone() -> Result<()> {
    with_namespace("helm", async |system| {
        // The definitions are of all tests; and nothing is to run here.
        let settings = ["--set", "crds.install=false", "--set", "replicaCount=0"];
        let install = [&["install", "weir", CHART][..], &settings].concat();
        helm(&system, &install).await?;
        let configurations: Api<MutatingWebhookConfiguration> =
            Api::all(system.cluster.client.clone());
        let name = format!("{}-weir-injection", system.name);
        // As the keeper does.
        let path = "/webhooks/0/clientConfig/caBundle";
        let told = json!([{ "op": "add", "path": path, "value": "Q0E=" }]);
        let told: Patch<()> = Patch::Json(serde_json::from_value(told)?);
        let params = PatchParams {
            field_manager: Some("weir-operator".to_owned()),
            ..PatchParams::default()
        };
        configurations.patch(&name, &params, &told).await?;
        let seen = async || -> Result<(Option<i32>, Vec<u8>)> {
            let found = configurations.get(&name).await?.webhooks.unwrap_or_default();
            let bundle = found[0].client_config.ca_bundle.clone().context("it is gone")?;
            Ok((found[0].timeout_seconds, bundle.0))
        };
        let upgrade = [&["upgrade", "weir", CHART][..], &settings].concat();
        helm(&system, &[&upgrade[..], &["--set", "webhook.timeoutSeconds=7"]].concat()).await?;
        ensure!(seen().await? == (Some(7), b"CA".to_vec()), "{:?}", seen().await?);
        helm(&system, &["rollback", "weir", "1"]).await?;
        ensure!(seen().await? == (Some(5), b"CA".to_vec()), "{:?}", seen().await?);
        helm(&system, &["uninstall", "weir"]).await
    })
    .await
}
